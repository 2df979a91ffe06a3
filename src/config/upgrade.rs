//! Which protocols a route lets its clients change to (RFC 9110 7.8).

use super::{
    problem::Wrong,
    reader::{Table, Value},
};

const DEFAULT: &str = "websocket";
const EXAMPLE: &str = "[\"websocket\"]";

pub(super) fn default_upgrade() -> Vec<String> {
    vec![DEFAULT.to_owned()]
}

/// The protocols of `upgrade`, in lower case.
pub(super) fn read_upgrade(table: &mut Table<'_>) -> Vec<String> {
    table.or("upgrade", default_upgrade(), |value| {
        let mut seen = Vec::new();
        value.list(EXAMPLE, |item| {
            let protocol = item.parse("the name of a protocol, such as \"websocket\"", parse_protocol)?;
            if seen.contains(&protocol) {
                report_twice(&item, &protocol);
                return None;
            }
            seen.push(protocol.clone());
            Some(protocol)
        })
    })
}

fn report_twice(item: &Value<'_>, protocol: &str) {
    item.report(Wrong::new(format!("the protocol {protocol:?} is there twice")).help("leave it out once"));
}

/// `name` or `name/version`, two tokens. A protocol that carries HTTP would carry requests past every rule of the routes.
fn parse_protocol(text: &str) -> Result<String, Wrong> {
    let protocol = text.to_ascii_lowercase();
    let token = |part: &str| !part.is_empty() && part.bytes().all(is_token_byte);
    let (name, version) = protocol.split_once('/').unwrap_or((&protocol, "1"));
    if !token(name) || !token(version) {
        let wrong = Wrong::new(format!("{text:?} is not the name of a protocol"));
        return Err(wrong.help("write for example \"websocket\", or a name with its version, such as \"irc/6.9\""));
    }
    if matches!(name, "h2" | "h2c" | "h3" | "http" | "tls") {
        let wrong = Wrong::new(format!("an upgrade to {text:?} would carry requests past the routes"));
        return Err(wrong.help("leave it out: clients that ask for it are answered without it"));
    }
    Ok(protocol)
}

/// RFC 9110 5.6.2.
fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_protocol_is_a_name_perhaps_with_a_version() {
        for (text, protocol) in [
            ("websocket", "websocket"),
            ("WebSocket", "websocket"),
            ("IRC/6.9", "irc/6.9"),
        ] {
            assert_eq!(parse_protocol(text).as_deref(), Ok(protocol));
        }
        for text in [
            "", "a b", "a,b", "/1", "a/", "a/b/c", "a\r\n", "h2c", "HTTP/2.0", "TLS/1.2",
        ] {
            assert!(parse_protocol(text).unwrap_err().what_to_write().is_some(), "{text}");
        }
    }
}
