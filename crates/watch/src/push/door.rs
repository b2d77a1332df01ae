//! One web service: its address, headers and certificates; what its answers mean.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use plimsoll_client::authorities;
use ureq::Agent;
use ureq::http::{HeaderName, HeaderValue, Uri};
use ureq::tls::{TlsConfig, TlsProvider};

/// How long one attempt may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Most of an answer that is read.
const ANSWER_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Headers from a file, at most.
const HEADERS_MAX: usize = 32;

/// A web service that is sent things.
#[derive(Debug)]
pub(super) struct Door {
    agent: Agent,
    url: String,
    /// Scheme and host: paths of webhooks are secrets.
    pub(super) shown: String,
    headers: Vec<(HeaderName, HeaderValue)>,
}

/// Why something was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    /// Whether to try again: the service is not there, or overloaded.
    pub(super) again: bool,
    /// For people.
    pub(super) text: String,
}

impl Door {
    /// A service by its URL, with headers from a file and authorities from another.
    ///
    /// # Errors
    ///
    /// The URL is none, a file cannot be read or has what does not belong there. The text says which.
    pub(super) fn new(
        url: &str,
        headers: Option<&Path>,
        cafile: Option<&Path>,
    ) -> Result<Self, String> {
        // The address itself may be a secret, so that it is not said.
        let uri: Uri = url.parse().map_err(|error| format!("an address is none: {error}"))?;
        let mut config = Agent::config_builder()
            .timeout_global(Some(TIMEOUT))
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(None)
            .user_agent(concat!("plimsoll-watch/", env!("CARGO_PKG_VERSION")));
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        match uri.scheme_str() {
            Some("https") => config = config.tls_config(tls(cafile)?),
            Some("http") => {}
            _ => return Err(format!("{host}: an address begins with http:// or https://")),
        }
        if host.len() < authority.len() {
            return Err(format!(
                "{host}: user and password belong into a header, in a file that others cannot read"
            ));
        }
        let shown = format!("{}://{host}", uri.scheme_str().unwrap_or_default());
        let headers = headers.map_or(Ok(Vec::new()), read_headers)?;
        Ok(Self { agent: config.build().new_agent(), url: url.to_owned(), shown, headers })
    }

    /// Posts a body to the address itself, or to a path below it; answers what is said to a success.
    pub(super) fn post(&self, path: &str, form: &str, body: &[u8]) -> Result<Vec<u8>, Refusal> {
        let url = format!("{}{path}", self.url.trim_end_matches('/'));
        let mut request = self.agent.post(if path.is_empty() { &self.url } else { &url });
        request = request.header("Content-Type", form);
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let refused = |error: ureq::Error| Refusal { again: true, text: error.to_string() };
        let mut response = request.send(body).map_err(refused)?;
        let status = response.status();
        let answer = response.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_vec();
        if status.is_success() {
            return answer.map_err(refused);
        }
        // What the service says of a mistake is the best hint at it.
        let said = String::from_utf8_lossy(&answer.unwrap_or_default()).into_owned();
        let said: String = said.chars().filter(|letter| !letter.is_control()).take(200).collect();
        let again = status.is_server_error() || matches!(status.as_u16(), 408 | 429);
        Err(Refusal { again, text: format!("{status}: {said}").trim_end_matches(": ").to_owned() })
    }
}

/// Whose certificates are trusted: a file's, or the system's.
fn tls(cafile: Option<&Path>) -> Result<TlsConfig, String> {
    let path = cafile
        .or_else(|| authorities::of_system().map(Path::new))
        .ok_or("this system has no certificates of authorities: give --push-cafile")?;
    let roots = authorities::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    Ok(TlsConfig::builder()
        .provider(TlsProvider::Rustls)
        .unversioned_rustls_crypto_provider(provider)
        .root_certs(roots)
        .build())
}

/// Lines such as `Authorization: ApiKey …`; empty ones and those that begin with `#` are passed over.
fn read_headers(path: &Path) -> Result<Vec<(HeaderName, HeaderValue)>, String> {
    let shown = path.display();
    let text = fs::read_to_string(path).map_err(|error| format!("{shown}: {error}"))?;
    let mut headers = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        // The value may be a secret, so it is not said.
        let wrong = || format!("{shown}:{}: a header is written as Name: value", number + 1);
        let (name, value) = line.split_once(':').ok_or_else(wrong)?;
        let name: HeaderName = name.trim().parse().map_err(|_| wrong())?;
        let mut value: HeaderValue = value.trim().parse().map_err(|_| wrong())?;
        value.set_sensitive(true);
        headers.push((name, value));
    }
    match headers.len() {
        count if count > HEADERS_MAX => {
            Err(format!("{shown}: {count} headers; {HEADERS_MAX} are allowed"))
        }
        _ => Ok(headers),
    }
}
