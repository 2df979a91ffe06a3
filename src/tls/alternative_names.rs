//! The alternative names of a certificate's subject (RFC 5280 4.2.1.6) as text.

use std::{fmt::Write, net::IpAddr};

use x509_parser::extensions::GeneralName;

/// The names that have a text, in their order: `DNS:a.example, URI:spiffe://b, IP:192.0.2.1, email:c@d.example`. Every
/// byte in a name that is not visible ASCII, and each comma, quote and backslash, stands as a backslash and two digits,
/// so that a comma always ends a name.
pub(super) fn listed<'a>(names: impl IntoIterator<Item = &'a GeneralName<'a>>) -> String {
    let mut text = String::new();
    for name in names {
        let address;
        let (kind, value) = match name {
            GeneralName::DNSName(name) => ("DNS", *name),
            GeneralName::URI(uri) => ("URI", *uri),
            GeneralName::RFC822Name(mailbox) => ("email", *mailbox),
            GeneralName::IPAddress(bytes) => match ip(bytes) {
                Some(ip) => {
                    address = ip.to_string();
                    ("IP", address.as_str())
                }
                None => continue,
            },
            _ => continue,
        };
        if !text.is_empty() {
            text.push_str(", ");
        }
        text.push_str(kind);
        text.push(':');
        escape(&mut text, value);
    }
    text
}

fn ip(bytes: &[u8]) -> Option<IpAddr> {
    <[u8; 4]>::try_from(bytes)
        .map(IpAddr::from)
        .or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from))
        .ok()
}

fn escape(out: &mut String, text: &str) {
    for byte in text.bytes() {
        match byte {
            b'!'..=b'~' if !b",\"\\".contains(&byte) => out.push(char::from(byte)),
            // A String takes everything.
            _ => {
                let _ = write!(out, "\\{byte:02X}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_pass_for_two() {
        let names = [
            GeneralName::DNSName("a.example, DNS:b.example"),
            GeneralName::URI("spiffe://c/d\r\nx: y"),
            GeneralName::IPAddress(&[192, 0, 2, 1]),
            GeneralName::IPAddress(&[0; 16]),
            GeneralName::IPAddress(&[1, 2, 3]),
            GeneralName::RFC822Name("é\"\\@e.example"),
        ];
        assert_eq!(
            listed(&names),
            "DNS:a.example\\2C\\20DNS:b.example, URI:spiffe://c/d\\0D\\0Ax:\\20y, IP:192.0.2.1, IP:::, \
             email:\\C3\\A9\\22\\5C@e.example"
        );
        assert_eq!(listed(&[]), "");
    }
}
