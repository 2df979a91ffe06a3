//! A protocol that a client wants on an HTTP/2 stream (RFC 8441, RFC 9220), asked for as an upgrade of HTTP/1.1.

use aws_lc_rs::{digest, rand};
use base64::{Engine, engine::general_purpose::STANDARD};
use http::{HeaderValue, Method, Request, header};
use hyper::ext::Protocol;

/// RFC 6455 1.3.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// What the client has asked for.
#[derive(Debug, Clone)]
pub(super) struct Extended {
    /// In lower case.
    pub(super) protocol: String,
    /// What a WebSocket endpoint has to answer to the key that was made for it (RFC 6455 4.1).
    pub(super) accept: Option<HeaderValue>,
}

/// Makes an extended CONNECT what an HTTP/1.1 client would have sent, and notes in its extensions that it was one.
pub(super) fn translate<B>(request: &mut Request<B>) {
    if *request.method() != Method::CONNECT {
        return;
    }
    let Some(protocol) = request.extensions_mut().remove::<Protocol>() else {
        return;
    };
    let protocol = protocol.as_str().to_ascii_lowercase();
    *request.method_mut() = Method::GET;
    let accept = (protocol == "websocket").then(|| {
        let key = key();
        let accept = accept(key.as_bytes());
        // In HTTP/2 the field has no meaning (RFC 8441 5), so the client's is none.
        request.headers_mut().insert(header::SEC_WEBSOCKET_KEY, key);
        accept
    });
    request.extensions_mut().insert(Extended { protocol, accept });
}

pub(super) fn of<B>(request: &Request<B>) -> Option<&Extended> {
    request.extensions().get()
}

/// Sixteen random bytes (RFC 6455 4.1).
fn key() -> HeaderValue {
    let mut nonce = [0; 16];
    if rand::fill(&mut nonce).is_err() {
        // The key keeps nobody out; it only tells an endpoint that knows the protocol from one that does not.
        fastrand::fill(&mut nonce);
    }
    encoded(&nonce)
}

fn accept(key: &[u8]) -> HeaderValue {
    let mut context = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
    context.update(key);
    context.update(GUID);
    encoded(context.finish().as_ref())
}

fn encoded(bytes: &[u8]) -> HeaderValue {
    HeaderValue::try_from(STANDARD.encode(bytes)).expect("letters, digits, slashes and signs")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 6455 1.3.
    #[test]
    fn the_answer_to_a_key_is_that_of_the_standard() {
        assert_eq!(accept(b"dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn every_key_is_another_one() {
        let keys = [key(), key()];
        assert_ne!(keys[0], keys[1]);
        assert!(keys.iter().all(|key| key.len() == 24));
    }

    #[test]
    fn a_websocket_is_asked_for_with_a_key_of_our_own() {
        let mut request = Request::connect("http://a.example/chat")
            .extension(Protocol::from_static("WebSocket"))
            .header(header::SEC_WEBSOCKET_KEY, "the client's")
            .body(())
            .expect("a request");
        translate(&mut request);
        assert_eq!(request.method(), Method::GET);
        let key = &request.headers()[header::SEC_WEBSOCKET_KEY];
        let extended = of(&request).expect("it was extended");
        assert_eq!(extended.protocol, "websocket");
        assert_eq!(extended.accept, Some(accept(key.as_bytes())));
    }

    #[test]
    fn nothing_else_is_touched() {
        let mut request = Request::connect("a.example:443").body(()).expect("a request");
        translate(&mut request);
        assert!(*request.method() == Method::CONNECT && of(&request).is_none());
    }
}
