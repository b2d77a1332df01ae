//! A webhook: what happens to targets, as JSON.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};

use super::door::{Door, Refusal};
use super::mailbox::{Counts, Mailbox};
use super::sender::Courier;
use crate::event::{Event, Happening};
use crate::json;
use crate::output::Output;
use crate::watched::Watched;

/// Sends one event after the other.
pub(super) struct Posts;

impl Courier for Posts {
    type Item = String;
    const BATCH_MAX: usize = 1;
    const IDLE: Duration = Duration::from_secs(3600);
    const PAUSES: &'static [Duration] =
        &[Duration::from_secs(1), Duration::from_secs(10), Duration::from_secs(60)];
    const FOR_EVER: bool = false;

    fn send(
        &mut self,
        door: &Door,
        items: &mut Vec<String>,
        counts: &Counts,
    ) -> Result<(), Refusal> {
        while let Some(body) = items.first() {
            door.post("", "application/json", body.as_bytes())?;
            Counts::add(&counts.sent, 1);
            items.remove(0);
        }
        Ok(())
    }
}

/// Puts events into the mailbox.
#[derive(Debug)]
pub(super) struct Webhook {
    pub(super) mailbox: Arc<Mailbox<String>>,
    pub(super) farewell: Duration,
}

impl Output for Webhook {
    fn event(&mut self, watched: &Watched, event: &Event) {
        // Sources come and go with their target, which is said anyway.
        let told = matches!(
            event.what,
            Happening::Judged { .. }
                | Happening::Restarted { .. }
                | Happening::Vanished { .. }
                | Happening::OomKilled { .. }
        );
        if told {
            self.mailbox.put(Value::from(body(watched, event)).to_string());
        }
    }

    fn end(&mut self) {
        self.mailbox.close(self.farewell);
    }
}

/// The event, with reasons and the last look.
fn body(watched: &Watched, event: &Event) -> Map<String, Value> {
    let name = &watched.target.name;
    let mut body = json::event(name, event);
    if matches!(event.what, Happening::Judged { .. }) {
        body.insert("reasons".into(), watched.judge.reasons().into());
    } else {
        // A leak is remembered over restarts: nothing is said of it again when the target comes back.
        body.insert("verdict".into(), watched.verdict.name().into());
    }
    if let Some(last) = &watched.last {
        body.insert("reading".into(), json::reading(name, last).into());
    }
    body
}
