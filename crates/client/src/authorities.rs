//! Whose certificates a web service's has to come from: for whatever of ours asks one.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use ureq::tls::{Certificate, PemItem, RootCerts, parse_pem};

/// Where a distribution keeps the certificates of authorities.
const SYSTEM: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

/// The system's file, if it has one.
pub fn of_system() -> Option<&'static str> {
    SYSTEM.into_iter().find(|path| fs::exists(path).unwrap_or(false))
}

/// Reads a PEM file of them.
///
/// # Errors
///
/// It cannot be read, or has no certificate. The error does not name the file.
pub fn read(path: &Path) -> Result<RootCerts, String> {
    let pem = fs::read(path).map_err(|error| error.to_string())?;
    let certificates: Vec<Certificate<'static>> = parse_pem(&pem)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect();
    match certificates.is_empty() {
        true => Err("there is no certificate in it".into()),
        false => Ok(RootCerts::Specific(Arc::new(certificates))),
    }
}
