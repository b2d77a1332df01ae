//! From chunks to sessions, with what belongs to each.

use std::collections::HashMap;

use plimsoll_engine::Time;
use plimsoll_mqtt::{QoS, Version};

use super::chunks::{Chunk, Chunks};
use super::record::{self, Client, Entry, Message, Record, Subscription};
use super::summary::{Flaw, Summary};
use super::username::Usernames;
use super::{Error, inbound};

/// Size of message numbers in every file there is.
const NUMBER_SIZE: u8 = 8;

/// States of a message on its way out that Mosquitto calls `mosquitto_msg_state`.
const PUBLISH_QOS0: u8 = 1;
const WAIT_FOR_PUBREC: u8 = 5;
const RESEND_PUBREL: u8 = 6;
const RESEND_PUBCOMP: u8 = 8;
const WAIT_FOR_PUBCOMP: u8 = 9;
const QUEUED: u8 = 11;

/// The contents of a file.
#[derive(Debug, Default)]
pub(super) struct Contents<'a> {
    /// Messages, in the file's order, and how many entries of sessions refer to each.
    pub(super) messages: Vec<(Message<'a>, u32)>,
    /// Sessions, in the file's order.
    pub(super) sessions: Vec<Session<'a>>,
    /// Subscriptions, each with the index of its session.
    pub(super) subscriptions: Vec<(usize, Subscription<'a>)>,
    /// Index of the retained message of each topic.
    pub(super) retained: HashMap<&'a str, usize>,
    /// What was taken, and what was not.
    pub(super) summary: Summary,
}

/// A session.
#[derive(Debug)]
pub(super) struct Session<'a> {
    /// Client identifier.
    pub(super) client: &'a str,
    /// User name.
    pub(super) username: Option<&'a str>,
    /// Version of the protocol, as far as it can be guessed.
    pub(super) version: Version,
    /// Session Expiry Interval, seconds; `u32::MAX` is never.
    pub(super) expiry_interval: u32,
    /// When it lost its connection.
    pub(super) lost_at: Time,
    /// Messages in flight to it, with their packet identifiers; `None` where it has been released.
    pub(super) in_flight: Vec<(u16, Option<Outgoing>)>,
    /// Messages that wait for it.
    pub(super) waiting: Vec<Outgoing>,
    /// Packet identifiers of QoS 2 messages that it has sent and not released.
    pub(super) received: Vec<u16>,
}

/// A message on its way to a session.
#[derive(Debug)]
pub(super) struct Outgoing {
    /// Index of the message.
    pub(super) message: usize,
    /// QoS towards the session.
    pub(super) qos: QoS,
    /// RETAIN flag towards the session.
    pub(super) retain: bool,
    /// Subscription Identifiers.
    pub(super) identifiers: Vec<u32>,
}

/// A QoS 2 message that a client has sent and not released.
#[derive(Clone, Copy, Debug)]
pub(super) struct Incoming {
    /// Index of its session.
    pub(super) session: usize,
    /// Index of the message.
    pub(super) message: usize,
}

/// Reads a whole file.
pub(super) fn collect(bytes: &[u8], now: Time) -> Result<Contents<'_>, Error> {
    let mut chunks = Chunks::open(bytes)?;
    let mut collector = Collector {
        now,
        version: chunks.version,
        len: bytes.len(),
        contents: Contents::default(),
        numbers: HashMap::new(),
        clients: HashMap::new(),
        usernames: Usernames::default(),
        incoming: Vec::new(),
    };
    while let Some(chunk) = chunks.next() {
        let (offset, taken) = match chunk {
            Ok(chunk) => (chunk.offset, collector.take(&chunk)?),
            Err((offset, flaw)) => (offset, Err(flaw)),
        };
        if let Err(flaw) = taken {
            collector.contents.summary.skip(offset, flaw);
        }
    }
    Ok(collector.finish())
}

struct Collector<'a> {
    now: Time,
    version: u32,
    /// Length of the file, bytes.
    len: usize,
    contents: Contents<'a>,
    /// Index of each message by its number.
    numbers: HashMap<u64, usize>,
    /// Index of each session by its client identifier; `None` for one that has expired.
    clients: HashMap<&'a str, Option<usize>>,
    usernames: Usernames<'a>,
    incoming: Vec<Incoming>,
}

impl<'a> Collector<'a> {
    fn take(&mut self, chunk: &Chunk<'a>) -> Result<Result<(), Flaw>, Error> {
        let record = match record::read(chunk, self.version) {
            Ok(record) => record,
            Err(flaw) => return Ok(Err(flaw)),
        };
        Ok(match record {
            Record::Configuration { number_size: NUMBER_SIZE } => Ok(()),
            Record::Configuration { number_size } => return Err(Error::NumberSize(number_size)),
            Record::Message { number, message } => {
                self.numbers.insert(number, self.contents.messages.len());
                self.contents.messages.push((message, 0));
                Ok(())
            }
            Record::Client(client) => self.client(&client),
            Record::Entry(entry) => self.entry(entry),
            Record::Subscription(subscription) => self.subscription(subscription),
            Record::Retained(number) => self.retained(number),
        })
    }

    fn message(&self, number: u64) -> Result<(usize, &Message<'a>), Flaw> {
        let index = self.numbers.get(&number).copied().ok_or(Flaw::NoMessage)?;
        let (message, _) = self.contents.messages.get(index).ok_or(Flaw::NoMessage)?;
        Ok((index, message))
    }

    /// The index of a session that is in the file; `None` if it has expired.
    fn session(&self, client: &str) -> Result<Option<usize>, Flaw> {
        self.clients.get(client).copied().ok_or(Flaw::NoSession)
    }

    fn client(&mut self, client: &Client<'a>) -> Result<(), Flaw> {
        let username = self.usernames.next(client.username);
        if self.clients.contains_key(client.identifier) {
            return Err(Flaw::Twice);
        }
        let Some((expiry_interval, lost_at)) = life(client, self.now) else {
            self.clients.insert(client.identifier, None);
            self.contents.summary.expired_sessions += 1;
            return Ok(());
        };
        self.clients.insert(client.identifier, Some(self.contents.sessions.len()));
        // The file does not say it. An interval of its own, neither 0 nor for ever, is MQTT 5.
        let is_v5 = client.expiry_interval != u32::MAX;
        self.contents.sessions.push(Session {
            client: client.identifier,
            username,
            version: if is_v5 { Version::V5 } else { Version::V311 },
            expiry_interval,
            lost_at,
            in_flight: Vec::new(),
            waiting: Vec::new(),
            received: Vec::new(),
        });
        Ok(())
    }

    fn entry(&mut self, entry: Entry<'a>) -> Result<(), Flaw> {
        let Some(session) = self.session(entry.client)? else { return Ok(()) };
        match entry.inward {
            true => self.incoming(session, &entry),
            false => self.outgoing(session, entry),
        }
    }

    fn incoming(&mut self, session: usize, entry: &Entry<'a>) -> Result<(), Flaw> {
        if entry.qos != QoS::ExactlyOnce
            || entry.packet_identifier == 0
            || !(PUBLISH_QOS0..=QUEUED).contains(&entry.state)
        {
            return Err(Flaw::State(entry.state));
        }
        if let Some(session) = self.contents.sessions.get_mut(session) {
            session.received.push(entry.packet_identifier);
        }
        if entry.state == RESEND_PUBCOMP {
            return Ok(()); // It was released, and Mosquitto has published it.
        }
        let (message, _) = self.message(entry.message)?;
        self.incoming.push(Incoming { session, message });
        Ok(())
    }

    fn outgoing(&mut self, session: usize, entry: Entry<'a>) -> Result<(), Flaw> {
        let found = self.message(entry.message);
        let expired = found.is_ok_and(|(_, message)| has_expired(message, self.now));
        let message = found.map(|(index, _)| index);
        let Some(session) = self.contents.sessions.get_mut(session) else { return Ok(()) };
        let identifier = entry.packet_identifier;
        let outgoing = |message| Outgoing {
            message,
            qos: entry.qos,
            retain: entry.retain,
            identifiers: entry.identifiers,
        };
        match entry.state {
            RESEND_PUBREL | WAIT_FOR_PUBCOMP if identifier != 0 => {
                session.in_flight.push((identifier, None));
            }
            PUBLISH_QOS0..=WAIT_FOR_PUBREC if entry.qos != QoS::AtMostOnce && identifier != 0 => {
                // What has been sent once is completed, expired or not (MQTT-4.3.3-7).
                session.in_flight.push((identifier, Some(outgoing(message?))));
            }
            PUBLISH_QOS0..=WAIT_FOR_PUBREC | QUEUED if expired => {
                self.contents.summary.expired_messages += 1;
            }
            PUBLISH_QOS0..=WAIT_FOR_PUBREC | QUEUED => session.waiting.push(outgoing(message?)),
            state => return Err(Flaw::State(state)),
        }
        Ok(())
    }

    fn subscription(&mut self, subscription: Subscription<'a>) -> Result<(), Flaw> {
        let Some(index) = self.session(subscription.client)? else { return Ok(()) };
        if let Some(session) = self.contents.sessions.get_mut(index)
            && (subscription.identifier != 0
                || subscription.no_local
                || subscription.retain_as_published)
        {
            session.version = Version::V5;
        }
        self.contents.subscriptions.push((index, subscription));
        Ok(())
    }

    fn retained(&mut self, number: u64) -> Result<(), Flaw> {
        let (index, message) = self.message(number)?;
        let topic = message.topic;
        if message.payload.is_empty() {
            return Err(Flaw::EmptyRetained);
        }
        if has_expired(message, self.now) {
            self.contents.summary.expired_messages += 1;
            return Ok(());
        }
        self.contents.retained.insert(topic, index);
        Ok(())
    }

    fn finish(mut self) -> Contents<'a> {
        self.contents.summary.version = self.version;
        self.contents.summary.unknown_usernames = self.usernames.unknown;
        // Of several subscriptions with one filter, the last one counts.
        self.contents.subscriptions.reverse();
        self.contents.subscriptions.sort_by_key(|(session, entry)| (*session, entry.filter));
        self.contents.subscriptions.dedup_by_key(|(session, entry)| (*session, entry.filter));
        // As many deliveries as the file has bytes: more than any that was not made for it.
        inbound::publish(&mut self.contents, &self.incoming, self.len, self.now);
        for session in &mut self.contents.sessions {
            session.received.sort_unstable();
            session.received.dedup();
        }
        count(&mut self.contents);
        self.contents
    }
}

/// Counts what there is, and how many entries refer to each message.
fn count(contents: &mut Contents<'_>) {
    let summary = &mut contents.summary;
    summary.retained = contents.retained.len() as u64;
    summary.sessions = contents.sessions.len() as u64;
    summary.subscriptions = contents.subscriptions.len() as u64;
    for session in &contents.sessions {
        summary.queued += session.waiting.len() as u64;
        summary.in_flight += session.in_flight.len() as u64;
        summary.received += session.received.len() as u64;
        let sent = session.in_flight.iter().filter_map(|(_, outgoing)| outgoing.as_ref());
        for outgoing in sent.chain(&session.waiting) {
            if let Some((_, references)) = contents.messages.get_mut(outgoing.message) {
                *references = references.saturating_add(1);
            }
        }
    }
}

/// Whether a message's life is over (MQTT-3.3.2-5).
pub(super) fn has_expired(message: &Message<'_>, now: Time) -> bool {
    message.expires_at.is_some_and(|second| second <= now.as_secs())
}

/// Session Expiry Interval, and when the connection was lost; `None` if the session has expired.
///
/// Where the file does not say when, the session was connected when it was written (or never
/// expires): then its life goes on now.
fn life(client: &Client<'_>, now: Time) -> Option<(u32, Time)> {
    let (interval, now_second) = (client.expiry_interval, u64::from(now.as_secs()));
    let at = |second: u64| Time::default().plus_secs(second).min(now);
    let expires_at = match (client.expires_at, interval) {
        (None, 0) => return None, // It ends with its connection.
        (None, _) => return Some((interval, client.lost_at.map_or(now, at))),
        (Some(expires_at), _) => expires_at,
    };
    let left = expires_at.checked_sub(now_second).filter(|&left| left > 0)?;
    match interval {
        // `persistent_client_expiration` sets an end to what would have none.
        u32::MAX => Some((u32::try_from(left).unwrap_or(u32::MAX), now)),
        _ => Some((interval, at(expires_at.saturating_sub(interval.into())))),
    }
}
