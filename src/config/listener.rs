//! `[[listener]]`: one bound address.

use std::{net::SocketAddr, time::Duration};

use super::{
    MANY,
    address::parse_listen_address,
    client::{ClientTimeouts, Http2, Limits},
    keep_alive::KeepAlive,
    problem::Wrong,
    proxy_protocol::ProxyProtocol,
    reader::{Table, Value},
    tls::Tls,
    write::Entries,
};

/// `[[listener]]`: one bound address that accepts clients.
#[derive(Debug, Clone, PartialEq)]
pub struct Listener {
    pub name: String,
    pub address: SocketAddr,
    /// Client connections at once, over all workers.
    pub max_connections: usize,
    pub tls: Option<Tls>,
    /// Who may say in a PROXY header who the client is; `None`: nobody.
    pub proxy_protocol: Option<ProxyProtocol>,
    /// Every request is answered with a redirect to `https://` on this port.
    pub redirect_to_https: Option<u16>,
    /// `[keep_alive]`, with what the listener overrides.
    pub keep_alive: KeepAlive,
    /// `[timeouts]`, with what the listener overrides.
    pub timeouts: ClientTimeouts,
    /// `[limits]`, with what the listener overrides.
    pub limits: Limits,
    /// `[http2]`, with what the listener overrides.
    pub http2: Http2,
    /// `expect = { client_idle_timeout = ... }`: how long a load balancer in front keeps its idle connections to us;
    /// only warnings use it.
    pub expect_client_idle_timeout: Option<Duration>,
}

const DEFAULT_MAX_CONNECTIONS: usize = 20_000;

/// The sections at the top of the file that each listener may override key by key.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct ListenerDefaults {
    keep_alive: KeepAlive,
    timeouts: ClientTimeouts,
    limits: Limits,
    http2: Http2,
}

impl ListenerDefaults {
    /// Reads the four sections, of the file's top or of one listener.
    pub(super) fn read(table: &mut Table<'_>, default: &Self) -> Self {
        let Self {
            keep_alive,
            timeouts,
            limits,
            http2,
        } = default;
        Self {
            keep_alive: table.section("keep_alive", keep_alive.clone(), |table| {
                KeepAlive::read(table, keep_alive)
            }),
            timeouts: table.section("timeouts", *timeouts, |table| ClientTimeouts::read(table, timeouts)),
            limits: table.section("limits", *limits, |table| Limits::read(table, limits)),
            http2: table.section("http2", *http2, |table| Http2::read(table, http2)),
        }
    }

    /// What stands at the top of the file for `listeners`: whatever all of them agree on.
    pub(super) fn common(listeners: &[Listener]) -> Self {
        fn agreed<T: Clone + Default + PartialEq>(listeners: &[Listener], of: fn(&Listener) -> &T) -> T {
            let first = listeners.first().map(of).cloned().unwrap_or_default();
            if listeners.iter().all(|listener| *of(listener) == first) {
                first
            } else {
                T::default()
            }
        }
        Self {
            keep_alive: agreed(listeners, |listener| &listener.keep_alive),
            timeouts: agreed(listeners, |listener| &listener.timeouts),
            limits: agreed(listeners, |listener| &listener.limits),
            http2: agreed(listeners, |listener| &listener.http2),
        }
    }

    pub(super) fn write(&self) -> String {
        let default = Self::default();
        [
            self.keep_alive.entries(&default.keep_alive).section("[keep_alive]"),
            self.timeouts.entries(&default.timeouts).section("[timeouts]"),
            self.limits.entries(&default.limits).section("[limits]"),
            self.http2.entries(&default.http2).section("[http2]"),
        ]
        .concat()
    }
}

impl Listener {
    /// A listener without TLS and with everything else by default.
    pub fn new(name: impl Into<String>, address: SocketAddr) -> Self {
        let ListenerDefaults {
            keep_alive,
            timeouts,
            limits,
            http2,
        } = ListenerDefaults::default();
        let max_connections = DEFAULT_MAX_CONNECTIONS;
        Self {
            name: name.into(),
            address,
            max_connections,
            tls: None,
            proxy_protocol: None,
            redirect_to_https: None,
            keep_alive,
            timeouts,
            limits,
            http2,
            expect_client_idle_timeout: None,
        }
    }

    fn read(table: &mut Table<'_>, defaults: &ListenerDefaults) -> Option<Self> {
        if !table.has("address") {
            let wrong = Wrong::new("this listener has no address");
            table.report_absence(wrong.help("write for example `address = \":8080\"`"));
        }
        let address = table.value("address").and_then(|value| {
            value.parse(
                "an address, such as \"127.0.0.1:8080\" or \":8080\"",
                parse_listen_address,
            )
        });
        let name = table
            .value("name")
            .and_then(|value| value.parse("a name, such as \"public\"", parse_name));
        let max_connections = table.integer("max_connections", DEFAULT_MAX_CONNECTIONS, 1..=MANY);
        let tls = table.section("tls", None, |table| Some(Tls::read(table)));
        let proxy_protocol = table.section("proxy_protocol", None, |table| Some(ProxyProtocol::read(table)));
        let redirect_to_https = table.or("redirect_to_https", None, |value| value.integer(1..=65_535).map(Some));
        if tls.is_some() && redirect_to_https.is_some() {
            let wrong = Wrong::new("whoever asks a listener with TLS has come by https already");
            table.report(
                "redirect_to_https",
                wrong.help("leave it out, or write it in a listener without `tls`"),
            );
        }
        let ListenerDefaults {
            keep_alive,
            timeouts,
            limits,
            http2,
        } = ListenerDefaults::read(table, defaults);
        let expect_client_idle_timeout = table.section("expect", None, read_expect);
        let address = address?;
        let name = name.unwrap_or_else(|| address.to_string());
        Some(Self {
            name,
            address,
            max_connections,
            tls,
            proxy_protocol,
            redirect_to_https,
            keep_alive,
            timeouts,
            limits,
            http2,
            expect_client_idle_timeout,
        })
    }

    pub(super) fn write(&self, common: &ListenerDefaults) -> String {
        let mut entries = Entries::default();
        let address = self.address.to_string();
        entries.changed("name", &self.name, &address);
        entries.put("address", &address);
        entries.changed("max_connections", &self.max_connections, &DEFAULT_MAX_CONNECTIONS);
        if let Some(tls) = &self.tls {
            entries.put_table("tls", &tls.entries());
        }
        if let Some(proxy_protocol) = &self.proxy_protocol {
            entries.put_table("proxy_protocol", &proxy_protocol.entries());
        }
        if let Some(port) = &self.redirect_to_https {
            entries.put("redirect_to_https", port);
        }
        entries.put_table("keep_alive", &self.keep_alive.entries(&common.keep_alive));
        entries.put_table("timeouts", &self.timeouts.entries(&common.timeouts));
        entries.put_table("limits", &self.limits.entries(&common.limits));
        entries.put_table("http2", &self.http2.entries(&common.http2));
        if let Some(timeout) = &self.expect_client_idle_timeout {
            let mut expect = Entries::default();
            expect.put("client_idle_timeout", timeout);
            entries.put_table("expect", &expect);
        }
        entries.section("[[listener]]")
    }
}

/// Reads `expect = {...}` of a listener.
fn read_expect(table: &mut Table<'_>) -> Option<Duration> {
    table.or("client_idle_timeout", None, |value| {
        value.positive_duration("write for example \"60s\"").map(Some)
    })
}

/// Names stand in logs, metrics and messages, so they are one word of visible characters.
pub(super) fn parse_name(text: &str) -> Result<String, Wrong> {
    if text.is_empty() || text.contains(|c: char| c.is_control() || c.is_whitespace()) {
        return Err(Wrong::new(format!("{text:?} is not a name")).help("write one word, such as \"public\""));
    }
    Ok(text.to_owned())
}

/// Reads every `[[listener]]`; `admin` is the address of the admin listener.
pub(super) fn read_listeners(
    table: &mut Table<'_>,
    defaults: &ListenerDefaults,
    admin: Option<SocketAddr>,
) -> Vec<Listener> {
    let Some(value) = table.value("listener") else {
        let wrong = Wrong::new("there is no `[[listener]]`: no client could connect");
        table.report_absence(wrong.help("add\n[[listener]]\naddress = \":8080\""));
        return Vec::new();
    };
    let mut listeners: Vec<(Listener, Value<'_>)> = Vec::new();
    for item in value
        .items("each listener under a `[[listener]]` line, in double brackets")
        .unwrap_or_default()
    {
        let read = item.table("each listener under a `[[listener]]` line", |table| {
            let listener = Listener::read(table, defaults)?;
            report_clashes(table, &listener, &listeners, admin);
            Some(listener)
        });
        if let Some(listener) = read.flatten() {
            listeners.push((listener, item));
        }
    }
    listeners.into_iter().map(|(listener, _)| listener).collect()
}

fn report_clashes(table: &Table<'_>, listener: &Listener, others: &[(Listener, Value<'_>)], admin: Option<SocketAddr>) {
    // Port 0 is another port each time.
    let fixed = listener.address.port() != 0;
    if let Some((_, other)) = others
        .iter()
        .find(|(other, _)| fixed && other.address == listener.address)
    {
        let wrong = Wrong::new(format!("the listener of line {} has the same address", other.line()));
        table.report("address", wrong.help("give each listener an address of its own"));
    } else if let Some((_, other)) = others.iter().find(|(other, _)| other.name == listener.name) {
        let wrong = Wrong::new(format!("the listener of line {} has the same name", other.line()));
        table.report("name", wrong.help("write a `name` that no other listener has"));
    }
    if fixed && admin == Some(listener.address) {
        let wrong = Wrong::new("the admin listener has the same address");
        table.report(
            "address",
            wrong.help("write another port, or `address = \"off\"` under `[admin]`"),
        );
    }
}
