//! The fields of a response that are meant for this connection, and not for the client (RFC 9110 7.6.1).

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};

use super::{
    ResponseError, Version,
    field::{self, trim},
    framing::Declared,
};

/// What those fields said, and those that bear on the framing, noted one by one.
#[derive(Default)]
pub(super) struct HopByHop {
    content_length: Option<u64>,
    chunked: bool,
    trailer: bool,
    upgrade: Option<HeaderValue>,
    upgrade_is_repeated: bool,
    keep_alive_timeout: Option<Duration>,
    connection: ConnectionOptions,
}

/// The options of the Connection field.
#[derive(Default)]
struct ConnectionOptions {
    close: bool,
    keep_alive: bool,
    upgrade: bool,
    /// Fields that end here as well. Nearly always empty, and then not allocated.
    nominated: Vec<HeaderName>,
}

impl HopByHop {
    /// Notes a field; gives its value back if the field goes on.
    #[inline]
    pub(super) fn take(&mut self, name: &[u8], value: HeaderValue) -> Result<Option<HeaderValue>, ResponseError> {
        // By length first: nearly every field is told apart by one comparison.
        match name.len() {
            2 if name.eq_ignore_ascii_case(b"te") => Ok(None),
            7 if name.eq_ignore_ascii_case(b"trailer") => {
                self.trailer = true;
                Ok(Some(value))
            }
            7 if name.eq_ignore_ascii_case(b"upgrade") => {
                self.upgrade_is_repeated = self.upgrade.is_some();
                self.upgrade = Some(value);
                Ok(None)
            }
            10 if name.eq_ignore_ascii_case(b"connection") => {
                self.connection.read(value.as_bytes());
                Ok(None)
            }
            10 if name.eq_ignore_ascii_case(b"keep-alive") => {
                self.keep_alive_timeout = parse_timeout(value.as_bytes());
                Ok(None)
            }
            14 if name.eq_ignore_ascii_case(b"content-length") => self.take_content_length(value),
            16 if name.eq_ignore_ascii_case(b"proxy-connection") => Ok(None),
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                if self.chunked || !value.as_bytes().eq_ignore_ascii_case(b"chunked") {
                    return Err(ResponseError::UnknownTransferEncoding);
                }
                self.chunked = true;
                Ok(None)
            }
            _ => Ok(Some(value)),
        }
    }

    fn take_content_length(&mut self, value: HeaderValue) -> Result<Option<HeaderValue>, ResponseError> {
        if self.content_length.is_some() {
            return Err(ResponseError::RepeatedContentLength);
        }
        let length = field::content_length(value.as_bytes()).ok_or(ResponseError::InvalidContentLength)?;
        self.content_length = Some(length);
        Ok(Some(value))
    }

    pub(super) fn declared(&self) -> Result<Declared, ResponseError> {
        match (self.content_length, self.chunked) {
            (Some(_), true) => Err(ResponseError::ContentLengthWithTransferEncoding),
            (Some(length), false) => Ok(Declared::Length(length)),
            (None, true) => Ok(Declared::Chunked),
            (None, false) => Ok(Declared::Nothing),
        }
    }

    pub(super) fn has_length(&self) -> bool {
        self.content_length.is_some()
    }

    pub(super) fn has_trailer(&self) -> bool {
        self.trailer
    }

    /// Removes what Connection names, except fields that are for all recipients whatever it says.
    pub(super) fn remove_nominated(&self, headers: &mut HeaderMap) {
        for name in &self.connection.nominated {
            if !is_for_all_recipients(name.as_str()) {
                headers.remove(name);
            }
        }
    }

    /// RFC 9112 9.3: HTTP/1.1 stays open unless told otherwise, HTTP/1.0 only if told so.
    pub(super) fn allows_reuse(&self, version: Version) -> bool {
        !self.connection.close && (version == Version::Http11 || self.connection.keep_alive)
    }

    pub(super) fn keep_alive_timeout(&self) -> Option<Duration> {
        self.keep_alive_timeout
    }

    /// The one protocol of a 101.
    pub(super) fn into_upgrade(self) -> Result<Option<HeaderValue>, ResponseError> {
        if self.upgrade_is_repeated {
            return Err(ResponseError::RepeatedUpgrade);
        }
        Ok(self.upgrade.filter(|_| self.connection.upgrade))
    }
}

impl ConnectionOptions {
    fn read(&mut self, value: &[u8]) {
        for option in value.split(|&byte| byte == b',').map(trim) {
            match option.len() {
                0 => {}
                5 if option.eq_ignore_ascii_case(b"close") => self.close = true,
                7 if option.eq_ignore_ascii_case(b"upgrade") => self.upgrade = true,
                10 if option.eq_ignore_ascii_case(b"keep-alive") => self.keep_alive = true,
                _ => match HeaderName::from_bytes(option) {
                    Ok(name) => self.nominated.push(name),
                    // What it says about the connection is not understood, so the connection is not used again.
                    Err(_) => self.close = true,
                },
            }
        }
    }
}

/// Fields that a sender must not nominate (RFC 9110 7.6.1): removing them would change what the response means, or
/// whom it reaches from a cache.
fn is_for_all_recipients(name: &str) -> bool {
    name.starts_with("content-")
        || name.starts_with("access-control-")
        || matches!(
            name,
            "age"
                | "allow"
                | "authorization"
                | "cache-control"
                | "cookie"
                | "date"
                | "etag"
                | "expires"
                | "host"
                | "last-modified"
                | "location"
                | "pragma"
                | "proxy-authenticate"
                | "retry-after"
                | "set-cookie"
                | "strict-transport-security"
                | "trailer"
                | "vary"
                | "via"
                | "www-authenticate"
                | "x-content-type-options"
                | "x-frame-options"
        )
}

/// `timeout=N` among the parameters of Keep-Alive, in seconds. The field is informal: what is not understood is passed
/// over.
fn parse_timeout(value: &[u8]) -> Option<Duration> {
    const NAME: &[u8] = b"timeout=";
    value.split(|&byte| byte == b',').map(trim).find_map(|parameter| {
        let (name, seconds) = parameter.split_at_checked(NAME.len())?;
        if !name.eq_ignore_ascii_case(NAME) {
            return None;
        }
        let seconds = u32::try_from(field::content_length(seconds)?).ok()?;
        Some(Duration::from_secs(seconds.into()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_is_found_among_the_parameters() {
        let seconds = |value: &str| parse_timeout(value.as_bytes()).map(|timeout| timeout.as_secs());
        assert_eq!(seconds("timeout=5"), Some(5));
        assert_eq!(seconds("max=100, Timeout=65"), Some(65));
        assert_eq!(seconds("timeout=0,max=1"), Some(0));
        for ignored in [
            "",
            "max=5",
            "timeout",
            "timeout=",
            "timeout=5s",
            "timeout = 5",
            "timeout=4294967296",
        ] {
            assert_eq!(seconds(ignored), None, "{ignored}");
        }
    }

    #[test]
    fn connection_options_add_up_over_several_lines() {
        let mut options = ConnectionOptions::default();
        options.read(b"Keep-Alive, X-Hop ,,");
        options.read(b"UPGRADE,close");
        assert!(options.close && options.keep_alive && options.upgrade);
        assert_eq!(options.nominated, ["x-hop"]);
    }

    #[test]
    fn an_option_that_is_no_token_forbids_reuse() {
        let mut fields = HopByHop::default();
        fields.connection.read(b"keep-alive; x");
        assert!(!fields.allows_reuse(Version::Http11));
    }

    #[test]
    fn http_1_0_is_reused_only_if_it_says_so_and_close_wins() {
        let allows = |value: &[u8], version| {
            let mut fields = HopByHop::default();
            fields.connection.read(value);
            fields.allows_reuse(version)
        };
        assert!(allows(b"", Version::Http11));
        assert!(!allows(b"", Version::Http10));
        assert!(allows(b"keep-alive", Version::Http10));
        assert!(!allows(b"keep-alive, close", Version::Http10));
        assert!(!allows(b"close, keep-alive", Version::Http11));
    }
}
