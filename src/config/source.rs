//! `[cluster.NAME.source]`: our end of upstream connections.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use ipnet::IpNet;

use super::{
    Endpoint,
    address::parse_network,
    problem::Wrong,
    reader::{Table, Value, Word},
    write::Entries,
};

/// `[cluster.NAME.source]`
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Source {
    /// Empty: the kernel's choice. No two of them overlap.
    pub addresses: Vec<SourceAddress>,
    /// The share of the source ports towards one destination that may be in use, 0.01 to 1; `None` (`"auto"`): as
    /// much as is cheap on this kernel.
    pub max_fill: Option<f64>,
}

/// One entry of `addresses`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SourceAddress {
    One(IpAddr),
    /// Addresses of a whole network, which a local route leads to this machine.
    Prefix(IpNet),
}

/// How many addresses of a prefix are used. With the kernel's usual 28 000 ports each they are 7 million connections
/// to one destination, and each of them costs a ledger of its own.
const MOST_OF_PREFIX: usize = 256;

/// 282 of the kernel's usual ports; less is hardly meant, and of a narrow range it would be no port at all.
const LEAST_FILL: f64 = 0.01;

impl Source {
    pub(super) fn read(table: &mut Table<'_>, endpoints: &[Endpoint]) -> Self {
        Self {
            addresses: table.or("addresses", Vec::new(), |value| read_addresses(&value, endpoints)),
            max_fill: table.or("max_fill", None, |value| read_max_fill(&value)),
        }
    }

    pub(super) fn entries(&self) -> Entries {
        let mut entries = Entries::default();
        entries.changed("addresses", &self.addresses, &Vec::new());
        if let Some(share) = &self.max_fill {
            entries.put("max_fill", share);
        }
        entries
    }
}

fn read_max_fill(value: &Value<'_>) -> Option<Option<f64>> {
    match value.word("auto") {
        Word::Is => Some(None),
        Word::IsNearly => None,
        Word::IsNot => {
            let wanted = "\"auto\", or a number from 0.01 to 1 without quotes, such as 0.95";
            value.number(LEAST_FILL..=1.0, wanted).map(Some)
        }
    }
}

fn read_addresses(value: &Value<'_>, endpoints: &[Endpoint]) -> Option<Vec<SourceAddress>> {
    let mut addresses: Vec<SourceAddress> = Vec::new();
    for item in value.items("[\"10.0.1.1\", \"10.9.0.0/24\"]")? {
        let example = "an IP address of this machine or a network, such as \"10.9.0.0/24\"";
        let Some(address) = item.parse(example, SourceAddress::from_str) else {
            continue;
        };
        if let Some(known) = addresses.iter().find(|known| known.overlaps(&address)) {
            item.report(already_there(known, &address));
        } else if address.is_useless(endpoints) {
            let wanted = family(!address.is_ipv6());
            let wrong = Wrong::new(format!("no endpoint can be reached from {address}: all are {wanted}"));
            item.report(wrong.help(format!("write an {wanted} address of this machine")));
        } else {
            addresses.push(address);
        }
    }
    let reached = |endpoint: &&Endpoint| match endpoint.ip() {
        Some(ip) => addresses.iter().any(|address| address.is_ipv6() == ip.is_ipv6()),
        None => true,
    };
    if !addresses.is_empty()
        && let Some(endpoint) = endpoints.iter().find(|endpoint| !reached(endpoint))
    {
        let wanted = family(endpoint.ip().is_some_and(|ip| ip.is_ipv6()));
        let wrong = Wrong::new(format!("no source address leads to {endpoint}"));
        value.report(wrong.help(format!("add an {wanted} address of this machine")));
    }
    Some(addresses)
}

fn already_there(known: &SourceAddress, address: &SourceAddress) -> Wrong {
    if known == address {
        Wrong::new(format!("{address} is there twice")).help("leave it out")
    } else if known.network().contains(&address.network()) {
        Wrong::new(format!("{address} lies in {known}")).help("leave it out, or write single addresses only")
    } else {
        Wrong::new(format!("{known}, which is there already, lies in {address}"))
            .help(format!("leave {known} out, or write single addresses only"))
    }
}

/// `10.0.1.1`, `fd00::1`, `10.9.0.0/24`, `fd00:1::/64`.
impl FromStr for SourceAddress {
    type Err = Wrong;

    fn from_str(text: &str) -> Result<Self, Wrong> {
        let wrong = || Wrong::new(format!("{text:?} is not a source address"));
        let address = if text.contains('/') {
            Self::Prefix(parse_network(text)?)
        } else {
            let malformed = "write an IP address without port (\"10.0.1.1\"), or a network (\"10.9.0.0/24\")";
            Self::One(text.parse().map_err(|_| wrong().help(malformed))?)
        };
        if address.network().addr().is_unspecified() {
            return Err(wrong().help("leave the source out, and the kernel chooses"));
        }
        let is_shared = |ip: &IpAddr| ip.is_multicast() || *ip == IpAddr::V4(Ipv4Addr::BROADCAST);
        if address.expand().iter().any(is_shared) {
            return Err(wrong().help("write an address of this machine"));
        }
        Ok(address)
    }
}

/// As it is read.
impl fmt::Display for SourceAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One(address) => address.fmt(f),
            Self::Prefix(network) => network.fmt(f),
        }
    }
}

impl SourceAddress {
    /// The addresses that connections come from, at most 256 of them, in ascending order and never none.
    ///
    /// Those of a prefix begin behind its first one, which in IPv4 is the network itself (RFC 1122 3.2.1.3) and in
    /// IPv6 every router (RFC 4291 2.6.1); the last one of an IPv4 prefix, its broadcast address, is left out too. A
    /// prefix for one or two hosts (/32, /31 by RFC 3021; /128, /127 by RFC 6164) has neither, and all of it is used.
    pub fn expand(&self) -> Vec<IpAddr> {
        match self {
            Self::One(address) => vec![*address],
            // The iterator of the crate leaves these two out by itself.
            Self::Prefix(IpNet::V4(network)) => network.hosts().take(MOST_OF_PREFIX).map(IpAddr::V4).collect(),
            Self::Prefix(IpNet::V6(network)) => {
                let routers = usize::from(network.prefix_len() < Ipv6Addr::BITS as u8 - 1);
                let addresses = network.hosts().skip(routers).take(MOST_OF_PREFIX);
                addresses.map(IpAddr::V6).collect()
            }
        }
    }

    /// Whether it is a network. Its addresses need not be configured on an interface (IP_FREEBIND).
    pub fn is_prefix(&self) -> bool {
        matches!(self, Self::Prefix(_))
    }

    pub fn is_ipv6(&self) -> bool {
        self.network().addr().is_ipv6()
    }

    fn network(&self) -> IpNet {
        match self {
            Self::One(address) => (*address).into(),
            Self::Prefix(network) => *network,
        }
    }

    /// Whether both stand for some address, be it one that is used or not.
    pub fn overlaps(&self, other: &Self) -> bool {
        let (own, other) = (self.network(), other.network());
        own.contains(&other) || other.contains(&own)
    }

    /// Whether every endpoint is known to be of the other family.
    fn is_useless(&self, endpoints: &[Endpoint]) -> bool {
        let other = |endpoint: &Endpoint| endpoint.ip().is_some_and(|ip| ip.is_ipv6() != self.is_ipv6());
        !endpoints.is_empty() && endpoints.iter().all(other)
    }
}

fn family(is_ipv6: bool) -> &'static str {
    if is_ipv6 { "IPv6" } else { "IPv4" }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn address(text: &str) -> SourceAddress {
        text.parse().unwrap_or_else(|wrong| panic!("{text}: {wrong}"))
    }

    /// The first, the last and the number of the addresses of `text`.
    fn expanded(text: &str) -> (String, String, usize) {
        let all = address(text).expand();
        let shown = |ip: Option<&IpAddr>| ip.map(ToString::to_string).unwrap_or_default();
        (shown(all.first()), shown(all.last()), all.len())
    }

    #[test]
    fn a_prefix_stands_for_its_hosts() {
        for (text, first, last, count) in [
            ("10.0.1.1", "10.0.1.1", "10.0.1.1", 1),
            ("10.9.0.0/24", "10.9.0.1", "10.9.0.254", 254),
            ("10.9.0.0/23", "10.9.0.1", "10.9.1.0", 256),
            ("10.0.0.0/8", "10.0.0.1", "10.0.1.0", 256),
            ("10.9.0.4/30", "10.9.0.5", "10.9.0.6", 2),
            ("10.9.0.4/31", "10.9.0.4", "10.9.0.5", 2),
            ("10.9.0.4/32", "10.9.0.4", "10.9.0.4", 1),
            ("fd00::1", "fd00::1", "fd00::1", 1),
            ("fd00:1::/64", "fd00:1::1", "fd00:1::100", 256),
            ("fd00:1::/120", "fd00:1::1", "fd00:1::ff", 255),
            ("fd00:1::4/126", "fd00:1::5", "fd00:1::7", 3),
            ("fd00:1::4/127", "fd00:1::4", "fd00:1::5", 2),
            ("fd00:1::4/128", "fd00:1::4", "fd00:1::4", 1),
        ] {
            assert_eq!(expanded(text), (first.to_owned(), last.to_owned(), count), "{text}");
            assert_eq!(address(text).is_prefix(), text.contains('/'), "{text}");
        }
    }

    #[test]
    fn what_no_connection_can_come_from_is_refused() {
        for (text, help) in [
            ("", "without port"),
            ("10.0.1.1:80", "without port"),
            ("[::1]", "without port"),
            ("eth0", "without port"),
            ("10.9.0.7/24", "\"10.9.0.0/24\""),
            ("fd00::1/64", "\"fd00::/64\""),
            ("10.0.0.0/33", "\"10.0.0.0/8\""),
            ("0.0.0.0", "the kernel chooses"),
            ("::", "the kernel chooses"),
            ("0.0.0.0/0", "the kernel chooses"),
            ("::/0", "the kernel chooses"),
            ("224.0.0.1", "of this machine"),
            ("224.0.0.0/24", "of this machine"),
            ("ff02::/64", "of this machine"),
            ("255.255.255.255", "of this machine"),
            ("255.255.255.254/31", "of this machine"),
        ] {
            let wrong = text.parse::<SourceAddress>().unwrap_err();
            let given = wrong.what_to_write().unwrap_or_default();
            assert!(given.contains(help), "{text}: {wrong}");
        }
    }

    proptest! {
        #[test]
        fn a_source_address_is_read_back_and_expands_within_itself(
            ip in any::<IpAddr>(),
            bits in proptest::option::of(0_u8..=128),
        ) {
            let text = match bits {
                None => ip.to_string(),
                Some(bits) => {
                    let widest = if ip.is_ipv4() { 32 } else { 128 };
                    IpNet::new_assert(ip, bits.min(widest)).trunc().to_string()
                }
            };
            if let Ok(address) = text.parse::<SourceAddress>() {
                prop_assert_eq!(&address.to_string(), &text);
                let all = address.expand();
                prop_assert!((1..=256).contains(&all.len()));
                prop_assert!(all.windows(2).all(|pair| pair[0] < pair[1]));
                prop_assert!(all.iter().all(|one| address.network().contains(one)));
                prop_assert!(all.iter().all(|one| !one.is_unspecified() && !one.is_multicast()));
            }
        }

        #[test]
        fn no_text_is_too_odd_to_be_refused(text in "\\PC*|[0-9a-f:./]{0,20}") {
            let _ = text.parse::<SourceAddress>();
        }
    }
}
