//! PUBACK, PUBREC, PUBREL and PUBCOMP (MQTT 5.0, 3.4 to 3.7), which have one shape.

use alloc::vec::Vec;

use crate::decode::Body;
use crate::encode::{self, AckKind};
use crate::error::DecodeError;
use crate::property::{Place, Properties};
use crate::reason::ReasonCode;
use crate::version::Version;

/// An acknowledgement in the exchange of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack<'a> {
    /// Packet Identifier.
    pub packet_identifier: u16,
    /// Reason Code; success in 3.x.
    pub reason: ReasonCode,
    /// Properties; empty in 3.x.
    pub properties: Properties<'a>,
}

impl Ack<'_> {
    /// Success, without properties.
    pub fn new(packet_identifier: u16) -> Self {
        Self { packet_identifier, reason: ReasonCode::SUCCESS, properties: Properties::default() }
    }
}

impl<'a> Ack<'a> {
    /// MQTT-3.4.2-1
    pub(crate) const PUBACK_REASONS: &'static [ReasonCode] = &[
        ReasonCode::SUCCESS,
        ReasonCode::NO_MATCHING_SUBSCRIBERS,
        ReasonCode::UNSPECIFIED_ERROR,
        ReasonCode::IMPLEMENTATION_SPECIFIC_ERROR,
        ReasonCode::NOT_AUTHORIZED,
        ReasonCode::TOPIC_NAME_INVALID,
        ReasonCode::PACKET_IDENTIFIER_IN_USE,
        ReasonCode::QUOTA_EXCEEDED,
        ReasonCode::PAYLOAD_FORMAT_INVALID,
    ];

    /// MQTT-3.5.2-1
    pub(crate) const PUBREC_REASONS: &'static [ReasonCode] = Self::PUBACK_REASONS;

    /// MQTT-3.6.2-1
    pub(crate) const PUBREL_REASONS: &'static [ReasonCode] =
        &[ReasonCode::SUCCESS, ReasonCode::PACKET_IDENTIFIER_NOT_FOUND];

    /// MQTT-3.7.2-1
    pub(crate) const PUBCOMP_REASONS: &'static [ReasonCode] = Self::PUBREL_REASONS;

    #[inline]
    pub(crate) fn decode(
        body: &mut Body<'a, '_>,
        reasons: &[ReasonCode],
    ) -> Result<Self, DecodeError> {
        let packet_identifier = body.cursor.packet_identifier()?;
        let (reason, properties) = body.reason_and_properties(reasons, Place::Acknowledgement)?;
        Ok(Self { packet_identifier, reason, properties })
    }

    pub(crate) fn encode(&self, kind: AckKind, version: Version, out: &mut Vec<u8>) {
        if !version.is_v5() || self.properties.is_empty() {
            return encode::ack(out, version, kind, self.packet_identifier, self.reason);
        }
        encode::framed(out, kind as u8, |out| {
            out.extend_from_slice(&self.packet_identifier.to_be_bytes());
            out.push(self.reason.byte());
            encode::properties(out, version, self.properties);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{MalformedPacket, ProtocolError};
    use crate::packet::Packet;
    use crate::tests::{accepted, refused};

    #[test]
    fn v5_mqtt_3_4_2_short_forms() {
        assert_eq!(accepted(b"\x40\x02\x12\x34", Version::V5), Packet::Puback(Ack::new(0x1234)));
        assert_eq!(accepted(b"\x50\x02\0\x01", Version::V311), Packet::Pubrec(Ack::new(1)));
        let reason = ReasonCode::PACKET_IDENTIFIER_NOT_FOUND;
        let expected = Packet::Pubrel(Ack { reason, ..Ack::new(1) });
        assert_eq!(accepted(b"\x62\x03\0\x01\x92", Version::V5), expected);
        assert_eq!(accepted(b"\x62\x04\0\x01\x92\0", Version::V5), expected);
        let Packet::Pubcomp(ack) = accepted(b"\x70\x08\0\x01\x92\x04\x1F\0\x01r", Version::V5)
        else {
            panic!("no PUBCOMP")
        };
        assert_eq!(ack.properties.reason_string(), Some("r"));
    }

    #[test]
    fn v5_mqtt_3_4_2_1_reason_codes_of_each_packet() {
        for bytes in [b"\x40\x03\0\x01\x01", b"\x50\x03\0\x01\x92", b"\x62\x03\0\x01\x10"] {
            refused(bytes, Version::V5, ProtocolError::ReasonCode);
        }
        refused(b"\x70\x03\0\x01\x80", Version::V5, ProtocolError::ReasonCode); // MQTT-3.7.2-1
    }

    #[test]
    fn v5_mqtt_2_2_1_5_an_acknowledgement_names_a_packet() {
        refused(b"\x40\x02\0\0", Version::V5, ProtocolError::PacketIdentifier);
        refused(b"\x40\x01\0", Version::V311, MalformedPacket::Truncated);
        refused(b"\x40\x00", Version::V5, MalformedPacket::Truncated);
    }

    #[test]
    fn v3_mqtt_3_4_2_nothing_follows_the_packet_identifier() {
        refused(b"\x40\x03\0\x01\0", Version::V311, MalformedPacket::TrailingBytes);
        refused(b"\x40\x05\0\x01\0\0\0", Version::V5, MalformedPacket::TrailingBytes);
    }
}
