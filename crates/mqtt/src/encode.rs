//! From packets to bytes. Everything appends to a buffer of the caller.

use alloc::vec::Vec;

use crate::packet::{Ack, Auth, Connack, Connect, Disconnect, Packet, Publish, Will};
use crate::property::{Properties, PropertiesBuf, PropertyIdentifier, PropertyValue};
use crate::reason::ReasonCode;
use crate::version::{QoS, Version};

/// The four acknowledgements of a PUBLISH.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum AckKind {
    /// PUBACK (QoS 1).
    Puback = 0x40,
    /// PUBREC (QoS 2, first).
    Pubrec = 0x50,
    /// PUBREL (QoS 2, second).
    Pubrel = 0x62,
    /// PUBCOMP (QoS 2, third).
    Pubcomp = 0x70,
}

/// Appends PUBACK, PUBREC, PUBREL or PUBCOMP without properties. Success has no reason code on
/// the wire (MQTT 5.0, 3.4.2.1), nor has anything in 3.x.
#[inline]
pub fn ack(
    out: &mut Vec<u8>,
    version: Version,
    kind: AckKind,
    packet_identifier: u16,
    reason: ReasonCode,
) {
    let [high, low] = packet_identifier.to_be_bytes();
    if !version.is_v5() || reason == ReasonCode::SUCCESS {
        out.extend_from_slice(&[kind as u8, 2, high, low]);
    } else {
        out.extend_from_slice(&[kind as u8, 3, high, low, reason.byte()]);
    }
}

/// A PUBLISH packet up to its payload, which the caller appends.
#[derive(Clone, Copy, Debug)]
pub struct PublishStart<'a> {
    /// Version of the receiver.
    pub version: Version,
    /// DUP flag.
    pub dup: bool,
    /// QoS.
    pub qos: QoS,
    /// RETAIN flag.
    pub retain: bool,
    /// Topic name; empty with a topic alias.
    pub topic: &'a [u8],
    /// Packet identifier; not written at QoS 0.
    pub packet_identifier: u16,
    /// Encoded properties, in two parts; not written in 3.x.
    pub properties: [&'a [u8]; 2],
    /// Length of the payload in bytes.
    pub payload_len: usize,
}

impl PublishStart<'_> {
    fn properties_len(&self) -> usize {
        let [own, forwarded] = self.properties;
        own.len() + forwarded.len()
    }

    fn remaining(&self) -> usize {
        let identifier = if self.qos == QoS::AtMostOnce { 0 } else { 2 };
        let properties = match self.version.is_v5() {
            true => variable_len(self.properties_len()) + self.properties_len(),
            false => 0,
        };
        2 + self.topic.len() + identifier + properties + self.payload_len
    }

    /// Length of the whole packet in bytes, payload included.
    #[inline]
    pub fn packet_len(&self) -> usize {
        let remaining = self.remaining();
        1 + variable_len(remaining) + remaining
    }

    /// Appends everything but the payload.
    #[inline]
    pub fn encode(&self, out: &mut Vec<u8>) {
        let flags = u8::from(self.dup) << 3 | (self.qos as u8) << 1 | u8::from(self.retain);
        out.push(0x30 | flags);
        variable(out, self.remaining());
        out.extend_from_slice(&(self.topic.len() as u16).to_be_bytes());
        out.extend_from_slice(self.topic);
        if self.qos != QoS::AtMostOnce {
            out.extend_from_slice(&self.packet_identifier.to_be_bytes());
        }
        if self.version.is_v5() {
            variable(out, self.properties_len());
            for part in self.properties {
                out.extend_from_slice(part);
            }
        }
    }
}

/// Appends any packet.
///
/// What a version cannot say is left out: properties and reason codes before 5.0; a DISCONNECT to
/// a 3.x client or an AUTH becomes nothing at all if it has no form there.
pub fn packet(packet: &Packet<'_>, version: Version, out: &mut Vec<u8>) {
    match packet {
        Packet::Connect(connect) => encode_connect(connect, out),
        Packet::Connack(connack) => encode_connack(connack, version, out),
        Packet::Publish(publish) => encode_publish(publish, version, out),
        Packet::Puback(fields) => encode_ack(AckKind::Puback, fields, version, out),
        Packet::Pubrec(fields) => encode_ack(AckKind::Pubrec, fields, version, out),
        Packet::Pubrel(fields) => encode_ack(AckKind::Pubrel, fields, version, out),
        Packet::Pubcomp(fields) => encode_ack(AckKind::Pubcomp, fields, version, out),
        Packet::Subscribe(subscribe) => framed(out, 0x82, |out| {
            out.extend_from_slice(&subscribe.packet_identifier.to_be_bytes());
            properties(out, version, &subscribe.properties);
            out.extend_from_slice(subscribe.payload);
        }),
        Packet::Suback(suback) => framed(out, 0x90, |out| {
            out.extend_from_slice(&suback.packet_identifier.to_be_bytes());
            properties(out, version, &suback.properties);
            // MQTT3-3.9.3-2: 3.x knows one failure.
            let code = |code: ReasonCode| {
                if code.is_error() && !version.is_v5() { 0x80 } else { code.byte() }
            };
            out.extend(suback.codes().map(code));
        }),
        Packet::Unsubscribe(unsubscribe) => framed(out, 0xA2, |out| {
            out.extend_from_slice(&unsubscribe.packet_identifier.to_be_bytes());
            properties(out, version, &unsubscribe.properties);
            out.extend_from_slice(unsubscribe.payload);
        }),
        Packet::Unsuback(unsuback) => framed(out, 0xB0, |out| {
            out.extend_from_slice(&unsuback.packet_identifier.to_be_bytes());
            properties(out, version, &unsuback.properties);
            if version.is_v5() {
                out.extend(unsuback.reasons.iter().map(|code| code.byte()));
                out.extend_from_slice(unsuback.raw_reasons);
            }
        }),
        Packet::Pingreq => out.extend_from_slice(&[0xC0, 0]),
        Packet::Pingresp => out.extend_from_slice(&[0xD0, 0]),
        Packet::Disconnect(disconnect) => encode_disconnect(disconnect, version, out),
        Packet::Auth(auth) => encode_auth(auth, version, out),
    }
}

/// Appends a packet that must not be larger than `limit` bytes: if it would be, its Reason String
/// and User Properties are left out (MQTT-3.2.2-19, -20, MQTT-3.4.2-2, -3 and their like); if that
/// does not help, nothing is appended. Answers whether it was.
pub fn packet_within(what: &Packet<'_>, version: Version, limit: u32, out: &mut Vec<u8>) -> bool {
    let start = out.len();
    packet(what, version, out);
    if out.len() - start <= limit as usize {
        return true;
    }
    out.truncate(start);
    let Some(fields) = what.properties() else { return false };
    let mut kept = PropertiesBuf::new();
    for (identifier, value) in fields.iter() {
        if !matches!(
            identifier,
            PropertyIdentifier::ReasonString | PropertyIdentifier::UserProperty
        ) {
            kept.push(identifier, value);
        }
    }
    packet(&what.with_properties(kept.view()), version, out);
    if out.len() - start > limit as usize {
        out.truncate(start);
        return false;
    }
    true
}

/// Appends a fixed header and what `body` writes.
fn framed(out: &mut Vec<u8>, first: u8, body: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = Vec::new();
    body(&mut bytes);
    out.push(first);
    variable(out, bytes.len());
    out.extend_from_slice(&bytes);
}

fn encode_connect(connect: &Connect<'_>, out: &mut Vec<u8>) {
    let version = connect.version;
    framed(out, 0x10, |out| {
        string(out, version.name());
        out.push(version.level() | u8::from(connect.bridge) << 7);
        out.push(connect_flags(connect));
        out.extend_from_slice(&connect.keep_alive.to_be_bytes());
        properties(out, version, &connect.properties);
        string(out, connect.client_identifier);
        if let Some(will) = &connect.will {
            properties(out, version, &will.properties);
            string(out, will.topic);
            binary(out, will.payload);
        }
        if let Some(username) = connect.username {
            string(out, username);
        }
        if let Some(password) = connect.password {
            binary(out, password);
        }
    });
}

fn connect_flags(connect: &Connect<'_>) -> u8 {
    let will = |will: &Will<'_>| 0b100 | (will.qos as u8) << 3 | u8::from(will.retain) << 5;
    u8::from(connect.clean_start) << 1
        | connect.will.as_ref().map_or(0, will)
        | u8::from(connect.password.is_some()) << 6
        | u8::from(connect.username.is_some()) << 7
}

fn encode_connack(connack: &Connack<'_>, version: Version, out: &mut Vec<u8>) {
    framed(out, 0x20, |out| {
        out.push(u8::from(connack.session_present));
        if version.is_v5() {
            out.push(connack.reason.byte());
        } else {
            out.push(connack.reason.connack_v3());
        }
        properties(out, version, &connack.properties);
    });
}

fn encode_publish(publish: &Publish<'_>, version: Version, out: &mut Vec<u8>) {
    let start = PublishStart {
        version,
        dup: publish.dup,
        qos: publish.qos,
        retain: publish.retain,
        topic: publish.topic.as_bytes(),
        packet_identifier: publish.packet_identifier,
        properties: [&[], publish.properties.raw()],
        payload_len: publish.payload.len(),
    };
    start.encode(out);
    out.extend_from_slice(publish.payload);
}

fn encode_ack(kind: AckKind, fields: &Ack<'_>, version: Version, out: &mut Vec<u8>) {
    if !version.is_v5() || fields.properties.is_empty() {
        return ack(out, version, kind, fields.packet_identifier, fields.reason);
    }
    framed(out, kind as u8, |out| {
        out.extend_from_slice(&fields.packet_identifier.to_be_bytes());
        out.push(fields.reason.byte());
        properties(out, version, &fields.properties);
    });
}

fn encode_disconnect(disconnect: &Disconnect<'_>, version: Version, out: &mut Vec<u8>) {
    if !version.is_v5() {
        return out.extend_from_slice(&[0xE0, 0]);
    }
    if disconnect.properties.is_empty() {
        if disconnect.reason == ReasonCode::SUCCESS {
            return out.extend_from_slice(&[0xE0, 0]);
        }
        return out.extend_from_slice(&[0xE0, 1, disconnect.reason.byte()]);
    }
    framed(out, 0xE0, |out| {
        out.push(disconnect.reason.byte());
        properties(out, version, &disconnect.properties);
    });
}

fn encode_auth(auth: &Auth<'_>, version: Version, out: &mut Vec<u8>) {
    if !version.is_v5() {
        return;
    }
    framed(out, 0xF0, |out| {
        out.push(auth.reason.byte());
        properties(out, version, &auth.properties);
    });
}

/// Bytes that a Variable Byte Integer takes (MQTT-1.5.5-1).
#[inline]
pub(crate) fn variable_len(value: usize) -> usize {
    match value {
        0..=0x7F => 1,
        0x80..=0x3FFF => 2,
        0x4000..=0x1F_FFFF => 3,
        _ => 4,
    }
}

/// Appends a Variable Byte Integer.
#[inline]
fn variable(out: &mut Vec<u8>, mut value: usize) {
    while value > 0x7F {
        out.push((value & 0x7F) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends a UTF-8 Encoded String; what is beyond 65,535 bytes is cut off.
pub(crate) fn string(out: &mut Vec<u8>, text: &str) {
    binary(out, text.as_bytes());
}

fn binary(out: &mut Vec<u8>, bytes: &[u8]) {
    let len = bytes.len().min(usize::from(u16::MAX));
    out.extend_from_slice(&(len as u16).to_be_bytes());
    out.extend_from_slice(bytes.get(..len).unwrap_or_default());
}

fn properties(out: &mut Vec<u8>, version: Version, fields: &Properties<'_>) {
    if version.is_v5() {
        variable(out, fields.raw().len());
        out.extend_from_slice(fields.raw());
    }
}

/// Appends one property.
pub fn property(out: &mut Vec<u8>, identifier: PropertyIdentifier, value: &PropertyValue<'_>) {
    out.push(identifier as u8);
    match *value {
        PropertyValue::Number(number) => match identifier.number_width() {
            Some(width) => {
                let bytes = number.to_be_bytes();
                out.extend_from_slice(bytes.get(4 - width..).unwrap_or_default());
            }
            None => variable(out, number as usize),
        },
        PropertyValue::Text(text) => string(out, text),
        PropertyValue::Binary(bytes) => binary(out, bytes),
        PropertyValue::Pair(name, value) => {
            string(out, name);
            string(out, value);
        }
    }
}

/// Appends Message Expiry Interval, seconds.
pub fn property_message_expiry_interval(out: &mut Vec<u8>, secs: u32) {
    property(out, PropertyIdentifier::MessageExpiryInterval, &PropertyValue::Number(secs));
}

/// Appends Subscription Identifier.
pub fn property_subscription_identifier(out: &mut Vec<u8>, subscription_identifier: u32) {
    let value = PropertyValue::Number(subscription_identifier);
    property(out, PropertyIdentifier::SubscriptionIdentifier, &value);
}

/// Appends Topic Alias.
pub fn property_topic_alias(out: &mut Vec<u8>, topic_alias: u16) {
    let value = PropertyValue::Number(u32::from(topic_alias));
    property(out, PropertyIdentifier::TopicAlias, &value);
}
