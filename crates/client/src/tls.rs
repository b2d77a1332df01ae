//! TLS from the client's side: whom to trust, and who one is.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use crate::authorities;

/// Files that say whom to trust, and who one is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// Certificates of authorities (PEM); else those of the system.
    pub cafile: Option<PathBuf>,
    /// Own certificate with those above it (PEM).
    pub cert: Option<PathBuf>,
    /// Its key (PEM).
    pub key: Option<PathBuf>,
    /// The server's certificate is not checked.
    pub insecure: bool,
}

impl TlsFiles {
    /// What TLS connections are made with; shared by any number of them.
    ///
    /// # Errors
    ///
    /// A file cannot be read, or has nothing in it that fits: the text names it.
    pub fn config(&self) -> Result<Arc<ClientConfig>, String> {
        let roots = if self.insecure { RootCertStore::empty() } else { self.roots()? };
        Ok(Arc::new(self.trusting(Arc::new(roots))?))
    }

    /// The authorities that are trusted, for [`TlsFiles::trusting`].
    ///
    /// # Errors
    ///
    /// As for [`TlsFiles::config`].
    pub fn roots(&self) -> Result<RootCertStore, String> {
        let system = authorities::of_system().map(Path::new);
        let path = self.cafile.as_deref().or(system).ok_or(
            "this system has no certificates of authorities: name a file of them (cafile)",
        )?;
        let mut store = RootCertStore::empty();
        let (taken, _) = store.add_parsable_certificates(certificates(path)?);
        if taken == 0 {
            return Err(format!("{}: no certificate in it can be used", path.display()));
        }
        Ok(store)
    }

    /// The same as [`TlsFiles::config`] with authorities that were read before: for thousands of clients, each with a
    /// certificate of its own.
    ///
    /// # Errors
    ///
    /// Certificate or key cannot be read, or do not fit: the text names the file.
    pub fn trusting(&self, roots: Arc<RootCertStore>) -> Result<ClientConfig, String> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| format!("TLS: {error}"))?;
        let builder = if self.insecure {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(Unchecked(provider)))
        } else {
            builder.with_root_certificates(roots)
        };
        let config = match (&self.cert, &self.key) {
            (Some(cert), Some(key)) => {
                let chain = certificates(cert)?;
                let shown = key.display();
                let key = PrivateKeyDer::from_pem_file(key)
                    .map_err(|error| format!("{shown}: {error}"))?;
                builder
                    .with_client_auth_cert(chain, key)
                    .map_err(|error| format!("{} and {shown}: {error}", cert.display()))?
            }
            (None, None) => builder.with_no_client_auth(),
            (Some(cert), None) => return Err(format!("{}: its key is missing", cert.display())),
            (None, Some(key)) => {
                return Err(format!("{}: its certificate is missing", key.display()));
            }
        };
        Ok(config)
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let named = |error: rustls::pki_types::pem::Error| format!("{}: {error}", path.display());
    let found: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).map_err(named)?.collect();
    let found = found.map_err(named)?;
    if found.is_empty() {
        return Err(format!("{}: there is no certificate in it", path.display()));
    }
    Ok(found)
}

/// Takes any certificate, as `insecure` asks for; its signatures have to be its own all the same.
#[derive(Debug)]
struct Unchecked(Arc<CryptoProvider>);

impl ServerCertVerifier for Unchecked {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
