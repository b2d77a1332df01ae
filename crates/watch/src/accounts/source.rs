//! A source of figures, as the configuration describes it.

use std::fmt::{self, Display};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use plimsoll_client::TlsFiles;

use super::http::HttpReader;
use super::mqtt::MqttReader;
use super::poller::Reader;
use super::presets;
use crate::configuration::Login;
use crate::figure::Figure;

/// Where figures come from.
#[derive(Clone, Debug, PartialEq)]
pub struct Source {
    /// In which form.
    pub kind: Kind,
    /// `mqtt://…`, `mqtts://…`, `http://…` or `https://…`.
    pub url: String,
    /// Who asks.
    pub credentials: Credentials,
    /// Whom to trust.
    pub tls: TlsFiles,
    /// How often it is asked.
    pub every: Duration,
    /// Which figure is what of it.
    pub map: Vec<Mapping>,
}

/// The form of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Numbers published to topics, such as `$SYS/#`.
    Mqtt,
    /// Prometheus' text format.
    Prometheus,
    /// A JSON document.
    Json,
    /// Jolokia's bulk requests: a JVM's management beans.
    Jolokia,
}

/// Who asks.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Credentials {
    /// User name.
    pub user: Option<String>,
    /// Password.
    pub password: Option<String>,
    /// Bearer token, over HTTP.
    pub token: Option<String>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Secrets stay out of logs.
        f.debug_struct("Credentials").field("user", &self.user).finish_non_exhaustive()
    }
}

/// One figure and where it is in its source.
#[derive(Clone, Debug, PartialEq)]
pub struct Mapping {
    /// What it is.
    pub name: Name,
    /// A topic filter, a metric with labels, a JSON pointer, or a management bean with attribute and path.
    pub from: String,
    /// What it is multiplied by: 1024 if it is in KiB.
    pub scale: f64,
    /// The figure is at least that: it is not added to the others of its source.
    pub at_least: bool,
}

/// What a figure is called.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Name {
    /// One that is judged.
    Figure(Figure),
    /// One that is only shown: in metrics, in JSON and to Elasticsearch.
    Extra(Arc<str>),
}

impl Source {
    /// A source of a preset, as `--accounts` and `--map` describe it: `PRESET[=URL]`, and `FIGURE=WHERE` for each figure
    /// that the preset does not have. Credentials, authorities and pace are the caller's to set.
    ///
    /// # Errors
    ///
    /// The preset, the address or a figure is not understood; the text names it.
    pub fn described(preset: &str, map: &[String]) -> Result<Self, String> {
        presets::described(preset, map, &Login::default())
    }

    /// Its address without secrets.
    pub fn shown(&self) -> String {
        without_secrets(&self.url)
    }

    /// Checks what the reader will want: address, places, files.
    pub fn check(&self) -> Result<(), String> {
        self.reader().map(drop)
    }

    /// What reads it.
    pub(super) fn reader(&self) -> Result<Box<dyn Reader>, String> {
        if self.map.is_empty() {
            return Err(format!(
                "{}: no figure is mapped: say where one is, with --map FIGURE=WHERE or `map`",
                self.shown()
            ));
        }
        Ok(match self.kind {
            Kind::Mqtt => Box::new(MqttReader::new(self)?),
            Kind::Prometheus | Kind::Json | Kind::Jolokia => Box::new(HttpReader::new(self)?),
        })
    }
}

/// An address without user and password.
pub(super) fn without_secrets(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let host = rest.find('/').unwrap_or(rest.len());
    match rest.get(..host).and_then(|authority| authority.rfind('@')) {
        Some(at) => format!("{scheme}://{}", rest.get(at + 1..).unwrap_or_default()),
        None => url.to_owned(),
    }
}

impl Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Figure(figure) => figure.name(),
            Self::Extra(name) => name,
        })
    }
}

impl FromStr for Name {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        const NAME_BYTES_MAX: usize = 64;
        if let Some(figure) = Figure::from_name(name) {
            return Ok(Self::Figure(figure));
        }
        let plain = |character: char| {
            character.is_ascii_lowercase() || character.is_ascii_digit() || character == '_'
        };
        let begins = name.starts_with(|character: char| character.is_ascii_lowercase());
        if begins && name.len() <= NAME_BYTES_MAX && name.chars().all(plain) {
            return Ok(Self::Extra(name.into()));
        }
        let known: Vec<&str> = Figure::ALL.into_iter().map(Figure::name).collect();
        Err(format!(
            "`{name}` is neither one of {} nor a name of lower-case letters, digits and _",
            known.join(", ")
        ))
    }
}

impl FromStr for Mapping {
    type Err = String;

    /// `FIGURE=WHERE`, or `FIGURE>=WHERE`, with ` * NUMBER` behind it if the unit is another one.
    fn from_str(text: &str) -> Result<Self, String> {
        let (name, from) = text.split_once('=').ok_or_else(|| {
            format!("`{text}` is not FIGURE=WHERE, such as retained=/broker/retained")
        })?;
        let (from, scale) = match from.rsplit_once(" * ") {
            Some((from, scale)) => {
                let number = scale.trim().parse::<f64>().ok().filter(|scale| scale.is_normal());
                (from, number.ok_or_else(|| format!("`{scale}` is not a number to multiply by"))?)
            }
            None => (from, 1.0),
        };
        let from = from.trim();
        if from.is_empty() {
            return Err(format!("`{text}` does not say where {name} is"));
        }
        let (name, at_least) = match name.strip_suffix('>') {
            Some(name) => (name, true),
            None => (name, false),
        };
        Ok(Self { name: name.trim().parse()?, from: from.into(), scale, at_least })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mappings_have_a_figure_a_place_and_a_unit() {
        let mapping: Mapping = "direct=/netty/direct_kb * 1024".parse().unwrap();
        assert_eq!(mapping.name, Name::Figure(Figure::Direct));
        assert_eq!((mapping.from.as_str(), mapping.scale), ("/netty/direct_kb", 1024.0));
        let mapping: Mapping = r#"threads_busy=pool{name="x=y"}"#.parse().unwrap();
        assert_eq!(mapping.name, Name::Extra("threads_busy".into()));
        assert_eq!(mapping.from, r#"pool{name="x=y"}"#);
        assert!(!mapping.at_least);
        let mapping: Mapping = "direct>=netty * 2".parse().unwrap();
        assert_eq!((mapping.name, mapping.at_least), (Name::Figure(Figure::Direct), true));
        for wrong in ["retained", "retained=", "Retained=/x", "=x", "a=/b * c", "a=/b * 0"] {
            assert!(wrong.parse::<Mapping>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        let credentials = Credentials {
            user: Some("ops".into()),
            password: Some("hush".into()),
            token: Some("hush".into()),
        };
        assert_eq!(format!("{credentials:?}"), r#"Credentials { user: Some("ops"), .. }"#);
    }
}
