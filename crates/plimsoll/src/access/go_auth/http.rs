//! The backend `http`: a web service that is asked. Also of `jwt` in mode `remote`.

use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use plimsoll_client::authorities;
use serde::Deserialize;
use serde_json::{Map, Value};
use ureq::tls::{TlsConfig, TlsProvider};

use super::backends::Asked;
use crate::access::options::Options;

/// Most of an answer that is read.
const ANSWER_BYTES_MAX: u64 = 64 * 1024;

/// A service with its three questions.
#[derive(Debug)]
pub(crate) struct Http {
    agent: ureq::Agent,
    user: String,
    superuser: Option<String>,
    acl: String,
    form: bool,
    method: &'static str,
    response: Response,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Response {
    Status,
    Json,
    Text,
}

/// The service cannot be asked, or answers that it has failed. It is not a no.
#[derive(Debug)]
pub(crate) struct Trouble(pub(crate) String);

/// What a service answers in mode `json`. Go reads names in whatever case.
#[derive(Deserialize)]
struct Said {
    #[serde(alias = "Ok", alias = "OK")]
    ok: bool,
}

impl Http {
    /// Of the options that begin with `prefix`: `http` or `jwt`.
    pub(crate) fn new(options: &Options, prefix: &str) -> Result<Self, String> {
        let name = |name: &str| format!("{prefix}_{name}");
        let host = options.required(&name("host"))?;
        let port = options.required(&name("port"))?;
        port.parse::<u16>().map_err(|_| options.error(&name("port"), "is not a port"))?;
        let tls = options.flag(&name("with_tls"))?;
        let scheme = if tls { "https" } else { "http" };
        let uri = |path: &str| format!("{scheme}://{host}:{port}{path}");
        let timeout = if prefix == "jwt" { name("http_timeout") } else { name("timeout") };
        let timeout = Duration::from_secs(options.number(&timeout, 5, 60)?.max(1));
        let method = if prefix == "jwt" { name("http_method") } else { name("method") };
        let response = match options.word(&name("response_mode"), &["status", "json", "text"])? {
            "json" => Response::Json,
            "text" => Response::Text,
            _ => Response::Status,
        };
        let form = options.word(&name("params_mode"), &["json", "form"])? == "form";
        let method = options.word(&method, &["POST", "GET", "PUT"])?;
        if form && method == "GET" {
            return Err(options.error(&name("params_mode"), "form needs POST or PUT"));
        }
        let mut agent = ureq::Agent::config_builder()
            .timeout_global(Some(timeout))
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(None)
            .max_response_header_size(16 * 1024)
            .user_agent(options.text(&name("user_agent")).unwrap_or("mosquitto"));
        if tls {
            agent = agent.tls_config(tls_config(options, prefix)?);
        }
        Ok(Self {
            agent: agent.build().new_agent(),
            user: uri(options.required(&name("getuser_uri"))?),
            superuser: options.text(&name("superuser_uri")).map(uri),
            acl: uri(options.required(&name("aclcheck_uri"))?),
            form,
            method,
            response,
        })
    }

    pub(crate) fn has_superusers(&self) -> bool {
        self.superuser.is_some()
    }

    pub(crate) fn user(
        &self,
        username: &str,
        password: &str,
        client_identifier: &str,
    ) -> Result<bool, Trouble> {
        let fields = [
            ("username", username.into()),
            ("password", password.into()),
            ("clientid", client_identifier.into()),
        ];
        self.ask(&self.user, &fields, None)
    }

    pub(crate) fn superuser(&self, username: &str) -> Result<bool, Trouble> {
        match &self.superuser {
            Some(uri) => self.ask(uri, &[("username", username.into())], None),
            None => Ok(false),
        }
    }

    pub(crate) fn acl(&self, asked: &Asked<'_>) -> Result<bool, Trouble> {
        let fields = [
            ("username", asked.username.into()),
            ("clientid", asked.client_identifier.into()),
            ("topic", asked.topic.into()),
            ("acc", asked.access.into()),
        ];
        self.ask(&self.acl, &fields, None)
    }

    /// The three of `jwt` in mode `remote`: the token is in the header `Authorization`.
    pub(crate) fn token_user(&self, token: &str) -> Result<bool, Trouble> {
        self.ask(&self.user, &[], Some(token))
    }

    pub(crate) fn token_superuser(&self, token: &str) -> Result<bool, Trouble> {
        match &self.superuser {
            Some(uri) => self.ask(uri, &[], Some(token)),
            None => Ok(false),
        }
    }

    pub(crate) fn token_acl(&self, asked: &Asked<'_>) -> Result<bool, Trouble> {
        let fields = [
            ("topic", asked.topic.into()),
            ("clientid", asked.client_identifier.into()),
            ("acc", asked.access.into()),
        ];
        self.ask(&self.acl, &fields, Some(asked.username))
    }

    fn ask(
        &self,
        uri: &str,
        fields: &[(&str, Value)],
        token: Option<&str>,
    ) -> Result<bool, Trouble> {
        let (kind, body) = if self.form {
            ("application/x-www-form-urlencoded", form(fields))
        } else {
            let fields = fields.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
            ("application/json", Value::from(fields.collect::<Map<_, _>>()).to_string())
        };
        let mut request = ureq::http::Request::builder()
            .method(self.method)
            .uri(uri)
            .header("Content-Type", kind);
        if let Some(token) = token {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        let trouble = |error: &dyn std::fmt::Display| Trouble(format!("{uri}: {error}"));
        let request = request.body(body).map_err(|error| trouble(&error))?;
        let request =
            self.agent.configure_request(request).allow_non_standard_methods(true).build();
        let mut response = self.agent.run(request).map_err(|error| trouble(&error))?;
        let status = response.status().as_u16();
        let answer = response.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_vec();
        match status {
            200..300 => {}
            500.. => return Err(Trouble(format!("{uri}: status {status}"))),
            _ => return Ok(false),
        }
        let answer = answer.map_err(|error| trouble(&error))?;
        match self.response {
            Response::Status => Ok(true),
            Response::Text => Ok(answer == b"ok"),
            Response::Json => serde_json::from_slice::<Said>(&answer)
                .map(|said| said.ok)
                .map_err(|error| trouble(&error)),
        }
    }
}

/// Fields as a web form sends them.
fn form(fields: &[(&str, Value)]) -> String {
    let mut text = String::new();
    for (name, value) in fields {
        if !text.is_empty() {
            text.push('&');
        }
        text.push_str(name);
        text.push('=');
        let number = value.to_string();
        for &byte in value.as_str().unwrap_or(&number).as_bytes() {
            match byte {
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                    text.push(char::from(byte));
                }
                b' ' => text.push('+'),
                other => drop(write!(text, "%{other:02X}")),
            }
        }
    }
    text
}

/// Who the service has to be. Unlike go-auth it is checked unless that is switched off.
fn tls_config(options: &Options, prefix: &str) -> Result<TlsConfig, String> {
    let verify = options.stated(&format!("{prefix}_verify_peer"))?.unwrap_or(true);
    let own = format!("{prefix}_cafile");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = TlsConfig::builder()
        .provider(TlsProvider::Rustls)
        .unversioned_rustls_crypto_provider(provider)
        .disable_verification(!verify);
    if verify {
        let path = match options.text(&own) {
            Some(path) => path,
            None => authorities::of_system()
                .ok_or_else(|| options.error(&own, "is needed: this system has no certificates"))?,
        };
        let roots = authorities::read(Path::new(path))
            .map_err(|error| options.error(&own, &format!("{path}: {error}")))?;
        config = config.root_certs(roots);
    }
    Ok(config.build())
}
