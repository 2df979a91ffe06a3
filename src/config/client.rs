//! `[timeouts]`, `[limits]` and `[http2]`: how slow, how large and how parallel a client may be.

use std::{ops::RangeInclusive, time::Duration};

use super::{MANY, reader::Table, write::Entries};

/// `[timeouts]`: how slow a client may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientTimeouts {
    pub tls_handshake: Duration,
    pub header_read: Duration,
    /// Longest time without a byte of a request body that is waited for.
    pub body_stall: Duration,
    /// Longest time in which the client takes no byte of a response.
    pub write_stall: Duration,
}

impl Default for ClientTimeouts {
    fn default() -> Self {
        Self {
            tls_handshake: Duration::from_secs(10),
            header_read: Duration::from_secs(15),
            body_stall: Duration::from_secs(30),
            write_stall: Duration::from_secs(30),
        }
    }
}

impl ClientTimeouts {
    pub(super) fn read(table: &mut Table<'_>, default: &Self) -> Self {
        let patient =
            "a client that may take for ever can hold the connection for ever; write a long time, such as \"1h\"";
        Self {
            tls_handshake: table.positive_duration("tls_handshake", default.tls_handshake, patient),
            header_read: table.positive_duration("header_read", default.header_read, patient),
            body_stall: table.positive_duration("body_stall", default.body_stall, patient),
            write_stall: table.positive_duration("write_stall", default.write_stall, patient),
        }
    }

    pub(super) fn entries(&self, default: &Self) -> Entries {
        let mut entries = Entries::default();
        entries.changed("tls_handshake", &self.tls_handshake, &default.tls_handshake);
        entries.changed("header_read", &self.header_read, &default.header_read);
        entries.changed("body_stall", &self.body_stall, &default.body_stall);
        entries.changed("write_stall", &self.write_stall, &default.write_stall);
        entries
    }
}

/// `[limits]`: how large a request head may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes; more is 431.
    pub max_header_size: usize,
    /// Fields; more is 431.
    pub max_headers: usize,
    /// Bytes of the request target; more is 414.
    pub max_uri_size: usize,
}

/// RFC 9112 3 wants request lines of 8000 bytes to be possible, and the head is read into one buffer.
const HEADER_SIZES: RangeInclusive<u64> = 8 << 10..=16 << 20;
/// A `http::HeaderMap` holds no more.
const HEADER_COUNTS: RangeInclusive<u64> = 1..=24_576;
/// A `http::Uri` holds no more.
const URI_SIZES: RangeInclusive<u64> = 1..=65_534;

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_header_size: 64 << 10,
            max_headers: 100,
            max_uri_size: 8 << 10,
        }
    }
}

impl Limits {
    pub(super) fn read(table: &mut Table<'_>, default: &Self) -> Self {
        Self {
            max_header_size: table.size("max_header_size", default.max_header_size, HEADER_SIZES),
            max_headers: table.integer("max_headers", default.max_headers, HEADER_COUNTS),
            max_uri_size: table.size("max_uri_size", default.max_uri_size, URI_SIZES),
        }
    }

    pub(super) fn entries(&self, default: &Self) -> Entries {
        let mut entries = Entries::default();
        entries.changed_size("max_header_size", self.max_header_size, default.max_header_size);
        entries.changed("max_headers", &self.max_headers, &default.max_headers);
        entries.changed_size("max_uri_size", self.max_uri_size, default.max_uri_size);
        entries
    }
}

/// `[http2]`: client connections over HTTP/2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Http2 {
    pub max_concurrent_streams: u32,
    /// Bytes that a client may send on one stream before it has to wait.
    pub stream_window: u32,
    /// Bytes that a client may send on one connection before it has to wait.
    pub connection_window: u32,
    /// Streams of one connection that may end in a reset within ten seconds.
    pub max_resets: u32,
    /// Frames of one connection that may come within ten seconds and are neither part of a request nor explained by one.
    pub max_control_frames: u32,
}

/// The largest flow-control window (RFC 9113 6.9.1).
pub(super) const LARGEST_WINDOW: u64 = (1 << 31) - 1;
/// What a connection begins with; only a larger window can be told to the client (RFC 9113 6.9.2).
const FIRST_CONNECTION_WINDOW: u64 = 65_535;

impl Default for Http2 {
    fn default() -> Self {
        Self {
            max_concurrent_streams: 128,
            stream_window: 256 << 10,
            connection_window: 1 << 20,
            max_resets: 500,
            max_control_frames: 1000,
        }
    }
}

impl Http2 {
    pub(super) fn read(table: &mut Table<'_>, default: &Self) -> Self {
        let (streams, connections) = (1..=LARGEST_WINDOW, FIRST_CONNECTION_WINDOW..=LARGEST_WINDOW);
        let most_streams = default.max_concurrent_streams;
        Self {
            max_concurrent_streams: table.integer("max_concurrent_streams", most_streams, 1..=LARGEST_WINDOW),
            stream_window: table.size("stream_window", default.stream_window, streams),
            connection_window: table.size("connection_window", default.connection_window, connections),
            max_resets: table.integer("max_resets", default.max_resets, 1..=MANY),
            max_control_frames: table.integer("max_control_frames", default.max_control_frames, 1..=MANY),
        }
    }

    pub(super) fn entries(&self, default: &Self) -> Entries {
        let mut entries = Entries::default();
        entries.changed(
            "max_concurrent_streams",
            &self.max_concurrent_streams,
            &default.max_concurrent_streams,
        );
        entries.changed_size(
            "stream_window",
            self.stream_window as usize,
            default.stream_window as usize,
        );
        entries.changed_size(
            "connection_window",
            self.connection_window as usize,
            default.connection_window as usize,
        );
        entries.changed("max_resets", &self.max_resets, &default.max_resets);
        entries.changed(
            "max_control_frames",
            &self.max_control_frames,
            &default.max_control_frames,
        );
        entries
    }
}
