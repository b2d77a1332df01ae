//! SUBACK (MQTT 5.0, 3.9).

use alloc::vec::Vec;

use super::Reasons;
use crate::decode::Body;
use crate::encode;
use crate::error::{DecodeError, ProtocolError};
use crate::property::{Place, Properties};
use crate::reason::ReasonCode;
use crate::version::Version;

/// The answer to SUBSCRIBE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Suback<'a> {
    /// Packet Identifier.
    pub packet_identifier: u16,
    /// Properties; empty in 3.x.
    pub properties: Properties<'a>,
    /// One reason code for each filter (MQTT-3.8.4-6). In 3.x every failure is 0x80.
    pub reasons: Reasons<'a>,
}

impl<'a> Suback<'a> {
    /// MQTT-3.9.3-2
    pub(crate) const REASONS: &'static [ReasonCode] = &[
        ReasonCode::GRANTED_QOS_0,
        ReasonCode::GRANTED_QOS_1,
        ReasonCode::GRANTED_QOS_2,
        ReasonCode::UNSPECIFIED_ERROR,
        ReasonCode::IMPLEMENTATION_SPECIFIC_ERROR,
        ReasonCode::NOT_AUTHORIZED,
        ReasonCode::TOPIC_FILTER_INVALID,
        ReasonCode::PACKET_IDENTIFIER_IN_USE,
        ReasonCode::QUOTA_EXCEEDED,
        ReasonCode::SHARED_SUBSCRIPTIONS_NOT_SUPPORTED,
        ReasonCode::SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED,
        ReasonCode::WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED,
    ];

    /// MQTT3-3.9.3-2
    pub(crate) const REASONS_V3: &'static [ReasonCode] = &[
        ReasonCode::GRANTED_QOS_0,
        ReasonCode::GRANTED_QOS_1,
        ReasonCode::GRANTED_QOS_2,
        ReasonCode::UNSPECIFIED_ERROR,
    ];

    /// Without properties.
    pub fn new(packet_identifier: u16, reasons: &'a [ReasonCode]) -> Self {
        Self { packet_identifier, properties: Properties::default(), reasons: reasons.into() }
    }

    pub(crate) fn decode(body: &mut Body<'a, '_>) -> Result<Self, DecodeError> {
        let packet_identifier = body.cursor.packet_identifier()?;
        let properties = body.properties(Place::Acknowledgement)?;
        let reasons = if body.version.is_v5() { Self::REASONS } else { Self::REASONS_V3 };
        let reasons = decode_reasons(body, reasons)?;
        Ok(Self { packet_identifier, properties, reasons })
    }

    pub(crate) fn encode(&self, version: Version, out: &mut Vec<u8>) {
        encode::framed(out, 0x90, |out| {
            out.extend_from_slice(&self.packet_identifier.to_be_bytes());
            encode::properties(out, version, self.properties);
            let failure = ReasonCode::UNSPECIFIED_ERROR;
            out.extend(self.reasons.iter().map(|reason| {
                // MQTT3-3.9.3-2: 3.x knows one failure.
                if reason.is_error() && !version.is_v5() { failure.byte() } else { reason.byte() }
            }));
        });
    }
}

/// The codes that fill the rest of the packet.
pub(super) fn decode_reasons<'a>(
    body: &mut Body<'a, '_>,
    allowed: &[ReasonCode],
) -> Result<Reasons<'a>, ProtocolError> {
    let bytes = body.cursor.take_rest();
    if bytes.is_empty() {
        return Err(ProtocolError::NoReasonCodes);
    }
    let reasons = Reasons::of_bytes(bytes);
    let known = reasons.iter().all(|reason| allowed.contains(&reason));
    if known { Ok(reasons) } else { Err(ProtocolError::ReasonCode) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::Packet;
    use crate::tests::{accepted_from_server, refused_from_server};

    #[test]
    fn v5_mqtt_3_9_3_1_one_reason_code_for_each_filter() {
        let reasons = [ReasonCode::GRANTED_QOS_1, ReasonCode::NOT_AUTHORIZED];
        let suback = Packet::Suback(Suback::new(10, &reasons));
        let bytes = b"\x90\x05\0\x0A\0\x01\x87";
        assert_eq!(accepted_from_server(bytes, Version::V5), suback);
        let mut out = Vec::new();
        encode::packet(&suback, Version::V5, &mut out);
        assert_eq!(out, bytes);
    }

    #[test]
    fn v3_mqtt_3_9_3_2_there_is_one_failure() {
        let reasons = [ReasonCode::GRANTED_QOS_2, ReasonCode::QUOTA_EXCEEDED];
        let mut out = Vec::new();
        encode::packet(&Packet::Suback(Suback::new(10, &reasons)), Version::V311, &mut out);
        assert_eq!(out, b"\x90\x04\0\x0A\x02\x80");
        refused_from_server(b"\x90\x03\0\x0A\x03", Version::V311, ProtocolError::ReasonCode);
        refused_from_server(b"\x90\x03\0\x0A\x87", Version::V31, ProtocolError::ReasonCode);
    }

    #[test]
    fn v5_mqtt_3_9_3_2_codes_are_those_of_suback() {
        refused_from_server(b"\x90\x04\0\x0A\0\x11", Version::V5, ProtocolError::ReasonCode);
        refused_from_server(b"\x90\x03\0\x0A\0", Version::V5, ProtocolError::NoReasonCodes);
    }
}
