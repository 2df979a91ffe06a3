//! Addresses of listeners, endpoints and networks, and the host names of routes.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    str::FromStr,
};

use ipnet::IpNet;

use super::{Endpoint, HostPattern, problem::Wrong};

/// Reads the address of a listener: `127.0.0.1:8080`, `[::1]:8080`, `:8080` (all IPv4 interfaces), `[::]:8080`.
///
/// # Errors
/// Anything else. A listener has an IP address, not a host name, because a name may stand for several.
pub fn parse_listen_address(text: &str) -> Result<SocketAddr, Wrong> {
    if let Some(port) = text.strip_prefix(':').and_then(parse_port) {
        return Ok((Ipv4Addr::UNSPECIFIED, port).into());
    }
    text.parse().map_err(|_| {
        let wrong = Wrong::new(format!("{text:?} is not an address to listen on"));
        let (host, port) = text.rsplit_once(':').unwrap_or(("", text));
        match (host, parse_port(port)) {
            ("" | "*", Some(port)) => {
                wrong.help(format!("write \":{port}\" for all IPv4 interfaces, or \"[::]:{port}\""))
            }
            ("localhost", Some(port)) => wrong.help(format!("write \"127.0.0.1:{port}\" or \"[::1]:{port}\"")),
            _ => wrong.help("write an IP address and a port: \"127.0.0.1:8080\", \"[::1]:8080\", or \":8080\""),
        }
    })
}

/// A port as RFC 3986 3.2.3 writes it; `u16::from_str` alone would take a sign.
fn parse_port(text: &str) -> Option<u16> {
    text.chars()
        .all(|c| c.is_ascii_digit())
        .then(|| text.parse().ok())
        .flatten()
}

/// `10.0.0.11:9000`, `localhost:9000`, `[::1]:9000`, with a weight of 1.
impl FromStr for Endpoint {
    type Err = Wrong;

    fn from_str(text: &str) -> Result<Self, Wrong> {
        let wrong = || Wrong::new(format!("{text:?} is not the address of an endpoint"));
        if let Some((_, rest)) = text.split_once("://") {
            let rest = rest.split('/').next().unwrap_or(rest);
            return Err(wrong().help(format!("write it without scheme and path: {rest:?}")));
        }
        if text.parse::<Ipv6Addr>().is_ok() {
            return Err(wrong().help(format!(
                "write brackets around an IPv6 address, and a port: \"[{text}]:80\""
            )));
        }
        let usual = "write host and port: \"10.0.0.11:9000\", \"api.internal:9000\" or \"[fd00::11]:9000\"";
        let Some((host, port)) = text.rsplit_once(':') else {
            let named = !text.is_empty() && parse_host(text).is_ok();
            return Err(wrong().help(if named {
                format!("add the port: \"{text}:80\"")
            } else {
                usual.to_owned()
            }));
        };
        let port = parse_port(port)
            .filter(|port| *port != 0)
            .ok_or_else(|| wrong().help("write a port from 1 to 65535"))?;
        let host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
            Some(address) => address.parse::<Ipv6Addr>().ok().map(|address| address.to_string()),
            None => parse_host(host).ok(),
        };
        Ok(Self {
            host: host.ok_or_else(|| wrong().help(usual))?,
            port,
            weight: 1,
        })
    }
}

/// Host and port as in a URL, IPv6 in brackets.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl Endpoint {
    /// The address if the host is one, rather than a name.
    pub fn ip(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }
}

/// A host name or an IPv4 address, in lower case. A dot at the end is kept: it tells the resolver to search no domain.
fn parse_host(text: &str) -> Result<String, Wrong> {
    let wrong = || Wrong::new(format!("{text:?} is not a host name"));
    if text.parse::<Ipv4Addr>().is_ok() {
        return Ok(text.to_owned());
    }
    if !text.is_ascii() {
        return Err(wrong().help("write an international name in its ASCII form, which begins with \"xn--\""));
    }
    let name = text.strip_suffix('.').unwrap_or(text);
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let label_is_good = |label: &str| {
        (1..=63).contains(&label.len())
            && label.chars().all(allowed)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    // A name that ends in a number is a mistyped IPv4 address.
    let last_is_number = name
        .rsplit('.')
        .next()
        .is_some_and(|label| label.chars().all(|c| c.is_ascii_digit()));
    if name.len() > 253 || !name.split('.').all(label_is_good) || last_is_number {
        return Err(wrong().help("write a name such as \"shop.example\" or an IP address"));
    }
    Ok(text.to_ascii_lowercase())
}

/// Reads the host of a route: `*`, `shop.example`, `*.example`, `192.0.2.1`, `[2001:db8::1]`.
pub(super) fn parse_host_pattern(text: &str) -> Result<HostPattern, Wrong> {
    if text == "*" {
        return Ok(HostPattern::Any);
    }
    let address = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(text);
    if let Ok(address) = address.parse::<Ipv6Addr>() {
        return Ok(HostPattern::Exact(format!("[{address}]")));
    }
    let (name, wildcard) = text.strip_prefix("*.").map_or((text, false), |name| (name, true));
    if name.contains('*') {
        let wrong = Wrong::new(format!("{text:?} is not a host pattern"));
        return Err(wrong.help("a star stands alone or for the first labels: \"*\", \"*.example\""));
    }
    if let Some((host, _)) = name
        .rsplit_once(':')
        .filter(|(host, port)| !host.contains('/') && parse_port(port).is_some())
    {
        let wrong = Wrong::new("hosts are matched without their port");
        return Err(wrong.help(format!(
            "write {:?}",
            format!("{}{host}", if wildcard { "*." } else { "" })
        )));
    }
    let host = parse_host(name)?;
    // Requests are matched without the dot that says that a name is absolute.
    let host = host.strip_suffix('.').unwrap_or(&host);
    Ok(if wildcard {
        HostPattern::Suffix(format!(".{host}"))
    } else {
        HostPattern::Exact(host.to_owned())
    })
}

impl HostPattern {
    /// The pattern as it is written in a file.
    pub(super) fn written(&self) -> String {
        match self {
            Self::Any => "*".to_owned(),
            Self::Exact(host) => host.clone(),
            Self::Suffix(suffix) => format!("*{suffix}"),
        }
    }
}

/// Reads `10.0.0.0/8` or the address of one host.
pub(super) fn parse_network(text: &str) -> Result<IpNet, Wrong> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(address.into());
    }
    let network: IpNet = text.parse().map_err(|_| {
        Wrong::new(format!("{text:?} is not a network")).help("write \"10.0.0.0/8\", \"fd00::/8\" or one IP address")
    })?;
    if network != network.trunc() {
        let wrong = Wrong::new(format!("{text:?} has bits behind its prefix"));
        return Err(wrong.help(format!("write \"{}\"", network.trunc())));
    }
    Ok(network)
}

/// Reads a `Host` field's value (RFC 9110 7.2): a host with an optional port.
pub(super) fn parse_authority(text: &str) -> Result<String, Wrong> {
    let parsed = text.parse::<http::uri::Authority>().ok().filter(|authority| {
        !authority.host().is_empty()
            && !text.contains('@')
            && text.rsplit_once(':').is_none_or(|(_, port)| !port.is_empty())
    });
    match parsed {
        Some(_) => Ok(text.to_owned()),
        None => {
            Err(Wrong::new(format!("{text:?} is not a host")).help("write \"api.example\" or \"api.example:8443\""))
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_listener_has_an_ip_address_and_a_port() {
        for (text, address) in [
            (":8080", "0.0.0.0:8080"),
            ("[::]:8080", "[::]:8080"),
            ("127.0.0.1:0", "127.0.0.1:0"),
            ("[::1]:443", "[::1]:443"),
        ] {
            assert_eq!(parse_listen_address(text), Ok(address.parse().unwrap()), "{text}");
        }
        for text in [
            "",
            ":",
            "8080",
            "*:8080",
            "localhost:80",
            "::1:80",
            "127.0.0.1",
            ":65536",
            ":+80",
            "1.2.3.4:x",
        ] {
            assert!(
                parse_listen_address(text).unwrap_err().what_to_write().is_some(),
                "{text}"
            );
        }
        assert!(
            parse_listen_address("8080")
                .unwrap_err()
                .to_string()
                .contains("\":8080\"")
        );
    }

    #[test]
    fn an_endpoint_has_a_host_and_a_port() {
        for (text, host, port) in [
            ("10.0.0.11:9000", "10.0.0.11", 9000),
            ("localhost:1", "localhost", 1),
            ("Api_1.Internal.:80", "api_1.internal.", 80),
            ("[::1]:9000", "::1", 9000),
            ("[FD00:0::1]:9000", "fd00::1", 9000),
        ] {
            assert_eq!(
                text.parse(),
                Ok(Endpoint {
                    host: host.to_owned(),
                    port,
                    weight: 1
                }),
                "{text}"
            );
        }
        for text in [
            "",
            ":80",
            "a",
            "a:",
            "a:0",
            "a:65536",
            "a:+8",
            "::1",
            "::1:80",
            "[::1]",
            "[a]:80",
            "10.0.0.300:80",
            "a b:80",
            "-a:80",
            "a..b:80",
            "http://a:80",
            "a:80/x",
            "ü.example:80",
        ] {
            assert!(
                text.parse::<Endpoint>().unwrap_err().what_to_write().is_some(),
                "{text}"
            );
        }
    }

    #[test]
    fn an_endpoint_is_shown_as_it_is_written() {
        for text in ["10.0.0.11:9000", "localhost:80", "[fd00::1]:9000"] {
            assert_eq!(text.parse::<Endpoint>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_host_pattern_is_a_name_or_ends_in_one() {
        for (text, pattern, written) in [
            ("*", HostPattern::Any, "*"),
            (
                "Shop.Example",
                HostPattern::Exact("shop.example".into()),
                "shop.example",
            ),
            (
                "shop.example.",
                HostPattern::Exact("shop.example".into()),
                "shop.example",
            ),
            ("*.example", HostPattern::Suffix(".example".into()), "*.example"),
            ("192.0.2.1", HostPattern::Exact("192.0.2.1".into()), "192.0.2.1"),
            (
                "[2001:DB8::1]",
                HostPattern::Exact("[2001:db8::1]".into()),
                "[2001:db8::1]",
            ),
        ] {
            assert_eq!(parse_host_pattern(text), Ok(pattern.clone()), "{text}");
            assert_eq!(pattern.written(), written);
        }
        for text in [
            "",
            "*.",
            "a.*",
            "*a",
            "*.*.b",
            "shop.example:80",
            "http://a",
            "a/b",
            "é.fr",
            "1.2.3",
        ] {
            assert!(
                parse_host_pattern(text).unwrap_err().what_to_write().is_some(),
                "{text}"
            );
        }
    }

    #[test]
    fn a_network_has_no_bits_behind_its_prefix() {
        assert_eq!(parse_network("10.0.0.0/8"), Ok("10.0.0.0/8".parse().unwrap()));
        assert_eq!(parse_network("::1"), Ok("::1/128".parse().unwrap()));
        assert!(
            parse_network("10.1.2.3/8")
                .unwrap_err()
                .to_string()
                .contains("\"10.0.0.0/8\"")
        );
        assert!(parse_network("10.0.0.0/33").is_err());
    }

    #[test]
    fn an_authority_has_no_user_and_no_empty_port() {
        for text in ["api.example", "api.example:8443", "[::1]:80"] {
            assert_eq!(parse_authority(text), Ok(text.to_owned()));
        }
        for text in ["", "a@b", "a:", "a/b", "a b", ":80"] {
            assert!(parse_authority(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_address_is_too_odd_to_be_refused(text in "\\PC*|[\\[\\]:.*0-9a-f/@-]{0,20}") {
            let _ = parse_listen_address(&text);
            let _ = text.parse::<Endpoint>();
            let _ = parse_host_pattern(&text);
            let _ = parse_network(&text);
            let _ = parse_authority(&text);
        }

        #[test]
        fn host_patterns_are_read_back(text in "[*a-z0-9.:\\[\\]-]{0,12}") {
            if let Ok(pattern) = parse_host_pattern(&text) {
                prop_assert_eq!(parse_host_pattern(&pattern.written()), Ok(pattern));
            }
        }
    }
}
