//! Why a connection was opened, and why it was closed: the same words in metrics, log and status.

/// Why a request did not find a kept connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenReason {
    /// No worker had an idle one.
    NoneIdle,
    /// There were idle ones, and all were too old, too long idle or dead.
    AllExpired,
    /// The kept connection that carried the request turned out to be closed.
    ReplacedStale,
    /// Pooling is off: every request opens its own.
    PoolingOff,
}

impl OpenReason {
    pub const ALL: [Self; 4] = [Self::NoneIdle, Self::AllExpired, Self::ReplacedStale, Self::PoolingOff];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoneIdle => "none-idle",
            Self::AllExpired => "all-expired",
            Self::ReplacedStale => "replaced-stale",
            Self::PoolingOff => "pooling-off",
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
    /// More than `max_idle` were idle, or pooling is off.
    Surplus,
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
    /// It became a tunnel.
    Tunnel,
    /// The endpoint left the config, or its settings changed.
    EndpointRemoved,
    /// The process drains.
    Drain,
}

impl CloseReason {
    pub const ALL: [Self; 17] = [
        Self::IdleTimeout,
        Self::MaxLifetime,
        Self::MaxRequests,
        Self::Surplus,
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
            Self::Tunnel => "tunnel",
            Self::EndpointRemoved => "endpoint-removed",
            Self::Drain => "drain",
        }
    }
}
