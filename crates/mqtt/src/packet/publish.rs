//! PUBLISH (MQTT 5.0, 3.3).

use alloc::vec::Vec;

use crate::decode::Body;
use crate::encode::PublishStart;
use crate::error::{DecodeError, ProtocolError};
use crate::property::{Place, Properties};
use crate::topic::validate_topic_name;
use crate::version::{QoS, Version};

/// A message on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Publish<'a> {
    /// DUP flag: it may have been sent before.
    pub dup: bool,
    /// QoS.
    pub qos: QoS,
    /// RETAIN flag.
    pub retain: bool,
    /// Topic Name; empty only beside a Topic Alias.
    pub topic: &'a str,
    /// Packet Identifier; 0 at QoS 0 (MQTT-2.2.1-2).
    pub packet_identifier: u16,
    /// Properties; empty in 3.x.
    pub properties: Properties<'a>,
    /// Payload.
    pub payload: &'a [u8],
}

impl<'a> Publish<'a> {
    #[inline]
    pub(crate) fn decode(body: &mut Body<'a, '_>, first: u8) -> Result<Self, DecodeError> {
        let qos = QoS::try_from(first >> 1 & 0b11)?;
        let topic = body.cursor.string()?; // MQTT-3.3.2-1
        let packet_identifier = match qos {
            QoS::AtMostOnce => 0,
            _ => body.cursor.packet_identifier()?,
        };
        let properties = body.properties(Place::Publish)?;
        if !topic.is_empty() {
            validate_topic_name(topic, body.limits.topics)?;
        } else if properties.is_empty() || properties.topic_alias().is_none() {
            // MQTT 5.0, 3.3.2.1: only an alias stands in for the topic.
            return Err(ProtocolError::TopicNameEmpty.into());
        }
        Ok(Self {
            dup: first & 0b1000 != 0,
            qos,
            retain: first & 1 != 0,
            topic,
            packet_identifier,
            properties,
            payload: body.cursor.take_rest(),
        })
    }

    pub(crate) fn encode(&self, version: Version, out: &mut Vec<u8>) {
        let start = PublishStart {
            version,
            dup: self.dup,
            qos: self.qos,
            retain: self.retain,
            topic: self.topic.as_bytes(),
            packet_identifier: self.packet_identifier,
            properties: [&[], self.properties.raw()],
            payload_len: self.payload.len(),
        };
        start.encode(out);
        out.extend_from_slice(self.payload);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::MalformedPacket;
    use crate::packet::Packet;
    use crate::tests::{accepted, refused};

    #[test]
    fn v5_mqtt_3_3_a_publish_with_everything() {
        let bytes = b"\x3D\x0C\0\x01a\0\x07\x03\x23\0\x05xyz";
        let Packet::Publish(publish) = accepted(bytes, Version::V5) else { panic!("no PUBLISH") };
        assert!(publish.dup && publish.retain);
        assert_eq!((publish.qos, publish.packet_identifier), (QoS::ExactlyOnce, 7));
        assert_eq!((publish.topic, publish.payload), ("a", &b"xyz"[..]));
        assert_eq!(publish.properties.topic_alias(), Some(5));
    }

    #[test]
    fn v5_mqtt_2_2_1_2_no_packet_identifier_at_qos_0() {
        let Packet::Publish(publish) = accepted(b"\x30\x04\0\x01ax", Version::V311) else {
            panic!("no PUBLISH")
        };
        assert_eq!((publish.packet_identifier, publish.payload), (0, &b"x"[..]));
    }

    #[test]
    fn v5_mqtt_3_3_1_4_no_qos_3() {
        refused(b"\x36\x06\0\x01a\0\x01x", Version::V311, MalformedPacket::QoS);
    }

    #[test]
    fn v5_mqtt_3_3_1_2_no_dup_at_qos_0() {
        refused(b"\x38\x03\0\x01a", Version::V31, ProtocolError::DupAtQoS0);
    }

    #[test]
    fn v5_mqtt_2_2_1_3_packet_identifiers_are_not_0() {
        refused(b"\x32\x05\0\x01a\0\0", Version::V311, ProtocolError::PacketIdentifier);
        refused(b"\x34\x06\0\x01a\0\0\0", Version::V5, ProtocolError::PacketIdentifier);
    }

    #[test]
    fn v5_mqtt_3_3_2_2_no_wildcards_in_the_topic() {
        refused(b"\x30\x05\0\x03a/#", Version::V311, ProtocolError::TopicName);
        refused(b"\x30\x06\0\x03a/+\0", Version::V5, ProtocolError::TopicName);
    }

    #[test]
    fn v5_mqtt_3_3_2_8_an_empty_topic_needs_an_alias() {
        refused(b"\x30\x02\0\0", Version::V311, ProtocolError::TopicNameEmpty);
        refused(b"\x30\x03\0\0\0", Version::V5, ProtocolError::TopicNameEmpty);
        refused(b"\x30\x05\0\0\x02\x01\x01", Version::V5, ProtocolError::TopicNameEmpty);
        refused(b"\x30\x06\0\0\x03\x23\0\0", Version::V5, ProtocolError::TopicAlias);
        accepted(b"\x30\x06\0\0\x03\x23\0\x01", Version::V5);
    }

    #[test]
    fn v5_mqtt_3_3_2_1_the_topic_is_a_string() {
        refused(b"\x30\x05\0\x03a\xED\xA0", Version::V311, MalformedPacket::Utf8);
        refused(b"\x30\x05\0\x03a\0b", Version::V31, MalformedPacket::NullCharacter);
        refused(b"\x30\x03\0\x64a", Version::V5, MalformedPacket::Truncated);
        refused(b"\x30\x00", Version::V5, MalformedPacket::Truncated);
    }
}
