//! What one listener shows to clients, and asks of them.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
};

use http::HeaderValue;
use rustls::{
    ServerConfig, ServerConnection,
    pki_types::UnixTime,
    server::{NoServerSessionStorage, WebPkiClientVerifier},
};
use tokio::time::Instant;

use super::{
    TlsError,
    choice::Certificates,
    client_certificate::{self, ClientCertificateError, ClientFields},
    client_verifier::{self, Asked, NO_CERTIFICATES},
    load::{self, Loaded},
    ocsp::{self, Staple, StapleWarning},
    suites,
    tickets::{self, Keys, Rotation, Tickets},
    validity::Validity,
    versions,
};
use crate::config::{self, Alpn, ClientCertificateMode};

/// RFC 7301 6. Such a client is served as one of HTTP/1.1 is, and by nothing else.
const HTTP_10: &[u8] = b"http/1.0";

/// What a listener needs to speak TLS.
#[derive(Debug)]
pub struct ServerTls {
    pub config: Arc<ServerConfig>,
    certificates: Arc<Certificates>,
    validities: Vec<Validity>,
    staple_warnings: Vec<StapleWarning>,
    clients: Option<config::ClientCertificates>,
    keys: Keys,
    strict_transport_security: Option<HeaderValue>,
    /// Of the config and of what the files held.
    fingerprint: u64,
}

impl ServerTls {
    /// The TLS side of a listener: reads every file that `tls` names. Secrets of tickets that are not in a file live on
    /// of `before`, so that the sessions of clients do.
    ///
    /// # Errors
    /// The first file that cannot be used, by name; see [`TlsError`].
    pub fn new(tls: &config::Tls, before: Option<&Self>) -> Result<Self, TlsError> {
        // Taken first: what changes while it is read is a change the next time.
        let fingerprint = fingerprint(tls);
        let mut staple_warnings = Vec::new();
        let mut loaded = Vec::new();
        for files in &tls.certificates {
            let certificate = load::load(&files.pair)?;
            let staple = staple(files, &certificate, &mut staple_warnings)?;
            loaded.push((certificate, staple));
        }
        let chains = tls.certificates.iter().map(|files| &files.pair.chain);
        let validities = chains.zip(&loaded);
        let validities = validities
            .filter_map(|(chain, (loaded, _))| Some(Validity::new(chain, loaded.span?)))
            .collect();
        let certificates = Arc::new(Certificates::new(loaded).ok_or(TlsError::NoCertificates)?);
        let provider = Arc::new(suites::provider());
        let asked = match &tls.client_certificates {
            Some(clients) => client_verifier::ask(clients, Arc::clone(&provider))?,
            None => Asked {
                verifier: WebPkiClientVerifier::no_client_auth(),
                policy: NO_CERTIFICATES,
            },
        };
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(versions(tls.min_version))
            .map_err(TlsError::Library)?
            .with_client_cert_verifier(asked.verifier)
            .with_cert_resolver(certificates.clone());
        let keys = keys(tls, before)?;
        config.alpn_protocols = alpn(&tls.alpn);
        config.ticketer = Arc::new(Tickets {
            keys: keys.clone(),
            policy: asked.policy,
        });
        // Tickets carry the session, so no core has to ask a table that all cores share.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.max_early_data_size = 0;
        config.ignore_client_order = true;
        Ok(Self {
            config: Arc::new(config),
            certificates,
            validities,
            staple_warnings,
            clients: tls.client_certificates.clone(),
            keys,
            strict_transport_security: tls.hsts.map(strict_transport_security),
            fingerprint,
        })
    }

    /// Whether `tls`, with what its files hold now, gives the same.
    pub fn is_made_of(&self, tls: &config::Tls) -> bool {
        self.fingerprint == fingerprint(tls)
    }

    /// Whether `host` may be asked for on a connection whose client named `server_name` in its handshake: both lead
    /// to the same certificate, or the one that the client was shown holds `host` too.
    ///
    /// Where this is false, the answer is 421 (RFC 9110 15.5.20): the request was sent on a connection that was
    /// opened, and perhaps checked, for another server. `host` is without port; both may be in any case. A client
    /// that named no server was promised nothing, so there is nothing to ask then.
    pub fn same_certificate(&self, server_name: &str, host: &str) -> bool {
        self.certificates.same(server_name, host)
    }

    /// What endpoints are told of the client at the other end of `connection`, whose handshake is over.
    ///
    /// # Errors
    /// Why the client is to be sent off all the same.
    pub fn client_fields(&self, connection: &ServerConnection) -> Result<ClientFields, ClientCertificateError> {
        let Some(clients) = &self.clients else {
            return Ok(ClientFields::default());
        };
        match connection.peer_certificates().and_then(<[_]>::first) {
            Some(certificate) => client_certificate::read(certificate, &clients.fields, UnixTime::now()),
            // Only for a client that resumes, and that its ticket should have prevented.
            None if clients.mode == ClientCertificateMode::Required => Err(ClientCertificateError::Missing),
            None => Ok(ClientFields::default()),
        }
    }

    /// The value of Strict-Transport-Security, if the listener has one.
    pub fn strict_transport_security(&self) -> Option<&HeaderValue> {
        self.strict_transport_security.as_ref()
    }

    /// Until when the certificates are good, in the order of the config, as far as that can be read.
    pub fn validities(&self) -> &[Validity] {
        &self.validities
    }

    /// What works and yet needs somebody's attention, one sentence each.
    pub fn warnings(&self, now: UnixTime) -> Vec<String> {
        let validities = self.validities.iter();
        let validities = validities.filter_map(|validity| validity.warning(now));
        validities
            .map(|warning| warning.to_string())
            .chain(self.staple_warnings.iter().map(ToString::to_string))
            .collect()
    }
}

/// Of the config, and of what the files hold now.
fn fingerprint(tls: &config::Tls) -> u64 {
    let mut hasher = DefaultHasher::new();
    format!("{tls:?}").hash(&mut hasher);
    for path in tls.files() {
        std::fs::read(path).ok().hash(&mut hasher);
    }
    hasher.finish()
}

fn staple(
    files: &config::ServerCertificate,
    certificate: &Loaded,
    warnings: &mut Vec<StapleWarning>,
) -> Result<Option<Staple>, TlsError> {
    let Some(path) = &files.ocsp else { return Ok(None) };
    let bad = |source| TlsError::BadOcsp {
        path: path.clone(),
        source,
    };
    let staple = ocsp::read(load::read(path)?, &certificate.serial).map_err(bad)?;
    let (path, chain) = (path.clone(), files.pair.chain.clone());
    match &staple {
        // While a certificate is renewed, the answer on the old one may still lie there.
        None => warnings.push(StapleWarning::OtherCertificate { path, chain }),
        Some(staple) if staple.is_over(UnixTime::now()) => warnings.push(StapleWarning::OutOfDate { path, chain }),
        Some(_) => {}
    }
    Ok(staple)
}

fn keys(tls: &config::Tls, before: Option<&ServerTls>) -> Result<Keys, TlsError> {
    if let Some(path) = &tls.ticket_keys {
        let secrets = tickets::parse(&load::read(path)?).map_err(|source| TlsError::BadTicketKeys {
            path: path.clone(),
            source,
        })?;
        return Ok(Keys::Shared(secrets.into()));
    }
    if let Some(own @ Keys::Own(_)) = before.map(|before| &before.keys) {
        return Ok(own.clone());
    }
    let rotation = Rotation::start(Instant::now()).map_err(|_| TlsError::NoRandomBytes)?;
    Ok(Keys::Own(Arc::new(rotation)))
}

fn alpn(protocols: &[Alpn]) -> Vec<Vec<u8>> {
    let mut offered: Vec<_> = protocols.iter().map(|it| it.word().as_bytes().to_vec()).collect();
    if protocols.contains(&Alpn::Http11) {
        offered.push(HTTP_10.to_vec());
    }
    offered
}

/// RFC 6797 6.1.
fn strict_transport_security(hsts: config::Hsts) -> HeaderValue {
    let mut text = format!("max-age={}", hsts.max_age.as_secs());
    if hsts.include_subdomains {
        text.push_str("; includeSubDomains");
    }
    if hsts.preload {
        text.push_str("; preload");
    }
    HeaderValue::try_from(text).expect("digits and words are visible characters")
}
