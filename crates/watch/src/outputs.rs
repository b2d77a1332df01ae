//! All outputs beside standard output, from one set of options.

use std::net::SocketAddr;
use std::path::Path;

use clap::Args;
use serde::Deserialize;

use crate::export::ExportOptions;
use crate::output::Output;
use crate::push::{PushOptions, Trouble};
use crate::terminal::TerminalOptions;

/// Where to what was seen goes, beside standard output.
#[derive(Args, Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub struct OutputOptions {
    /// Over HTTP.
    #[command(flatten)]
    #[serde(flatten)]
    pub export: ExportOptions,
    /// To other services.
    #[command(flatten)]
    #[serde(flatten)]
    pub push: PushOptions,
    /// On the terminal.
    #[command(flatten)]
    #[serde(skip)]
    pub terminal: TerminalOptions,
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
        let terminal = self.terminal.start()?;
        all.extend(terminal.map(|terminal| Box::new(terminal) as Box<dyn Output>));
        Ok(Outputs { all, address })
    }
}
