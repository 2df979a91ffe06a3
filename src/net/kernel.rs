//! What the kernel is set to, as far as it decides how many connections this machine can open, and what it has counted.

use std::{
    fs::{self, File},
    io::{self, Read},
    ops::RangeInclusive,
    path::Path,
};

use socket2::{Domain, Socket, Type};

use super::{local_port_range, sockopt};

/// The settings in force, of this network name space and this process. `None`: the kernel lacks it, or it cannot be
/// read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Kernel {
    /// `ip_local_port_range`: the source ports that the kernel gives away, both ends included.
    pub port_range: Option<(u16, u16)>,
    /// `ip_local_reserved_ports`: ports that it gives to nobody who does not ask for them by number. In order, disjoint.
    pub reserved_ports: Vec<RangeInclusive<u16>>,
    /// `tcp_tw_reuse`: 0 never, 1 always, 2 on loopback only (the default).
    pub tw_reuse: Option<u32>,
    /// `tcp_timestamps`: 0 off, 1 with an offset for each connection, 2 without.
    pub timestamps: Option<u32>,
    /// `tcp_max_tw_buckets`: beyond so many, a TIME_WAIT is silently skipped.
    pub max_tw_buckets: Option<u64>,
    /// `tcp_fin_timeout`, seconds: the life of a FIN-WAIT-2 that no process holds. Not that of a TIME_WAIT, which is
    /// always 60 s.
    pub fin_timeout: Option<u64>,
    /// The limits on open files of this process, soft and hard; [`u64::MAX`]: unlimited.
    pub open_files: Option<(u64, u64)>,
    /// `somaxconn`: the longest queue of connections that wait to be accepted.
    pub somaxconn: Option<u64>,
    /// See [`supports_local_port_range`].
    pub local_port_range_option: bool,
}

impl Kernel {
    /// Reads everything.
    pub fn read() -> Self {
        Self {
            tw_reuse: number("net/ipv4/tcp_tw_reuse"),
            timestamps: number("net/ipv4/tcp_timestamps"),
            max_tw_buckets: number("net/ipv4/tcp_max_tw_buckets"),
            fin_timeout: number("net/ipv4/tcp_fin_timeout"),
            open_files: fs::read_to_string("/proc/self/limits")
                .ok()
                .and_then(|text| parse_open_files(&text)),
            somaxconn: number("net/core/somaxconn"),
            ..Self::read_ports()
        }
    }

    /// Reads what tells the number of source ports, and leaves the rest unknown.
    pub fn read_ports() -> Self {
        Self {
            port_range: local_port_range(),
            reserved_ports: sysctl("net/ipv4/ip_local_reserved_ports")
                .map_or_else(|_| Vec::new(), |text| parse_ports(&text)),
            local_port_range_option: supports_local_port_range(),
            ..Self::default()
        }
    }
}

/// Whether the kernel finds a free source port cheaply however few are left (`IP_LOCAL_PORT_RANGE`, Linux 6.3).
pub fn supports_local_port_range() -> bool {
    Socket::new(Domain::IPV4, Type::STREAM, None)
        .and_then(|socket| sockopt::set_local_port_range(&socket, 1, u16::MAX))
        .is_ok()
}

fn number<N: std::str::FromStr>(name: &str) -> Option<N> {
    sysctl(name).ok()?.trim().parse().ok()
}

/// The text of a sysctl, by one `read()`: the kernel answers a second one with the end of the file even when the first
/// was too short for the value, so that [`fs::read_to_string`], which begins with 32 bytes, cuts long lists.
fn sysctl(name: &str) -> io::Result<String> {
    let path = Path::new("/proc/sys").join(name);
    // 256 KiB hold the longest list of ports: every second of 65,535.
    for size in [4 << 10, 256 << 10] {
        let mut text = vec![0; size];
        let length = File::open(&path)?.read(&mut text)?;
        if length < size {
            text.truncate(length);
            return String::from_utf8(text).map_err(io::Error::other);
        }
    }
    Err(io::Error::other("longer than any value"))
}

/// Ports as `ip_local_reserved_ports` lists them: `8080,9148-9150`. What is neither port nor range is left out.
fn parse_ports(list: &str) -> Vec<RangeInclusive<u16>> {
    let range = |item: &str| {
        let (first, last) = item.split_once('-').unwrap_or((item, item));
        let range = first.trim().parse().ok()?..=last.trim().parse().ok()?;
        (!range.is_empty()).then_some(range)
    };
    list.split(',').filter_map(range).collect()
}

fn parse_open_files(limits: &str) -> Option<(u64, u64)> {
    let mut words = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?
        .split_ascii_whitespace();
    let mut limit = || match words.next()? {
        "unlimited" => Some(u64::MAX),
        number => number.parse().ok(),
    };
    Some((limit()?, limit()?))
}

/// What the kernel has counted since this network name space began, of all processes together (`/proc/net/netstat`). A
/// counter that it does not know stays 0.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TcpCounters {
    /// `TW`: TIME_WAIT sockets that lived to their end.
    pub tw: u64,
    /// `TWRecycled`: TIME_WAIT sockets that gave way to a new connection.
    pub tw_recycled: u64,
    /// `TCPTimeWaitOverflow`: TIME_WAIT sockets that were skipped because of `tcp_max_tw_buckets`.
    pub time_wait_overflow: u64,
    /// `TCPAbortOnData`: connections closed by a reset, or by a FIN that leaves no TIME_WAIT.
    pub abort_on_data: u64,
    /// `TCPAbortOnClose`: connections closed with unread bytes, which is a reset too.
    pub abort_on_close: u64,
}

impl TcpCounters {
    /// Reads them; `None` where the kernel does not tell.
    pub fn read() -> Option<Self> {
        Self::parse(&fs::read_to_string("/proc/net/netstat").ok()?)
    }

    /// From pairs of lines, of which the first has the names and the second the numbers.
    fn parse(netstat: &str) -> Option<Self> {
        let mut lines = netstat.lines().filter_map(|line| line.strip_prefix("TcpExt:"));
        let (names, numbers) = (lines.next()?, lines.next()?);
        let mut counters = Self::default();
        for (name, number) in names.split_ascii_whitespace().zip(numbers.split_ascii_whitespace()) {
            let counter = match name {
                "TW" => &mut counters.tw,
                "TWRecycled" => &mut counters.tw_recycled,
                "TCPTimeWaitOverflow" => &mut counters.time_wait_overflow,
                "TCPAbortOnData" => &mut counters.abort_on_data,
                "TCPAbortOnClose" => &mut counters.abort_on_close,
                _ => continue,
            };
            *counter = number.parse().ok()?;
        }
        Some(counters)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn this_kernel_tells_what_it_is_set_to() {
        let kernel = Kernel::read();
        let (low, high) = kernel.port_range.expect("a range");
        assert!(low <= high);
        assert!(
            kernel.timestamps.is_some_and(|timestamps| timestamps <= 2),
            "{kernel:?}"
        );
        assert!(kernel.tw_reuse.is_some_and(|reuse| reuse <= 2), "{kernel:?}");
        assert!(kernel.max_tw_buckets.is_some(), "{kernel:?}");
        assert!(kernel.fin_timeout.is_some(), "{kernel:?}");
        let (soft, hard) = kernel.open_files.expect("limits");
        assert!(0 < soft && soft <= hard);
        assert!(TcpCounters::read().is_some());
    }

    #[test]
    fn what_the_kernel_lacks_is_unknown() {
        assert_eq!(number::<u32>("net/ipv4/no_such_setting"), None);
    }

    #[test]
    fn reserved_ports_are_ports_and_ranges() {
        assert_eq!(
            parse_ports("8080,9148-9150,65535\n"),
            [8080..=8080, 9148..=9150, 65535..=65535]
        );
        assert_eq!(parse_ports("\n"), []);
        assert_eq!(parse_ports("x,1-,-1,9-3,70000,7\n"), [7..=7]);
    }

    proptest! {
        #[test]
        fn reserved_ports_are_read_as_they_are_written(ports in proptest::collection::vec((1..60000u16, 0..9u16), 0..40)) {
            let ranges: Vec<_> = ports.into_iter().map(|(first, more)| first..=first + more).collect();
            let item = |range: &RangeInclusive<u16>| match (range.start(), range.end()) {
                (first, last) if first == last => first.to_string(),
                (first, last) => format!("{first}-{last}"),
            };
            let list = ranges.iter().map(item).collect::<Vec<_>>().join(",");
            prop_assert_eq!(parse_ports(&list), ranges);
        }

        #[test]
        fn no_text_makes_a_parser_panic(text in "(TcpExt: TW|Max open files|[0-9,\\-\n ]|.){0,30}") {
            let _ = (parse_ports(&text), parse_open_files(&text), TcpCounters::parse(&text));
        }
    }

    #[test]
    fn open_files_are_read_from_their_line() {
        let limits = "Limit            Soft Limit  Hard Limit  Units\n\
            Max processes    10          20          processes\n\
            Max open files   1024        unlimited   files\n";
        assert_eq!(parse_open_files(limits), Some((1024, u64::MAX)));
        assert_eq!(parse_open_files("Max open files 1024\n"), None);
        assert_eq!(parse_open_files(""), None);
    }

    #[test]
    fn counters_are_found_by_name_in_their_own_pair_of_lines() {
        let netstat = "MPTcpExt: TW\nMPTcpExt: 99\nTcpExt: ArpFilter TW TWRecycled TCPAbortOnData TCPTimeWaitOverflow\n\
            TcpExt: 1 2 3 4 5\nIpExt: TW\nIpExt: 77\n";
        let expected = TcpCounters {
            tw: 2,
            tw_recycled: 3,
            abort_on_data: 4,
            time_wait_overflow: 5,
            abort_on_close: 0,
        };
        assert_eq!(TcpCounters::parse(netstat), Some(expected));
        assert_eq!(TcpCounters::parse("TcpExt: TW\n"), None);
        assert_eq!(TcpCounters::parse("TcpExt: TW\nTcpExt: x\n"), None);
    }
}
