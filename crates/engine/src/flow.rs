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
    /// Acknowledged, but an older one is not.
    Done,
    /// PUBLISH sent; PUBACK or PUBREC awaited.
    Published(Delivery),
    /// PUBREL sent; PUBCOMP awaited (MQTT-4.3.3-5). The message is gone.
    Released,
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
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Acknowledged {
    /// It ended the flow of this identifier.
    Done,
    /// QoS 2 goes on: send PUBREL.
    Release,
    /// Nothing is in flight under this identifier (or not in this state).
    Unknown,
}

/// Something to send next.
pub(crate) enum Next {
    Publish { packet_identifier: u16, dup: bool, delivery: Delivery },
    Release { packet_identifier: u16 },
}

/// Messages of one session, in flight and waiting, in order.
#[derive(Debug)]
pub(crate) struct Flow {
    queue: Charged<VecDeque<Delivery>>,
    inflight: Charged<VecDeque<InFlight>>,
    owed: Charged<VecDeque<Owed>>,
    /// Allocated bytes of the messages in `queue`.
    queued_bytes: usize,
    /// Allocated bytes of the messages in `inflight`.
    inflight_bytes: usize,
    /// How many messages in `queue` are QoS 0.
    queued_qos0: u32,
    /// Earliest expiry in `queue`, seconds; `u32::MAX` is none.
    pub(crate) queue_expires_at: u32,
    /// Identifier of `inflight`'s first entry; the next one to be given out if that is empty.
    first: u16,
    /// Sent on the present connection and not acknowledged: what counts against the peer's
    /// Receive Maximum.
    used: u16,
    /// How many of `inflight`, from the end, are still to be sent again on this connection.
    resend: u16,
}

const IDENTIFIERS: u16 = u16::MAX;

/// Rings up to this many entries are kept while empty.
const KEEP_ENTRIES: usize = 32;

impl Flow {
    pub(crate) fn new(ledger: &'static Ledger) -> Self {
        Self {
            queue: ledger.own(Account::Queues, VecDeque::new()),
            inflight: ledger.own(Account::Inflight, VecDeque::new()),
            owed: ledger.own(Account::Inflight, VecDeque::new()),
            queued_bytes: 0,
            inflight_bytes: 0,
            queued_qos0: 0,
            queue_expires_at: u32::MAX,
            first: 1,
            used: 0,
            resend: 0,
        }
    }

    // --- the queue ---

    pub(crate) fn queue_len(&self) -> usize {
        self.queue.len()
    }

    pub(crate) fn queued_qos0(&self) -> u32 {
        self.queued_qos0
    }

    /// Whether one more message of `bytes` may wait.
    pub(crate) fn has_room(&self, settings: &Settings, bytes: usize) -> bool {
        let count_max = settings.max_queued_messages as usize;
        let bytes_max = settings.max_queued_bytes;
        (count_max == 0 || self.queue.len() < count_max)
            && (bytes_max == 0 || self.queued_bytes + bytes <= bytes_max)
    }

    pub(crate) fn enqueue(&mut self, delivery: Delivery) {
        self.queued_bytes += delivery.message.bytes();
        self.queued_qos0 += u32::from(delivery.qos == QoS::AtMostOnce);
        if let Some(at) = delivery.message.expires_at() {
            self.queue_expires_at = self.queue_expires_at.min(at);
        }
        self.queue.edit().push_back(delivery);
    }

    fn dequeue(&mut self) -> Option<Delivery> {
        let delivery = self.queue.edit().pop_front()?;
        self.queued_bytes -= delivery.message.bytes();
        self.queued_qos0 -= u32::from(delivery.qos == QoS::AtMostOnce);
        if self.queue.is_empty() {
            self.queue_expires_at = u32::MAX;
            if self.queue.capacity() > KEEP_ENTRIES {
                *self.queue.edit() = VecDeque::new();
            }
        }
        Some(delivery)
    }

    /// Drops what has expired in the queue (MQTT-3.3.2-5).
    pub(crate) fn drop_expired(&mut self, now: Time) {
        let (mut bytes, mut qos0, mut expires_at) = (0, 0, u32::MAX);
        self.queue.edit().retain(|delivery| {
            let keep = !delivery.message.expired(now);
            if keep {
                bytes += delivery.message.bytes();
                qos0 += u32::from(delivery.qos == QoS::AtMostOnce);
                expires_at = expires_at.min(delivery.message.expires_at().unwrap_or(u32::MAX));
            }
            keep
        });
        (self.queued_bytes, self.queued_qos0, self.queue_expires_at) = (bytes, qos0, expires_at);
        if self.queue.is_empty() {
            *self.queue.edit() = VecDeque::new();
        }
    }

    // --- in flight ---

    /// Messages in flight in any state.
    pub(crate) fn inflight_len(&self) -> usize {
        self.inflight.iter().filter(|entry| !matches!(entry, InFlight::Done)).count()
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.inflight.is_empty()
    }

    /// Whether a message of `bytes` may be sent now, ahead of nothing.
    pub(crate) fn window_open(&self, window: u16, bytes: usize, settings: &Settings) -> bool {
        let bytes_max = settings.max_inflight_bytes;
        self.used < window
            && self.inflight.len() < usize::from(IDENTIFIERS)
            && (bytes_max == 0
                || self.inflight_bytes == 0
                || self.inflight_bytes + bytes <= bytes_max)
    }

    /// Whether nothing has to go before a new message.
    pub(crate) fn nothing_waits(&self) -> bool {
        self.queue.is_empty() && self.resend == 0
    }

    /// Puts a message in flight until it is acknowledged (MQTT-4.3.2-3, MQTT-4.3.3-3). Answers its
    /// packet identifier, which is unused (MQTT-2.2.1-4, MQTT-4.3.2-1, MQTT-4.3.3-1).
    pub(crate) fn launch(&mut self, delivery: Delivery) -> u16 {
        let packet_identifier = self.identifier_at(self.inflight.len());
        self.inflight_bytes += delivery.message.bytes();
        self.used += 1;
        self.inflight.edit().push_back(InFlight::Published(delivery));
        packet_identifier
    }

    /// What to send next on this connection: first what an earlier one left unfinished
    /// (MQTT-4.4.0-1, MQTT-4.6.0-5), in the order in which it was sent (MQTT-4.6.0-1) and with DUP
    /// (MQTT-3.3.1-1), whether it has expired or not (MQTT-4.3.3-7, MQTT-4.3.3-13); then what waits.
    pub(crate) fn next(&mut self, window: u16, settings: &Settings, now: Time) -> Option<Next> {
        while self.resend > 0 {
            if self.used >= window {
                return None;
            }
            let at = self.inflight.len() - usize::from(self.resend);
            self.resend -= 1;
            let packet_identifier = self.identifier_at(at);
            match self.inflight.get(at) {
                Some(InFlight::Published(delivery)) => {
                    self.used += 1;
                    let delivery = delivery.clone();
                    return Some(Next::Publish { packet_identifier, dup: true, delivery });
                }
                Some(InFlight::Released) => {
                    self.used += 1;
                    return Some(Next::Release { packet_identifier });
                }
                Some(InFlight::Done) | None => {}
            }
        }
        loop {
            let front = self.queue.front()?;
            if front.message.expired(now) {
                self.dequeue();
                continue;
            }
            if front.qos != QoS::AtMostOnce
                && !self.window_open(window, front.message.bytes(), settings)
            {
                return None;
            }
            let delivery = self.dequeue()?;
            let packet_identifier = match delivery.qos {
                QoS::AtMostOnce => 0,
                _ => self.launch(delivery.clone()),
            };
            return Some(Next::Publish { packet_identifier, dup: false, delivery });
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
        let at = self.position(packet_identifier);
        match at.and_then(|at| self.inflight.get(at)) {
            Some(InFlight::Published(delivery)) if delivery.qos == QoS::ExactlyOnce => {}
            Some(InFlight::Released) if !refused => return Acknowledged::Release,
            _ => return Acknowledged::Unknown,
        }
        if refused {
            return self.finish(packet_identifier, |_| true);
        }
        let Some(at) = at else { return Acknowledged::Unknown };
        self.replace(at, InFlight::Released);
        Acknowledged::Release
    }

    /// PUBCOMP: ends a QoS 2 flow.
    pub(crate) fn pubcomp(&mut self, packet_identifier: u16) -> Acknowledged {
        self.finish(packet_identifier, |entry| matches!(entry, InFlight::Released))
    }

    /// Takes a message out of flight that turned out not to be sendable (too large).
    pub(crate) fn abandon(&mut self, packet_identifier: u16) {
        self.finish(packet_identifier, |_| true);
    }

    fn finish(
        &mut self,
        packet_identifier: u16,
        fits: impl FnOnce(&InFlight) -> bool,
    ) -> Acknowledged {
        let Some(at) = self.position(packet_identifier) else { return Acknowledged::Unknown };
        match self.inflight.get(at) {
            Some(entry) if fits(entry) => {}
            _ => return Acknowledged::Unknown,
        }
        if at < self.inflight.len() - usize::from(self.resend) {
            self.used = self.used.saturating_sub(1);
        }
        self.replace(at, InFlight::Done);
        self.forget_done();
        Acknowledged::Done
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
        self.first = self.identifier_at(gone);
        self.resend = self.resend.min(self.inflight.len() as u16);
    }

    fn replace(&mut self, at: usize, with: InFlight) {
        let mut ring = self.inflight.edit();
        let Some(entry) = ring.get_mut(at) else { return };
        if let InFlight::Published(delivery) = core::mem::replace(entry, with) {
            self.inflight_bytes -= delivery.message.bytes();
        }
    }

    /// Identifier of the entry at `offset`: identifiers run from 1 to 65,535 and start again.
    fn identifier_at(&self, offset: usize) -> u16 {
        let zero_based = (usize::from(self.first) - 1 + offset) % usize::from(IDENTIFIERS);
        zero_based as u16 + 1
    }

    fn position(&self, packet_identifier: u16) -> Option<usize> {
        let count = usize::from(IDENTIFIERS);
        let offset = (usize::from(packet_identifier) + count - usize::from(self.first)) % count;
        (packet_identifier != 0 && offset < self.inflight.len()).then_some(offset)
    }

    // --- connections come and go ---

    /// The connection is gone: what is in flight will have to be sent again.
    pub(crate) fn connection_lost(&mut self) {
        self.used = 0;
        self.resend = self.inflight.len() as u16;
    }

    /// Everything that no client has begun to take: queued messages and QoS 1 messages in flight.
    /// What remains is an empty flow.
    pub(crate) fn drain_unfinished(&mut self, mut each: impl FnMut(Delivery)) {
        for entry in core::mem::take(&mut *self.inflight.edit()) {
            match entry {
                InFlight::Published(delivery) if delivery.qos == QoS::AtLeastOnce => each(delivery),
                _ => {}
            }
        }
        for delivery in core::mem::take(&mut *self.queue.edit()) {
            each(delivery);
        }
        (self.queued_bytes, self.inflight_bytes, self.queued_qos0) = (0, 0, 0);
        (self.used, self.resend, self.queue_expires_at) = (0, 0, u32::MAX);
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
        let over = count_max != 0 && self.queue.len() >= count_max + self.owed.len();
        let over = over
            || settings.max_queued_bytes != 0
                && self.queued_bytes > settings.max_queued_bytes
                && self.queue.len() >= self.owed.len();
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
        inflight.chain(self.queue.iter().map(|delivery| &delivery.message))
    }
}
