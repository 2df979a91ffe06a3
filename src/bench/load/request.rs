//! The one request of a load, made once and sent again and again.

use bytes::Bytes;

use super::{Clients, Load};

/// The bytes of the HTTP/1.1 request.
pub(super) fn encode(load: &Load) -> Bytes {
    let Load { authority, path, .. } = load;
    let method = if load.request_body == 0 { "GET" } else { "POST" };
    let mut request = format!("{method} {path} HTTP/1.1\r\nHost: {authority}\r\nUser-Agent: forebay-bench\r\n");
    if load.clients == Clients::ConnectionPerRequest {
        request.push_str("Connection: close\r\n");
    }
    if load.request_body > 0 {
        request.push_str(&format!("Content-Length: {}\r\n", load.request_body));
    }
    request.push_str("\r\n");
    let mut request = request.into_bytes();
    request.resize(request.len() + load.request_body, BODY_BYTE);
    request.into()
}

/// What bodies are made of.
const BODY_BYTE: u8 = b'x';
