//! The choice of a certificate by server name.

use std::{borrow::Cow, collections::HashMap, sync::Arc};

use rustls::{
    pki_types::UnixTime,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

use super::{load::Loaded, ocsp::Staple};

/// The certificates of one listener.
#[derive(Debug)]
pub(super) struct Certificates {
    /// Invariant: not empty; the first one serves every name that is not in `by_name`.
    certificates: Vec<Certificate>,
    /// Positions in `certificates`, by [`Name`] key.
    by_name: HashMap<String, usize>,
}

#[derive(Debug)]
struct Certificate {
    key: Arc<CertifiedKey>,
    stapled: Option<Stapled>,
    /// Keys as in `by_name`.
    names: Vec<String>,
}

/// The same with what its issuer says of its revocation.
#[derive(Debug)]
struct Stapled {
    key: Arc<CertifiedKey>,
    /// In seconds since 1970.
    until: Option<u64>,
}

/// A server name in lower case, without a trailing dot.
struct Name<'a>(Cow<'a, str>);

impl Certificates {
    /// `None` where there is no certificate at all.
    pub(super) fn new(loaded: Vec<(Loaded, Option<Staple>)>) -> Option<Self> {
        let certificates: Vec<_> = loaded
            .into_iter()
            .map(|(loaded, staple)| Certificate::new(loaded, staple))
            .collect();
        let mut by_name = HashMap::new();
        for (index, certificate) in certificates.iter().enumerate() {
            for name in &certificate.names {
                by_name.entry(name.clone()).or_insert(index);
            }
        }
        (!certificates.is_empty()).then_some(Self { certificates, by_name })
    }

    pub(super) fn same(&self, server_name: &str, host: &str) -> bool {
        // By far the most frequent case, and free of allocations.
        if server_name.eq_ignore_ascii_case(host) {
            return true;
        }
        let host = Name::new(host);
        let chosen = self.choose(&Name::new(server_name));
        chosen == self.choose(&host)
            || host
                .keys()
                .any(|key| self.certificates[chosen].names.iter().any(|name| name == key))
    }

    fn choose(&self, name: &Name<'_>) -> usize {
        name.keys().find_map(|key| self.by_name.get(key)).copied().unwrap_or(0)
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, client_hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let index = client_hello
            .server_name()
            .map_or(0, |name| self.choose(&Name::new(name)));
        Some(self.certificates[index].shown())
    }
}

impl Certificate {
    fn new(loaded: Loaded, staple: Option<Staple>) -> Self {
        let stapled = staple.map(|staple| Stapled {
            key: Arc::new(CertifiedKey {
                ocsp: Some(staple.der),
                ..loaded.key.clone()
            }),
            until: staple.until,
        });
        Self {
            key: Arc::new(loaded.key),
            stapled,
            names: loaded.names.into_iter().map(key_of_presented).collect(),
        }
    }

    /// Without an answer that is out of date, for which clients would refuse the certificate.
    fn shown(&self) -> Arc<CertifiedKey> {
        let stapled = self.stapled.as_ref();
        let in_date = stapled.filter(|stapled| stapled.until.is_none_or(|until| UnixTime::now().as_secs() < until));
        Arc::clone(in_date.map_or(&self.key, |stapled| &stapled.key))
    }
}

/// A wildcard is kept as what follows its `*`, with the dot: no name can begin so, and it is a part of every name
/// that the wildcard holds.
fn key_of_presented(name: String) -> String {
    name.strip_prefix('*').map(str::to_owned).unwrap_or(name)
}

impl<'a> Name<'a> {
    fn new(name: &'a str) -> Self {
        let name = name.strip_suffix('.').unwrap_or(name);
        Self(match name.bytes().any(|byte| byte.is_ascii_uppercase()) {
            true => Cow::Owned(name.to_ascii_lowercase()),
            false => Cow::Borrowed(name),
        })
    }

    /// The keys under which this name may be held: itself, then its wildcard, which stands for exactly one label
    /// (RFC 6125 6.4.3).
    fn keys(&self) -> impl Iterator<Item = &str> {
        let name: &str = &self.0;
        let exact = (!name.starts_with('.')).then_some(name);
        let wildcard = name.find('.').filter(|&dot| dot > 0).map(|dot| &name[dot..]);
        exact.into_iter().chain(wildcard)
    }
}
