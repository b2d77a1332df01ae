//! Sends what was seen elsewhere: webhooks, Alertmanager, Elasticsearch.
//!
//! Each destination has a thread and a mailbox with a bound of its own, so that one that is slow or gone holds up
//! nothing: neither sampling nor the others. What does not fit is dropped, the oldest first, and counted.

mod alertmanager;
mod door;
mod elasticsearch;
mod mailbox;
mod sender;
mod webhook;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;

use crate::output::Output;
use crate::units;
use door::Door;
use mailbox::Mailbox;
use sender::Courier;

pub(crate) use mailbox::Counts;
pub use sender::Trouble;

/// Events that wait for a webhook, at most.
const EVENTS_MAX: usize = 256;

/// How long each destination has, when watch ends, to take what waits.
const FAREWELL: Duration = Duration::from_secs(2);

/// Where things are sent.
#[derive(Args, Clone, Debug, PartialEq)]
pub struct PushOptions {
    /// Post each change of a judgement, restart, disappearance and OOM kill to this address as JSON. Several times for
    /// several. Tried four times within about a minute
    #[arg(long, value_name = "URL", help_heading = "Outputs")]
    pub webhook: Vec<String>,
    /// File with headers for the webhooks, a line each: Authorization: Bearer …
    #[arg(long, value_name = "FILE", help_heading = "Outputs")]
    pub webhook_headers: Option<PathBuf>,
    /// Send an alert to the Alertmanager at this address while a target leaks. Several times for
    /// several
    #[arg(long, value_name = "URL", help_heading = "Outputs")]
    pub alertmanager: Vec<String>,
    /// File with headers for Alertmanager
    #[arg(long, value_name = "FILE", help_heading = "Outputs")]
    pub alertmanager_headers: Option<PathBuf>,
    /// Send readings and events to the Elasticsearch (or what speaks its protocol) at this address, by _bulk
    #[arg(long, value_name = "URL", help_heading = "Outputs")]
    pub elasticsearch: Option<String>,
    /// Its index or data stream
    #[arg(long, value_name = "NAME", default_value = INDEX, help_heading = "Outputs")]
    pub elasticsearch_index: String,
    /// How often a reading of each target is sent
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = units::duration, help_heading = "Outputs")]
    pub elasticsearch_every: Duration,
    /// Documents that wait while it does not answer; beyond that the oldest are dropped, and counted
    #[arg(long, value_name = "NUMBER", default_value_t = DOCUMENTS_MAX, help_heading = "Outputs")]
    pub elasticsearch_queue: usize,
    /// File with headers for Elasticsearch: Authorization: …
    #[arg(long, value_name = "FILE", help_heading = "Outputs")]
    pub elasticsearch_headers: Option<PathBuf>,
    /// Certificates of the authorities that https addresses are trusted by (PEM), instead of the system's
    #[arg(long, value_name = "FILE", help_heading = "Outputs")]
    pub push_cafile: Option<PathBuf>,
}

/// What an index is called unless said otherwise.
pub(crate) const INDEX: &str = "plimsoll-watch";
/// Documents that wait unless said otherwise.
pub(crate) const DOCUMENTS_MAX: usize = 5000;

impl Default for PushOptions {
    fn default() -> Self {
        Self {
            webhook: Vec::new(),
            webhook_headers: None,
            alertmanager: Vec::new(),
            alertmanager_headers: None,
            elasticsearch: None,
            elasticsearch_index: INDEX.to_owned(),
            elasticsearch_every: Duration::from_secs(10),
            elasticsearch_queue: DOCUMENTS_MAX,
            elasticsearch_headers: None,
            push_cafile: None,
        }
    }
}

/// Destinations: what feeds them, and what became of what was sent.
pub(crate) struct Push {
    pub(crate) outputs: Vec<Box<dyn Output>>,
    pub(crate) counts: Vec<Arc<Counts>>,
}

impl PushOptions {
    /// Starts a thread for each destination. `trouble` is told what does not work, once until it works again.
    ///
    /// # Errors
    ///
    /// An address is none, or a file cannot be read.
    pub(crate) fn start(&self, trouble: &Trouble) -> Result<Push, String> {
        let mut push = Push { outputs: Vec::new(), counts: Vec::new() };
        for url in &self.webhook {
            let door = self.door(url, self.webhook_headers.as_deref())?;
            let mailbox = push.mailbox(door, webhook::Posts, EVENTS_MAX, trouble)?;
            push.outputs.push(Box::new(webhook::Webhook { mailbox, farewell: FAREWELL }));
        }
        for url in &self.alertmanager {
            let door = self.door(url, self.alertmanager_headers.as_deref())?;
            let wanted = alertmanager::Wanted::default();
            let alerts = alertmanager::Alerts(wanted.clone());
            let mailbox = push.mailbox(door, alerts, 1, trouble)?;
            let output = alertmanager::Alertmanager { wanted, mailbox, farewell: FAREWELL };
            push.outputs.push(Box::new(output));
        }
        if let Some(url) = &self.elasticsearch {
            let door = self.door(url, self.elasticsearch_headers.as_deref())?;
            let bulk = elasticsearch::Bulk::new(&self.elasticsearch_index)?;
            let mailbox = push.mailbox(door, bulk, self.elasticsearch_queue, trouble)?;
            push.outputs.push(Box::new(elasticsearch::Elasticsearch {
                mailbox,
                every_s: self.elasticsearch_every.as_secs_f64(),
                last: HashMap::new(),
                farewell: FAREWELL,
            }));
        }
        Ok(push)
    }

    fn door(&self, url: &str, headers: Option<&Path>) -> Result<Door, String> {
        Door::new(url, headers, self.push_cafile.as_deref())
    }
}

impl Push {
    /// Starts the thread that sends what is put into the mailbox.
    fn mailbox<C: Courier>(
        &mut self,
        mut door: Door,
        courier: C,
        most: usize,
        trouble: &Trouble,
    ) -> Result<Arc<Mailbox<C::Item>>, String> {
        // Several at one host, whose paths are secrets: each has a name of its own.
        let named = |shown: &str| self.counts.iter().any(|counts| counts.destination == shown);
        let same = (2..).map(|number| format!("{} ({number})", door.shown));
        let shown = std::iter::once(door.shown.clone()).chain(same).find(|shown| !named(shown));
        door.shown = shown.unwrap_or(door.shown);
        let counts = Counts::new(door.shown.clone());
        let mailbox = Mailbox::new(most, Arc::clone(&counts));
        let (own, trouble) = (Arc::clone(&mailbox), Arc::clone(trouble));
        sender::start(courier, door, own, Arc::clone(&counts), trouble)?;
        self.counts.push(counts);
        Ok(mailbox)
    }
}

#[cfg(test)]
mod tests;
