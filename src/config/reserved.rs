//! Fields that only the proxy may write.

use http::{HeaderMap, HeaderName};

use super::Listener;

/// The names of fields by which endpoints are told of verified clients, at least one. What a client sends under one of them is taken
/// off, on every listener: an endpoint cannot know by which one a request came.
///
/// A name stands for all that an endpoint may take for it: where fields become variables (RFC 3875 4.1.18), all that is
/// neither letter nor digit is one sign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReservedFields(Vec<HeaderName>);

impl ReservedFields {
    pub(super) fn of(listeners: &[Listener]) -> Option<Self> {
        let clients = listeners.iter().filter_map(|listener| listener.tls.as_ref());
        let clients = clients.filter_map(|tls| tls.client_certificates.as_ref());
        let mut names: Vec<_> = clients.flat_map(|clients| clients.fields.names()).cloned().collect();
        names.sort_unstable_by(|one, other| one.as_str().cmp(other.as_str()));
        names.dedup();
        (!names.is_empty()).then_some(Self(names))
    }

    /// Whether a field of this name, in any case, would pass for one of these.
    pub fn has(&self, name: &str) -> bool {
        self.0.iter().any(|own| are_alike(own.as_str(), name))
    }

    /// Takes all fields off that would pass for one of these.
    pub fn strip(&self, fields: &mut HeaderMap) {
        let forged: Vec<_> = fields.keys().filter(|name| self.has(name.as_str())).cloned().collect();
        for name in forged {
            fields.remove(name);
        }
    }
}

/// Whether an endpoint may take the one name for the other.
pub(super) fn are_alike(one: &str, other: &str) -> bool {
    let folded = |byte: u8| {
        if byte.is_ascii_alphanumeric() {
            byte.to_ascii_lowercase()
        } else {
            b'-'
        }
    };
    one.len() == other.len() && one.bytes().map(folded).eq(other.bytes().map(folded))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_name_stands_for_all_that_pass_for_it() {
        let reserved = ReservedFields(vec![HeaderName::from_static("x-client_subject")]);
        let mut fields = HeaderMap::new();
        for name in [
            "x-client-subject",
            "x_client_subject",
            "X-Client-Subject",
            "x.client~subject",
            "x-client-subjec",
            "x-client-subject-",
            "xxclientxsubject",
        ] {
            let name = HeaderName::from_bytes(name.as_bytes()).expect("a name");
            fields.append(name, HeaderValue::from_static("forged"));
        }
        reserved.strip(&mut fields);
        let mut left: Vec<_> = fields.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["x-client-subjec", "x-client-subject-", "xxclientxsubject"]);
        assert!(reserved.has("X-CLIENT-SUBJECT"));
    }
}
