//! A request head, written into a buffer that is used again and again.

use http::{HeaderName, HeaderValue, Method, header};

use super::line;

/// Writes a request head behind what is already in the buffer.
///
/// The framing fields have functions of their own: what the sender of the request called them is never copied.
#[must_use = "a head without its blank line is not one: call finish"]
#[derive(Debug)]
pub struct RequestHead<'a> {
    out: &'a mut Vec<u8>,
}

impl<'a> RequestHead<'a> {
    /// Begins with the request line. `path` is the request target: origin-form with its query, or `*`; the caller has
    /// seen that it [is safe](is_safe_path).
    #[inline]
    pub fn start(out: &'a mut Vec<u8>, method: &Method, path: &[u8]) -> Self {
        debug_assert!(is_safe_path(path), "a request target that splits its line");
        const VERSION: &[u8] = b" HTTP/1.1\r\n";
        let method = method.as_str().as_bytes();
        out.reserve(method.len() + 1 + path.len() + VERSION.len());
        out.extend_from_slice(method);
        out.push(b' ');
        out.extend_from_slice(path);
        out.extend_from_slice(VERSION);
        Self { out }
    }

    /// A field other than Content-Length and Transfer-Encoding.
    #[inline]
    pub fn field(&mut self, name: &HeaderName, value: &HeaderValue) {
        debug_assert!(
            name != header::CONTENT_LENGTH && name != header::TRANSFER_ENCODING,
            "framing is not copied"
        );
        line(self.out, name.as_str().as_bytes(), value.as_bytes());
    }

    /// A field of our own making. The caller vouches that `name` is a token and that `value` holds no CR, LF or NUL.
    #[inline]
    pub fn raw_field(&mut self, name: &str, value: &[u8]) {
        debug_assert!(HeaderName::from_bytes(name.as_bytes()).is_ok(), "not a field name");
        debug_assert!(
            memchr::memchr3(b'\r', b'\n', 0, value).is_none(),
            "a value that splits its line"
        );
        line(self.out, name.as_bytes(), value);
    }

    /// `content-length: n`
    #[inline]
    pub fn length(&mut self, n: u64) {
        line(self.out, b"content-length", itoa::Buffer::new().format(n).as_bytes());
    }

    /// `transfer-encoding: chunked`
    #[inline]
    pub fn chunked(&mut self) {
        self.out.extend_from_slice(b"transfer-encoding: chunked\r\n");
    }

    /// Ends the head with its blank line.
    #[inline]
    pub fn finish(self) {
        self.out.extend_from_slice(b"\r\n");
    }
}

/// Whether a request target can be written without ending its place in the request line: not empty, no space, no
/// control byte, no DEL. Bytes above 0x7f are let through.
pub fn is_safe_path(path: &[u8]) -> bool {
    // Without an early return, so that the loop is vectorised.
    let unsafe_bytes = path
        .iter()
        .fold(false, |found, &byte| found | (byte <= b' ') | (byte == 0x7f));
    !path.is_empty() && !unsafe_bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_written_line_by_line() {
        let mut out = b"before".to_vec();
        let mut head = RequestHead::start(&mut out, &Method::POST, b"/a?b=c");
        head.field(&header::HOST, &HeaderValue::from_static("shop.example"));
        head.field(
            &header::USER_AGENT,
            &HeaderValue::from_bytes(b"\xe4\tb").expect("obs-text"),
        );
        head.raw_field("x-forwarded-for", b"10.0.0.1");
        head.length(u64::MAX);
        head.finish();
        let expected = b"beforePOST /a?b=c HTTP/1.1\r\nhost: shop.example\r\nuser-agent: \xe4\tb\r\n\
            x-forwarded-for: 10.0.0.1\r\ncontent-length: 18446744073709551615\r\n\r\n";
        assert_eq!(out.escape_ascii().to_string(), expected.escape_ascii().to_string());
    }

    #[test]
    fn a_chunked_head_says_so() {
        let mut out = Vec::new();
        let mut head = RequestHead::start(&mut out, &Method::OPTIONS, b"*");
        head.chunked();
        head.finish();
        assert_eq!(out, b"OPTIONS * HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n");
    }

    #[test]
    #[cfg(debug_assertions)]
    #[should_panic(expected = "framing is not copied")]
    fn framing_fields_are_not_copied() {
        let mut out = Vec::new();
        RequestHead::start(&mut out, &Method::GET, b"/").field(&header::CONTENT_LENGTH, &HeaderValue::from_static("1"));
    }

    #[test]
    fn a_safe_path_cannot_split_its_line() {
        for byte in 0..=u8::MAX {
            let safe = byte > b' ' && byte != 0x7f;
            assert_eq!(is_safe_path(&[b'/', byte, b'a']), safe, "{byte:#x}");
        }
        assert!(!is_safe_path(b""));
    }
}
