//! Spans on their way to a collector: OTLP over HTTP, as JSON.

use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use plimsoll_client::authorities;
use plimsoll_ledger::{Account, Ledger};
use ureq::Agent;
use ureq::tls::{TlsConfig, TlsProvider};

use super::otlp::Document;
use crate::broker::shared::Shared;

/// How long a document may take to be taken.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Pauses before a document is tried again.
const RETRIES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(5)];

/// Requests whose spans are under way at once; those of more are dropped.
const UNDER_WAY_MAX: usize = 2;

/// `otlp_endpoint` and `otlp_header`.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Otlp {
    /// Where spans go; `None`: nowhere.
    pub(crate) endpoint: Option<String>,
    /// Headers that are sent along, such as a token.
    pub(crate) headers: Vec<(String, String)>,
}

impl fmt::Debug for Otlp {
    /// Without what headers say: that is often secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.headers.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("Otlp").field("endpoint", &self.endpoint).field("headers", &names).finish()
    }
}

/// Sends spans on, and counts them.
#[derive(Debug)]
pub(crate) struct Exporter {
    ledger: &'static Ledger,
    otlp: Mutex<Arc<Otlp>>,
    under_way: AtomicUsize,
    exported: AtomicU64,
    dropped: AtomicU64,
}

/// A place among those under way, until it is dropped.
struct Place(Arc<Shared>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.traces.exporter.under_way.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Exporter {
    pub(super) fn new(ledger: &'static Ledger) -> Self {
        Self {
            ledger,
            otlp: Mutex::default(),
            under_way: AtomicUsize::new(0),
            exported: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
        }
    }

    /// From now on spans go there.
    pub(crate) fn set(&self, otlp: Otlp) {
        *self.otlp.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(otlp);
    }

    fn otlp(&self) -> Arc<Otlp> {
        Arc::clone(&self.otlp.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Spans that a collector has taken, and those that none has.
    pub(crate) fn counts(&self) -> (u64, u64) {
        (self.exported.load(Ordering::Relaxed), self.dropped.load(Ordering::Relaxed))
    }

    /// Sends documents to the collector, if there is one, from a thread of its own.
    pub(crate) fn send(shared: &Arc<Shared>, documents: Vec<Document>) {
        let exporter = &shared.traces.exporter;
        let otlp = exporter.otlp();
        let count = spans(&documents);
        if otlp.endpoint.is_none() || count == 0 {
            return;
        }
        let under_way = exporter.under_way.fetch_add(1, Ordering::SeqCst);
        let place = Place(Arc::clone(shared));
        if under_way >= UNDER_WAY_MAX {
            exporter.lost(shared, count, "the spans of earlier requests are still under way");
            return;
        }
        let bytes = documents.iter().map(Document::heap_bytes).sum();
        let held = exporter.ledger.charge(Account::Tools, bytes);
        let body = move || {
            let (shared, _held) = (&place.0, held);
            shared.traces.exporter.deliver(shared, &otlp, &documents);
        };
        if thread::Builder::new().name("otlp".into()).spawn(body).is_err() {
            exporter.lost(shared, count, "there is no thread for it");
        }
    }

    fn deliver(&self, shared: &Shared, otlp: &Otlp, documents: &[Document]) {
        let Some(endpoint) = &otlp.endpoint else { return };
        let agent = match agent(endpoint) {
            Ok(agent) => agent,
            Err(error) => return self.lost(shared, spans(documents), &error),
        };
        for (number, document) in documents.iter().enumerate() {
            let json = Document::json(std::slice::from_ref(document));
            let _held = self.ledger.charge(Account::Tools, json.capacity());
            match post(&agent, endpoint, &otlp.headers, &json, || shared.stopping()) {
                Ok(()) => {
                    self.exported.fetch_add(document.count as u64, Ordering::Relaxed);
                }
                // What does not take one will not take the next.
                Err(error) => {
                    let rest = documents.get(number..).unwrap_or_default();
                    return self.lost(shared, spans(rest), &format!("{endpoint}: {error}"));
                }
            }
        }
    }

    fn lost(&self, shared: &Shared, count: usize, why: &str) {
        self.dropped.fetch_add(count as u64, Ordering::Relaxed);
        shared.log.warning(&format!("{count} spans were not sent to otlp_endpoint: {why}."));
    }
}

fn spans(documents: &[Document]) -> usize {
    documents.iter().map(|document| document.count).sum()
}

fn agent(endpoint: &str) -> Result<Agent, String> {
    let agent = Agent::config_builder()
        .timeout_global(Some(TIMEOUT))
        .http_status_as_error(false)
        .max_redirects(0)
        .proxy(None)
        .user_agent(concat!("plimsoll/", env!("CARGO_PKG_VERSION")));
    if !endpoint.starts_with("https://") {
        return Ok(agent.build().new_agent());
    }
    let path = authorities::of_system()
        .ok_or("this system has no certificates of authorities (ca-certificates)")?;
    let roots = authorities::read(Path::new(path)).map_err(|error| format!("{path}: {error}"))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = TlsConfig::builder()
        .provider(TlsProvider::Rustls)
        .unversioned_rustls_crypto_provider(provider)
        .root_certs(roots)
        .build();
    Ok(agent.tls_config(tls).build().new_agent())
}

/// Sends a document, several times if need be: a collector asks for that by 429 and 5xx.
fn post(
    agent: &Agent,
    endpoint: &str,
    headers: &[(String, String)],
    json: &[u8],
    stopping: impl Fn() -> bool,
) -> Result<(), String> {
    let mut pauses = RETRIES.iter();
    loop {
        let mut request = agent.post(endpoint).header("content-type", "application/json");
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let (error, again) = match request.send(json) {
            Ok(answer) if answer.status().is_success() => return Ok(()),
            Ok(answer) => {
                let status = answer.status();
                (format!("it answers {status}"), status.is_server_error() || status == 429)
            }
            Err(error) => (error.to_string(), true),
        };
        match pauses.next().filter(|_| again && !stopping()) {
            Some(pause) => thread::sleep(*pause),
            None => return Err(error),
        }
    }
}

impl Otlp {
    /// Takes one of its directives.
    pub(crate) fn read(&mut self, directive: &str, text: &str) -> Result<(), String> {
        match directive {
            "otlp_endpoint" => read_endpoint(self, text),
            _ => read_header(self, text),
        }
    }
}

fn read_endpoint(otlp: &mut Otlp, text: &str) -> Result<(), String> {
    let uri: Result<ureq::http::Uri, _> = text.parse();
    let sound = uri.is_ok_and(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https"))
            && uri.host().is_some_and(|host| !host.is_empty())
    });
    if !sound {
        return Err(format!("`{text}` is no URL such as http://127.0.0.1:4318/v1/traces"));
    }
    otlp.endpoint = Some(text.to_owned());
    Ok(())
}

fn read_header(otlp: &mut Otlp, text: &str) -> Result<(), String> {
    let explain = || "write `otlp_header NAME: VALUE`, such as `otlp_header x-token: secret`";
    let (name, value) = text.split_once(':').ok_or_else(explain)?;
    let (name, value) = (name.trim(), value.trim());
    ureq::http::HeaderName::try_from(name).map_err(|_| format!("`{name}` is no header's name"))?;
    ureq::http::HeaderValue::from_str(value)
        .map_err(|_| format!("what `{name}` is to say cannot stand in a header"))?;
    otlp.headers.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
    otlp.headers.push((name.to_owned(), value.to_owned()));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_urls_and_headers_have_names() {
        let mut otlp = Otlp::default();
        read_endpoint(&mut otlp, "http://127.0.0.1:4318/v1/traces").unwrap();
        read_header(&mut otlp, "x-token: first").unwrap();
        read_header(&mut otlp, "X-Token:  secret:1 ").unwrap();
        assert_eq!(otlp.headers, [("X-Token".to_owned(), "secret:1".to_owned())]);
        assert!(!format!("{otlp:?}").contains("secret"));
        for wrong in ["127.0.0.1:4318", "grpc://a:4317", "http://", "http://a b/"] {
            assert!(read_endpoint(&mut otlp, wrong).is_err(), "{wrong}");
        }
        for wrong in ["x-token", "a b: c", ": c", "x: a\u{7}"] {
            assert!(read_header(&mut otlp, wrong).is_err(), "{wrong:?}");
        }
    }
}
