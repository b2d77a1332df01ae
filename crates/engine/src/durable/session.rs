//! Sessions in the store, and their queues on the way there and back.

use alloc::borrow::Cow;
use alloc::vec::Vec;

use plimsoll_mqtt::QoS;

use super::item::{Item, SessionItem, SubscriptionItem, WillItem};
use super::journal::Journal;
use super::load::{Load, LoadFor, Loaded, LoadedEntry, LoadedWhat};
use super::promise::entangled;
use crate::engine::Engine;
use crate::flow::{Delivery, Origin, Waiting};
use crate::session::{Held, Session};
use crate::settings::load_entries;
use crate::subscriptions::SubscriptionOptions;
use crate::time::Time;

/// How often the store is told that the broker runs, milliseconds.
pub(crate) const ALIVE_MILLIS: u64 = 30_000;

impl Engine {
    /// Stores what a session is, without what it holds; does nothing for one that ends with its
    /// connection.
    pub(crate) fn store_session(&mut self, slot: u32) {
        if let Some(session) = self.sessions.get(slot)
            && session.number != 0
        {
            self.dispatch.journal.put(&session_item(session, false));
        }
    }

    /// Stores a subscription of a session that is stored.
    pub(crate) fn store_subscription(
        &mut self,
        slot: u32,
        filter: &str,
        options: SubscriptionOptions,
    ) {
        let Some(session) = self.sessions.get(slot).map(|session| session.number) else { return };
        if session == 0 {
            return;
        }
        self.dispatch.journal.put(&Item::Subscription {
            session,
            filter: Cow::Borrowed(filter),
            options: SubscriptionItem {
                qos: options.qos(),
                identifier: options.identifier(),
                no_local: options.no_local(),
                retain_as_published: options.retain_as_published(),
            },
        });
    }

    /// Deletes everything about a session from the store, except for messages that others are to
    /// have: those are read and handed on first. Its subscriptions are still in the index.
    pub(crate) fn forget_session(&mut self, slot: u32, held: &[Held]) {
        let Some(session) = self.sessions.get_mut(slot) else { return };
        let number = session.number;
        if number == 0 {
            return;
        }
        for &held in held {
            let filter = match held.resolve() {
                Err(key) => self.subscriptions.filter(key).unwrap_or(""),
                Ok(group) => self.groups.get(group).map_or("", |group| &group.filter),
            };
            self.dispatch.journal.delete_subscription(number, filter);
        }
        let Some(session) = self.sessions.get_mut(slot) else { return };
        if let Some(rare) = session.rare.as_ref() {
            for packet_identifier in rare.received.iter() {
                self.dispatch.journal.delete_received(number, packet_identifier);
            }
        }
        let Some(flow) = session.flow.as_ref() else {
            return self.dispatch.journal.delete_session(number);
        };
        let (stored, until) = (flow.stored, flow.next_sequence());
        if stored.count > 0 && stored.entangled {
            self.dispatch.journal.put(&session_item(session, true));
            self.dispatch.journal.session_ended();
            let what_for = LoadFor::HandOn { sent_before: flow.maybe_sent_before() };
            let entries_max = self.dispatch.settings.load_entries();
            let load = Load { what_for, session: number, from: stored.from, until, entries_max };
            self.dispatch.journal.loads.push(load);
            return;
        }
        if stored.count > 0 {
            for sequence in stored.from..until {
                self.dispatch.journal.unqueue(number, sequence, None);
            }
        }
        self.dispatch.journal.delete_session(number);
    }

    /// Leaves what waits for a session that is gone for now to the store, if it is stored.
    pub(crate) fn spill(&mut self, slot: u32) {
        let Some(session) = self.sessions.get_mut(slot) else { return };
        if session.number == 0 {
            return;
        }
        if let Some(flow) = session.flow.as_mut() {
            flow.spill(|delivery| entangled(&delivery.message, delivery.origin));
        }
    }

    /// Asks for more of a connected session's queue, if there is little of it in memory.
    pub(crate) fn load_more(&mut self, slot: u32) {
        let Some(session) = self.sessions.get_mut(slot) else { return };
        let kept = self.dispatch.stored_entries(session);
        let Some(flow) = session.flow.as_mut() else { return };
        if flow.wants_load(kept) {
            flow.stored.loading = true;
            let load = Load {
                what_for: LoadFor::Send { slot, epoch: session.epoch },
                session: session.number,
                from: flow.stored.from,
                until: flow.next_sequence(),
                entries_max: load_entries(kept),
            };
            self.dispatch.journal.loads.push(load);
        }
    }

    /// Something in the store's part of a queue has expired: looks through it (MQTT-3.3.2-5).
    pub(crate) fn purge(&mut self, slot: u32) {
        let Some(session) = self.sessions.get_mut(slot) else { return };
        let Some(flow) = session.flow.as_mut() else { return };
        let what_for = LoadFor::Purge { slot, epoch: session.epoch, next_expiry: u32::MAX };
        let load = Load {
            what_for,
            session: session.number,
            from: flow.stored.from,
            until: flow.next_sequence(),
            entries_max: self.dispatch.settings.load_entries(),
        };
        flow.stored_purged(None);
        self.dispatch.journal.loads.push(load);
    }

    /// A piece of a queue was read.
    pub(crate) fn handle_loaded(&mut self, loaded: &Loaded) {
        match loaded.load.what_for {
            LoadFor::Send { slot, epoch } => self.take_loaded(slot, epoch, loaded),
            LoadFor::Purge { slot, epoch, next_expiry } => {
                self.purge_loaded(slot, epoch, next_expiry, loaded);
            }
            LoadFor::HandOn { sent_before } => self.hand_on_loaded(sent_before, loaded),
        }
    }

    fn take_loaded(&mut self, slot: u32, epoch: u32, loaded: &Loaded) {
        let ledger = self.ledger();
        let Some(session) = self.sessions.get_mut(slot) else { return };
        if session.epoch != epoch || !session.is_connected() {
            return;
        }
        let number = session.number;
        for LoadedEntry { sequence, what } in &loaded.entries {
            let sequence = *sequence;
            let waiting = match what {
                LoadedWhat::Released => Waiting::Release(sequence),
                LoadedWhat::Publish { message, qos, retain, identifiers, group } => {
                    let group = group.as_deref().and_then(|group| self.groups.find(group));
                    let origin = match group {
                        Some(number) => Origin::shared(number),
                        None => session.origin(identifiers, ledger),
                    };
                    let message = message.clone();
                    let (qos, retain) = (*qos, *retain);
                    Waiting::Publish(Delivery { message, sequence, origin, qos, retain })
                }
                LoadedWhat::Unreadable => {
                    self.dispatch.journal.unqueue(number, sequence, None);
                    self.dispatch.counters.publishes_dropped += 1;
                    if let Some(flow) = session.flow.as_mut() {
                        flow.lost_in_store(sequence, 0);
                    }
                    continue;
                }
            };
            if let Some(flow) = session.flow.as_mut() {
                flow.loaded(waiting);
            }
        }
        if let Some(flow) = session.flow.as_mut() {
            flow.stored.loading = false;
            if loaded.ended {
                flow.load_ended(loaded.load.until);
            } else {
                flow.load_goes_on();
            }
        }
        self.pump(slot);
        self.wake_replay(slot);
        self.reschedule(slot);
    }

    fn purge_loaded(&mut self, slot: u32, epoch: u32, next_expiry: u32, loaded: &Loaded) {
        let now = self.dispatch.now;
        let Some(session) = self.sessions.get_mut(slot) else { return };
        let number = session.number;
        if number != loaded.load.session {
            return;
        }
        let (same, connected) = (session.epoch == epoch, session.is_connected());
        let Some(flow) = session.flow.as_mut() else { return };
        if !same || connected {
            // What is sent is looked at when it is sent. The rest is looked through anew when the
            // connection is gone.
            if !flow.stored.purging {
                flow.stored_purged(Some(now.as_secs()));
            }
            if !connected {
                self.reschedule(slot);
            }
            return;
        }
        let mut next_expiry = next_expiry;
        for LoadedEntry { sequence, what } in &loaded.entries {
            let LoadedWhat::Publish { message, qos, .. } = what else { continue };
            let begun = *sequence < flow.sent_before()
                || *qos == QoS::ExactlyOnce && *sequence < flow.maybe_sent_before();
            if begun {
                continue;
            }
            if message.expired(now) {
                self.dispatch.journal.unqueue(number, *sequence, Some(message));
                flow.purged(message.bytes());
            } else {
                next_expiry = next_expiry.min(message.expires_at().unwrap_or(u32::MAX));
            }
        }
        if loaded.ended {
            flow.stored_purged(Some(next_expiry));
            return self.reschedule(slot);
        }
        let from = loaded.entries.last().map_or(loaded.load.until, |entry| entry.sequence + 1);
        let what_for = LoadFor::Purge { slot, epoch, next_expiry };
        self.dispatch.journal.loads.push(Load { what_for, from, ..loaded.load.clone() });
    }

    /// Gives what a session left behind to other members of its groups, and deletes it.
    fn hand_on_loaded(&mut self, sent_before: u64, loaded: &Loaded) {
        let session = loaded.load.session;
        for LoadedEntry { sequence, what } in &loaded.entries {
            let LoadedWhat::Publish { message, group, qos, .. } = what else {
                self.dispatch.journal.unqueue(session, *sequence, None);
                continue;
            };
            // MQTT-4.8.2-5: nobody else gets a QoS 2 message whose delivery has begun.
            let begun = *qos == QoS::ExactlyOnce && *sequence < sent_before;
            if let Some(number) = group.as_deref().and_then(|group| self.groups.find(group))
                && !begun
            {
                self.hand_on(number, message, None);
            }
            self.dispatch.journal.unqueue(session, *sequence, Some(message));
        }
        if loaded.ended {
            return self.dispatch.journal.delete_session(session);
        }
        let from = loaded.entries.last().map_or(loaded.load.until, |entry| entry.sequence + 1);
        self.dispatch.journal.loads.push(Load { from, ..loaded.load.clone() });
    }

    /// Tells the store now and then that the broker runs, if a session's life depends on it.
    pub(crate) fn say_alive(&mut self) {
        let now = self.dispatch.now;
        if self.dispatch.journal.is_on()
            && self.alive_at <= now
            && self.dispatch.stored_sessions > 0
        {
            self.alive_at = now.plus_millis(ALIVE_MILLIS);
            self.dispatch.journal.put(&Item::Alive { at: now });
        }
    }
}

/// A session as it is stored.
pub(crate) fn session_item(session: &Session, ended: bool) -> Item<'_> {
    Item::Session(SessionItem {
        number: session.number,
        client_identifier: Cow::Borrowed(&session.client_identifier),
        username: session.username.as_deref().map(Cow::Borrowed),
        version: session.version,
        expiry_interval: session.expiry_interval,
        lost_at: (!session.is_connected() && session.lost_at != Time::NEVER)
            .then_some(session.lost_at),
        window: session.window,
        sent_before: session.flow.as_ref().map_or(0, |flow| flow.sent_before()),
        maybe_sent_before: session.flow.as_ref().map_or(0, |flow| flow.maybe_sent_before()),
        ended,
        will: session.will.as_ref().map(|will| WillItem {
            topic: Cow::Borrowed(&will.topic),
            payload: Cow::Borrowed(&will.payload),
            properties: Cow::Borrowed(&will.properties),
            qos: will.qos,
            retain: will.retain,
            delay: will.delay,
            message_expiry: will.message_expiry,
        }),
    })
}

impl Journal {
    /// Takes what is to be read.
    pub(crate) fn take_loads(&mut self) -> Vec<Load> {
        core::mem::take(&mut self.loads)
    }
}
