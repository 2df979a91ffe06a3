//! What endpoints are told of the certificate that a client has shown.

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine, engine::general_purpose::STANDARD};
use http::{HeaderName, HeaderValue};
use rustls::pki_types::{CertificateDer, UnixTime};
use thiserror::Error;
use x509_parser::{certificate::X509Certificate, prelude::FromDer};

use super::{alternative_names, distinguished_name};
use crate::config::CertificateFields;

/// What a field may hold; longer ones, which endpoints would refuse, are no honest certificate's.
const LONGEST: usize = 16 * 1024;

/// The fields of requests that come from one client, in visible ASCII and spaces.
pub type ClientFields = Box<[(HeaderName, HeaderValue)]>;

/// Why a client is sent off though its handshake succeeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ClientCertificateError {
    #[error("the client resumed a session without a certificate where one is required")]
    Missing,
    #[error("the client's certificate has expired since its session began")]
    Expired,
    #[error("the client's certificate cannot be put into words")]
    Unreadable,
}

/// What `fields` ask for of a certificate that has been verified at some time before `now`.
///
/// # Errors
/// The certificate is over, or cannot be told whole.
pub(super) fn read(
    certificate: &CertificateDer<'_>,
    fields: &CertificateFields,
    now: UnixTime,
) -> Result<ClientFields, ClientCertificateError> {
    use ClientCertificateError::{Expired, Unreadable};
    let (_, parsed) = X509Certificate::from_der(certificate).map_err(|_| Unreadable)?;
    let not_after = parsed.validity().not_after.timestamp();
    // A resumed session shows the certificate that was verified when it began.
    if i64::try_from(now.as_secs()).is_ok_and(|now| now > not_after) {
        return Err(Expired);
    }
    let mut told = Vec::new();
    let mut tell = |name: &Option<HeaderName>, value: &dyn Fn() -> Option<String>| {
        let Some(name) = name else { return Ok(()) };
        let value = value().filter(|value| value.len() <= LONGEST).ok_or(Unreadable)?;
        if !value.is_empty() {
            let value = HeaderValue::try_from(value).map_err(|_| Unreadable)?;
            told.push((name.clone(), value));
        }
        Ok(())
    };
    tell(&fields.subject, &|| distinguished_name::rfc4514(parsed.subject()))?;
    tell(&fields.sans, &|| {
        let names = parsed.subject_alternative_name().ok()?;
        Some(names.map_or_else(String::new, |names| {
            alternative_names::listed(&names.value.general_names)
        }))
    })?;
    tell(&fields.fingerprint, &|| {
        Some(hexadecimal(digest(&SHA256, certificate).as_ref()))
    })?;
    tell(&fields.serial, &|| Some(hexadecimal(unsigned(parsed.raw_serial()))))?;
    tell(&fields.certificate, &|| {
        Some(format!(":{}:", STANDARD.encode(certificate)))
    })?;
    Ok(told.into())
}

/// Without the zero that only says that a number is not below zero.
fn unsigned(bytes: &[u8]) -> &[u8] {
    match bytes {
        [0, rest @ ..] if !rest.is_empty() => rest,
        bytes => bytes,
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    let digit = |value: u8| char::from(b"0123456789abcdef"[usize::from(value)]);
    bytes
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(byte & 15)])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_that_is_over_is_worth_nothing_in_a_session_that_goes_on() {
        let mut params = rcgen::CertificateParams::new(["a.example".to_owned()]).expect("a name");
        params.not_after = rcgen::date_time_ymd(2020, 1, 1);
        let key = rcgen::KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("it can sign");
        let at = |seconds| {
            let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds));
            read(certificate.der(), &CertificateFields::default(), now)
        };
        assert_eq!(at(1_577_836_800), Ok(ClientFields::default()));
        assert_eq!(at(1_577_836_801), Err(ClientCertificateError::Expired));
        let broken = read(
            &CertificateDer::from(vec![0x30, 0]),
            &CertificateFields::default(),
            UnixTime::now(),
        );
        assert_eq!(broken, Err(ClientCertificateError::Unreadable));
    }

    #[test]
    fn a_subject_that_is_too_long_is_not_told_in_part() {
        let mut params = rcgen::CertificateParams::new(["a.example".to_owned()]).expect("a name");
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, "x".repeat(LONGEST));
        let key = rcgen::KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("it can sign");
        let fields = CertificateFields {
            subject: Some(HeaderName::from_static("x-subject")),
            ..CertificateFields::default()
        };
        let told = read(certificate.der(), &fields, UnixTime::now());
        assert_eq!(told, Err(ClientCertificateError::Unreadable));
    }

    #[test]
    fn numbers_are_written_without_their_sign() {
        assert_eq!(hexadecimal(&[0, 0x9f, 0xff]), "009fff");
        assert_eq!(unsigned(&[0, 0x9f]), [0x9f]);
        assert_eq!(unsigned(&[0]), [0]);
    }
}
