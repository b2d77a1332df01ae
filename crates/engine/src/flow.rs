//! What a session still has to send: messages in flight and messages waiting.

use alloc::collections::VecDeque;

use plimsoll_ledger::{Account, Charged, Ledger, Measure};
use plimsoll_mqtt::QoS;

use crate::message::Message;
use crate::settings::Settings;
use crate::time::Time;

/// A message on its way to one session.
#[derive(Clone, Debug)]
pub(crate) struct Delivery {
    pub(crate) message: Message,
    /// Its place in the session's order: what its packet identifier follows from, and what it is
    /// called in the store. 0 for a QoS 0 message that is not in the store.
    pub(crate) sequence: u64,
    pub(crate) origin: Origin,
    /// QoS towards this session.
    pub(crate) qos: QoS,
    /// RETAIN flag towards this session.
    pub(crate) retain: bool,
}

/// Which subscription a delivery comes from: decides its Subscription Identifiers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Origin(u32);

impl Origin {
    const LIST: u32 = 1 << 31;
    const SHARED: u32 = 1 << 30;

    /// No subscription identifier.
    pub(crate) const PLAIN: Self = Self(0);

    /// One subscription identifier (28 bits); 0 is none.
    pub(crate) fn identifier(identifier: u32) -> Self {
        Self(identifier)
    }

    /// Several identifiers: entry `index` of the session's lists.
    pub(crate) fn list(index: u32) -> Self {
        Self(Self::LIST | index)
    }

    /// A shared subscription: its group says the identifier, and who else could be sent it.
    pub(crate) fn shared(group: u32) -> Self {
        Self(Self::SHARED | group)
    }

    /// What it stands for.
    pub(crate) fn resolve(self) -> OriginKind {
        if self.0 & Self::LIST != 0 {
            OriginKind::List(self.0 & !Self::LIST)
        } else if self.0 & Self::SHARED != 0 {
            OriginKind::Shared(self.0 & !Self::SHARED)
        } else {
            OriginKind::Identifier(self.0)
        }
    }
}

/// The meaning of an [`Origin`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OriginKind {
    Identifier(u32),
    List(u32),
    Shared(u32),
}

/// A packet identifier in flight. Identifiers are given out in turn, so the ring has one entry
/// for each from the oldest unacknowledged one on, and finding one is an index.
#[derive(Debug)]
enum InFlight {
    /// Acknowledged, or never used, but an older one is not.
    Done,
    /// PUBLISH sent; PUBACK or PUBREC awaited.
    Published(Delivery),
    /// PUBREL sent; PUBCOMP awaited (MQTT-4.3.3-5). The message is gone.
    Released,
}

/// Something that waits to be sent.
#[derive(Debug)]
pub(crate) enum Waiting {
    Publish(Delivery),
    /// PUBREL of a message with this sequence number, that an earlier connection left owing.
    Release(u64),
}

impl Waiting {
    fn sequence(&self) -> u64 {
        match self {
            Self::Publish(delivery) => delivery.sequence,
            Self::Release(sequence) => *sequence,
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Publish(delivery) => delivery.message.bytes(),
            Self::Release(_) => 0,
        }
    }

    fn is_qos0(&self) -> bool {
        matches!(self, Self::Publish(delivery) if delivery.qos == QoS::AtMostOnce)
    }

    fn expires_at(&self) -> u32 {
        match self {
            Self::Publish(delivery) => delivery.message.expires_at().unwrap_or(u32::MAX),
            Self::Release(_) => u32::MAX,
        }
    }
}

/// The part of a queue that lies in the store alone, behind what is in memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stored {
    /// Sequence number to read on from.
    pub(crate) from: u64,
    /// Entries.
    pub(crate) count: u32,
    /// What their messages would take in memory.
    bytes: usize,
    /// Earliest expiry among them, seconds; `u32::MAX` is none.
    expires_at: u32,
    /// They are being read.
    pub(crate) loading: bool,
    /// Some of them refer to something shared: a body, or a shared subscription.
    pub(crate) entangled: bool,
    /// Some of them may be QoS 0.
    pub(crate) qos0: bool,
}

/// An acknowledgement that a publisher is owed when the queue has room again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Owed {
    /// Session of the publisher.
    pub(crate) slot: u32,
    /// Its connection at that time.
    pub(crate) epoch: u32,
    /// The acknowledgement's number on that connection.
    pub(crate) sequence: u32,
}

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
    /// It has expired, or is QoS 0 and may have been sent before a crash: it goes.
    Expired(Delivery),
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

const IDENTIFIERS: u16 = u16::MAX;

/// Rings up to this many entries are kept while empty.
const KEEP_ENTRIES: usize = 32;

/// Entries of a connected session's queue that are kept in memory if the store has them too.
const MEMORY_ENTRIES_MAX: usize = 512;

/// Below so many entries in memory, more are read from the store.
const LOAD_BELOW: usize = 128;

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
    pub(crate) fn has_room(&self, settings: &Settings, bytes: usize) -> bool {
        let count_max = settings.max_queued_messages as usize;
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

    /// Lets a message wait that the store has: in the store alone if there is no use for it here.
    pub(crate) fn enqueue_stored(&mut self, delivery: Delivery, connected: bool, entangled: bool) {
        if connected && self.stored.count == 0 && self.queue.len() < MEMORY_ENTRIES_MAX {
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
    /// connected session is looked at when it is read.
    pub(crate) fn expires_at(&self, connected: bool) -> u32 {
        match connected {
            true => self.queue_expires_at,
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

    // --- what lies in the store ---

    /// Whether more should be read from the store now.
    pub(crate) fn wants_load(&self) -> bool {
        self.stored.count > 0 && !self.stored.loading && self.queue.len() < LOAD_BELOW
    }

    /// Takes an entry that was read from the store to the end of what is in memory.
    pub(crate) fn loaded(&mut self, waiting: Waiting) {
        self.stored.from = waiting.sequence() + 1;
        self.stored.count = self.stored.count.saturating_sub(1);
        self.stored.bytes = self.stored.bytes.saturating_sub(waiting.bytes());
        self.push_back(waiting);
    }

    /// An entry of the store is gone: it had expired, or could not be read.
    pub(crate) fn lost_in_store(&mut self, sequence: u64, bytes: usize) {
        self.stored.from = self.stored.from.max(sequence + 1);
        self.stored.count = self.stored.count.saturating_sub(1);
        self.stored.bytes = self.stored.bytes.saturating_sub(bytes);
    }

    /// The store was read up to `until`: nothing is left before it.
    pub(crate) fn load_ended(&mut self, until: u64) {
        let stored = &mut self.stored;
        stored.from = stored.from.max(until);
        if stored.from >= self.next || stored.count == 0 {
            (stored.count, stored.bytes, stored.expires_at) = (0, 0, u32::MAX);
            (stored.entangled, stored.qos0) = (false, false);
        }
    }

    /// An entry in the middle of the store's part has expired and is gone.
    pub(crate) fn purged(&mut self, bytes: usize) {
        self.stored.count = self.stored.count.saturating_sub(1);
        self.stored.bytes = self.stored.bytes.saturating_sub(bytes);
    }

    /// The store's part is being looked through for expired entries (`None`), or was, and this is
    /// when the next one expires.
    pub(crate) fn stored_purged(&mut self, next_expiry: Option<u32>) {
        let stored = &mut self.stored;
        stored.expires_at = match next_expiry {
            None => u32::MAX,
            Some(at) => stored.expires_at.min(at),
        };
    }

    /// Sets what the store has for a session after a restart.
    pub(crate) fn restore(&mut self, restored: &Restored) {
        self.next = restored.next;
        self.sent_before = restored.sent_before;
        self.maybe_sent_before = restored.maybe_sent_before;
        self.durable_before = restored.next;
        self.returned = restored.returned;
        self.stored = Stored {
            from: restored.first,
            count: restored.count,
            bytes: restored.bytes,
            expires_at: restored.expires_at,
            loading: false,
            entangled: restored.entangled,
            qos0: restored.qos0,
        };
    }

    // --- in flight ---

    /// Messages in flight in any state.
    pub(crate) fn inflight_len(&self) -> usize {
        self.inflight.iter().filter(|entry| !matches!(entry, InFlight::Done)).count()
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.inflight.is_empty() && self.stored.count == 0
    }

    /// Whether a message of `bytes` with this sequence number may be sent now, ahead of nothing.
    pub(crate) fn window_open(
        &self,
        window: u16,
        sequence: u64,
        bytes: usize,
        settings: &Settings,
    ) -> bool {
        let bytes_max = settings.max_inflight_bytes;
        self.used < window
            && (self.inflight.is_empty() || sequence < self.first + u64::from(IDENTIFIERS))
            && (bytes_max == 0
                || self.inflight_bytes == 0
                || self.inflight_bytes + bytes <= bytes_max)
    }

    /// Whether nothing has to go before a new message.
    pub(crate) fn nothing_waits(&self) -> bool {
        self.queue.is_empty() && self.stored.count == 0
    }

    /// Puts a message in flight until it is acknowledged (MQTT-4.3.2-3, MQTT-4.3.3-3). Answers its
    /// packet identifier, which is unused (MQTT-2.2.1-4, MQTT-4.3.2-1, MQTT-4.3.3-1).
    pub(crate) fn launch(&mut self, delivery: Delivery) -> u16 {
        let sequence = delivery.sequence;
        self.inflight_bytes += delivery.message.bytes();
        self.put_in_flight(sequence, InFlight::Published(delivery));
        identifier_of(sequence)
    }

    /// Sets the ring's entry for a sequence number, which is within [`Flow::window_open`].
    fn put_in_flight(&mut self, sequence: u64, entry: InFlight) {
        self.used += 1;
        let mut ring = self.inflight.edit();
        if ring.is_empty() {
            self.first = sequence;
        }
        while self.first > sequence {
            self.first -= 1;
            ring.push_front(InFlight::Done);
        }
        let at = (sequence - self.first) as usize;
        while ring.len() <= at {
            ring.push_back(InFlight::Done);
        }
        if let Some(place) = ring.get_mut(at) {
            *place = entry;
        }
    }

    /// What to send next on this connection: first what an earlier one left unfinished
    /// (MQTT-4.4.0-1, MQTT-4.6.0-5), in the order in which it was sent (MQTT-4.6.0-1) and with DUP
    /// (MQTT-3.3.1-1), whether it has expired or not (MQTT-4.3.3-7, MQTT-4.3.3-13); then what waits.
    pub(crate) fn next(&mut self, window: u16, settings: &Settings, now: Time) -> Option<Next> {
        let front = self.queue.front()?;
        let (sequence, bytes) = (front.sequence(), front.bytes());
        let again = sequence != 0 && sequence < self.maybe_sent_before();
        if let Waiting::Publish(delivery) = front {
            // At most once: it may have been sent, for all that is known.
            let spent = again && delivery.qos == QoS::AtMostOnce;
            if spent || !self.begun(delivery) && delivery.message.expired(now) {
                return match self.dequeue()? {
                    Waiting::Publish(delivery) => Some(Next::Expired(delivery)),
                    Waiting::Release(_) => None,
                };
            }
            if delivery.qos == QoS::ExactlyOnce && sequence >= self.durable_before {
                return None;
            }
        }
        if !front.is_qos0() && !self.window_open(window, sequence, bytes, settings) {
            return None;
        }
        match self.dequeue()? {
            Waiting::Release(sequence) => {
                self.put_in_flight(sequence, InFlight::Released);
                Some(Next::Release { packet_identifier: identifier_of(sequence) })
            }
            Waiting::Publish(delivery) => {
                let packet_identifier = match delivery.qos {
                    QoS::AtMostOnce => 0,
                    _ => self.launch(delivery.clone()),
                };
                let dup = again && delivery.qos != QoS::AtMostOnce;
                Some(Next::Publish { packet_identifier, dup, delivery })
            }
        }
    }

    /// PUBACK: ends a QoS 1 flow, whatever its reason code says (MQTT-4.4.0-2).
    pub(crate) fn puback(&mut self, packet_identifier: u16) -> Acknowledged {
        self.finish(packet_identifier, |entry| {
            matches!(entry, InFlight::Published(delivery) if delivery.qos == QoS::AtLeastOnce)
        })
    }

    /// PUBREC: with an error it ends the flow, otherwise the message is released (MQTT-4.3.3-4).
    pub(crate) fn pubrec(&mut self, packet_identifier: u16, refused: bool) -> Acknowledged {
        let Some(at) = self.position(packet_identifier) else { return Acknowledged::Unknown };
        let sequence = self.first + at as u64;
        match self.inflight.get(at) {
            Some(InFlight::Published(delivery)) if delivery.qos == QoS::ExactlyOnce => {}
            Some(InFlight::Released) if !refused => {
                return Acknowledged::Release { sequence, message: None };
            }
            _ => return Acknowledged::Unknown,
        }
        if refused {
            return self.finish(packet_identifier, |_| true);
        }
        let message = self.replace(at, InFlight::Released);
        Acknowledged::Release { sequence, message }
    }

    /// PUBCOMP: ends a QoS 2 flow.
    pub(crate) fn pubcomp(&mut self, packet_identifier: u16) -> Acknowledged {
        self.finish(packet_identifier, |entry| matches!(entry, InFlight::Released))
    }

    /// Takes a message out of flight that turned out not to be sendable (too large).
    pub(crate) fn abandon(&mut self, packet_identifier: u16) -> Acknowledged {
        self.finish(packet_identifier, |_| true)
    }

    fn finish(
        &mut self,
        packet_identifier: u16,
        fits: impl FnOnce(&InFlight) -> bool,
    ) -> Acknowledged {
        let Some(at) = self.position(packet_identifier) else { return Acknowledged::Unknown };
        match self.inflight.get(at) {
            Some(InFlight::Done) | None => return Acknowledged::Unknown,
            Some(entry) if fits(entry) => {}
            _ => return Acknowledged::Unknown,
        }
        self.used = self.used.saturating_sub(1);
        let sequence = self.first + at as u64;
        let message = self.replace(at, InFlight::Done);
        self.forget_done();
        Acknowledged::Done { sequence, message }
    }

    /// Lets go of the acknowledged entries at the ring's front.
    fn forget_done(&mut self) {
        let mut gone = 0;
        let mut ring = self.inflight.edit();
        while let Some(InFlight::Done) = ring.front() {
            ring.pop_front();
            gone += 1;
        }
        if ring.is_empty() && ring.capacity() > KEEP_ENTRIES {
            *ring = VecDeque::new();
        }
        drop(ring);
        self.first += gone;
    }

    /// Answers the message that stood there.
    fn replace(&mut self, at: usize, with: InFlight) -> Option<Message> {
        let mut ring = self.inflight.edit();
        let entry = ring.get_mut(at)?;
        let InFlight::Published(delivery) = core::mem::replace(entry, with) else { return None };
        self.inflight_bytes -= delivery.message.bytes();
        Some(delivery.message)
    }

    fn position(&self, packet_identifier: u16) -> Option<usize> {
        let count = usize::from(IDENTIFIERS);
        let first = usize::from(identifier_of(self.first));
        let offset = (usize::from(packet_identifier) + count - first) % count;
        (packet_identifier != 0 && offset < self.inflight.len()).then_some(offset)
    }

    // --- connections come and go ---

    /// The connection is gone: what is in flight waits again, ahead of all else.
    pub(crate) fn connection_lost(&mut self) {
        self.used = 0;
        self.stored.loading = false;
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
    pub(crate) fn pay(&mut self, settings: &Settings, all: bool) -> Option<Owed> {
        if self.owed.is_empty() {
            return None;
        }
        // Each owed acknowledgement stands for a message beyond the limit, oldest first.
        let count_max = settings.max_queued_messages as usize;
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

/// Packet identifiers run from 1 to 65,535 and start again, by the message's place in the order:
/// so a message keeps its identifier over connections and restarts.
fn identifier_of(sequence: u64) -> u16 {
    (sequence.saturating_sub(1) % u64::from(IDENTIFIERS)) as u16 + 1
}

/// What the store has of a session's queue, as counted after a restart.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Restored {
    pub(crate) first: u64,
    pub(crate) next: u64,
    pub(crate) sent_before: u64,
    pub(crate) maybe_sent_before: u64,
    pub(crate) count: u32,
    pub(crate) returned: u32,
    pub(crate) bytes: usize,
    pub(crate) expires_at: u32,
    pub(crate) entangled: bool,
    pub(crate) qos0: bool,
}
