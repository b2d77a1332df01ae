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
    /// Lines.
    #[command(flatten)]
    pub lines: LineOptions,
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

/// Lines for people and for programs.
#[derive(Args, Clone, Debug, Default, PartialEq)]
pub struct LineOptions {
    /// A line of JSON for each look and each event, to a file; - is standard output
    #[arg(long, value_name = "FILE", help_heading = "Outputs")]
    pub json_lines: Option<PathBuf>,
    /// How long that file becomes, before it is renamed to FILE.1 and another is begun [default: 100MiB]
    #[arg(long, value_name = "SIZE", value_parser = units::bytes, help_heading = "Outputs")]
    pub json_lines_max: Option<u64>,
    /// A line for people about each target so often, not only when something happens
    #[arg(long, value_name = "TIME", value_parser = units::duration, help_heading = "Outputs")]
    pub log_every: Option<Duration>,
}

/// How long a file of JSON lines becomes if nothing is said, bytes.
pub(crate) const JSON_LINES_MAX: u64 = 100 << 20;

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
    json_lines: Option<PathBuf>,
    #[serde(deserialize_with = "size")]
    json_lines_max: Option<u64>,
    #[serde(deserialize_with = "some_duration")]
    log_every: Option<Duration>,
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
            json_lines: None,
            json_lines_max: None,
            log_every: None,
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
        let lines = LineOptions {
            json_lines: keys.json_lines,
            json_lines_max: keys.json_lines_max,
            log_every: keys.log_every,
        };
        let export = ExportOptions { listen: keys.listen };
        Self { lines, export, push, terminal: TerminalOptions::default() }
    }
}

fn duration<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    units::duration(&text).map_err(serde::de::Error::custom)
}

fn some_duration<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Duration>, D::Error> {
    duration(deserializer).map(Some)
}

fn size<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    let text = String::deserialize(deserializer)?;
    units::bytes(&text).map(Some).map_err(serde::de::Error::custom)
}

/// Outputs that have been started.
pub struct Outputs {
    /// To be told of everything.
    pub all: Vec<Box<dyn Output>>,
    /// Where the exporter listens, if it does.
    pub address: Option<SocketAddr>,
}

impl OutputOptions {
    /// What the command line says, over what a file says: each of its words on lines counts, else either all of its
    /// outputs or those of the file. The terminal is for whoever sits at it.
    pub(crate) fn over(&self, file: Self) -> Self {
        let (own, theirs) = (&self.lines, file.lines);
        let lines = LineOptions {
            json_lines: own.json_lines.clone().or(theirs.json_lines),
            json_lines_max: own.json_lines_max.or(theirs.json_lines_max),
            log_every: own.log_every.or(theirs.log_every),
        };
        let is_silent =
            self.export == ExportOptions::default() && self.push == PushOptions::default();
        let (export, push) = match is_silent {
            true => (file.export, file.push),
            false => (self.export.clone(), self.push.clone()),
        };
        Self { lines, export, push, terminal: self.terminal.clone() }
    }

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

    #[test]
    fn the_command_line_goes_over_the_file() {
        let text =
            "listen = '127.0.0.1:1'\nlog_every = '1m'\njson_lines = '/a'\njson_lines_max = '1MiB'";
        let file: OutputOptions = toml::from_str(text).unwrap();
        assert_eq!(OutputOptions::default().over(file.clone()), file);
        let mut own = OutputOptions::default();
        own.lines.log_every = Some(Duration::from_secs(1));
        let both = own.over(file.clone());
        assert_eq!(both.lines.log_every, Some(Duration::from_secs(1)));
        assert_eq!((both.lines.json_lines_max, both.export), (Some(1 << 20), file.export.clone()));
        own.push.webhook.push("http://x".into());
        let own = own.over(file);
        assert_eq!((own.export.listen, own.push.webhook.len()), (None, 1));
    }
}
