//! All outputs beside standard output, from one set of options.

use std::net::SocketAddr;

use clap::Args;
use serde::Deserialize;

use crate::export::ExportOptions;
use crate::output::Output;
use crate::push::{PushOptions, Trouble};

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
    /// work, and when it works again; it is called on other threads.
    ///
    /// # Errors
    ///
    /// An address cannot be listened on or is none, or a file cannot be read. The text says which.
    pub fn start(&self, trouble: &Trouble) -> Result<Outputs, String> {
        let push = self.push.start(trouble)?;
        let exporter = self.export.start(push.counts)?;
        let address = exporter.as_ref().map(|exporter| exporter.address);
        let mut all = push.outputs;
        if let Some(exporter) = exporter {
            all.push(Box::new(exporter));
        }
        Ok(Outputs { all, address })
    }
}
