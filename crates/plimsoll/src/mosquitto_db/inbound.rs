//! QoS 2 messages that were received and not released.
//!
//! Mosquitto publishes such a message when PUBREL comes, Plimsoll when PUBLISH comes, and keeps only
//! its packet identifier from then on. Both have promised with PUBREC that it will be published: so
//! it is now, to the sessions of the file.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};

use plimsoll_engine::Time;
use plimsoll_engine::subscriptions::{Entry, Subscriber, SubscriptionOptions, Subscriptions};
use plimsoll_ledger::Ledger;
use plimsoll_mqtt::{QoS, TopicFilter};

use super::collect::{Contents, Incoming, Outgoing, has_expired};
use super::record::Message;

/// The index of subscriptions wants a ledger, and is gone before the import ends.
static LEDGER: Ledger = Ledger::new();

/// Publishes the messages, oldest first, to `deliveries_max` sessions in all: a small file must not
/// become a large store.
pub(super) fn publish(
    contents: &mut Contents<'_>,
    incoming: &[Incoming],
    deliveries_max: usize,
    now: Time,
) {
    if incoming.is_empty() {
        return;
    }
    let index = index(contents);
    let mut deliveries_left = deliveries_max;
    for incoming in incoming {
        let Some((message, _)) = contents.messages.get(incoming.message) else { continue };
        if has_expired(message, now) {
            contents.summary.expired_messages += 1;
            continue;
        }
        let topic = message.topic;
        if message.retain && message.payload.is_empty() {
            contents.retained.remove(topic);
        } else if message.retain {
            contents.retained.insert(topic, incoming.message);
        }
        if deliveries_left == 0 {
            contents.summary.unpublished += 1;
            continue;
        }
        contents.summary.published += 1;
        for (session, outgoing) in takers(&index, incoming, message) {
            deliveries_left = deliveries_left.saturating_sub(1 + outgoing.identifiers.len());
            if let Some(session) = contents.sessions.get_mut(session as usize) {
                session.waiting.push(outgoing);
            }
        }
    }
}

/// The subscriptions of the file, but for shared ones.
fn index(contents: &Contents<'_>) -> Subscriptions {
    let mut index = Subscriptions::new(&LEDGER, RandomState::new().hash_one(0));
    for (session, subscription) in &contents.subscriptions {
        if TopicFilter::parse(subscription.filter).group().is_some() {
            continue;
        }
        let options = SubscriptionOptions::new(
            subscription.identifier,
            subscription.qos,
            subscription.no_local,
            subscription.retain_as_published,
        );
        index.insert(subscription.filter, Subscriber(*session as u32), options);
    }
    index
}

/// What each session gets of a message: once, with the highest QoS and all Subscription Identifiers
/// of its subscriptions that match (MQTT-3.3.4-2, MQTT-3.3.4-3), and nothing with QoS 0, since
/// nobody is connected.
fn takers(
    index: &Subscriptions,
    incoming: &Incoming,
    message: &Message<'_>,
) -> BTreeMap<u32, Outgoing> {
    let mut takers = BTreeMap::new();
    index.matches(message.topic, |entries: &[Entry]| {
        for (Subscriber(session), options) in entries {
            if options.no_local() && *session as usize == incoming.session {
                continue;
            }
            let outgoing = takers.entry(*session).or_insert_with(|| Outgoing {
                message: incoming.message,
                qos: QoS::AtMostOnce,
                retain: false,
                identifiers: Vec::new(),
            });
            outgoing.qos = outgoing.qos.max(message.qos.min(options.qos()));
            outgoing.retain |= message.retain && options.retain_as_published();
            if options.identifier() != 0 {
                outgoing.identifiers.push(options.identifier());
            }
        }
    });
    takers.retain(|_, outgoing| outgoing.qos != QoS::AtMostOnce);
    takers
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use plimsoll_mqtt::Version;

    use super::*;
    use crate::mosquitto_db::collect::Session;
    use crate::mosquitto_db::record::Subscription;

    /// Two sessions that both subscribe to everything, the first one without its own.
    fn contents(retained: &'static [u8]) -> Contents<'static> {
        let message = |payload: &'static [u8]| Message {
            topic: "a/b",
            payload,
            properties: Cow::Borrowed(&[]),
            qos: QoS::ExactlyOnce,
            retain: true,
            expires_at: None,
        };
        let session = |client| Session {
            client,
            username: None,
            version: Version::V5,
            expiry_interval: u32::MAX,
            lost_at: Time::default(),
            in_flight: Vec::new(),
            waiting: Vec::new(),
            received: Vec::new(),
        };
        let subscription = |client, filter, qos, identifier| Subscription {
            client,
            filter,
            qos,
            identifier,
            no_local: client == "first",
            retain_as_published: identifier == 2,
        };
        Contents {
            messages: vec![(message(retained), 0), (message(b"old"), 0)],
            sessions: vec![session("first"), session("second")],
            subscriptions: vec![
                (0, subscription("first", "#", QoS::ExactlyOnce, 1)),
                (1, subscription("second", "$share/g/#", QoS::ExactlyOnce, 4)),
                (1, subscription("second", "a/+", QoS::AtLeastOnce, 2)),
                (1, subscription("second", "a/b", QoS::AtMostOnce, 3)),
            ],
            retained: [("a/b", 1)].into(),
            ..Contents::default()
        }
    }

    fn publish_twice(contents: &mut Contents<'_>, deliveries_max: usize) {
        let incoming = Incoming { session: 0, message: 0 };
        publish(contents, &[incoming, incoming], deliveries_max, Time::default());
    }

    #[test]
    fn each_session_gets_a_message_once_and_its_topic_keeps_it() {
        let mut contents = contents(b"new");
        publish_twice(&mut contents, 100);
        assert!(contents.sessions[0].waiting.is_empty());
        let [first, _second] = &contents.sessions[1].waiting[..] else { panic!("not two") };
        assert_eq!((first.qos, first.retain), (QoS::AtLeastOnce, true));
        let mut identifiers = first.identifiers.clone();
        identifiers.sort_unstable();
        assert_eq!(identifiers, [2, 3]);
        assert_eq!(contents.retained, [("a/b", 0)].into());
    }

    #[test]
    fn an_empty_message_takes_the_retained_one_away() {
        let mut contents = contents(b"");
        publish_twice(&mut contents, 100);
        assert!(contents.retained.is_empty());
        assert_eq!(contents.sessions[1].waiting.len(), 2);
    }

    #[test]
    fn deliveries_are_bounded() {
        let mut contents = contents(b"new");
        publish_twice(&mut contents, 3);
        assert_eq!(contents.sessions[1].waiting.len(), 1);
        assert_eq!((contents.summary.published, contents.summary.unpublished), (1, 1));
    }
}
