//! `[keep_alive]`.

use std::{net::Ipv6Addr, time::Duration};

use ipnet::IpNet;

use super::{
    MANY,
    forwarding::read_networks,
    reader::Table,
    tcp::{TcpKeepalive, read_user_timeout},
    write::Entries,
};

/// `[keep_alive]`: the one policy for client connections.
#[derive(Debug, Clone, PartialEq)]
pub struct KeepAlive {
    pub idle_timeout: Duration,
    /// Requests on one connection before it is closed; 0 is no limit.
    pub max_requests: u64,
    /// Age after which a connection takes no further request; zero is no limit.
    pub max_age: Duration,
    /// Share of `max_age` (0 to 1) by which it is shortened at random, so that clients do not all come back at once.
    pub max_age_jitter: f64,
    /// Connections per client address (IPv6: per /64); 0 is no limit.
    pub per_client: usize,
    /// Clients to which `per_client` does not apply.
    pub per_client_exempt: Vec<IpNet>,
    pub under_pressure: UnderPressure,
    pub tcp_keepalive: TcpKeepalive,
    /// Time that sent data may stay unacknowledged; zero is the kernel's choice.
    pub tcp_user_timeout: Duration,
}

/// What happens near `max_connections`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnderPressure {
    /// Above 80 % idle timeouts shrink; at 100 % the longest-idle client gives way.
    ShedIdle,
    /// New clients are refused.
    Refuse,
}

const UNDER_PRESSURE: [(&str, UnderPressure); 2] = [
    ("shed-idle", UnderPressure::ShedIdle),
    ("refuse", UnderPressure::Refuse),
];

impl Default for KeepAlive {
    fn default() -> Self {
        let loopback = [
            IpNet::new_assert([127, 0, 0, 0].into(), 8),
            IpNet::new_assert(Ipv6Addr::LOCALHOST.into(), 128),
        ];
        Self {
            idle_timeout: Duration::from_secs(60),
            max_requests: 0,
            max_age: Duration::from_secs(3_600),
            max_age_jitter: 0.1,
            per_client: 0,
            per_client_exempt: loopback.to_vec(),
            under_pressure: UnderPressure::ShedIdle,
            tcp_keepalive: TcpKeepalive {
                idle: Duration::from_secs(60),
                interval: Duration::from_secs(15),
                count: 4,
            },
            tcp_user_timeout: Duration::from_secs(75),
        }
    }
}

impl KeepAlive {
    pub(super) fn read(table: &mut Table<'_>, default: &Self) -> Self {
        let no_reuse = "write how long a client may be silent; `max_requests = 1` closes after each request";
        Self {
            idle_timeout: table.positive_duration("idle_timeout", default.idle_timeout, no_reuse),
            max_requests: table.integer("max_requests", default.max_requests, 0..=MANY),
            max_age: table.duration("max_age", default.max_age),
            max_age_jitter: table.or("max_age_jitter", default.max_age_jitter, |value| value.share()),
            per_client: table.integer("per_client", default.per_client, 0..=MANY),
            per_client_exempt: read_networks(table, "per_client_exempt", default.per_client_exempt.clone()),
            under_pressure: table.choice("under_pressure", default.under_pressure, &UNDER_PRESSURE),
            tcp_keepalive: table.section("tcp_keepalive", default.tcp_keepalive, |table| {
                TcpKeepalive::read(table, default.tcp_keepalive)
            }),
            tcp_user_timeout: read_user_timeout(table, default.tcp_user_timeout),
        }
    }

    pub(super) fn entries(&self, default: &Self) -> Entries {
        let mut entries = Entries::default();
        entries.changed("idle_timeout", &self.idle_timeout, &default.idle_timeout);
        entries.changed("max_requests", &self.max_requests, &default.max_requests);
        entries.changed("max_age", &self.max_age, &default.max_age);
        entries.changed("max_age_jitter", &self.max_age_jitter, &default.max_age_jitter);
        entries.changed("per_client", &self.per_client, &default.per_client);
        entries.changed("per_client_exempt", &self.per_client_exempt, &default.per_client_exempt);
        entries.changed_choice(
            "under_pressure",
            &self.under_pressure,
            &default.under_pressure,
            &UNDER_PRESSURE,
        );
        entries.put_table("tcp_keepalive", &self.tcp_keepalive.entries(&default.tcp_keepalive));
        entries.changed("tcp_user_timeout", &self.tcp_user_timeout, &default.tcp_user_timeout);
        entries
    }
}
