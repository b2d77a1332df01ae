//! From a topic name to sessions.

use alloc::vec::Vec;
use core::mem::size_of;

use plimsoll_mqtt::QoS;

use crate::dispatch::{Dispatch, Outgoing, Publisher, Way};
use crate::engine::Engine;
use crate::flow::{Delivery, Origin, OriginKind};
use crate::groups::{Groups, Readiness};
use crate::message::{Message, Parts};
use crate::session::{GROUP, Session};
use crate::subscriptions::{Subscriber, SubscriptionOptions};

/// Somebody whose filter matches: a session, or (with the top bit) a shared group.
pub(crate) type Target = (Subscriber, SubscriptionOptions);

/// Working space for targets that is kept between messages.
const TARGETS_KEEP: usize = 64 * 1024 / size_of::<Target>();

impl Engine {
    /// Routes messages of one topic to everybody who subscribes to it.
    ///
    /// The outer loop is over subscribers and the inner one over messages, so each session is
    /// looked up once and its frames lie side by side. Order within a topic is kept.
    pub(crate) fn route(&mut self, run: &mut [Outgoing<'_>], publisher: Option<Publisher>) {
        let Some(first) = run.first() else { return };
        let mut targets = core::mem::take(&mut self.targets);
        targets.clear();
        self.subscriptions.matches(first.parts.topic, |entries| targets.extend_from_slice(entries));
        if targets.len() > 1 {
            targets.sort_unstable_by_key(|(subscriber, _)| subscriber.0);
            if self.dispatch.stored_sessions > 1 && self.count_stored(&targets) > 1 {
                for outgoing in run.iter_mut() {
                    outgoing.shared = true;
                }
            }
        }
        for same in targets.chunk_by(|(a, _), (b, _)| a.0 == b.0) {
            match *same {
                [(subscriber, _), ..] if subscriber.0 & GROUP != 0 => {
                    self.deliver_shared(subscriber.0 & !GROUP, run, publisher);
                }
                [(subscriber, options)] => {
                    let origin = Origin::identifier(options.identifier());
                    self.deliver_to(subscriber.0, options, origin, run, publisher);
                }
                [(subscriber, _), ..] => {
                    self.deliver_overlapping(subscriber.0, same, run, publisher);
                }
                [] => {}
            }
        }
        if targets.capacity() > TARGETS_KEEP {
            targets = Vec::new();
        }
        self.targets = targets;
    }

    /// How many stored sessions may get a message on this topic.
    pub(crate) fn stored_receivers(&mut self, topic: &str) -> usize {
        let mut targets = Vec::new();
        self.subscriptions.matches(topic, |entries| targets.extend_from_slice(entries));
        self.count_stored(&targets)
    }

    /// A shared group counts as one.
    fn count_stored(&self, targets: &[Target]) -> usize {
        let stored = |slot: u32| self.sessions.get(slot).is_some_and(|s| s.number != 0);
        let counts = |(subscriber, options): &&Target| {
            options.qos() != QoS::AtMostOnce
                && match subscriber.0 & GROUP {
                    0 => stored(subscriber.0),
                    _ => {
                        let group = self.groups.get(subscriber.0 & !GROUP);
                        group.is_some_and(|g| g.members.iter().any(|member| stored(member.slot)))
                    }
                }
        };
        targets.iter().filter(counts).count()
    }

    /// Publishes a message for which nobody waits: a will of `publisher`, or `$SYS`.
    pub(crate) fn publish_parts(&mut self, parts: Parts<'_>, publisher: Option<Publisher>) {
        if parts.retain {
            self.retain(&parts);
        }
        let mut outgoing = Outgoing::new(parts);
        outgoing.step = self.topic_step(outgoing.parts.topic);
        self.route(&mut [outgoing], publisher);
    }

    /// Delivers a run to one session by those of its subscriptions that match.
    pub(crate) fn deliver_entries(
        &mut self,
        slot: u32,
        entries: &[Target],
        run: &mut [Outgoing<'_>],
    ) {
        self.deliver_overlapping(slot, entries, run, None);
    }

    /// Delivers a run to one session by one subscription.
    fn deliver_to(
        &mut self,
        slot: u32,
        options: SubscriptionOptions,
        origin: Origin,
        run: &mut [Outgoing<'_>],
        publisher: Option<Publisher>,
    ) {
        // MQTT-3.8.3-3
        if options.no_local() && publisher.is_some_and(|publisher| publisher.slot == slot) {
            return;
        }
        let Some(first) = run.first() else { return };
        let Some(session) = self.sessions.get_mut(slot) else { return };
        if !self.dispatch.may_receive(session, first.parts.topic) {
            return;
        }
        let group = match origin.resolve() {
            OriginKind::Shared(number) => self.groups.get(number).map(|group| &*group.filter),
            _ => None,
        };
        let mut deadline_moved = false;
        for outgoing in run {
            let way = Way {
                qos: self.dispatch.effective_qos(outgoing.parts.qos, options.qos()),
                retain: options.retain_as_published() && outgoing.parts.retain, // MQTT-3.3.1-12, -13
                origin,
                identifier: options.identifier(),
                group,
            };
            deadline_moved |= self.dispatch.deliver(session, outgoing, &way, publisher);
        }
        if deadline_moved {
            self.reschedule(slot);
        }
    }

    /// Delivers a run to one session of which several filters match: once, at the highest QoS
    /// (MQTT-3.3.4-2) and with all identifiers (MQTT-3.3.4-4); or, to a 3.x client while
    /// `allow_duplicate_messages` is on, once for each.
    fn deliver_overlapping(
        &mut self,
        slot: u32,
        entries: &[Target],
        run: &mut [Outgoing<'_>],
        publisher: Option<Publisher>,
    ) {
        let Some(session) = self.sessions.get_mut(slot) else { return };
        if !session.version.is_v5() && self.dispatch.settings.allow_duplicate_messages {
            for &(_, options) in entries {
                self.deliver_to(slot, options, Origin::PLAIN, run, publisher);
            }
            return;
        }
        let own = publisher.is_some_and(|publisher| publisher.slot == slot);
        let counting = entries.iter().map(|&(_, options)| options);
        let counting = counting.filter(|options| !(own && options.no_local()));
        let Some(qos) = counting.clone().map(SubscriptionOptions::qos).max() else { return };
        let retain = counting.clone().any(SubscriptionOptions::retain_as_published);
        let mut identifiers: Vec<u32> =
            counting.map(SubscriptionOptions::identifier).filter(|&id| id != 0).collect();
        identifiers.sort_unstable();
        identifiers.dedup();
        let origin = session.origin(&identifiers, self.dispatch.ledger);
        let first = identifiers.first().copied().unwrap_or(0);
        let options = SubscriptionOptions::new(first, qos, false, retain);
        self.deliver_to(slot, options, origin, run, publisher);
    }

    /// Gives each message of a run to one member of a group (MQTT-4.8.2-4).
    fn deliver_shared(
        &mut self,
        number: u32,
        run: &mut [Outgoing<'_>],
        publisher: Option<Publisher>,
    ) {
        for outgoing in run {
            self.deliver_to_member(number, outgoing, publisher, None);
        }
    }

    /// Gives one message to the member whose turn it is, but not to `except`.
    fn deliver_to_member(
        &mut self,
        number: u32,
        outgoing: &mut Outgoing<'_>,
        publisher: Option<Publisher>,
        except: Option<u32>,
    ) {
        let Some(group) = self.groups.get_mut(number) else { return };
        let (sessions, dispatch, published) = (&self.sessions, &self.dispatch, outgoing.parts.qos);
        let topic = outgoing.parts.topic;
        let mut denied = 0;
        let chosen = group.choose(|member| match sessions.get(member.slot) {
            Some(session) if !dispatch.may_receive(session, topic) => {
                denied += 1;
                Readiness::Full
            }
            Some(session) if Some(member.slot) != except => {
                dispatch.readiness(session, dispatch.effective_qos(published, member.options.qos()))
            }
            _ => Readiness::Full,
        });
        let everybody = denied >= group.members.len();
        let Some(member) = chosen else {
            // Who may not have it does not count as having missed it.
            if !everybody {
                outgoing.refused += 1;
                self.dispatch.counters.publishes_dropped += 1;
            }
            return;
        };
        // MQTT-4.8.2-3: at the QoS that this member was granted.
        let options = SubscriptionOptions::new(
            member.options.identifier(),
            member.options.qos(),
            false,
            member.options.retain_as_published(),
        );
        let run = core::slice::from_mut(outgoing);
        self.deliver_to(member.slot, options, Origin::shared(number), run, publisher);
    }

    /// Gives messages that a session left behind to other members of their groups.
    ///
    /// QoS 1 messages in flight may go to another member; QoS 2 messages whose delivery has begun
    /// must not (MQTT-4.8.2-5).
    pub(crate) fn redeliver_shared(&mut self, leaver: u32, deliveries: Vec<Delivery>) {
        for delivery in deliveries {
            if let OriginKind::Shared(number) = delivery.origin.resolve() {
                self.hand_on(number, &delivery.message, Some(leaver));
            }
        }
    }

    /// Gives a message that a member of a group left behind to another one.
    pub(crate) fn hand_on(&mut self, number: u32, message: &Message, leaver: Option<u32>) {
        let mut outgoing = Outgoing::shared(message.parts(), message.clone());
        self.deliver_to_member(number, &mut outgoing, None, leaver);
    }
}

impl Dispatch {
    /// How well a session could take a message of this QoS now.
    fn readiness(&self, session: &Session, qos: QoS) -> Readiness {
        let flow = session.flow.as_ref();
        let room = self.has_room(session, 0);
        if !session.is_connected() {
            let queued = qos != QoS::AtMostOnce || self.settings.queue_qos0_messages;
            return if queued && room { Readiness::Away } else { Readiness::Full };
        }
        let open = session.is_open() && session.unflushed < self.output_max(session);
        let window = flow.is_none_or(|flow| {
            flow.nothing_waits()
                && (qos == QoS::AtMostOnce
                    || flow.window_open(session.window, flow.next_sequence(), 0, &self.settings))
        });
        match (open && window, session.flags.stalled && !room) {
            (true, _) => Readiness::Ready,
            (_, true) => Readiness::Full,
            _ => Readiness::Busy,
        }
    }
}

/// The Subscription Identifier that an origin stands for; 0 is none.
pub(crate) fn identifier_of(groups: &Groups, origin: Origin, slot: u32) -> u32 {
    match origin.resolve() {
        OriginKind::Identifier(identifier) => identifier,
        OriginKind::List(_) => 0,
        OriginKind::Shared(number) => groups
            .get(number)
            .and_then(|group| group.member(slot))
            .map_or(0, |member| member.options.identifier()),
    }
}
