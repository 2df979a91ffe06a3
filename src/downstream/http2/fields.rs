//! Field values that hold no more memory than their own. Pure.

use http::{HeaderMap, HeaderValue};

/// Gives each value memory of its own. As they come, values are parts of the buffer that the endpoint's head was read
/// into, 16 KiB and more; the engine keeps those that are new to it for as long as the connection lives, to say them
/// shorter the next time (RFC 7541 2.3.2), and with them each of their buffers.
pub(in crate::downstream) fn detach(fields: &mut HeaderMap) {
    for value in fields.values_mut() {
        let mut own = HeaderValue::from_bytes(value.as_bytes()).expect("it is a value already");
        own.set_sensitive(value.is_sensitive());
        *value = own;
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn values_let_go_of_the_buffer_that_they_are_parts_of() {
        let buffer = Bytes::from(b"one two".repeat(100));
        let mut fields = HeaderMap::new();
        for (name, range) in [("a", 0..3), ("a", 4..7), ("b", 0..0)] {
            let value = HeaderValue::from_maybe_shared(buffer.slice(range)).unwrap();
            fields.append(name, value);
        }
        fields.get_mut("b").unwrap().set_sensitive(true);
        assert!(!buffer.is_unique());
        detach(&mut fields);
        assert!(buffer.is_unique());
        let values: Vec<_> = fields.get_all("a").iter().collect();
        assert_eq!(values, ["one", "two"]);
        assert!(fields["b"].is_empty() && fields["b"].is_sensitive());
    }
}
