//! Why a connection was opened, and why it was closed: the same words in metrics, log and status.

/// Why a connection was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenReason {
    /// No worker had an idle one.
    NoneIdle,
    /// There were idle ones, and all were too old, too long idle or dead.
    AllExpired,
    /// Only another worker had an idle one, and it was dead when it had been moved over.
    StealMiss,
    /// The idle ones had been so for too long for a request that must not be sent twice.
    WriteNeedsFresh,
    /// The idle ones had been opened for another server name or another client.
    IdentityDiffers,
    /// Every connection over HTTP/2 carried as many requests as it may.
    StreamsFull,
    /// The kept connection that carried the request turned out to be closed.
    ReplacedStale,
    /// To have `min_idle` ready.
    MinIdle,
    /// For the probe of the endpoint's health.
    Probe,
    /// Pooling is off: every request opens its own.
    PoolingOff,
}

impl OpenReason {
    pub const ALL: [Self; 10] = [
        Self::NoneIdle,
        Self::AllExpired,
        Self::StealMiss,
        Self::WriteNeedsFresh,
        Self::IdentityDiffers,
        Self::StreamsFull,
        Self::ReplacedStale,
        Self::MinIdle,
        Self::Probe,
        Self::PoolingOff,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoneIdle => "none-idle",
            Self::AllExpired => "all-expired",
            Self::StealMiss => "steal-miss",
            Self::WriteNeedsFresh => "write-needs-fresh",
            Self::IdentityDiffers => "identity-differs",
            Self::StreamsFull => "streams-full",
            Self::ReplacedStale => "replaced-stale",
            Self::MinIdle => "min-idle",
            Self::Probe => "probe",
            Self::PoolingOff => "pooling-off",
        }
    }

    /// Whether a request found no kept connection. The one that replaces a stale one is for a request that had.
    pub fn is_miss(self) -> bool {
        match self {
            Self::NoneIdle
            | Self::AllExpired
            | Self::StealMiss
            | Self::WriteNeedsFresh
            | Self::IdentityDiffers
            | Self::StreamsFull
            | Self::PoolingOff => true,
            Self::ReplacedStale | Self::MinIdle | Self::Probe => false,
        }
    }
}

/// Why a connection to an endpoint was closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseReason {
    /// Idle for longer than `idle_timeout`.
    IdleTimeout,
    /// Older than `max_lifetime`.
    MaxLifetime,
    /// Carried `max_requests`.
    MaxRequests,
    /// More than `max_idle` were idle.
    Surplus,
    /// Pooling is off: it has carried its one request.
    PoolingOff,
    /// It was of no use to a request that needed its place: idle for too long, or opened for somebody else.
    GaveWay,
    /// The client that it had been opened for has gone.
    ClientLeft,
    /// The endpoint closed it while it was idle.
    ClosedByEndpoint,
    /// The endpoint reset it while it was idle.
    ResetByEndpoint,
    /// The endpoint sent bytes that no request had asked for.
    UnexpectedBytes,
    /// The endpoint asked for the close with its last answer.
    EndpointAsked,
    /// The endpoint had closed it before it answered the request.
    Stale,
    /// The endpoint's answer broke off.
    AbortedResponse,
    /// The endpoint answered before it had read the whole request.
    EarlyResponse,
    /// The client went away before its answer was complete.
    ClientGone,
    /// The answer was not HTTP as it should be.
    ProtocolError,
    /// A timeout of the request.
    Timeout,
    /// The endpoint acknowledged nothing any more.
    EndpointSilent,
    /// Its source address has left this machine.
    SourceGone,
    /// The probe that it was opened for is over.
    ProbeEnded,
    /// It became a tunnel.
    Tunnel,
    /// The endpoint left the config, or its settings changed.
    EndpointRemoved,
    /// The process drains.
    Drain,
}

impl CloseReason {
    pub const ALL: [Self; 23] = [
        Self::IdleTimeout,
        Self::MaxLifetime,
        Self::MaxRequests,
        Self::Surplus,
        Self::PoolingOff,
        Self::GaveWay,
        Self::ClientLeft,
        Self::ClosedByEndpoint,
        Self::ResetByEndpoint,
        Self::UnexpectedBytes,
        Self::EndpointAsked,
        Self::Stale,
        Self::AbortedResponse,
        Self::EarlyResponse,
        Self::ClientGone,
        Self::ProtocolError,
        Self::Timeout,
        Self::EndpointSilent,
        Self::SourceGone,
        Self::ProbeEnded,
        Self::Tunnel,
        Self::EndpointRemoved,
        Self::Drain,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::IdleTimeout => "idle-timeout",
            Self::MaxLifetime => "max-lifetime",
            Self::MaxRequests => "max-requests",
            Self::Surplus => "surplus",
            Self::PoolingOff => "pooling-off",
            Self::GaveWay => "gave-way",
            Self::ClientLeft => "client-left",
            Self::ClosedByEndpoint => "closed-by-endpoint",
            Self::ResetByEndpoint => "reset-by-endpoint",
            Self::UnexpectedBytes => "unexpected-bytes",
            Self::EndpointAsked => "endpoint-asked",
            Self::Stale => "stale",
            Self::AbortedResponse => "aborted-response",
            Self::EarlyResponse => "early-response",
            Self::ClientGone => "client-gone",
            Self::ProtocolError => "protocol-error",
            Self::Timeout => "timeout",
            Self::EndpointSilent => "endpoint-silent",
            Self::SourceGone => "source-gone",
            Self::ProbeEnded => "probe-ended",
            Self::Tunnel => "tunnel",
            Self::EndpointRemoved => "endpoint-removed",
            Self::Drain => "drain",
        }
    }
}

/// Who ended a connection first, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FirstClose {
    OurFin,
    OurReset,
    EndpointFin,
    EndpointReset,
}

impl FirstClose {
    pub const ALL: [Self; 4] = [Self::OurFin, Self::OurReset, Self::EndpointFin, Self::EndpointReset];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::OurFin => "us-fin",
            Self::OurReset => "us-rst",
            Self::EndpointFin => "endpoint-fin",
            Self::EndpointReset => "endpoint-rst",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_reason_stands_at_its_own_place_and_has_its_own_word() {
        let opened: HashSet<_> = OpenReason::ALL.iter().map(|reason| reason.as_str()).collect();
        let closed: HashSet<_> = CloseReason::ALL.iter().map(|reason| reason.as_str()).collect();
        assert_eq!(
            (opened.len(), closed.len()),
            (OpenReason::ALL.len(), CloseReason::ALL.len())
        );
        assert!(
            OpenReason::ALL
                .iter()
                .enumerate()
                .all(|(index, reason)| *reason as usize == index)
        );
        assert!(
            CloseReason::ALL
                .iter()
                .enumerate()
                .all(|(index, reason)| *reason as usize == index)
        );
        assert!(
            FirstClose::ALL
                .iter()
                .enumerate()
                .all(|(index, first)| *first as usize == index)
        );
    }
}
