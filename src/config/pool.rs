//! `[cluster.NAME.pool]`, `[cluster.NAME.timeouts]` and `[cluster.NAME.retry]`.

use std::time::Duration;

use super::{
    MANY,
    problem::Wrong,
    reader::{Table, Value, Word},
    write::Entries,
};

/// `[cluster.NAME.pool]`: the kept connections of each endpoint.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pool {
    pub idle_timeout: IdleTimeout,
    /// Age after which a connection is not used again; zero is no limit.
    pub max_lifetime: Duration,
    /// Requests on one connection; 0 is no limit.
    pub max_requests: u64,
    /// Idle connections kept per endpoint, over all workers; 0 is no pooling: each request has a connection of its own.
    pub max_idle: usize,
    /// Idle connections kept ready per endpoint, over all workers: opened ahead of need.
    pub min_idle: usize,
    /// Connections per endpoint, over all workers, idle ones included.
    pub max_connections: usize,
    pub wait: Wait,
    pub order: Order,
    pub close: Close,
    pub reuse: Reuse,
}

/// How long a connection may be idle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdleTimeout {
    /// Never zero.
    After(Duration),
    /// As the endpoint's own behaviour teaches.
    Learn,
}

/// Which idle connection is used next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Order {
    /// A few connections do all the work, and those that are not needed idle out.
    #[default]
    NewestFirst,
    /// All connections are used in turn, which keeps every one of them alive.
    OldestFirst,
    /// Use is even over endpoints that hide behind one address.
    Random,
}

/// How a connection is closed that nothing is wrong with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Close {
    /// A FIN, a clean end at the endpoint, no TIME_WAIT (`TCP_LINGER2` = -1).
    #[default]
    FinNoTimeWait,
    /// A reset: nothing remains on either side, and the endpoint sees ECONNRESET.
    Rst,
    /// A FIN, and a TIME_WAIT of 60 s on our side.
    Fin,
    /// The last request asks the endpoint to close (RFC 9112 9.6), whose TIME_WAIT it then is.
    AskEndpoint,
}

/// Which kept connections a request may go onto.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reuse {
    /// Requests that must not be sent twice go only onto new connections and those idle for less than this, so that
    /// zero is new connections only; `None` (`"any"`): onto any.
    pub writes_if_idle_under: Option<Duration>,
}

/// In place of a duration.
const LEARN: &str = "learn";
const ANY: &str = "any";
const ORDERS: [(&str, Order); 3] = [
    ("newest-first", Order::NewestFirst),
    ("oldest-first", Order::OldestFirst),
    ("random", Order::Random),
];
const CLOSES: [(&str, Close); 4] = [
    ("fin-no-time-wait", Close::FinNoTimeWait),
    ("rst", Close::Rst),
    ("fin", Close::Fin),
    ("ask-endpoint", Close::AskEndpoint),
];

impl Close {
    /// All there are, the default one first.
    pub const ALL: [Self; 4] = [Self::FinNoTimeWait, Self::Rst, Self::Fin, Self::AskEndpoint];

    /// As a config names it.
    pub fn name(self) -> &'static str {
        let found = CLOSES.iter().find(|(_, close)| *close == self);
        found.expect("all of them have a name").0
    }
}

impl Default for Reuse {
    fn default() -> Self {
        Self {
            writes_if_idle_under: Some(Duration::from_secs(1)),
        }
    }
}

/// Waiting for a connection when `max_connections` are in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wait {
    pub timeout: Duration,
    /// Waiting requests per endpoint; 0 is no waiting.
    pub queue: usize,
}

impl Default for Pool {
    fn default() -> Self {
        Self {
            idle_timeout: IdleTimeout::After(Duration::from_secs(4)),
            max_lifetime: Duration::from_secs(600),
            max_requests: 0,
            // As many as there may be: `idle_timeout` lets go of what is not needed, and a lower ceiling would close
            // connections in each lull of a steady load. With 64, HTTP/2 with 128 streams opened 600 anew per second.
            max_idle: 1024,
            min_idle: 0,
            max_connections: 1024,
            wait: Wait::default(),
            order: Order::default(),
            close: Close::default(),
            reuse: Reuse::default(),
        }
    }
}

impl Default for Wait {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(1),
            queue: 1000,
        }
    }
}

impl Pool {
    pub(super) fn read(table: &mut Table<'_>) -> Self {
        let default = Self::default();
        let max_connections = table.integer("max_connections", default.max_connections, 1..=MANY);
        // A small `max_connections` alone is no contradiction: it takes the unwritten `max_idle` with it.
        let max_idle = table.integer("max_idle", default.max_idle.min(max_connections), 0..=MANY);
        let min_idle = table.integer("min_idle", default.min_idle, 0..=MANY);
        report_contradictions(table, [min_idle, max_idle, max_connections]);
        Self {
            idle_timeout: table.or("idle_timeout", default.idle_timeout, |value| read_idle_timeout(&value)),
            max_lifetime: table.duration("max_lifetime", default.max_lifetime),
            max_requests: table.integer("max_requests", default.max_requests, 0..=MANY),
            max_idle,
            min_idle,
            max_connections,
            wait: table.section("wait", default.wait, Wait::read),
            order: table.choice("order", default.order, &ORDERS),
            close: table.choice("close", default.close, &CLOSES),
            reuse: table.section("reuse", default.reuse, Reuse::read),
        }
    }

    pub(super) fn entries(&self) -> Entries {
        let default = Self::default();
        let mut entries = Entries::default();
        match self.idle_timeout {
            IdleTimeout::Learn => entries.put("idle_timeout", LEARN),
            own if own == default.idle_timeout => {}
            IdleTimeout::After(timeout) => entries.put("idle_timeout", &timeout),
        }
        entries.changed("max_lifetime", &self.max_lifetime, &default.max_lifetime);
        entries.changed("max_requests", &self.max_requests, &default.max_requests);
        entries.changed("max_idle", &self.max_idle, &default.max_idle.min(self.max_connections));
        entries.changed("min_idle", &self.min_idle, &default.min_idle);
        entries.changed("max_connections", &self.max_connections, &default.max_connections);
        entries.put_table("wait", &self.wait.entries());
        entries.changed_choice("order", &self.order, &default.order, &ORDERS);
        entries.changed_choice("close", &self.close, &default.close, &CLOSES);
        entries.put_table("reuse", &self.reuse.entries());
        entries
    }
}

/// Reports numbers of connections that are larger than what they are a part of. They are in ascending order as they
/// should be: `min_idle`, `max_idle`, `max_connections`.
fn report_contradictions(table: &Table<'_>, [min_idle, max_idle, max_connections]: [usize; 3]) {
    if max_idle > max_connections {
        let wrong = Wrong::new(format!(
            "`max_idle` is more than `max_connections`, which is {max_connections}"
        ));
        let help = format!("write at most {max_connections}, or a larger `max_connections`");
        table.report("max_idle", wrong.help(help));
    }
    if max_idle == 0 && min_idle > 0 {
        let wrong = Wrong::new("`min_idle` cannot keep connections that `max_idle = 0` does not allow");
        table.report("min_idle", wrong.help("leave it out, or write a larger `max_idle`"));
    } else if min_idle > max_idle {
        let wrong = Wrong::new(format!("`min_idle` is more than `max_idle`, which is {max_idle}"));
        let help = format!("write at most {max_idle}, or a larger `max_idle`");
        table.report("min_idle", wrong.help(help));
    }
}

fn read_idle_timeout(value: &Value<'_>) -> Option<IdleTimeout> {
    match value.word(LEARN) {
        Word::Is => Some(IdleTimeout::Learn),
        Word::IsNearly => None,
        Word::IsNot => {
            let no_pooling = "write how long a connection is kept; `max_idle = 0` keeps none";
            value.positive_duration(no_pooling).map(IdleTimeout::After)
        }
    }
}

impl Reuse {
    fn read(table: &mut Table<'_>) -> Self {
        let default = Self::default();
        let read = |value: Value<'_>| match value.word(ANY) {
            Word::Is => Some(None),
            Word::IsNearly => None,
            Word::IsNot => value.duration().map(Some),
        };
        Self {
            writes_if_idle_under: table.or("writes_if_idle_under", default.writes_if_idle_under, read),
        }
    }

    fn entries(&self) -> Entries {
        let mut entries = Entries::default();
        match &self.writes_if_idle_under {
            None => entries.put("writes_if_idle_under", ANY),
            own if *own == Self::default().writes_if_idle_under => {}
            Some(limit) => entries.put("writes_if_idle_under", limit),
        }
        entries
    }
}

impl Wait {
    fn read(table: &mut Table<'_>) -> Self {
        let default = Self::default();
        Self {
            timeout: table.positive_duration("timeout", default.timeout, "`queue = 0` is how not to wait"),
            queue: table.integer("queue", default.queue, 0..=MANY),
        }
    }

    fn entries(&self) -> Entries {
        let default = Self::default();
        let mut entries = Entries::default();
        entries.changed("timeout", &self.timeout, &default.timeout);
        entries.changed("queue", &self.queue, &default.queue);
        entries
    }
}

/// `[cluster.NAME.timeouts]`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClusterTimeouts {
    pub connect: Duration,
    /// From the whole request sent to the first byte of the answer.
    pub first_byte: Duration,
    /// Between two parts of the answer, and between two parts of the request that the endpoint takes.
    pub between_bytes: Duration,
    /// From the request's head to the end of its answer; zero is no limit.
    pub request: Duration,
    /// In which no byte comes through a tunnel, in either direction.
    pub tunnel_idle: Duration,
}

impl Default for ClusterTimeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(2),
            first_byte: Duration::from_secs(60),
            between_bytes: Duration::from_secs(60),
            request: Duration::ZERO,
            tunnel_idle: Duration::from_secs(3600),
        }
    }
}

impl ClusterTimeouts {
    pub(super) fn read(table: &mut Table<'_>) -> Self {
        let default = Self::default();
        let patient = "write a long time, such as \"1h\": a dead endpoint must be noticed some day";
        Self {
            connect: table.positive_duration("connect", default.connect, "write for example \"2s\""),
            first_byte: table.positive_duration("first_byte", default.first_byte, patient),
            between_bytes: table.positive_duration("between_bytes", default.between_bytes, patient),
            request: table.duration("request", default.request),
            tunnel_idle: table.positive_duration("tunnel_idle", default.tunnel_idle, patient),
        }
    }

    pub(super) fn entries(&self) -> Entries {
        let default = Self::default();
        let mut entries = Entries::default();
        entries.changed("connect", &self.connect, &default.connect);
        entries.changed("first_byte", &self.first_byte, &default.first_byte);
        entries.changed("between_bytes", &self.between_bytes, &default.between_bytes);
        entries.changed("request", &self.request, &default.request);
        entries.changed("tunnel_idle", &self.tunnel_idle, &default.tunnel_idle);
        entries
    }
}

/// `[cluster.NAME.retry]`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retry {
    /// Further endpoints that are tried when no connection can be opened.
    pub connect_attempts: u32,
    /// Bytes of a request body kept so that it can be sent again.
    pub max_replay_body: usize,
    /// Whether a request with an `Idempotency-Key` counts as idempotent, whatever its method.
    pub idempotency_key: bool,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            connect_attempts: 2,
            max_replay_body: 64 << 10,
            idempotency_key: false,
        }
    }
}

impl Retry {
    pub(super) fn read(table: &mut Table<'_>) -> Self {
        let default = Self::default();
        Self {
            connect_attempts: table.integer("connect_attempts", default.connect_attempts, 0..=100),
            // Each request in flight may hold that much memory.
            max_replay_body: table.size("max_replay_body", default.max_replay_body, 0..=64 << 20),
            idempotency_key: table.boolean("idempotency_key", default.idempotency_key),
        }
    }

    pub(super) fn entries(&self) -> Entries {
        let default = Self::default();
        let mut entries = Entries::default();
        entries.changed("connect_attempts", &self.connect_attempts, &default.connect_attempts);
        entries.changed_size("max_replay_body", self.max_replay_body, default.max_replay_body);
        entries.changed("idempotency_key", &self.idempotency_key, &default.idempotency_key);
        entries
    }
}
