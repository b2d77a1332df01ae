//! The engine's side of the store: what is to be stored, what is on disk, what waits for it.

use alloc::vec::Vec;

use hashbrown::HashTable;
use plimsoll_ledger::{Account, Charged, Ledger, Measure, usable_size};
use plimsoll_mqtt::QoS;

use super::held::{Held, HeldPart, What};
use super::item::{
    Content, Item, QueuedItem, body_key, queued_key, received_key, retained_key, session_key,
    subscription_key,
};
use super::load::Load;
use super::records::{Record, Records};
use crate::flow::Delivery;
use crate::message::Message;
use crate::settings::Persistence;

/// Messages of at least so many bytes that several sessions queue are stored once.
const SHARED_BYTES_MIN: usize = 128;

/// While so many bytes of records have not been taken, the store counts as failing, told or not;
/// and nothing is let in that makes more of them.
const PENDING_BYTES_MAX: usize = 64 * 1024 * 1024;

/// However short memory is, so much may wait.
const PENDING_BYTES_LEAST: usize = 1024 * 1024;

/// Records made and not yet stored, and everything that depends on them.
#[derive(Debug)]
pub(crate) struct Journal {
    persistence: Persistence,
    records: Records,
    /// Number of the last record.
    position: u64,
    /// Number of the last record that is on disk.
    durable: u64,
    /// Number of the last record by which a session ended.
    ended: u64,
    /// The store has said that it cannot write at present.
    pub(crate) failing: bool,
    /// While so many bytes of records have not been taken, the store counts as failing.
    pending_bytes_max: usize,
    /// Somebody is not read from because of that.
    pub(crate) paused: bool,
    pub(crate) held: Charged<Held>,
    pub(crate) loads: Vec<Load>,
    bodies: Charged<Bodies>,
    next_session: u64,
    next_body: u64,
    key: Vec<u8>,
    value: Vec<u8>,
}

/// How many queued entries refer to each stored body.
#[derive(Debug, Default)]
struct Bodies(HashTable<(u64, u32)>);

impl Measure for Bodies {
    fn heap_bytes(&self) -> usize {
        usable_size(self.0.allocation_size(), 16)
    }
}

/// Numbers are given out in turn, so no peer can make them collide.
fn spread(number: u64) -> u64 {
    number.wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

impl Journal {
    pub(crate) fn new(persistence: Persistence, ledger: &'static Ledger) -> Self {
        Self {
            persistence,
            records: Records::new(ledger),
            position: 0,
            durable: 0,
            ended: 0,
            failing: false,
            pending_bytes_max: PENDING_BYTES_MAX,
            paused: false,
            held: ledger.own(Account::Store, Held::default()),
            loads: Vec::new(),
            bodies: ledger.own(Account::Store, Bodies::default()),
            next_session: 1,
            next_body: 1,
            key: Vec::new(),
            value: Vec::new(),
        }
    }

    /// Whether lasting state is stored at all.
    pub(crate) fn is_on(&self) -> bool {
        self.persistence != Persistence::Off
    }

    /// Whether promises wait for the disk.
    pub(crate) fn promises(&self) -> bool {
        self.persistence == Persistence::Promised
    }

    /// Number of the last record that was made.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// Whether everything up to a position may be promised.
    pub(crate) fn covers(&self, position: u64) -> bool {
        position <= self.durable || !self.promises()
    }

    /// Whether the store cannot write at present, or is so slow that it comes to the same.
    pub(crate) fn refuses(&self) -> bool {
        self.failing || self.is_full()
    }

    /// Whether so much waits for the store that no more is let in.
    pub(crate) fn is_full(&self) -> bool {
        self.records.len_bytes() > self.pending_bytes_max
    }

    /// Lets less wait for the store, since memory is short.
    pub(crate) fn bound(&mut self, bytes: usize) {
        self.pending_bytes_max = PENDING_BYTES_MAX.min(bytes.max(PENDING_BYTES_LEAST));
    }

    /// Everything up to `upto` is on disk.
    pub(crate) fn stored(&mut self, upto: u64) {
        self.durable = self.durable.max(upto);
        self.failing = false;
    }

    /// Takes the next thing that need not wait any more.
    pub(crate) fn release(&mut self, bytes: &mut Vec<u8>) -> Option<HeldPart> {
        self.held.edit().pop(self.durable, bytes)
    }

    /// Keeps something until everything made so far that it promises is on disk.
    pub(crate) fn hold(&mut self, position: u64, slot: u32, epoch: u32, what: What, bytes: &[u8]) {
        self.held.edit().push(HeldPart { position, slot, epoch, what }, bytes);
    }

    pub(crate) fn swap(&mut self, records: &mut Records) {
        core::mem::swap(&mut self.records, records);
    }

    pub(crate) fn has_records(&self) -> bool {
        !self.records.is_empty()
    }

    /// Once per turn.
    pub(crate) fn settle(&mut self) {
        self.records.settle();
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        self.records.heap_bytes() + self.held.heap_bytes() + self.bodies.heap_bytes()
    }

    /// A number for a new session.
    pub(crate) fn session_number(&mut self) -> u64 {
        self.next_session += 1;
        self.next_session - 1
    }

    /// Numbers up to these are used.
    pub(crate) fn numbers_used(&mut self, session: u64, body: u64) {
        self.next_session = self.next_session.max(session + 1);
        self.next_body = self.next_body.max(body + 1);
    }

    // --- records ---

    fn record(&mut self, kind: Kind) {
        self.position += 1;
        let (key, value) = (&self.key[..], &self.value[..]);
        let record = match kind {
            Kind::Put => Record::Put { key, value },
            Kind::Insert => Record::Insert { key, value },
            Kind::Delete => Record::Delete { key },
        };
        self.records.push(record, self.position);
    }

    /// An item is new, or has changed.
    pub(crate) fn put(&mut self, item: &Item<'_>) {
        if self.is_on() {
            item.key(&mut self.key);
            item.value(&mut self.value);
            self.record(Kind::Put);
        }
    }

    /// An item is new that is deleted before its key is used again.
    fn insert(&mut self, item: &Item<'_>) {
        item.key(&mut self.key);
        item.value(&mut self.value);
        self.record(Kind::Insert);
    }

    pub(crate) fn delete(&mut self, key: impl FnOnce(&mut Vec<u8>)) {
        if self.is_on() {
            key(&mut self.key);
            self.record(Kind::Delete);
        }
    }

    pub(crate) fn delete_session(&mut self, session: u64) {
        self.delete(|key| session_key(session, key));
        self.session_ended();
    }

    /// A session has ended with the last record: a CONNACK without Session Present promises that.
    pub(crate) fn session_ended(&mut self) {
        self.ended = self.position;
    }

    /// Number of the last record by which a session ended.
    pub(crate) fn last_ended(&self) -> u64 {
        self.ended
    }

    pub(crate) fn delete_subscription(&mut self, session: u64, filter: &str) {
        self.delete(|key| subscription_key(session, filter, key));
    }

    pub(crate) fn delete_retained(&mut self, topic: &str) {
        self.delete(|key| retained_key(topic, key));
    }

    pub(crate) fn received(&mut self, session: u64, packet_identifier: u16) {
        self.insert(&Item::Received { session, packet_identifier });
    }

    pub(crate) fn delete_received(&mut self, session: u64, packet_identifier: u16) {
        self.delete(|key| received_key(session, packet_identifier, key));
    }

    // --- queues ---

    /// Stores a message that a session has to take. `shared`: others may queue it too.
    pub(crate) fn queue(
        &mut self,
        session: u64,
        delivery: &Delivery,
        identifiers: Vec<u32>,
        group: Option<&str>,
        shared: bool,
    ) {
        let message = &delivery.message;
        if message.body() != 0 && !self.is_referred_to(message.body()) {
            message.set_body(0); // The last one who had it queued has let go: it is not stored now.
        }
        if shared && message.body() == 0 && message.len_bytes() >= SHARED_BYTES_MIN {
            message.set_body(self.next_body);
            self.next_body += 1;
            let number = message.body();
            self.insert(&Item::Body { number, message: message.parts() });
        }
        let content = match message.body() {
            0 => Content::Inline(message.parts()),
            number => {
                self.refer(number);
                Content::Body(number)
            }
        };
        let entry = QueuedItem::Publish {
            qos: delivery.qos,
            retain: delivery.retain,
            identifiers,
            group,
            content,
        };
        self.insert(&Item::Queued { session, sequence: delivery.sequence, entry });
    }

    /// PUBREC has come for a message: its content is not needed any more.
    pub(crate) fn released(&mut self, session: u64, sequence: u64, message: Option<&Message>) {
        // Deleted and inserted again, so that an entry is never overwritten.
        self.delete(|key| queued_key(session, sequence, key));
        self.insert(&Item::Queued { session, sequence, entry: QueuedItem::Released });
        self.let_go(message);
    }

    /// A session is done with a message.
    pub(crate) fn unqueue(&mut self, session: u64, sequence: u64, message: Option<&Message>) {
        self.delete(|key| queued_key(session, sequence, key));
        self.let_go(message);
    }

    fn let_go(&mut self, message: Option<&Message>) {
        match message.map_or(0, Message::body) {
            0 => {}
            number => self.unrefer(number),
        }
    }

    /// One more entry refers to a body.
    pub(crate) fn refer(&mut self, number: u64) {
        let mut bodies = self.bodies.edit();
        let rehash = |&(number, _): &(u64, u32)| spread(number);
        let entry = bodies.0.entry(spread(number), |&(other, _)| other == number, rehash);
        entry.and_modify(|(_, count)| *count += 1).or_insert((number, 1));
    }

    /// One entry less refers to a body; with the last one it goes.
    pub(crate) fn unrefer(&mut self, number: u64) {
        let mut bodies = self.bodies.edit();
        let found = bodies.0.find_entry(spread(number), |&(other, _)| other == number);
        let Ok(mut entry) = found else { return };
        entry.get_mut().1 -= 1;
        if entry.get().1 > 0 {
            return;
        }
        entry.remove();
        if bodies.0.is_empty() {
            *bodies = Bodies::default();
        }
        drop(bodies);
        self.delete(|key| body_key(number, key));
    }

    /// Whether an entry refers to a body.
    pub(crate) fn is_referred_to(&self, number: u64) -> bool {
        self.bodies.0.find(spread(number), |&(other, _)| other == number).is_some()
    }

    /// A QoS 2 message must be on disk before its client sees it: otherwise a crash could give its
    /// identifier to another message, which the client would take for a copy.
    pub(crate) fn must_precede(&self, qos: QoS) -> bool {
        self.promises() && qos == QoS::ExactlyOnce
    }
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Put,
    Insert,
    Delete,
}
