//! `[forwarding]`.

use ipnet::IpNet;

use super::{address::parse_network, problem::Wrong, reader::Table, write::Entries};

/// `[forwarding]`: what endpoints are told about the client.
#[derive(Debug, Clone, PartialEq)]
pub struct Forwarding {
    /// Clients whose `X-Forwarded-*` and `Forwarded` fields are kept and extended; those of all others are dropped.
    pub trusted_proxies: Vec<IpNet>,
    /// `X-Forwarded-For`, `-Proto`, `-Host`.
    pub x_forwarded: bool,
    /// RFC 7239 `Forwarded`.
    pub forwarded: bool,
    /// The pseudonym in `Via` (RFC 9110 7.6.3), on requests and responses; `None` leaves the field out.
    pub via: Option<String>,
}

impl Default for Forwarding {
    fn default() -> Self {
        Self {
            trusted_proxies: Vec::new(),
            x_forwarded: true,
            forwarded: false,
            via: None,
        }
    }
}

impl Forwarding {
    pub(super) fn read(table: &mut Table<'_>) -> Self {
        let default = Self::default();
        Self {
            trusted_proxies: read_networks(table, "trusted_proxies", default.trusted_proxies),
            x_forwarded: table.boolean("x_forwarded", default.x_forwarded),
            forwarded: table.boolean("forwarded", default.forwarded),
            via: table.or("via", default.via, |value| {
                value.parse("a name, such as \"forebay\"", parse_pseudonym).map(Some)
            }),
        }
    }

    pub(super) fn write(&self) -> String {
        let default = Self::default();
        let mut entries = Entries::default();
        entries.changed("trusted_proxies", &self.trusted_proxies, &default.trusted_proxies);
        entries.changed("x_forwarded", &self.x_forwarded, &default.x_forwarded);
        entries.changed("forwarded", &self.forwarded, &default.forwarded);
        if let Some(via) = &self.via {
            entries.put("via", via);
        }
        entries.section("[forwarding]")
    }
}

pub(super) fn read_networks(table: &mut Table<'_>, key: &'static str, default: Vec<IpNet>) -> Vec<IpNet> {
    table.or(key, default, |value| {
        value.list("[\"10.0.0.0/8\"]", |item| {
            item.parse("a network, such as \"10.0.0.0/8\"", parse_network)
        })
    })
}

/// A token (RFC 9110 5.6.2): the form of `received-by` that names no host.
fn parse_pseudonym(text: &str) -> Result<String, Wrong> {
    let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    if text.is_empty() || !text.chars().all(token) {
        let wrong = Wrong::new(format!("{text:?} cannot stand in `Via`"));
        return Err(wrong.help("write a name of letters, digits, dots and dashes, such as \"forebay\""));
    }
    Ok(text.to_owned())
}
