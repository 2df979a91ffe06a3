//! The Via field (RFC 9110 7.6.3).

use http::{HeaderValue, Version};

/// What was there, and us behind it.
pub(super) fn extended<'v>(said: impl Iterator<Item = &'v HeaderValue>, received: Version, pseudonym: &str) -> Vec<u8> {
    let mut out = Vec::new();
    for value in said {
        out.extend_from_slice(value.as_bytes());
        out.extend_from_slice(b", ");
    }
    out.extend_from_slice(match received {
        Version::HTTP_2 => b"2 ",
        Version::HTTP_10 => b"1.0 ",
        _ => b"1.1 ",
    });
    out.extend_from_slice(pseudonym.as_bytes());
    out
}
