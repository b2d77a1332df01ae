//! Documents over HTTP: asked for, within bounds, and handed to whoever reads them.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use plimsoll_client::{TlsFiles, authorities};
use ureq::tls::{Certificate, ClientCert, PemItem, PrivateKey, TlsConfig, TlsProvider, parse_pem};
use ureq::{Agent, Body, http};

use super::poller::Reader;
use super::url::Url;
use super::{Kind, Source, jolokia, pointer, prometheus};

/// How long an answer may take, all told.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Most of an answer that is read: a JVM's metrics are 200 KiB, a large broker's some MiB.
const BYTES_MAX: u64 = 8 * 1024 * 1024;

/// Most of Jolokia's, which takes many times its length when it is taken apart.
const JOLOKIA_BYTES_MAX: u64 = 512 * 1024;

/// Longest answer of a server that refuses that is shown.
const REFUSAL_BYTES_MAX: u64 = 200;

/// Asks for a document.
pub(super) struct HttpReader {
    agent: Agent,
    url: String,
    authorization: Option<String>,
    every: Duration,
    form: Form,
}

/// How figures are found in the document.
enum Form {
    Prometheus(Vec<prometheus::Selection>),
    Json(Vec<pointer::Pointer>),
    Jolokia(jolokia::Request),
}

impl HttpReader {
    pub(super) fn new(source: &Source) -> Result<Self, String> {
        let url = Url::parse(&source.url)?;
        let mut config = Agent::config_builder()
            .timeout_global(Some(TIMEOUT))
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(None)
            .max_idle_connections(1)
            .user_agent(concat!("plimsoll-watch/", env!("CARGO_PKG_VERSION")));
        match url.scheme {
            "https" => config = config.tls_config(tls(&source.tls)?),
            "http" => {}
            other => {
                return Err(format!("`{other}://`: this kind is read over http:// or https://"));
            }
        }
        let credentials = &source.credentials;
        let user = credentials.user.clone().or_else(|| url.user());
        let authorization = match (&credentials.token, user) {
            (Some(token), _) => Some(format!("Bearer {token}")),
            (None, Some(user)) => {
                let password = credentials.password.clone().or_else(|| url.password());
                let pair = format!("{user}:{}", password.unwrap_or_default());
                Some(format!("Basic {}", STANDARD.encode(pair)))
            }
            (None, None) => None,
        };
        let places = source.map.iter().map(|mapping| mapping.from.as_str());
        let form = match source.kind {
            Kind::Prometheus => Form::Prometheus(places.map(str::parse).collect::<Result<_, _>>()?),
            Kind::Jolokia => Form::Jolokia(jolokia::Request::new(places)?),
            Kind::Json | Kind::Mqtt => {
                Form::Json(places.map(pointer::Pointer::parse).collect::<Result<_, _>>()?)
            }
        };
        let agent = config.build().new_agent();
        Ok(Self { agent, url: url.bare(), authorization, every: source.every, form })
    }

    fn ask(&self) -> Result<Vec<u8>, String> {
        let request = http::Request::builder().uri(&self.url);
        let request = match &self.authorization {
            Some(authorization) => request.header("authorization", authorization),
            None => request,
        };
        let failed = |error: ureq::Error| error.to_string();
        let wrong = |error: http::Error| error.to_string();
        let mut response = match &self.form {
            Form::Jolokia(jolokia) => {
                let request = request.method("POST").header("content-type", "application/json");
                let request = request.body(jolokia.body()).map_err(wrong)?;
                self.agent.run(request).map_err(failed)?
            }
            Form::Prometheus(_) | Form::Json(_) => {
                let accept = match &self.form {
                    Form::Prometheus(_) => "text/plain;version=0.0.4",
                    _ => "application/json",
                };
                let request = request.header("accept", accept).body(()).map_err(wrong)?;
                self.agent.run(request).map_err(failed)?
            }
        };
        if response.status().is_success() {
            let bytes_max = match &self.form {
                Form::Prometheus(_) | Form::Json(_) => BYTES_MAX,
                Form::Jolokia(_) => JOLOKIA_BYTES_MAX,
            };
            let body = response.body_mut().with_config().limit(bytes_max).read_to_vec();
            return body.map_err(failed);
        }
        Err(refusal(&mut response))
    }
}

/// What a server says that does not answer as it should.
fn refusal(response: &mut http::Response<Body>) -> String {
    let mut body = Vec::new();
    // What was read until an error is shown.
    let _ = response.body_mut().as_reader().take(REFUSAL_BYTES_MAX).read_to_end(&mut body);
    let text = String::from_utf8_lossy(&body);
    let text: String = text.chars().filter(|character| !character.is_control()).collect();
    format!("answers {} {text}", response.status()).trim_end().to_owned()
}

impl Reader for HttpReader {
    fn read(&mut self, values: &mut [Option<f64>]) -> Result<(), String> {
        let body = self.ask()?;
        match &self.form {
            Form::Prometheus(selections) => {
                let text = str::from_utf8(&body).map_err(|_| "answers with what is not UTF-8")?;
                prometheus::read(text, selections, values)
            }
            Form::Json(pointers) => pointer::read(&body, pointers, values),
            Form::Jolokia(request) => request.read(&body, values),
        }
    }

    fn pause(&self) -> Duration {
        self.every
    }
}

fn tls(tls: &TlsFiles) -> Result<TlsConfig, String> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = TlsConfig::builder()
        .provider(TlsProvider::Rustls)
        .unversioned_rustls_crypto_provider(provider)
        .disable_verification(tls.insecure);
    if !tls.insecure {
        let system = authorities::of_system().map(Path::new);
        let path = tls.cafile.as_deref().or(system).ok_or(
            "this system has no certificates of authorities: name a file of them (cafile)",
        )?;
        let roots =
            authorities::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
        config = config.root_certs(roots);
    }
    if let (Some(cert), Some(key)) = (&tls.cert, &tls.key) {
        config = config.client_cert(Some(client_certificate(cert, key)?));
    }
    Ok(config.build())
}

fn client_certificate(cert: &Path, key: &Path) -> Result<ClientCert, String> {
    let read =
        |path: &Path| std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()));
    let chain: Vec<Certificate<'static>> = parse_pem(&read(cert)?)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect();
    if chain.is_empty() {
        return Err(format!("{}: there is no certificate in it", cert.display()));
    }
    let key_pem = read(key)?;
    let key =
        PrivateKey::from_pem(&key_pem).map_err(|error| format!("{}: {error}", key.display()))?;
    Ok(ClientCert::new_with_certs(&chain, key))
}
