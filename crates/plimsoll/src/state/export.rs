//! The broker's state as JSON lines.
//!
//! Each line is an object with a `type`: `session`, `subscription`, `received`, `queued`,
//! `retained`, `alive` (when the broker was last known to run) or `unreadable`. What is absent is
//! left out, but for `expiry_interval`, where `null` is never. Times are RFC 3339. Bytes that are no
//! printable text are in base64, under the same name with `_base64` behind it.

use std::collections::BTreeMap;
use std::io::{self, Write};

use plimsoll_engine::retained::RetainedMessage;
use plimsoll_engine::{
    Content, Item, Parts, QueuedItem, SessionItem, SubscriptionItem, Time, WillItem,
};
use plimsoll_mqtt::{Properties, PropertyIdentifier, PropertyValue, QoS, Version};

use super::json::{self, Object};

/// Packet identifiers run from 1 to this.
const IDENTIFIERS: u64 = u16::MAX as u64;

/// Writes items, in the order of their keys, to `out`.
///
/// One line is held at a time, and the client identifier of each session, to name it in the lines of
/// what belongs to it.
#[derive(Debug)]
pub(crate) struct Export<W, G> {
    out: W,
    get: G,
    sessions: BTreeMap<u64, Named>,
    line: String,
}

/// What lines of other items say about their session.
#[derive(Debug)]
struct Named {
    client_identifier: Box<str>,
    sent_before: u64,
}

impl<W, G> Export<W, G>
where
    W: Write,
    G: FnMut(&[u8]) -> io::Result<Option<Vec<u8>>>,
{
    /// `get` gives the value of a key of the store: messages that several sessions have queued are
    /// looked up with it.
    pub(crate) fn new(out: W, get: G) -> Self {
        Self { out, get, sessions: BTreeMap::new(), line: String::new() }
    }

    /// Writes an entry of the store, whatever it is.
    pub(crate) fn entry(&mut self, key: &[u8], value: &[u8]) -> io::Result<()> {
        match Item::decode(key, value) {
            Ok(item) => self.item(&item),
            Err(_) => self.write(|line| {
                line.text("type", "unreadable");
                line.base64("key_base64", key);
                line.base64("value_base64", value);
            }),
        }
    }

    /// Writes an item. An [`Item::Body`] is written where it is referred to.
    pub(crate) fn item(&mut self, item: &Item<'_>) -> io::Result<()> {
        match item {
            Item::Alive { at } => self.write(|line| {
                line.text("type", "alive");
                time(line, "at", *at);
            }),
            Item::Session(item) => self.session(item),
            Item::Subscription { session, filter, options } => {
                self.belonging("subscription", *session, |line, _| {
                    line.text("filter", filter);
                    subscription(line, *options);
                })
            }
            Item::Received { session, packet_identifier } => {
                self.belonging("received", *session, |line, _| {
                    line.number("packet_identifier", (*packet_identifier).into());
                })
            }
            Item::Queued { session, sequence, entry } => self.queued(*session, *sequence, entry),
            Item::Body { .. } => Ok(()),
            Item::Retained { topic, message } => self.write(|line| retained(line, topic, message)),
        }
    }

    fn write(&mut self, write: impl FnOnce(&mut Object<'_>)) -> io::Result<()> {
        self.line.clear();
        let mut object = Object::begin(&mut self.line);
        write(&mut object);
        object.end();
        self.line.push('\n');
        self.out.write_all(self.line.as_bytes())
    }

    fn session(&mut self, item: &SessionItem<'_>) -> io::Result<()> {
        let named = Named {
            client_identifier: Box::from(&*item.client_identifier),
            sent_before: item.sent_before,
        };
        self.sessions.insert(item.number, named);
        self.write(|line| session(line, item))
    }

    /// A line of something that belongs to a session.
    fn belonging(
        &mut self,
        what: &str,
        number: u64,
        write: impl FnOnce(&mut Object<'_>, u64),
    ) -> io::Result<()> {
        let sessions = core::mem::take(&mut self.sessions);
        let named = sessions.get(&number);
        let written = self.write(|line| {
            line.text("type", what);
            line.number("session", number);
            if let Some(named) = named {
                line.text("client_identifier", &named.client_identifier);
            }
            write(line, named.map_or(0, |named| named.sent_before));
        });
        self.sessions = sessions;
        written
    }

    fn queued(&mut self, session: u64, sequence: u64, entry: &QueuedItem<'_>) -> io::Result<()> {
        let body = match entry {
            QueuedItem::Publish { content: Content::Body(number), .. } => self.body(*number)?,
            _ => None,
        };
        self.belonging("queued", session, |line, sent_before| {
            line.number("sequence", sequence);
            let QueuedItem::Publish { qos, retain, identifiers, group, content } = entry else {
                line.number("packet_identifier", identifier_of(sequence));
                return line.text("state", "released");
            };
            if *qos != QoS::AtMostOnce {
                line.number("packet_identifier", identifier_of(sequence));
            }
            line.text("state", if sequence < sent_before { "sent" } else { "waiting" });
            line.number("qos", (*qos as u8).into());
            line.truth("retain", *retain);
            if !identifiers.is_empty() {
                let write = |out: &mut String, number: &u32| out.push_str(&number.to_string());
                line.array("subscription_identifiers", identifiers.iter(), write);
            }
            if let Some(group) = group {
                line.text("shared_subscription", group);
            }
            match content {
                Content::Inline(parts) => line.object("message", |line| message(line, parts)),
                Content::Body(number) => {
                    line.number("body", *number);
                    match body.as_ref().and_then(|(key, value)| Item::decode(key, value).ok()) {
                        Some(Item::Body { message: parts, .. }) => {
                            line.object("message", |line| message(line, &parts));
                        }
                        _ => line.null("message"),
                    }
                }
            }
        })
    }

    /// Key and value of a stored message.
    fn body(&mut self, number: u64) -> io::Result<Option<(Vec<u8>, Vec<u8>)>> {
        let nothing = Parts {
            topic: "",
            properties: &[],
            payload: &[],
            qos: QoS::AtMostOnce,
            retain: false,
            expires_at: None,
        };
        let mut key = Vec::new();
        Item::Body { number, message: nothing }.key(&mut key);
        Ok((self.get)(&key)?.map(|value| (key, value)))
    }
}

fn identifier_of(sequence: u64) -> u64 {
    sequence.saturating_sub(1) % IDENTIFIERS + 1
}

fn session(line: &mut Object<'_>, item: &SessionItem<'_>) {
    line.text("type", "session");
    line.number("session", item.number);
    line.text("client_identifier", &item.client_identifier);
    if let Some(username) = &item.username {
        line.text("username", username);
    }
    let version = match item.version {
        Version::V31 => "3.1",
        Version::V311 => "3.1.1",
        Version::V5 => "5.0",
    };
    line.text("version", version);
    match item.expiry_interval {
        u32::MAX => line.null("expiry_interval"),
        seconds => line.number("expiry_interval", seconds.into()),
    }
    if let Some(at) = item.lost_at {
        time(line, "lost_at", at);
        if item.expiry_interval != u32::MAX {
            time(line, "expires_at", at.plus_secs(item.expiry_interval.into()));
        }
    }
    if item.ended {
        line.truth("ended", true);
    }
    if let Some(item) = &item.will {
        line.object("will", |line| will(line, item));
    }
}

fn will(line: &mut Object<'_>, will: &WillItem<'_>) {
    line.text("topic", &will.topic);
    bytes(line, "payload", &will.payload);
    line.number("qos", (will.qos as u8).into());
    line.truth("retain", will.retain);
    line.number("delay_interval", will.delay.into());
    if let Some(seconds) = will.message_expiry {
        line.number("message_expiry_interval", seconds.into());
    }
    properties(line, &will.properties);
}

fn subscription(line: &mut Object<'_>, options: SubscriptionItem) {
    line.number("qos", (options.qos as u8).into());
    if options.identifier != 0 {
        line.number("identifier", options.identifier.into());
    }
    line.truth("no_local", options.no_local);
    line.truth("retain_as_published", options.retain_as_published);
}

fn retained(line: &mut Object<'_>, topic: &str, message: &RetainedMessage<'_>) {
    line.text("type", "retained");
    line.text("topic", topic);
    bytes(line, "payload", message.payload);
    line.number("qos", message.qos.into());
    if let Some(second) = message.written_at {
        time(line, "written_at", Time::from_secs(second));
    }
    expiry(line, message.expires_at);
    properties(line, message.properties);
}

fn message(line: &mut Object<'_>, parts: &Parts<'_>) {
    line.text("topic", parts.topic);
    bytes(line, "payload", parts.payload);
    line.number("qos", (parts.qos as u8).into());
    line.truth("retain", parts.retain);
    expiry(line, parts.expires_at);
    properties(line, parts.properties);
}

fn expiry(line: &mut Object<'_>, expires_at: Option<u32>) {
    if let Some(second) = expires_at {
        time(line, "expires_at", Time::from_secs(second));
    }
}

/// A time as RFC 3339 has it; `null` beyond the year 9999.
fn time(line: &mut Object<'_>, name: &str, at: Time) {
    let millis = i64::try_from(at.as_millis()).ok();
    match millis.and_then(|millis| jiff::Timestamp::from_millisecond(millis).ok()) {
        Some(timestamp) => line.text(name, &timestamp.to_string()),
        None => line.null(name),
    }
}

/// Text if it is some, otherwise base64.
fn bytes(line: &mut Object<'_>, name: &str, value: &[u8]) {
    let printable = |text: &&str| {
        !text.contains(|character: char| {
            character.is_control() && !matches!(character, '\t' | '\n' | '\r')
        })
    };
    match core::str::from_utf8(value).ok().filter(printable) {
        Some(text) => line.text(name, text),
        None => line.base64(&format!("{name}_base64"), value),
    }
}

fn properties(line: &mut Object<'_>, raw: &[u8]) {
    if raw.is_empty() {
        return;
    }
    let Ok(properties) = Properties::of_message(raw) else {
        return line.base64("properties_base64", raw);
    };
    line.object("properties", |line| {
        for (identifier, value) in properties.iter() {
            let name = name_of(identifier);
            match value {
                PropertyValue::Number(number) => line.number(name, number.into()),
                PropertyValue::Text(text) => line.text(name, text),
                PropertyValue::Binary(value) => bytes(line, name, value),
                PropertyValue::Pair(..) => {} // Together, below.
            }
        }
        if properties.user_properties().next().is_some() {
            line.array("user_properties", properties.user_properties(), |out, (name, value)| {
                out.push('[');
                json::string(out, name);
                out.push(',');
                json::string(out, value);
                out.push(']');
            });
        }
    });
}

/// Names of those properties that a message can have.
fn name_of(identifier: PropertyIdentifier) -> &'static str {
    match identifier {
        PropertyIdentifier::PayloadFormatIndicator => "payload_format_indicator",
        PropertyIdentifier::MessageExpiryInterval => "message_expiry_interval",
        PropertyIdentifier::ContentType => "content_type",
        PropertyIdentifier::ResponseTopic => "response_topic",
        PropertyIdentifier::CorrelationData => "correlation_data",
        PropertyIdentifier::SubscriptionIdentifier => "subscription_identifier",
        PropertyIdentifier::TopicAlias => "topic_alias",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;

    fn lines(items: &[Item<'_>]) -> String {
        let mut out = Vec::new();
        let mut export = Export::new(&mut out, |_: &[u8]| Ok(None));
        for item in items {
            let (mut key, mut value) = (Vec::new(), Vec::new());
            item.key(&mut key);
            item.value(&mut value);
            export.entry(&key, &value).unwrap();
        }
        String::from_utf8(out).unwrap()
    }

    fn session(will: Option<WillItem<'static>>) -> Item<'static> {
        Item::Session(SessionItem {
            number: 3,
            client_identifier: "pump".into(),
            username: None,
            version: Version::V5,
            expiry_interval: 60,
            lost_at: None,
            window: 20,
            sent_before: 0,
            maybe_sent_before: 0,
            ended: will.is_none(),
            will,
        })
    }

    #[test]
    fn a_will_is_written_with_its_session() {
        let will = WillItem {
            topic: "pump/gone".into(),
            payload: b"\x1B[31m"[..].into(),
            properties: Cow::Borrowed(&[0x01, 1]),
            qos: QoS::AtLeastOnce,
            retain: true,
            delay: 30,
            message_expiry: Some(7),
        };
        let expected = concat!(
            r#"{"type":"session","session":3,"client_identifier":"pump","version":"5.0","#,
            r#""expiry_interval":60,"will":{"topic":"pump/gone","payload_base64":"G1szMW0=","#,
            r#""qos":1,"retain":true,"delay_interval":30,"message_expiry_interval":7,"#,
            r#""properties":{"payload_format_indicator":1}}}"#,
            "\n",
        );
        assert_eq!(lines(&[session(Some(will))]), expected);
    }

    #[test]
    fn what_is_missing_or_cannot_be_understood_is_a_line_too() {
        let entry = QueuedItem::Publish {
            qos: QoS::ExactlyOnce,
            retain: false,
            identifiers: vec![1, 300],
            group: Some("$share/g/a"),
            content: Content::Body(9),
        };
        let retained = RetainedMessage {
            qos: 1,
            properties: &[0xFF],
            payload: b"two\nlines",
            expires_at: Some(u32::MAX),
            written_at: Some(1_795_654_880),
        };
        let items = [
            Item::Alive { at: Time::from_millis(1_795_654_880_250) },
            session(None),
            Item::Queued { session: 3, sequence: 65_536, entry },
            Item::Received { session: 4, packet_identifier: 5 },
            Item::Retained { topic: "a".into(), message: retained },
        ];
        let expected = concat!(
            r#"{"type":"alive","at":"2026-11-26T01:01:20.25Z"}"#,
            "\n",
            r#"{"type":"session","session":3,"client_identifier":"pump","version":"5.0","#,
            r#""expiry_interval":60,"ended":true}"#,
            "\n",
            r#"{"type":"queued","session":3,"client_identifier":"pump","sequence":65536,"#,
            r#""packet_identifier":1,"state":"waiting","qos":2,"retain":false,"#,
            r#""subscription_identifiers":[1,300],"shared_subscription":"$share/g/a","#,
            r#""body":9,"message":null}"#,
            "\n",
            r#"{"type":"received","session":4,"packet_identifier":5}"#,
            "\n",
            r#"{"type":"retained","topic":"a","payload":"two\nlines","qos":1,"#,
            r#""written_at":"2026-11-26T01:01:20Z","expires_at":"2106-02-07T06:28:15Z","properties_base64":"/w=="}"#,
            "\n",
        );
        assert_eq!(lines(&items), expected);
        let mut out = Vec::new();
        Export::new(&mut out, |_: &[u8]| Ok(None)).entry(&[99], b"?").unwrap();
        let expected = br#"{"type":"unreadable","key_base64":"Yw==","value_base64":"Pw=="}"#;
        assert_eq!(out, [&expected[..], b"\n"].concat());
    }
}
