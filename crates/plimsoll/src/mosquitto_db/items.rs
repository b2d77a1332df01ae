//! The contents of a file as items of the broker's state.

use std::borrow::Cow;

use plimsoll_engine::retained::RetainedMessage;
use plimsoll_engine::{Content, Item, Parts, QueuedItem, SessionItem, SubscriptionItem};

use super::First;
use super::collect::{Contents, Outgoing, Session};
use super::record::Message;

/// Packet identifiers run from 1 to this.
const IDENTIFIERS: u64 = u16::MAX as u64;

/// Gives the items, in the order of their keys.
pub(super) fn each<E>(
    contents: &Contents<'_>,
    first: First,
    take: &mut dyn FnMut(&Item<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let numbered = || contents.sessions.iter().zip(first.session..);
    for (session, number) in numbered() {
        take(&Item::Session(session_item(session, number)))?;
    }
    for (session, subscription) in &contents.subscriptions {
        take(&Item::Subscription {
            session: first.session + *session as u64,
            filter: Cow::Borrowed(subscription.filter),
            options: SubscriptionItem {
                qos: subscription.qos,
                identifier: subscription.identifier,
                no_local: subscription.no_local,
                retain_as_published: subscription.retain_as_published,
            },
        })?;
    }
    for (session, number) in numbered() {
        for &packet_identifier in &session.received {
            take(&Item::Received { session: number, packet_identifier })?;
        }
    }
    let bodies = bodies(contents, first);
    for (session, number) in numbered() {
        queue(contents, session, number, &bodies, take)?;
    }
    for ((message, _), body) in contents.messages.iter().zip(&bodies) {
        if let &Some(number) = body {
            take(&Item::Body { number, message: parts(message) })?;
        }
    }
    retained(contents, take)
}

/// Numbers for those messages that several entries refer to.
fn bodies(contents: &Contents<'_>, first: First) -> Vec<Option<u64>> {
    let mut next = first.body..;
    let shared = |references: u32| if references > 1 { next.next() } else { None };
    contents.messages.iter().map(|(_, references)| *references).map(shared).collect()
}

fn session_item<'a>(session: &Session<'a>, number: u64) -> SessionItem<'a> {
    SessionItem {
        number,
        client_identifier: Cow::Borrowed(session.client),
        username: session.username.map(Cow::Borrowed),
        version: session.version,
        expiry_interval: session.expiry_interval,
        lost_at: Some(session.lost_at),
        window: u16::MAX,
        sent_before: sequences(session).last().map_or(0, |last| last + 1),
        maybe_sent_before: 0,
        ended: false,
        will: None, // Mosquitto does not write wills.
    }
}

/// Sequence numbers of the messages in flight: the packet identifier follows from them, so they are
/// the next ones that give the identifiers under which the messages have been sent.
fn sequences(session: &Session<'_>) -> impl Iterator<Item = u64> {
    session.in_flight.iter().scan(0, |last: &mut u64, &(packet_identifier, _)| {
        *last = sequence_after(*last, packet_identifier);
        Some(*last)
    })
}

/// The lowest sequence number above `last` that gives a packet identifier.
fn sequence_after(last: u64, packet_identifier: u16) -> u64 {
    let identifier = u64::from(packet_identifier);
    let ahead = (identifier + IDENTIFIERS - last % IDENTIFIERS) % IDENTIFIERS;
    last + if ahead == 0 { IDENTIFIERS } else { ahead }
}

fn queue<E>(
    contents: &Contents<'_>,
    session: &Session<'_>,
    number: u64,
    bodies: &[Option<u64>],
    take: &mut dyn FnMut(&Item<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let mut next = 1;
    for (sequence, (_, outgoing)) in sequences(session).zip(&session.in_flight) {
        let entry = match outgoing {
            None => Some(QueuedItem::Released),
            Some(outgoing) => entry(contents, outgoing, bodies),
        };
        if let Some(entry) = entry {
            take(&Item::Queued { session: number, sequence, entry })?;
        }
        next = sequence + 1;
    }
    for (outgoing, sequence) in session.waiting.iter().zip(next..) {
        if let Some(entry) = entry(contents, outgoing, bodies) {
            take(&Item::Queued { session: number, sequence, entry })?;
        }
    }
    Ok(())
}

fn entry<'a>(
    contents: &'a Contents<'_>,
    outgoing: &Outgoing,
    bodies: &[Option<u64>],
) -> Option<QueuedItem<'a>> {
    let (message, _) = contents.messages.get(outgoing.message)?;
    let content = match bodies.get(outgoing.message).copied().flatten() {
        Some(body) => Content::Body(body),
        None => Content::Inline(parts(message)),
    };
    Some(QueuedItem::Publish {
        qos: outgoing.qos,
        retain: outgoing.retain,
        identifiers: outgoing.identifiers.clone(),
        group: None, // Mosquitto does not write which subscription it comes from.
        content,
    })
}

fn parts<'a>(message: &'a Message<'_>) -> Parts<'a> {
    Parts {
        topic: message.topic,
        properties: &message.properties,
        payload: message.payload,
        qos: message.qos,
        retain: message.retain,
        expires_at: message.expires_at,
    }
}

fn retained<E>(
    contents: &Contents<'_>,
    take: &mut dyn FnMut(&Item<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let mut topics: Vec<_> = contents.retained.iter().collect();
    // `/` comes before everything else, as in the retained store.
    let key = |topic: &str| topic.replace('/', "\0");
    topics.sort_by_cached_key(|(topic, _)| key(topic));
    for (topic, &index) in topics {
        let Some((message, _)) = contents.messages.get(index) else { continue };
        let message = RetainedMessage {
            qos: message.qos as u8,
            properties: &message.properties,
            payload: message.payload,
            expires_at: message.expires_at,
            written_at: None, // Mosquitto does not store it.
        };
        take(&Item::Retained { topic: Cow::Borrowed(topic), message })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequence_numbers_give_the_packet_identifiers() {
        for (last, identifier, expected) in [
            (0, 1, 1),
            (0, 65_535, 65_535),
            (1, 2, 2),
            (65_535, 1, 65_536),
            (65_534, 65_535, 65_535),
            (7, 7, 65_542),
            (5, 3, 65_538),
            (65_536, 65_535, 131_070),
        ] {
            let sequence = sequence_after(last, identifier);
            assert_eq!(sequence, expected, "{identifier} after {last}");
            assert_eq!((sequence - 1) % 65_535 + 1, u64::from(identifier));
        }
    }
}
