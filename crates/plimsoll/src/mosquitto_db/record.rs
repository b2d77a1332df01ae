//! What a chunk says, in whichever version.

use std::borrow::Cow;

use plimsoll_mqtt::topic::TopicLimits;
use plimsoll_mqtt::topic::validate_topic_name;
use plimsoll_mqtt::{Properties, PropertyIdentifier, QoS, encode};

use super::chunks::Chunk;
use super::summary::Flaw;
use super::{packed, structs};

/// A chunk, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Record<'a> {
    /// About the file: the size of message numbers, in bytes.
    Configuration {
        /// That size.
        number_size: u8,
    },
    /// A message that others refer to.
    Message {
        /// Its number.
        number: u64,
        /// The message.
        message: Message<'a>,
    },
    /// A message of a session.
    Entry(Entry<'a>),
    /// The message with this number is retained.
    Retained(u64),
    /// A subscription of a session.
    Subscription(Subscription<'a>),
    /// A session.
    Client(Client<'a>),
}

/// A message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Message<'a> {
    /// Topic name.
    pub(super) topic: &'a str,
    /// Payload.
    pub(super) payload: &'a [u8],
    /// Properties to forward, encoded.
    pub(super) properties: Cow<'a, [u8]>,
    /// QoS of the publisher.
    pub(super) qos: QoS,
    /// RETAIN flag of the publisher.
    pub(super) retain: bool,
    /// Second at which it expires, if it does.
    pub(super) expires_at: Option<u32>,
}

/// A message of a session, on its way out or in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry<'a> {
    /// Client identifier of the session.
    pub(super) client: &'a str,
    /// Number of the message.
    pub(super) message: u64,
    /// Packet identifier.
    pub(super) packet_identifier: u16,
    /// QoS towards the session.
    pub(super) qos: QoS,
    /// RETAIN flag towards the session.
    pub(super) retain: bool,
    /// From the client, not to it.
    pub(super) inward: bool,
    /// How far it has got: `mosquitto_msg_state`.
    pub(super) state: u8,
    /// Subscription Identifiers.
    pub(super) identifiers: Vec<u32>,
}

/// A subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Subscription<'a> {
    /// Client identifier of the session.
    pub(super) client: &'a str,
    /// Topic filter.
    pub(super) filter: &'a str,
    /// Granted QoS.
    pub(super) qos: QoS,
    /// Subscription Identifier; 0 is none.
    pub(super) identifier: u32,
    /// No Local.
    pub(super) no_local: bool,
    /// Retain As Published.
    pub(super) retain_as_published: bool,
}

/// A session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Client<'a> {
    /// Client identifier.
    pub(super) identifier: &'a str,
    /// What stands where its user name should be, from version 6 on.
    pub(super) username: &'a [u8],
    /// When it lost its connection, if the file says it.
    pub(super) lost_at: Option<u64>,
    /// When it expires, if that is known.
    pub(super) expires_at: Option<u64>,
    /// Session Expiry Interval, seconds; `u32::MAX` is never.
    pub(super) expiry_interval: u32,
}

/// Reads a chunk.
pub(super) fn read<'a>(chunk: &Chunk<'a>, version: u32) -> Result<Record<'a>, Flaw> {
    match version {
        ..=4 => packed::read(chunk, version),
        _ => structs::read(chunk, version),
    }
}

/// A UTF-8 Encoded String.
pub(super) fn text(bytes: &[u8]) -> Result<&str, Flaw> {
    match core::str::from_utf8(bytes) {
        Ok(text) if !text.contains('\0') => Ok(text),
        _ => Err(Flaw::Text),
    }
}

/// A client identifier.
pub(super) fn client(bytes: &[u8]) -> Result<&str, Flaw> {
    match text(bytes)? {
        "" => Err(Flaw::NoClientIdentifier),
        client => Ok(client),
    }
}

/// A topic name.
pub(super) fn topic(bytes: &[u8]) -> Result<&str, Flaw> {
    let topic = text(bytes)?;
    validate_topic_name(topic, TopicLimits::DEFAULT).map_err(|_| Flaw::Topic)?;
    Ok(topic)
}

/// A topic filter.
pub(super) fn filter(bytes: &[u8]) -> Result<&str, Flaw> {
    let filter = text(bytes)?;
    plimsoll_mqtt::topic::validate_topic_filter(filter, TopicLimits::DEFAULT)
        .map_err(|_| Flaw::Filter)?;
    Ok(filter)
}

/// A QoS.
pub(super) fn qos(byte: u8) -> Result<QoS, Flaw> {
    QoS::try_from(byte).map_err(|_| Flaw::QoS(byte))
}

/// Properties behind their length, a Variable Byte Integer, that fill all the rest of a chunk. No
/// bytes at all are none, too.
pub(super) fn properties(bytes: &[u8]) -> Result<Properties<'_>, Flaw> {
    let (mut len, mut rest) = (0usize, bytes);
    for shift in [0, 7, 14, 21] {
        let Some((&byte, behind)) = rest.split_first() else { break };
        rest = behind;
        len |= usize::from(byte & 0x7F) << shift;
        if byte & 0x80 == 0 {
            break;
        }
    }
    if len != rest.len() {
        return Err(Flaw::Properties);
    }
    Properties::of_message(rest).map_err(|_| Flaw::Properties)
}

/// Those properties that go with the message.
pub(super) fn forwarded<'a>(properties: &Properties<'a>) -> Cow<'a, [u8]> {
    let own = |identifier| {
        matches!(
            identifier,
            PropertyIdentifier::MessageExpiryInterval
                | PropertyIdentifier::TopicAlias
                | PropertyIdentifier::SubscriptionIdentifier
        )
    };
    if !properties.iter().any(|(identifier, _)| own(identifier)) {
        return Cow::Borrowed(properties.raw());
    }
    let mut bytes = Vec::new();
    for (identifier, value) in properties.iter().filter(|(identifier, _)| !own(*identifier)) {
        encode::property(&mut bytes, identifier, &value);
    }
    Cow::Owned(bytes)
}
