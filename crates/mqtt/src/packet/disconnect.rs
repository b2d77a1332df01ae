//! DISCONNECT (MQTT 5.0, 3.14).

use alloc::vec::Vec;

use crate::decode::Body;
use crate::encode;
use crate::error::DecodeError;
use crate::property::{Place, Properties};
use crate::reason::ReasonCode;
use crate::version::Version;

/// The sender will close the connection. In 3.x only a client sends it, and it says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disconnect<'a> {
    /// Disconnect Reason Code.
    pub reason: ReasonCode,
    /// Properties; empty in 3.x.
    pub properties: Properties<'a>,
}

impl Disconnect<'_> {
    /// Without properties.
    pub fn new(reason: ReasonCode) -> Self {
        Self { reason, properties: Properties::default() }
    }
}

impl<'a> Disconnect<'a> {
    /// What clients may say (MQTT-3.14.2-1 and table 3-10).
    pub(crate) const CLIENT_REASONS: &'static [ReasonCode] = &[
        ReasonCode::NORMAL_DISCONNECTION,
        ReasonCode::DISCONNECT_WITH_WILL,
        ReasonCode::UNSPECIFIED_ERROR,
        ReasonCode::MALFORMED_PACKET,
        ReasonCode::PROTOCOL_ERROR,
        ReasonCode::IMPLEMENTATION_SPECIFIC_ERROR,
        ReasonCode::TOPIC_NAME_INVALID,
        ReasonCode::RECEIVE_MAXIMUM_EXCEEDED,
        ReasonCode::TOPIC_ALIAS_INVALID,
        ReasonCode::PACKET_TOO_LARGE,
        ReasonCode::MESSAGE_RATE_TOO_HIGH,
        ReasonCode::QUOTA_EXCEEDED,
        ReasonCode::ADMINISTRATIVE_ACTION,
        ReasonCode::PAYLOAD_FORMAT_INVALID,
    ];

    /// What a client or a server may say.
    pub(crate) const REASONS: &'static [ReasonCode] = &[
        ReasonCode::NORMAL_DISCONNECTION,
        ReasonCode::DISCONNECT_WITH_WILL,
        ReasonCode::UNSPECIFIED_ERROR,
        ReasonCode::MALFORMED_PACKET,
        ReasonCode::PROTOCOL_ERROR,
        ReasonCode::IMPLEMENTATION_SPECIFIC_ERROR,
        ReasonCode::NOT_AUTHORIZED,
        ReasonCode::SERVER_BUSY,
        ReasonCode::SERVER_SHUTTING_DOWN,
        ReasonCode::BAD_AUTHENTICATION_METHOD,
        ReasonCode::KEEP_ALIVE_TIMEOUT,
        ReasonCode::SESSION_TAKEN_OVER,
        ReasonCode::TOPIC_FILTER_INVALID,
        ReasonCode::TOPIC_NAME_INVALID,
        ReasonCode::RECEIVE_MAXIMUM_EXCEEDED,
        ReasonCode::TOPIC_ALIAS_INVALID,
        ReasonCode::PACKET_TOO_LARGE,
        ReasonCode::MESSAGE_RATE_TOO_HIGH,
        ReasonCode::QUOTA_EXCEEDED,
        ReasonCode::ADMINISTRATIVE_ACTION,
        ReasonCode::PAYLOAD_FORMAT_INVALID,
        ReasonCode::RETAIN_NOT_SUPPORTED,
        ReasonCode::QOS_NOT_SUPPORTED,
        ReasonCode::USE_ANOTHER_SERVER,
        ReasonCode::SERVER_MOVED,
        ReasonCode::SHARED_SUBSCRIPTIONS_NOT_SUPPORTED,
        ReasonCode::CONNECTION_RATE_EXCEEDED,
        ReasonCode::MAXIMUM_CONNECT_TIME,
        ReasonCode::SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED,
        ReasonCode::WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED,
    ];

    pub(crate) fn decode(body: &mut Body<'a, '_>) -> Result<Self, DecodeError> {
        let allowed = if body.limits.from_client { Self::CLIENT_REASONS } else { Self::REASONS };
        let (reason, properties) = body.reason_and_properties(allowed, Place::Disconnect)?;
        Ok(Self { reason, properties })
    }

    /// In 3.x a normal disconnection is two bytes (from a client: servers never send any), and
    /// any other reason is nothing: the connection is closed without a word.
    pub(crate) fn encode(&self, version: Version, out: &mut Vec<u8>) {
        let normal = self.reason == ReasonCode::NORMAL_DISCONNECTION;
        match (version.is_v5(), self.properties.is_empty()) {
            (false, _) if !normal => {}
            (false, _) => out.extend_from_slice(&[0xE0, 0]),
            (true, true) if normal => out.extend_from_slice(&[0xE0, 0]),
            (true, true) => out.extend_from_slice(&[0xE0, 1, self.reason.byte()]),
            (true, false) => encode::framed(out, 0xE0, |out| {
                out.push(self.reason.byte());
                encode::properties(out, version, self.properties);
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{MalformedPacket, ProtocolError};
    use crate::packet::Packet;
    use crate::tests::{accepted, accepted_from_server, refused, refused_from_server};

    #[test]
    fn v5_mqtt_3_14_2_short_forms() {
        let normal = Packet::Disconnect(Disconnect::new(ReasonCode::NORMAL_DISCONNECTION));
        assert_eq!(accepted(b"\xE0\x00", Version::V5), normal);
        assert_eq!(accepted(b"\xE0\x00", Version::V311), normal);
        let with_will = Packet::Disconnect(Disconnect::new(ReasonCode::DISCONNECT_WITH_WILL));
        assert_eq!(accepted(b"\xE0\x01\x04", Version::V5), with_will);
        assert_eq!(accepted(b"\xE0\x02\x04\0", Version::V5), with_will);
    }

    #[test]
    fn v5_mqtt_3_14_2_1_reason_codes_of_each_side() {
        refused(b"\xE0\x02\x8E\0", Version::V5, ProtocolError::ReasonCode);
        refused(b"\xE0\x01\xFF", Version::V5, ProtocolError::ReasonCode);
        let taken_over = Packet::Disconnect(Disconnect::new(ReasonCode::SESSION_TAKEN_OVER));
        assert_eq!(accepted_from_server(b"\xE0\x01\x8E", Version::V5), taken_over);
        refused_from_server(b"\xE0\x01\x85", Version::V5, ProtocolError::ReasonCode);
        assert!(
            Disconnect::CLIENT_REASONS.iter().all(|reason| Disconnect::REASONS.contains(reason))
        );
    }

    #[test]
    fn v3_mqtt_3_14_it_has_no_body_and_no_reason() {
        refused(b"\xE0\x01\0", Version::V311, MalformedPacket::TrailingBytes);
        let mut out = Vec::new();
        Disconnect::new(ReasonCode::SERVER_SHUTTING_DOWN).encode(Version::V311, &mut out);
        assert_eq!(out, b"");
        Disconnect::new(ReasonCode::SUCCESS).encode(Version::V31, &mut out);
        assert_eq!(out, b"\xE0\0");
    }

    #[test]
    fn v5_mqtt_3_14_2_a_server_reference_comes_from_servers() {
        let bytes = b"\xE0\x06\x9D\x04\x1C\0\x01s";
        let Packet::Disconnect(disconnect) = accepted_from_server(bytes, Version::V5) else {
            panic!("no DISCONNECT")
        };
        assert_eq!(disconnect.properties.server_reference(), Some("s"));
        refused(b"\xE0\x06\0\x04\x1C\0\x01s", Version::V5, ProtocolError::WrongDirection);
    }
}
