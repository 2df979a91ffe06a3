//! gRPC over HTTP/2: what its clients understand, where the proxy itself has to say something.
//!
//! # How does a client learn that the proxy failed?
//! By a gRPC status, never by an HTTP error: an answer that has not begun is one head with `grpc-status` (the
//! "trailers-only" form), and one that breaks off ends with trailers that say why. A reset would tell the client as
//! little as a lost connection does.
//!
//! # What is read of what goes through?
//! `grpc-timeout`, which bounds the time of the request, and `grpc-status`, which is counted and logged.

mod code;
mod timeout;

use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Version, header};

pub(super) use self::{code::Code, timeout::timeout};
use super::{body::Source, reason::Reason};
use crate::proxy::answer;

const GRPC: &[u8] = b"application/grpc";
const STATUS: HeaderName = HeaderName::from_static("grpc-status");
const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// Whether a request is one of gRPC, by its content type; gRPC-Web is another protocol. There is none over HTTP/1, whose
/// clients might get no trailers, and would take an answer that breaks off for a whole one.
pub(super) fn is_grpc<B>(request: &Request<B>) -> bool {
    request.version() == Version::HTTP_2 && has_type(request.headers())
}

fn has_type(headers: &HeaderMap) -> bool {
    let Some(kind) = headers.get(header::CONTENT_TYPE) else {
        return false;
    };
    let Some((start, rest)) = kind.as_bytes().split_at_checked(GRPC.len()) else {
        return false;
    };
    start.eq_ignore_ascii_case(GRPC) && matches!(rest.first(), None | Some(b'+' | b';' | b' '))
}

/// The status that a head or trailers state.
pub(super) fn status_of(fields: &HeaderMap) -> Option<Code> {
    fields.get(STATUS).map(|value| Code::parse(value.as_bytes()))
}

/// The answer to a request that failed before any answer of an endpoint.
pub(super) fn failure(reason: Reason, details: &str) -> Response<Source> {
    let mut response = answer::failure(reason, details);
    *response.status_mut() = StatusCode::OK;
    *response.body_mut() = Source::Own(Default::default());
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.extend(trailers(Code::of(reason), details));
    response
}

/// What ends an answer that breaks off.
pub(super) fn trailers(code: Code, details: &str) -> HeaderMap {
    let mut trailers = HeaderMap::with_capacity(2);
    trailers.insert(STATUS, HeaderValue::from(code.number()));
    if let Ok(message) = HeaderValue::from_str(&percent_encoded(details)) {
        trailers.insert(MESSAGE, message);
    }
    trailers
}

/// The form of `grpc-message`: what is not printable ASCII, and the percent sign, as `%XX`.
fn percent_encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'%' | ..b' ' | 0x7f.. => out.push_str(&format!("%{byte:02X}")),
            byte => out.push(byte.into()),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_type(kind: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(kind))])
    }

    #[test]
    fn the_content_type_tells_grpc_from_others() {
        for kind in [
            "application/grpc",
            "application/grpc+proto",
            "application/grpc;charset=utf-8",
            "Application/GRPC",
        ] {
            assert!(has_type(&with_type(kind)), "{kind}");
        }
        for kind in [
            "application/grpc-web",
            "application/grpcx",
            "application/json",
            "",
            "grpc",
        ] {
            assert!(!has_type(&with_type(kind)), "{kind}");
        }
        assert!(!has_type(&HeaderMap::new()));
    }

    #[test]
    fn a_failure_is_a_head_with_a_status() {
        let response = failure(Reason::ConnectRefused, "100% \"gone\"\u{e9}");
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()[STATUS], "14");
        assert_eq!(response.headers()[MESSAGE], "100%25 \"gone\"%C3%A9");
        assert_eq!(response.headers()[header::CONTENT_TYPE], "application/grpc");
        assert!(matches!(response.body(), Source::Own(body) if body.is_empty()));
    }

    #[test]
    fn a_stated_status_is_read() {
        let fields = HeaderMap::from_iter([(STATUS, HeaderValue::from_static("5"))]);
        assert_eq!(status_of(&fields), Some(Code::NotFound));
        assert_eq!(status_of(&HeaderMap::new()), None);
    }
}
