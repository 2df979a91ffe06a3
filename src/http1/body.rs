//! Canonical chunks: lower-case size, CRLF, no extension.

use http::HeaderMap;

use super::is_forbidden_trailer;

/// What follows the data of each chunk.
pub const CHUNK_END: &[u8] = b"\r\n";

/// Appends the line before `length` bytes of data; [`CHUNK_END`] goes after them.
///
/// # Panics
///
/// If `length` is 0: that line would end the body, and what the sender still has to say would become the next request
/// on the connection. An empty piece of a body is skipped by its sender.
#[inline]
pub fn chunk_head(out: &mut Vec<u8>, length: usize) {
    assert!(length > 0, "an empty chunk would end the body");
    let digits = (usize::BITS - length.leading_zeros()).div_ceil(4);
    out.reserve(digits as usize + CHUNK_END.len());
    for digit in (0..digits).rev() {
        out.push(b"0123456789abcdef"[(length >> (digit * 4)) & 0xf]);
    }
    out.extend_from_slice(CHUNK_END);
}

/// Appends the end of a chunked body, with those `trailers` that [may be trailers](is_forbidden_trailer).
pub fn last_chunk(out: &mut Vec<u8>, trailers: Option<&HeaderMap>) {
    out.extend_from_slice(b"0\r\n");
    for (name, value) in trailers.into_iter().flatten() {
        if !is_forbidden_trailer(name) {
            out.extend_from_slice(name.as_str().as_bytes());
            out.extend_from_slice(b": ");
            out.extend_from_slice(value.as_bytes());
            out.extend_from_slice(b"\r\n");
        }
    }
    out.extend_from_slice(CHUNK_END);
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn a_size_is_hexadecimal_without_leading_zeros() {
        for length in [
            1,
            9,
            10,
            15,
            16,
            26,
            255,
            256,
            4096,
            65_535,
            usize::MAX >> 1,
            usize::MAX,
        ] {
            let mut out = Vec::new();
            chunk_head(&mut out, length);
            assert_eq!(String::from_utf8(out).expect("ascii"), format!("{length:x}\r\n"));
        }
    }

    #[test]
    #[should_panic(expected = "an empty chunk would end the body")]
    fn an_empty_chunk_is_never_written() {
        chunk_head(&mut Vec::new(), 0);
    }

    #[test]
    fn the_last_chunk_carries_only_allowed_trailers() {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static("0"));
        trailers.insert("content-length", HeaderValue::from_static("7"));
        trailers.insert("x-forwarded-for", HeaderValue::from_static("::1"));
        let mut out = Vec::new();
        last_chunk(&mut out, Some(&trailers));
        assert_eq!(out, b"0\r\ngrpc-status: 0\r\n\r\n");
        out.clear();
        last_chunk(&mut out, None);
        assert_eq!(out, b"0\r\n\r\n");
    }
}
