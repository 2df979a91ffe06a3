//! Version 1: one line of text.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    str::{FromStr, Split},
};

use super::{Addresses, Beginning, Header, Malformed};

pub(super) const SIGNATURE: &[u8] = b"PROXY ";

/// The longest line with its CRLF: `UNKNOWN` with two whole IPv6 addresses.
const MAX_LINE: usize = 107;

pub(super) fn parse(bytes: &[u8]) -> Result<Beginning, Malformed> {
    let seen = &bytes[..bytes.len().min(MAX_LINE)];
    let Some(end) = seen.iter().position(u8::is_ascii_control) else {
        return match bytes.len() {
            ..MAX_LINE => Ok(Beginning::Partial),
            _ => Err(Malformed::TooLong),
        };
    };
    match &bytes[end..] {
        [b'\r', ..] if end + 2 > MAX_LINE => return Err(Malformed::TooLong),
        [b'\r'] => return Ok(Beginning::Partial),
        [b'\r', b'\n', ..] => {}
        _ => return Err(Malformed::BadLine),
    }
    // The signature has no control character, so it is whole.
    let words = &bytes[SIGNATURE.len()..end];
    Ok(Beginning::Header(Header {
        length: end + 2,
        addresses: addresses(words)?,
    }))
}

fn addresses(words: &[u8]) -> Result<Option<Addresses>, Malformed> {
    let (protocol, rest) = match words.iter().position(|&byte| byte == b' ') {
        Some(space) => (&words[..space], Some(&words[space + 1..])),
        None => (words, None),
    };
    match protocol {
        // Whatever follows has to be ignored.
        b"UNKNOWN" => Ok(None),
        b"TCP4" => pair::<Ipv4Addr>(rest).map(Some),
        b"TCP6" => pair::<Ipv6Addr>(rest).map(Some),
        _ => Err(Malformed::UnknownProtocol),
    }
}

fn pair<A: FromStr + Into<IpAddr>>(words: Option<&[u8]>) -> Result<Addresses, Malformed> {
    let words = words.ok_or(Malformed::BadWords)?;
    // Only ASCII can be right.
    let words = std::str::from_utf8(words).map_err(|_| Malformed::BadAddress)?;
    let mut words = words.split(' ');
    let (source, destination) = (address::<A>(&mut words)?, address::<A>(&mut words)?);
    let (source_port, destination_port) = (port(&mut words)?, port(&mut words)?);
    if words.next().is_some() {
        return Err(Malformed::BadWords);
    }
    Ok(Addresses {
        source: SocketAddr::new(source, source_port),
        destination: SocketAddr::new(destination, destination_port),
    })
}

/// The standard library reads addresses as strictly as the specification wants: no leading zeros in IPv4, no zone.
fn address<A: FromStr + Into<IpAddr>>(words: &mut Split<'_, char>) -> Result<IpAddr, Malformed> {
    let word = words.next().ok_or(Malformed::BadWords)?;
    word.parse::<A>().map(Into::into).map_err(|_| Malformed::BadAddress)
}

/// The standard library would take a sign and leading zeros.
fn port(words: &mut Split<'_, char>) -> Result<u16, Malformed> {
    let word = words.next().ok_or(Malformed::BadWords)?;
    let is_plain = word.bytes().all(|byte| byte.is_ascii_digit()) && (word == "0" || !word.starts_with('0'));
    let port = is_plain.then(|| word.parse().ok()).flatten();
    port.ok_or(Malformed::BadPort)
}
