//! `listener.tls`: what clients are shown, and what they have to show.

use std::{path::PathBuf, time::Duration};

use super::{
    client_certificates::ClientCertificates,
    problem::Wrong,
    reader::{Table, Value},
    write::Entries,
};

/// `listener.tls`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// The first one also serves clients that name no server or an unknown one.
    pub certificates: Vec<ServerCertificate>,
    pub min_version: TlsVersion,
    /// What is offered to clients (RFC 7301), the preferred first; never empty.
    pub alpn: Vec<Alpn>,
    pub client_certificates: Option<ClientCertificates>,
    /// A file with the keys of session tickets; without it the listener makes its own.
    pub ticket_keys: Option<PathBuf>,
    pub hsts: Option<Hsts>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsVersion {
    Tls12,
    Tls13,
}

/// A protocol that a client and a listener agree on within the TLS handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alpn {
    Http2,
    Http11,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    pub chain: PathBuf,
    pub key: PathBuf,
}

/// A certificate that clients are shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerCertificate {
    pub pair: Certificate,
    /// What its issuer says of its revocation (RFC 6960), as DER.
    pub ocsp: Option<PathBuf>,
}

/// `listener.tls.hsts`: Strict-Transport-Security (RFC 6797 6.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hsts {
    /// In whole seconds.
    pub max_age: Duration,
    pub include_subdomains: bool,
    pub preload: bool,
}

pub(super) const TLS_VERSIONS: [(&str, TlsVersion); 2] = [("1.2", TlsVersion::Tls12), ("1.3", TlsVersion::Tls13)];
pub(super) const DEFAULT_TLS_VERSION: TlsVersion = TlsVersion::Tls12;
const ALPN: [(&str, Alpn); 2] = [("h2", Alpn::Http2), ("http/1.1", Alpn::Http11)];
const DEFAULT_ALPN: [Alpn; 2] = [Alpn::Http2, Alpn::Http11];
/// As in the examples of RFC 6797 6.2, and the least that lists of preloaded hosts take.
const DEFAULT_HSTS: Hsts = Hsts {
    max_age: Duration::from_secs(365 * 86_400),
    include_subdomains: false,
    preload: false,
};

impl Tls {
    /// TLS with these certificates and everything else by default.
    pub fn new(certificates: Vec<Certificate>) -> Self {
        let shown = |pair| ServerCertificate { pair, ocsp: None };
        Self {
            certificates: certificates.into_iter().map(shown).collect(),
            min_version: DEFAULT_TLS_VERSION,
            alpn: DEFAULT_ALPN.to_vec(),
            client_certificates: None,
            ticket_keys: None,
            hsts: None,
        }
    }

    /// Every file that is read for it.
    pub fn files(&self) -> impl Iterator<Item = &PathBuf> {
        let shown = self.certificates.iter();
        let shown = shown.flat_map(|shown| [Some(&shown.pair.chain), Some(&shown.pair.key), shown.ocsp.as_ref()]);
        let clients = self.client_certificates.iter();
        let clients = clients.flat_map(|clients| [Some(&clients.ca), clients.crl.as_ref()]);
        shown.chain(clients).chain([self.ticket_keys.as_ref()]).flatten()
    }

    pub(super) fn read(table: &mut Table<'_>) -> Self {
        let example = "certificates = [{ chain = \"shop.pem\", key = \"shop.key\" }]";
        let certificates = table.value("certificates");
        if certificates.is_none() {
            table.report_absence(Wrong::new("TLS needs a certificate").help(format!("write `{example}`")));
        }
        let read_one =
            |item: Value<'_>| item.table("{ chain = \"shop.pem\", key = \"shop.key\" }", ServerCertificate::read);
        let certificates = certificates.and_then(|value| {
            let certificates = value.list(example, read_one)?;
            if value.is_empty_array() {
                value.report(Wrong::new("TLS needs a certificate").help(format!("write `{example}`")));
            }
            Some(certificates)
        });
        Self {
            certificates: certificates.unwrap_or_default().into_iter().flatten().collect(),
            min_version: table.choice("min_version", DEFAULT_TLS_VERSION, &TLS_VERSIONS),
            alpn: table.or("alpn", DEFAULT_ALPN.to_vec(), |value| read_alpn(&value)),
            client_certificates: table.section("client_certificates", None, ClientCertificates::read),
            ticket_keys: read_optional_file(table, "ticket_keys", "the keys of session tickets, one in each line"),
            hsts: table.section("hsts", None, |table| Some(Hsts::read(table))),
        }
    }

    pub(super) fn entries(&self) -> Entries {
        let mut entries = Entries::default();
        let certificates: Vec<_> = self
            .certificates
            .iter()
            .map(|certificate| certificate.entries().inline())
            .collect();
        entries.put_raw("certificates", format!("[{}]", certificates.join(", ")));
        entries.changed_choice("min_version", &self.min_version, &DEFAULT_TLS_VERSION, &TLS_VERSIONS);
        let words = |protocols: &[Alpn]| -> Vec<String> { protocols.iter().map(|it| it.word().to_owned()).collect() };
        entries.changed("alpn", &words(&self.alpn), &words(&DEFAULT_ALPN));
        if let Some(clients) = &self.client_certificates {
            entries.put_table("client_certificates", &clients.entries());
        }
        if let Some(path) = &self.ticket_keys {
            entries.put("ticket_keys", path.as_path());
        }
        if let Some(hsts) = &self.hsts {
            entries.put_raw("hsts", hsts.entries().inline());
        }
        entries
    }
}

impl Alpn {
    /// As registered for RFC 7301.
    pub fn word(self) -> &'static str {
        match self {
            Self::Http2 => "h2",
            Self::Http11 => "http/1.1",
        }
    }
}

fn read_alpn(value: &Value<'_>) -> Option<Vec<Alpn>> {
    let example = "[\"h2\", \"http/1.1\"]";
    let mut protocols = Vec::new();
    for item in value.items(example)? {
        let protocol = item.parse("\"h2\" or \"http/1.1\"", |text| {
            let words = ALPN.iter().map(|(word, _)| *word);
            let known = ALPN.iter().find(|(word, _)| *word == text);
            known
                .map(|(_, protocol)| *protocol)
                .ok_or_else(|| Wrong::new(format!("`alpn` cannot have {text:?}")).suggest(text, words))
        })?;
        if protocols.contains(&protocol) {
            item.report(Wrong::new(format!("{:?} is there twice", protocol.word())).help("write each once"));
            return None;
        }
        protocols.push(protocol);
    }
    if protocols.is_empty() {
        value.report(Wrong::new("`alpn` has no protocol").help(format!("write {example}, or leave it out")));
        return None;
    }
    Some(protocols)
}

impl Certificate {
    pub(super) fn read(table: &mut Table<'_>) -> Option<Self> {
        let chain = read_file(table, "chain", "the certificate and those above it, as PEM");
        let key = read_file(table, "key", "the private key, as PEM");
        Some(Self {
            chain: chain?,
            key: key?,
        })
    }

    pub(super) fn entries(&self) -> Entries {
        let mut entries = Entries::default();
        entries.put("chain", self.chain.as_path());
        entries.put("key", self.key.as_path());
        entries
    }
}

impl ServerCertificate {
    fn read(table: &mut Table<'_>) -> Option<Self> {
        let ocsp = read_optional_file(table, "ocsp", "the issuer's answer of OCSP, as DER");
        Some(Self {
            pair: Certificate::read(table)?,
            ocsp,
        })
    }

    fn entries(&self) -> Entries {
        let mut entries = self.pair.entries();
        if let Some(ocsp) = &self.ocsp {
            entries.put("ocsp", ocsp.as_path());
        }
        entries
    }
}

impl Hsts {
    fn read(table: &mut Table<'_>) -> Self {
        let max_age = table.or("max_age", DEFAULT_HSTS.max_age, |value| {
            let max_age = value.age()?;
            if max_age.subsec_millis() > 0 {
                value.report(Wrong::new("`max_age` is counted in seconds").help("write for example \"365d\""));
            }
            Some(max_age)
        });
        let include_subdomains = table.boolean("include_subdomains", DEFAULT_HSTS.include_subdomains);
        let preload = table.boolean("preload", DEFAULT_HSTS.preload);
        if preload && (!include_subdomains || max_age < DEFAULT_HSTS.max_age) {
            let wrong = Wrong::new("no list of preloaded hosts takes one with less than a year or without subdomains");
            table.report(
                "preload",
                wrong.help("write `max_age = \"365d\", include_subdomains = true` beside it, or leave it out"),
            );
        }
        Self {
            max_age,
            include_subdomains,
            preload,
        }
    }

    fn entries(&self) -> Entries {
        let default = &DEFAULT_HSTS;
        let mut entries = Entries::default();
        entries.changed("max_age", &self.max_age, &default.max_age);
        entries.changed(
            "include_subdomains",
            &self.include_subdomains,
            &default.include_subdomains,
        );
        entries.changed("preload", &self.preload, &default.preload);
        entries
    }
}

/// Reads the path of a file, which has to be readable if the folder of the config is known.
pub(super) fn read_file(table: &mut Table<'_>, key: &'static str, content: &str) -> Option<PathBuf> {
    if !table.has(key) {
        let wrong = Wrong::new(format!("there is no `{key}` here"));
        table.report_absence(wrong.help(format!("write the path of a file with {content}")));
    }
    read_optional_file(table, key, content)
}

/// As [`read_file`], for a key that may be left out.
pub(super) fn read_optional_file(table: &mut Table<'_>, key: &'static str, content: &str) -> Option<PathBuf> {
    let value = table.value(key)?;
    let path = value.text(&format!("the path of a file with {content}"))?;
    check_file(&value, path, content)
}

/// The whole path of the file that `value` names, which has to be readable if the folder of the config is known.
pub(super) fn check_file(value: &Value<'_>, path: &str, content: &str) -> Option<PathBuf> {
    let context = value.context();
    let path = context.resolve(path);
    // Read whole, since a folder can be opened too.
    if context.base.is_some()
        && let Err(error) = std::fs::read(&path)
    {
        let wrong = Wrong::new(format!(
            "{} cannot be read: {error}",
            path.display().to_string().escape_debug()
        ));
        value.report(wrong.help(format!(
            "write the path of a file with {content}; it begins at the config's folder"
        )));
        return None;
    }
    Some(path)
}
