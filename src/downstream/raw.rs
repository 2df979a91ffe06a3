//! The bytes of request heads as they came, beside the HTTP engine that parses them, for a second and stricter look.

/// What was read from the start of the next head on.
#[derive(Debug, Default)]
pub(super) struct RawHead {
    bytes: Vec<u8>,
    /// Bytes of the present request's body that are still to come, and are no part of a head.
    skip: u64,
    sync: Sync,
}

/// A head is longer than it may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooLarge;

/// Whether `bytes` begins where a head begins.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Sync {
    #[default]
    Kept,
    /// Within a body whose length is not known ahead.
    Lost,
}

impl RawHead {
    /// # Errors
    /// When the head that is being read is longer than `limit`. The engine looks at the length of a head only once it
    /// is whole, and would keep all that comes before.
    pub(super) fn read(&mut self, bytes: &[u8], limit: usize) -> Result<(), TooLarge> {
        if self.sync == Sync::Lost {
            return Ok(());
        }
        let skipped = usize::try_from(self.skip).unwrap_or(usize::MAX).min(bytes.len());
        self.skip -= skipped as u64;
        let bytes = &bytes[skipped..];
        self.bytes.extend_from_slice(bytes);
        // More than one head may have come.
        if self.bytes.len() > limit && memchr::memmem::find(&self.bytes[..limit], b"\r\n\r\n").is_none() {
            return Err(TooLarge);
        }
        Ok(())
    }

    /// A request has begun: `look` gets its bytes, if they are known, and gives their number, if that can be said.
    pub(super) fn begin<R>(&mut self, look: impl FnOnce(Option<&[u8]>) -> (R, Option<u64>)) -> R {
        // Blank lines before a request are passed over (RFC 9112 2.2).
        let blank = self
            .bytes
            .iter()
            .take_while(|byte| matches!(byte, b'\r' | b'\n'))
            .count();
        let raw = Some(&self.bytes[blank..]).filter(|raw| self.sync == Sync::Kept && !raw.is_empty());
        let (result, length) = look(raw);
        match length {
            Some(length) => {
                let length = length + blank as u64;
                let here = usize::try_from(length).unwrap_or(usize::MAX).min(self.bytes.len());
                self.bytes.drain(..here);
                self.skip = length - here as u64;
            }
            None => self.lose(),
        }
        result
    }

    /// The request is over. Whether something of the next one has come.
    pub(super) fn end(&mut self) -> bool {
        if self.sync == Sync::Lost {
            self.sync = Sync::Kept;
            self.bytes.clear();
        }
        // A body that was not read to its end closes the connection.
        self.skip = 0;
        !self.is_empty()
    }

    /// Whether nothing of a head has come.
    pub(super) fn is_empty(&self) -> bool {
        self.bytes.iter().all(|byte| matches!(byte, b'\r' | b'\n'))
    }

    /// Whether the last word of the first line, as far as it has come, looks like a version of HTTP.
    pub(super) fn names_http(&self) -> bool {
        let line = self
            .bytes
            .split(|&byte| byte == b'\n')
            .find(|line| !matches!(line, [] | [b'\r']));
        let words = line.into_iter().flat_map(|line| line.split(|&byte| byte == b' '));
        words.last().is_some_and(|version| version.starts_with(b"HTTP/"))
    }

    fn lose(&mut self) {
        self.bytes.clear();
        self.skip = 0;
        self.sync = Sync::Lost;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begin(raw: &mut RawHead, length: Option<u64>) -> Option<Vec<u8>> {
        raw.begin(|bytes| (bytes.map(<[u8]>::to_vec), length))
    }

    #[test]
    fn pipelined_heads_are_told_apart() {
        let mut raw = RawHead::default();
        raw.read(b"one\r\ntwo", 99).expect("short enough");
        assert_eq!(begin(&mut raw, Some(5)), Some(b"one\r\ntwo".to_vec()));
        assert!(raw.end());
        raw.read(b"\r\n", 99).expect("short enough");
        assert_eq!(begin(&mut raw, Some(5)), Some(b"two\r\n".to_vec()));
        assert!(!raw.end());
    }

    #[test]
    fn a_body_is_no_part_of_the_next_head() {
        let mut raw = RawHead::default();
        raw.read(b"headbo", 99).expect("short enough");
        assert!(begin(&mut raw, Some(8)).is_some());
        raw.read(b"dynext", 99).expect("short enough");
        assert!(raw.end());
        assert_eq!(begin(&mut raw, Some(4)), Some(b"next".to_vec()));
    }

    #[test]
    fn behind_a_body_of_unknown_length_the_next_head_is_unknown_until_the_client_was_idle() {
        let mut raw = RawHead::default();
        raw.read(b"head5\r\nhello", 99).expect("short enough");
        assert!(begin(&mut raw, None).is_some());
        raw.read(b"0\r\n\r\nnext", 99).expect("short enough");
        assert_eq!(begin(&mut raw, Some(4)), None);
        assert!(!raw.end());
    }

    #[test]
    fn a_head_that_does_not_end_within_the_limit_is_too_large() {
        let mut raw = RawHead::default();
        assert_eq!(raw.read(b"get\r\n\r\nget\r\n\r\n", 8), Ok(()));
        let mut raw = RawHead::default();
        assert_eq!(raw.read(b"get / ht", 8), Ok(()));
        assert_eq!(raw.read(b"t", 8), Err(TooLarge));
    }

    #[test]
    fn a_request_line_names_a_version_of_http_or_something_else() {
        for (line, names) in [
            ("GET / HTTP/3.0\r\n", true),
            ("\r\nGET / HTTP/9\r\nx", true),
            ("PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\nGET / HTTP/1.1\r\n", false),
            ("GET /\r\n", false),
            ("", false),
        ] {
            let mut raw = RawHead::default();
            raw.read(line.as_bytes(), 99).expect("short enough");
            assert_eq!(raw.names_http(), names, "{line:?}");
        }
    }

    #[test]
    fn blank_lines_are_no_head() {
        let mut raw = RawHead::default();
        raw.read(b"\r\n", 99).expect("short enough");
        assert!(raw.is_empty());
        raw.read(b"get", 99).expect("short enough");
        assert_eq!(begin(&mut raw, Some(3)), Some(b"get".to_vec()));
        assert!(!raw.end());
    }
}
