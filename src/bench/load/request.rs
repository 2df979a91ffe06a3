//! The one request of a load, made once and sent again and again.

use bytes::Bytes;
use http::{
    Method, Uri, Version,
    header::{CONTENT_LENGTH, USER_AGENT},
};

use super::{Clients, Encryption, Load, LoadError};

const AGENT: &str = "forebay-bench";

/// What bodies are made of.
const BODY_BYTE: u8 = b'x';

/// The request in both of its shapes. A clone shares the bytes.
#[derive(Debug, Clone)]
pub(super) struct Request {
    pub method: Method,
    /// HTTP/1.1, head and body.
    pub bytes: Bytes,
    /// HTTP/2.
    pub head: http::Request<()>,
    pub body: Bytes,
}

impl Request {
    /// # Errors
    /// The authority or the path cannot stand in a request.
    pub fn new(load: &Load) -> Result<Self, LoadError> {
        let method = match load.request_body {
            0 => Method::GET,
            _ => Method::POST,
        };
        let uri = uri(load).map_err(LoadError::Request)?;
        let mut head = http::Request::builder()
            .method(method.clone())
            .uri(&uri)
            .version(Version::HTTP_2)
            .header(USER_AGENT, AGENT);
        if load.request_body > 0 {
            head = head.header(CONTENT_LENGTH, load.request_body);
        }
        let bytes = Bytes::from(encode(load, &method, &uri));
        Ok(Self {
            body: bytes.slice(bytes.len() - load.request_body..),
            head: head.body(()).map_err(LoadError::Request)?,
            method,
            bytes,
        })
    }
}

fn uri(load: &Load) -> Result<Uri, http::Error> {
    let scheme = match load.tls {
        Encryption::Off => "http",
        Encryption::Tls => "https",
    };
    Uri::builder()
        .scheme(scheme)
        .authority(load.authority.as_str())
        .path_and_query(load.path.as_str())
        .build()
}

fn encode(load: &Load, method: &Method, uri: &Uri) -> Vec<u8> {
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let authority = &load.authority;
    let mut request = format!("{method} {path} HTTP/1.1\r\nhost: {authority}\r\nuser-agent: {AGENT}\r\n");
    if load.clients == Clients::ConnectionPerRequest {
        request.push_str("connection: close\r\n");
    }
    if load.request_body > 0 {
        request.push_str(&format!("content-length: {}\r\n", load.request_body));
    }
    request.push_str("\r\n");
    let mut request = request.into_bytes();
    request.resize(request.len() + load.request_body, BODY_BYTE);
    request
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::load::tests::load;

    fn text(load: &Load) -> String {
        let request = Request::new(load).expect("a request");
        String::from_utf8(request.bytes.to_vec()).expect("ascii")
    }

    #[test]
    fn a_request_is_a_get_unless_it_has_a_body() {
        let mut load = load(([192, 0, 2, 1], 80).into());
        load.authority = "a.example:8080".to_owned();
        load.path = "/a?b=c".to_owned();
        assert_eq!(
            text(&load),
            "GET /a?b=c HTTP/1.1\r\nhost: a.example:8080\r\nuser-agent: forebay-bench\r\n\r\n"
        );
        load.request_body = 3;
        load.clients = Clients::ConnectionPerRequest;
        assert_eq!(
            text(&load),
            "POST /a?b=c HTTP/1.1\r\nhost: a.example:8080\r\nuser-agent: forebay-bench\r\nconnection: close\r\n\
             content-length: 3\r\n\r\nxxx"
        );
        let request = Request::new(&load).expect("a request");
        assert_eq!(request.body, "xxx");
        assert_eq!(request.head.uri(), "http://a.example:8080/a?b=c");
    }

    #[test]
    fn what_would_be_another_request_is_refused() {
        for (authority, path) in [
            ("a\r\nb: c", "/"),
            ("a b", "/"),
            ("", "/"),
            ("a", "/ HTTP/1.1\r\n"),
            ("a", "/b c"),
        ] {
            let mut load = load(([192, 0, 2, 1], 80).into());
            (load.authority, load.path) = (authority.to_owned(), path.to_owned());
            let refused = Request::new(&load);
            assert!(matches!(refused, Err(LoadError::Request(_))), "{authority} {path}");
        }
    }
}
