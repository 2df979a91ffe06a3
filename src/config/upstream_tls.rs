//! `[cluster.NAME.tls]`: TLS towards the endpoints.

use std::path::PathBuf;

use rustls::pki_types;

use super::{
    problem::Wrong,
    reader::{Table, Value},
    tls::{Certificate, DEFAULT_TLS_VERSION, TLS_VERSIONS, TlsVersion, check_file},
    write::{Entries, ToToml},
};

/// `[cluster.NAME.tls]`: how the endpoints of a cluster are spoken to over TLS, and how they prove who they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamTls {
    pub verify: Verify,
    pub roots: Roots,
    pub server_name: ServerName,
    /// What is shown to an endpoint that asks for a certificate.
    pub certificate: Option<Certificate>,
    pub min_version: TlsVersion,
}

/// Whether an endpoint has to prove that it is the one that was meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verify {
    /// Its chain leads to one of the roots, and its certificate holds the server name.
    Full,
    /// Anybody may answer in its place.
    None,
}

/// Whom the chain of an endpoint's certificate has to lead to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Roots {
    /// Those that the operating system trusts.
    Platform,
    /// Those of Mozilla's programme, as of the build.
    Webpki,
    /// Those of a PEM file.
    File(PathBuf),
}

/// The server name that is asked for (RFC 6066 3), and that the endpoint's certificate has to hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerName {
    /// The host of the endpoint's address as configured.
    Endpoint,
    /// The host that the client asks for; each has connections of its own.
    Request,
    /// A DNS name or an IP address.
    Fixed(String),
}

const VERIFIES: [(&str, Verify); 2] = [("full", Verify::Full), ("none", Verify::None)];
const PLATFORM: &str = "platform";
const WEBPKI: &str = "webpki";
const ENDPOINT: &str = "endpoint";
const REQUEST: &str = "request";

impl Default for UpstreamTls {
    fn default() -> Self {
        Self {
            verify: Verify::Full,
            roots: Roots::Platform,
            server_name: ServerName::Endpoint,
            certificate: None,
            min_version: DEFAULT_TLS_VERSION,
        }
    }
}

impl UpstreamTls {
    /// Every file that is read for it.
    pub fn files(&self) -> impl Iterator<Item = &PathBuf> {
        let roots = match &self.roots {
            Roots::File(path) => Some(path),
            Roots::Platform | Roots::Webpki => None,
        };
        let own = self.certificate.iter().flat_map(|own| [&own.chain, &own.key]);
        roots.into_iter().chain(own)
    }

    pub(super) fn read(table: &mut Table<'_>) -> Self {
        let default = Self::default();
        let verify = table.choice("verify", default.verify, &VERIFIES);
        if verify == Verify::None && table.has("roots") {
            let wrong = Wrong::new("`roots` has no meaning where nothing is verified");
            table.report("roots", wrong.help("leave it out, or write `verify = \"full\"`"));
        }
        Self {
            verify,
            roots: table.or("roots", default.roots, |value| read_roots(&value)),
            server_name: table.or("server_name", default.server_name, |value| {
                value.parse("\"endpoint\", \"request\" or a name", parse_server_name)
            }),
            certificate: table.section("certificate", None, Certificate::read),
            min_version: table.choice("min_version", default.min_version, &TLS_VERSIONS),
        }
    }

    pub(super) fn entries(&self) -> Entries {
        let default = Self::default();
        let mut entries = Entries::default();
        entries.changed_choice("verify", &self.verify, &default.verify, &VERIFIES);
        match &self.roots {
            Roots::Platform => {}
            Roots::Webpki => entries.put("roots", WEBPKI),
            Roots::File(path) => entries.put("roots", path.as_path()),
        }
        match &self.server_name {
            ServerName::Endpoint => {}
            ServerName::Request => entries.put("server_name", REQUEST),
            ServerName::Fixed(name) => entries.put("server_name", name),
        }
        if let Some(certificate) = &self.certificate {
            entries.put_table("certificate", &certificate.entries());
        }
        entries.changed_choice("min_version", &self.min_version, &default.min_version, &TLS_VERSIONS);
        entries
    }
}

fn read_roots(value: &Value<'_>) -> Option<Roots> {
    let text = value.text("\"platform\", \"webpki\" or the path of a file")?;
    match text {
        PLATFORM => Some(Roots::Platform),
        WEBPKI => Some(Roots::Webpki),
        path => check_file(value, path, "the certificates of those who are trusted, as PEM").map(Roots::File),
    }
}

fn parse_server_name(text: &str) -> Result<ServerName, Wrong> {
    match text {
        ENDPOINT => Ok(ServerName::Endpoint),
        REQUEST => Ok(ServerName::Request),
        name => match pki_types::ServerName::try_from(name) {
            Ok(_) => Ok(ServerName::Fixed(name.to_ascii_lowercase())),
            Err(_) => Err(Wrong::new(format!("{} is not a server name", name.to_toml()))
                .help("write a DNS name such as \"api.example\", without a port, or \"endpoint\" or \"request\"")),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_name_is_a_word_or_a_name_without_a_port() {
        assert_eq!(parse_server_name("endpoint"), Ok(ServerName::Endpoint));
        assert_eq!(parse_server_name("request"), Ok(ServerName::Request));
        assert_eq!(
            parse_server_name("API.example"),
            Ok(ServerName::Fixed("api.example".to_owned()))
        );
        assert_eq!(
            parse_server_name("10.0.0.1"),
            Ok(ServerName::Fixed("10.0.0.1".to_owned()))
        );
        for wrong in ["", "api.example:443", "https://api.example", "a b", "*.example"] {
            assert!(parse_server_name(wrong).is_err(), "{wrong}");
        }
    }
}
