//! CONNECT (MQTT 5.0, 3.1).

use alloc::vec::Vec;

use crate::decode::Body;
use crate::encode;
use crate::error::{DecodeError, MalformedPacket, ProtocolError};
use crate::property::{Place, Properties};
use crate::topic::validate_topic_name;
use crate::version::{QoS, Version};

/// A client asks for a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connect<'a> {
    /// Protocol version, from name and level.
    pub version: Version,
    /// Bit 7 of the level: the client is a bridge, as Mosquitto's bridges say.
    pub bridge: bool,
    /// Clean Start; Clean Session in 3.x.
    pub clean_start: bool,
    /// Keep Alive, seconds; 0 is off.
    pub keep_alive: u16,
    /// Client Identifier; may be empty but in 3.1. Its length is not limited to 23 characters in
    /// 3.1, as in Mosquitto.
    pub client_identifier: &'a str,
    /// User Name.
    pub username: Option<&'a str>,
    /// Password.
    pub password: Option<&'a [u8]>,
    /// Will Message.
    pub will: Option<Will<'a>>,
    /// Properties; empty in 3.x.
    pub properties: Properties<'a>,
}

/// The Will Message in a CONNECT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Will<'a> {
    /// Will Topic.
    pub topic: &'a str,
    /// Will Payload.
    pub payload: &'a [u8],
    /// Will QoS.
    pub qos: QoS,
    /// Will Retain.
    pub retain: bool,
    /// Will Properties; empty in 3.x.
    pub properties: Properties<'a>,
}

const RESERVED: u8 = 1;
const CLEAN_START: u8 = 1 << 1;
const WILL: u8 = 1 << 2;
const WILL_QOS: u8 = 0b11 << 3;
const WILL_RETAIN: u8 = 1 << 5;
const PASSWORD: u8 = 1 << 6;
const USERNAME: u8 = 1 << 7;

/// In the protocol level.
const BRIDGE: u8 = 1 << 7;

impl<'a> Connect<'a> {
    /// A CONNECT without will, name, password and properties, with a keep alive of 60 seconds.
    pub fn new(version: Version, client_identifier: &'a str, clean_start: bool) -> Self {
        Self {
            version,
            bridge: false,
            clean_start,
            keep_alive: 60,
            client_identifier,
            username: None,
            password: None,
            will: None,
            properties: Properties::default(),
        }
    }

    pub(crate) fn decode(body: &mut Body<'a, '_>) -> Result<Self, DecodeError> {
        let name = body.cursor.binary()?;
        let level = body.cursor.u8()?;
        let version = version(name, level)?;
        body.version = version;
        Self::decode_fields(body, level & BRIDGE != 0).map_err(|error| error.in_connect(version))
    }

    /// What follows the protocol level, in the order of MQTT-3.1.3-1.
    fn decode_fields(body: &mut Body<'a, '_>, bridge: bool) -> Result<Self, DecodeError> {
        let flags = body.cursor.u8()?;
        check_flags(flags, body.version)?;
        let keep_alive = body.cursor.u16()?;
        let properties = body.properties(Place::Connect)?;
        let client_identifier = body.cursor.string()?; // MQTT-3.1.3-3, MQTT-3.1.3-4
        if client_identifier.is_empty() && body.version == Version::V31 {
            return Err(ProtocolError::ClientIdentifierEmpty.into());
        }
        // MQTT-3.1.2-9, MQTT3-3.1.2-12
        let will = if flags & WILL != 0 { Some(Will::decode(body, flags)?) } else { None };
        let username =
            if is_there(flags, USERNAME, body) { Some(body.cursor.string()?) } else { None };
        let password =
            if is_there(flags, PASSWORD, body) { Some(body.cursor.binary()?) } else { None };
        body.cursor.end()?;
        Ok(Self {
            version: body.version,
            bridge,
            clean_start: flags & CLEAN_START != 0,
            keep_alive,
            client_identifier,
            username,
            password,
            will,
            properties,
        })
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let version = self.version;
        encode::framed(out, 0x10, |out| {
            encode::string(out, version.name());
            out.push(version.level() | if self.bridge { BRIDGE } else { 0 });
            out.push(self.flags());
            out.extend_from_slice(&self.keep_alive.to_be_bytes());
            encode::properties(out, version, self.properties);
            encode::string(out, self.client_identifier);
            if let Some(will) = &self.will {
                encode::properties(out, version, will.properties);
                encode::string(out, will.topic);
                encode::binary(out, will.payload);
            }
            if let Some(username) = self.username {
                encode::string(out, username);
            }
            if let Some(password) = self.password {
                encode::binary(out, password);
            }
        });
    }

    fn flags(&self) -> u8 {
        let set = |flag: u8, on: bool| if on { flag } else { 0 };
        set(CLEAN_START, self.clean_start)
            | self
                .will
                .as_ref()
                .map_or(0, |will| WILL | (will.qos as u8) << 3 | set(WILL_RETAIN, will.retain))
            | set(PASSWORD, self.password.is_some())
            | set(USERNAME, self.username.is_some())
    }
}

/// MQTT-3.1.2-1, MQTT-3.1.2-2
fn version(name: &[u8], level: u8) -> Result<Version, ProtocolError> {
    match (name, level & !BRIDGE) {
        (b"MQIsdp", 3) => Ok(Version::V31),
        (b"MQTT", 4) => Ok(Version::V311),
        (b"MQTT", 5) => Ok(Version::V5),
        (b"MQTT" | b"MQIsdp", _) => Err(ProtocolError::ProtocolLevel(level)),
        _ => Err(ProtocolError::ProtocolName),
    }
}

fn check_flags(flags: u8, version: Version) -> Result<(), DecodeError> {
    // MQTT-3.1.2-3; 3.1 leaves the bit unused.
    if flags & RESERVED != 0 && version != Version::V31 {
        return Err(MalformedPacket::ConnectFlags.into());
    }
    if flags & WILL_QOS == WILL_QOS {
        return Err(MalformedPacket::QoS.into()); // MQTT-3.1.2-12
    }
    if flags & WILL == 0 && flags & (WILL_QOS | WILL_RETAIN) != 0 {
        return Err(ProtocolError::WillFlags.into()); // MQTT-3.1.2-11, MQTT-3.1.2-13
    }
    if flags & (USERNAME | PASSWORD) == PASSWORD && !version.is_v5() {
        return Err(ProtocolError::PasswordWithoutUsername.into()); // MQTT3-3.1.2-22
    }
    Ok(())
}

/// Whether a field follows: just if its flag is set (MQTT-3.1.2-16, -17, -18, -19; MQTT3-3.1.2-18,
/// -19, -20, -21). In 3.1 it may be missing even then: the remaining length decides (3.1 there).
fn is_there(flags: u8, flag: u8, body: &Body<'_, '_>) -> bool {
    flags & flag != 0 && !(body.version == Version::V31 && body.cursor.is_empty())
}

impl<'a> Will<'a> {
    /// MQTT-3.1.2-9: properties, topic and payload.
    fn decode(body: &mut Body<'a, '_>, flags: u8) -> Result<Self, DecodeError> {
        let properties = body.properties(Place::Will)?;
        let topic = body.cursor.string()?; // MQTT-3.1.3-11
        validate_topic_name(topic, body.limits.topics)?;
        Ok(Self {
            topic,
            payload: body.cursor.binary()?,
            qos: QoS::try_from((flags & WILL_QOS) >> 3)?,
            retain: flags & WILL_RETAIN != 0,
            properties,
        })
    }
}

#[cfg(test)]
mod tests {
    use alloc::boxed::Box;

    use super::*;
    use crate::decode::{DecodeLimits, decode_first};
    use crate::packet::Packet;
    use crate::reason::ReasonCode;
    use crate::tests::{accepted, refused};

    /// A CONNECT with these bytes behind the protocol name.
    fn connect(name: &str, rest: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        encode::framed(&mut out, 0x10, |out| {
            encode::string(out, name);
            out.extend_from_slice(rest);
        });
        out
    }

    fn check(name: &str, rest: &[u8], expected: Result<(), DecodeError>) {
        let bytes = connect(name, rest);
        let decoded = decode_first(&bytes, &DecodeLimits::of_clients());
        let violation = |result: Result<(), DecodeError>| result.map_err(DecodeError::violation);
        assert_eq!(violation(decoded.map(|_| ())), violation(expected), "{name} {rest:x?}");
    }

    fn refuse(name: &str, rest: &[u8], expected: impl Into<DecodeError>) {
        check(name, rest, Err(expected.into()));
    }

    #[test]
    fn v3_mqtt_3_1_a_connect_with_everything() {
        let rest = b"\x04\xF6\0\x0A\0\x02id\0\x01w\0\x02go\0\x01u\0\x01p";
        let bytes = connect("MQTT", rest);
        let will = Will {
            topic: "w",
            payload: b"go",
            qos: QoS::ExactlyOnce,
            retain: true,
            properties: Properties::default(),
        };
        let expected = Connect {
            keep_alive: 10,
            username: Some("u"),
            password: Some(b"p"),
            will: Some(will),
            ..Connect::new(Version::V311, "id", true)
        };
        assert_eq!(accepted(&bytes, Version::V5), Packet::Connect(Box::new(expected)));
        let mut out = Vec::new();
        expected.encode(&mut out);
        assert_eq!(out, bytes);
    }

    #[test]
    fn v5_mqtt_3_1_3_a_will_has_properties_of_its_own() {
        let rest = b"\x05\x06\0\x3C\x05\x11\0\0\0\x05\0\x02id\x05\x18\0\0\0\x07\0\x01w\0\0";
        let bytes = connect("MQTT", rest);
        let Packet::Connect(connect) = accepted(&bytes, Version::V5) else { panic!("no CONNECT") };
        assert_eq!(connect.properties.session_expiry_interval(), Some(5));
        let delay = connect.will.and_then(|will| will.properties.will_delay_interval());
        assert_eq!(delay, Some(7));
    }

    #[test]
    fn v3_mqtt_3_1_2_2_protocol_names_and_levels() {
        check("MQIsdp", b"\x03\x02\0\x3C\0\x01a", Ok(()));
        check("MQTT", b"\x04\x02\0\x3C\0\x01a", Ok(()));
        check("MQTT", b"\x05\x02\0\x3C\0\0\x01a", Ok(()));
        refuse("MQTX", b"\x04\x02\0\x3C\0\x01a", ProtocolError::ProtocolName);
        refuse("mqtt", b"\x04\x02\0\x3C\0\x01a", ProtocolError::ProtocolName);
        refuse("MQTT", b"\x03\x02\0\x3C\0\x01a", ProtocolError::ProtocolLevel(3));
        refuse("MQTT", b"\x06\x02\0\x3C\0\x01a", ProtocolError::ProtocolLevel(6));
        refuse("MQIsdp", b"\x04\x02\0\x3C\0\x01a", ProtocolError::ProtocolLevel(4));
    }

    #[test]
    fn v3_mqtt_3_1_2_2_an_unknown_level_is_answered() {
        let bytes = connect("MQTT", b"\x02\x02\0\x3C\0\x01a");
        let Err(error) = decode_first(&bytes, &DecodeLimits::of_clients()) else {
            panic!("accepted")
        };
        assert_eq!(error.connect_version(), Some(Version::V311));
        assert_eq!(error.reason_code(), ReasonCode::UNSUPPORTED_PROTOCOL_VERSION);
        assert_eq!(error.reason_code().to_v3_connack(), 1);
    }

    #[test]
    fn bridges_say_so_in_the_level() {
        for (name, rest) in
            [("MQIsdp", b"\x83\x02\0\x3C\0\x01a"), ("MQTT", b"\x84\x02\0\x3C\0\x01a")]
        {
            let bytes = connect(name, rest);
            let Packet::Connect(connect) = accepted(&bytes, Version::V5) else {
                panic!("no CONNECT")
            };
            assert!(connect.bridge);
            let mut out = Vec::new();
            connect.encode(&mut out);
            assert_eq!(out, bytes);
        }
    }

    #[test]
    fn v5_mqtt_3_1_2_3_the_reserved_flag() {
        refuse("MQTT", b"\x04\x03\0\x3C\0\x01a", MalformedPacket::ConnectFlags);
        refuse("MQTT", b"\x05\x03\0\x3C\0\0\x01a", MalformedPacket::ConnectFlags);
        check("MQIsdp", b"\x03\x03\0\x3C\0\x01a", Ok(()));
    }

    #[test]
    fn v5_mqtt_3_1_2_11_flags_of_the_will_agree() {
        refuse("MQTT", b"\x04\x1E\0\x3C\0\x01a\0\x01w\0\0", MalformedPacket::QoS);
        refuse("MQTT", b"\x04\x0A\0\x3C\0\x01a", ProtocolError::WillFlags);
        refuse("MQTT", b"\x05\x22\0\x3C\0\0\x01a", ProtocolError::WillFlags); // MQTT-3.1.2-13
        refuse("MQTT", b"\x04\x06\0\x3C\0\x01a", MalformedPacket::Truncated); // MQTT-3.1.2-9
    }

    #[test]
    fn v5_mqtt_3_1_3_11_the_will_topic_is_a_topic_name() {
        refuse("MQTT", b"\x04\x06\0\x3C\0\x01a\0\x01#\0\0", ProtocolError::TopicName);
        refuse("MQTT", b"\x04\x06\0\x3C\0\x01a\0\0\0\0", ProtocolError::TopicNameEmpty);
        refuse("MQTT", b"\x04\x06\0\x3C\0\x01a\0\x01\xFF\0\0", MalformedPacket::Utf8);
    }

    #[test]
    fn v3_mqtt_3_1_2_22_no_password_without_a_user_name() {
        let alone = ProtocolError::PasswordWithoutUsername;
        refuse("MQTT", b"\x04\x42\0\x3C\0\x01a\0\x01p", alone);
        refuse("MQIsdp", b"\x03\x42\0\x3C\0\x01a\0\x01p", alone);
        check("MQTT", b"\x05\x42\0\x3C\0\0\x01a\0\x01p", Ok(())); // MQTT 5.0, 3.1.2.9
    }

    #[test]
    fn v5_mqtt_3_1_2_17_flags_and_fields_agree() {
        refuse("MQTT", b"\x04\x82\0\x3C\0\x01a", MalformedPacket::Truncated);
        refuse("MQTT", b"\x04\xC2\0\x3C\0\x01a\0\x01u", MalformedPacket::Truncated);
        refuse("MQTT", b"\x04\x02\0\x3C\0\x01a\0", MalformedPacket::TrailingBytes);
        refuse("MQTT", b"\x04\x82\0\x3C\0\x01a\0\x02\xC0\xAF", MalformedPacket::Utf8);
        refuse("MQTT", b"\x04\x02\0\x3C", MalformedPacket::Truncated); // MQTT-3.1.3-3
    }

    #[test]
    fn v3_mqtt31_3_1_a_user_name_may_be_missing() {
        check("MQIsdp", b"\x03\xC2\0\x3C\0\x01a", Ok(()));
        check("MQIsdp", b"\x03\xC2\0\x3C\0\x01a\0\x01u", Ok(()));
    }

    #[test]
    fn v3_mqtt31_3_1_a_client_identifier_is_needed() {
        let bytes = connect("MQIsdp", b"\x03\x02\0\x3C\0\0");
        let Err(error) = decode_first(&bytes, &DecodeLimits::of_clients()) else {
            panic!("accepted")
        };
        assert_eq!(error.connect_version(), Some(Version::V31));
        assert_eq!(error.reason_code().to_v3_connack(), 2);
        check("MQTT", b"\x04\x02\0\x3C\0\0", Ok(())); // MQTT-3.1.3-6
    }

    #[test]
    fn v5_mqtt_3_1_4_1_errors_of_a_connect_are_answered_in_5_0() {
        let bytes = connect("MQTT", b"\x05\x02\0\x3C\x03\x21\0\0\0\x01a");
        let Err(error) = decode_first(&bytes, &DecodeLimits::of_clients()) else {
            panic!("accepted")
        };
        assert_eq!(error.connect_version(), Some(Version::V5));
        assert_eq!(error.reason_code(), ReasonCode::PROTOCOL_ERROR);
        refused(b"\x11\x00", Version::V5, MalformedPacket::FixedHeaderFlags);
    }
}
