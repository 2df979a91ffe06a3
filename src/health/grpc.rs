//! The question of gRPC's health protocol (`grpc.health.v1.Health/Check`) over HTTP/2.

use std::{
    cell::RefCell,
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll},
};

use bytes::{Bytes, BytesMut};
use h2::client;
use http::{HeaderMap, Method, Request, Response, Version};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{ProbeConnection, ProbeError};
use crate::pool::CloseReason;

/// Bytes of an answer that are read; it has two.
const MAX_ANSWER: usize = 4096;
/// `SERVING` of `HealthCheckResponse.ServingStatus`.
const SERVING: u64 = 1;

/// An endpoint's answer: whatever is not a clear yes is a no.
pub(super) type Verdict = Result<(), ProbeError>;

/// An HTTP/2 connection to one endpoint, used for one question after the other. Between two of them nobody reads from it:
/// what the endpoint says meanwhile, such as GOAWAY, comes up with the next one.
pub(super) struct Session<P> {
    probe: Rc<RefCell<P>>,
    sender: client::SendRequest<Bytes>,
    connection: client::Connection<Io<P>, Bytes>,
}

impl<P: ProbeConnection> Session<P> {
    /// Cancellation: the connection is closed.
    pub(super) async fn open(mut connection: P) -> Result<Self, ProbeError> {
        connection.begin();
        let probe = Rc::new(RefCell::new(connection));
        let (sender, connection) = client::handshake(Io(Rc::clone(&probe))).await.map_err(broken)?;
        Ok(Self {
            probe,
            sender,
            connection,
        })
    }

    /// Asks whether `service` is served. An empty name is the whole server. The caller bounds the time.
    ///
    /// # Errors
    /// What ends the connection: there was no answer.
    ///
    /// Cancellation: the connection is in the middle of an answer then; the caller drops it.
    pub(super) async fn check(&mut self, authority: &str, service: &str) -> Result<Verdict, ProbeError> {
        self.probe.borrow_mut().begin();
        let mut asked = pin!(ask(&mut self.sender, authority, service));
        let answer = tokio::select! {
            biased;
            answer = &mut asked => answer,
            // The answer may have come with the end; what has not come never will, which the streams know.
            ended = &mut self.connection => match asked.await {
                Err(ProbeError::Broken(_)) => Err(ended.map_or_else(broken, |()| ProbeError::ClosedEarly)),
                answer => answer,
            },
        };
        match answer {
            Ok(()) | Err(ProbeError::Grpc(_) | ProbeError::Status(_)) => {
                self.probe.borrow_mut().keep();
                Ok(answer)
            }
            Err(error) => Err(error),
        }
    }

    pub(super) fn close(self, reason: CloseReason) {
        drop((self.sender, self.connection));
        if let Some(probe) = Rc::into_inner(self.probe) {
            probe.into_inner().close(reason);
        }
    }
}

/// The stream of a connection that its session can still be asked for.
struct Io<P>(Rc<RefCell<P>>);

impl<P: ProbeConnection> AsyncRead for Io<P> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(self.0.borrow_mut().stream()).poll_read(context, buffer)
    }
}

impl<P: ProbeConnection> AsyncWrite for Io<P> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(self.0.borrow_mut().stream()).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(self.0.borrow_mut().stream()).poll_flush(context)
    }

    /// The connection is closed by its owner, in the way that its end demands.
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

async fn ask(sender: &mut client::SendRequest<Bytes>, authority: &str, service: &str) -> Result<(), ProbeError> {
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
