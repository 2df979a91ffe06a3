//! `[cluster.NAME.pool]`, `[cluster.NAME.timeouts]` and `[cluster.NAME.retry]`.

use std::time::Duration;

use super::{MANY, problem::Wrong, reader::Table, write::Entries};

/// `[cluster.NAME.pool]`: the kept connections of each endpoint.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pool {
    pub idle_timeout: Duration,
    /// Age after which a connection is not used again; zero is no limit.
    pub max_lifetime: Duration,
    /// Requests on one connection; 0 is no limit.
    pub max_requests: u64,
    /// Idle connections kept per endpoint, over all workers; 0 is no pooling: each request has a connection of its own.
    pub max_idle: usize,
    /// Connections per endpoint, over all workers, idle ones included.
    pub max_connections: usize,
    pub wait: Wait,
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
            idle_timeout: Duration::from_secs(4),
            max_lifetime: Duration::from_secs(600),
            max_requests: 0,
            // As many as there may be: `idle_timeout` lets go of what is not needed, and a lower ceiling would close
            // connections in each lull of a steady load. With 64, HTTP/2 with 128 streams opened 600 anew per second.
            max_idle: 1024,
            max_connections: 1024,
            wait: Wait::default(),
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
        let no_pooling = "write how long a connection is kept; `max_idle = 0` keeps none";
        let max_connections = table.integer("max_connections", default.max_connections, 1..=MANY);
        // A small `max_connections` alone is no contradiction: it takes the unwritten `max_idle` with it.
        let max_idle = table.integer("max_idle", default.max_idle.min(max_connections), 0..=MANY);
        if max_idle > max_connections {
            let wrong = Wrong::new(format!(
                "`max_idle` is more than `max_connections`, which is {max_connections}"
            ));
            table.report(
                "max_idle",
                wrong.help(format!(
                    "write at most {max_connections}, or a larger `max_connections`"
                )),
            );
        }
        Self {
            idle_timeout: table.positive_duration("idle_timeout", default.idle_timeout, no_pooling),
            max_lifetime: table.duration("max_lifetime", default.max_lifetime),
            max_requests: table.integer("max_requests", default.max_requests, 0..=MANY),
            max_idle,
            max_connections,
            wait: table.section("wait", default.wait, Wait::read),
        }
    }

    pub(super) fn entries(&self) -> Entries {
        let default = Self::default();
        let mut entries = Entries::default();
        entries.changed("idle_timeout", &self.idle_timeout, &default.idle_timeout);
        entries.changed("max_lifetime", &self.max_lifetime, &default.max_lifetime);
        entries.changed("max_requests", &self.max_requests, &default.max_requests);
        entries.changed("max_idle", &self.max_idle, &default.max_idle.min(self.max_connections));
        entries.changed("max_connections", &self.max_connections, &default.max_connections);
        entries.put_table("wait", &self.wait.entries());
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
}

impl Default for ClusterTimeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(2),
            first_byte: Duration::from_secs(60),
            between_bytes: Duration::from_secs(60),
            request: Duration::ZERO,
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
        }
    }

    pub(super) fn entries(&self) -> Entries {
        let default = Self::default();
        let mut entries = Entries::default();
        entries.changed("connect", &self.connect, &default.connect);
        entries.changed("first_byte", &self.first_byte, &default.first_byte);
        entries.changed("between_bytes", &self.between_bytes, &default.between_bytes);
        entries.changed("request", &self.request, &default.request);
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
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            connect_attempts: 2,
            max_replay_body: 64 << 10,
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
        }
    }

    pub(super) fn entries(&self) -> Entries {
        let default = Self::default();
        let mut entries = Entries::default();
        entries.changed("connect_attempts", &self.connect_attempts, &default.connect_attempts);
        entries.changed_size("max_replay_body", self.max_replay_body, default.max_replay_body);
        entries
    }
}
