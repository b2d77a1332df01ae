//! What a session still has to send: messages in flight and messages waiting.

mod delivery;
mod ring;
mod stored;

use alloc::collections::VecDeque;

use plimsoll_ledger::{Account, Charged, Ledger, Measure};
use plimsoll_mqtt::QoS;

use crate::message::Message;
use crate::settings::Settings;
use crate::time::Time;

pub(crate) use delivery::{Delivery, Origin, OriginKind, Owed, Restored, Stored, Waiting};
use ring::InFlight;

/// What an acknowledgement by the client did.
#[derive(Debug)]
pub(crate) enum Acknowledged {
    /// It ended the flow of this message; QoS 2 messages have gone before.
    Done { sequence: u64, message: Option<Message> },
    /// QoS 2 goes on: send PUBREL. The message goes now, if it has not before.
    Release { sequence: u64, message: Option<Message> },
    /// Nothing is in flight under this identifier (or not in this state).
    Unknown,
}

/// Something to do next.
pub(crate) enum Next {
    Publish {
        packet_identifier: u16,
        dup: bool,
        delivery: Delivery,
    },
    Release {
        packet_identifier: u16,
    },
    /// It has expired, may not be read any more, or is QoS 0 and may have been sent before a crash:
    /// it goes.
    Vain(Delivery),
}

/// Messages of one session, in flight and waiting, in order: first what is in flight, then what
/// waits in memory, then what waits in the store.
#[derive(Debug)]
pub(crate) struct Flow {
    queue: Charged<VecDeque<Waiting>>,
    inflight: Charged<VecDeque<InFlight>>,
    owed: Charged<VecDeque<Owed>>,
    pub(crate) stored: Stored,
    /// Allocated bytes of the messages in `queue`.
    queued_bytes: usize,
    /// Allocated bytes of the messages in `inflight`.
    inflight_bytes: usize,
    /// How many messages in `queue` are QoS 0.
    queued_qos0: u32,
    /// Earliest expiry in `queue`, seconds; `u32::MAX` is none.
    queue_expires_at: u32,
    /// Sequence number of `inflight`'s first entry.
    first: u64,
    /// Sequence number of the next message.
    next: u64,
    /// Messages before this one may have been sent on an earlier connection: they are sent with
    /// DUP, whether they have expired or not.
    sent_before: u64,
    /// Messages before this one may have been sent, for all that is known after a crash: with DUP,
    /// and QoS 2 ones whether they have expired or not.
    maybe_sent_before: u64,
    /// QoS 2 messages from this one on are not on disk yet, and must not be sent.
    pub(crate) durable_before: u64,
    /// Waiting entries that were in flight on an earlier connection: no part of the queue's limit.
    returned: u32,
    /// Sent on the present connection and not acknowledged: what counts against the peer's
    /// Receive Maximum.
    used: u16,
}

/// Rings up to this many entries are kept while empty.
const KEEP_ENTRIES: usize = 32;

impl Flow {
    pub(crate) fn new(ledger: &'static Ledger) -> Self {
        Self {
            queue: ledger.own(Account::Queues, VecDeque::new()),
            inflight: ledger.own(Account::Inflight, VecDeque::new()),
            owed: ledger.own(Account::Inflight, VecDeque::new()),
            stored: Stored {
                from: 0,
                count: 0,
                bytes: 0,
                expires_at: u32::MAX,
                loading: false,
                purging: false,
                entangled: false,
                qos0: false,
            },
            queued_bytes: 0,
            inflight_bytes: 0,
            queued_qos0: 0,
            queue_expires_at: u32::MAX,
            first: 1,
            next: 1,
            sent_before: 0,
            maybe_sent_before: 0,
            durable_before: u64::MAX,
            returned: 0,
            used: 0,
        }
    }

    // --- the queue ---

    /// Messages that wait, in memory and in the store.
    pub(crate) fn queue_len(&self) -> usize {
        self.queue.len() + self.stored.count as usize
    }

    /// Whether a QoS 0 message may wait.
    pub(crate) fn qos0_waits(&self) -> bool {
        self.queued_qos0 > 0 || self.stored.qos0
    }

    /// Whether one more message of `bytes` may wait.
    ///
    /// `count_max`: messages that may wait ([`Dispatch::queued_max`](crate::dispatch::Dispatch)).
    pub(crate) fn has_room(&self, settings: &Settings, count_max: usize, bytes: usize) -> bool {
        let bytes_max = settings.max_queued_bytes;
        (count_max == 0 || self.counted_len() < count_max)
            && (bytes_max == 0 || self.queued_bytes + self.stored.bytes + bytes <= bytes_max)
    }

    /// What counts for `max_queued_messages`.
    fn counted_len(&self) -> usize {
        self.queue_len().saturating_sub(self.returned as usize)
    }

    /// The place in the session's order of a message that is about to be launched or to wait.
    pub(crate) fn take_sequence(&mut self) -> u64 {
        self.next += 1;
        self.next - 1
    }

    /// The sequence number of the next message.
    pub(crate) fn next_sequence(&self) -> u64 {
        self.next
    }

    /// Messages before this one may have been sent on an earlier connection.
    pub(crate) fn sent_before(&self) -> u64 {
        self.sent_before
    }

    /// Messages before this one may have been sent, for all that is known after a crash.
    pub(crate) fn maybe_sent_before(&self) -> u64 {
        self.maybe_sent_before.max(self.sent_before)
    }

    /// Whether a message must not be dropped or given to others any more.
    pub(crate) fn begun(&self, delivery: &Delivery) -> bool {
        self.sent_earlier(delivery.sequence)
            || delivery.qos == QoS::ExactlyOnce && delivery.sequence < self.maybe_sent_before
    }

    /// Lets a message wait in memory.
    pub(crate) fn enqueue(&mut self, delivery: Delivery) {
        self.push_back(Waiting::Publish(delivery));
    }

    /// Lets a message wait that the store has: in the store alone if there is no use for it here, or
    /// `kept` wait in memory.
    pub(crate) fn enqueue_stored(
        &mut self,
        delivery: Delivery,
        kept: usize,
        connected: bool,
        entangled: bool,
    ) {
        let room = self.queue.len() < kept;
        if connected && self.stored.count == 0 && room {
            return self.enqueue(delivery);
        }
        let expires_at = delivery.message.expires_at().unwrap_or(u32::MAX);
        self.stored.qos0 |= delivery.qos == QoS::AtMostOnce;
        self.leave_to_store(delivery.sequence, delivery.message.bytes(), expires_at, entangled);
    }

    /// Counts an entry that lies in the store alone, behind all others.
    fn leave_to_store(&mut self, sequence: u64, bytes: usize, expires_at: u32, entangled: bool) {
        let stored = &mut self.stored;
        if stored.count == 0 {
            stored.from = sequence;
        }
        stored.count += 1;
        stored.bytes += bytes;
        stored.expires_at = stored.expires_at.min(expires_at);
        stored.entangled |= entangled;
    }

    fn push_back(&mut self, waiting: Waiting) {
        self.queued_bytes += waiting.bytes();
        self.queued_qos0 += u32::from(waiting.is_qos0());
        self.queue_expires_at = self.queue_expires_at.min(waiting.expires_at());
        self.queue.edit().push_back(waiting);
    }

    fn dequeue(&mut self) -> Option<Waiting> {
        let waiting = self.queue.edit().pop_front()?;
        self.queued_bytes -= waiting.bytes();
        self.queued_qos0 -= u32::from(waiting.is_qos0());
        if self.sent_earlier(waiting.sequence()) {
            self.returned = self.returned.saturating_sub(1);
        }
        if self.queue.is_empty() {
            self.queue_expires_at = u32::MAX;
            if self.queue.capacity() > KEEP_ENTRIES {
                *self.queue.edit() = VecDeque::new();
            }
        }
        Some(waiting)
    }

    /// Whether a message may have been sent on an earlier connection.
    fn sent_earlier(&self, sequence: u64) -> bool {
        sequence != 0 && sequence < self.sent_before
    }

    /// When something that waits expires, seconds; `u32::MAX` is never. What lies in the store of a
    /// connected session is looked at when it is read; and
    /// nothing is looked through twice at a time.
    pub(crate) fn expires_at(&self, connected: bool) -> u32 {
        match connected {
            true => self.queue_expires_at,
            false if self.stored.purging => self.queue_expires_at,
            false => self.queue_expires_at.min(self.stored.expires_at),
        }
    }

    /// Takes out what has expired in memory (MQTT-3.3.2-5), but nothing that has been sent before.
    pub(crate) fn drop_expired(&mut self, now: Time, mut each: impl FnMut(Delivery)) {
        if self.queue_expires_at > now.as_secs() {
            return;
        }
        let queue = core::mem::take(&mut *self.queue.edit());
        (self.queued_bytes, self.queued_qos0, self.queue_expires_at) = (0, 0, u32::MAX);
        for waiting in queue {
            match waiting {
                Waiting::Publish(delivery)
                    if delivery.message.expired(now) && !self.begun(&delivery) =>
                {
                    each(delivery);
                }
                other => {
                    let begun = matches!(&other, Waiting::Publish(other) if self.begun(other));
                    let expires_at = self.queue_expires_at;
                    self.push_back(other);
                    if begun {
                        self.queue_expires_at = expires_at;
                    }
                }
            }
        }
    }

    // --- connections come and go ---

    /// The connection is gone: what is in flight waits again, ahead of all else.
    pub(crate) fn connection_lost(&mut self) {
        self.used = 0;
        (self.stored.loading, self.stored.purging) = (false, false);
        let ring = core::mem::take(&mut *self.inflight.edit());
        self.inflight_bytes = 0;
        self.sent_before = self.sent_before.max(self.first + ring.len() as u64);
        for (at, entry) in ring.into_iter().enumerate().rev() {
            let waiting = match entry {
                InFlight::Done => continue,
                InFlight::Published(delivery) => Waiting::Publish(delivery),
                InFlight::Released => Waiting::Release(self.first + at as u64),
            };
            self.returned += 1;
            self.queued_bytes += waiting.bytes();
            self.queue.edit().push_front(waiting);
        }
    }

    /// Whether more than `keep` messages wait in memory that can be left to the store now.
    pub(crate) fn can_spill(&self, keep: usize) -> bool {
        let busy = self.stored.loading || self.stored.purging;
        let all_there = self.queue.iter().all(|waiting| waiting.sequence() != 0);
        self.queue.len() > keep && !busy && all_there
    }

    /// Bytes of messages held in memory, and of the tables.
    pub(crate) fn bytes(&self) -> usize {
        let (queue, inflight) = self.recount();
        self.queued_bytes + self.inflight_bytes + queue + inflight
    }

    /// Leaves everything that waits to the store, which has it.
    pub(crate) fn spill(&mut self, entangled: impl Fn(&Delivery) -> bool) {
        let behind = self.stored;
        let queue = core::mem::take(&mut *self.queue.edit());
        (self.queued_bytes, self.queued_qos0, self.queue_expires_at) = (0, 0, u32::MAX);
        self.stored.count = 0;
        for waiting in queue.iter().filter(|waiting| waiting.sequence() != 0) {
            self.stored.qos0 |= waiting.is_qos0();
            let entangled = matches!(waiting, Waiting::Publish(delivery) if entangled(delivery));
            let expires_at =
                if self.sent_earlier(waiting.sequence()) { u32::MAX } else { waiting.expires_at() };
            self.leave_to_store(waiting.sequence(), waiting.bytes(), expires_at, entangled);
        }
        self.stored.count += behind.count;
    }

    /// Everything in memory with its sequence number, oldest first. What remains is an empty flow,
    /// but for what is in the store.
    pub(crate) fn drain(&mut self) -> VecDeque<Waiting> {
        self.connection_lost();
        (self.queued_bytes, self.queued_qos0, self.returned) = (0, 0, 0);
        self.queue_expires_at = u32::MAX;
        core::mem::take(&mut *self.queue.edit())
    }

    // --- acknowledgements that wait for room ---

    pub(crate) fn owe(&mut self, owed: Owed) {
        self.owed.edit().push_back(owed);
    }

    pub(crate) fn owes(&self) -> bool {
        !self.owed.is_empty()
    }

    /// The next acknowledgement that is due: when there is room again, or `all` of them.
    pub(crate) fn pay(&mut self, settings: &Settings, count_max: usize, all: bool) -> Option<Owed> {
        if self.owed.is_empty() {
            return None;
        }
        // Each owed acknowledgement stands for a message beyond the limit, oldest first.
        let over = count_max != 0 && self.counted_len() >= count_max + self.owed.len();
        let over = over
            || settings.max_queued_bytes != 0
                && self.queued_bytes + self.stored.bytes > settings.max_queued_bytes
                && self.counted_len() >= self.owed.len();
        if over && !all {
            return None;
        }
        let mut list = self.owed.edit();
        let owed = list.pop_front();
        if list.is_empty() {
            *list = VecDeque::new();
        }
        owed
    }

    // --- the ledger ---

    /// Walks what the flow holds: (queue ring, in-flight ring and owed acknowledgements).
    pub(crate) fn recount(&self) -> (usize, usize) {
        (self.queue.heap_bytes(), self.inflight.heap_bytes() + self.owed.heap_bytes())
    }

    /// Bytes of messages held in memory, and charged for the tables: without measuring.
    pub(crate) fn bytes_charged(&self) -> usize {
        let tables = self.queue.charged() + self.inflight.charged() + self.owed.charged();
        self.queued_bytes + self.inflight_bytes + tables
    }

    /// Bytes of the messages in memory, and of those that lie in the store alone.
    pub(crate) fn message_bytes(&self) -> (usize, usize) {
        (self.queued_bytes + self.inflight_bytes, self.stored.bytes)
    }

    /// Entries in memory.
    pub(crate) fn messages_in_memory(&self) -> usize {
        self.queue.len() + self.inflight.len()
    }

    /// Calls `each` with the messages held, from place `at` on, `most` places at most. Answers where to
    /// go on; `None` is the end.
    pub(crate) fn walk_messages(
        &self,
        at: usize,
        most: usize,
        mut each: impl FnMut(&Message),
    ) -> Option<usize> {
        let end = self.messages_in_memory();
        let stop = at.saturating_add(most).min(end);
        for place in at..stop {
            let message = match place.checked_sub(self.inflight.len()) {
                None => match self.inflight.get(place) {
                    Some(InFlight::Published(delivery)) => Some(&delivery.message),
                    _ => None,
                },
                Some(place) => match self.queue.get(place) {
                    Some(Waiting::Publish(delivery)) => Some(&delivery.message),
                    _ => None,
                },
            };
            message.into_iter().for_each(&mut each);
        }
        (stop < end).then_some(stop)
    }

    /// Every message held.
    pub(crate) fn messages(&self) -> impl Iterator<Item = &Message> {
        let inflight = self.inflight.iter().filter_map(|entry| match entry {
            InFlight::Published(delivery) => Some(&delivery.message),
            _ => None,
        });
        let queue = self.queue.iter().filter_map(|waiting| match waiting {
            Waiting::Publish(delivery) => Some(&delivery.message),
            Waiting::Release(_) => None,
        });
        inflight.chain(queue)
    }
}
