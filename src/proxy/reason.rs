//! Why a request was answered by the proxy itself: one word each, the same in the log, the metrics and, by its type
//! of RFC 9209, in `Proxy-Status`.

use http::StatusCode;

use crate::{
    http1::ResponseError,
    pool::CheckoutError,
    upstream::{BodyError, ConnectError, ExchangeError, SendError},
};

/// Why there was no answer of an endpoint, or only a part of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    BadRequest,
    Misdirected,
    MethodNotAllowed,
    UnknownProtocol,
    ExpectationFailed,
    NoRoute,
    NoEndpoint,
    NotResolved,
    ConnectRefused,
    ConnectTimeout,
    ConnectUnreachable,
    ConnectLocal,
    TlsHandshake,
    CertificateRefused,
    NoHttp2,
    PortsExhausted,
    PoolQueueFull,
    PoolTimeout,
    Stale,
    StaleBody,
    EndpointSilent,
    EndpointClosed,
    Unprocessed,
    StreamReset,
    TruncatedHead,
    MalformedResponse,
    ResponseHeadTooLarge,
    UnexpectedUpgrade,
    NoUpgrade,
    WriteTimeout,
    FirstByteTimeout,
    RequestTimeout,
    ClientStalled,
    ClientBody,
    ClientGone,
    TruncatedBody,
    MalformedBody,
    BetweenBytesTimeout,
    /// The client's connection was refused before there was a request.
    Refused,
}

impl Reason {
    pub const ALL: [Self; 39] = [
        Self::BadRequest,
        Self::Misdirected,
        Self::MethodNotAllowed,
        Self::UnknownProtocol,
        Self::ExpectationFailed,
        Self::NoRoute,
        Self::NoEndpoint,
        Self::NotResolved,
        Self::ConnectRefused,
        Self::ConnectTimeout,
        Self::ConnectUnreachable,
        Self::ConnectLocal,
        Self::TlsHandshake,
        Self::CertificateRefused,
        Self::NoHttp2,
        Self::PortsExhausted,
        Self::PoolQueueFull,
        Self::PoolTimeout,
        Self::Stale,
        Self::StaleBody,
        Self::EndpointSilent,
        Self::EndpointClosed,
        Self::Unprocessed,
        Self::StreamReset,
        Self::TruncatedHead,
        Self::MalformedResponse,
        Self::ResponseHeadTooLarge,
        Self::UnexpectedUpgrade,
        Self::NoUpgrade,
        Self::WriteTimeout,
        Self::FirstByteTimeout,
        Self::RequestTimeout,
        Self::ClientStalled,
        Self::ClientBody,
        Self::ClientGone,
        Self::TruncatedBody,
        Self::MalformedBody,
        Self::BetweenBytesTimeout,
        Self::Refused,
    ];

    pub fn as_str(self) -> &'static str {
        self.row().0
    }

    /// The status of the answer. A reason that only shows within a body has none that anybody sees.
    pub fn status(self) -> StatusCode {
        self.row().1
    }

    /// The error type of RFC 9209 2.3.
    pub fn proxy_error(self) -> &'static str {
        self.row().2
    }

    fn row(self) -> (&'static str, StatusCode, &'static str) {
        use StatusCode as S;
        match self {
            Self::BadRequest => ("bad-request", S::BAD_REQUEST, "http_request_error"),
            Self::Misdirected => ("misdirected", S::MISDIRECTED_REQUEST, "http_request_error"),
            Self::MethodNotAllowed => ("method-not-allowed", S::METHOD_NOT_ALLOWED, "http_request_denied"),
            Self::UnknownProtocol => ("unknown-protocol", S::NOT_IMPLEMENTED, "http_request_denied"),
            Self::ExpectationFailed => ("expectation-failed", S::EXPECTATION_FAILED, "http_request_error"),
            Self::NoRoute => ("no-route", S::NOT_FOUND, "destination_not_found"),
            Self::NoEndpoint => ("no-endpoint", S::SERVICE_UNAVAILABLE, "destination_unavailable"),
            Self::NotResolved => ("not-resolved", S::BAD_GATEWAY, "dns_error"),
            Self::ConnectRefused => ("connect-refused", S::BAD_GATEWAY, "connection_refused"),
            Self::ConnectTimeout => ("connect-timeout", S::GATEWAY_TIMEOUT, "connection_timeout"),
            Self::ConnectUnreachable => ("connect-unreachable", S::BAD_GATEWAY, "destination_ip_unroutable"),
            Self::ConnectLocal => ("connect-local", S::SERVICE_UNAVAILABLE, "proxy_internal_error"),
            Self::TlsHandshake => ("tls-handshake", S::BAD_GATEWAY, "tls_protocol_error"),
            Self::CertificateRefused => ("certificate-refused", S::BAD_GATEWAY, "tls_certificate_error"),
            Self::NoHttp2 => ("no-http2", S::BAD_GATEWAY, "tls_protocol_error"),
            Self::PortsExhausted => ("ports-exhausted", S::SERVICE_UNAVAILABLE, "connection_limit_reached"),
            Self::PoolQueueFull => ("pool-queue-full", S::SERVICE_UNAVAILABLE, "connection_limit_reached"),
            Self::PoolTimeout => ("pool-timeout", S::SERVICE_UNAVAILABLE, "connection_limit_reached"),
            Self::Stale => ("stale", S::BAD_GATEWAY, "connection_terminated"),
            Self::StaleBody => ("stale-body", S::BAD_GATEWAY, "connection_terminated"),
            Self::EndpointSilent => ("endpoint-silent", S::GATEWAY_TIMEOUT, "connection_timeout"),
            Self::EndpointClosed => ("endpoint-closed", S::BAD_GATEWAY, "connection_terminated"),
            Self::Unprocessed => ("unprocessed", S::SERVICE_UNAVAILABLE, "destination_unavailable"),
            Self::StreamReset => ("stream-reset", S::BAD_GATEWAY, "http_protocol_error"),
            Self::TruncatedHead => ("truncated-head", S::BAD_GATEWAY, "http_response_incomplete"),
            Self::MalformedResponse => ("malformed-response", S::BAD_GATEWAY, "http_protocol_error"),
            Self::ResponseHeadTooLarge => (
                "response-head-too-large",
                S::BAD_GATEWAY,
                "http_response_header_section_size",
            ),
            Self::UnexpectedUpgrade => ("unexpected-upgrade", S::BAD_GATEWAY, "http_upgrade_failed"),
            Self::NoUpgrade => ("no-upgrade", S::BAD_GATEWAY, "http_upgrade_failed"),
            Self::WriteTimeout => ("write-timeout", S::GATEWAY_TIMEOUT, "connection_write_timeout"),
            Self::FirstByteTimeout => ("first-byte-timeout", S::GATEWAY_TIMEOUT, "http_response_timeout"),
            Self::RequestTimeout => ("request-timeout", S::GATEWAY_TIMEOUT, "http_response_timeout"),
            Self::ClientStalled => ("client-stalled", S::REQUEST_TIMEOUT, "http_request_error"),
            Self::ClientBody => ("client-body", S::BAD_REQUEST, "http_request_error"),
            Self::ClientGone => ("client-gone", S::BAD_REQUEST, "http_request_error"),
            Self::TruncatedBody => ("truncated-body", S::BAD_GATEWAY, "http_response_incomplete"),
            Self::MalformedBody => ("malformed-body", S::BAD_GATEWAY, "http_response_transfer_coding"),
            Self::BetweenBytesTimeout => ("between-bytes-timeout", S::GATEWAY_TIMEOUT, "connection_read_timeout"),
            Self::Refused => ("refused", S::BAD_REQUEST, "http_request_error"),
        }
    }
}

impl From<&SendError> for Reason {
    fn from(error: &SendError) -> Self {
        match error {
            SendError::NoEndpoint => Self::NoEndpoint,
            SendError::NotResolved => Self::NotResolved,
            SendError::Checkout(CheckoutError::QueueFull) => Self::PoolQueueFull,
            SendError::Checkout(CheckoutError::TimedOut) => Self::PoolTimeout,
            SendError::Connect(error) => (&**error).into(),
            SendError::Exchange(error) => error.into(),
            SendError::Checkout(CheckoutError::NoPort) => Self::PortsExhausted,
            SendError::Stale => Self::Stale,
            SendError::StaleBody => Self::StaleBody,
        }
    }
}

impl From<&ConnectError> for Reason {
    fn from(error: &ConnectError) -> Self {
        match error {
            ConnectError::Refused => Self::ConnectRefused,
            ConnectError::TimedOut => Self::ConnectTimeout,
            ConnectError::Unreachable(_) => Self::ConnectUnreachable,
            ConnectError::PortsExhausted => Self::PortsExhausted,
            ConnectError::Tls(_) => Self::TlsHandshake,
            ConnectError::Certificate(_) => Self::CertificateRefused,
            ConnectError::NoHttp2 => Self::NoHttp2,
            ConnectError::Local(_) => Self::ConnectLocal,
        }
    }
}

impl From<&ExchangeError> for Reason {
    fn from(error: &ExchangeError) -> Self {
        match error {
            ExchangeError::Closed => Self::EndpointClosed,
            ExchangeError::Tls(_) => Self::TlsHandshake,
            ExchangeError::Truncated => Self::TruncatedHead,
            ExchangeError::Malformed(ResponseError::HeadTooLarge | ResponseError::TooManyFields) => {
                Self::ResponseHeadTooLarge
            }
            ExchangeError::Malformed(_) | ExchangeError::TooManyInterim => Self::MalformedResponse,
            ExchangeError::UnexpectedUpgrade => Self::UnexpectedUpgrade,
            ExchangeError::WriteTimeout => Self::WriteTimeout,
            ExchangeError::Silent => Self::EndpointSilent,
            ExchangeError::FirstByteTimeout => Self::FirstByteTimeout,
            ExchangeError::RequestTimeout => Self::RequestTimeout,
            ExchangeError::ClientStalled => Self::ClientStalled,
            ExchangeError::ClientBody => Self::ClientBody,
            ExchangeError::Unprocessed => Self::Unprocessed,
            ExchangeError::Reset(_) => Self::StreamReset,
            ExchangeError::Protocol => Self::MalformedResponse,
            ExchangeError::NoAuthority => Self::BadRequest,
        }
    }
}

impl From<&BodyError> for Reason {
    fn from(error: &BodyError) -> Self {
        match error {
            BodyError::Truncated => Self::TruncatedBody,
            BodyError::Malformed(_) => Self::MalformedBody,
            BodyError::BetweenBytesTimeout => Self::BetweenBytesTimeout,
            BodyError::RequestTimeout => Self::RequestTimeout,
            BodyError::ClientBody => Self::ClientBody,
            BodyError::ClientStalled => Self::ClientStalled,
            BodyError::Reset(_) => Self::StreamReset,
            BodyError::Protocol => Self::MalformedBody,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_stands_at_its_own_place_and_has_its_own_word() {
        for (index, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index);
        }
        let words: std::collections::HashSet<_> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
        assert_eq!(words.len(), Reason::ALL.len());
    }
}
