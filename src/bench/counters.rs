//! What a proxy says of itself: some counters of its metrics page.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    ops::Sub,
    time::Duration,
};

/// The admin listener has a thread that does little else.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Counted since the proxy's start; the difference of two is what happened between them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Connections to endpoints that were opened.
    pub opened: u64,
    /// Requests that went onto a kept one.
    pub reused: u64,
    /// Times that the kernel had no source port: EADDRNOTAVAIL.
    pub no_port: u64,
    /// Times that the proxy did not even ask, since all ports that may be used were in use.
    pub held_back: u64,
    /// Connections to endpoints that failed to open, for whatever reason.
    pub connect_failures: u64,
}

/// Asks a proxy's admin listener.
///
/// # Errors
/// It does not answer, or not with such a page.
pub fn read(admin: SocketAddr) -> io::Result<Counters> {
    let mut stream = TcpStream::connect_timeout(&admin, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    stream.write_all(format!("GET /metrics HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n").as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    if !answer.starts_with("HTTP/1.1 200 ") {
        let line = answer.lines().next().unwrap_or_default();
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("the metrics page is answered with {line:?}"),
        ));
    }
    Ok(Counters::of(&answer))
}

impl Counters {
    /// From the text of a page.
    fn of(page: &str) -> Self {
        Self {
            opened: sum(page, "forebay_pool_opened_total"),
            reused: sum(page, "forebay_pool_reused_total"),
            no_port: sum(page, "forebay_ports_exhausted_total"),
            held_back: sum(page, "forebay_ports_refused_total"),
            connect_failures: sum(page, "forebay_upstream_connect_failures_total"),
        }
    }
}

impl Sub for Counters {
    type Output = Self;

    /// A counter that has gone back, as none does, gives 0.
    fn sub(self, earlier: Self) -> Self {
        Self {
            opened: self.opened.saturating_sub(earlier.opened),
            reused: self.reused.saturating_sub(earlier.reused),
            no_port: self.no_port.saturating_sub(earlier.no_port),
            held_back: self.held_back.saturating_sub(earlier.held_back),
            connect_failures: self.connect_failures.saturating_sub(earlier.connect_failures),
        }
    }
}

/// The values of a metric, over all its labels.
fn sum(page: &str, name: &str) -> u64 {
    let values = page.lines().filter_map(|line| {
        let rest = line.strip_prefix(name)?;
        let value = match rest.strip_prefix('{') {
            Some(labels) => labels.rsplit_once("} ")?.1,
            None => rest.strip_prefix(' ')?,
        };
        value.trim().parse::<u64>().ok()
    });
    values.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "\
HTTP/1.1 200 OK\r\n\r\n\
# HELP forebay_pool_opened_total Connections opened, by reason.\n\
# TYPE forebay_pool_opened_total counter\n\
forebay_pool_opened_total{cluster=\"a\",endpoint=\"127.0.0.1:1\",reason=\"demand\"} 3\n\
forebay_pool_opened_total{cluster=\"a\",endpoint=\"127.0.0.1:2\",reason=\"} 7\"} 4\n\
forebay_pool_opened_total_of_others 100\n\
forebay_pool_reused_total 5\n\
forebay_ports_exhausted_total{source=\"\"} 1\n\
forebay_ports_refused_total{source=\"\"} 2\n";

    #[test]
    fn a_counter_is_the_sum_over_its_labels() {
        let counters = Counters::of(PAGE);
        let expected = Counters {
            opened: 7,
            reused: 5,
            no_port: 1,
            held_back: 2,
            connect_failures: 0,
        };
        assert_eq!(counters, expected);
    }

    #[test]
    fn the_difference_is_what_happened_in_between() {
        let counters = Counters::of(PAGE);
        let later = Counters { opened: 10, ..counters };
        let expected = Counters {
            opened: 3,
            ..Counters::default()
        };
        assert_eq!(later - counters, expected);
    }
}
