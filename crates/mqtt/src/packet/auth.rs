//! AUTH (MQTT 5.0, 3.15).

use alloc::vec::Vec;

use crate::decode::Body;
use crate::encode;
use crate::error::{DecodeError, ProtocolError};
use crate::property::{Place, Properties};
use crate::reason::ReasonCode;
use crate::version::Version;

/// A step of extended authentication. There is none before 5.0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Auth<'a> {
    /// Authenticate Reason Code.
    pub reason: ReasonCode,
    /// Properties.
    pub properties: Properties<'a>,
}

impl<'a> Auth<'a> {
    /// What clients may say (MQTT-3.15.2-1 and table 3-11).
    pub(crate) const CLIENT_REASONS: &'static [ReasonCode] =
        &[ReasonCode::CONTINUE_AUTHENTICATION, ReasonCode::RE_AUTHENTICATE];

    /// What a client or a server may say.
    pub(crate) const REASONS: &'static [ReasonCode] =
        &[ReasonCode::SUCCESS, ReasonCode::CONTINUE_AUTHENTICATION, ReasonCode::RE_AUTHENTICATE];

    pub(crate) fn decode(body: &mut Body<'a, '_>) -> Result<Self, DecodeError> {
        let allowed = if body.limits.from_client { Self::CLIENT_REASONS } else { Self::REASONS };
        let (reason, properties) = body.reason_and_properties(allowed, Place::Auth)?;
        if !allowed.contains(&reason) {
            return Err(ProtocolError::ReasonCode.into()); // Left out, it is success.
        }
        Ok(Self { reason, properties })
    }

    pub(crate) fn encode(&self, version: Version, out: &mut Vec<u8>) {
        if !version.is_v5() {
            return;
        }
        if self.reason == ReasonCode::SUCCESS && self.properties.is_empty() {
            return out.extend_from_slice(&[0xF0, 0]); // MQTT 5.0, 3.15.2.1
        }
        encode::framed(out, 0xF0, |out| {
            out.push(self.reason.byte());
            encode::properties(out, version, self.properties);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::MalformedPacket;
    use crate::packet::Packet;
    use crate::property::PropertiesBuf;
    use crate::tests::{accepted, accepted_from_server, refused};

    #[test]
    fn v5_mqtt_3_15_2_a_step_with_data() {
        let mut properties = PropertiesBuf::new();
        properties.authentication_method("M");
        properties.authentication_data(&[7]);
        let reason = ReasonCode::CONTINUE_AUTHENTICATION;
        let auth = Auth { reason, properties: properties.view() };
        let bytes = b"\xF0\x0A\x18\x08\x15\0\x01M\x16\0\x01\x07";
        assert_eq!(accepted(bytes, Version::V5), Packet::Auth(auth));
        let mut out = Vec::new();
        auth.encode(Version::V5, &mut out);
        assert_eq!(out, bytes);
    }

    #[test]
    fn v5_mqtt_3_15_2_1_reason_codes_of_each_side() {
        refused(b"\xF0\x02\x04\0", Version::V5, ProtocolError::ReasonCode);
        refused(b"\xF0\x00", Version::V311, MalformedPacket::PacketType);
        refused(b"\xF0\x02\0\0", Version::V5, ProtocolError::ReasonCode);
        refused(b"\xF0\x00", Version::V5, ProtocolError::ReasonCode);
        let success = Auth { reason: ReasonCode::SUCCESS, properties: Properties::default() };
        assert_eq!(accepted_from_server(b"\xF0\x00", Version::V5), Packet::Auth(success));
        assert_eq!(accepted_from_server(b"\xF0\x02\0\0", Version::V5), Packet::Auth(success));
    }
}
