//! CONNACK (MQTT 5.0, 3.2).

use alloc::vec::Vec;

use crate::decode::Body;
use crate::encode;
use crate::error::{DecodeError, MalformedPacket, ProtocolError};
use crate::property::{Place, Properties};
use crate::reason::ReasonCode;
use crate::version::Version;

/// The answer to CONNECT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connack<'a> {
    /// Session Present; 3.1 has no such flag.
    pub session_present: bool,
    /// Connect Reason Code. A 3.x return code stands for the one that says the same.
    pub reason: ReasonCode,
    /// Properties; empty in 3.x.
    pub properties: Properties<'a>,
}

impl<'a> Connack<'a> {
    /// MQTT-3.2.2-8
    pub(crate) const REASONS: &'static [ReasonCode] = &[
        ReasonCode::SUCCESS,
        ReasonCode::UNSPECIFIED_ERROR,
        ReasonCode::MALFORMED_PACKET,
        ReasonCode::PROTOCOL_ERROR,
        ReasonCode::IMPLEMENTATION_SPECIFIC_ERROR,
        ReasonCode::UNSUPPORTED_PROTOCOL_VERSION,
        ReasonCode::CLIENT_IDENTIFIER_NOT_VALID,
        ReasonCode::BAD_USER_NAME_OR_PASSWORD,
        ReasonCode::NOT_AUTHORIZED,
        ReasonCode::SERVER_UNAVAILABLE,
        ReasonCode::SERVER_BUSY,
        ReasonCode::BANNED,
        ReasonCode::BAD_AUTHENTICATION_METHOD,
        ReasonCode::TOPIC_NAME_INVALID,
        ReasonCode::PACKET_TOO_LARGE,
        ReasonCode::QUOTA_EXCEEDED,
        ReasonCode::PAYLOAD_FORMAT_INVALID,
        ReasonCode::RETAIN_NOT_SUPPORTED,
        ReasonCode::QOS_NOT_SUPPORTED,
        ReasonCode::USE_ANOTHER_SERVER,
        ReasonCode::SERVER_MOVED,
        ReasonCode::CONNECTION_RATE_EXCEEDED,
    ];

    pub(crate) fn decode(body: &mut Body<'a, '_>) -> Result<Self, DecodeError> {
        let flags = body.cursor.u8()?;
        // 3.1 leaves the byte unused.
        let flags = if body.version == Version::V31 { 0 } else { flags };
        if flags > 1 {
            return Err(MalformedPacket::ConnectAcknowledgeFlags.into()); // MQTT-3.2.2-1
        }
        let session_present = flags == 1;
        let reason = reason(body)?;
        if session_present && reason != ReasonCode::SUCCESS {
            return Err(ProtocolError::SessionPresent.into()); // MQTT-3.2.2-6
        }
        let properties = if body.cursor.is_empty() {
            Properties::default()
        } else {
            body.properties(Place::Connack)?
        };
        Ok(Self { session_present, reason, properties })
    }

    pub(crate) fn encode(&self, version: Version, out: &mut Vec<u8>) {
        let session_present = self.session_present && version != Version::V31;
        let code = if version.is_v5() { self.reason.byte() } else { self.reason.to_v3_connack() };
        encode::framed(out, 0x20, |out| {
            out.extend_from_slice(&[u8::from(session_present), code]);
            encode::properties(out, version, self.properties);
        });
    }
}

fn reason(body: &mut Body<'_, '_>) -> Result<ReasonCode, DecodeError> {
    // A server that does not know 5.0 answers a CONNECT of 5.0 so, too: with a return code, and
    // no properties behind it.
    let v3 = matches!(body.cursor.rest(), [1..=5]) || !body.version.is_v5();
    if v3 {
        let known = ReasonCode::from_v3_connack(body.cursor.u8()?);
        known.ok_or_else(|| ProtocolError::ReasonCode.into())
    } else {
        body.reason(Connack::REASONS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::Packet;
    use crate::property::PropertiesBuf;
    use crate::tests::{accepted_from_server, refused_from_server};

    fn encoded(connack: Connack<'_>, version: Version) -> Vec<u8> {
        let mut out = Vec::new();
        encode::packet(&Packet::Connack(connack), version, &mut out);
        out
    }

    #[test]
    fn v5_mqtt_3_2_properties_follow_the_reason_code() {
        let mut properties = PropertiesBuf::new();
        properties.topic_alias_maximum(10);
        properties.maximum_packet_size(2_000_000);
        properties.receive_maximum(20);
        let connack = Connack {
            session_present: true,
            reason: ReasonCode::SUCCESS,
            properties: properties.view(),
        };
        // What Mosquitto answers by default.
        let bytes = b"\x20\x0E\x01\0\x0B\x22\0\x0A\x27\0\x1E\x84\x80\x21\0\x14";
        assert_eq!(encoded(connack, Version::V5), bytes);
        assert_eq!(accepted_from_server(bytes, Version::V5), Packet::Connack(connack));
    }

    #[test]
    fn v3_mqtt_3_2_2_return_codes() {
        let refusal = Connack {
            session_present: false,
            reason: ReasonCode::NOT_AUTHORIZED,
            properties: Properties::default(),
        };
        assert_eq!(encoded(refusal, Version::V311), b"\x20\x02\0\x05");
        let decoded = accepted_from_server(b"\x20\x02\0\x05", Version::V311);
        assert_eq!(decoded, Packet::Connack(refusal));
        // What a 3.1.1 server says to a CONNECT of 5.0.
        let Packet::Connack(connack) = accepted_from_server(b"\x20\x02\0\x01", Version::V5) else {
            panic!("no CONNACK")
        };
        assert_eq!(connack.reason, ReasonCode::UNSUPPORTED_PROTOCOL_VERSION);
    }

    #[test]
    fn v3_mqtt31_3_2_there_is_no_session_present() {
        let connack = Connack {
            session_present: true,
            reason: ReasonCode::SUCCESS,
            properties: Properties::default(),
        };
        assert_eq!(encoded(connack, Version::V31), b"\x20\x02\0\0");
        assert_eq!(encoded(connack, Version::V311), b"\x20\x02\x01\0"); // MQTT3-3.2.2-2
        let Packet::Connack(decoded) = accepted_from_server(b"\x20\x02\xFF\0", Version::V31) else {
            panic!("no CONNACK")
        };
        assert!(!decoded.session_present);
    }

    #[test]
    fn v5_mqtt_3_2_2_1_flags_are_checked() {
        let flags = MalformedPacket::ConnectAcknowledgeFlags;
        refused_from_server(b"\x20\x03\x02\0\0", Version::V5, flags);
        // MQTT-3.2.2-6
        refused_from_server(b"\x20\x03\x01\x87\0", Version::V5, ProtocolError::SessionPresent);
        refused_from_server(b"\x20\x02\x01\x05", Version::V311, ProtocolError::SessionPresent);
        refused_from_server(b"\x20\x03\0\x10\0", Version::V5, ProtocolError::ReasonCode);
    }
}
