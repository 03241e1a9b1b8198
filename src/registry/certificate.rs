//! The few facts of an X.509 certificate that messages and one exception need, read from its DER.

use rustls::pki_types::UnixTime;

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OBJECT: u8 = 0x06;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const COMMON_NAME: &[u8] = &[0x55, 4, 3];
const ORGANIZATION: &[u8] = &[0x55, 4, 10];

/// Who signed a certificate and from when to when it holds.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Facts {
    /// Whose it is: common name or organisation; a server's may have neither.
    pub(super) subject: Option<String>,
    /// The signer's common name or organisation.
    pub(super) issuer: Option<String>,
    /// Seconds since 1970.
    pub(super) from: u64,
    /// Seconds since 1970.
    pub(super) until: u64,
}

impl Facts {
    /// Reads them; none where the bytes are no certificate.
    pub(super) fn of(der: &[u8]) -> Option<Self> {
        let mut certificate = Der(Der(der).expect_tag(SEQUENCE)?);
        let mut signed = Der(certificate.expect_tag(SEQUENCE)?);
        // The version, explicit tag 0, is left out by certificates of version 1.
        if signed.0.first() == Some(&0xa0) {
            signed.next()?;
        }
        signed.next()?; // serial number
        signed.next()?; // signature algorithm
        let issuer = name_in(signed.expect_tag(SEQUENCE)?);
        let mut validity = Der(signed.expect_tag(SEQUENCE)?);
        let (from, until) = (time(validity.next()?)?, time(validity.next()?)?);
        Some(Self { subject: name_in(signed.expect_tag(SEQUENCE)?), issuer, from, until })
    }

    /// Whether `now` lies between its dates.
    pub(super) fn hold_at(&self, now: UnixTime) -> bool {
        (self.from..=self.until).contains(&now.as_secs())
    }
}

/// From when to when a certificate holds, in seconds since 1970; none where the bytes are no certificate.
pub fn certificate_dates(der: &[u8]) -> Option<(u64, u64)> {
    Facts::of(der).map(|facts| (facts.from, facts.until))
}

/// The common name in a distinguished name, else the organisation.
fn name_in(name: &[u8]) -> Option<String> {
    let mut organization = None;
    let mut parts = Der(name);
    while let Some(set) = parts.expect_tag(SET) {
        let mut attribute = Der(Der(set).expect_tag(SEQUENCE)?);
        let kind = attribute.expect_tag(OBJECT)?;
        let (_, value) = attribute.next()?;
        let text: String = String::from_utf8_lossy(value).chars().take(100).collect();
        match kind {
            COMMON_NAME => return Some(text),
            ORGANIZATION => organization = Some(text),
            _ => {}
        }
    }
    organization
}

fn time((tag, text): (u8, &[u8])) -> Option<u64> {
    let text = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    let text = match tag {
        // RFC 5280: two digits of a year from 50 on mean 19xx.
        UTC_TIME if text.get(..2)?.parse::<u8>().ok()? >= 50 => format!("19{text}"),
        UTC_TIME => format!("20{text}"),
        GENERALIZED_TIME => text.to_owned(),
        _ => return None,
    };
    let moment = jiff::civil::DateTime::strptime("%Y%m%d%H%M%S", text).ok()?;
    let zoned = moment.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
    // Dates before 1970 have held since ever.
    Some(u64::try_from(zoned.timestamp().as_second()).unwrap_or(0))
}

/// Reads tag, length, value; only lengths of up to four bytes, as certificates have.
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, rest) = rest.split_first()?;
        let (length, rest) = match first {
            0..=0x7f => (usize::from(first), rest),
            0x81..=0x84 => {
                let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
                (bytes.iter().fold(0, |length, &byte| length << 8 | usize::from(byte)), rest)
            }
            _ => return None,
        };
        let (value, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((tag, value))
    }

    fn expect_tag(&mut self, wanted: u8) -> Option<&'a [u8]> {
        let mut ahead = Der(self.0);
        let (tag, value) = ahead.next()?;
        if tag != wanted {
            return None;
        }
        self.0 = ahead.0;
        Some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn made(set: impl FnOnce(&mut rcgen::CertificateParams)) -> Vec<u8> {
        let mut params = rcgen::CertificateParams::new(["reg.corp".to_owned()]).unwrap();
        set(&mut params);
        params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    #[test]
    fn issuer_and_dates_are_read() {
        let der = made(|params| {
            params.distinguished_name = rcgen::DistinguishedName::new();
            params.distinguished_name.push(rcgen::DnType::OrganizationName, "Corp Ltd");
            params.distinguished_name.push(rcgen::DnType::CommonName, "Corp Inspection CA");
            params.not_before = rcgen::date_time_ymd(2020, 1, 1);
            params.not_after = rcgen::date_time_ymd(2055, 1, 1);
        });
        let facts = Facts::of(&der).unwrap();
        assert_eq!(facts.issuer.as_deref(), Some("Corp Inspection CA"));
        // 2020-01-01 and, in the other form of dates, 2055-01-01.
        assert_eq!((facts.from, facts.until), (1_577_836_800, 2_682_374_400));
        for (seconds, holds) in [(1_577_836_799, false), (1_577_836_800, true), (2_682_374_401, false)] {
            assert_eq!(facts.hold_at(UnixTime::since_unix_epoch(Duration::from_secs(seconds))), holds);
        }
    }

    #[test]
    fn what_is_no_certificate_is_refused_without_a_panic() {
        let der = made(|_| ());
        for end in 0..der.len() {
            assert_eq!(Facts::of(&der[..end]), None);
        }
        // Every byte in turn changed: any answer will do, but there must be one.
        for at in 0..200 {
            let mut changed = der.clone();
            changed[at] ^= 0xff;
            let _ = Facts::of(&changed);
        }
    }
}
