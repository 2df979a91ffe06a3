//! What the kernel does to find dead connections, on either side.

use std::{ops::RangeInclusive, time::Duration};

use super::{
    problem::Wrong,
    reader::{Table, Value},
    units::format_duration,
    write::Entries,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TcpKeepalive {
    /// Zero: no probes.
    pub idle: Duration,
    pub interval: Duration,
    pub count: u32,
}

/// The kernel counts both times in whole seconds and takes no more (tcp(7), `MAX_TCP_KEEPIDLE`).
const LONGEST_KEEPALIVE: Duration = Duration::from_secs(32_767);
/// `MAX_TCP_KEEPCNT`.
const COUNTS: RangeInclusive<u64> = 1..=127;
/// TCP_USER_TIMEOUT is an `int` of milliseconds.
const LONGEST_USER_TIMEOUT: Duration = Duration::from_secs(24 * 86_400);

impl TcpKeepalive {
    pub(super) fn read(table: &mut Table<'_>, default: Self) -> Self {
        Self {
            idle: table.or("idle", default.idle, |value| read_seconds(&value, Duration::ZERO)),
            interval: table.or("interval", default.interval, |value| {
                read_seconds(&value, Duration::from_secs(1))
            }),
            count: table.integer("count", default.count, COUNTS),
        }
    }

    pub(super) fn entries(&self, default: &Self) -> Entries {
        let mut entries = Entries::default();
        entries.changed("idle", &self.idle, &default.idle);
        entries.changed("interval", &self.interval, &default.interval);
        entries.changed("count", &self.count, &default.count);
        entries
    }
}

fn read_seconds(value: &Value<'_>, least: Duration) -> Option<Duration> {
    let duration = value.duration()?;
    if duration.subsec_nanos() != 0 || !(least..=LONGEST_KEEPALIVE).contains(&duration) {
        let wrong = Wrong::new(format!("TCP keepalive cannot wait for {}", format_duration(duration)));
        value.report(wrong.help(format!(
            "write whole seconds from \"{}\" to \"9h\"",
            format_duration(least)
        )));
        return None;
    }
    Some(duration)
}

/// Reads `tcp_user_timeout`.
pub(super) fn read_user_timeout(table: &mut Table<'_>, default: Duration) -> Duration {
    table.or("tcp_user_timeout", default, |value| {
        let duration = value.duration()?;
        if duration > LONGEST_USER_TIMEOUT {
            value.report(Wrong::new("the kernel takes no such long time").help("write at most \"24d\""));
            return None;
        }
        Some(duration)
    })
}
