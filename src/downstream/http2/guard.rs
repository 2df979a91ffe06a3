//! Which frames a client may send, how many and how fast: what the HTTP/2 engine does not limit. Pure, but for counting.
//!
//! # What is too much?
//! Frames that carry no request and no body (PING, SETTINGS, PRIORITY, WINDOW_UPDATE, empty DATA, unknown ones) each cost
//! a share of `max_control_frames`; the shares come back within [`PERIOD`], and with traffic that explains such frames:
//! each request and each frame of an answer brings [`EARNED`]. So a download may be accompanied by as many window updates
//! and pings as it needs, and an idle client by a few. Streams that end in a reset, the client's own or one that its
//! mistakes have caused, cost a share of `max_resets`, which comes back with time alone.

use std::time::Duration;

use tokio::time::Instant;

use super::{
    answers::Answers,
    end::Http2End,
    frames::{
        ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, Frame, HEADERS, PADDED, PING, PRIORITY, RST_STREAM, SETTINGS,
        WINDOW_UPDATE,
    },
};
use crate::config;

/// The time in which a whole limit comes back.
const PERIOD: Duration = Duration::from_secs(10);
/// Control frames that one frame of traffic explains: clients that update the windows of the stream and of the
/// connection for each DATA frame and measure the way with a PING as well are known.
const EARNED: f64 = 4.0;

/// What one client has done.
#[derive(Debug)]
pub(super) struct Guard {
    resets: Share,
    control: Share,
    answers: Answers,
    /// The newest stream of the client.
    last_stream: u32,
    /// A head has begun whose end (END_HEADERS) has not come.
    block: Block,
    preface: Preface,
    end: Option<Http2End>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Block {
    Open,
    Closed,
}

/// Whether the first frame, which is SETTINGS (RFC 9113 3.4), has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Preface {
    Coming,
    Over,
}

/// A limit of which a part is used up.
#[derive(Debug)]
struct Share {
    used: f64,
    max: f64,
    at: Instant,
}

impl Share {
    fn new(max: u32, now: Instant) -> Self {
        Self {
            used: 0.0,
            max: f64::from(max),
            at: now,
        }
    }

    /// Uses one up; `false` if none was left.
    fn take(&mut self, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.at).as_secs_f64() / PERIOD.as_secs_f64();
        self.at = now;
        self.used = (self.used - passed * self.max).max(0.0) + 1.0;
        self.used <= self.max
    }

    fn give(&mut self, count: f64) {
        self.used = (self.used - count).max(0.0);
    }
}

impl Guard {
    pub(super) fn new(config: &config::Http2, write_stall: Duration, now: Instant) -> Self {
        Self {
            resets: Share::new(config.max_resets, now),
            control: Share::new(config.max_control_frames, now),
            answers: Answers::new(write_stall, now),
            last_stream: 0,
            block: Block::Closed,
            preface: Preface::Coming,
            end: None,
        }
    }

    /// The client has sent this frame.
    pub(super) fn received(&mut self, frame: &Frame, now: Instant) {
        if self.preface == Preface::Coming {
            self.preface = Preface::Over;
            if frame.kind != SETTINGS || frame.has(ACK) {
                self.end.get_or_insert(Http2End::ProtocolError);
            }
        }
        match frame.kind {
            HEADERS => {
                self.last_stream = self.last_stream.max(frame.stream);
                self.control.give(EARNED);
                self.block = block(frame);
            }
            CONTINUATION => self.block = block(frame),
            RST_STREAM => {
                self.answers.end(frame.stream);
                self.reset(now);
            }
            DATA if frame.has(END_STREAM) || !is_empty(frame) => {}
            DATA => self.control(Http2End::EmptyDataFlood, now),
            // An answer to what we have asked.
            SETTINGS if frame.has(ACK) => {}
            SETTINGS => self.control(Http2End::SettingsFlood, now),
            PING => self.control(Http2End::PingFlood, now),
            PRIORITY => self.control(Http2End::PriorityFlood, now),
            WINDOW_UPDATE => self.control(Http2End::WindowUpdateFlood, now),
            _ => self.control(Http2End::UnknownFrameFlood, now),
        }
    }

    /// The engine has sent this frame.
    pub(super) fn sent(&mut self, frame: &Frame, now: Instant) {
        match frame.kind {
            DATA | HEADERS => {
                self.control.give(EARNED);
                if frame.has(END_STREAM) {
                    self.answers.end(frame.stream);
                } else {
                    self.answers.wrote(frame.stream, now);
                }
            }
            RST_STREAM => {
                self.answers.end(frame.stream);
                if is_for_a_mistake(frame) {
                    self.reset(now);
                }
            }
            _ => {}
        }
    }

    /// Looks after answers that the client does not take; `in_flight` requests are not answered whole as yet.
    pub(super) fn look_after(&mut self, in_flight: usize, now: Instant) {
        if self.answers.are_stuck(in_flight, now) {
            self.end.get_or_insert(Http2End::WriteStall);
        }
    }

    /// Whether a head has begun and not ended.
    pub(super) fn is_within_head(&self) -> bool {
        self.block == Block::Open
    }

    /// Why the connection has to end; the first reason counts.
    pub(super) fn end(&self) -> Option<Http2End> {
        self.end
    }

    /// The newest stream that the client has opened.
    pub(super) fn last_stream(&self) -> u32 {
        self.last_stream
    }

    fn reset(&mut self, now: Instant) {
        if !self.resets.take(now) {
            self.end.get_or_insert(Http2End::ResetFlood);
        }
    }

    fn control(&mut self, flood: Http2End, now: Instant) {
        if !self.control.take(now) {
            self.end.get_or_insert(flood);
        }
    }
}

fn block(frame: &Frame) -> Block {
    if frame.has(END_HEADERS) {
        Block::Closed
    } else {
        Block::Open
    }
}

/// No byte of body; padding is none (RFC 9113 6.1).
fn is_empty(frame: &Frame) -> bool {
    let padding = if frame.has(PADDED) {
        1 + u32::from(frame.start[0])
    } else {
        0
    };
    frame.length <= padding
}

/// Whether the stream was reset for what the client did: not where an answer was complete before its request
/// (NO_ERROR), and not where an endpoint has failed (INTERNAL_ERROR, CANCEL).
fn is_for_a_mistake(reset: &Frame) -> bool {
    let code = h2::Reason::from(u32::from_be_bytes(reset.start));
    !matches!(
        code,
        h2::Reason::NO_ERROR | h2::Reason::INTERNAL_ERROR | h2::Reason::CANCEL
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const STALL: Duration = Duration::from_secs(30);

    fn guard(max_resets: u32, max_control_frames: u32) -> (Guard, Instant) {
        let config = config::Http2 {
            max_resets,
            max_control_frames,
            ..config::Http2::default()
        };
        let now = Instant::now();
        let mut guard = Guard::new(&config, STALL, now);
        guard.preface = Preface::Over;
        (guard, now)
    }

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Frame {
        let mut start = [0; 4];
        let length = payload.len().min(4);
        start[..length].copy_from_slice(&payload[..length]);
        Frame {
            kind,
            flags,
            stream: 1,
            length: u32::try_from(payload.len()).unwrap(),
            start,
        }
    }

    #[test]
    fn each_kind_of_control_frame_has_its_own_flood() {
        for (flood, frame) in [
            (Http2End::PingFlood, frame(PING, 0, &[0; 8])),
            (Http2End::PingFlood, frame(PING, ACK, &[0; 8])),
            (Http2End::SettingsFlood, frame(SETTINGS, 0, &[])),
            (Http2End::PriorityFlood, frame(PRIORITY, 0, &[0; 5])),
            (Http2End::WindowUpdateFlood, frame(WINDOW_UPDATE, 0, &[0, 0, 0, 1])),
            (Http2End::EmptyDataFlood, frame(DATA, 0, &[])),
            (Http2End::EmptyDataFlood, frame(DATA, PADDED, &[3, 0, 0, 0])),
            (Http2End::UnknownFrameFlood, frame(0xbb, 0, &[])),
        ] {
            let (mut guard, now) = guard(10, 10);
            (0..10).for_each(|_| guard.received(&frame, now));
            assert_eq!(guard.end(), None, "{frame:?}");
            guard.received(&frame, now);
            assert_eq!(guard.end(), Some(flood), "{frame:?}");
        }
    }

    #[test]
    fn the_first_frame_is_settings() {
        for (first, end) in [
            (frame(SETTINGS, 0, b""), None),
            (frame(SETTINGS, ACK, b""), Some(Http2End::ProtocolError)),
            (frame(PING, 0, &[0; 8]), Some(Http2End::ProtocolError)),
        ] {
            let now = Instant::now();
            let mut guard = Guard::new(&config::Http2::default(), STALL, now);
            guard.received(&first, now);
            guard.received(&frame(PING, 0, &[0; 8]), now);
            assert_eq!(guard.end(), end, "{first:?}");
        }
    }

    #[test]
    fn bodies_and_acknowledgements_are_no_control_frames() {
        let (mut guard, now) = guard(1, 1);
        for frame in [
            frame(DATA, 0, b"x"),
            frame(DATA, PADDED, &[2, b'x', 0, 0]),
            frame(DATA, END_STREAM, b""),
            frame(SETTINGS, ACK, b""),
            frame(CONTINUATION, END_HEADERS, b""),
        ] {
            (0..1000).for_each(|_| guard.received(&frame, now));
            assert_eq!(guard.end(), None, "{frame:?}");
        }
    }

    #[test]
    fn a_limit_comes_back_with_time() {
        let (mut guard, start) = guard(10, 100);
        let reset = frame(RST_STREAM, 0, &[0, 0, 0, 8]);
        // One per second for ever.
        (0..1000).for_each(|second| guard.received(&reset, start + Duration::from_secs(second)));
        assert_eq!(guard.end(), None);
        // Two per second are too many in the end.
        (0..30).for_each(|half| guard.received(&reset, start + Duration::from_millis(1_000_000 + half * 500)));
        assert_eq!(guard.end(), Some(Http2End::ResetFlood));
    }

    #[test]
    fn traffic_explains_control_frames() {
        let (mut guard, now) = guard(10, 10);
        let update = frame(WINDOW_UPDATE, 0, &[0, 0, 0, 1]);
        for _ in 0..10_000 {
            guard.sent(&frame(DATA, 0, b"x"), now);
            (0..3).for_each(|_| guard.received(&update, now));
        }
        assert_eq!(guard.end(), None);
        (0..11).for_each(|_| guard.received(&update, now));
        assert_eq!(guard.end(), Some(Http2End::WindowUpdateFlood));
    }

    #[test]
    fn resets_for_the_clients_mistakes_count_as_its_own() {
        for (code, counts) in [
            (0, false),
            (1, true),
            (2, false),
            (3, true),
            (5, true),
            (7, true),
            (8, false),
        ] {
            let (mut guard, now) = guard(5, 10);
            (0..6).for_each(|_| guard.sent(&frame(RST_STREAM, 0, &[0, 0, 0, code]), now));
            assert_eq!(guard.end().is_some(), counts, "{code}");
        }
    }

    #[test]
    fn a_head_ends_with_its_last_block() {
        let (mut guard, now) = guard(5, 10);
        for (kind, flags, within) in [
            (HEADERS, END_STREAM, true),
            (CONTINUATION, 0, true),
            (CONTINUATION, END_HEADERS, false),
            (HEADERS, END_HEADERS, false),
        ] {
            guard.received(&frame(kind, flags, b""), now);
            assert_eq!(guard.is_within_head(), within);
        }
    }
}
