//! Whole handshakes with rustls's client, and what hostile ones do.

use std::io::{Read as _, Write as _};

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use tikv_jemalloc_ctl::thread::{ThreadLocal, allocatedp, deallocatedp};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use rustls::{ConnectionTrafficSecrets, HandshakeKind};

use super::*;
use crate::config::Listener;

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/broker/transport/fixtures");

fn fixture(name: &str) -> std::path::PathBuf {
    format!("{FIXTURES}/{name}").into()
}

/// Settings with the fixtures' certificates, clients' required.
fn settings() -> Arc<TlsSettings> {
    let mut listener = Listener::at("test".into(), 0, Vec::new());
    listener.tls.certfiles.push(fixture("server.pem"));
    listener.tls.keyfiles.push(fixture("server.key"));
    listener.tls.cafile = Some(fixture("root.pem"));
    listener.tls.require_certificate = true;
    Arc::new(TlsSettings::load(&listener, None, &mut Vec::new()).unwrap().unwrap())
}

fn client_config(version: &'static rustls::SupportedProtocolVersion) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(fixture("root.pem")).unwrap()).unwrap();
    let chain = CertificateDer::pem_file_iter(fixture("client.pem")).unwrap();
    let chain = chain.collect::<Result<Vec<_>, _>>().unwrap();
    let key = PrivateKeyDer::from_pem_file(fixture("client.key")).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config =
        ClientConfig::builder_with_provider(provider).with_protocol_versions(&[version]).unwrap();
    Arc::new(config.with_root_certificates(roots).with_client_auth_cert(chain, key).unwrap())
}

/// Both ends of a session, and what the server's holds on the heap.
struct Pair {
    client: ClientConnection,
    server: Tls,
    raw: Vec<u8>,
    room: Vec<u8>,
    outgoing: Vec<u8>,
    counters: (ThreadLocal<u64>, ThreadLocal<u64>),
    held: i64,
}

static LEDGER: Ledger = Ledger::new();

impl Pair {
    fn new(settings: &Arc<TlsSettings>, config: &Arc<ClientConfig>) -> Self {
        let name = ServerName::try_from("localhost").unwrap();
        let client = ClientConnection::new(Arc::clone(config), name).unwrap();
        let counters = (
            allocatedp::mib().and_then(|mib| mib.read()).unwrap(),
            deallocatedp::mib().and_then(|mib| mib.read()).unwrap(),
        );
        let held = |counters: &(ThreadLocal<u64>, ThreadLocal<u64>)| {
            counters.0.get().cast_signed() - counters.1.get().cast_signed()
        };
        let before = held(&counters);
        let server = Tls::new(settings, &LEDGER).unwrap();
        let held = held(&counters) - before;
        let buffer = || Vec::with_capacity(64 * 1024);
        let (raw, room, outgoing) = (buffer(), vec![0; 64 * 1024], buffer());
        Self { client, server, raw, room, outgoing, counters, held }
    }

    fn now(&self) -> i64 {
        self.counters.0.get().cast_signed() - self.counters.1.get().cast_signed()
    }

    /// What the client has to say goes to the server. Answers the plain bytes that came of it.
    fn server_hears(&mut self) -> io::Result<Vec<u8>> {
        while self.client.wants_write() {
            self.client.write_tls(&mut self.raw).unwrap();
        }
        let before = self.now();
        let opened = self.server.open(&mut self.raw, &mut self.room, &mut self.outgoing);
        drop(self.server.take_handshake());
        self.held += self.now() - before;
        let opened = opened?;
        self.raw.drain(..opened.used);
        Ok(self.room[..opened.count].to_vec())
    }

    fn client_hears(&mut self) {
        let mut bytes = &self.outgoing[..];
        while !bytes.is_empty() {
            self.client.read_tls(&mut bytes).unwrap();
            self.client.process_new_packets().unwrap();
        }
        self.outgoing.clear();
    }

    fn shake_hands(&mut self) {
        while self.client.is_handshaking() || !self.server.is_established() {
            self.server_hears().unwrap();
            self.client_hears();
        }
    }
}

#[test]
fn what_is_charged_is_what_rustls_holds() {
    let settings = settings();
    for version in VERSIONS {
        let config = client_config(version);
        let mut pair = Pair::new(&settings, &config);
        pair.server_hears().unwrap();
        let charged = || LEDGER.snapshot().total().cast_signed() as i64;
        // Which version it will be is not known yet.
        let spare = charged() - pair.held;
        assert!((0..2000).contains(&spare), "{version:?}: {} for {} bytes", charged(), pair.held);
        pair.client_hears();
        pair.shake_hands();
        pair.client.writer().write_all(b"hello").unwrap();
        assert_eq!(pair.server_hears().unwrap(), b"hello");
        assert_eq!(charged(), pair.held, "{version:?}");
        drop(pair);
        assert_eq!(LEDGER.snapshot().total(), 0);
    }
}
const VERSIONS: [&rustls::SupportedProtocolVersion; 2] =
    [&rustls::version::TLS12, &rustls::version::TLS13];

#[test]
fn a_session_taken_up_again_brings_its_certificate_but_not_over_a_reload() {
    for version in VERSIONS {
        let (settings, config) = (settings(), client_config(version));
        let mut pairs = [&settings, &settings, &self::settings()].map(|settings| {
            let mut pair = Pair::new(settings, &config);
            pair.shake_hands();
            pair
        });
        let kinds = pairs.each_mut().map(|pair| pair.client.handshake_kind().unwrap());
        assert_eq!(kinds, [HandshakeKind::Full, HandshakeKind::Resumed, HandshakeKind::Full]);
        let [first, second, _] = &pairs;
        assert_eq!(first.server.certificates(), second.server.certificates());
        assert_eq!(second.server.certificates().len(), 2);
        assert!(second.server.not_after() > 0);
    }
}

#[test]
fn bytes_may_come_one_by_one() {
    for version in VERSIONS {
        let mut pair = Pair::new(&settings(), &client_config(version));
        let mut plain = Vec::new();
        pair.client.writer().write_all(b"hello").unwrap();
        for _ in 0..4 {
            while pair.client.wants_write() {
                pair.client.write_tls(&mut pair.raw).unwrap();
            }
            let mut kept = Vec::new();
            for byte in std::mem::take(&mut pair.raw) {
                kept.push(byte);
                let opened = pair.server.open(&mut kept, &mut pair.room, &mut pair.outgoing);
                let opened = opened.unwrap();
                kept.drain(..opened.used);
                plain.extend_from_slice(&pair.room[..opened.count]);
            }
            assert!(kept.is_empty());
            pair.client_hears();
        }
        assert_eq!(plain, b"hello");
    }
}

#[test]
fn either_side_may_end_it() {
    for version in VERSIONS {
        let (settings, config) = (settings(), client_config(version));
        let mut pair = Pair::new(&settings, &config);
        pair.shake_hands();
        let plain: Vec<u8> = (0..100_000u32).map(|byte| byte as u8).collect();
        pair.server.seal(&plain, &mut pair.raw, &mut pair.outgoing).unwrap();
        pair.server.close(&mut pair.raw, &mut pair.outgoing);
        let mut bytes = &pair.outgoing[..];
        let mut came = Vec::new();
        while !bytes.is_empty() {
            pair.client.read_tls(&mut bytes).unwrap();
            pair.client.process_new_packets().unwrap();
            let mut piece = vec![0; 32 * 1024];
            while let Ok(count @ 1..) = pair.client.reader().read(&mut piece) {
                came.extend_from_slice(&piece[..count]);
            }
        }
        assert!(came == plain);
        assert_eq!(pair.client.reader().read(&mut [0]).unwrap(), 0, "it ends in order");

        let mut pair = Pair::new(&settings, &config);
        pair.shake_hands();
        pair.client.writer().write_all(b"last words").unwrap();
        pair.client.send_close_notify();
        while pair.client.wants_write() {
            pair.client.write_tls(&mut pair.raw).unwrap();
        }
        let opened = pair.server.open(&mut pair.raw, &mut pair.room, &mut pair.outgoing);
        let opened = opened.unwrap();
        assert!(opened.closed && &pair.room[..opened.count] == b"last words");
    }
}

#[test]
fn what_is_not_tls_is_told_so() {
    let mut pair = Pair::new(&settings(), &client_config(&rustls::version::TLS13));
    let mut raw = b"\x10\x10\x00\x04MQTT\x04\x02\x00\x3c".to_vec();
    assert!(pair.server.open(&mut raw, &mut pair.room, &mut pair.outgoing).is_err());
    // A byte that has been changed on its way.
    let mut pair = Pair::new(&settings(), &client_config(&rustls::version::TLS13));
    pair.shake_hands();
    pair.outgoing.clear();
    pair.client.writer().write_all(b"hello").unwrap();
    pair.client.write_tls(&mut pair.raw).unwrap();
    *pair.raw.last_mut().unwrap() ^= 1;
    assert!(pair.server_hears().is_err());
    assert_eq!(pair.outgoing.first(), Some(&23), "an alert that only the peer can read");
}

/// A handshake's message may come in records between which the broker writes, or ends it.
#[test]
fn messages_in_parts_are_no_trouble() {
    let settings = settings();
    let mut pair = Pair::new(&settings, &client_config(&rustls::version::TLS13));
    let hello = |bytes: &[u8]| {
        let mut record = vec![22, 3, 1];
        record.extend_from_slice(&(bytes.len() as u16).to_be_bytes());
        record.extend_from_slice(bytes);
        record
    };
    // The beginning of a ClientHello of 1,000 bytes.
    let mut kept = hello(&[1, 0, 3, 0xE8, 3, 3]);
    let opened = pair.server.open(&mut kept, &mut pair.room, &mut pair.outgoing).unwrap();
    assert_eq!(opened.used, 0);
    assert!(pair.server.seal(b"", &mut kept, &mut pair.outgoing).is_err());
    pair.server.close(&mut kept, &mut pair.outgoing);
    // Behind it comes something else, or too much.
    for more in [vec![23, 3, 3, 0, 1, 0], hello(&[0; 1000]), hello(b""), vec![21, 3, 3, 0, 2, 2, 0]]
    {
        let mut pair = Pair::new(&settings, &client_config(&rustls::version::TLS13));
        let mut raw = [hello(&[1, 0, 3, 0xE8, 3, 3]), more].concat();
        let opened = pair.server.open(&mut raw, &mut pair.room, &mut pair.outgoing);
        assert!(opened.is_err() || pair.outgoing.is_empty());
        assert!(pair.server.seal(b"", &mut [], &mut pair.outgoing).is_err() || opened.is_ok());
    }
}

#[test]
fn half_a_key_update_does_not_hinder_what_is_written() {
    let mut config = (*client_config(&rustls::version::TLS13)).clone();
    config.enable_secret_extraction = true;
    let mut pair = Pair::new(&settings(), &Arc::new(config));
    pair.shake_hands();
    let Pair { client, mut server, mut room, mut outgoing, .. } = pair;
    let secrets = client.dangerous_extract_secrets().unwrap();
    let (number, ConnectionTrafficSecrets::Aes256Gcm { key, iv }) = secrets.tx else {
        panic!("another cipher")
    };
    let key = UnboundKey::new(&AES_256_GCM, key.as_ref()).unwrap();
    let key = LessSafeKey::new(key);
    // RFC 8446, 5.2: KeyUpdate is five bytes, of which three come in the first record.
    let record = |number: u64, part: &[u8]| {
        let mut nonce: [u8; 12] = iv.as_ref().try_into().unwrap();
        nonce.iter_mut().skip(4).zip(number.to_be_bytes()).for_each(|(n, digit)| *n ^= digit);
        let mut inner = [part, &[22]].concat();
        let header = [23, 3, 3, 0, (inner.len() + 16) as u8];
        let nonce = Nonce::assume_unique_for_key(nonce);
        key.seal_in_place_append_tag(nonce, Aad::from(header), &mut inner).unwrap();
        [&header[..], &inner].concat()
    };
    let mut kept = record(number, &[24, 0, 0]);
    let opened = server.open(&mut kept, &mut room, &mut outgoing).unwrap();
    kept.drain(..opened.used);
    assert!(!kept.is_empty());
    outgoing.clear();
    server.seal(b"meanwhile", &mut kept, &mut outgoing).unwrap();
    assert_eq!(outgoing.len(), 5 + 9 + 1 + 16);
    kept.extend(record(number + 1, &[1, 0]));
    let opened = server.open(&mut kept, &mut room, &mut outgoing).unwrap();
    assert_eq!((opened.used, opened.count), (kept.len(), 0));
    server.close(&mut [], &mut outgoing);
}
