//! What a line can say of a request.

use std::{
    net::SocketAddr,
    time::{Duration, SystemTime},
};

use super::encode::{self, DEFAULT_LIMIT, PATH_LIMIT};

/// One request at its end. What came from the wire is bytes: nothing has to be valid anything.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    /// When the request's head was complete.
    pub time: SystemTime,
    pub client: SocketAddr,
    pub listener: &'a str,
    pub method: Option<&'a str>,
    pub host: Option<&'a [u8]>,
    /// With its query, as the client sent it.
    pub path: Option<&'a [u8]>,
    /// `HTTP/1.1` and the like.
    pub protocol: Option<&'a str>,
    /// What the client was answered; absent if it was gone before.
    pub status: Option<u16>,
    /// Bytes of the response's body that were sent to the client.
    pub bytes: u64,
    /// Bytes of a tunnel that were sent to the endpoint; those to the client are in `bytes`.
    pub bytes_up: Option<u64>,
    pub route: Option<&'a str>,
    pub cluster: Option<&'a str>,
    pub endpoint: Option<&'a str>,
    /// Whether the upstream connection had served another request before.
    pub reused: Option<bool>,
    /// Opening a new upstream connection.
    pub connect: Option<Duration>,
    /// Waiting for a permit or an idle connection.
    pub wait: Option<Duration>,
    /// From the request sent to the first byte of the endpoint's answer.
    pub first_byte: Option<Duration>,
    pub total: Duration,
    /// Why the request ended, if not by a whole answer of the endpoint.
    pub reason: Option<&'a str>,
    pub user_agent: Option<&'a [u8]>,
    /// How a gRPC call ended, by its number.
    pub grpc_status: Option<u16>,
}

impl Record<'_> {
    /// A record in which only the time and the client are known.
    pub fn at(time: SystemTime, client: SocketAddr) -> Self {
        Self {
            time,
            client,
            listener: "",
            method: None,
            host: None,
            path: None,
            protocol: None,
            status: None,
            bytes: 0,
            bytes_up: None,
            route: None,
            cluster: None,
            endpoint: None,
            reused: None,
            connect: None,
            wait: None,
            first_byte: None,
            total: Duration::ZERO,
            reason: None,
            user_agent: None,
            grpc_status: None,
        }
    }
}

/// The name of something in a [`Record`], in the order of a JSON line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    Time,
    Client,
    Listener,
    Method,
    Host,
    Path,
    Protocol,
    Status,
    Bytes,
    BytesUp,
    Route,
    Cluster,
    Endpoint,
    Reused,
    Connect,
    Wait,
    FirstByte,
    Total,
    Reason,
    UserAgent,
    GrpcStatus,
}

impl Field {
    pub const ALL: [Self; 21] = [
        Self::Time,
        Self::Client,
        Self::Listener,
        Self::Method,
        Self::Host,
        Self::Path,
        Self::Protocol,
        Self::Status,
        Self::Bytes,
        Self::BytesUp,
        Self::Route,
        Self::Cluster,
        Self::Endpoint,
        Self::Reused,
        Self::Connect,
        Self::Wait,
        Self::FirstByte,
        Self::Total,
        Self::Reason,
        Self::UserAgent,
        Self::GrpcStatus,
    ];

    /// As it stands in templates and JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Time => "time",
            Self::Client => "client",
            Self::Listener => "listener",
            Self::Method => "method",
            Self::Host => "host",
            Self::Path => "path",
            Self::Protocol => "protocol",
            Self::Status => "status",
            Self::Bytes => "bytes",
            Self::BytesUp => "bytes_up",
            Self::Route => "route",
            Self::Cluster => "cluster",
            Self::Endpoint => "endpoint",
            Self::Reused => "reused",
            Self::Connect => "connect_ms",
            Self::Wait => "wait_ms",
            Self::FirstByte => "first_byte_ms",
            Self::Total => "total_ms",
            Self::Reason => "reason",
            Self::UserAgent => "user_agent",
            Self::GrpcStatus => "grpc_status",
        }
    }

    /// The field of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|field| field.name() == name)
    }

    fn limit(self) -> usize {
        if self == Self::Path { PATH_LIMIT } else { DEFAULT_LIMIT }
    }

    fn of<'a>(self, record: &Record<'a>) -> Value<'a> {
        match self {
            Self::Time => Value::Time(record.time),
            Self::Client => Value::Address(record.client),
            Self::Listener => Value::Text(record.listener.as_bytes()),
            Self::Method => record.method.into(),
            Self::Host => record.host.into(),
            Self::Path => record.path.into(),
            Self::Protocol => record.protocol.into(),
            Self::Status => record
                .status
                .map_or(Value::Absent, |status| Value::Number(status.into())),
            Self::Bytes => Value::Number(record.bytes),
            Self::BytesUp => record.bytes_up.map_or(Value::Absent, Value::Number),
            Self::Route => record.route.into(),
            Self::Cluster => record.cluster.into(),
            Self::Endpoint => record.endpoint.into(),
            Self::Reused => record.reused.map_or(Value::Absent, Value::Flag),
            Self::Connect => record.connect.into(),
            Self::Wait => record.wait.into(),
            Self::FirstByte => record.first_byte.into(),
            Self::Total => Value::Milliseconds(record.total),
            Self::Reason => record.reason.into(),
            Self::UserAgent => record.user_agent.into(),
            Self::GrpcStatus => record
                .grpc_status
                .map_or(Value::Absent, |status| Value::Number(status.into())),
        }
    }
}

enum Value<'a> {
    Absent,
    Text(&'a [u8]),
    Number(u64),
    Flag(bool),
    Milliseconds(Duration),
    Time(SystemTime),
    Address(SocketAddr),
}

impl<'a> From<Option<&'a [u8]>> for Value<'a> {
    fn from(value: Option<&'a [u8]>) -> Self {
        value.map_or(Self::Absent, Self::Text)
    }
}

impl<'a> From<Option<&'a str>> for Value<'a> {
    fn from(value: Option<&'a str>) -> Self {
        value.map(str::as_bytes).into()
    }
}

impl From<Option<Duration>> for Value<'_> {
    fn from(value: Option<Duration>) -> Self {
        value.map_or(Self::Absent, Self::Milliseconds)
    }
}

impl Value<'_> {
    /// The value without quotes around it; nothing in it needs any.
    fn write(&self, out: &mut Vec<u8>, limit: usize) {
        match self {
            Self::Absent => {}
            Self::Text(text) => encode::text(out, text, limit),
            Self::Number(number) => encode::number(out, *number),
            Self::Flag(true) => out.extend_from_slice(b"true"),
            Self::Flag(false) => out.extend_from_slice(b"false"),
            Self::Milliseconds(duration) => encode::milliseconds(out, *duration),
            Self::Time(time) => encode::time(out, *time),
            Self::Address(address) => encode::display(out, address),
        }
    }

    fn is_quoted_in_json(&self) -> bool {
        matches!(self, Self::Text(_) | Self::Time(_) | Self::Address(_))
    }
}

/// Writes one JSON object, without a line end.
pub(super) fn write_json(out: &mut Vec<u8>, record: &Record<'_>) {
    let mut separator = b'{';
    for field in Field::ALL {
        let value = field.of(record);
        if matches!(value, Value::Absent) {
            continue;
        }
        out.push(separator);
        separator = b',';
        out.push(b'"');
        out.extend_from_slice(field.name().as_bytes());
        out.extend_from_slice(b"\":");
        if value.is_quoted_in_json() {
            out.push(b'"');
            value.write(out, field.limit());
            out.push(b'"');
        } else {
            value.write(out, field.limit());
        }
    }
    out.push(b'}');
}

/// Writes one field as text: `-` if it is absent or empty, so that columns stay columns.
pub(super) fn write_text(out: &mut Vec<u8>, record: &Record<'_>, field: Field) {
    match field.of(record) {
        Value::Absent | Value::Text([]) => out.push(b'-'),
        value => value.write(out, field.limit()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::{option, prelude::*};
    use serde_json::Value as Json;

    use super::*;

    fn json(record: &Record<'_>) -> Json {
        let mut line = Vec::new();
        write_json(&mut line, record);
        assert!(!line.iter().any(u8::is_ascii_control));
        serde_json::from_slice(&line).unwrap()
    }

    #[test]
    fn a_full_record_has_every_field() {
        let ms = |n| Some(Duration::from_micros(n));
        let record = Record {
            listener: "public",
            method: Some("GET"),
            host: Some(b"shop.example"),
            path: Some(b"/a?b=\"c\""),
            protocol: Some("HTTP/1.1"),
            status: Some(200),
            bytes: 17,
            bytes_up: Some(4),
            route: Some("r"),
            cluster: Some("api"),
            endpoint: Some("10.0.0.11:9000"),
            reused: Some(true),
            connect: ms(1500),
            wait: ms(0),
            first_byte: ms(12_345_678),
            total: Duration::from_millis(7),
            reason: Some("endpoint-reset"),
            user_agent: Some("tøst".as_bytes()),
            grpc_status: Some(14),
            ..Record::at(
                SystemTime::UNIX_EPOCH + Duration::from_millis(1_795_371_401_023),
                ([10, 0, 0, 9], 4711).into(),
            )
        };
        let expected = serde_json::json!({
            "time": "2026-11-22T18:16:41.023Z", "client": "10.0.0.9:4711", "listener": "public", "method": "GET",
            "host": "shop.example", "path": "/a?b=\"c\"", "protocol": "HTTP/1.1", "status": 200, "bytes": 17,
            "bytes_up": 4, "route": "r", "cluster": "api", "endpoint": "10.0.0.11:9000", "reused": true, "connect_ms": 1.5,
            "wait_ms": 0.0, "first_byte_ms": 12345.678, "total_ms": 7.0, "reason": "endpoint-reset",
            "user_agent": "tøst", "grpc_status": 14,
        });
        assert_eq!(json(&record), expected);
    }

    #[test]
    fn absent_fields_are_left_out() {
        let line = json(&Record::at(SystemTime::UNIX_EPOCH, ([1, 1, 1, 1], 1).into()));
        let names: Vec<_> = line.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(names, ["bytes", "client", "listener", "time", "total_ms"]);
    }

    #[test]
    fn every_name_leads_back_to_its_field() {
        for field in Field::ALL {
            assert_eq!(Field::named(field.name()), Some(field));
        }
        assert_eq!(Field::named("nothing"), None);
    }

    fn bytes() -> impl Strategy<Value = Option<Vec<u8>>> {
        option::of(prop_oneof![
            prop::collection::vec(any::<u8>(), 0..600),
            prop::collection::vec(any::<u8>(), 2000..2200),
            any::<String>().prop_map(String::into_bytes),
        ])
    }

    proptest! {
        #[test]
        fn every_line_parses_whatever_is_sent(
            host in bytes(), path in bytes(), agent in bytes(), name in any::<String>(), number in any::<u64>(),
            status in option::of(any::<u16>()), duration in any::<Duration>(), client in any::<SocketAddr>(),
        ) {
            let record = Record {
                listener: &name,
                method: Some(&name),
                host: host.as_deref(),
                path: path.as_deref(),
                status,
                bytes: number,
                wait: Some(duration),
                reason: Some(&name),
                user_agent: agent.as_deref(),
                ..Record::at(SystemTime::UNIX_EPOCH + duration.min(Duration::from_secs(1 << 40)), client)
            };
            let line = json(&record);
            prop_assert_eq!(line["bytes"].as_u64(), Some(number));
            prop_assert_eq!(line["client"].as_str().unwrap(), client.to_string());
            for (field, value, limit) in [("host", &host, 256), ("path", &path, 2048), ("user_agent", &agent, 256)] {
                let Some(value) = value else { continue };
                let text = line[field].as_str().unwrap();
                if value.len() <= limit {
                    prop_assert_eq!(text, String::from_utf8_lossy(value));
                } else {
                    prop_assert!(text.ends_with('…') && text.chars().count() <= limit + 1);
                }
            }
        }
    }
}
