//! The command line of `forebay endpoint`.

use std::{
    net::{Ipv4Addr, SocketAddr},
    str::FromStr,
    time::Duration,
};

use super::Options;

/// Run a small HTTP endpoint to try a proxy with
///
/// Answers any path with a short text that names the endpoint, the connection and the request on it. Special paths:
/// /echo (the request's head, or its body), /healthz, /status/503, /bytes/1MiB, /slow/250ms.
#[derive(Debug, Clone, clap::Args)]
pub struct EndpointArgs {
    /// Address to listen on; ":9000" is port 9000 on every IPv4 address
    #[arg(long, value_name = "ADDR", value_parser = parse_address)]
    pub listen: SocketAddr,
    /// Time before each answer, such as "5ms"
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = humantime::parse_duration)]
    pub delay: Duration,
    /// Bytes of each plain answer, such as "1KiB" [default: as long as the text is]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub size: Option<u64>,
    /// Share of requests to answer with 500, such as "1%"
    #[arg(long, value_name = "SHARE", default_value = "0%")]
    pub fail: Share,
    /// What it calls itself [default: its address]
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
}

impl EndpointArgs {
    /// The options, for an endpoint that listens on `address`.
    pub(super) fn options(self, address: SocketAddr) -> Options {
        Options {
            name: self.name.unwrap_or_else(|| address.to_string()),
            delay: self.delay,
            size: self.size,
            fail: self.fail,
        }
    }
}

/// A part of a whole, 0 to 1, written as a percentage.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Share(f64);

impl Share {
    pub const NONE: Self = Self(0.0);

    /// Whether this request belongs to the share, where `draw` is random in 0..1.
    pub fn takes(self, draw: f64) -> bool {
        draw < self.0
    }
}

/// Why a text is no value of a flag.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    #[error("expected a percentage from 0% to 100%, such as \"1%\"")]
    Share,
    #[error("expected bytes, such as \"512\", \"1KiB\" or \"10MiB\"")]
    Size,
    #[error("expected an IP address with a port, such as \"127.0.0.1:9000\" or \":9000\"")]
    Address,
}

impl FromStr for Share {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let percent: f64 = text
            .strip_suffix('%')
            .and_then(|n| n.trim_end().parse().ok())
            .ok_or(ValueError::Share)?;
        if (0.0..=100.0).contains(&percent) {
            Ok(Self(percent / 100.0))
        } else {
            Err(ValueError::Share)
        }
    }
}

/// A number of bytes: digits, and `B`, `KiB`, `MiB` or `GiB`.
pub(in crate::cli) fn parse_size(text: &str) -> Result<u64, ValueError> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let shift = match unit.trim_start() {
        "" | "B" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        _ => return Err(ValueError::Size),
    };
    let number: u64 = number.parse().map_err(|_| ValueError::Size)?;
    number.checked_mul(1 << shift).ok_or(ValueError::Size)
}

fn parse_address(text: &str) -> Result<SocketAddr, ValueError> {
    match text.strip_prefix(':') {
        Some(port) => port.parse().map(|port: u16| (Ipv4Addr::UNSPECIFIED, port).into()).ok(),
        None => text.parse().ok(),
    }
    .ok_or(ValueError::Address)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Program {
        #[command(flatten)]
        args: EndpointArgs,
    }

    fn parse(args: &[&str]) -> Result<EndpointArgs, clap::Error> {
        Program::try_parse_from(["endpoint"].iter().chain(args)).map(|program| program.args)
    }

    #[test]
    fn flags_become_options() {
        let args = [
            "--listen", ":9000", "--delay", "5ms", "--size", "1KiB", "--fail", "1%", "--name", "a",
        ];
        let args = parse(&args).unwrap();
        assert_eq!(args.listen, ([0, 0, 0, 0], 9000).into());
        let options = Options {
            name: "a".into(),
            delay: Duration::from_millis(5),
            size: Some(1024),
            fail: "1%".parse().unwrap(),
        };
        assert_eq!(args.options(([0, 0, 0, 0], 9000).into()), options);
    }

    #[test]
    fn only_the_address_is_needed() {
        let address = "[::1]:9000".parse().unwrap();
        let options = parse(&["--listen", "[::1]:9000"]).unwrap().options(address);
        assert_eq!(
            options,
            Options {
                name: "[::1]:9000".into(),
                delay: Duration::ZERO,
                size: None,
                fail: Share::NONE
            }
        );
        assert!(parse(&[]).is_err());
    }

    #[test]
    fn sizes_have_binary_units() {
        for (text, size) in [
            ("0", 0),
            ("12", 12),
            ("12B", 12),
            ("1KiB", 1024),
            ("3 MiB", 3 << 20),
            ("1GiB", 1 << 30),
        ] {
            assert_eq!(parse_size(text), Ok(size), "{text}");
        }
        for text in ["", "KiB", "1kb", "-1", "1.5KiB", "99999999999GiB", "１"] {
            assert_eq!(parse_size(text), Err(ValueError::Size), "{text}");
        }
    }

    #[test]
    fn shares_are_percentages() {
        assert_eq!("100%".parse(), Ok(Share(1.0)));
        assert_eq!("0.5 %".parse(), Ok(Share(0.005)));
        for text in ["", "1", "%", "-1%", "101%", "NaN%", "inf%"] {
            assert_eq!(text.parse::<Share>(), Err(ValueError::Share), "{text}");
        }
    }

    #[test]
    fn a_share_takes_its_part_of_the_draws() {
        let quarter: Share = "25%".parse().unwrap();
        assert_eq!((0..100).filter(|i| quarter.takes(f64::from(*i) / 100.0)).count(), 25);
        assert!(!Share::NONE.takes(0.0));
        assert!(Share(1.0).takes(0.999_999));
    }

    #[test]
    fn a_wrong_address_says_what_is_expected() {
        for text in ["9000", "localhost:9000", ":", ":99999", "127.0.0.1"] {
            assert_eq!(parse_address(text), Err(ValueError::Address), "{text}");
        }
        assert!(
            parse(&["--listen", "9000"])
                .unwrap_err()
                .to_string()
                .contains("127.0.0.1:9000")
        );
    }
}
