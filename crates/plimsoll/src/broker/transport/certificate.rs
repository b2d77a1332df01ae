//! What is read of a certificate (RFC 5280): whose it is, and how long it holds.

use std::fmt::Write as _;

use x509_cert::Certificate as X509;
use x509_cert::attr::AttributeTypeAndValue;
use x509_cert::certificate::Rfc5280;
use x509_cert::crl::CertificateList;
use x509_cert::der::asn1::{Any, BmpString};
use x509_cert::der::oid::ObjectIdentifier;
use x509_cert::der::{Decode as _, Encode as _, Tag, Tagged as _};
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::name::Name;

/// Names of attributes as OpenSSL prints them (RFC 2253, 2.3).
const ATTRIBUTES: [(&str, &str); 14] = [
    ("2.5.4.3", "CN"),
    ("2.5.4.4", "SN"),
    ("2.5.4.5", "serialNumber"),
    ("2.5.4.6", "C"),
    ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"),
    ("2.5.4.9", "street"),
    ("2.5.4.10", "O"),
    ("2.5.4.11", "OU"),
    ("2.5.4.12", "title"),
    ("2.5.4.42", "GN"),
    ("0.9.2342.19200300.100.1.1", "UID"),
    ("0.9.2342.19200300.100.1.25", "DC"),
    ("1.2.840.113549.1.9.1", "emailAddress"),
];

const COMMON_NAME: &str = "2.5.4.3";

/// A certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Certificate {
    /// Common name of the subject, if there is one that is text.
    pub(crate) common_name: Option<String>,
    /// The subject in the form of RFC 2253, as OpenSSL prints it.
    pub(crate) subject: String,
    /// Serial number, big endian.
    pub(crate) serial: Vec<u8>,
    /// The issuer's name, in DER.
    pub(crate) issuer: Vec<u8>,
    /// When it begins and ends to hold, seconds since 1970.
    pub(crate) not_before: u64,
    pub(crate) not_after: u64,
}

impl Certificate {
    /// Reads a certificate in DER.
    pub(crate) fn read(der: &[u8]) -> Result<Self, String> {
        let unreadable = |error| format!("the certificate cannot be read: {error}");
        let certificate = X509::from_der(der).map_err(unreadable)?;
        let body = certificate.tbs_certificate();
        let validity = body.validity();
        Ok(Self {
            common_name: common_name(body.subject()),
            subject: rfc2253(body.subject()),
            serial: body.serial_number().as_bytes().to_vec(),
            issuer: body.issuer().to_der().map_err(unreadable)?,
            not_before: validity.not_before.to_unix_duration().as_secs(),
            not_after: validity.not_after.to_unix_duration().as_secs(),
        })
    }
    /// The time nearest to this one at which it holds. It may end before it begins: anybody can make
    /// such a certificate, and this is asked before its signature is looked at.
    pub(crate) fn day_near(&self, time: u64) -> u64 {
        time.max(self.not_before).min(self.not_after)
    }
}

/// Names that a server's certificate holds for.
pub(crate) fn dns_names(der: &[u8]) -> Vec<String> {
    let Ok(certificate) = X509::from_der(der) else { return Vec::new() };
    let extension = certificate.tbs_certificate().get_extension::<SubjectAltName>();
    let Ok(Some((_, SubjectAltName(names)))) = extension else { return Vec::new() };
    names
        .iter()
        .filter_map(|name| match name {
            GeneralName::DnsName(name) => Some(name.as_str().to_ascii_lowercase()),
            _ => None,
        })
        .collect()
}

/// When a revocation list ends, seconds since 1970, if it says so.
pub(crate) fn list_end(der: &[u8]) -> Option<u64> {
    let list = CertificateList::<Rfc5280>::from_der(der).ok()?;
    Some(list.tbs_cert_list.next_update?.to_unix_duration().as_secs())
}

fn common_name(name: &Name) -> Option<String> {
    let common = ObjectIdentifier::new_unwrap(COMMON_NAME);
    let last = name.iter().filter(|attribute| attribute.oid == common).last()?;
    text(&last.value).filter(|text| !text.is_empty() && !text.contains('\0'))
}

/// The text of an attribute, if it is text.
fn text(value: &Any) -> Option<String> {
    match value.tag() {
        Tag::Utf8String | Tag::PrintableString | Tag::Ia5String => {
            String::from_utf8(value.value().to_vec()).ok()
        }
        // In practice it is Latin-1.
        Tag::TeletexString => Some(value.value().iter().map(|&byte| char::from(byte)).collect()),
        Tag::BmpString => value.decode_as::<BmpString>().ok().map(|text| text.to_string()),
        _ => None,
    }
}

/// A name in the form of RFC 2253: the most specific part first, with OpenSSL's escapes.
fn rfc2253(name: &Name) -> String {
    let parts: Vec<String> = name
        .iter_rdn()
        .map(|part| {
            let attributes: Vec<String> = part.iter().map(attribute).collect();
            attributes.join("+")
        })
        .collect();
    parts.into_iter().rev().collect::<Vec<_>>().join(",")
}

fn attribute(attribute: &AttributeTypeAndValue) -> String {
    let oid = attribute.oid.to_string();
    let known = ATTRIBUTES.iter().find(|(known, _)| *known == oid).map(|(_, name)| *name);
    match (known, text(&attribute.value)) {
        (Some(name), Some(text)) => format!("{name}={}", escaped(&text)),
        (name, _) => {
            let der = attribute.value.to_der().unwrap_or_default();
            let mut hex = format!("{}=#", name.unwrap_or(&oid));
            for byte in der {
                let _ = write!(hex, "{byte:02X}");
            }
            hex
        }
    }
}

/// RFC 2253, 2.4; what is not ASCII is escaped byte by byte, as OpenSSL does.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    let bytes = text.as_bytes();
    for (at, &byte) in bytes.iter().enumerate() {
        let first = at == 0;
        let last = at + 1 == bytes.len();
        match byte {
            b',' | b'+' | b'"' | b'\\' | b'<' | b'>' | b';' => {
                out.push('\\');
                out.push(char::from(byte));
            }
            b'#' if first => out.push_str("\\#"),
            b' ' if first || last => out.push_str("\\ "),
            0x20..=0x7E => out.push(char::from(byte)),
            _ => {
                let _ = write!(out, "\\{byte:02X}");
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_rfc_2253_escapes_is_escaped() {
        assert_eq!(escaped("a,b+c\"d\\e<f>g;h"), "a\\,b\\+c\\\"d\\\\e\\<f\\>g\\;h");
        assert_eq!(escaped("#1"), "\\#1");
        assert_eq!(escaped(" x "), "\\ x\\ ");
        assert_eq!(escaped("ü"), "\\C3\\BC");
        assert_eq!(escaped("a=b"), "a=b");
    }

    #[test]
    fn the_nearest_day_is_found_even_where_there_is_none() {
        let certificate = |not_before, not_after| Certificate {
            common_name: None,
            subject: String::new(),
            serial: Vec::new(),
            issuer: Vec::new(),
            not_before,
            not_after,
        };
        assert_eq!([0, 15, 99].map(|time| certificate(10, 20).day_near(time)), [10, 15, 20]);
        assert_eq!(certificate(20, 10).day_near(15), 10);
    }

    #[test]
    fn any_bytes_are_an_answer() {
        for bytes in [&b""[..], b"\x30", b"\x30\x82\xff\xff", &[0x30; 100]] {
            assert!(Certificate::read(bytes).is_err());
            assert!(dns_names(bytes).is_empty());
            assert_eq!(list_end(bytes), None);
        }
    }
}
