//! The authority of a request: Host, `:authority` or the absolute form (RFC 9110 7.2).

use std::net::Ipv6Addr;

use thiserror::Error;

/// RFC 3986 3.2.2: the longest name that DNS can hold.
const MAX_HOST_SIZE: usize = 255;

/// A host and perhaps a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Authority<'a> {
    /// As it was sent: in its letter case, perhaps with a trailing dot, an IPv6 literal in its brackets.
    pub host: &'a str,
    pub port: Option<u16>,
}

impl<'a> Authority<'a> {
    /// The host without the trailing dot of a fully qualified name, which names the same host.
    pub fn host_without_trailing_dot(&self) -> &'a str {
        self.host.strip_suffix('.').unwrap_or(self.host)
    }
}

/// Why an authority is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("{}", self.description())]
pub enum AuthorityProblem {
    EmptyHost,
    /// An `@`.
    UserInfo,
    /// A byte that no host name has, or an empty label.
    InvalidHost,
    HostTooLong,
    /// Not an IPv6 address in brackets; zones are refused too.
    InvalidIpv6,
    /// Not 1 to 5 digits from 1 to 65535.
    InvalidPort,
}

impl AuthorityProblem {
    /// The rule in words, for logs and for the answer.
    pub fn description(self) -> &'static str {
        match self {
            Self::EmptyHost => "the host is empty",
            Self::UserInfo => "the authority has user information",
            Self::InvalidHost => "the host is not a name or an address",
            Self::HostTooLong => "the host is longer than 255 bytes",
            Self::InvalidIpv6 => "the host is not an IPv6 address",
            Self::InvalidPort => "the port is not a number from 1 to 65535",
        }
    }
}

/// Takes an authority apart. A host is an IPv6 address in brackets, or labels of letters, digits, `-` and `_` with dots
/// between them (so IPv4 addresses too): narrower than RFC 3986 3.2.2, whose escapes and sub-delimiters no name has.
///
/// # Errors
///
/// See [`AuthorityProblem`]; the answer is 400.
pub fn parse_authority(authority: &[u8]) -> Result<Authority<'_>, AuthorityProblem> {
    parse(authority).map_err(|problem| {
        if authority.contains(&b'@') {
            AuthorityProblem::UserInfo
        } else {
            problem
        }
    })
}

fn parse(authority: &[u8]) -> Result<Authority<'_>, AuthorityProblem> {
    let (host, port) = if authority.first() == Some(&b'[') {
        split_ipv6(authority)?
    } else {
        split_name(authority)?
    };
    let host = str::from_utf8(host).map_err(|_| AuthorityProblem::InvalidHost)?;
    let port = match port {
        [] => None,
        [b':', digits @ ..] => Some(parse_port(digits)?),
        _ => return Err(AuthorityProblem::InvalidPort),
    };
    Ok(Authority { host, port })
}

/// The literal with its brackets, and what follows it.
fn split_ipv6(authority: &[u8]) -> Result<(&[u8], &[u8]), AuthorityProblem> {
    let end = authority
        .iter()
        .position(|&byte| byte == b']')
        .ok_or(AuthorityProblem::InvalidIpv6)?;
    let address = str::from_utf8(&authority[1..end]).map_err(|_| AuthorityProblem::InvalidIpv6)?;
    address.parse::<Ipv6Addr>().map_err(|_| AuthorityProblem::InvalidIpv6)?;
    Ok(authority.split_at(end + 1))
}

/// The name, and what follows it from the colon on.
fn split_name(authority: &[u8]) -> Result<(&[u8], &[u8]), AuthorityProblem> {
    let belongs = authority.iter().take_while(|&&byte| NAME[usize::from(byte)]);
    let (host, port) = authority.split_at(belongs.count());
    if !matches!(port.first(), None | Some(b':')) {
        return Err(AuthorityProblem::InvalidHost);
    }
    if host.is_empty() || host == b"." {
        return Err(AuthorityProblem::EmptyHost);
    }
    if host.len() > MAX_HOST_SIZE {
        return Err(AuthorityProblem::HostTooLong);
    }
    let has_empty_label = host[0] == b'.' || host.windows(2).any(|pair| pair == b"..");
    if has_empty_label {
        return Err(AuthorityProblem::InvalidHost);
    }
    Ok((host, port))
}

/// The bytes of names.
static NAME: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 128 {
        table[byte] = (byte as u8).is_ascii_alphanumeric() || matches!(byte as u8, b'-' | b'_' | b'.');
        byte += 1;
    }
    table
};

fn parse_port(digits: &[u8]) -> Result<u16, AuthorityProblem> {
    if !(1..=5).contains(&digits.len()) || !digits.iter().all(u8::is_ascii_digit) {
        return Err(AuthorityProblem::InvalidPort);
    }
    let port = digits
        .iter()
        .fold(0, |port: u32, &digit| port * 10 + u32::from(digit - b'0'));
    u16::try_from(port)
        .ok()
        .filter(|&port| port != 0)
        .ok_or(AuthorityProblem::InvalidPort)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_ports_are_taken_apart() {
        let cases = [
            ("a", "a", None),
            ("Shop.Example", "Shop.Example", None),
            ("shop.example:8080", "shop.example", Some(8080)),
            ("shop.example.:1", "shop.example.", Some(1)),
            ("my_host-1.internal:65535", "my_host-1.internal", Some(65535)),
            ("10.0.0.1:00080", "10.0.0.1", Some(80)),
            ("[::1]", "[::1]", None),
            ("[2001:DB8::1]:443", "[2001:DB8::1]", Some(443)),
            ("[::ffff:10.0.0.1]", "[::ffff:10.0.0.1]", None),
        ];
        for (authority, host, port) in cases {
            assert_eq!(
                parse_authority(authority.as_bytes()),
                Ok(Authority { host, port }),
                "{authority}"
            );
        }
    }

    #[test]
    fn a_trailing_dot_is_taken_off_on_request() {
        let authority = parse_authority(b"shop.example.").expect("well formed");
        assert_eq!(authority.host_without_trailing_dot(), "shop.example");
        assert_eq!(
            parse_authority(b"[::1]")
                .expect("well formed")
                .host_without_trailing_dot(),
            "[::1]"
        );
    }

    #[test]
    fn each_bad_authority_names_its_rule() {
        use AuthorityProblem::*;
        let cases: [(&[u8], AuthorityProblem); 37] = [
            (b"", EmptyHost),
            (b".", EmptyHost),
            (b":80", EmptyHost),
            (b"user@a", UserInfo),
            (b"user:pass@a:80", UserInfo),
            (b"a:80@b", UserInfo),
            (b"@", UserInfo),
            (b"a/b", InvalidHost),
            (b"a#b", InvalidHost),
            (b"a?b", InvalidHost),
            (b"a\\b", InvalidHost),
            (b"a b", InvalidHost),
            (b" a", InvalidHost),
            (b"a\t", InvalidHost),
            (b"a,b", InvalidHost),
            (b"a%41", InvalidHost),
            (b"a\0", InvalidHost),
            (b"\xc3\xa4", InvalidHost),
            (b"a..b", InvalidHost),
            (b".a", InvalidHost),
            (b"a..", InvalidHost),
            (b"a[::1]", InvalidHost),
            (b"a:", InvalidPort),
            (b"a:0", InvalidPort),
            (b"a:65536", InvalidPort),
            (b"a:000080", InvalidPort),
            (b"a:+80", InvalidPort),
            (b"a:80 ", InvalidPort),
            (b"a:80:80", InvalidPort),
            (b"::1", EmptyHost),
            (b"[::1]80", InvalidPort),
            (b"[::1]:", InvalidPort),
            (b"[::1", InvalidIpv6),
            (b"[]", InvalidIpv6),
            (b"[1.2.3.4]", InvalidIpv6),
            (b"[fe80::1%25eth0]", InvalidIpv6),
            (b"[v1.a]", InvalidIpv6),
        ];
        for (authority, problem) in cases {
            assert_eq!(parse_authority(authority), Err(problem), "{}", authority.escape_ascii());
        }
        assert_eq!(parse_authority(&[b'a'; 256]), Err(HostTooLong));
        assert!(parse_authority(&[b'a'; 255]).is_ok());
    }
}
