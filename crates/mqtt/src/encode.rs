//! From packets to bytes. Everything appends to a buffer of the caller.

mod within;

use alloc::vec::Vec;

pub use within::packet_within;

use crate::packet::Packet;
use crate::property::{Properties, PropertyIdentifier, PropertyValue};
use crate::reason::ReasonCode;
use crate::version::{QoS, Version};

/// The four acknowledgements of a PUBLISH, with their first byte.
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
    /// Topic name, at most 65,535 bytes; empty with a topic alias.
    pub topic: &'a [u8],
    /// Packet identifier; not written at QoS 0 (MQTT-2.2.1-2).
    pub packet_identifier: u16,
    /// Encoded properties, in two parts; not written in 3.x.
    pub properties: [&'a [u8]; 2],
    /// Length of the payload in bytes. The whole packet must fit into [`REMAINING_LENGTH_MAX`].
    pub payload_len: usize,
}

/// The largest Remaining Length that can be written (MQTT 5.0, 2.1.4).
pub const REMAINING_LENGTH_MAX: usize = 268_435_455;

impl PublishStart<'_> {
    fn properties_len(&self) -> usize {
        let [first, second] = self.properties;
        first.len() + second.len()
    }

    fn remaining(&self) -> usize {
        let identifier = if self.qos == QoS::AtMostOnce { 0 } else { 2 };
        let properties = if self.version.is_v5() {
            variable_len(self.properties_len()) + self.properties_len()
        } else {
            0
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
        let remaining = self.remaining();
        out.reserve(1 + variable_len(remaining) + remaining - self.payload_len);
        let flags = u8::from(self.dup) << 3 | (self.qos as u8) << 1 | u8::from(self.retain);
        out.push(0x30 | flags);
        variable(out, remaining);
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

/// Appends any packet. CONNECT has its own version; `version` is not used for it.
///
/// What a version cannot say is left out: properties and reason codes before 5.0. There, AUTH and
/// a DISCONNECT with any other reason than normal disconnection become nothing at all.
pub fn packet(packet: &Packet<'_>, version: Version, out: &mut Vec<u8>) {
    match packet {
        Packet::Connect(connect) => connect.encode(out),
        Packet::Connack(connack) => connack.encode(version, out),
        Packet::Publish(publish) => publish.encode(version, out),
        Packet::Puback(ack) => ack.encode(AckKind::Puback, version, out),
        Packet::Pubrec(ack) => ack.encode(AckKind::Pubrec, version, out),
        Packet::Pubrel(ack) => ack.encode(AckKind::Pubrel, version, out),
        Packet::Pubcomp(ack) => ack.encode(AckKind::Pubcomp, version, out),
        Packet::Subscribe(subscribe) => subscribe.encode(version, out),
        Packet::Suback(suback) => suback.encode(version, out),
        Packet::Unsubscribe(unsubscribe) => unsubscribe.encode(version, out),
        Packet::Unsuback(unsuback) => unsuback.encode(version, out),
        Packet::Pingreq => out.extend_from_slice(&[0xC0, 0]),
        Packet::Pingresp => out.extend_from_slice(&[0xD0, 0]),
        Packet::Disconnect(disconnect) => disconnect.encode(version, out),
        Packet::Auth(auth) => auth.encode(version, out),
    }
}

/// Appends a fixed header and what `body` writes. Most bodies are shorter than 128 bytes; a longer
/// one is moved by the rest of its Remaining Length.
pub(crate) fn framed(out: &mut Vec<u8>, first: u8, body: impl FnOnce(&mut Vec<u8>)) {
    out.extend_from_slice(&[first, 0]);
    let start = out.len();
    body(out);
    let remaining = out.len() - start;
    if remaining <= 0x7F
        && let Some(byte) = out.get_mut(start - 1)
    {
        *byte = remaining as u8;
    } else {
        let mut length = Vec::new();
        variable(&mut length, remaining);
        out.splice(start - 1..start, length);
    }
}

/// Bytes that a Variable Byte Integer takes (MQTT-1.5.5-1).
#[inline]
pub(crate) const fn variable_len(value: usize) -> usize {
    match value {
        0..=0x7F => 1,
        0x80..=0x3FFF => 2,
        0x4000..=0x1F_FFFF => 3,
        _ => 4,
    }
}

/// Appends a Variable Byte Integer.
#[inline]
pub(crate) fn variable(out: &mut Vec<u8>, mut value: usize) {
    while value > 0x7F {
        out.push((value & 0x7F) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends a UTF-8 Encoded String; characters beyond 65,535 bytes are left out.
pub(crate) fn string(out: &mut Vec<u8>, text: &str) {
    let mut len = text.len().min(usize::from(u16::MAX));
    while !text.is_char_boundary(len) {
        len -= 1;
    }
    binary(out, text.get(..len).unwrap_or_default().as_bytes());
}

/// Appends Binary Data; what is beyond 65,535 bytes is left out.
pub(crate) fn binary(out: &mut Vec<u8>, bytes: &[u8]) {
    let len = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    out.extend_from_slice(&len.to_be_bytes());
    out.extend_from_slice(bytes.get(..usize::from(len)).unwrap_or_default());
}

/// Appends properties behind their length; nothing before 5.0.
pub(crate) fn properties(out: &mut Vec<u8>, version: Version, properties: Properties<'_>) {
    if version.is_v5() {
        variable(out, properties.raw().len());
        out.extend_from_slice(properties.raw());
    }
}

/// Appends one property.
pub fn property(out: &mut Vec<u8>, identifier: PropertyIdentifier, value: &PropertyValue<'_>) {
    value.encode(identifier, out);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn v5_mqtt_3_4_2_acknowledgements_are_short() {
        let encoded = |version, reason| {
            let mut out = Vec::new();
            ack(&mut out, version, AckKind::Pubrec, 0x0102, reason);
            out
        };
        assert_eq!(encoded(Version::V5, ReasonCode::SUCCESS), b"\x50\x02\x01\x02");
        assert_eq!(encoded(Version::V311, ReasonCode::QUOTA_EXCEEDED), b"\x50\x02\x01\x02");
        let quota = encoded(Version::V5, ReasonCode::QUOTA_EXCEEDED);
        assert_eq!(quota, b"\x50\x03\x01\x02\x97");
    }

    #[test]
    fn v5_mqtt_3_3_the_start_of_a_publish_knows_its_length() {
        let mut properties = Vec::new();
        property_topic_alias(&mut properties, 3);
        let start = PublishStart {
            version: Version::V5,
            dup: true,
            qos: QoS::AtLeastOnce,
            retain: false,
            topic: b"a/b",
            packet_identifier: 10,
            properties: [&properties, &[0x01, 0x01]],
            payload_len: 200,
        };
        let mut out = Vec::new();
        start.encode(&mut out);
        assert_eq!(out, b"\x3A\xD5\x01\0\x03a/b\0\x0A\x05\x23\0\x03\x01\x01");
        assert_eq!(start.packet_len(), out.len() + 200);
    }

    #[test]
    fn v5_mqtt_2_1_4_long_bodies_have_long_lengths() {
        for len in [0, 127, 128, 16_383, 16_384, 2_097_151, 2_097_152] {
            let mut out = Vec::from(*b"before");
            framed(&mut out, 0x20, |out| out.resize(out.len() + len, b'x'));
            let mut expected = Vec::from(*b"before\x20");
            variable(&mut expected, len);
            assert_eq!(expected.len(), 7 + variable_len(len));
            expected.resize(expected.len() + len, b'x');
            assert!(out == expected, "{len}");
        }
    }

    #[test]
    fn v5_mqtt_1_5_4_strings_end_at_a_character() {
        let mut out = Vec::new();
        string(&mut out, &"°".repeat(40_000));
        assert_eq!(out.get(..2), Some(&[0xFF, 0xFE][..]));
        assert_eq!(out.len(), 2 + 65_534);
    }
}
