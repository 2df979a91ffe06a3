//! Names of X.500 as text.

use std::fmt::Write;

use x509_parser::{
    asn1_rs::{Any, Class, Tag},
    oid_registry::Oid,
    x509::X509Name,
};

/// Attributes with a short name: those of RFC 4514 3, and those that `openssl x509 -nameopt RFC2253` knows besides.
const SHORT: [(&str, &str); 20] = [
    ("2.5.4.3", "CN"),
    ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"),
    ("2.5.4.10", "O"),
    ("2.5.4.11", "OU"),
    ("2.5.4.6", "C"),
    ("2.5.4.9", "street"),
    ("0.9.2342.19200300.100.1.25", "DC"),
    ("0.9.2342.19200300.100.1.1", "UID"),
    ("2.5.4.4", "SN"),
    ("2.5.4.5", "serialNumber"),
    ("2.5.4.12", "title"),
    ("2.5.4.17", "postalCode"),
    ("2.5.4.41", "name"),
    ("2.5.4.42", "GN"),
    ("2.5.4.43", "initials"),
    ("2.5.4.44", "generationQualifier"),
    ("2.5.4.46", "dnQualifier"),
    ("2.5.4.65", "pseudonym"),
    ("1.2.840.113549.1.9.1", "emailAddress"),
];

/// `name` as RFC 4514 writes it, the last part first, in visible ASCII and spaces: every other byte of UTF-8 stands as a
/// backslash and two digits.
///
/// `None` if a text in it is none.
pub(super) fn rfc4514(name: &X509Name<'_>) -> Option<String> {
    let mut text = String::new();
    let parts: Vec<_> = name.iter_rdn().collect();
    for (place, part) in parts.into_iter().rev().enumerate() {
        let attributes: Vec<_> = part.iter().collect();
        for (within, attribute) in attributes.into_iter().rev().enumerate() {
            match (place, within) {
                (0, 0) => {}
                (_, 0) => text.push(','),
                _ => text.push('+'),
            }
            attribute_text(&mut text, attribute.attr_type(), attribute.attr_value())?;
        }
    }
    Some(text)
}

fn attribute_text(out: &mut String, kind: &Oid<'_>, value: &Any<'_>) -> Option<()> {
    let kind = kind.to_id_string();
    match SHORT.iter().find(|(oid, _)| *oid == kind) {
        Some((_, short)) if is_text(value) => {
            out.push_str(short);
            out.push('=');
            escape(out, &decode(value)?);
        }
        known => {
            out.push_str(known.map_or(&kind, |(_, short)| short));
            out.push_str("=#");
            for byte in encoded(value)? {
                // A String takes everything.
                let _ = write!(out, "{byte:02X}");
            }
        }
    }
    Some(())
}

fn is_text(value: &Any<'_>) -> bool {
    value.class() == Class::Universal
        && matches!(
            value.tag(),
            Tag::Utf8String
                | Tag::PrintableString
                | Tag::Ia5String
                | Tag::NumericString
                | Tag::VisibleString
                | Tag::T61String
                | Tag::BmpString
                | Tag::UniversalString
        )
}

fn decode(value: &Any<'_>) -> Option<String> {
    match value.tag() {
        Tag::Utf8String => String::from_utf8(value.data.to_vec()).ok(),
        // In practice Latin-1.
        Tag::T61String => Some(value.data.iter().copied().map(char::from).collect()),
        Tag::BmpString => {
            let units = value.data.chunks_exact(2);
            let whole = units.remainder().is_empty();
            let units = units.map(|unit| u16::from_be_bytes([unit[0], unit[1]]));
            char::decode_utf16(units)
                .collect::<Result<_, _>>()
                .ok()
                .filter(|_| whole)
        }
        Tag::UniversalString => {
            let units = value.data.chunks_exact(4);
            let whole = units.remainder().is_empty();
            let units = units.map(|unit| char::from_u32(u32::from_be_bytes([unit[0], unit[1], unit[2], unit[3]])));
            units.collect::<Option<_>>().filter(|_| whole)
        }
        _ => value
            .data
            .is_ascii()
            .then(|| value.data.iter().copied().map(char::from).collect()),
    }
}

/// RFC 4514 2.4.
fn escape(out: &mut String, text: &str) {
    let last = text.len().saturating_sub(1);
    for (place, byte) in text.bytes().enumerate() {
        match byte {
            b',' | b'+' | b'"' | b'<' | b'>' | b';' | b'\\' => out.extend(['\\', char::from(byte)]),
            b'#' if place == 0 => out.push_str("\\#"),
            b' ' if place == 0 || place == last => out.push_str("\\ "),
            b' '..=b'~' => out.push(char::from(byte)),
            _ => {
                let _ = write!(out, "\\{byte:02X}");
            }
        }
    }
}

/// The value with its tag and length (RFC 4514 2.4, last case).
fn encoded(value: &Any<'_>) -> Option<Vec<u8>> {
    let tag = u8::try_from(value.tag().0).ok().filter(|tag| *tag < 31)?;
    let constructed = if value.header.is_constructed() { 0x20 } else { 0 };
    let mut bytes = vec![(value.class() as u8) << 6 | constructed | tag];
    let length = value.data.len();
    match u8::try_from(length) {
        Ok(short @ ..0x80) => bytes.push(short),
        _ => {
            let long: Vec<u8> = length.to_be_bytes().into_iter().skip_while(|byte| *byte == 0).collect();
            bytes.push(0x80 | u8::try_from(long.len()).ok()?);
            bytes.extend(long);
        }
    }
    bytes.extend_from_slice(value.data);
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_end_a_value_or_a_field_is_escaped() {
        for (text, escaped) in [
            ("plain text", "plain text"),
            (" both ", "\\ both\\ "),
            (" ", "\\ "),
            ("#hash #", "\\#hash #"),
            ("a,b+c\"d\\e<f>g;h=i", "a\\,b\\+c\\\"d\\\\e\\<f\\>g\\;h=i"),
            ("Müller", "M\\C3\\BCller"),
            ("a\r\nX-Forged: b\0", "a\\0D\\0AX-Forged: b\\00"),
            ("", ""),
        ] {
            let mut out = String::new();
            escape(&mut out, text);
            assert_eq!(out, escaped);
        }
    }
}
