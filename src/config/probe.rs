//! `[cluster.NAME.health]`.

use std::time::Duration;

use super::{
    address::parse_authority,
    problem::Wrong,
    reader::{Table, Value},
    write::Entries,
};

/// `[cluster.NAME.health] probe = {...}`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    pub kind: ProbeKind,
    pub interval: Duration,
    pub timeout: Duration,
    /// Successes in a row that make an unhealthy endpoint healthy.
    pub rise: u32,
    /// Failures in a row that make a healthy endpoint unhealthy.
    pub fall: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProbeKind {
    /// `GET path` is answered with a status in the range (both ends included).
    Http {
        path: String,
        host: Option<String>,
        statuses: (u16, u16),
    },
    /// A connection can be opened.
    Tcp,
    /// `grpc.health.v1.Health/Check` says that this service is `SERVING`; an empty name is the whole server.
    Grpc { service: String },
}

const DEFAULT_INTERVAL: Duration = Duration::from_secs(5);
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(2);
const DEFAULT_RISE: u32 = 2;
const DEFAULT_FALL: u32 = 3;
const DEFAULT_STATUSES: (u16, u16) = (200, 299);

/// Reads `[cluster.NAME.health]`.
pub(super) fn read_probe(table: &mut Table<'_>) -> Option<Probe> {
    table.section("probe", None, Probe::read)
}

pub(super) fn write_probe(probe: Option<&Probe>) -> Entries {
    let mut entries = Entries::default();
    if let Some(probe) = probe {
        entries.put_table("probe", &probe.entries());
    }
    entries
}

impl Probe {
    fn read(table: &mut Table<'_>) -> Option<Self> {
        let kind = read_kind(table);
        let often = "write for example \"5s\"";
        let interval = table.positive_duration("interval", DEFAULT_INTERVAL, often);
        let timeout = table.positive_duration("timeout", DEFAULT_TIMEOUT, often);
        let rise = table.integer("rise", DEFAULT_RISE, 1..=1000);
        let fall = table.integer("fall", DEFAULT_FALL, 1..=1000);
        Some(Self {
            kind: kind?,
            interval,
            timeout,
            rise,
            fall,
        })
    }

    fn entries(&self) -> Entries {
        let mut entries = Entries::default();
        match &self.kind {
            ProbeKind::Tcp => entries.put("tcp", &true),
            ProbeKind::Grpc { service } => entries.put("grpc", service),
            ProbeKind::Http { path, host, statuses } => {
                entries.put("path", path);
                if let Some(host) = host {
                    entries.put("host", host);
                }
                let written = |(first, last): &(u16, u16)| format!("{first}-{last}");
                entries.changed("statuses", &written(statuses), &written(&DEFAULT_STATUSES));
            }
        }
        entries.changed("interval", &self.interval, &DEFAULT_INTERVAL);
        entries.changed("timeout", &self.timeout, &DEFAULT_TIMEOUT);
        entries.changed("rise", &self.rise, &DEFAULT_RISE);
        entries.changed("fall", &self.fall, &DEFAULT_FALL);
        entries
    }
}

fn read_kind(table: &mut Table<'_>) -> Option<ProbeKind> {
    let tcp = table.boolean("tcp", false);
    let service = table
        .value("grpc")
        .and_then(|value| value.parse("the name of a service, or \"\" for the whole server", parse_service));
    let path = table
        .value("path")
        .and_then(|value| value.parse("a path, such as \"/healthz\"", parse_target));
    let host = table
        .value("host")
        .and_then(|value| value.parse("a host, such as \"api.example\"", parse_authority));
    let statuses = table.or("statuses", DEFAULT_STATUSES, read_statuses);
    if !tcp && !table.has("grpc") {
        if !table.has("path") {
            let wrong = Wrong::new("this probe does not say what to ask");
            table.report_absence(
                wrong.help("write `path = \"/healthz\"`, `grpc = \"\"`, or `tcp = true` to only open a connection"),
            );
        }
        return path.map(|path| ProbeKind::Http { path, host, statuses });
    }
    let does = if tcp {
        "a probe with `tcp = true` only opens a connection"
    } else {
        "a probe with `grpc` asks by gRPC's health protocol"
    };
    let of_others = ["path", "host", "statuses"].into_iter().chain(tcp.then_some("grpc"));
    for key in of_others.filter(|key| table.has(key)) {
        let wrong = Wrong::new(format!("{does}, so `{key}` has no meaning"));
        table.report(key, wrong.help("leave out one of the two"));
    }
    if tcp {
        return Some(ProbeKind::Tcp);
    }
    service.map(|service| ProbeKind::Grpc { service })
}

/// The full name of a gRPC service.
fn parse_service(text: &str) -> Result<String, Wrong> {
    if text.len() > 1000 || text.chars().any(|c| c.is_control() || c.is_whitespace()) {
        let wrong = Wrong::new(format!("{text:?} is not the name of a service"));
        return Err(wrong.help("write its full name, such as \"shop.v1.Orders\""));
    }
    Ok(text.to_owned())
}

/// A request target in origin form (RFC 9112 3.2.1).
fn parse_target(text: &str) -> Result<String, Wrong> {
    let good = text.starts_with('/') && text.chars().all(|c| c.is_ascii_graphic() && c != '#');
    if !good || text.parse::<http::Uri>().is_err() {
        let wrong = Wrong::new(format!("{text:?} is not a path to ask for"));
        return Err(wrong.help("write a path that begins with a slash, such as \"/healthz\""));
    }
    Ok(text.to_owned())
}

fn read_statuses(value: Value<'_>) -> Option<(u16, u16)> {
    if value.is_integer() {
        return value.integer(200..=599).map(|status| (status, status));
    }
    value.parse("statuses, such as \"200-299\" or 204", parse_statuses)
}

/// Reads `200-299` or `204`. Final statuses only: an informational one is no answer (RFC 9110 15.2).
fn parse_statuses(text: &str) -> Result<(u16, u16), Wrong> {
    let status = |text: &str| text.parse::<u16>().ok().filter(|status| (200..=599).contains(status));
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    match (status(first), status(last)) {
        (Some(first), Some(last)) if first <= last => Ok((first, last)),
        _ => {
            let wrong = Wrong::new(format!("{text:?} is no range of statuses"));
            Err(wrong.help("write two statuses from 200 to 599, the smaller one first: \"200-299\""))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_one_or_a_range() {
        assert_eq!(parse_statuses("200-299"), Ok((200, 299)));
        assert_eq!(parse_statuses("204"), Ok((204, 204)));
        for text in ["", "-", "299-200", "100-199", "200-600", "200-", "2xx", "200-250-299"] {
            assert!(parse_statuses(text).unwrap_err().what_to_write().is_some(), "{text}");
        }
    }

    #[test]
    fn a_probe_may_ask_for_a_query() {
        assert!(parse_target("/healthz?full=1").is_ok());
        for text in ["", "healthz", "/a b", "/a#b", "http://a/"] {
            assert!(parse_target(text).is_err(), "{text}");
        }
    }
}
