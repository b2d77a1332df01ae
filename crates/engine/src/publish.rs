//! PUBLISH from a client, and the acknowledgements that it gets.

use alloc::string::String;
use alloc::vec::Vec;

use plimsoll_mqtt::encode::AckKind;
use plimsoll_mqtt::{Ack, Packet, Publish, QoS, ReasonCode};

use crate::access::{Action, Decision, mounted};
use crate::dispatch::{Outgoing, Publisher, rare};
use crate::engine::Engine;
use crate::flow::Owed;
use crate::input::{Input, Link};
use crate::load::{Overload, Refusals, Step};
use crate::message::Parts;
use crate::properties::{Forwarded, forwarded};
use crate::retained::RetainedStore;
use crate::session::{Acknowledgement, Rare, Session};
use crate::settings::Settings;

/// Publishes whose acknowledgement is held back before the publisher is read from no more; it is again
/// once half as many are.
const HELD_MAX: usize = 1000;

/// The acknowledgement of one publish of a run.
struct Due {
    packet_identifier: u16,
    qos: QoS,
    answer: Answer,
}

enum Answer {
    /// It depends on what became of the message with this index in the run.
    Routed(usize),
    /// It is settled: not routed again, or not at all.
    Settled(ReasonCode),
}

impl Engine {
    /// MQTT-3.3.4-1. A run of publishes: consecutive ones from one link, on one topic and without properties,
    /// are matched once. Answers how many inputs it took.
    pub(crate) fn handle_publishes(
        &mut self,
        link: Link,
        slot: u32,
        first: &Publish<'_>,
        inputs: &[Input<'_>],
    ) -> usize {
        let alias_topic;
        let topic = match self.resolve_alias(slot, first) {
            Ok(None) => first.topic,
            Ok(Some(topic)) => {
                alias_topic = topic;
                alias_topic.as_str()
            }
            Err(reason) => {
                self.refuse(slot, reason);
                return 1;
            }
        };
        let mounted_topic;
        let topic = match self.mount_point(slot) {
            "" => topic,
            mount_point => {
                mounted_topic = mounted(mount_point, topic);
                mounted_topic.as_str()
            }
        };
        let refusing = self.store_refuses(slot, topic);
        let taken = run_len(link, first, inputs, self.load.run_bytes_max).max(1);
        let retains = publishes(link, inputs).take(taken).any(|publish| publish.retain);
        let topic_step = self.topic_step(topic);
        let overload = self.overload(slot, topic, retains, topic_step);
        let mut refused = Refusals::default();
        let commands = self.dispatch.is_command(topic);
        let permitted = self.may_publish(slot, first, topic);
        let followed = self.dispatch.follows(topic);
        let before = self.dispatch.journal.position();
        let Some(session) = self.sessions.get_mut(slot) else { return 1 };
        let publisher = Publisher { slot, epoch: session.epoch, waits: true };
        let mut ordinal = session.next_ordinal();
        let forwarded = forwarded(&first.properties, self.dispatch.now);
        let mut run = Vec::with_capacity(taken);
        let mut due = Vec::new();
        let mut violation = None;
        let mut full = Vec::new();
        for publish in publishes(link, inputs).take(taken) {
            self.dispatch.trace_received(session, &Packet::Publish(*publish));
            let number = self.dispatch.begin_following(followed, session, topic, publish);
            self.dispatch.counters.publishes_received += 1;
            self.dispatch.counters.publish_bytes_received += publish.payload.len() as u64;
            let admission = admit(session, publish, topic, &self.dispatch.settings)
                .and_then(|| match permitted {
                    true => refusing.admit(publish),
                    false => refusal(publish, ReasonCode::NOT_AUTHORIZED),
                })
                .and_then(|| match commands {
                    true => Admission::Route,
                    false => overload.admit(publish, &mut refused),
                });
            let admission = admission.and_then(|| {
                let asks = publish.retain && told(session, publish);
                let parts = parts(publish, topic, &forwarded);
                let limit = if asks { over_quota(&self.retained, &parts) } else { None };
                full.extend(limit);
                limit.map_or(Admission::Route, |_| refusal(publish, ReasonCode::QUOTA_EXCEEDED))
            });
            let answer = match admission {
                Admission::Route if commands => {
                    self.dispatch.command(session, topic, publish);
                    Answer::Settled(ReasonCode::SUCCESS)
                }
                Admission::Route => Answer::Routed(run.len()),
                Admission::Settle(reason) => Answer::Settled(reason),
                Admission::Ignore => {
                    self.dispatch.follow_refused(link, number, None);
                    continue;
                }
                Admission::Violation(reason) => {
                    self.dispatch.follow_refused(link, number, Some(reason));
                    violation = Some(reason);
                    break;
                }
            };
            // A refused one has not been received: sent again, it is no copy (MQTT-4.3.3-9).
            let refused = matches!(answer, Answer::Settled(reason) if reason.is_error());
            if publish.qos == QoS::ExactlyOnce && !refused {
                self.dispatch.received(session, publish.packet_identifier);
            }
            if let Answer::Routed(_) = answer {
                let mut outgoing = Outgoing::new(parts(publish, topic, &forwarded));
                (outgoing.ordinal, outgoing.step) = (ordinal, topic_step);
                outgoing.number = number;
                run.push(outgoing);
            }
            if publish.qos != QoS::AtMostOnce {
                self.dispatch.follow_acknowledgement(session, ordinal, number);
                ordinal = ordinal.wrapping_add(1);
                let Publish { packet_identifier, qos, .. } = *publish;
                due.push(Due { packet_identifier, qos, answer });
            }
        }
        for limit in full {
            self.retain_refused(topic, limit);
        }
        self.retain_run(&run, overload);
        self.route(&mut run, Some(publisher));
        self.dispatch.follow_routed(link, &run);
        self.promise_since(slot, before);
        self.acknowledge_run(slot, &run, &due);
        let slowed = self.slow_publisher(slot, &run, topic_step);
        self.count_refused(topic, topic_step, overload, refused);
        if topic_step >= Step::SlowPublishers {
            self.count_left_out(topic, topic_step, &run, slowed);
        }
        if let Some(reason) = violation {
            self.refuse(slot, reason);
        }
        taken
    }

    /// Retains what is to be retained of a run.
    fn retain_run(&mut self, run: &[Outgoing<'_>], overload: Overload) {
        for parts in run.iter().map(|outgoing| &outgoing.parts).filter(|parts| parts.retain) {
            if !overload.keeps_from_retaining(parts.payload) {
                self.retain(parts);
            }
        }
    }

    /// Whether the rules let a session publish to a topic.
    fn may_publish(&self, slot: u32, publish: &Publish<'_>, topic: &str) -> bool {
        let Some(session) = self.sessions.get(slot) else { return false };
        let action = Action::Publish { qos: publish.qos, retain: publish.retain };
        self.dispatch.decide(session, action, topic) == Decision::Allow
    }

    /// The mount point of the listener that a session came through.
    pub(crate) fn mount_point(&self, slot: u32) -> &str {
        let listener = self.sessions.get(slot).map_or(0, |session| session.listener);
        &self.dispatch.settings.listener(listener).mount_point
    }

    /// The topic that an alias stands for, and remembers a new one (MQTT-3.3.2-7). Every alias up to
    /// the announced maximum is taken (MQTT-3.3.2-12).
    fn resolve_alias(
        &mut self,
        slot: u32,
        publish: &Publish<'_>,
    ) -> Result<Option<String>, ReasonCode> {
        let Some(alias) = publish.properties.topic_alias() else { return Ok(None) };
        let Some(session) = self.sessions.get_mut(slot) else { return Ok(None) };
        let listener = self.dispatch.settings.listener(session.listener);
        if alias == 0 || alias > listener.max_topic_alias {
            return Err(ReasonCode::TOPIC_ALIAS_INVALID);
        }
        let aliases = &mut rare(session, self.dispatch.ledger).aliases_in;
        if publish.topic.is_empty() {
            // MQTT-3.3.2-8 leaves the topic out only for an alias that is known.
            let topic = aliases.topic(alias).ok_or(ReasonCode::PROTOCOL_ERROR)?;
            return Ok(Some(String::from(topic)));
        }
        aliases.edit().set(alias, publish.topic);
        Ok(None)
    }

    /// What the session is told from now on depends on the records made since `before`.
    pub(crate) fn promise_since(&mut self, slot: u32, before: u64) {
        let position = self.dispatch.journal.position();
        if position > before
            && let Some(session) = self.sessions.get_mut(slot)
        {
            session.promised = position;
        }
    }

    /// Which publishes on a topic are refused while the store cannot write.
    fn store_refuses(&mut self, slot: u32, topic: &str) -> Refusing {
        if !self.dispatch.journal.refuses() {
            return Refusing::default();
        }
        let settings = &self.dispatch.settings;
        let qos0_stored = settings.queue_qos0_messages || settings.upgrade_outgoing_qos;
        Refusing {
            on: true,
            full: self.dispatch.journal.is_full(),
            told: self.sessions.get(slot).is_some_and(|session| session.version.is_v5()),
            receivers: self.stored_receivers(topic) > 0,
            qos0_stored,
        }
    }

    /// PUBACK and PUBREC in the order of the publishes (MQTT-4.6.0-2, MQTT-4.6.0-3), once the message
    /// is ours (MQTT-4.3.2-4).
    fn acknowledge_run(&mut self, slot: u32, run: &[Outgoing<'_>], due: &[Due]) {
        let Some(session) = self.sessions.get_mut(slot) else { return };
        session.flags.pressed |= run.iter().any(|outgoing| outgoing.pressed);
        for due in due {
            let (reason, holds) = match due.answer {
                Answer::Settled(reason) => (reason, 0),
                Answer::Routed(index) => run
                    .get(index)
                    .map_or((ReasonCode::SUCCESS, 0), |o| (verdict(session, o), o.holds)),
            };
            let acknowledgement = Acknowledgement {
                packet_identifier: due.packet_identifier,
                qos: due.qos,
                reason,
                holds,
            };
            let rare = rare_if(session);
            if holds == 0 && rare.is_none_or(|rare| rare.acknowledgements.is_empty()) {
                self.dispatch.acknowledge_publish(session, acknowledgement);
            } else {
                let rare = crate::dispatch::rare(session, self.dispatch.ledger);
                rare.held_qos1 += u16::from(due.qos == QoS::AtLeastOnce);
                rare.acknowledgements.edit().push_back(acknowledgement);
            }
        }
        self.dispatch.pause_if_held(session);
    }

    /// A queue has room again (or will have none): one acknowledgement less waits for it.
    pub(crate) fn pay(&mut self, owed: Owed) {
        let Some(session) = self.sessions.get_mut(owed.slot) else { return };
        if session.epoch != owed.epoch {
            return; // That connection is gone, and its publishes will be sent again.
        }
        let at = owed.sequence.wrapping_sub(session.acknowledged) as usize;
        let Some(rare) = session.rare.as_mut() else { return };
        if let Some(acknowledgement) = rare.acknowledgements.edit().get_mut(at) {
            acknowledgement.holds = acknowledgement.holds.saturating_sub(1);
        }
        self.dispatch.release_acknowledgements(session);
    }

    /// PUBREL: the sender has our PUBREC, so its identifier may be used again (MQTT-4.3.3-11), for a
    /// new message (MQTT-4.3.3-12).
    pub(crate) fn handle_pubrel(&mut self, slot: u32, pubrel: &Ack<'_>) {
        let Some(session) = self.sessions.get_mut(slot) else { return };
        let known =
            session.rare.as_mut().is_some_and(|rare| rare.release(pubrel.packet_identifier));
        if known && session.number != 0 {
            // Without this on disk, a restart would take the next use of the identifier for a copy.
            self.dispatch.journal.delete_received(session.number, pubrel.packet_identifier);
            session.promised = self.dispatch.journal.position();
        }
        let reason =
            if known { ReasonCode::SUCCESS } else { ReasonCode::PACKET_IDENTIFIER_NOT_FOUND };
        self.dispatch.acknowledge(session, AckKind::Pubcomp, pubrel.packet_identifier, reason);
    }
}

impl crate::dispatch::Dispatch {
    /// MQTT-4.3.3-8: what comes with this identifier is a copy from now on.
    fn received(&mut self, session: &mut Session, packet_identifier: u16) {
        let new = rare(session, self.ledger).received.edit().insert(packet_identifier);
        if new && session.number != 0 {
            self.journal.received(session.number, packet_identifier);
        }
    }

    fn acknowledge_publish(&mut self, session: &mut Session, due: Acknowledgement) {
        let ordinal = session.acknowledged;
        session.acknowledged = ordinal.wrapping_add(1);
        if due.qos == QoS::ExactlyOnce && due.reason.is_error() {
            // A refused QoS 2 message has ended here: its identifier is free (MQTT-4.3.3-9).
            if let Some(rare) = session.rare.as_mut()
                && rare.release(due.packet_identifier)
                && session.number != 0
            {
                self.journal.delete_received(session.number, due.packet_identifier);
            }
        }
        let kind = if due.qos == QoS::ExactlyOnce { AckKind::Pubrec } else { AckKind::Puback };
        self.acknowledge(session, kind, due.packet_identifier, due.reason);
        if self.following.is_some() {
            self.follow_acknowledged(session, ordinal, due.reason);
        }
    }

    /// Sends what no longer waits, in the order of the publishes.
    pub(crate) fn release_acknowledgements(&mut self, session: &mut Session) {
        while let Some(rare) = session.rare.as_mut() {
            match rare.acknowledgements.front() {
                Some(front) if front.holds == 0 => {}
                _ => break,
            }
            let mut list = rare.acknowledgements.edit();
            let Some(due) = list.pop_front() else { break };
            if list.is_empty() {
                *list = alloc::collections::VecDeque::new();
            }
            drop(list);
            rare.held_qos1 -= u16::from(due.qos == QoS::AtLeastOnce);
            session.flags.pressed &= !rare.acknowledgements.is_empty();
            self.acknowledge_publish(session, due);
        }
        self.resume_if_relieved(session);
    }

    /// Reads again from a publisher when few enough of its acknowledgements wait.
    pub(crate) fn resume_if_relieved(&mut self, session: &mut Session) {
        if session.flags.paused && held_len(session) <= self.held_max(session) / 2 {
            session.flags.paused = false;
            session.seen_at = self.now;
            if session.flags.slowed {
                return;
            }
            if let Some(outbox) = session.link.and_then(|link| self.outbox(link)) {
                outbox.resume_reading(session.link.unwrap_or(Link::new(0, 0)));
            }
        }
    }

    /// Acknowledgements of a client that may be held back before it is not read from. While memory is
    /// short that is none, for as long as the client has nothing to acknowledge itself: if two of them
    /// waited for each other's queue, neither's acknowledgements would be read.
    fn held_max(&self, session: &Session) -> usize {
        let receives = session.flow.as_ref().is_some_and(|flow| flow.inflight_len() > 0);
        let short = self.holds_publishers || session.flags.pressed;
        if short && !receives { 0 } else { HELD_MAX }
    }

    /// Stops reading from a client that goes on though its answers are held; at once if they wait
    /// for a disk that fails.
    pub(crate) fn pause_if_held(&mut self, session: &mut Session) {
        let in_vain = self.journal.refuses() && session.held > 0;
        if session.flags.paused || !in_vain && held_len(session) <= self.held_max(session) {
            return;
        }
        if let Some(link) = session.link {
            session.flags.paused = true;
            self.journal.paused |= in_vain;
            if let Some(outbox) = self.outbox(link) {
                outbox.pause_reading(link);
            }
        }
    }
}

/// Acknowledgements that wait, for room in a queue or for the store.
fn held_len(session: &Session) -> usize {
    rare_if(session).map_or(0, |rare| rare.acknowledgements.len()) + session.held as usize
}

fn rare_if(session: &Session) -> Option<&Rare> {
    session.rare.as_deref()
}

/// While the store cannot write: what would have to be stored and whose publisher can be told so
/// is refused. Others wait for their acknowledgement.
#[derive(Clone, Copy, Default)]
struct Refusing {
    on: bool,
    /// Nothing more is taken: who cannot be told is closed.
    full: bool,
    /// The publisher can be told.
    told: bool,
    /// Stored sessions would get it.
    receivers: bool,
    /// Even at QoS 0.
    qos0_stored: bool,
}

impl Refusing {
    /// What becomes of a publish that would be routed if the store could write.
    fn admit(self, publish: &Publish<'_>) -> Admission {
        let unacknowledged = publish.qos == QoS::AtMostOnce;
        let queued = self.receivers && (!unacknowledged || self.qos0_stored);
        if !self.on || !publish.retain && !queued {
            Admission::Route
        } else if self.told || unacknowledged {
            refusal(publish, ReasonCode::QUOTA_EXCEEDED)
        } else if self.full {
            Admission::Violation(ReasonCode::QUOTA_EXCEEDED)
        } else {
            Admission::Route
        }
    }
}

/// Whether a publish is routed, and how it is answered if not.
pub(crate) enum Admission {
    Route,
    Settle(ReasonCode),
    Ignore,
    Violation(ReasonCode),
}

impl Admission {
    /// What the next one who is asked says, unless it is decided.
    fn and_then(self, next: impl FnOnce() -> Self) -> Self {
        match self {
            Self::Route => next(),
            decided => decided,
        }
    }
}

fn admit(session: &Session, publish: &Publish<'_>, topic: &str, settings: &Settings) -> Admission {
    if publish.qos > settings.listener(session.listener).max_qos {
        return Admission::Violation(ReasonCode::QOS_NOT_SUPPORTED); // MQTT-3.2.2-11
    }
    if publish.retain && !settings.retain_available {
        return Admission::Violation(ReasonCode::RETAIN_NOT_SUPPORTED); // MQTT-3.2.2-14
    }
    if publish.qos == QoS::ExactlyOnce {
        let id = publish.packet_identifier;
        let rare = rare_if(session);
        if rare.is_some_and(|rare| rare.received.contains(id)) {
            // A copy of what we have (MQTT-4.3.3-10): PUBREC again, unless the first one waits.
            let waits = rare.is_some_and(|rare| {
                rare.acknowledgements
                    .iter()
                    .any(|a| a.qos == QoS::ExactlyOnce && a.packet_identifier == id)
            });
            return if waits { Admission::Ignore } else { Admission::Settle(ReasonCode::SUCCESS) };
        }
    }
    if publish.qos != QoS::AtMostOnce && session.version.is_v5() {
        let unacknowledged = rare_if(session).map_or(0, Rare::unacknowledged);
        if unacknowledged >= settings.receive_maximum() {
            return Admission::Violation(ReasonCode::RECEIVE_MAXIMUM_EXCEEDED); // MQTT-3.3.4-7
        }
    }
    let size_max = settings.message_size_limit as usize;
    if size_max > 0 && publish.payload.len() > size_max {
        return refusal(publish, ReasonCode::QUOTA_EXCEEDED);
    }
    if is_own_topic(topic) {
        return refusal(publish, ReasonCode::NOT_AUTHORIZED);
    }
    Admission::Route
}

/// Whether a topic is the broker's own: clients may read it, not write it.
pub(crate) fn is_own_topic(topic: &str) -> bool {
    topic == "$SYS" || topic.starts_with("$SYS/")
}

/// The limit on retained messages that is in the way of one, if one is.
fn over_quota(retained: &RetainedStore, parts: &Parts<'_>) -> Option<usize> {
    let size = parts.topic.len() + parts.properties.len() + parts.payload.len();
    retained.admits(parts.topic, size).err().filter(|_| !parts.payload.is_empty())
}

/// Whether a publisher can be told that its message is refused.
fn told(session: &Session, publish: &Publish<'_>) -> bool {
    session.version.is_v5() && publish.qos != QoS::AtMostOnce
}

pub(crate) fn refusal(publish: &Publish<'_>, reason: ReasonCode) -> Admission {
    match publish.qos {
        QoS::AtMostOnce => Admission::Ignore,
        _ => Admission::Settle(reason),
    }
}

/// What the publisher is told became of its message.
fn verdict(session: &Session, outgoing: &Outgoing<'_>) -> ReasonCode {
    match (outgoing.taken, outgoing.refused) {
        // In PUBACK alone: PUBREC may say it too, but Mosquitto's does not.
        (0, 0) if outgoing.parts.qos == QoS::AtLeastOnce => ReasonCode::NO_MATCHING_SUBSCRIBERS,
        (0, 1..) if session.version.is_v5() && !outgoing.parts.retain => ReasonCode::QUOTA_EXCEEDED,
        _ => ReasonCode::SUCCESS,
    }
}

/// The publishes of `link` at the front of `inputs`.
fn publishes<'i, 'a>(link: Link, inputs: &'i [Input<'a>]) -> impl Iterator<Item = &'i Publish<'a>> {
    inputs.iter().map_while(move |input| match input {
        Input::Packet { link: other, packet: Packet::Publish(publish) } if *other == link => {
            Some(publish)
        }
        _ => None,
    })
}

/// How many publishes go with the first: the same topic, no properties, and payloads of `bytes_max` in all.
fn run_len(link: Link, first: &Publish<'_>, inputs: &[Input<'_>], bytes_max: usize) -> usize {
    if !first.properties.is_empty() {
        return 1;
    }
    let mut bytes = 0;
    let same = |publish: &&Publish<'_>| {
        bytes += publish.topic.len() + publish.payload.len();
        publish.topic == first.topic && publish.properties.is_empty() && bytes <= bytes_max
    };
    publishes(link, inputs).take_while(same).count()
}

fn parts<'a>(publish: &Publish<'a>, topic: &'a str, forwarded: &'a Forwarded<'a>) -> Parts<'a> {
    Parts {
        topic,
        properties: forwarded.bytes(),
        payload: publish.payload,
        qos: publish.qos,
        retain: publish.retain,
        expires_at: forwarded.expires_at,
    }
}
