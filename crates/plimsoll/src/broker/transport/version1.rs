//! Certificates of version 1, which webpki does not read: OpenSSL before 3.2 makes them with the commands
//! of mosquitto-tls(7), so that many devices have them.
//!
//! They say nothing of what they are for, so they are taken for what they can be at most: a client or a
//! server, directly below an authority that is trusted.

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls13_signature_with_raw_key};
use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::{CertificateError, DigitallySignedStruct, Error};
use x509_cert::Certificate as X509;
use x509_cert::certificate::{Rfc5280, Version};
use x509_cert::crl::CertificateList;
use x509_cert::der::asn1::AnyRef;
use x509_cert::der::{Decode as _, Encode as _};
use x509_cert::spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned};

/// A certificate of version 1.
pub(crate) struct Version1(X509);

impl Version1 {
    /// Reads a certificate in DER; `None` if it is not of version 1.
    pub(crate) fn read(der: &[u8]) -> Option<Self> {
        let certificate = X509::from_der(der).ok()?;
        (certificate.tbs_certificate().version() == Version::V1).then_some(Self(certificate))
    }

    fn key(&self) -> &SubjectPublicKeyInfoOwned {
        self.0.tbs_certificate().subject_public_key_info()
    }

    /// Its public key, in DER.
    pub(crate) fn key_der(&self) -> Option<Vec<u8>> {
        self.key().to_der().ok()
    }

    /// Whether one of the authorities has signed it and it holds at a time, in seconds since 1970.
    pub(crate) fn verify<'r>(
        &self,
        roots: impl Iterator<Item = &'r [u8]>,
        algorithms: &WebPkiSupportedAlgorithms,
        now: u64,
    ) -> Result<(), Error> {
        let body = self.0.tbs_certificate();
        let message = body.to_der().map_err(|_| CertificateError::BadEncoding)?;
        let signature = self.0.signature().as_bytes().ok_or(CertificateError::BadEncoding)?;
        if self.0.signature_algorithm() != body.signature() {
            return Err(CertificateError::BadEncoding.into());
        }
        let mut issuers = roots
            .filter_map(|root| X509::from_der(root).ok())
            .filter(|root| root.tbs_certificate().subject().to_der() == body.issuer().to_der());
        let signed = issuers.any(|root| {
            let key = root.tbs_certificate().subject_public_key_info();
            is_signed(algorithms, key, body.signature(), &message, signature)
        });
        if !signed {
            return Err(CertificateError::UnknownIssuer.into());
        }
        let validity = body.validity();
        if now < validity.not_before.to_unix_duration().as_secs() {
            return Err(CertificateError::NotValidYet.into());
        }
        if now > validity.not_after.to_unix_duration().as_secs() {
            return Err(CertificateError::Expired.into());
        }
        Ok(())
    }

    /// Whether it is this client that shakes hands (RFC 5246, 7.4.8).
    pub(crate) fn verify_tls12(
        &self,
        algorithms: &WebPkiSupportedAlgorithms,
        message: &[u8],
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = algorithms.mapping.iter().filter(|(scheme, _)| *scheme == signed.scheme);
        let key = self.key();
        let kind = content(&key.algorithm);
        let valid = known.flat_map(|(_, algorithms)| *algorithms).any(|algorithm| {
            Some(algorithm.public_key_alg_id().as_ref()) == kind.as_deref()
                && verifies(*algorithm, key, message, signed.signature())
        });
        match valid {
            true => Ok(HandshakeSignatureValid::assertion()),
            false => Err(CertificateError::BadSignature.into()),
        }
    }

    /// The same (RFC 8446, 4.4.3).
    pub(crate) fn verify_tls13(
        &self,
        algorithms: &WebPkiSupportedAlgorithms,
        message: &[u8],
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let key = self.key_der().ok_or(CertificateError::BadEncoding)?;
        let key = SubjectPublicKeyInfoDer::from(key);
        verify_tls13_signature_with_raw_key(message, &key, signed, algorithms)
    }
}

/// The issuer of a revocation list, in DER, if one of the authorities has signed it as that.
pub(crate) fn list_issuer<'r>(
    list: &[u8],
    roots: impl Iterator<Item = &'r [u8]>,
    algorithms: &WebPkiSupportedAlgorithms,
) -> Option<Vec<u8>> {
    let list = CertificateList::<Rfc5280>::from_der(list).ok()?;
    let body = &list.tbs_cert_list;
    let (message, signature) = (body.to_der().ok()?, list.signature.as_bytes()?);
    let issuer = body.issuer.to_der().ok()?;
    let mut roots = roots.filter_map(|root| X509::from_der(root).ok());
    let signed = roots.any(|root| {
        let root = root.tbs_certificate();
        root.subject().to_der().as_ref() == Ok(&issuer)
            && is_signed(
                algorithms,
                root.subject_public_key_info(),
                &body.signature,
                &message,
                signature,
            )
    });
    signed.then_some(issuer)
}

fn is_signed(
    algorithms: &WebPkiSupportedAlgorithms,
    key: &SubjectPublicKeyInfoOwned,
    by: &AlgorithmIdentifierOwned,
    message: &[u8],
    signature: &[u8],
) -> bool {
    let (Some(kind), Some(by)) = (content(&key.algorithm), content(by)) else { return false };
    algorithms.all.iter().any(|algorithm| {
        algorithm.public_key_alg_id().as_ref() == kind
            && algorithm.signature_alg_id().as_ref() == by
            && verifies(*algorithm, key, message, signature)
    })
}

fn verifies(
    algorithm: &dyn rustls::pki_types::SignatureVerificationAlgorithm,
    key: &SubjectPublicKeyInfoOwned,
    message: &[u8],
    signature: &[u8],
) -> bool {
    let key = key.subject_public_key.as_bytes();
    key.is_some_and(|key| algorithm.verify_signature(key, message, signature).is_ok())
}

/// What is in the sequence of an algorithm's identifier, which is how rustls names algorithms.
fn content(identifier: &AlgorithmIdentifierOwned) -> Option<Vec<u8>> {
    let der = identifier.to_der().ok()?;
    Some(AnyRef::from_der(&der).ok()?.value().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_bytes_are_an_answer() {
        let algorithms = rustls::crypto::aws_lc_rs::default_provider();
        let algorithms = &algorithms.signature_verification_algorithms;
        for bytes in [&b""[..], b"\x30", b"\x30\x82\xff\xff", &[0x30; 100]] {
            assert!(Version1::read(bytes).is_none());
            assert!(list_issuer(bytes, [bytes].into_iter(), algorithms).is_none());
        }
    }
}
