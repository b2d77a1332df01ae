//! Retained messages in the broker: stored, deleted, listed.

use alloc::string::String;
use core::ops::ControlFlow;

use crate::durable::Item;
use crate::engine::Engine;
use crate::message::Parts;
use crate::retained::{RetainedMessage, Scan, ScanCursor, Stop};
use crate::time::Time;

/// Retained messages looked at in one call of [`Engine::retained_page`], whether they match or not.
pub const RETAINED_PAGE_STEPS: usize = 1000;

impl Engine {
    /// Stores or deletes the retained message of a topic (MQTT-3.3.1-5, MQTT-3.3.1-6); an empty one is
    /// never stored (MQTT-3.3.1-7).
    pub(crate) fn retain(&mut self, parts: &Parts<'_>) {
        if !self.dispatch.settings.retain_available {
            return;
        }
        let stored = !(parts.topic == "$SYS" || parts.topic.starts_with("$SYS/"));
        if parts.payload.is_empty() {
            if self.retained.remove(parts.topic) && stored {
                self.dispatch.journal.delete_retained(parts.topic);
            }
            return;
        }
        let age = self.dispatch.settings.retain_expiry_interval;
        let by_age = (age > 0 && !parts.topic.starts_with('$'))
            .then(|| self.dispatch.now.as_secs().saturating_add(age));
        let message = RetainedMessage {
            qos: parts.qos as u8,
            properties: parts.properties,
            payload: parts.payload,
            expires_at: match (parts.expires_at, by_age) {
                (Some(own), Some(age)) => Some(own.min(age)),
                (own, age) => own.or(age),
            },
            written_at: Some(self.dispatch.now.as_secs()),
        };
        if let Some(at) = message.expires_at {
            self.retained_sweep_at = self.retained_sweep_at.min(Time::from_secs(at));
        }
        self.retained.set(parts.topic, message);
        self.leaking.retained_updated(parts.topic);
        if stored {
            self.dispatch.journal.put(&Item::Retained { topic: parts.topic.into(), message });
        }
    }

    /// Calls `each` with up to `limit` retained messages whose topics match `filter`, in the store's
    /// order (by topic, with `/` before every other character), from the first one behind the topic
    /// `after` on, which need not be there any more. What has expired is passed over.
    ///
    /// Answers where to go on: the value of `after` for the next call; `None` at the end. A call
    /// looks at [`RETAINED_PAGE_STEPS`] messages at most, so it may answer with fewer than `limit`, or
    /// none, and there are still more.
    ///
    /// Nobody's permissions are asked, and mount points are part of the topics.
    pub fn retained_page(
        &self,
        filter: &str,
        after: Option<&str>,
        limit: usize,
        mut each: impl FnMut(&str, &RetainedMessage<'_>),
    ) -> Option<String> {
        let mut cursor = after.map_or_else(ScanCursor::default, ScanCursor::behind);
        let mut left = limit;
        if left == 0 {
            return after.map(String::from);
        }
        let now = self.dispatch.now.as_secs();
        let scan =
            self.retained.scan(filter, &mut cursor, RETAINED_PAGE_STEPS, |topic, message| {
                if message.expires_at.is_some_and(|at| at <= now) {
                    return ControlFlow::Continue(());
                }
                each(topic, &message);
                left -= 1;
                if left == 0 { ControlFlow::Break(Stop::Behind) } else { ControlFlow::Continue(()) }
            });
        match scan {
            Scan::Done => None,
            Scan::More => cursor.topic(),
        }
    }
}

#[cfg(test)]
mod tests;
