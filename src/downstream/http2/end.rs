//! Why an HTTP/2 connection was ended for what its client did.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use h2::Reason;

/// One word each, the same in the log, in metrics and in the debug data of GOAWAY.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Http2End {
    /// More streams were reset than may be, by the client or for its mistakes (CVE-2023-44487, CVE-2025-8671).
    ResetFlood,
    /// More frames of one kind came than the traffic explains (CVE-2019-9511 to 9518).
    PingFlood,
    SettingsFlood,
    PriorityFlood,
    WindowUpdateFlood,
    EmptyDataFlood,
    UnknownFrameFlood,
    /// A head, or another frame that is no DATA, was not finished in time.
    HeaderTimeout,
    /// Nothing of what was written was taken.
    WriteStall,
    /// From here on: the codes of RFC 9113 7 with which the engine ends a connection.
    ProtocolError,
    FlowControlError,
    StreamClosed,
    FrameSizeError,
    CompressionError,
    EnhanceYourCalm,
    OtherError,
}

/// How often each of them happened at one listener.
#[derive(Debug, Default)]
pub struct Http2Ends([AtomicU64; Http2End::ALL.len()]);

impl Http2Ends {
    pub fn get(&self, end: Http2End) -> u64 {
        self.0[end as usize].load(Relaxed)
    }

    pub(super) fn add(&self, end: Http2End) {
        self.0[end as usize].fetch_add(1, Relaxed);
    }
}

impl Http2End {
    pub const ALL: [Self; 16] = [
        Self::ResetFlood,
        Self::PingFlood,
        Self::SettingsFlood,
        Self::PriorityFlood,
        Self::WindowUpdateFlood,
        Self::EmptyDataFlood,
        Self::UnknownFrameFlood,
        Self::HeaderTimeout,
        Self::WriteStall,
        Self::ProtocolError,
        Self::FlowControlError,
        Self::StreamClosed,
        Self::FrameSizeError,
        Self::CompressionError,
        Self::EnhanceYourCalm,
        Self::OtherError,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::ResetFlood => "reset-flood",
            Self::PingFlood => "ping-flood",
            Self::SettingsFlood => "settings-flood",
            Self::PriorityFlood => "priority-flood",
            Self::WindowUpdateFlood => "window-update-flood",
            Self::EmptyDataFlood => "empty-data-flood",
            Self::UnknownFrameFlood => "unknown-frame-flood",
            Self::HeaderTimeout => "header-timeout",
            Self::WriteStall => "write-stall",
            Self::ProtocolError => "protocol-error",
            Self::FlowControlError => "flow-control-error",
            Self::StreamClosed => "stream-closed",
            Self::FrameSizeError => "frame-size-error",
            Self::CompressionError => "compression-error",
            Self::EnhanceYourCalm => "enhance-your-calm",
            Self::OtherError => "other-error",
        }
    }

    /// What we tell the client.
    pub(super) fn code(self) -> Reason {
        match self {
            Self::ProtocolError => Reason::PROTOCOL_ERROR,
            _ => Reason::ENHANCE_YOUR_CALM,
        }
    }

    /// What the engine has told the client, if it is the engine that has ended the connection.
    pub(super) fn of_engine(error: &hyper::Error) -> Option<Self> {
        let error = std::error::Error::source(error)?.downcast_ref::<h2::Error>()?;
        if error.is_remote() || error.is_io() {
            return None;
        }
        Some(match error.reason()? {
            Reason::PROTOCOL_ERROR => Self::ProtocolError,
            Reason::FLOW_CONTROL_ERROR => Self::FlowControlError,
            Reason::STREAM_CLOSED => Self::StreamClosed,
            Reason::FRAME_SIZE_ERROR => Self::FrameSizeError,
            Reason::COMPRESSION_ERROR => Self::CompressionError,
            Reason::ENHANCE_YOUR_CALM => Self::EnhanceYourCalm,
            _ => Self::OtherError,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_end_is_counted_in_its_own_place() {
        for (index, end) in Http2End::ALL.into_iter().enumerate() {
            assert_eq!(end as usize, index);
            assert!(
                Http2End::ALL[..index]
                    .iter()
                    .all(|other| other.as_str() != end.as_str())
            );
        }
    }
}
