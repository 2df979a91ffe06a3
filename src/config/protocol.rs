//! `[cluster.NAME] protocol` and `proxy_protocol`, `[cluster.NAME.http2]`: what is spoken to the endpoints.

use std::time::Duration;

use super::{client::LARGEST_WINDOW, problem::Wrong, reader::Table, write::Entries};

/// The HTTP that endpoints get.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Protocol {
    #[default]
    Http1,
    /// With prior knowledge where there is no TLS (RFC 9113 3.3).
    Http2,
    /// What the endpoint chooses in its TLS handshake (RFC 7301).
    Auto,
}

/// The header ahead of the first byte of a connection, which tells the endpoint who the client is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyHeader {
    V1,
    V2,
}

/// `[cluster.NAME.http2]`: the connections over HTTP/2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UpstreamHttp2 {
    /// Requests at once on one connection, above which another one is opened; no more than the endpoint allows.
    pub streams: u32,
    /// Bytes of one answer that an endpoint may send ahead of the client.
    pub stream_window: u32,
    /// The same of all answers of one connection.
    pub connection_window: u32,
    /// How long a connection may show nothing before it is asked for a sign of life; zero: never.
    pub ping_interval: Duration,
    /// How long that sign is waited for.
    pub ping_timeout: Duration,
}

pub(super) const PROTOCOLS: [(&str, Protocol); 3] = [
    ("http1", Protocol::Http1),
    ("http2", Protocol::Http2),
    ("auto", Protocol::Auto),
];
pub(super) const PROXY_HEADERS: [(&str, Option<ProxyHeader>); 3] = [
    ("off", None),
    ("v1", Some(ProxyHeader::V1)),
    ("v2", Some(ProxyHeader::V2)),
];

impl Default for UpstreamHttp2 {
    fn default() -> Self {
        Self {
            // What servers allow by default: nginx 128, Go 250, hyper 200, gRPC 100.
            streams: 100,
            stream_window: 256 << 10,
            // Above that of all streams together, so that clients who take nothing of their answers hold up nobody else.
            connection_window: 32 << 20,
            ping_interval: Duration::ZERO,
            ping_timeout: Duration::from_secs(5),
        }
    }
}

impl UpstreamHttp2 {
    pub(super) fn read(table: &mut Table<'_>) -> Self {
        let default = Self::default();
        let windows = 65_535..=LARGEST_WINDOW;
        Self {
            streams: table.integer("streams", default.streams, 1..=1_000_000),
            stream_window: table.size("stream_window", default.stream_window, windows.clone()),
            connection_window: table.size("connection_window", default.connection_window, windows),
            ping_interval: table.duration("ping_interval", default.ping_interval),
            ping_timeout: table.positive_duration(
                "ping_timeout",
                default.ping_timeout,
                "`ping_interval = \"0s\"` sends none",
            ),
        }
    }

    pub(super) fn entries(&self) -> Entries {
        let default = Self::default();
        let mut entries = Entries::default();
        entries.changed("streams", &self.streams, &default.streams);
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
        entries.changed("ping_interval", &self.ping_interval, &default.ping_interval);
        entries.changed("ping_timeout", &self.ping_timeout, &default.ping_timeout);
        entries
    }
}

/// Reports what cannot go together in one cluster.
pub(super) fn report_contradictions(table: &Table<'_>, protocol: Protocol, proxy_header: Option<ProxyHeader>) {
    if protocol == Protocol::Auto && !table.has("tls") {
        let wrong = Wrong::new("without TLS, an endpoint cannot choose its protocol");
        table.report(
            "protocol",
            wrong.help("write \"http1\" or \"http2\", or add `tls = {}`"),
        );
    }
    if proxy_header.is_some() && protocol != Protocol::Http1 {
        let wrong = Wrong::new("a connection with a PROXY header serves one client, and HTTP/2 shares connections");
        table.report(
            "proxy_protocol",
            wrong.help("leave it out, or write `protocol = \"http1\"`"),
        );
    }
}
