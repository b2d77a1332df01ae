//! Sending: frames to connections, with the limits of each client.

use alloc::sync::Arc;
use alloc::vec::Vec;

use plimsoll_ledger::{Account, Boxed, Ledger};
use plimsoll_mqtt::{Packet, Publish, QoS, ReasonCode, encode};

use crate::access::Access;
use crate::budgets::{Budgets, Topics, queues_nothing};
use crate::counters::Counters;
use crate::durable::Journal;
use crate::event::{Cause, Event, Limit};
use crate::flow::{Acknowledged, Delivery, Flow, Origin, OriginKind, Owed};
use crate::follow::Following;
use crate::hash::Seeded;
use crate::input::Link;
use crate::load::Step;
use crate::message::{EXPIRY_LAST, Message, Parts};
use crate::outbox::{BODY_SHARED_BYTES_MIN, Outbox};
use crate::session::{Rare, Session};
use crate::settings::Settings;
use crate::time::Time;

/// What sending needs beside the session: where frames go, limits, counts, the time of this turn.
#[derive(Debug)]
pub(crate) struct Dispatch {
    pub(crate) settings: Settings,
    pub(crate) counters: Counters,
    pub(crate) outboxes: Vec<Outbox>,
    pub(crate) ledger: &'static Ledger,
    pub(crate) now: Time,
    pub(crate) journal: Journal,
    /// Who may do what; `None` is everything.
    pub(crate) access: Option<Arc<dyn Access>>,
    /// Publishes whose way somebody wants to know.
    pub(crate) following: Option<Boxed<Following>>,
    pub(crate) budgets: Budgets,
    pub(crate) topics: Topics,
    /// Sessions that are in the store.
    pub(crate) stored_sessions: usize,
    /// QoS 0 is dropped for clients that have output waiting.
    pub(crate) drops_qos0: bool,
    /// A publisher is not read from while an acknowledgement is held back for it.
    pub(crate) holds_publishers: bool,
    scratch: Vec<u8>,
    properties: Vec<u8>,
    /// Working space for a frame that is kept.
    pub(crate) frame: Vec<u8>,
}

/// A message that is being routed. Its block is made when the first session has to hold it.
#[derive(Debug)]
pub(crate) struct Outgoing<'a> {
    pub(crate) parts: Parts<'a>,
    message: Option<Message>,
    /// Number of its acknowledgement on the publisher's connection.
    pub(crate) ordinal: u32,
    /// Subscribers that took it or hold it.
    pub(crate) taken: u32,
    /// Subscribers whose queue it did not get into.
    pub(crate) refused: u32,
    /// Queues that its acknowledgement waits for.
    pub(crate) holds: u16,
    /// One of them is short of a budget, too.
    pub(crate) pressed: bool,
    /// Several stored sessions may queue it.
    pub(crate) shared: bool,
    /// What it is called if it is followed; 0 if not.
    pub(crate) number: u32,
    /// The step of a budget that its topic has.
    pub(crate) step: Step,
    /// Sessions that are away and did not get it into their queue because of that.
    pub(crate) unqueued: u32,
    /// Connected clients that did not get it, at QoS 0, because of that.
    pub(crate) qos0_dropped: u32,
}

impl<'a> Outgoing<'a> {
    pub(crate) fn new(parts: Parts<'a>) -> Self {
        Self {
            parts,
            message: None,
            ordinal: 0,
            taken: 0,
            refused: 0,
            holds: 0,
            pressed: false,
            shared: false,
            number: 0,
            step: Step::Clear,
            unqueued: 0,
            qos0_dropped: 0,
        }
    }

    pub(crate) fn shared(parts: Parts<'a>, message: Message) -> Self {
        Self { message: Some(message), ..Self::new(parts) }
    }
}

/// Whose message it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Publisher {
    pub(crate) slot: u32,
    pub(crate) epoch: u32,
    /// Whether it can be made to wait for its acknowledgement: a will's is gone.
    pub(crate) waits: bool,
}

/// How a message is to reach one session.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Way<'a> {
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
    pub(crate) origin: Origin,
    /// The Subscription Identifier that `origin` stands for; 0 is none (or a list of them).
    pub(crate) identifier: u32,
    /// Filter of the shared subscription that it comes from.
    pub(crate) group: Option<&'a str>,
}

/// One PUBLISH packet to one client.
struct Frame<'a> {
    parts: &'a Parts<'a>,
    message: Option<&'a Message>,
    packet_identifier: u16,
    qos: QoS,
    retain: bool,
    dup: bool,
    origin: Origin,
    identifier: u32,
}

impl Dispatch {
    pub(crate) fn new(
        settings: Settings,
        shards: usize,
        ledger: &'static Ledger,
        seeded: Seeded,
    ) -> Self {
        Self {
            journal: Journal::new(settings.persistence, ledger),
            budgets: Budgets::new(ledger, seeded),
            topics: Topics::default(),
            stored_sessions: 0,
            drops_qos0: false,
            holds_publishers: false,
            access: None,
            following: None,
            settings,
            counters: Counters::default(),
            outboxes: (0..shards).map(|_| Outbox::new(ledger)).collect(),
            ledger,
            now: Time::default(),
            scratch: Vec::new(),
            properties: Vec::new(),
            frame: Vec::new(),
        }
    }

    /// MQTT-4.9.0-1: the most messages that may be in flight to a client that announced `receive_maximum`.
    pub(crate) fn window(&self, receive_maximum: u16) -> u16 {
        match self.settings.max_inflight_messages {
            0 => receive_maximum,
            most => most.min(receive_maximum),
        }
    }

    /// QoS towards a subscriber (MQTT-3.8.4-8): the lower of both, unless told to upgrade.
    pub(crate) fn effective_qos(&self, published: QoS, granted: QoS) -> QoS {
        if self.settings.upgrade_outgoing_qos { granted } else { published.min(granted) }
    }

    pub(crate) fn outbox(&mut self, link: Link) -> Option<&mut Outbox> {
        self.outboxes.get_mut(link.shard())
    }

    /// Sends a packet that is not a PUBLISH. It goes whatever the client's backlog is, but never
    /// beyond its Maximum Packet Size (MQTT-3.1.2-24).
    pub(crate) fn packet(&mut self, session: &mut Session, packet: &Packet<'_>) {
        self.packet_or_promise(session, packet, false);
    }

    /// Sends PUBACK, PUBREC, PUBREL or PUBCOMP; never a Reason String or User Property with it, so
    /// Request Problem Information is kept to either way (MQTT-3.1.2-29).
    pub(crate) fn acknowledge(
        &mut self,
        session: &mut Session,
        kind: encode::AckKind,
        packet_identifier: u16,
        reason: ReasonCode,
    ) {
        if session.link.is_none() {
            return;
        }
        self.trace_acknowledged(session, kind, packet_identifier, reason);
        let version = session.version;
        self.promise(session, true, |out| {
            encode::ack(out, version, kind, packet_identifier, reason);
        });
    }

    /// Gives back working space.
    pub(crate) fn shrink(&mut self) {
        (self.scratch, self.properties, self.frame) = Default::default();
    }

    pub(crate) fn sent(&mut self, session: &mut Session, bytes: usize) {
        if bytes > 0 {
            self.counters.packets_sent += 1;
            self.counters.bytes_sent += bytes as u64;
            if session.unflushed == 0 {
                session.progress_at = session.progress_at.max(self.now); // It waits from now on.
            }
            session.unflushed = session.unflushed.saturating_add(bytes as u32);
        }
    }

    /// Logs something about the session's connection.
    pub(crate) fn event(&mut self, link: Option<Link>, event: Event) {
        let link = link.unwrap_or(Link::new(0, Link::SLOTS_MAX));
        if let Some(outbox) = self.outbox(link) {
            outbox.event(link, event);
        }
    }

    /// Closes a link that has a session, telling a 5.0 client why, without Session Expiry Interval
    /// (MQTT-3.14.2-2). Nothing is sent behind it (MQTT-3.14.4-1).
    pub(crate) fn close(&mut self, session: &mut Session, reason: ReasonCode) {
        if session.version.is_v5() && reason != ReasonCode::SUCCESS {
            self.packet(session, &Packet::Disconnect(plimsoll_mqtt::Disconnect::new(reason)));
        }
        let Some(link) = session.link else { return };
        if let Some(outbox) = self.outbox(link) {
            outbox.close(link);
        }
        let client = session.client_identifier.clone();
        self.event(Some(link), Event::Disconnected { client, cause: Cause::Broker(reason) });
    }

    /// The block of a message under way, made if this is the first who needs it.
    fn message(&mut self, outgoing: &mut Outgoing<'_>) -> Message {
        let (ledger, scratch, now) = (self.ledger, &mut self.scratch, self.now);
        let (parts, topics) = (&outgoing.parts, &self.topics);
        let made = || Message::counted(ledger, scratch, parts, now, topics.part(parts.topic));
        outgoing.message.get_or_insert_with(made).clone()
    }

    /// MQTT-4.5.0-1: brings a message to one session: sends it, queues it, or counts it as dropped.
    ///
    /// Answers whether the session's deadline may have changed.
    pub(crate) fn deliver(
        &mut self,
        session: &mut Session,
        outgoing: &mut Outgoing<'_>,
        way: &Way<'_>,
        publisher: Option<Publisher>,
    ) -> bool {
        if way.qos == QoS::AtMostOnce {
            return self.deliver_unacknowledged(session, outgoing, way);
        }
        if outgoing.message.is_none() {
            self.message(outgoing);
        }
        let Some(message) = outgoing.message.clone() else { return false };
        let (ledger, bytes, expires) =
            (self.ledger, message.bytes(), message.expires_at().is_some());
        let window = session.window;
        let connected = session.is_connected();
        let open = session.is_open() && session.unflushed < self.output_max(session);
        let step = self.budgets.step(session).max(outgoing.step);
        let queued_max = self.queued_max_at(session, step);
        let queues_nothing = queues_nothing(session, step);
        let stalled = session.flags.stalled;
        let late = session.number != 0 && self.journal.must_precede(way.qos);
        let flow = session
            .flow
            .get_or_insert_with(|| Boxed::new(ledger, Account::Inflight, Flow::new(ledger), 0));
        let launch = open
            && !late
            && flow.nothing_waits()
            && flow.window_open(window, flow.next_sequence(), bytes, &self.settings);
        let room = launch || !queues_nothing && flow.has_room(&self.settings, queued_max, bytes);
        let owed = publisher.filter(|publisher| publisher.waits && !room && connected && !stalled);
        if !room && owed.is_none() {
            outgoing.refused += 1;
            self.refuse_queued(session, outgoing, queues_nothing);
            return false;
        }
        outgoing.taken += 1;
        let sequence = flow.take_sequence();
        let (qos, retain) = (way.qos, way.retain);
        let delivery = Delivery { message, sequence, origin: way.origin, qos, retain };
        if let Some(publisher) = owed {
            // Back-pressure: it waits here, and its acknowledgement waits with it.
            outgoing.holds += 1;
            outgoing.pressed |= step >= Step::SlowPublishers;
            if !flow.owes() {
                session.progress_at = session.progress_at.max(self.now);
            }
            let Publisher { slot, epoch, .. } = publisher;
            flow.owe(Owed { slot, epoch, sequence: outgoing.ordinal });
        }
        if launch {
            self.record_queued(session, &delivery, way, outgoing.shared);
            let Some(flow) = session.flow.as_mut() else { return false };
            let packet_identifier = flow.launch(delivery);
            if self.send_launched(session, outgoing, packet_identifier, way) {
                self.follow_taken(session, outgoing, qos, sequence, true);
            } else {
                self.follow_dropped(session, outgoing, Limit::PacketTooLarge);
            }
            self.budgets.settle(session);
            return false;
        }
        self.wait(session, delivery, way, outgoing.shared);
        self.budgets.settle(session);
        self.follow_taken(session, outgoing, qos, sequence, false);
        if late {
            session.promised = self.journal.position();
            if let Some(flow) = session.flow.as_mut() {
                flow.durable_before = flow.durable_before.min(sequence);
            }
            self.await_durable(session);
        }
        expires || owed.is_some()
    }

    /// QoS 0: sent once, with DUP 0 (MQTT-4.3.1-1). Neither it nor anything but QoS 1 and 2 waits
    /// for the client's quota (MQTT-3.3.4-10).
    fn deliver_unacknowledged(
        &mut self,
        session: &mut Session,
        outgoing: &mut Outgoing<'_>,
        way: &Way<'_>,
    ) -> bool {
        outgoing.taken += 1;
        let behind = session.flow.as_ref().is_some_and(|flow| flow.qos0_waits());
        let connected = session.is_connected();
        let waits = connected || self.settings.queue_qos0_messages;
        let late = waits && (behind || !session.is_open() || session.is_behind());
        if late && self.drops_qos0 {
            self.counters.load.qos0_dropped += 1;
            self.missed(session, outgoing, Limit::Memory);
            return false;
        }
        let step = self.budgets.step(session).max(outgoing.step);
        if late && step >= Step::DropQos0 {
            outgoing.qos0_dropped += u32::from(outgoing.step >= Step::DropQos0);
            self.budgets.count(session, Step::DropQos0, |counts| counts.qos0_dropped += 1);
            self.missed(session, outgoing, Limit::Budget);
            return false;
        }
        if session.is_open() && !behind {
            if session.unflushed >= self.output_max(session) {
                self.missed(session, outgoing, Limit::OutputFull);
                return false;
            }
            if outgoing.message.is_none() && outgoing.parts.payload.len() >= BODY_SHARED_BYTES_MIN {
                self.message(outgoing);
            }
            let frame = Frame {
                parts: &outgoing.parts,
                message: outgoing.message.as_ref(),
                packet_identifier: 0,
                qos: QoS::AtMostOnce,
                retain: way.retain,
                dup: false,
                origin: way.origin,
                identifier: way.identifier,
            };
            if self.send(session, &frame) {
                self.follow_taken(session, outgoing, QoS::AtMostOnce, 0, true);
            } else {
                self.missed(session, outgoing, Limit::PacketTooLarge);
            }
            return false;
        }
        if !connected && !self.settings.queue_qos0_messages {
            return false;
        }
        let message = self.message(outgoing);
        let (ledger, expires) = (self.ledger, message.expires_at().is_some());
        let room = self.has_room_at(session, step, message.bytes());
        let flow = session
            .flow
            .get_or_insert_with(|| Boxed::new(ledger, Account::Inflight, Flow::new(ledger), 0));
        if room {
            // Behind others in the store it cannot wait in memory alone, or it would overtake them.
            let stored =
                session.number != 0 && (self.settings.queue_qos0_messages || flow.stored.count > 0);
            let sequence = if stored { flow.take_sequence() } else { 0 };
            let (qos, retain) = (way.qos, way.retain);
            let delivery = Delivery { message, sequence, origin: way.origin, qos, retain };
            self.wait(session, delivery, way, outgoing.shared);
            self.budgets.settle(session);
            self.follow_taken(session, outgoing, qos, sequence, false);
            return expires;
        }
        self.missed(
            session,
            outgoing,
            if connected { Limit::OutputFull } else { Limit::QueueFull },
        );
        false
    }

    /// A first transmission: DUP is 0 (MQTT-4.3.2-2, MQTT-4.3.3-2), whatever it was when the message
    /// came (MQTT-3.3.1-3). Answers whether the client takes packets of that size.
    fn send_launched(
        &mut self,
        session: &mut Session,
        outgoing: &Outgoing<'_>,
        packet_identifier: u16,
        way: &Way<'_>,
    ) -> bool {
        let frame = Frame {
            parts: &outgoing.parts,
            message: outgoing.message.as_ref(),
            packet_identifier,
            qos: way.qos,
            retain: way.retain,
            dup: false,
            origin: way.origin,
            identifier: way.identifier,
        };
        let fits = self.send(session, &frame);
        if !fits {
            self.too_large(session, packet_identifier);
        }
        self.resume_if_relieved(session); // It has something to acknowledge now.
        fits
    }

    /// Sends a delivery that comes out of the session's flow.
    pub(crate) fn send_delivery(
        &mut self,
        session: &mut Session,
        delivery: &Delivery,
        packet_identifier: u16,
        dup: bool,
        identifier: u32,
    ) {
        let parts = delivery.message.parts();
        let frame = Frame {
            parts: &parts,
            message: Some(&delivery.message),
            packet_identifier,
            qos: delivery.qos,
            retain: delivery.retain,
            dup,
            origin: delivery.origin,
            identifier,
        };
        if !self.send(session, &frame) {
            self.too_large(session, packet_identifier);
        } else if self.following.is_some() {
            self.follow_sent(session, delivery.sequence, delivery.qos);
        }
    }

    /// MQTT-3.1.2-25: a message that is too large for this client counts as delivered to it.
    fn too_large(&mut self, session: &mut Session, packet_identifier: u16) {
        if let (Some(flow), true) = (session.flow.as_mut(), packet_identifier != 0)
            && let Acknowledged::Done { sequence, message } = flow.abandon(packet_identifier)
        {
            self.forget(session, sequence, message.as_ref());
        }
        self.dropped(session, Limit::PacketTooLarge);
    }

    /// Encodes a PUBLISH. Answers whether it fits into the client's Maximum Packet Size.
    fn send(&mut self, session: &mut Session, frame: &Frame<'_>) -> bool {
        let Some(link) = session.link else { return true };
        if self.settings.trace {
            self.trace_frame(session, frame);
        }
        let mount_point = &self.settings.listener(session.listener).mount_point;
        let seen = frame.parts.topic;
        let seen = seen.strip_prefix(mount_point.as_str()).unwrap_or(seen);
        let mut topic = seen.as_bytes();
        // Properties stand in the order of Mosquitto 2.1: the publisher's, then these.
        self.properties.clear();
        let mut forwarded: &[u8] = &[];
        let mut new_alias = None;
        if session.version.is_v5() {
            forwarded = frame.parts.properties;
            self.expiry(frame);
            new_alias = self.alias(session, &mut topic);
            self.identifiers(session, frame);
        }
        let publish = encode::PublishStart {
            version: session.version,
            dup: frame.dup,
            qos: frame.qos,
            retain: frame.retain,
            topic,
            packet_identifier: frame.packet_identifier,
            properties: [forwarded, &self.properties],
            payload_len: frame.parts.payload.len(),
        };
        let total = publish.packet_len();
        if total > session.packet_size_max as usize {
            return false;
        }
        // Only what is really sent may be referred to later.
        if let Some(alias) = new_alias {
            let aliases = &mut rare(session, self.ledger).aliases_out;
            aliases.edit().set(alias, seen);
        }
        let Some(outbox) = self.outboxes.get_mut(link.shard()) else { return true };
        match frame.message {
            Some(message) if frame.parts.payload.len() >= BODY_SHARED_BYTES_MIN => {
                outbox.frame(link, |out| publish.encode(out));
                outbox.body(link, message);
            }
            _ => {
                outbox.frame(link, |out| {
                    publish.encode(out);
                    out.extend_from_slice(frame.parts.payload);
                });
            }
        }
        self.counters.publishes_sent += 1;
        self.counters.publish_bytes_sent += frame.parts.payload.len() as u64;
        self.sent(session, total);
        true
    }

    fn trace_frame(&mut self, session: &Session, frame: &Frame<'_>) {
        let publish = Publish {
            dup: frame.dup,
            qos: frame.qos,
            retain: frame.retain,
            topic: frame.parts.topic,
            packet_identifier: frame.packet_identifier,
            properties: Default::default(),
            payload: frame.parts.payload,
        };
        self.trace_sent(session, &Packet::Publish(publish));
    }

    /// Message Expiry Interval: what is left of it (MQTT-3.3.2-6). The latest that is stored
    /// does not come to pass, and stays the longest interval that there is.
    fn expiry(&mut self, frame: &Frame<'_>) {
        if let Some(at) = frame.parts.expires_at {
            let left =
                if at == EXPIRY_LAST { u32::MAX } else { at.saturating_sub(self.now.as_secs()) };
            encode::property_message_expiry_interval(&mut self.properties, left);
        }
    }

    /// Subscription Identifiers (MQTT-3.3.4-3 to -5).
    fn identifiers(&mut self, session: &Session, frame: &Frame<'_>) {
        let out = &mut self.properties;
        if let (OriginKind::List(index), Some(rare)) = (frame.origin.resolve(), &session.rare) {
            for &identifier in rare.identifier_lists.list(index) {
                encode::property_subscription_identifier(out, identifier);
            }
        } else if frame.identifier != 0 {
            encode::property_subscription_identifier(out, frame.identifier);
        }
    }

    /// No more aliases than the client allows, and none if it allows none (MQTT-3.1.2-26,
    /// MQTT-3.1.2-27, MQTT-3.3.2-11). Puts a Topic Alias in place of a topic that has one (MQTT 5.0, 3.3.2.3.4). Answers the alias
    /// if this packet is the one that makes it known.
    fn alias(&mut self, session: &Session, topic: &mut &[u8]) -> Option<u16> {
        if session.topic_alias_max == 0 {
            return None;
        }
        let known = session.rare.as_ref().map(|rare| &rare.aliases_out);
        if let Some(alias) = known.and_then(|aliases| aliases.alias(topic)) {
            encode::property_topic_alias(&mut self.properties, alias);
            *topic = &[];
            return None;
        }
        let used = known.map_or(0, |aliases| aliases.len());
        // A client with a tight limit on packets gets no larger ones for the sake of smaller ones.
        let roomy = session.packet_size_max == u32::MAX;
        if !roomy || used >= session.topic_alias_max {
            return None;
        }
        encode::property_topic_alias(&mut self.properties, used + 1);
        Some(used + 1)
    }
}

/// The rarely needed part of a session, made when it is first needed.
pub(crate) fn rare<'s>(session: &'s mut Session, ledger: &'static Ledger) -> &'s mut Rare {
    session.rare.get_or_insert_with(|| Boxed::new(ledger, Account::Sessions, Rare::new(ledger), 0))
}
