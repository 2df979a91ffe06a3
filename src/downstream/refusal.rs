//! Answers to clients whose requests never became one.

use http::{HeaderValue, StatusCode};

use crate::http1::RequestProblem;

/// Why a client is turned away, with what it is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    pub status: StatusCode,
    /// One word for metrics and the log.
    pub reason: &'static str,
    /// Plain words for the client.
    pub details: &'static str,
}

impl Refusal {
    pub const HEADER_TIMEOUT: Self = Self {
        status: StatusCode::REQUEST_TIMEOUT,
        reason: "header-timeout",
        details: "the request head did not arrive in time",
    };
    pub const TOO_MANY_CONNECTIONS: Self = Self {
        status: StatusCode::SERVICE_UNAVAILABLE,
        reason: "max-connections",
        details: "the listener has as many clients as it may have",
    };
    pub const TOO_MANY_OF_CLIENT: Self = Self {
        status: StatusCode::TOO_MANY_REQUESTS,
        reason: "per-client-limit",
        details: "too many connections from this address",
    };
    pub const URI_TOO_LONG: Self = Self {
        status: StatusCode::URI_TOO_LONG,
        reason: "uri-too-long",
        details: "the request target is longer than the limit",
    };

    pub const HEADER_TOO_LARGE: Self = Self {
        status: StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        reason: "header-too-large",
        details: "the request head is larger than the limit, or has too many fields",
    };

    pub const fn bad_request(details: &'static str) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            reason: "bad-request",
            details,
        }
    }

    /// The whole answer as bytes of HTTP/1.1, for a connection that closes after it. Its error type in `Proxy-Status`
    /// (RFC 9209 2.3) says on which side the fault is. `secure` is the value of Strict-Transport-Security.
    pub(super) fn to_bytes(self, secure: Option<&HeaderValue>) -> Vec<u8> {
        let Self { status, details, .. } = self;
        let error = self.proxy_error();
        let body = format!(
            "{} {}: {details}\n",
            status.as_u16(),
            status.canonical_reason().unwrap_or("Error")
        );
        let secure = secure.and_then(|value| value.to_str().ok());
        let secure = secure.map_or_else(String::new, |value| format!("strict-transport-security: {value}\r\n"));
        format!(
            "HTTP/1.1 {} {}\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: {}\r\n\
             proxy-status: forebay; error={error}; details=\"{details}\"\r\n{secure}connection: close\r\n\r\n{body}",
            status.as_u16(),
            status.canonical_reason().unwrap_or("Error"),
            body.len(),
        )
        .into_bytes()
    }

    /// The error type of RFC 9209 2.3 that fits.
    pub fn proxy_error(self) -> &'static str {
        match self.status {
            StatusCode::SERVICE_UNAVAILABLE => "connection_limit_reached",
            StatusCode::TOO_MANY_REQUESTS => "http_request_denied",
            _ => "http_request_error",
        }
    }
}

/// What is said where a head could not be read.
impl From<RequestProblem> for Refusal {
    fn from(problem: RequestProblem) -> Self {
        let malformed = Self::bad_request(problem.description());
        match problem {
            RequestProblem::TargetTooLong => Self::URI_TOO_LONG,
            RequestProblem::HeadTooLarge | RequestProblem::TooManyFields => Self::HEADER_TOO_LARGE,
            RequestProblem::UnknownVersion => Self {
                status: StatusCode::HTTP_VERSION_NOT_SUPPORTED,
                reason: "version-not-supported",
                ..malformed
            },
            RequestProblem::UnknownTransferEncoding => Self {
                status: StatusCode::NOT_IMPLEMENTED,
                ..malformed
            },
            _ => malformed,
        }
    }
}
