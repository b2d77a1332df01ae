//! A listener's TLS: certificates, keys, authorities and revocation lists, read and checked.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig,
    SignatureScheme,
};
use webpki::{CertRevocationList, OwnedCertRevocationList};

use super::certificate::{Certificate, dns_names, list_end};
use super::ciphers;
use super::version1::{self, Version1};
use crate::config::{Listener, TlsConfig};
use crate::process::unreadable;

/// Days before the end of a certificate at which a warning is due.
const WARN_DAYS: u64 = 30;

/// The same for a revocation list, which is made anew all the time.
const LIST_WARN_DAYS: u64 = 3;

const DAY: u64 = 24 * 60 * 60;

/// Session tickets for each full TLS 1.3 handshake; OpenSSL sends two, and clients use one.
const TICKETS: usize = 1;

/// What the log says of revocation lists, authorities and certificates.
type Warnings = Vec<String>;

/// TLS of a listener, ready to use.
#[derive(Debug)]
pub(crate) struct TlsSettings {
    pub(crate) server: Arc<ServerConfig>,
    clients: Option<Arc<ClientVerifier>>,
    /// What the user name is taken from.
    pub(crate) identity: Identity,
    /// Where its own certificates are, and when they end, seconds since 1970.
    pub(crate) own: Vec<(PathBuf, u64)>,
    /// Where its revocation lists are, and when they end.
    pub(crate) lists: Vec<(PathBuf, u64)>,
}

/// What of a client's certificate is its user name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Identity {
    /// Nothing.
    #[default]
    None,
    /// The common name.
    CommonName,
    /// The whole subject.
    Subject,
}

/// How clients' certificates are verified.
#[derive(Debug)]
struct ClientVerifier {
    inner: Arc<dyn ClientCertVerifier>,
    /// Revoked serial numbers by issuer.
    lists: Vec<CertRevocationList<'static>>,
    /// Where they are, and when they end, seconds since 1970.
    ends: Vec<(PathBuf, u64)>,
    /// Issuers of the lists that an authority itself has signed, and when each list ends.
    vouched: Vec<(Vec<u8>, u64)>,
    algorithms: WebPkiSupportedAlgorithms,
    /// Authorities, to see whether they have changed.
    roots: Vec<CertificateDer<'static>>,
    /// `disable_client_cert_date_checks`
    any_date: bool,
}

impl TlsSettings {
    /// Reads what a listener's directives name; `None` if it has no certificate and so no TLS.
    pub(crate) fn load(
        listener: &Listener,
        key_log: Option<&Arc<dyn rustls::KeyLog>>,
        warnings: &mut Warnings,
    ) -> Result<Option<Self>, String> {
        let config = &listener.tls;
        if config.is_off() {
            return Ok(None);
        }
        let place = &listener.place;
        let explain = |error: String| format!("{place}: {error}");
        check(config).map_err(explain)?;
        let provider = provider(config).map_err(explain)?;
        let keys = own_certificates(config, &provider)?;
        let clients = clients(config, &provider, warnings)?;
        let versions = ciphers::versions(config.tls_version.as_deref()).map_err(explain)?;
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(versions)
            .map_err(|error| explain(format!("tls_version and ciphers leave nothing: {error}")))?;
        let builder = match &clients {
            Some(clients) => builder
                .with_client_cert_verifier(Arc::clone(clients) as Arc<dyn ClientCertVerifier>),
            None => builder.with_no_client_auth(),
        };
        let own = keys.iter().map(|key| (key.path.clone(), key.not_after)).collect();
        let lists = clients.as_ref().map_or_else(Vec::new, |clients| clients.ends.clone());
        let mut server = builder.with_cert_resolver(Arc::new(ByName { keys }));
        // A client that offers protocols has to find its own among them: MQTT's, or a browser's.
        server.alpn_protocols = match listener.web.is_some() || listener.http {
            true => vec![b"http/1.1".to_vec()],
            false => vec![b"mqtt".to_vec(), b"x-amzn-mqtt-ca".to_vec()],
        };
        // What clients bring back is theirs to keep: nothing is held here for who is gone. A reload
        // makes new keys, so that a ticket is no way around a new revocation list.
        server.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
        server.ticketer = aws_lc_rs::Ticketer::new()
            .map_err(|error| explain(format!("no keys for session tickets: {error}")))?;
        server.send_tls13_tickets = TICKETS;
        if let Some(key_log) = key_log {
            server.key_log = Arc::clone(key_log);
        }
        let identity = match (config.use_identity_as_username, config.use_subject_as_username) {
            (true, _) => Identity::CommonName,
            (_, true) => Identity::Subject,
            _ => Identity::None,
        };
        let settings = Self { server: Arc::new(server), clients, identity, own, lists };
        warnings.extend(settings.endings());
        Ok(Some(settings))
    }

    /// What is to be said today of files that hold no longer, or not for long.
    pub(crate) fn endings(&self) -> Vec<String> {
        let now = now();
        let own = self.own.iter().filter_map(|(path, end)| {
            let then = "clients that verify it will not connect";
            ending(path, now, *end, WARN_DAYS, then)
        });
        let lists = self.lists.iter().filter_map(|(path, end)| {
            let then = "clients of its issuer are refused until there is a new one";
            ending(path, now, *end, LIST_WARN_DAYS, then)
        });
        own.chain(lists).collect()
    }

    /// Whether a certificate holds now, unless that is not asked for.
    pub(crate) fn check_dates(&self, certificate: &Certificate) -> Result<(), String> {
        let now = now();
        let any = self.clients.as_ref().is_none_or(|clients| clients.any_date);
        if any || (certificate.not_before..=certificate.not_after).contains(&now) {
            return Ok(());
        }
        Err("the client's certificate has expired or does not hold yet".into())
    }

    /// The user name that a certificate gives.
    pub(crate) fn username<'c>(&self, certificate: &'c Certificate) -> Option<&'c str> {
        match self.identity {
            Identity::None => None,
            Identity::CommonName => certificate.common_name.as_deref(),
            Identity::Subject => Some(&certificate.subject),
        }
    }

    /// Whether a certificate has been revoked: quick.
    pub(crate) fn has_revoked(&self, leaf: &CertificateDer<'_>) -> bool {
        let Some(clients) = self.clients.as_ref().filter(|clients| !clients.lists.is_empty())
        else {
            return false;
        };
        Certificate::read(leaf).is_ok_and(|certificate| clients.has_revoked(&certificate))
    }

    /// Whether a chain would be let in now: thorough.
    pub(crate) fn verifies(&self, chain: &[CertificateDer<'_>]) -> bool {
        let Some(clients) = &self.clients else { return true };
        let Some((leaf, rest)) = chain.split_first() else { return false };
        clients.verify_client_cert(leaf, rest, UnixTime::now()).is_ok()
    }

    /// Whether every authority that `before` trusted is still trusted, so that nobody has to go.
    pub(crate) fn trusts_all_of(&self, before: &Self) -> bool {
        match (&self.clients, &before.clients) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(now), Some(before)) => before.roots.iter().all(|root| now.roots.contains(root)),
        }
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// What cannot be meant.
fn check(config: &TlsConfig) -> Result<(), String> {
    if config.certfiles.is_empty() {
        return Err("TLS directives without `certfile`: this listener would not be encrypted; add certfile and keyfile".into());
    }
    if config.certfiles.len() != config.keyfiles.len() {
        return Err(format!(
            "{} certfile and {} keyfile: each certificate needs its key, in the same order",
            config.certfiles.len(),
            config.keyfiles.len()
        ));
    }
    let authorities = config.cafile.is_some() || config.capath.is_some();
    if config.require_certificate && !authorities {
        return Err("require_certificate needs cafile or capath: the authorities that clients' certificates come from".into());
    }
    let names = config.use_identity_as_username || config.use_subject_as_username;
    if names && !config.require_certificate {
        return Err(
            "use_identity_as_username and use_subject_as_username need `require_certificate true`"
                .into(),
        );
    }
    if config.use_identity_as_username && config.use_subject_as_username {
        return Err(
            "use_identity_as_username and use_subject_as_username exclude each other".into()
        );
    }
    if config.crlfile.is_some() && !config.require_certificate {
        return Err("crlfile has no effect without `require_certificate true`: nobody is asked for a certificate".into());
    }
    Ok(())
}

fn provider(config: &TlsConfig) -> Result<Arc<CryptoProvider>, String> {
    let suites = ciphers::suites(config.ciphers.as_deref(), config.ciphers_tls13.as_deref())?;
    Ok(Arc::new(CryptoProvider { cipher_suites: suites, ..aws_lc_rs::default_provider() }))
}

/// All certificates of a PEM file.
fn certificates(directive: &str, path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let bytes = fs::read(path).map_err(|error| unreadable(directive, path, error))?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    let found = found.map_err(|error| unreadable(directive, path, error))?;
    if found.is_empty() {
        return Err(format!("{directive} {}: there is no certificate in it", path.display()));
    }
    Ok(found)
}

/// A certificate of the broker's own, and the names that it is for.
#[derive(Debug)]
struct OwnKey {
    key: Arc<CertifiedKey>,
    names: Vec<String>,
    path: PathBuf,
    not_after: u64,
}

fn own_certificates(config: &TlsConfig, provider: &CryptoProvider) -> Result<Vec<OwnKey>, String> {
    let pairs = config.certfiles.iter().zip(&config.keyfiles);
    let mut keys = Vec::new();
    for (certfile, keyfile) in pairs {
        let chain = certificates("certfile", certfile)?;
        let key = private_key(keyfile)?;
        let key = certified(chain.clone(), key, provider).map_err(|error| {
            let (certfile, keyfile) = (certfile.display(), keyfile.display());
            format!("keyfile {keyfile}: it is not the key of certfile {certfile}, or of a kind that is not supported: {error}")
        })?;
        let leaf = chain.first().map_or(&[][..], |leaf| leaf.as_ref());
        let not_after = Certificate::read(leaf)
            .map_err(|error| format!("certfile {}: {error}", certfile.display()))?
            .not_after;
        let (names, path) = (dns_names(leaf), certfile.clone());
        keys.push(OwnKey { key: Arc::new(key), names, path, not_after });
    }
    Ok(keys)
}

/// What is to be said of a file that ends within so many days; `then` is what happens at its end.
fn ending(path: &Path, now: u64, end: u64, within: u64, then: &str) -> Option<String> {
    let path = path.display();
    if end <= now {
        return Some(format!("{path} has expired: {then}"));
    }
    let days = (end - now) / DAY;
    (days < within).then(|| format!("{path} expires in {days} day(s): then {then}"))
}

/// A certificate with its key, if they belong together.
fn certified(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, rustls::Error> {
    let Some(old) = chain.first().and_then(|leaf| Version1::read(leaf)) else {
        return CertifiedKey::from_der(chain, key, provider);
    };
    let key = provider.key_provider.load_private_key(key)?;
    if key.public_key().is_some_and(|public| Some(public.as_ref()) != old.key_der().as_deref()) {
        return Err(rustls::InconsistentKeys::KeyMismatch.into());
    }
    Ok(CertifiedKey::new(chain, key))
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, String> {
    let bytes = fs::read(path).map_err(|error| unreadable("keyfile", path, error))?;
    let shown = path.display();
    let text = String::from_utf8_lossy(&bytes);
    if text.contains("ENCRYPTED") {
        return Err(format!(
            "keyfile {shown}: the key is encrypted, and nobody is there to ask for its password: `openssl pkey -in {shown} -out KEY` writes one that is not"
        ));
    }
    PrivateKeyDer::from_pem_slice(&bytes)
        .map_err(|error| format!("keyfile {shown}: there is no private key in it: {error}"))
}

fn clients(
    config: &TlsConfig,
    provider: &Arc<CryptoProvider>,
    warnings: &mut Warnings,
) -> Result<Option<Arc<ClientVerifier>>, String> {
    if !config.require_certificate {
        return Ok(None);
    }
    let (roots, store) = authorities(config, warnings)?;
    let mut builder =
        WebPkiClientVerifier::builder_with_provider(Arc::new(store), Arc::clone(provider));
    let algorithms = provider.signature_verification_algorithms;
    let (mut lists, mut ends, mut vouched) = (Vec::new(), Vec::new(), Vec::new());
    if let Some(path) = &config.crlfile {
        let bytes = fs::read(path).map_err(|error| unreadable("crlfile", path, error))?;
        let found: Result<Vec<_>, _> =
            CertificateRevocationListDer::pem_slice_iter(&bytes).collect();
        let found: Vec<CertificateRevocationListDer<'static>> =
            found.map_err(|error| unreadable("crlfile", path, error))?;
        if found.is_empty() {
            let shown = path.display();
            return Err(format!("crlfile {shown}: there is no revocation list in it"));
        }
        for list in &found {
            let end = list_end(list);
            ends.extend(end.map(|end| (path.clone(), end)));
            let authorities = roots.iter().map(|root: &CertificateDer<'_>| root.as_ref());
            let issuer = version1::list_issuer(list, authorities, &algorithms);
            vouched.extend(issuer.zip(end));
            let list = OwnedCertRevocationList::from_der(list.as_ref())
                .map_err(|error| unreadable("crlfile", path, error))?;
            lists.push(CertRevocationList::from(list));
        }
        // As OpenSSL is told by Mosquitto: the client's own certificate has to be on no list, and there
        // has to be a list of its issuer that still holds.
        builder = builder
            .with_crls(found)
            .only_check_end_entity_revocation()
            .enforce_revocation_expiration();
    }
    let inner =
        builder.build().map_err(|error| format!("cafile or crlfile cannot be used: {error}"))?;
    let any_date = config.disable_client_cert_date_checks;
    Ok(Some(Arc::new(ClientVerifier { inner, lists, ends, vouched, algorithms, roots, any_date })))
}

fn authorities(
    config: &TlsConfig,
    warnings: &mut Warnings,
) -> Result<(Vec<CertificateDer<'static>>, RootCertStore), String> {
    let mut roots = Vec::new();
    let mut store = RootCertStore::empty();
    let mut add = |directive: &str, path: &Path| {
        for certificate in certificates(directive, path)? {
            match store.add(certificate.clone()) {
                Ok(()) => roots.push(certificate),
                Err(error) => {
                    warnings
                        .push(format!("{}: one certificate is left out: {error}", path.display()));
                }
            }
        }
        Ok::<(), String>(())
    };
    if let Some(path) = &config.cafile {
        add("cafile", path)?;
    }
    if let Some(directory) = &config.capath {
        let listed = fs::read_dir(directory).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        let listed = listed.map_err(|error| unreadable("capath", directory, error))?;
        let mut paths: Vec<PathBuf> = listed.iter().map(fs::DirEntry::path).collect();
        paths.sort();
        for path in paths.iter().filter(|path| path.is_file()) {
            let text = fs::read(path).map_err(|error| unreadable("capath", path, error))?;
            if CertificateDer::pem_slice_iter(&text).next().is_some() {
                add("capath", path)?;
            }
        }
    }
    if roots.is_empty() {
        let named = config.cafile.as_ref().or(config.capath.as_ref());
        let named = named.map_or_else(String::new, |path| path.display().to_string());
        return Err(format!("cafile {named}: no authority in it can be used"));
    }
    Ok((roots, store))
}

/// Chooses the certificate whose name the client asks for; the first where none has it.
#[derive(Debug)]
struct ByName {
    keys: Vec<OwnKey>,
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let asked = hello.server_name().map(str::to_ascii_lowercase);
        let fits = |key: &&OwnKey| {
            let asked = asked.as_deref().unwrap_or_default();
            key.names.iter().any(|name| is_name(name, asked))
        };
        let key = self.keys.iter().find(fits).or(self.keys.first())?;
        Some(Arc::clone(&key.key))
    }
}

/// Whether a name of a certificate, maybe with a wildcard for its first label, is the one asked for.
fn is_name(name: &str, asked: &str) -> bool {
    match name.strip_prefix("*.") {
        Some(domain) => asked.split_once('.').is_some_and(|(_, rest)| rest == domain),
        None => name == asked,
    }
}

impl ClientVerifier {
    /// As `inner` does it for others: signature, dates, revocation.
    fn verify_version_1(
        &self,
        old: &Version1,
        der: &CertificateDer<'_>,
        now: u64,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let certificate = Certificate::read(der).map_err(|_| CertificateError::BadEncoding)?;
        let then = if self.any_date { certificate.day_near(now) } else { now };
        let roots = self.roots.iter().map(AsRef::as_ref);
        old.verify(roots, &self.algorithms, then)?;
        if self.lists.is_empty() {
            return Ok(ClientCertVerified::assertion());
        }
        let mut lists = self.vouched.iter().filter(|(issuer, _)| *issuer == certificate.issuer);
        if !lists.any(|(_, end)| *end > now) {
            return Err(CertificateError::UnknownRevocationStatus.into());
        }
        match self.has_revoked(&certificate) {
            true => Err(CertificateError::Revoked.into()),
            false => Ok(ClientCertVerified::assertion()),
        }
    }

    fn has_revoked(&self, certificate: &Certificate) -> bool {
        self.lists.iter().any(|list| {
            is_issuer(list.issuer(), &certificate.issuer)
                && matches!(list.find_serial(&certificate.serial), Ok(Some(_)))
        })
    }
}

/// Whether the name of a list's issuer, which comes without the head of its sequence, is this one.
fn is_issuer(of_list: &[u8], issuer: &[u8]) -> bool {
    issuer == of_list || issuer.ends_with(of_list) && issuer.len() <= of_list.len() + 6
}

impl ClientCertVerifier for ClientVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.inner.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        if let Some(old) = Version1::read(end_entity) {
            return self.verify_version_1(&old, end_entity, now.as_secs());
        }
        let verified = self.inner.verify_client_cert(end_entity, intermediates, now);
        match (&verified, self.any_date, Certificate::read(end_entity)) {
            (
                Err(rustls::Error::InvalidCertificate(
                    CertificateError::Expired
                    | CertificateError::ExpiredContext { .. }
                    | CertificateError::NotValidYet
                    | CertificateError::NotValidYetContext { .. },
                )),
                true,
                Ok(certificate),
            ) => {
                // A day on which it did hold.
                let then = certificate.day_near(now.as_secs());
                let then = UnixTime::since_unix_epoch(std::time::Duration::from_secs(then));
                self.inner.verify_client_cert(end_entity, intermediates, then)
            }
            _ => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        match Version1::read(certificate) {
            Some(old) => old.verify_tls12(&self.algorithms, message, signature),
            None => self.inner.verify_tls12_signature(message, certificate, signature),
        }
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        match Version1::read(certificate) {
            Some(old) => old.verify_tls13(&self.algorithms, message, signature),
            None => self.inner.verify_tls13_signature(message, certificate, signature),
        }
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}
