//! From bytes to packets.

use alloc::boxed::Box;

use crate::cursor::Cursor;
use crate::error::{ConnectError, DecodeError};
use crate::packet::{
    Ack, Auth, Connack, Connect, Disconnect, Packet, Publish, Suback, Subscribe,
    SubscriptionOptions, Unsuback, Unsubscribe, Will,
};
use crate::property::{Place, Properties};
use crate::reason::ReasonCode;
use crate::topic::{validate_topic_filter, validate_topic_name};
use crate::version::{QoS, Version};

/// Bounds on what a peer may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecodeLimits {
    /// Largest packet, fixed header included, in bytes.
    pub packet_size_max: u32,
    /// Most levels of a topic name or filter.
    pub topic_levels_max: u16,
    /// Most user properties of a packet.
    pub user_properties_max: u16,
    /// Most filters of a SUBSCRIBE or UNSUBSCRIBE.
    pub filters_max: u16,
    /// Whether the peer is a client, which may not send all that a server may.
    pub from_client: bool,
}

impl Default for DecodeLimits {
    /// The protocol's own limits, for what a server sends.
    fn default() -> Self {
        Self {
            packet_size_max: u32::MAX,
            topic_levels_max: u16::MAX,
            user_properties_max: u16::MAX,
            filters_max: u16::MAX,
            from_client: false,
        }
    }
}

/// What stands at the front of a buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decoded<'a> {
    /// The beginning of a packet.
    Incomplete {
        /// Length of the whole packet in bytes; 0 if that is not known yet.
        need: usize,
    },
    /// A packet.
    Packet {
        /// The packet.
        packet: Packet<'a>,
        /// Its length in bytes.
        length: usize,
    },
}

/// Decodes the packet at the front of `buffer`, received on a connection of `version`.
pub fn decode<'a>(
    buffer: &'a [u8],
    version: Version,
    limits: &DecodeLimits,
) -> Result<Decoded<'a>, DecodeError> {
    let Some((&first, rest)) = buffer.split_first() else {
        return Ok(Decoded::Incomplete { need: 0 });
    };
    check_flags(first, version)?;
    let (remaining, header) = match remaining_length(rest)? {
        Some((remaining, bytes)) => (remaining as usize, 1 + bytes),
        None => return Ok(Decoded::Incomplete { need: 0 }),
    };
    let length = header + remaining;
    if length > limits.packet_size_max as usize {
        return Err(DecodeError::TooLarge);
    }
    let Some(body) = buffer.get(header..length) else {
        return Ok(Decoded::Incomplete { need: length });
    };
    let packet = decode_body(first, body, version, limits)?;
    Ok(Decoded::Packet { packet, length })
}

/// Decodes the first packet of a connection, which must be CONNECT (MQTT-3.1.0-1). Anything else
/// is refused at its first byte.
pub fn decode_first<'a>(
    buffer: &'a [u8],
    limits: &DecodeLimits,
) -> Result<Decoded<'a>, DecodeError> {
    match buffer.first() {
        None => Ok(Decoded::Incomplete { need: 0 }),
        Some(first) if first >> 4 == 1 => decode(buffer, Version::V5, limits),
        Some(_) => Err(DecodeError::NotConnect),
    }
}

/// MQTT-2.1.3-1: the flags of each packet type.
fn check_flags(first: u8, version: Version) -> Result<(), DecodeError> {
    let flags = first & 0x0F;
    let expected = match first >> 4 {
        3 => return check_publish_flags(flags),
        6 | 8 | 10 => 0b0010, // MQTT-3.6.1-1, MQTT-3.8.1-1, MQTT-3.10.1-1
        0 => return Err(DecodeError::PacketType),
        15 if !version.is_v5() => return Err(DecodeError::PacketType),
        _ => 0,
    };
    // 3.1 let clients set DUP in SUBSCRIBE, UNSUBSCRIBE and PUBREL.
    let lenient = version == Version::V31 && expected != 0 && flags & !0b1000 == expected;
    if flags == expected || lenient { Ok(()) } else { Err(DecodeError::Flags) }
}

fn check_publish_flags(flags: u8) -> Result<(), DecodeError> {
    match flags >> 1 & 0b11 {
        3 => Err(DecodeError::QoS),
        0 if flags & 0b1000 != 0 => Err(DecodeError::DupWithoutQoS),
        _ => Ok(()),
    }
}

/// Remaining Length and how many bytes it takes; `None` if it is cut off.
fn remaining_length(bytes: &[u8]) -> Result<Option<(u32, usize)>, DecodeError> {
    let mut value = 0;
    for (at, &byte) in bytes.iter().take(4).enumerate() {
        value |= u32::from(byte & 0x7F) << (7 * at);
        if byte & 0x80 == 0 {
            return Ok(Some((value, at + 1)));
        }
    }
    if bytes.len() >= 4 { Err(DecodeError::RemainingLength) } else { Ok(None) }
}

fn decode_body<'a>(
    first: u8,
    body: &'a [u8],
    version: Version,
    limits: &DecodeLimits,
) -> Result<Packet<'a>, DecodeError> {
    let mut fields = Fields { cursor: Cursor::new(body), version, limits };
    let packet = match first >> 4 {
        3 => Packet::Publish(fields.publish(first)?),
        4 => Packet::Puback(fields.ack(&PUBACK_REASONS)?),
        5 => Packet::Pubrec(fields.ack(&PUBACK_REASONS)?),
        6 => Packet::Pubrel(fields.ack(&PUBREL_REASONS)?),
        7 => Packet::Pubcomp(fields.ack(&PUBREL_REASONS)?),
        1 => Packet::Connect(Box::new(fields.connect()?)),
        2 => Packet::Connack(fields.connack()?),
        8 => Packet::Subscribe(fields.subscribe()?),
        9 => Packet::Suback(fields.suback()?),
        10 => Packet::Unsubscribe(fields.unsubscribe()?),
        11 => Packet::Unsuback(fields.unsuback()?),
        12 => Packet::Pingreq,
        13 => Packet::Pingresp,
        14 => Packet::Disconnect(fields.disconnect()?),
        15 => Packet::Auth(fields.auth()?),
        _ => return Err(DecodeError::PacketType),
    };
    fields.cursor.end()?;
    Ok(packet)
}

/// Reason codes of PUBACK and PUBREC (tables 3-4 and 3-5).
const PUBACK_REASONS: [u8; 9] = [0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99];

/// Reason codes of PUBREL and PUBCOMP (tables 3-6 and 3-7).
const PUBREL_REASONS: [u8; 2] = [0x00, 0x92];

/// The fields of one packet.
struct Fields<'a, 'l> {
    cursor: Cursor<'a>,
    version: Version,
    limits: &'l DecodeLimits,
}

impl<'a> Fields<'a, '_> {
    fn properties(&mut self, place: Place) -> Result<Properties<'a>, DecodeError> {
        if !self.version.is_v5() {
            return Ok(Properties::default());
        }
        Properties::decode(&mut self.cursor, place, self.limits.user_properties_max)
    }

    fn publish(&mut self, first: u8) -> Result<Publish<'a>, DecodeError> {
        let qos = QoS::try_from(first >> 1 & 0b11).map_err(|_| DecodeError::QoS)?;
        let topic = self.cursor.string()?;
        let packet_identifier =
            if qos == QoS::AtMostOnce { 0 } else { self.cursor.packet_identifier()? };
        let properties = self.properties(Place::Publish)?;
        // MQTT 5.0, 3.3.2.1: only a Topic Alias can stand in for the topic.
        if !topic.is_empty() || properties.is_empty() {
            validate_topic_name(topic, self.limits.topic_levels_max)?;
        } else if properties.topic_alias().is_none() {
            return Err(DecodeError::FromServerOnly);
        }
        if self.limits.from_client
            && !properties.is_empty()
            && properties.subscription_identifiers().next().is_some()
        {
            return Err(DecodeError::FromServerOnly); // MQTT-3.3.4-6
        }
        Ok(Publish {
            dup: first & 0b1000 != 0,
            qos,
            retain: first & 1 != 0,
            topic,
            packet_identifier,
            properties,
            payload: self.cursor.take_rest(),
        })
    }

    fn ack(&mut self, reasons: &[u8]) -> Result<Ack<'a>, DecodeError> {
        let mut ack = Ack::new(self.cursor.packet_identifier()?);
        if self.version.is_v5() && !self.cursor.is_empty() {
            ack.reason = self.reason(reasons)?;
            if !self.cursor.is_empty() {
                ack.properties = self.properties(Place::Ack)?;
            }
        }
        Ok(ack)
    }

    /// A reason code that this packet may have (MQTT-3.4.2-1 and its like).
    fn reason(&mut self, allowed: &[u8]) -> Result<ReasonCode, DecodeError> {
        let byte = self.cursor.u8()?;
        if allowed.contains(&byte) {
            Ok(ReasonCode::from_byte(byte))
        } else {
            Err(DecodeError::Reason)
        }
    }

    fn connect(&mut self) -> Result<Connect<'a>, DecodeError> {
        let name = self.cursor.binary()?;
        let level = self.cursor.u8()?;
        let bridge = level & 0x80 != 0;
        self.version = match (name, level & 0x7F) {
            (b"MQIsdp", 3) => Version::V31,
            (b"MQTT", 4) => Version::V311,
            (b"MQTT", 5) => Version::V5,
            (b"MQTT" | b"MQIsdp", _) => return Err(DecodeError::ProtocolLevel(level)),
            _ => return Err(DecodeError::ProtocolName),
        };
        let version = self.version;
        self.connect_rest(bridge).map_err(|error| match error {
            DecodeError::PropertyNotAllowed
            | DecodeError::PropertyTwice
            | DecodeError::PropertyValue => DecodeError::InConnect(version, ConnectError::Protocol),
            DecodeError::TopicName => DecodeError::InConnect(version, ConnectError::WillTopic),
            _ => DecodeError::InConnect(version, ConnectError::Malformed),
        })
    }

    fn connect_rest(&mut self, bridge: bool) -> Result<Connect<'a>, DecodeError> {
        let flags = self.cursor.u8()?;
        self.check_connect_flags(flags)?;
        let keep_alive = self.cursor.u16()?;
        let properties = self.properties(Place::Connect)?;
        let client_identifier = self.cursor.string()?;
        let will = if flags & 0b100 != 0 { Some(self.will(flags)?) } else { None };
        let username = if flags & 0x80 != 0 { Some(self.cursor.string()?) } else { None };
        let password = if flags & 0x40 != 0 { Some(self.cursor.binary()?) } else { None };
        self.cursor.end()?;
        Ok(Connect {
            version: self.version,
            bridge,
            clean_start: flags & 0b10 != 0,
            keep_alive,
            client_identifier,
            username,
            password,
            will,
            properties,
        })
    }

    fn check_connect_flags(&self, flags: u8) -> Result<(), DecodeError> {
        let reserved = flags & 1 != 0; // MQTT-3.1.2-3
        let will_qos = flags >> 3 & 0b11;
        let will_alone = flags & 0b100 == 0 && (will_qos != 0 || flags & 0b10_0000 != 0);
        // MQTT-3.1.2-11, -12, -13; MQTT3-3.1.2-22: before 5.0 no password without a user name.
        let password_alone = !self.version.is_v5() && flags & 0xC0 == 0x40;
        if reserved || will_qos == 3 || will_alone || password_alone {
            return Err(DecodeError::ConnectFlags);
        }
        Ok(())
    }

    fn will(&mut self, flags: u8) -> Result<Will<'a>, DecodeError> {
        let properties = self.properties(Place::Will)?;
        let topic = self.cursor.string()?;
        validate_topic_name(topic, self.limits.topic_levels_max)?;
        Ok(Will {
            topic,
            payload: self.cursor.binary()?,
            qos: QoS::try_from(flags >> 3 & 0b11).map_err(|_| DecodeError::ConnectFlags)?,
            retain: flags & 0b10_0000 != 0,
            properties,
        })
    }

    fn connack(&mut self) -> Result<Connack<'a>, DecodeError> {
        let flags = self.cursor.u8()?;
        if flags > 1 {
            return Err(DecodeError::Flags); // MQTT-3.2.2-1
        }
        let code = self.cursor.u8()?;
        let reason = match self.version.is_v5() {
            true => ReasonCode::from_byte(code),
            false => ReasonCode::from_connack_v3(code),
        };
        // A server that does not speak 5.0 answers without properties.
        let properties = if self.cursor.is_empty() {
            Properties::default()
        } else {
            self.properties(Place::Connack)?
        };
        Ok(Connack { session_present: flags == 1, reason, properties })
    }

    fn subscribe(&mut self) -> Result<Subscribe<'a>, DecodeError> {
        let packet_identifier = self.cursor.packet_identifier()?;
        let properties = self.properties(Place::Subscribe)?;
        let payload = self.cursor.rest();
        self.filters(|fields| {
            let byte = fields.cursor.u8()?;
            match SubscriptionOptions::from_byte(byte, fields.version) {
                Some(_) => Ok(()),
                None => Err(DecodeError::SubscriptionOptions),
            }
        })?;
        Ok(Subscribe { packet_identifier, properties, version: self.version, payload })
    }

    fn unsubscribe(&mut self) -> Result<Unsubscribe<'a>, DecodeError> {
        let packet_identifier = self.cursor.packet_identifier()?;
        let properties = self.properties(Place::Unsubscribe)?;
        let payload = self.cursor.rest();
        self.filters(|_| Ok(()))?;
        Ok(Unsubscribe { packet_identifier, properties, payload })
    }

    /// Checks a list of filters, each followed by what `then` reads.
    fn filters(
        &mut self,
        mut then: impl FnMut(&mut Self) -> Result<(), DecodeError>,
    ) -> Result<(), DecodeError> {
        if self.cursor.is_empty() {
            return Err(DecodeError::NoFilters);
        }
        let mut count = 0;
        while !self.cursor.is_empty() {
            let filter = self.cursor.string()?;
            validate_topic_filter(filter, self.limits.topic_levels_max)?;
            then(self)?;
            count += 1;
            if count > u32::from(self.limits.filters_max) {
                return Err(DecodeError::TooMany);
            }
        }
        Ok(())
    }

    fn suback(&mut self) -> Result<Suback<'a>, DecodeError> {
        let packet_identifier = self.cursor.packet_identifier()?;
        let properties = self.properties(Place::Suback)?;
        let raw_reasons = self.cursor.take_rest();
        Ok(Suback { packet_identifier, properties, reasons: &[], raw_reasons })
    }

    fn unsuback(&mut self) -> Result<Unsuback<'a>, DecodeError> {
        let packet_identifier = self.cursor.packet_identifier()?;
        let properties = self.properties(Place::Suback)?;
        let raw_reasons = self.cursor.take_rest();
        Ok(Unsuback { packet_identifier, properties, reasons: &[], raw_reasons })
    }

    fn disconnect(&mut self) -> Result<Disconnect<'a>, DecodeError> {
        let mut disconnect = Disconnect::new(ReasonCode::SUCCESS);
        if self.version.is_v5() && !self.cursor.is_empty() {
            disconnect.reason = ReasonCode::from_byte(self.cursor.u8()?);
            if !self.cursor.is_empty() {
                disconnect.properties = self.properties(Place::Disconnect)?;
            }
        }
        Ok(disconnect)
    }

    fn auth(&mut self) -> Result<Auth<'a>, DecodeError> {
        let mut auth = Auth { reason: ReasonCode::SUCCESS, properties: Properties::default() };
        if !self.cursor.is_empty() {
            auth.reason = self.reason(&[0x00, 0x18, 0x19])?; // MQTT-3.15.2-1
            if !self.cursor.is_empty() {
                auth.properties = self.properties(Place::Auth)?;
            }
        }
        Ok(auth)
    }
}
