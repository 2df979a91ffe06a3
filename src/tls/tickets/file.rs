//! The file by which several machines share the keys of tickets.
//!
//! A text with a key in each line, as `openssl rand -base64 48` or `openssl rand -hex 32` prints one; the first one
//! seals, all open. Empty lines and those that begin with `#` are passed over. Or, as other servers have them, a file of
//! exactly 48 or 80 random bytes.

use thiserror::Error;

use super::secret::Secret;

/// The fewest characters that can hold 32 random bytes, which base64 without its `=` needs.
const LEAST: usize = 43;
/// What other servers take: 16 bytes of name, and two keys of 16 or of 32 bytes.
const BINARY: [usize; 2] = [48, 80];
/// More than any order of rotation needs; each ticket looks through them.
const MOST: usize = 32;

/// Why a file gives no keys. Nothing of the keys themselves is said.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TicketKeysError {
    #[error("it holds no key")]
    Empty,
    #[error("it is neither text nor 48 or 80 bytes long")]
    Binary,
    #[error("line {0} is no key: it takes at least 43 characters of base64 or hexadecimal")]
    Line(usize),
    #[error("line {0} has the key of line {1}")]
    Twice(usize, usize),
    #[error("it holds more than 32 keys")]
    TooMany,
}

/// The secrets of a file that holds `content`, in its order.
pub(in crate::tls) fn parse(content: &[u8]) -> Result<Vec<Secret>, TicketKeysError> {
    let is_text = |byte: &u8| byte.is_ascii_graphic() || matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
    if !content.iter().all(is_text) {
        return if BINARY.contains(&content.len()) {
            Ok(vec![Secret::new(content)])
        } else {
            Err(TicketKeysError::Binary)
        };
    }
    let mut keys: Vec<(usize, &[u8])> = Vec::new();
    for (index, line) in content.split(|byte| *byte == b'\n').enumerate() {
        let (number, line) = (index + 1, line.trim_ascii());
        if line.is_empty() || line.starts_with(b"#") {
            continue;
        }
        let is_digit = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/-_=".contains(byte);
        if line.len() < LEAST || !line.iter().all(is_digit) {
            return Err(TicketKeysError::Line(number));
        }
        if let Some((other, _)) = keys.iter().find(|(_, key)| *key == line) {
            return Err(TicketKeysError::Twice(number, *other));
        }
        keys.push((number, line));
    }
    match keys.len() {
        0 => Err(TicketKeysError::Empty),
        many if many > MOST => Err(TicketKeysError::TooMany),
        _ => Ok(keys.into_iter().map(|(_, key)| Secret::new(key)).collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "8f2a1c0b9e7d6f5a4b3c2d1e0f9a8b7c6d5e4f3a2b1c0d9e8f7a6b5c4d3e2f1a";
    const BASE64: &str = "q83vASNFZ4mrze8BI0VniavN7wEjRWeJq83vASNFZ4k=";

    fn count(content: &[u8]) -> Result<usize, TicketKeysError> {
        parse(content).map(|secrets| secrets.len())
    }

    #[test]
    fn a_file_has_a_key_in_each_line() {
        assert_eq!(count(HEX.as_bytes()), Ok(1));
        assert_eq!(count(format!("# new\r\n\n  {HEX}\r\n#old\n{BASE64}").as_bytes()), Ok(2));
        assert_eq!(count(&[0xff; 48]), Ok(1));
        assert_eq!(count(&[0xff; 80]), Ok(1));
    }

    #[test]
    fn anything_else_is_refused_and_does_not_show() {
        for (content, error) in [
            (String::new(), TicketKeysError::Empty),
            ("# nothing\n".to_owned(), TicketKeysError::Empty),
            (format!("{HEX}\nsecret\n"), TicketKeysError::Line(2)),
            (format!("{}!\n", &HEX[1..]), TicketKeysError::Line(1)),
            (format!("{HEX}\n\n{HEX}\n"), TicketKeysError::Twice(3, 1)),
        ] {
            let refused = count(content.as_bytes()).expect_err("it is refused");
            assert_eq!(refused, error);
            assert!(!refused.to_string().contains("secret"));
        }
        assert_eq!(count(&[0xff; 47]), Err(TicketKeysError::Binary));
        let many: Vec<String> = (0..33).map(|number| format!("{number:064}")).collect();
        assert_eq!(count(many.join("\n").as_bytes()), Err(TicketKeysError::TooMany));
    }
}
