//! SUBSCRIBE and UNSUBSCRIBE.

use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use plimsoll_mqtt::{
    Packet, QoS, ReasonCode, RetainHandling, Suback, Subscribe, SubscribeFilter, TopicFilter,
    Unsuback, Unsubscribe,
};

use crate::access::{Action, Decision, mounted};
use crate::durable::What;
use crate::engine::Engine;
use crate::event::Event;
use crate::groups::Member;
use crate::session::{GROUP, Held};
use crate::subscriptions::{Subscriber, SubscriptionOptions};

impl Engine {
    /// SUBSCRIBE (MQTT-3.8.4-1): SUBACK with its packet identifier (MQTT-3.8.4-2, MQTT-2.2.1-6) and one
    /// answer for each filter, in order (MQTT-3.8.4-6): the granted QoS or a failure (MQTT-3.8.4-7).
    /// Any QoS may be asked for, whatever `max_qos` is (MQTT-3.2.2-10).
    pub(crate) fn handle_subscribe(&mut self, slot: u32, subscribe: &Subscribe<'_>) {
        let identifier = subscribe.properties.subscription_identifiers().next().unwrap_or(0);
        let before = self.dispatch.journal.position();
        let mut reasons: Vec<ReasonCode> = Vec::new();
        let mut replays: Vec<(Cow<'_, str>, SubscriptionOptions)> = Vec::new();
        let mount_point = String::from(self.mount_point(slot));
        for wanted in subscribe.filters() {
            let filter = in_place(&mount_point, wanted.filter);
            let granted = match self.subscribe(slot, &wanted, &filter, identifier) {
                Ok(granted) => granted,
                // MQTT-3.8.3-4: the whole packet is at fault, not one filter.
                Err(reason) => return self.refuse(slot, reason),
            };
            match granted {
                Granted::New { options, replay } => {
                    reasons.push(ReasonCode::granted(options.qos()));
                    if replay {
                        replays.push((filter, options));
                    }
                }
                Granted::Refused(reason) => reasons.push(reason),
            }
        }
        self.promise_since(slot, before);
        let Some(session) = self.sessions.get_mut(slot) else { return };
        let suback = Suback::new(subscribe.packet_identifier, &reasons);
        self.dispatch.promise_packet(session, &Packet::Suback(suback));
        let waits = session.held > 0;
        if waits && !replays.is_empty() {
            self.dispatch.hold(session, What::Replay, &[]);
        }
        for (filter, options) in replays {
            self.begin_replay(slot, &filter, options, waits);
        }
    }

    fn subscribe(
        &mut self,
        slot: u32,
        wanted: &SubscribeFilter<'_>,
        whole: &str,
        identifier: u32,
    ) -> Result<Granted, ReasonCode> {
        let most = self.dispatch.settings.subscriptions_max as usize;
        let Some(session) = self.sessions.get(slot) else {
            return Ok(Granted::Refused(ReasonCode::UNSPECIFIED_ERROR));
        };
        let full = session.subscriptions.len() >= most;
        let pending = session.rare.as_ref().map_or(0, |rare| rare.replays.len());
        let bridge = session.flags.bridge && !session.version.is_v5();
        let client = session.client_identifier.clone();
        let max_qos = self.dispatch.settings.listener(session.listener).max_qos;
        let filter = TopicFilter::parse(whole);
        if filter.group().is_some() && wanted.options.no_local {
            return Err(ReasonCode::PROTOCOL_ERROR);
        }
        if self.dispatch.decide(session, Action::Subscribe, filter.filter()) != Decision::Allow {
            return Ok(Granted::Refused(ReasonCode::NOT_AUTHORIZED));
        }
        if whole.len() > usize::from(u16::MAX) {
            return Ok(Granted::Refused(ReasonCode::TOPIC_FILTER_INVALID)); // Behind its mount point.
        }
        // A bridge of 3.x cannot ask for what keeps messages from going round in circles.
        let options = SubscriptionOptions::new(
            identifier,
            wanted.options.qos.min(max_qos),
            wanted.options.no_local || bridge && filter.group().is_none(),
            wanted.options.retain_as_published || bridge,
        );
        let known = self.held(slot, whole).is_some();
        let unstorable = self.dispatch.journal.refuses() && session.number != 0;
        let full = !known && (full || self.refuses_subscription(slot));
        if full || pending >= REPLAYS_MAX || unstorable {
            return Ok(Granted::Refused(ReasonCode::QUOTA_EXCEEDED));
        }
        let new = self.add_subscription(slot, whole, options);
        self.store_subscription(slot, whole, options);
        let event = Event::Subscribed { client, filter: Box::from(whole), qos: options.qos() };
        let link = self.sessions.get(slot).and_then(|session| session.link);
        self.dispatch.event(link, event);
        let replay = filter.group().is_none() // MQTT 5, 4.8.2: none for shared subscriptions
            && match wanted.options.retain_handling {
                RetainHandling::SendAtSubscribe => true, // MQTT-3.3.1-9
                RetainHandling::SendIfNew => new,        // MQTT-3.3.1-10
                RetainHandling::DoNotSend => false,      // MQTT-3.3.1-11
            };
        Ok(Granted::New { options, replay })
    }

    /// Adds or replaces a subscription, shared or not. Answers whether it is new.
    pub(crate) fn add_subscription(
        &mut self,
        slot: u32,
        whole: &str,
        options: SubscriptionOptions,
    ) -> bool {
        let filter = TopicFilter::parse(whole);
        let shared = filter.group().is_some();
        let new = if shared {
            self.join(slot, whole, filter.filter(), options)
        } else {
            self.insert(slot, whole, options)
        };
        let counters = &mut self.dispatch.counters;
        match (new, shared) {
            (true, true) => counters.shared_subscriptions += 1,
            (true, false) => counters.subscriptions += 1,
            _ => {}
        }
        new
    }

    /// Adds or replaces (MQTT-3.8.4-3) an ordinary subscription; nothing queued is lost by it
    /// (MQTT-3.8.4-4). Answers whether it is new.
    fn insert(&mut self, slot: u32, filter: &str, options: SubscriptionOptions) -> bool {
        let inserted = self.subscriptions.insert(filter, Subscriber(slot), options);
        if inserted.replaced.is_none() {
            self.hold(slot, Held::filter(inserted.key));
        }
        inserted.replaced.is_none()
    }

    /// Makes the session a member of a shared group. Answers whether it is new there.
    fn join(&mut self, slot: u32, whole: &str, filter: &str, options: SubscriptionOptions) -> bool {
        let number = match self.groups.find(whole) {
            Some(number) => number,
            None => {
                let number = self.groups.vacant();
                let all = SubscriptionOptions::new(0, QoS::ExactlyOnce, false, true);
                let inserted = self.subscriptions.insert(filter, Subscriber(number | GROUP), all);
                self.groups.insert(number, whole, inserted.key);
                number
            }
        };
        let new = self.groups.join(number, Member { slot, options }).is_none();
        if new {
            self.hold(slot, Held::group(number));
        }
        new
    }

    /// The subscription that a session has with a filter as it was given.
    fn held(&self, slot: u32, filter: &str) -> Option<Held> {
        let held = match TopicFilter::parse(filter).group() {
            Some(_) => Held::group(self.groups.find(filter)?),
            None => Held::filter(self.subscriptions.find(filter)?),
        };
        let session = self.sessions.get(slot)?;
        session.subscriptions.binary_search(&held).is_ok().then_some(held)
    }

    fn hold(&mut self, slot: u32, held: Held) {
        let Some(session) = self.sessions.get_mut(slot) else { return };
        if let Err(at) = session.subscriptions.binary_search(&held) {
            let mut subscriptions = session.subscriptions.edit();
            if subscriptions.is_empty() {
                subscriptions.reserve_exact(1); // Most sensors have one.
            }
            subscriptions.insert(at, held);
        }
    }

    /// UNSUBSCRIBE: filters are compared character by character (MQTT-3.10.4-1); nothing new is sent for
    /// them (MQTT-3.10.4-2), what has begun is completed (MQTT-3.10.4-3); one UNSUBACK answers all
    /// (MQTT-3.10.4-5, MQTT-3.10.4-6).
    pub(crate) fn handle_unsubscribe(&mut self, slot: u32, unsubscribe: &Unsubscribe<'_>) {
        let before = self.dispatch.journal.position();
        let mut reasons = Vec::new();
        let mount_point = String::from(self.mount_point(slot));
        for filter in unsubscribe.filters() {
            let filter = &*in_place(&mount_point, filter);
            if !self.may_unsubscribe(slot, filter) {
                reasons.push(ReasonCode::NOT_AUTHORIZED);
                continue;
            }
            let Some(held) = self.held(slot, filter) else {
                reasons.push(ReasonCode::NO_SUBSCRIPTION_EXISTED);
                continue;
            };
            self.remove_subscription(slot, held);
            self.end_replays(slot, filter);
            if let Some(session) = self.sessions.get_mut(slot) {
                if session.number != 0 {
                    self.dispatch.journal.delete_subscription(session.number, filter);
                }
                let mut subscriptions = session.subscriptions.edit();
                if let Ok(at) = subscriptions.binary_search(&held) {
                    subscriptions.remove(at);
                }
                if subscriptions.len() < subscriptions.capacity() / 4 {
                    subscriptions.shrink_to_fit();
                }
                drop(subscriptions);
                let event = Event::Unsubscribed {
                    client: session.client_identifier.clone(),
                    filter: Box::from(filter),
                };
                self.dispatch.event(session.link, event);
            }
            reasons.push(ReasonCode::SUCCESS);
        }
        self.promise_since(slot, before);
        let Some(session) = self.sessions.get_mut(slot) else { return };
        let unsuback = Unsuback::new(unsubscribe.packet_identifier, &reasons);
        self.dispatch.promise_packet(session, &Packet::Unsuback(unsuback));
    }

    fn may_unsubscribe(&self, slot: u32, whole: &str) -> bool {
        let filter = TopicFilter::parse(whole).filter();
        self.sessions.get(slot).is_some_and(|session| {
            self.dispatch.decide(session, Action::Unsubscribe, filter) == Decision::Allow
        })
    }

    /// Takes a subscription out of the index; the session's own list is the caller's.
    pub(crate) fn remove_subscription(&mut self, slot: u32, held: Held) {
        match held.resolve() {
            Err(key) => {
                if !self.leaking.keeps_filter(&mut self.subscriptions, key, Subscriber(slot)) {
                    self.subscriptions.remove(key, Subscriber(slot));
                }
                self.dispatch.counters.subscriptions -= 1;
            }
            Ok(number) => {
                if let Some(key) = self.groups.leave(number, slot) {
                    self.subscriptions.remove(key, Subscriber(number | GROUP));
                }
                self.dispatch.counters.shared_subscriptions -= 1;
            }
        }
    }
}

/// A filter as it is behind a mount point.
pub(crate) fn in_place<'a>(mount_point: &str, filter: &'a str) -> Cow<'a, str> {
    match mount_point {
        "" => Cow::Borrowed(filter),
        _ => Cow::Owned(mounted(mount_point, filter)),
    }
}

/// Subscriptions of one client whose retained messages are still to be sent; more are refused.
const REPLAYS_MAX: usize = 1024;

/// What became of one filter.
enum Granted {
    New { options: SubscriptionOptions, replay: bool },
    Refused(ReasonCode),
}
