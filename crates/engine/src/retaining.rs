//! Retained messages in the broker: stored or refused, expired, deleted, counted.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::ops::ControlFlow;

use crate::durable::Item;
use crate::engine::Engine;
use crate::event::Event;
use crate::message::Parts;
use crate::publish::is_own_topic;
use crate::retained::{RetainLimit, RetainedMessage, Scan, ScanCursor, Tally};
use crate::time::Time;

/// Retained messages looked at in one call of [`Engine::delete_retained`], whether they match or not.
const DELETE_STEPS: usize = 1000;

/// Retained messages deleted in one call of it.
const DELETE_MAX: usize = 250;

/// Pages of the retained store looked through in one turn for expired messages.
const SWEEP_PAGES: usize = 16;

/// Retained messages counted in one turn after other rules came.
const COUNT_STEPS: usize = 1000;

impl Engine {
    /// Stores or deletes the retained message of a topic (MQTT-3.3.1-5, MQTT-3.3.1-6); an empty one is
    /// never stored (MQTT-3.3.1-7).
    ///
    /// Where a quota is in the way, what is there stays. Who can be told has been refused before.
    pub(crate) fn retain(&mut self, parts: &Parts<'_>) {
        if !self.dispatch.settings.retain_available {
            return;
        }
        let own = is_own_topic(parts.topic);
        if parts.payload.is_empty() {
            if self.retained.remove(parts.topic) && !own {
                self.dispatch.journal.delete_retained(parts.topic);
            }
            return;
        }
        let message = RetainedMessage {
            qos: parts.qos as u8,
            properties: parts.properties,
            payload: parts.payload,
            expires_at: parts.expires_at,
            written_at: Some(self.dispatch.now.as_secs()),
        };
        if !own && let Err(limit) = self.retained.admits(parts.topic, message.size(parts.topic)) {
            return self.retain_refused(parts.topic, limit);
        }
        let (_, expires_at) = self.retained.set(parts.topic, message);
        self.retained_expires(expires_at);
        self.leaking.retained_updated(parts.topic);
        if !own {
            self.dispatch.journal.put(&Item::Retained { topic: parts.topic.into(), message });
        }
    }

    /// A retained message has been stored that expires.
    pub(crate) fn retained_expires(&mut self, at: Option<u32>) {
        if let Some(at) = at {
            self.retained_sweep_at = self.retained_sweep_at.min(Time::from_secs(at));
        }
    }

    /// A retained message was not stored because of a limit: said at the first, and then at each doubling.
    pub(crate) fn retain_refused(&mut self, topic: &str, limit: usize) {
        self.dispatch.counters.retained_refused += 1;
        let Some((limit, total)) = self.retained.refused(limit) else { return };
        if total.is_power_of_two() {
            let (filter, topic) = (limit.filter.clone(), topic.into());
            self.dispatch.event(None, Event::RetainRefused { filter, topic, total });
        }
    }

    /// Takes the rules for retained messages that the settings have.
    pub(crate) fn set_retain_rules(&mut self) {
        let rules = self.dispatch.settings.all_retain_rules();
        if rules != *self.retained.rules() {
            self.retained.set_rules(rules);
            self.retained_sweep_at = self.dispatch.now;
        }
    }

    /// Frees a piece of what has expired, and counts a piece of what is to be counted anew. Both make
    /// records, so both wait while the store cannot take them.
    pub(crate) fn tend_retained(&mut self) {
        let now = self.dispatch.now;
        if self.dispatch.journal.refuses() {
            if self.retained_sweep_at <= now {
                self.retained_sweep_at = now.plus_secs(1);
            }
            return;
        }
        let (journal, counters) = (&mut self.dispatch.journal, &mut self.dispatch.counters);
        if self.retained_sweep_at <= now {
            self.retained_sweep_at = self.retained.sweep(now, SWEEP_PAGES, |topic| {
                counters.retained_expired += 1;
                if !is_own_topic(topic) {
                    journal.delete_retained(topic);
                }
            });
        }
        if self.retained.is_counting() {
            let mut dated: Vec<Box<str>> = Vec::new();
            self.retained.go_on_counting(now, COUNT_STEPS, |topic| dated.push(topic.into()));
            for topic in dated {
                let Some(message) = self.retained.stored(&topic) else { continue };
                let expires_at = self.retained.expires_at(&topic, &message);
                if !is_own_topic(&topic) {
                    let item = Item::Retained { topic: (&*topic).into(), message };
                    self.dispatch.journal.put(&item);
                }
                self.retained_expires(expires_at);
            }
        }
    }

    /// When retained messages have to be tended next.
    pub(crate) fn tend_retained_at(&self) -> Time {
        let counts = self.retained.is_counting() && !self.dispatch.journal.refuses();
        if counts { self.dispatch.now } else { self.retained_sweep_at }
    }

    /// Deletes retained messages whose topics match `filter`, a bounded piece from where `cursor`
    /// stands on: looks at 1,000 messages and deletes 250 at
    /// most. With `dry_run` nothing is deleted. Calls `each` with topic and size
    /// ([`RetainedMessage::size`]) of what is, or would be, deleted. Answers whether there may be more.
    ///
    /// Records are made as for any other deletion: take them, as after [`Engine::handle`]. While the
    /// store cannot take them nothing is done, and the answer is [`Scan::More`].
    ///
    /// A filter that begins with a wildcard does not match `$` topics (MQTT-4.7.2-1). Subscribers are
    /// told nothing: a retained message that is gone has not been published.
    pub fn delete_retained(
        &mut self,
        now: Time,
        filter: &str,
        cursor: &mut ScanCursor,
        dry_run: bool,
        mut each: impl FnMut(&str, usize),
    ) -> Scan {
        self.dispatch.now = self.dispatch.now.max(now);
        if dry_run {
            return self.retained.scan(filter, cursor, DELETE_STEPS, |topic, message| {
                each(topic, message.size(topic));
                ControlFlow::Continue(())
            });
        }
        let (journal, counters) = (&mut self.dispatch.journal, &mut self.dispatch.counters);
        if journal.refuses() {
            return Scan::More;
        }
        let steps = DELETE_STEPS;
        let scan = self.retained.delete(filter, cursor, steps, DELETE_MAX, |topic, size| {
            counters.retained_deleted += 1;
            if !is_own_topic(topic) {
                journal.delete_retained(topic);
            }
            each(topic, size);
        });
        self.dispatch.journal.settle();
        scan
    }

    /// Whether the store cannot take records at present, so that what makes some waits.
    pub fn store_is_stuck(&self) -> bool {
        self.dispatch.journal.refuses()
    }

    /// Every limit on retained messages with what there is under it, and whether that is still being
    /// counted after other rules came.
    pub fn retain_limits(&self) -> (impl Iterator<Item = (&RetainLimit, &Tally)>, bool) {
        let configured = self.dispatch.settings.retain_rules.limits.len();
        let limits = self.retained.rules().limits.iter().take(configured);
        let limits = limits.zip(self.retained.tallies());
        (limits, self.retained.is_counting())
    }
}

#[cfg(test)]
mod tests;
