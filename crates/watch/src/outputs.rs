//! All outputs beside standard output, from one set of options.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use serde::Deserialize;

use crate::export::ExportOptions;
use crate::output::Output;
use crate::push::{PushOptions, Trouble};
use crate::terminal::TerminalOptions;
use crate::units;

/// Where to what was seen goes, beside standard output.
#[derive(Args, Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(from = "Keys")]
pub struct OutputOptions {
    /// Over HTTP.
    #[command(flatten)]
    pub export: ExportOptions,
    /// To other services.
    #[command(flatten)]
    pub push: PushOptions,
    /// On the terminal.
    #[command(flatten)]
    pub terminal: TerminalOptions,
}

/// The same in a file: one table, in which a key that is none is a mistake.
#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Keys {
    listen: Option<SocketAddr>,
    webhook: Vec<String>,
    webhook_headers: Option<PathBuf>,
    alertmanager: Vec<String>,
    alertmanager_headers: Option<PathBuf>,
    elasticsearch: Option<String>,
    elasticsearch_index: String,
    #[serde(deserialize_with = "duration")]
    elasticsearch_every: Duration,
    elasticsearch_queue: usize,
    elasticsearch_headers: Option<PathBuf>,
    push_cafile: Option<PathBuf>,
}

impl Default for Keys {
    fn default() -> Self {
        let push = PushOptions::default();
        Self {
            listen: None,
            webhook: push.webhook,
            webhook_headers: push.webhook_headers,
            alertmanager: push.alertmanager,
            alertmanager_headers: push.alertmanager_headers,
            elasticsearch: push.elasticsearch,
            elasticsearch_index: push.elasticsearch_index,
            elasticsearch_every: push.elasticsearch_every,
            elasticsearch_queue: push.elasticsearch_queue,
            elasticsearch_headers: push.elasticsearch_headers,
            push_cafile: push.push_cafile,
        }
    }
}

impl From<Keys> for OutputOptions {
    fn from(keys: Keys) -> Self {
        let push = PushOptions {
            webhook: keys.webhook,
            webhook_headers: keys.webhook_headers,
            alertmanager: keys.alertmanager,
            alertmanager_headers: keys.alertmanager_headers,
            elasticsearch: keys.elasticsearch,
            elasticsearch_index: keys.elasticsearch_index,
            elasticsearch_every: keys.elasticsearch_every,
            elasticsearch_queue: keys.elasticsearch_queue,
            elasticsearch_headers: keys.elasticsearch_headers,
            push_cafile: keys.push_cafile,
        };
        let export = ExportOptions { listen: keys.listen };
        Self { export, push, terminal: TerminalOptions::default() }
    }
}

fn duration<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    units::duration(&text).map_err(serde::de::Error::custom)
}

/// Outputs that have been started.
pub struct Outputs {
    /// To be told of everything.
    pub all: Vec<Box<dyn Output>>,
    /// Where the exporter listens, if it does.
    pub address: Option<SocketAddr>,
}

impl OutputOptions {
    /// Listens, and starts a thread for each destination. `trouble` is told, in a sentence, which destination does not
    /// work, and when it works again; it is called on other threads. The page shows what is recorded in `history`, too.
    /// With [`OutputOptions::terminal`] nothing else may be printed on the terminal until all outputs are dropped.
    ///
    /// # Errors
    ///
    /// An address cannot be listened on or is none, a file cannot be read, or there is no terminal. The text says which.
    pub fn start(&self, trouble: &Trouble, history: Option<&Path>) -> Result<Outputs, String> {
        let push = self.push.start(trouble)?;
        let exporter = self.export.start(push.counts, history)?;
        let address = exporter.as_ref().map(|exporter| exporter.address);
        let mut all = push.outputs;
        if let Some(exporter) = exporter {
            all.push(Box::new(exporter));
        }
        // Last: what went wrong before is printed on the terminal as it was.
        let terminal = self.terminal.start(history)?;
        all.extend(terminal.map(|terminal| Box::new(terminal) as Box<dyn Output>));
        Ok(Outputs { all, address })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_names_outputs_and_a_key_that_is_none_is_a_mistake() {
        let text =
            "listen = '127.0.0.1:9977'\nalertmanager = ['http://a']\nelasticsearch_every = '1m'";
        let options: OutputOptions = toml::from_str(text).unwrap();
        assert_eq!(options.export.listen, "127.0.0.1:9977".parse().ok());
        assert_eq!(options.push.alertmanager, ["http://a"]);
        assert_eq!(options.push.elasticsearch_every, Duration::from_secs(60));
        assert_eq!(toml::from_str::<OutputOptions>("").unwrap(), OutputOptions::default());
        let wrong = toml::from_str::<OutputOptions>("lissten = 'x'").unwrap_err().to_string();
        assert!(wrong.contains("unknown field `lissten`"), "{wrong}");
    }
}
