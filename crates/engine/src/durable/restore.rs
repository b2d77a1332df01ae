//! The engine's state after a restart, from the items of the store.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use plimsoll_ledger::{Account, Boxed};

use super::item::{
    Content, Item, QueuedItem, SessionItem, SubscriptionItem, Unreadable, body_key, numbers_of,
};
use super::load::{Load, LoadFor};
use super::session::{ALIVE_MILLIS, session_item};
use crate::dispatch::rare;
use crate::engine::Engine;
use crate::flow::{Flow, Restored};
use crate::message::Message;
use crate::retained::RetainedMessage;
use crate::session::{Session, Will};
use crate::subscriptions::SubscriptionOptions;
use crate::time::Time;

/// What came back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Restoration {
    /// Sessions.
    pub sessions: u64,
    /// Sessions whose life ended while the broker was down.
    pub expired: u64,
    /// Subscriptions.
    pub subscriptions: u64,
    /// Messages that sessions have queued or in flight.
    pub queued: u64,
    /// Retained messages.
    pub retained: u64,
    /// Items that could not be understood, or belong to nothing. They are left in the store.
    pub unreadable: u64,
}

/// An engine whose state is being put back. See [`Engine::restore`].
#[derive(Debug)]
pub struct Restoring<'e> {
    engine: &'e mut Engine,
    report: Restoration,
    /// When the broker was last known to run.
    alive_at: Time,
    /// Slots of sessions by their numbers.
    slots: BTreeMap<u64, u32>,
    /// Slots of sessions that are not what the store says: above all those that were connected when
    /// the broker died, and from here on lost their connection then.
    changed: BTreeSet<u32>,
    /// Queues of sessions by their slots.
    queues: BTreeMap<u32, Queue>,
    /// Sessions that had ended, and the sequence number before which they had been sent messages.
    ended: BTreeMap<u64, u64>,
    /// Bodies that nothing refers to.
    orphans: Vec<u64>,
    /// When the first body expires, seconds; `u32::MAX` is never.
    bodies_expire_at: u32,
}

/// What the store has of one queue.
#[derive(Debug, Default)]
struct Queue {
    restored: Restored,
    /// It was connected when the broker died.
    connected: bool,
    /// Messages of its window that are not accounted for yet.
    window_left: u32,
    /// Some of it lies in bodies.
    bodies: bool,
}

impl Queue {
    /// One more entry.
    fn count(&mut self, sequence: u64) {
        let restored = &mut self.restored;
        if restored.count == 0 {
            restored.first = sequence;
        }
        restored.count += 1;
        restored.next = sequence + 1;
    }
}

impl Engine {
    /// Puts state back that an earlier run stored: give every item of the store, in the order of
    /// their keys, to [`Restoring::item`], then [`Restoring::finish`]. The engine must be new.
    pub fn restore(&mut self, now: Time) -> Restoring<'_> {
        self.dispatch.now = self.dispatch.now.max(now);
        Restoring {
            alive_at: Time::default(),
            engine: self,
            report: Restoration::default(),
            slots: BTreeMap::new(),
            changed: BTreeSet::new(),
            queues: BTreeMap::new(),
            ended: BTreeMap::new(),
            orphans: Vec::new(),
            bodies_expire_at: u32::MAX,
        }
    }
}

impl Restoring<'_> {
    /// Takes one item.
    pub fn item(&mut self, key: &[u8], value: &[u8]) -> Result<(), Unreadable> {
        // Numbers are not given out again, whether what has them can be read or not.
        let (session, body, sequence) = numbers_of(key);
        self.engine.dispatch.journal.numbers_used(session, body);
        let item = Item::decode(key, value);
        if let (Err(Unreadable), 1.., Ok(slot)) = (&item, sequence, self.slot(session)) {
            // It has its place in the queue until that is read.
            self.queues.entry(slot).or_default().count(sequence);
        }
        let taken = item.and_then(|item| self.take(&item));
        if taken.is_err() {
            self.report.unreadable += 1;
        }
        taken
    }

    fn take(&mut self, item: &Item<'_>) -> Result<(), Unreadable> {
        match item {
            Item::Alive { at } => self.alive_at = *at,
            Item::Session(session) => self.session(session),
            Item::Subscription { session, filter, options } => {
                self.subscription(*session, filter, *options)?;
            }
            Item::Received { session, packet_identifier } => {
                let slot = self.slot(*session)?;
                let ledger = self.engine.ledger();
                if let Some(session) = self.engine.sessions.get_mut(slot) {
                    let rare = rare(session, ledger);
                    rare.received.edit().insert(*packet_identifier);
                    rare.connection_lost(); // It counts for no connection of now.
                }
            }
            Item::Queued { session, sequence, entry } => self.queued(*session, *sequence, entry)?,
            Item::Body { number, message } => {
                let expires_at = message.expires_at.unwrap_or(u32::MAX);
                self.bodies_expire_at = self.bodies_expire_at.min(expires_at);
                if !self.engine.dispatch.journal.is_referred_to(*number) {
                    self.orphans.push(*number);
                }
            }
            Item::Retained { topic, message } => self.retained(topic, message),
        }
        Ok(())
    }

    fn slot(&self, session: u64) -> Result<u32, Unreadable> {
        self.slots.get(&session).copied().ok_or(Unreadable)
    }

    fn session(&mut self, item: &SessionItem<'_>) {
        let engine = &mut *self.engine;
        if item.ended {
            let sent_before = item.sent_before.max(item.maybe_sent_before);
            self.ended.insert(item.number, sent_before);
            return;
        }
        let ledger = engine.ledger();
        let mut session =
            Session::new(ledger, &item.client_identifier, item.username.as_deref(), item.version);
        session.number = item.number;
        session.flags.restored = true;
        session.expiry_interval = item.expiry_interval;
        session.window = item.window;
        // A connection that was lost with the broker was lost when that was last heard of, or up
        // to one interval later.
        session.lost_at = item
            .lost_at
            .unwrap_or(self.alive_at.plus_millis(ALIVE_MILLIS))
            .min(engine.dispatch.now);
        session.will = item.will.as_ref().map(|will| {
            let will = Will {
                topic: Box::from(&*will.topic),
                payload: Box::from(&*will.payload),
                properties: Box::from(&*will.properties),
                qos: will.qos,
                retain: will.retain,
                delay: will.delay,
                message_expiry: will.message_expiry,
            };
            let parts = will.parts_bytes();
            Boxed::new(ledger, Account::Wills, will, parts)
        });
        let slot = engine.sessions.insert(session);
        if let Some(session) = engine.sessions.get_mut(slot) {
            engine.dispatch.budgets.join(session);
        }
        engine.dispatch.stored_sessions += 1;
        self.slots.insert(item.number, slot);
        let queue = self.queues.entry(slot).or_default();
        queue.restored.sent_before = item.sent_before;
        queue.restored.maybe_sent_before = item.maybe_sent_before;
        queue.connected = item.lost_at.is_none();
        queue.restored.expires_at = u32::MAX;
        queue.window_left = if item.lost_at.is_none() { u32::from(item.window) } else { 0 };
        self.report.sessions += 1;
    }

    fn subscription(
        &mut self,
        session: u64,
        filter: &str,
        item: SubscriptionItem,
    ) -> Result<(), Unreadable> {
        let slot = self.slot(session)?;
        let options = SubscriptionOptions::new(
            item.identifier,
            item.qos,
            item.no_local,
            item.retain_as_published,
        );
        self.engine.add_subscription(slot, filter, options);
        self.report.subscriptions += 1;
        Ok(())
    }

    fn queued(
        &mut self,
        session: u64,
        sequence: u64,
        entry: &QueuedItem<'_>,
    ) -> Result<(), Unreadable> {
        if let QueuedItem::Publish { content: Content::Body(number), .. } = entry {
            self.engine.dispatch.journal.numbers_used(0, *number);
            self.engine.dispatch.journal.refer(*number);
        }
        if self.ended.contains_key(&session) {
            return Ok(());
        }
        let slot = self.slot(session)?;
        let queue = self.queues.entry(slot).or_default();
        queue.count(sequence);
        let restored = &mut queue.restored;
        let (mut bytes, mut expires_at) = (0, u32::MAX);
        if let QueuedItem::Publish { qos, group, content, .. } = entry {
            let body = matches!(content, Content::Body(_));
            queue.bodies |= body;
            restored.entangled |= group.is_some() || body;
            if let Content::Inline(parts) = content {
                bytes = Message::bytes_of(parts);
                expires_at = parts.expires_at.unwrap_or(u32::MAX);
            }
            restored.qos0 |= *qos == plimsoll_mqtt::QoS::AtMostOnce;
            if queue.window_left > 0 && *qos != plimsoll_mqtt::QoS::AtMostOnce {
                queue.window_left -= 1;
                restored.sent_before = restored.sent_before.max(sequence + 1);
            }
        } else {
            restored.sent_before = restored.sent_before.max(sequence + 1);
        }
        restored.bytes += bytes;
        if sequence < restored.sent_before {
            restored.returned += 1;
        } else {
            restored.expires_at = restored.expires_at.min(expires_at);
        }
        self.report.queued += 1;
        Ok(())
    }

    fn retained(&mut self, topic: &str, message: &RetainedMessage<'_>) {
        let engine = &mut *self.engine;
        let expires_at = engine.retained.expires_at(topic, message);
        if expires_at.is_some_and(|second| second <= engine.dispatch.now.as_secs()) {
            engine.dispatch.counters.retained_expired += 1;
            return engine.dispatch.journal.delete_retained(topic);
        }
        engine.retained.set(topic, *message);
        engine.retained_expires(expires_at);
        self.report.retained += 1;
    }

    /// Puts the parts together: queues get their places, sessions whose life ended meanwhile end,
    /// wills that have come due are published. Call [`Engine::handle`] next.
    pub fn finish(mut self) -> Restoration {
        for (slot, queue) in core::mem::take(&mut self.queues) {
            self.finish_queue(slot, &queue);
        }
        for number in core::mem::take(&mut self.orphans) {
            self.engine.dispatch.journal.delete(|key| body_key(number, key));
        }
        for (session, sent_before) in core::mem::take(&mut self.ended) {
            self.engine.dispatch.journal.loads.push(Load {
                what_for: LoadFor::HandOn { sent_before },
                session,
                from: 0,
                until: u64::MAX,
                entries_max: self.engine.dispatch.settings.load_entries(),
            });
        }
        if self.engine.retained.has_undated() {
            self.engine.retained.begin_counting(); // And so date what an earlier release stored.
        }
        let now = self.engine.dispatch.now;
        for slot in core::mem::take(&mut self.slots).into_values() {
            let Some(session) = self.engine.sessions.get(slot) else { continue };
            self.report.expired += u64::from(session.expires_at() <= now);
            if self.changed.contains(&slot) {
                let item = session_item(session, false);
                self.engine.dispatch.journal.put(&item);
            }
            self.engine.deadlines.set(slot, Time::default());
        }
        let total = self.engine.sessions.len() as u64;
        self.engine.dispatch.counters.clients_maximum = total;
        self.engine.settle_budgets();
        self.report
    }

    fn finish_queue(&mut self, slot: u32, queue: &Queue) {
        let mut restored = queue.restored;
        if queue.connected {
            // What was acknowledged just before the end is here again, so more than a window may
            // have been sent.
            restored.maybe_sent_before = restored.next;
            self.changed.insert(slot);
        }
        // What was sent last may be gone from the queue: its places are given out anew.
        if restored.sent_before.max(restored.maybe_sent_before) > restored.next {
            self.changed.insert(slot);
        }
        restored.sent_before = restored.sent_before.min(restored.next);
        restored.maybe_sent_before = restored.maybe_sent_before.min(restored.next);
        if queue.bodies {
            // When the first of its bodies expires is seen when the queue is looked through.
            restored.expires_at = restored.expires_at.min(self.bodies_expire_at);
        }
        let ledger = self.engine.ledger();
        let Some(session) = self.engine.sessions.get_mut(slot) else { return };
        if restored.count > 0 {
            let flow = Flow::new(ledger);
            let flow =
                session.flow.get_or_insert_with(|| Boxed::new(ledger, Account::Inflight, flow, 0));
            flow.restore(&restored);
        }
    }
}
