//! `listener.tls.client_certificates`: whom clients have to prove to be, and what endpoints are told of it.

use std::path::PathBuf;

use http::{HeaderName, header};

use super::{
    problem::Wrong,
    reader::Table,
    reserved::are_alike,
    tls::{read_file, read_optional_file},
    write::Entries,
};

/// `listener.tls.client_certificates`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificates {
    pub mode: ClientCertificateMode,
    /// The certificates of those who may vouch for clients, as PEM.
    pub ca: PathBuf,
    /// What they have revoked (RFC 5280 5), as PEM.
    pub crl: Option<PathBuf>,
    pub fields: CertificateFields,
}

/// Whether a client may come without a certificate. One that it shows has to be right in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientCertificateMode {
    Optional,
    Required,
}

/// The fields under which endpoints are told of a client's certificate; each only if it is named.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CertificateFields {
    /// As RFC 4514 writes it.
    pub subject: Option<HeaderName>,
    /// The subject's alternative names: `DNS:a.example, URI:spiffe://b, IP:192.0.2.1, email:c@d.example`.
    pub sans: Option<HeaderName>,
    /// SHA-256 of the certificate, in lower-case hexadecimal.
    pub fingerprint: Option<HeaderName>,
    /// The serial number, in lower-case hexadecimal.
    pub serial: Option<HeaderName>,
    /// The whole certificate, as RFC 9440 2 writes it.
    pub certificate: Option<HeaderName>,
}

const MODES: [(&str, ClientCertificateMode); 2] = [
    ("optional", ClientCertificateMode::Optional),
    ("required", ClientCertificateMode::Required),
];

/// Fields that mean something else, to the proxy or to every endpoint.
const TAKEN: [HeaderName; 19] = [
    header::HOST,
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::CONTENT_ENCODING,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::TE,
    header::TRAILER,
    header::EXPECT,
    header::VIA,
    header::FORWARDED,
    header::COOKIE,
    header::AUTHORIZATION,
    header::PROXY_AUTHORIZATION,
    header::ACCEPT,
    header::RANGE,
    header::USER_AGENT,
    header::DATE,
];
/// As [`TAKEN`], without a constant of their own.
const TAKEN_TOO: [&str; 6] = [
    "keep-alive",
    "proxy-connection",
    "http2-settings",
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-host",
];

impl ClientCertificates {
    pub(super) fn read(table: &mut Table<'_>) -> Option<Self> {
        if !table.has("mode") {
            let wrong = Wrong::new("it is not said whether clients must have a certificate");
            table.report_absence(wrong.help("write `mode = \"required\"` or `mode = \"optional\"`"));
        }
        let mode = table.choice("mode", ClientCertificateMode::Required, &MODES);
        let ca = read_file(table, "ca", "the certificates of those who vouch for clients, as PEM");
        let crl = read_optional_file(table, "crl", "what they have revoked, as PEM");
        let fields = CertificateFields::read(table);
        Some(Self {
            mode,
            ca: ca?,
            crl,
            fields,
        })
    }

    pub(super) fn entries(&self) -> Entries {
        let mut entries = Entries::default();
        let mode = MODES.iter().find(|(_, mode)| *mode == self.mode);
        entries.put("mode", mode.map_or("required", |(word, _)| word));
        entries.put("ca", self.ca.as_path());
        if let Some(crl) = &self.crl {
            entries.put("crl", crl.as_path());
        }
        for (key, name) in self.fields.keys() {
            if let Some(name) = name {
                entries.put(key, name);
            }
        }
        entries
    }
}

impl CertificateFields {
    fn read(table: &mut Table<'_>) -> Self {
        let mut read: Vec<HeaderName> = Vec::new();
        let mut field = |key: &'static str| {
            let value = table.value(key)?;
            let name = value.parse("the name of a header field, such as \"x-client-subject\"", parse_name)?;
            if read.iter().any(|other| are_alike(other.as_str(), name.as_str())) {
                let wrong = Wrong::new(format!("`{name}` is the name of two fields"));
                value.report(wrong.help("give each a name of its own"));
                return None;
            }
            read.push(name.clone());
            Some(name)
        };
        Self {
            subject: field("subject_field"),
            sans: field("sans_field"),
            fingerprint: field("fingerprint_field"),
            serial: field("serial_field"),
            certificate: field("certificate_field"),
        }
    }

    /// The names that are in use.
    pub fn names(&self) -> impl Iterator<Item = &HeaderName> {
        self.keys().into_iter().filter_map(|(_, name)| name)
    }

    fn keys(&self) -> [(&'static str, Option<&HeaderName>); 5] {
        [
            ("subject_field", self.subject.as_ref()),
            ("sans_field", self.sans.as_ref()),
            ("fingerprint_field", self.fingerprint.as_ref()),
            ("serial_field", self.serial.as_ref()),
            ("certificate_field", self.certificate.as_ref()),
        ]
    }
}

fn parse_name(text: &str) -> Result<HeaderName, Wrong> {
    let name = HeaderName::from_bytes(text.as_bytes()).map_err(|_| {
        Wrong::new(format!("{text:?} is not the name of a header field"))
            .help("write letters, digits and dashes: \"x-client-subject\"")
    })?;
    let mut taken = TAKEN.iter().map(HeaderName::as_str).chain(TAKEN_TOO);
    if taken.any(|taken| are_alike(taken, name.as_str())) {
        let wrong = Wrong::new(format!("`{name}` already means something else"));
        return Err(wrong.help("write a name of its own, such as \"x-client-subject\""));
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_has_a_name_that_means_nothing_else() {
        for taken in [
            "Host",
            "cookie",
            "transfer_encoding",
            "x-forwarded-for",
            "Keep-Alive",
            "a b",
            "",
        ] {
            assert!(parse_name(taken).is_err(), "{taken}");
        }
        for free in ["x-client-subject", "Client-Cert", "x_client"] {
            assert!(parse_name(free).is_ok(), "{free}");
        }
    }
}
