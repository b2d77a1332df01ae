//! The broker's state, item by item, as it lies in the store: the form that recovery, import and
//! export share. `docs/formats.md` draws it byte by byte.
//!
//! An item is a key and a value. Keys sort in the order in which they are read back: sessions come
//! before what belongs to them, and queued messages in the order in which they were queued.

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use plimsoll_mqtt::{QoS, Version};

use super::bytes::{Reader, put_bytes, put_option, put_varint};
use crate::message::Parts;
use crate::retained::RetainedMessage;
use crate::time::Time;

/// Version of the values' layout, their first byte.
const LAYOUT: u8 = 1;

/// Layout of retained messages: with the time at which they were written.
const LAYOUT_WRITTEN: u8 = 2;

/// Kinds of items: the first byte of a key.
const ALIVE: u8 = 1;
const SESSION: u8 = 2;
const SUBSCRIPTION: u8 = 3;
const RECEIVED: u8 = 4;
const QUEUED: u8 = 5;
const BODY: u8 = 6;
const RETAINED: u8 = 7;

/// One item of state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item<'a> {
    /// When the broker was last known to run.
    Alive {
        /// That time.
        at: Time,
    },
    /// A session that outlives its connection.
    Session(SessionItem<'a>),
    /// A subscription of a session.
    Subscription {
        /// [`SessionItem::number`].
        session: u64,
        /// The filter as it was given, with `$share/…` if it is shared.
        filter: Cow<'a, str>,
        /// Its options.
        options: SubscriptionItem,
    },
    /// A QoS 2 packet identifier that the client has used and not released.
    Received {
        /// [`SessionItem::number`].
        session: u64,
        /// That identifier.
        packet_identifier: u16,
    },
    /// A message that a session has still to take, or to complete.
    Queued {
        /// [`SessionItem::number`].
        session: u64,
        /// Its place in the session's order, from 1 on. The packet identifier follows from it:
        /// `(sequence - 1) % 65,535 + 1`.
        sequence: u64,
        /// What it is.
        entry: QueuedItem<'a>,
    },
    /// A message that several sessions have queued.
    Body {
        /// Its number, that queued items refer to.
        number: u64,
        /// The message.
        message: Parts<'a>,
    },
    /// The retained message of a topic.
    Retained {
        /// The topic.
        topic: Cow<'a, str>,
        /// The message.
        message: RetainedMessage<'a>,
    },
}

/// A session without what it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionItem<'a> {
    /// What other items call it.
    pub number: u64,
    /// Client identifier.
    pub client_identifier: Cow<'a, str>,
    /// User name that it was last connected with.
    pub username: Option<Cow<'a, str>>,
    /// Protocol version that it was last connected with.
    pub version: Version,
    /// Session Expiry Interval, seconds; `u32::MAX` is never.
    pub expiry_interval: u32,
    /// When its connection was lost; `None` while it has one.
    pub lost_at: Option<Time>,
    /// Most QoS 1 and 2 messages in flight on its present or last connection.
    pub window: u16,
    /// Messages with a lower sequence number have been sent before: they are sent with DUP.
    pub sent_before: u64,
    /// Messages with a lower sequence number may have been sent before, for all that is known after
    /// a crash: they are sent with DUP too.
    pub maybe_sent_before: u64,
    /// Its life is over; what it held of shared subscriptions goes to other members.
    pub ended: bool,
    /// Its will.
    pub will: Option<WillItem<'a>>,
}

/// A will, stored with its session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WillItem<'a> {
    /// Topic name.
    pub topic: Cow<'a, str>,
    /// Payload.
    pub payload: Cow<'a, [u8]>,
    /// Properties to forward, encoded.
    pub properties: Cow<'a, [u8]>,
    /// QoS.
    pub qos: QoS,
    /// Whether it is to be retained.
    pub retain: bool,
    /// Will Delay Interval, seconds.
    pub delay: u32,
    /// Message Expiry Interval, seconds from publication.
    pub message_expiry: Option<u32>,
}

/// Options of a subscription.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SubscriptionItem {
    /// Granted QoS.
    pub qos: QoS,
    /// Subscription Identifier; 0 is none.
    pub identifier: u32,
    /// No Local.
    pub no_local: bool,
    /// Retain As Published.
    pub retain_as_published: bool,
}

/// An entry of a session's queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QueuedItem<'a> {
    /// PUBREC has come: PUBREL is to be sent, PUBCOMP awaited.
    Released,
    /// A message to be sent.
    Publish {
        /// QoS towards this session.
        qos: QoS,
        /// RETAIN flag towards this session.
        retain: bool,
        /// Subscription Identifiers, none for a shared subscription.
        identifiers: Vec<u32>,
        /// Filter (with `$share/…`) of the shared subscription that it comes from.
        group: Option<&'a str>,
        /// The message.
        content: Content<'a>,
    },
}

/// Where a queued message's bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content<'a> {
    /// With the entry.
    Inline(Parts<'a>),
    /// In the [`Item::Body`] with this number.
    Body(u64),
}

/// An item that cannot be understood: written by a later release, or damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unreadable;

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an item of state that this release cannot read")
    }
}

impl core::error::Error for Unreadable {}

impl<'a> Item<'a> {
    /// Writes the item's key in place of what is in `out`.
    pub fn key(&self, out: &mut Vec<u8>) {
        out.clear();
        match self {
            Self::Alive { .. } => out.push(ALIVE),
            Self::Session(session) => session_key(session.number, out),
            Self::Subscription { session, filter, .. } => {
                subscription_key(*session, filter, out);
            }
            Self::Received { session, packet_identifier } => {
                received_key(*session, *packet_identifier, out);
            }
            Self::Queued { session, sequence, .. } => queued_key(*session, *sequence, out),
            Self::Body { number, .. } => body_key(*number, out),
            Self::Retained { topic, .. } => retained_key(topic, out),
        }
    }

    /// Writes the item's value in place of what is in `out`.
    pub fn value(&self, out: &mut Vec<u8>) {
        out.clear();
        out.push(if matches!(self, Self::Retained { .. }) { LAYOUT_WRITTEN } else { LAYOUT });
        match self {
            Self::Alive { at } => put_varint(out, at.as_millis()),
            Self::Session(session) => session.value(out),
            Self::Subscription { options, .. } => {
                out.push(flags(options.qos, options.no_local, options.retain_as_published));
                put_varint(out, u64::from(options.identifier));
            }
            Self::Received { .. } => {}
            Self::Queued { entry, .. } => entry.value(out),
            Self::Body { message, .. } => put_parts(out, message),
            Self::Retained { message, .. } => {
                out.push(message.qos & 0b11);
                put_option(out, message.written_at.map(u64::from));
                put_option(out, message.expires_at.map(u64::from));
                put_bytes(out, message.properties);
                out.extend_from_slice(message.payload);
            }
        }
    }

    /// Reads an item back.
    pub fn decode(key: &'a [u8], value: &'a [u8]) -> Result<Self, Unreadable> {
        Self::read(key, value).ok_or(Unreadable)
    }

    fn read(key: &'a [u8], value: &'a [u8]) -> Option<Self> {
        let mut key = Reader(key);
        let kind = key.byte()?;
        let mut value = Reader(value);
        let written = match (value.byte()?, kind) {
            (LAYOUT, _) => false,
            (LAYOUT_WRITTEN, RETAINED) => true,
            _ => return None,
        };
        Some(match kind {
            ALIVE => Self::Alive { at: Time::from_millis(value.varint()?) },
            SESSION => Self::Session(SessionItem::read(number(&mut key)?, value)?),
            SUBSCRIPTION => {
                let session = number(&mut key)?;
                let filter = Cow::Borrowed(core::str::from_utf8(key.0).ok()?);
                let (qos, no_local, retain_as_published) = read_flags(value.byte()?)?;
                let identifier = value.number()?;
                let options = SubscriptionItem { qos, identifier, no_local, retain_as_published };
                Self::Subscription { session, filter, options }
            }
            RECEIVED => Self::Received {
                session: number(&mut key)?,
                packet_identifier: u16::from_be_bytes(key.array()?),
            },
            QUEUED => Self::Queued {
                session: number(&mut key)?,
                sequence: number(&mut key)?,
                entry: QueuedItem::read(value)?,
            },
            BODY => Self::Body { number: number(&mut key)?, message: read_parts(&mut value)? },
            RETAINED => Self::Retained {
                topic: Cow::Owned(topic_of(key.0)?),
                message: RetainedMessage {
                    qos: value.byte()? & 0b11,
                    written_at: if written { value.option()? } else { None },
                    expires_at: value.option()?,
                    properties: value.bytes()?,
                    payload: value.0,
                },
            },
            _ => return None,
        })
    }
}

impl SessionItem<'_> {
    fn value(&self, out: &mut Vec<u8>) {
        out.push(self.version.level());
        out.push(u8::from(self.ended));
        put_varint(out, u64::from(self.expiry_interval));
        put_option(out, self.lost_at.map(Time::as_millis));
        put_varint(out, u64::from(self.window));
        put_varint(out, self.sent_before);
        put_varint(out, self.maybe_sent_before);
        put_bytes(out, self.client_identifier.as_bytes());
        put_text_option(out, self.username.as_deref());
        let Some(will) = &self.will else { return };
        out.push(flags(will.qos, will.retain, false));
        put_varint(out, u64::from(will.delay));
        put_option(out, will.message_expiry.map(u64::from));
        put_bytes(out, will.topic.as_bytes());
        put_bytes(out, &will.properties);
        put_bytes(out, &will.payload);
    }

    fn read(number: u64, mut value: Reader<'_>) -> Option<SessionItem<'_>> {
        let version = match value.byte()? {
            3 => Version::V31,
            4 => Version::V311,
            5 => Version::V5,
            _ => return None,
        };
        Some(SessionItem {
            number,
            version,
            ended: value.byte()? != 0,
            expiry_interval: value.number()?,
            lost_at: value.option::<u64>()?.map(Time::from_millis),
            window: value.number()?,
            sent_before: value.varint()?,
            maybe_sent_before: value.varint()?,
            client_identifier: Cow::Borrowed(value.text()?),
            username: text_option(&mut value)?.map(Cow::Borrowed),
            will: if value.0.is_empty() { None } else { Some(WillItem::read(&mut value)?) },
        })
    }
}

impl<'a> WillItem<'a> {
    fn read(value: &mut Reader<'a>) -> Option<Self> {
        let (qos, retain, _) = read_flags(value.byte()?)?;
        Some(Self {
            qos,
            retain,
            delay: value.number()?,
            message_expiry: value.option()?,
            topic: Cow::Borrowed(value.text()?),
            properties: Cow::Borrowed(value.bytes()?),
            payload: Cow::Borrowed(value.bytes()?),
        })
    }
}

const RELEASED: u8 = 0;
const INLINE: u8 = 1;
const SHARED: u8 = 2;

impl<'a> QueuedItem<'a> {
    fn value(&self, out: &mut Vec<u8>) {
        let Self::Publish { qos, retain, identifiers, group, content } = self else {
            return out.push(RELEASED);
        };
        out.push(if matches!(content, Content::Inline(_)) { INLINE } else { SHARED });
        out.push(flags(*qos, *retain, false));
        put_varint(out, identifiers.len() as u64);
        for &identifier in identifiers {
            put_varint(out, u64::from(identifier));
        }
        put_text_option(out, *group);
        match content {
            Content::Inline(parts) => put_parts(out, parts),
            Content::Body(number) => put_varint(out, *number),
        }
    }

    fn read(mut value: Reader<'a>) -> Option<Self> {
        let kind = value.byte()?;
        if kind == RELEASED {
            return Some(Self::Released);
        }
        let (qos, retain, _) = read_flags(value.byte()?)?;
        let count: usize = value.number()?;
        let mut identifiers = Vec::new();
        for _ in 0..count {
            identifiers.push(value.number()?);
        }
        let group = text_option(&mut value)?;
        let content = match kind {
            INLINE => Content::Inline(read_parts(&mut value)?),
            SHARED => Content::Body(value.varint()?),
            _ => return None,
        };
        Some(Self::Publish { qos, retain, identifiers, group, content })
    }
}

fn flags(qos: QoS, first: bool, second: bool) -> u8 {
    qos as u8 | u8::from(first) << 2 | u8::from(second) << 3
}

fn read_flags(byte: u8) -> Option<(QoS, bool, bool)> {
    Some((QoS::try_from(byte & 0b11).ok()?, byte & 0b100 != 0, byte & 0b1000 != 0))
}

fn put_text_option(out: &mut Vec<u8>, text: Option<&str>) {
    out.push(u8::from(text.is_some()));
    if let Some(text) = text {
        put_bytes(out, text.as_bytes());
    }
}

#[expect(clippy::option_option, reason = "the outer one says that it cannot be read")]
fn text_option<'a>(value: &mut Reader<'a>) -> Option<Option<&'a str>> {
    if value.byte()? == 0 { Some(None) } else { value.text().map(Some) }
}

fn put_parts(out: &mut Vec<u8>, parts: &Parts<'_>) {
    out.push(flags(parts.qos, parts.retain, false));
    put_option(out, parts.expires_at.map(u64::from));
    put_bytes(out, parts.topic.as_bytes());
    put_bytes(out, parts.properties);
    out.extend_from_slice(parts.payload);
}

fn read_parts<'a>(value: &mut Reader<'a>) -> Option<Parts<'a>> {
    let (qos, retain, _) = read_flags(value.byte()?)?;
    let expires_at = value.option()?;
    let (topic, properties) = (value.text()?, value.bytes()?);
    Some(Parts { topic, properties, payload: value.0, qos, retain, expires_at })
}

fn number(key: &mut Reader<'_>) -> Option<u64> {
    key.array().map(u64::from_be_bytes)
}

fn key_of(kind: u8, numbers: &[u64], out: &mut Vec<u8>) {
    out.clear();
    out.push(kind);
    for number in numbers {
        out.extend_from_slice(&number.to_be_bytes());
    }
}

/// The session and the body that a key belongs to, and a queued message's place: 0 for none.
pub(crate) fn numbers_of(key: &[u8]) -> (u64, u64, u64) {
    let mut key = Reader(key);
    let kind = key.byte().unwrap_or_default();
    let first = number(&mut key).unwrap_or_default();
    match kind {
        SESSION | SUBSCRIPTION | RECEIVED => (first, 0, 0),
        QUEUED => (first, 0, number(&mut key).unwrap_or_default()),
        BODY => (0, first, 0),
        _ => (0, 0, 0),
    }
}

/// Key of a [`SessionItem`].
pub(crate) fn session_key(session: u64, out: &mut Vec<u8>) {
    key_of(SESSION, &[session], out);
}

/// Key of a subscription.
pub(crate) fn subscription_key(session: u64, filter: &str, out: &mut Vec<u8>) {
    key_of(SUBSCRIPTION, &[session], out);
    out.extend_from_slice(filter.as_bytes());
}

/// Key of a received packet identifier.
pub(crate) fn received_key(session: u64, packet_identifier: u16, out: &mut Vec<u8>) {
    key_of(RECEIVED, &[session], out);
    out.extend_from_slice(&packet_identifier.to_be_bytes());
}

/// Key of a queued message.
pub(crate) fn queued_key(session: u64, sequence: u64, out: &mut Vec<u8>) {
    key_of(QUEUED, &[session, sequence], out);
}

/// Key of a message that several sessions have queued.
pub(crate) fn body_key(number: u64, out: &mut Vec<u8>) {
    key_of(BODY, &[number], out);
}

/// Key of a retained message: `/` is written as 0, as in the retained store, so that messages come
/// back in that store's own order.
pub(crate) fn retained_key(topic: &str, out: &mut Vec<u8>) {
    key_of(RETAINED, &[], out);
    out.extend(topic.bytes().map(|byte| if byte == b'/' { 0 } else { byte }));
}

fn topic_of(key: &[u8]) -> Option<String> {
    let bytes = key.iter().map(|&byte| if byte == 0 { b'/' } else { byte });
    String::from_utf8(bytes.collect()).ok()
}

#[cfg(test)]
mod tests;
