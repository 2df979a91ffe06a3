//! An authority that vouches for certificates, made for one test.

use std::{
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType, DnValue, IsCa,
    KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SanType, SerialNumber, date_time_ymd,
};
use tempfile::TempDir;

/// Signs certificates, and revokes them.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    directory: TempDir,
}

/// A certificate of an authority, in files of its own.
pub struct Issued {
    directory: TempDir,
    serial: Vec<u8>,
}

/// What a certificate says.
pub struct Request(CertificateParams);

impl Authority {
    pub fn new(name: &str) -> Authority {
        let mut params = CertificateParams::new([]).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::CrlSign,
            KeyUsagePurpose::DigitalSignature,
        ];
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("a key");
        let directory = tempfile::tempdir().expect("a temporary directory");
        fs::write(directory.path().join("ca.key"), key.serialize_pem()).expect("a file can be written");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("it can sign");
        let authority = Authority { issuer, directory };
        fs::write(authority.chain(), authority.issuer.pem()).expect("a file can be written");
        authority
    }

    /// Its own certificate.
    pub fn chain(&self) -> PathBuf {
        self.directory.path().join("ca.pem")
    }

    pub fn key(&self) -> PathBuf {
        self.directory.path().join("ca.key")
    }

    pub fn issue(&self, request: Request) -> Issued {
        let key = KeyPair::generate().expect("a key");
        let made = request.0.signed_by(&key, &self.issuer).expect("it can sign");
        let serial = request.0.serial_number.expect("every request has one").to_bytes();
        let directory = tempfile::tempdir().expect("a temporary directory");
        let issued = Issued { directory, serial };
        fs::write(issued.chain(), made.pem()).expect("a file can be written");
        fs::write(issued.key(), key.serialize_pem()).expect("a file can be written");
        issued
    }

    /// A list of what is revoked, as PEM.
    pub fn revoke(&self, revoked: &[&Issued]) -> String {
        let revoked = revoked.iter().map(|issued| RevokedCertParams {
            serial_number: SerialNumber::from_slice(&issued.serial),
            revocation_time: date_time_ymd(2020, 1, 1),
            reason_code: None,
            invalidity_date: None,
        });
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2020, 1, 1),
            next_update: date_time_ymd(4000, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let list = list.signed_by(&self.issuer).expect("it can sign");
        list.pem().expect("PEM can be made")
    }
}

impl Request {
    /// For these names of hosts.
    pub fn of(names: &[&str]) -> Request {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("the names are host names");
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.serial_number = Some(SerialNumber::from(fastrand::u64(1 << 32..)));
        params.use_authority_key_identifier_extension = true;
        Request(params)
    }

    /// Puts this into the subject.
    pub fn named(mut self, kind: DnType, text: impl Into<DnValue>) -> Request {
        self.0.distinguished_name.push(kind, text);
        self
    }

    pub fn uri(mut self, uri: &str) -> Request {
        self.0
            .subject_alt_names
            .push(SanType::URI(uri.try_into().expect("a URI is ASCII")));
        self
    }

    pub fn ip(mut self, ip: &str) -> Request {
        let ip: IpAddr = ip.parse().expect("an address");
        self.0.subject_alt_names.push(SanType::IpAddress(ip));
        self
    }

    pub fn mailbox(mut self, mailbox: &str) -> Request {
        let mailbox = mailbox.try_into().expect("a mailbox is ASCII");
        self.0.subject_alt_names.push(SanType::Rfc822Name(mailbox));
        self
    }

    pub fn serial(mut self, serial: &[u8]) -> Request {
        self.0.serial_number = Some(SerialNumber::from_slice(serial));
        self
    }

    /// Good until the first day of this year.
    pub fn until(mut self, year: i32) -> Request {
        self.0.not_after = date_time_ymd(year, 1, 1);
        self
    }
}

impl Issued {
    pub fn chain(&self) -> PathBuf {
        self.file("chain.pem")
    }

    pub fn key(&self) -> PathBuf {
        self.file("key.pem")
    }

    pub fn serial(&self) -> &[u8] {
        &self.serial
    }

    /// An entry of a listener's `certificates`.
    pub fn toml(&self) -> String {
        format!("{{ chain = {:?}, key = {:?} }}", self.chain(), self.key())
    }

    fn file(&self, name: &str) -> PathBuf {
        Path::new(self.directory.path()).join(name)
    }
}
