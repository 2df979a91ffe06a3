//! What the issuer of a certificate says of its revocation (RFC 6960), to be shown with it (RFC 6066 8).
//!
//! Read only as far as is needed to know whether it is of any use to clients, who verify it themselves.

use std::path::PathBuf;

use rustls::pki_types::UnixTime;
use thiserror::Error;

/// An answer that can be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Staple {
    pub(super) der: Vec<u8>,
    /// After this, in seconds since 1970, clients refuse it.
    pub(super) until: Option<u64>,
}

impl Staple {
    pub(super) fn is_over(&self, now: UnixTime) -> bool {
        self.until.is_some_and(|until| now.as_secs() >= until)
    }
}

/// Why an answer is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum OcspError {
    #[error("it is not an OCSP response in DER")]
    Malformed,
    #[error("the issuer's server did not answer the question")]
    NotSuccessful,
}

/// Why a certificate is shown without the answer that lies beside it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum StapleWarning {
    #[error("{path} is the answer for another certificate than {chain}, which is shown without", path = path.display(), chain = chain.display())]
    OtherCertificate { path: PathBuf, chain: PathBuf },
    #[error("{path} is out of date, so that {chain} is shown without", path = path.display(), chain = chain.display())]
    OutOfDate { path: PathBuf, chain: PathBuf },
}

const ENUMERATED: u8 = 0x0a;
const INTEGER: u8 = 0x02;
const OCTET_STRING: u8 = 0x04;
const OBJECT_IDENTIFIER: u8 = 0x06;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
/// `[0] EXPLICIT`
const CONTEXT_0: u8 = 0xa0;
/// `id-pkix-ocsp-basic`
const BASIC: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 48, 1, 1];

/// The answer in `der` on the certificate of this serial number, or `None` if it is on others.
///
/// # Errors
/// It is no answer at all.
pub(super) fn read(der: Vec<u8>, serial: &[u8]) -> Result<Option<Staple>, OcspError> {
    let mut whole = Der(&der);
    let mut response = Der(whole.take(SEQUENCE)?);
    if !whole.0.is_empty() {
        return Err(OcspError::Malformed);
    }
    if response.take(ENUMERATED)? != [0] {
        return Err(OcspError::NotSuccessful);
    }
    let mut bytes = Der(Der(response.take(CONTEXT_0)?).take(SEQUENCE)?);
    if bytes.take(OBJECT_IDENTIFIER)? != BASIC {
        return Err(OcspError::Malformed);
    }
    let mut basic = Der(Der(bytes.take(OCTET_STRING)?).take(SEQUENCE)?);
    let mut data = Der(basic.take(SEQUENCE)?);
    // Version and name of the responder.
    while data.next_tag().is_some_and(|tag| tag != GENERALIZED_TIME) {
        data.any()?;
    }
    data.take(GENERALIZED_TIME)?;
    let mut answers = Der(data.take(SEQUENCE)?);
    while !answers.0.is_empty() {
        let answer = answer(answers.take(SEQUENCE)?)?;
        if answer.serial == serial {
            let until = answer.until;
            return Ok(Some(Staple { der, until }));
        }
    }
    Ok(None)
}

struct Answer<'a> {
    serial: &'a [u8],
    until: Option<u64>,
}

/// A `SingleResponse`.
fn answer(content: &[u8]) -> Result<Answer<'_>, OcspError> {
    let mut single = Der(content);
    let mut id = Der(single.take(SEQUENCE)?);
    // The algorithm, and the hashes of the issuer's name and key.
    id.take(SEQUENCE)?;
    id.take(OCTET_STRING)?;
    id.take(OCTET_STRING)?;
    let serial = id.take(INTEGER)?;
    // The status, and since when it holds.
    single.any()?;
    single.take(GENERALIZED_TIME)?;
    let until = match single.next_tag() {
        Some(CONTEXT_0) => Some(seconds(Der(single.take(CONTEXT_0)?).take(GENERALIZED_TIME)?)?),
        _ => None,
    };
    Ok(Answer { serial, until })
}

/// `YYYYMMDDHHMMSSZ` (RFC 5280 4.1.2.5.2) in seconds since 1970.
fn seconds(time: &[u8]) -> Result<u64, OcspError> {
    let digits = time.strip_suffix(b"Z").filter(|digits| digits.len() == 14);
    let digits = digits.filter(|digits| digits.iter().all(u8::is_ascii_digit));
    let digits = digits.ok_or(OcspError::Malformed)?;
    let number = |from: usize, to: usize| {
        digits[from..to]
            .iter()
            .fold(0_i64, |number, digit| number * 10 + i64::from(digit - b'0'))
    };
    let (year, month, day) = (number(0, 4), number(4, 6), number(6, 8));
    let clock = number(8, 10) * 3600 + number(10, 12) * 60 + number(12, 14);
    // Years that begin in March, so that the day that is sometimes there is the last.
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day - 1 - 719_468;
    u64::try_from(days * 86_400 + clock).map_err(|_| OcspError::Malformed)
}

/// Elements of DER, one behind the other.
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    fn next_tag(&self) -> Option<u8> {
        self.0.first().copied()
    }

    /// The content of the next element, which has this tag.
    fn take(&mut self, tag: u8) -> Result<&'a [u8], OcspError> {
        match self.next_tag() {
            Some(found) if found == tag => self.any(),
            _ => Err(OcspError::Malformed),
        }
    }

    fn any(&mut self) -> Result<&'a [u8], OcspError> {
        let (content, rest) = split(self.0).ok_or(OcspError::Malformed)?;
        self.0 = rest;
        Ok(content)
    }
}

/// The content of the first element, and what is behind it.
fn split(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let [_, first, rest @ ..] = bytes else { return None };
    let (length, rest) = match *first {
        short @ ..=0x7f => (usize::from(short), rest),
        0x81..=0x84 => {
            let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            let length = digits
                .iter()
                .fold(0_usize, |length, digit| length << 8 | usize::from(*digit));
            (length, rest)
        }
        _ => return None,
    };
    rest.split_at_checked(length)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn element(tag: u8, content: &[&[u8]]) -> Vec<u8> {
        let content = content.concat();
        let length = u16::try_from(content.len()).expect("short").to_be_bytes();
        [&[tag, 0x82, length[0], length[1]], content.as_slice()].concat()
    }

    fn response(status: u8, serial: &[u8], until: &[u8]) -> Vec<u8> {
        let id = element(
            SEQUENCE,
            &[
                &element(SEQUENCE, &[]),
                &element(OCTET_STRING, &[b"name"]),
                &element(OCTET_STRING, &[b"key"]),
                &element(INTEGER, &[serial]),
            ],
        );
        let now = element(GENERALIZED_TIME, &[b"20260101000000Z"]);
        let until = element(CONTEXT_0, &[&element(GENERALIZED_TIME, &[until])]);
        let answers = element(SEQUENCE, &[&element(SEQUENCE, &[&id, &[0x80, 0], &now, &until])]);
        let data = element(SEQUENCE, &[&element(0xa2, &[b"key"]), &now, &answers]);
        let basic = element(SEQUENCE, &[&data]);
        let bytes = element(
            SEQUENCE,
            &[&element(OBJECT_IDENTIFIER, &[BASIC]), &element(OCTET_STRING, &[&basic])],
        );
        element(
            SEQUENCE,
            &[&element(ENUMERATED, &[&[status]]), &element(CONTEXT_0, &[&bytes])],
        )
    }

    #[test]
    fn an_answer_is_for_one_certificate_and_for_some_time() {
        let der = response(0, &[1, 2], b"20260301000001Z");
        let staple = Staple {
            der: der.clone(),
            until: Some(1_772_323_201),
        };
        assert_eq!(read(der.clone(), &[1, 2]), Ok(Some(staple)));
        assert_eq!(read(der.clone(), &[1, 3]), Ok(None));
        assert_eq!(read(response(6, &[1], b""), &[1]), Err(OcspError::NotSuccessful));
        assert_eq!(read([der, vec![0]].concat(), &[1, 2]), Err(OcspError::Malformed));
    }

    #[test]
    fn times_are_counted_from_1970() {
        for (time, expected) in [
            ("19700101000000Z", 0),
            ("20000229235959Z", 951_868_799),
            ("20000301000000Z", 951_868_800),
            ("20380119031408Z", 2_147_483_648),
        ] {
            assert_eq!(seconds(time.as_bytes()), Ok(expected));
        }
        for wrong in [
            "",
            "20000101000000",
            "2000010100000Z",
            "x0000101000000Z",
            "19691231235959Z",
        ] {
            assert!(seconds(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(at in 0_usize..150, byte in any::<u8>(), length in 0_usize..150) {
            let mut der = response(0, &[1, 2], b"20260301000000Z");
            let at = at % der.len();
            der[at] = byte;
            let _ = read(der.clone(), &[1, 2]);
            der.truncate(length);
            let _ = read(der, &[1, 2]);
        }
    }
}
