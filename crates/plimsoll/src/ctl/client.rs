//! One broker's API over HTTP.

use std::fmt::{self, Display, Write as _};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use plimsoll_client::authorities;
use serde_json::Value;
use ureq::http::{Response, StatusCode};
use ureq::tls::{TlsConfig, TlsProvider};
use ureq::{Agent, Body};

use super::settings::Settings;

/// How long a request may take; a heap profile takes some seconds, and a trace may take a minute.
const TIMEOUT: Duration = Duration::from_secs(75);

/// Most of an answer that is read.
const ANSWER_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// Why there is nothing to print.
#[derive(Debug)]
pub(super) enum Failure {
    /// The broker says no.
    No(String),
    /// It cannot be asked, or does not let us.
    Unreachable(String),
    /// It was asked for what cannot be.
    Mistake(String),
}

impl Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::No(text) | Self::Unreachable(text) | Self::Mistake(text) => f.write_str(text),
        }
    }
}

/// A broker.
pub(super) struct Client {
    agent: Agent,
    url: String,
    authorization: Option<String>,
}

impl Client {
    pub(super) fn new(settings: &Settings) -> Result<Self, Failure> {
        let mut agent = Agent::config_builder()
            .timeout_global(Some(TIMEOUT))
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(None)
            .user_agent(concat!("plimsoll-ctl/", env!("CARGO_PKG_VERSION")));
        match settings.url.split_once("://") {
            Some(("https", _)) => agent = agent.tls_config(tls(settings)?),
            Some(("http", _)) => {}
            _ => {
                return Err(Failure::Mistake(format!(
                    "`{}` is not the address of an HTTP listener, such as http://127.0.0.1:8080",
                    settings.url
                )));
            }
        }
        let authorization = match (&settings.token, &settings.user) {
            (Some(token), _) => Some(format!("Bearer {token}")),
            (None, Some(user)) => {
                let password = settings.password.as_deref().unwrap_or_default();
                Some(format!("Basic {}", STANDARD.encode(format!("{user}:{password}"))))
            }
            (None, None) => None,
        };
        Ok(Self { agent: agent.build().new_agent(), url: settings.url.clone(), authorization })
    }

    fn ask(
        &self,
        method: &str,
        path: &str,
        query: &[(&str, &str)],
        accept: &str,
        body: Option<&Value>,
    ) -> Result<Response<Body>, Failure> {
        let mut uri = format!("{}{path}", self.url);
        for (number, (name, value)) in query.iter().enumerate() {
            let mark = if number == 0 { '?' } else { '&' };
            let _ = write!(uri, "{mark}{name}={}", escaped(value));
        }
        let mut request = ureq::http::Request::builder()
            .method(method)
            .uri(&uri)
            .header("accept", accept)
            // That a change is meant: pages of others cannot send it.
            .header("x-requested-with", "plimsoll-ctl");
        if let Some(authorization) = &self.authorization {
            request = request.header("authorization", authorization);
        }
        if body.is_some() {
            request = request.header("content-type", "application/json");
        }
        let body = body.map(Value::to_string).unwrap_or_default();
        let request =
            request.body(body).map_err(|error| Failure::Mistake(format!("{uri}: {error}")))?;
        let mut response = self.agent.run(request).map_err(|error| {
            Failure::Unreachable(format!(
                "{}: {error}; is there a listener with `protocol http_api` (--url, PLIMSOLL_URL)?",
                self.url
            ))
        })?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let body = response.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_string();
        let problem: Option<Value> = body.ok().and_then(|body| serde_json::from_str(&body).ok());
        let detail = problem.as_ref().and_then(|problem| match problem.get("reasons") {
            Some(Value::Array(reasons)) => {
                Some(reasons.iter().filter_map(Value::as_str).collect::<Vec<_>>().join("; "))
            }
            _ => problem.get("detail").and_then(Value::as_str).map(str::to_owned),
        });
        let detail = detail.unwrap_or_else(|| format!("{} {status}", self.url));
        Err(match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::TOO_MANY_REQUESTS => {
                Failure::Unreachable(detail)
            }
            StatusCode::BAD_REQUEST => Failure::Mistake(detail),
            _ => Failure::No(detail),
        })
    }

    /// The answer of a path as JSON.
    pub(super) fn get(&self, path: &str, query: &[(&str, &str)]) -> Result<Value, Failure> {
        self.json("GET", path, query)
    }

    /// The same of something that changes something; an answer without a body is `Null`.
    pub(super) fn json(
        &self,
        method: &str,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<Value, Failure> {
        Self::answer(path, self.ask(method, path, query, "application/json", None)?)
    }

    /// The answer of a path that is sent JSON.
    pub(super) fn post(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        Self::answer(path, self.ask("POST", path, &[], "application/json", Some(body))?)
    }

    fn answer(path: &str, mut response: Response<Body>) -> Result<Value, Failure> {
        if response.status() == StatusCode::NO_CONTENT {
            return Ok(Value::Null);
        }
        let answer = response.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_json();
        answer.map_err(|error| Failure::Unreachable(format!("{path}: {error}")))
    }

    /// The answer of a path as it is.
    pub(super) fn bytes(&self, path: &str, accept: &str) -> Result<Vec<u8>, Failure> {
        let mut response = self.ask("GET", path, &[], accept, None)?;
        let answer = response.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_vec();
        answer.map_err(|error| Failure::Unreachable(format!("{}{path}: {error}", self.url)))
    }
}

/// Text as a part of a path or a query.
pub(super) fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                escaped.push(char::from(byte));
            }
            other => drop(write!(escaped, "%{other:02X}")),
        }
    }
    escaped
}

/// Who the broker has to be.
fn tls(settings: &Settings) -> Result<TlsConfig, Failure> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = TlsConfig::builder()
        .provider(TlsProvider::Rustls)
        .unversioned_rustls_crypto_provider(provider)
        .disable_verification(settings.insecure);
    if settings.insecure {
        return Ok(config.build());
    }
    let system = || authorities::of_system().map(Into::into);
    let path = settings.cafile.clone().or_else(system).ok_or_else(|| {
        Failure::Mistake("this system has no certificates of authorities: give --cafile".into())
    })?;
    let roots = authorities::read(&path)
        .map_err(|text| Failure::Mistake(format!("{}: {text}", path.display())))?;
    Ok(config.root_certs(roots).build())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_escaped_for_paths() {
        assert_eq!(escaped("plant/7 +ü"), "plant%2F7%20%2B%C3%BC");
    }
}
