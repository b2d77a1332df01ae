//! Where promises leave, and where messages go that have to outlive the process.

use alloc::vec::Vec;

use plimsoll_mqtt::Packet;
use plimsoll_mqtt::encode;

use super::held::{HeldPart, What};
use crate::dispatch::{Dispatch, Way};
use crate::flow::{Delivery, Origin, OriginKind};
use crate::follow::Stage;
use crate::message::Message;
use crate::outbox::Outbox;
use crate::session::Session;

/// What a released part asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Released {
    /// Nothing more.
    Sent,
    /// The session's replays can begin.
    Replay,
    /// The session may be sent what waits for it.
    Pump,
}

impl Dispatch {
    /// Sends a packet that promises what was done for this session so far.
    pub(crate) fn promise_packet(&mut self, session: &mut Session, packet: &Packet<'_>) {
        self.packet_or_promise(session, packet, true);
    }

    pub(crate) fn packet_or_promise(
        &mut self,
        session: &mut Session,
        packet: &Packet<'_>,
        promise: bool,
    ) {
        self.trace_sent(session, packet);
        let (version, limit) = (session.version, session.packet_size_max);
        self.promise(session, promise, |out| {
            let _ = encode::packet_within(packet, version, limit, out);
        });
    }

    /// **The one place where a promise leaves.** A frame that promises something waits until every
    /// record that the session depends on is on disk ([`Session::promised`]); others go at once,
    /// except behind a CONNACK that waits (MQTT-3.2.0-1).
    pub(crate) fn promise(
        &mut self,
        session: &mut Session,
        promise: bool,
        encode: impl FnOnce(&mut Vec<u8>),
    ) {
        let Some(link) = session.link else { return };
        // Behind what waits already: acknowledgements keep their order (MQTT-4.6.0-2).
        let behind = session.held > 0;
        let waits = promise && (behind || !self.journal.covers(session.promised));
        let sent = if waits || session.flags.greeting {
            let mut frame = core::mem::take(&mut self.frame);
            frame.clear();
            encode(&mut frame);
            let bytes = frame.len();
            self.hold(session, What::Bytes(bytes as u32), &frame);
            self.frame = frame;
            self.pause_if_held(session);
            bytes
        } else {
            let Some(outbox) = self.outboxes.get_mut(link.shard()) else { return };
            outbox.frame(link, encode)
        };
        self.sent(session, sent);
    }

    /// Keeps something for this connection until what it depends on is on disk.
    pub(crate) fn hold(&mut self, session: &mut Session, what: What, bytes: &[u8]) {
        session.held += 1;
        self.journal.hold(session.promised, session.slot, session.epoch, what, bytes);
    }

    /// Lets go of something that waited.
    pub(crate) fn release(
        &mut self,
        session: &mut Session,
        part: &HeldPart,
        bytes: &[u8],
    ) -> Released {
        session.held = session.held.saturating_sub(1);
        let mut released = Released::Sent;
        match part.what {
            What::Bytes(_) => {
                if let Some((link, outbox)) = session.link.zip(self.outbox_of(session)) {
                    outbox.frame(link, |out| out.extend_from_slice(bytes));
                }
                if core::mem::take(&mut session.flags.greeting) {
                    released = Released::Pump; // The first that waited is CONNACK.
                }
            }
            What::Replay => released = Released::Replay,
            What::Traced { number, reason } => {
                let stage = Stage::Acknowledged { reason, stored: part.position };
                self.traced(session.link, number, stage);
            }
            What::Durable(before) => {
                session.flags.awaits_durable = false;
                if let Some(flow) = session.flow.as_mut() {
                    flow.durable_before = before;
                    if flow.next_sequence() > before {
                        self.await_durable(session);
                    }
                }
                released = Released::Pump;
            }
        }
        self.resume_if_relieved(session);
        released
    }

    /// A session is connected again: QoS 2 messages that were queued meanwhile may be sent when
    /// they are on disk.
    pub(crate) fn resume_durable(&mut self, session: &mut Session) {
        let (covered, Some(flow)) = (self.journal.covers(session.promised), session.flow.as_mut())
        else {
            return;
        };
        if flow.durable_before >= flow.next_sequence() {
            return;
        }
        if covered {
            flow.durable_before = flow.next_sequence();
        } else {
            self.await_durable(session);
        }
    }

    /// The session's QoS 2 messages queued so far may be sent when they are on disk.
    pub(crate) fn await_durable(&mut self, session: &mut Session) {
        let Some(flow) = session.flow.as_ref() else { return };
        let before = flow.next_sequence();
        if !session.flags.awaits_durable && session.is_connected() {
            session.flags.awaits_durable = true;
            self.hold(session, What::Durable(before), &[]);
        }
    }

    fn outbox_of(&mut self, session: &Session) -> Option<&mut Outbox> {
        self.outboxes.get_mut(session.link?.shard())
    }

    /// Lets a message wait for the session, in the store too if it is stored.
    pub(crate) fn wait(
        &mut self,
        session: &mut Session,
        delivery: Delivery,
        way: &Way<'_>,
        shared: bool,
    ) {
        let in_store = session.number != 0 && delivery.sequence != 0;
        if in_store {
            self.record_queued(session, &delivery, way, shared);
        }
        let connected = session.is_connected();
        let entangled = entangled(&delivery.message, way.origin);
        let kept = self.stored_entries(session);
        match session.flow.as_mut() {
            Some(flow) if in_store => {
                flow.enqueue_stored(delivery, kept, connected, entangled);
            }
            Some(flow) => flow.enqueue(delivery),
            None => {}
        }
    }

    /// Stores a message that a stored session has to take.
    pub(crate) fn record_queued(
        &mut self,
        session: &Session,
        delivery: &Delivery,
        way: &Way<'_>,
        shared: bool,
    ) {
        if session.number != 0 {
            let identifiers = session.identifiers(delivery.origin);
            self.journal.queue(session.number, delivery, identifiers, way.group, shared);
        }
    }

    /// A session is done with a message: the store forgets it.
    pub(crate) fn forget(&mut self, session: &Session, sequence: u64, message: Option<&Message>) {
        if session.number != 0 && sequence != 0 {
            self.journal.unqueue(session.number, sequence, message);
        }
    }
}

/// Whether a queued message refers to something that others have a part in.
pub(crate) fn entangled(message: &Message, origin: Origin) -> bool {
    message.body() != 0 || matches!(origin.resolve(), OriginKind::Shared(_))
}
