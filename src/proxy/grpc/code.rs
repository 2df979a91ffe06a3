//! The status codes of gRPC, and which of them the proxy's reasons are.

use crate::proxy::Reason;

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::proxy) enum Code {
    Ok,
    Cancelled,
    Unknown,
    InvalidArgument,
    DeadlineExceeded,
    NotFound,
    AlreadyExists,
    PermissionDenied,
    ResourceExhausted,
    FailedPrecondition,
    Aborted,
    OutOfRange,
    Unimplemented,
    Internal,
    Unavailable,
    DataLoss,
    Unauthenticated,
}

impl Code {
    /// By their number.
    pub(in crate::proxy) const ALL: [Self; 17] = [
        Self::Ok,
        Self::Cancelled,
        Self::Unknown,
        Self::InvalidArgument,
        Self::DeadlineExceeded,
        Self::NotFound,
        Self::AlreadyExists,
        Self::PermissionDenied,
        Self::ResourceExhausted,
        Self::FailedPrecondition,
        Self::Aborted,
        Self::OutOfRange,
        Self::Unimplemented,
        Self::Internal,
        Self::Unavailable,
        Self::DataLoss,
        Self::Unauthenticated,
    ];

    pub(in crate::proxy) fn number(self) -> u16 {
        self as u16
    }

    /// A number that is none of a status is `UNKNOWN`, as clients take it.
    pub(in crate::proxy) fn parse(digits: &[u8]) -> Self {
        let number = std::str::from_utf8(digits)
            .ok()
            .and_then(|digits| digits.parse::<usize>().ok());
        number
            .and_then(|number| Self::ALL.get(number))
            .copied()
            .unwrap_or(Self::Unknown)
    }

    /// What clients make of an answer that states none, by its HTTP status ("HTTP to gRPC Status Code Mapping" of gRPC).
    pub(in crate::proxy) fn of_http(status: u16) -> Self {
        match status {
            400 => Self::Internal,
            401 => Self::Unauthenticated,
            403 => Self::PermissionDenied,
            404 => Self::Unimplemented,
            429 | 502..=504 => Self::Unavailable,
            _ => Self::Unknown,
        }
    }

    /// What a failure of the proxy's own is to a gRPC client. A call that reached no endpoint may be made again, which is
    /// what `UNAVAILABLE` says.
    pub(in crate::proxy) fn of(reason: Reason) -> Self {
        match reason {
            Reason::RequestTimeout
            | Reason::FirstByteTimeout
            | Reason::BetweenBytesTimeout
            | Reason::WriteTimeout
            | Reason::ClientStalled => Self::DeadlineExceeded,
            Reason::NoRoute | Reason::MethodNotAllowed | Reason::ExpectationFailed => Self::Unimplemented,
            Reason::BadRequest | Reason::Misdirected | Reason::ClientBody | Reason::Refused => Self::Internal,
            Reason::ClientGone => Self::Cancelled,
            Reason::MalformedResponse
            | Reason::MalformedBody
            | Reason::TruncatedHead
            | Reason::ResponseHeadTooLarge
            | Reason::UnexpectedUpgrade => Self::Internal,
            Reason::PoolQueueFull | Reason::PoolTimeout | Reason::PortsExhausted => Self::ResourceExhausted,
            _ => Self::Unavailable,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_stands_at_its_number() {
        for (number, code) in Code::ALL.into_iter().enumerate() {
            assert_eq!(usize::from(code.number()), number);
            assert_eq!(Code::parse(number.to_string().as_bytes()), code);
        }
        for odd in ["17", "-1", "", "x", "99999999999999999999"] {
            assert_eq!(Code::parse(odd.as_bytes()), Code::Unknown, "{odd}");
        }
    }

    #[test]
    fn no_failure_is_ok() {
        for reason in Reason::ALL {
            assert_ne!(Code::of(reason), Code::Ok, "{reason:?}");
        }
    }
}
