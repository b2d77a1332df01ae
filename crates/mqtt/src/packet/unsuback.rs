//! UNSUBACK (MQTT 5.0, 3.11).

use alloc::vec::Vec;

use super::Reasons;
use super::suback::decode_reasons;
use crate::decode::Body;
use crate::encode;
use crate::error::DecodeError;
use crate::property::{Place, Properties};
use crate::reason::ReasonCode;
use crate::version::Version;

/// The answer to UNSUBSCRIBE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unsuback<'a> {
    /// Packet Identifier.
    pub packet_identifier: u16,
    /// Properties; empty in 3.x.
    pub properties: Properties<'a>,
    /// One reason code for each filter (MQTT-3.11.3-1); not sent, and empty, in 3.x.
    pub reasons: Reasons<'a>,
}

impl<'a> Unsuback<'a> {
    /// MQTT-3.11.3-2
    pub(crate) const REASONS: &'static [ReasonCode] = &[
        ReasonCode::SUCCESS,
        ReasonCode::NO_SUBSCRIPTION_EXISTED,
        ReasonCode::UNSPECIFIED_ERROR,
        ReasonCode::IMPLEMENTATION_SPECIFIC_ERROR,
        ReasonCode::NOT_AUTHORIZED,
        ReasonCode::TOPIC_FILTER_INVALID,
        ReasonCode::PACKET_IDENTIFIER_IN_USE,
    ];

    /// Without properties.
    pub fn new(packet_identifier: u16, reasons: &'a [ReasonCode]) -> Self {
        Self { packet_identifier, properties: Properties::default(), reasons: reasons.into() }
    }

    pub(crate) fn decode(body: &mut Body<'a, '_>) -> Result<Self, DecodeError> {
        let packet_identifier = body.cursor.packet_identifier()?;
        let properties = body.properties(Place::Acknowledgement)?;
        let reasons = if body.version.is_v5() {
            decode_reasons(body, Self::REASONS)?
        } else {
            Reasons::of_bytes(&[])
        };
        Ok(Self { packet_identifier, properties, reasons })
    }

    pub(crate) fn encode(&self, version: Version, out: &mut Vec<u8>) {
        encode::framed(out, 0xB0, |out| {
            out.extend_from_slice(&self.packet_identifier.to_be_bytes());
            encode::properties(out, version, self.properties);
            if version.is_v5() {
                out.extend(self.reasons.iter().map(ReasonCode::byte));
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{MalformedPacket, ProtocolError};
    use crate::packet::Packet;
    use crate::tests::{accepted_from_server, refused_from_server};

    #[test]
    fn v5_mqtt_3_11_3_1_one_reason_code_for_each_filter() {
        let reasons = [ReasonCode::SUCCESS, ReasonCode::NO_SUBSCRIPTION_EXISTED];
        let unsuback = Packet::Unsuback(Unsuback::new(10, &reasons));
        let bytes = b"\xB0\x05\0\x0A\0\0\x11";
        assert_eq!(accepted_from_server(bytes, Version::V5), unsuback);
        let mut out = Vec::new();
        encode::packet(&unsuback, Version::V5, &mut out);
        assert_eq!(out, bytes);
        refused_from_server(b"\xB0\x04\0\x0A\0\x01", Version::V5, ProtocolError::ReasonCode);
        refused_from_server(b"\xB0\x03\0\x0A\0", Version::V5, ProtocolError::NoReasonCodes);
    }

    #[test]
    fn v3_mqtt_3_11_3_there_is_no_payload() {
        let mut out = Vec::new();
        let unsuback = Packet::Unsuback(Unsuback::new(10, &[ReasonCode::SUCCESS]));
        encode::packet(&unsuback, Version::V311, &mut out);
        assert_eq!(out, b"\xB0\x02\0\x0A");
        let expected = Packet::Unsuback(Unsuback::new(10, &[]));
        assert_eq!(accepted_from_server(&out, Version::V311), expected);
        refused_from_server(b"\xB0\x03\0\x0A\0", Version::V311, MalformedPacket::TrailingBytes);
    }
}
