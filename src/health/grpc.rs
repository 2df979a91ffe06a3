//! The question of gRPC's health protocol (`grpc.health.v1.Health/Check`) over HTTP/2.

use bytes::{Bytes, BytesMut};
use h2::client;
use http::{HeaderMap, Method, Request, Response, Version};
use tokio::io::{AsyncRead, AsyncWrite};

use super::ProbeError;

/// Bytes of an answer that are read; it has two.
const MAX_ANSWER: usize = 4096;
/// `SERVING` of `HealthCheckResponse.ServingStatus`.
const SERVING: u64 = 1;

/// Asks whether `service` is served. An empty name is the whole server. The caller bounds the time.
///
/// # Errors
/// Whatever is not a clear yes.
///
/// Cancellation: the connection is in the middle of an answer then; the caller drops it.
pub(super) async fn check<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    authority: &str,
    service: &str,
) -> Result<(), ProbeError> {
    let (sender, connection) = client::handshake(stream).await.map_err(broken)?;
    let asked = ask(sender, authority, service);
    tokio::select! {
        biased;
        answer = asked => answer,
        ended = connection => Err(ended.map_or_else(broken, |()| ProbeError::ClosedEarly)),
    }
}

async fn ask(mut sender: client::SendRequest<Bytes>, authority: &str, service: &str) -> Result<(), ProbeError> {
    let uri = format!("http://{authority}/grpc.health.v1.Health/Check");
    let request = Request::builder()
        .method(Method::POST)
        .version(Version::HTTP_2)
        .uri(uri)
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("user-agent", "forebay-probe")
        .body(())
        .map_err(|_| ProbeError::Grpc("the endpoint's name cannot be asked for".to_owned()))?;
    let (response, mut body) = sender.send_request(request, false).map_err(broken)?;
    body.send_data(question(service), true).map_err(broken)?;
    let response = response.await.map_err(broken)?;
    if !response.status().is_success() {
        return Err(ProbeError::Status(response.status()));
    }
    judge(response).await
}

async fn judge(response: Response<h2::RecvStream>) -> Result<(), ProbeError> {
    stated(response.headers())?;
    let mut stream = response.into_body();
    let mut answer = BytesMut::new();
    while let Some(data) = stream.data().await {
        let data = data.map_err(broken)?;
        // It fails only for more than came.
        let _ = stream.flow_control().release_capacity(data.len());
        if answer.len() + data.len() > MAX_ANSWER {
            return Err(ProbeError::Grpc("the answer does not end".to_owned()));
        }
        answer.extend_from_slice(&data);
    }
    if let Some(trailers) = stream.trailers().await.map_err(broken)? {
        stated(&trailers)?;
    }
    match serving_status(&answer) {
        Some(SERVING) => Ok(()),
        Some(2) => Err(ProbeError::Grpc("the service is NOT_SERVING".to_owned())),
        Some(3) => Err(ProbeError::Grpc(
            "the service is not known (SERVICE_UNKNOWN)".to_owned(),
        )),
        Some(_) => Err(ProbeError::Grpc("the state of the service is UNKNOWN".to_owned())),
        None => Err(ProbeError::Grpc("the answer is malformed".to_owned())),
    }
}

/// A status other than OK is a no: 5 for a service that is not known, 12 for a server without the health protocol.
fn stated(fields: &HeaderMap) -> Result<(), ProbeError> {
    match fields.get("grpc-status").map(http::HeaderValue::as_bytes) {
        None | Some(b"0") => Ok(()),
        Some(b"5") => Err(ProbeError::Grpc("the service is not known (NOT_FOUND)".to_owned())),
        Some(b"12") => Err(ProbeError::Grpc(
            "the endpoint does not speak the health protocol (UNIMPLEMENTED)".to_owned(),
        )),
        Some(other) => Err(ProbeError::Grpc(format!("gRPC status {}", other.escape_ascii()))),
    }
}

/// `HealthCheckRequest` with its one field, the service, behind the five bytes of a message's head.
fn question(service: &str) -> Bytes {
    let mut message = Vec::new();
    if !service.is_empty() {
        message.push(0x0a);
        let mut length = service.len();
        while length >= 0x80 {
            message.push((length & 0x7f) as u8 | 0x80);
            length >>= 7;
        }
        message.push(length as u8);
        message.extend_from_slice(service.as_bytes());
    }
    let mut framed = vec![0];
    framed.extend_from_slice(&u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes());
    framed.extend_from_slice(&message);
    framed.into()
}

/// The one field of `HealthCheckResponse`, an enumeration; what is left out is 0. `None` of what is malformed.
fn serving_status(answer: &[u8]) -> Option<u64> {
    let (head, message) = answer.split_first_chunk::<5>()?;
    let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]);
    if head[0] != 0 || usize::try_from(length).ok()? != message.len() {
        return None;
    }
    match message {
        [] => Some(0),
        [0x08, status] if *status < 0x80 => Some(u64::from(*status)),
        _ => None,
    }
}

fn broken(error: h2::Error) -> ProbeError {
    ProbeError::Broken(std::io::Error::other(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_question_is_a_framed_message() {
        assert_eq!(question("")[..], [0, 0, 0, 0, 0]);
        assert_eq!(question("ab")[..], [0, 0, 0, 0, 4, 0x0a, 2, b'a', b'b']);
        let long = question(&"x".repeat(300));
        assert_eq!(long[..8], [0, 0, 0, 1, 0x2f, 0x0a, 0xac, 0x02]);
    }

    #[test]
    fn only_a_whole_message_says_a_status() {
        assert_eq!(serving_status(&[0, 0, 0, 0, 2, 8, 1]), Some(SERVING));
        assert_eq!(serving_status(&[0, 0, 0, 0, 2, 8, 2]), Some(2));
        assert_eq!(serving_status(&[0, 0, 0, 0, 0]), Some(0));
        for malformed in [
            &[][..],
            &[0, 0, 0, 0],
            &[0, 0, 0, 0, 2, 8],
            &[1, 0, 0, 0, 2, 8, 1],
            &[0, 0, 0, 0, 2, 16, 1],
        ] {
            assert_eq!(serving_status(malformed), None, "{malformed:?}");
        }
    }
}
