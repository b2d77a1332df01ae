//! From bytes to packets: the fixed header (MQTT 5.0, 2.1), and what all packets share.

use alloc::boxed::Box;

use crate::cursor::Cursor;
use crate::encode::variable_len;
use crate::error::{DecodeError, LimitExceeded, MalformedPacket, ProtocolError};
use crate::packet::{
    Ack, Auth, Connack, Connect, Disconnect, Packet, PacketType, Publish, Suback, Subscribe,
    Unsuback, Unsubscribe,
};
use crate::property::{Place, Properties, Sender};
use crate::reason::ReasonCode;
use crate::topic::TopicLimits;
use crate::version::Version;

/// Bounds on what a peer may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecodeLimits {
    /// Largest packet, fixed header included (MQTT 5.0, 3.1.2.11.4), in bytes.
    pub packet_size_max: u32,
    /// Bounds on topic names and filters.
    pub topics: TopicLimits,
    /// Most User Properties of a packet; a will's are counted on their own.
    pub user_properties_max: u16,
    /// Most filters of a SUBSCRIBE or UNSUBSCRIBE.
    pub filters_max: u16,
    /// Whether the peer is a client: what only a server may send is refused then. Otherwise
    /// nothing is refused for its direction.
    pub from_client: bool,
}

impl DecodeLimits {
    /// Mosquitto's default of `max_packet_size`, bytes.
    pub const PACKET_SIZE_MAX: u32 = 2_000_000;

    /// Far more than clients have been seen to use.
    pub const USER_PROPERTIES_MAX: u16 = 4096;

    /// Far more than clients have been seen to use; bridges come nearest.
    pub const FILTERS_MAX: u16 = 8192;

    /// The defaults, for packets of a client.
    pub const fn of_clients() -> Self {
        Self {
            packet_size_max: Self::PACKET_SIZE_MAX,
            topics: TopicLimits::DEFAULT,
            user_properties_max: Self::USER_PROPERTIES_MAX,
            filters_max: Self::FILTERS_MAX,
            from_client: true,
        }
    }

    /// The defaults, for packets of a server.
    pub const fn of_servers() -> Self {
        Self { from_client: false, ..Self::of_clients() }
    }

    const fn sender(&self) -> Sender {
        if self.from_client { Sender::Client } else { Sender::Any }
    }
}

impl Default for DecodeLimits {
    /// The same as [`DecodeLimits::of_servers`].
    fn default() -> Self {
        Self::of_servers()
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
        /// The packet, borrowed from the buffer.
        packet: Packet<'a>,
        /// Its length in bytes.
        length: usize,
    },
}

/// Decodes the packet at the front of `buffer`, received on a connection of `version`.
///
/// Allocates nothing but the box of a CONNECT.
///
/// # Errors
/// As soon as the bytes that are there show one: flags, type and size before the packet is whole.
#[inline]
pub fn decode<'a>(
    buffer: &'a [u8],
    version: Version,
    limits: &DecodeLimits,
) -> Result<Decoded<'a>, DecodeError> {
    let Some((&first, rest)) = buffer.split_first() else {
        return Ok(Decoded::Incomplete { need: 0 });
    };
    let packet_type = PacketType::of(first, version)?;
    if limits.from_client && packet_type.is_from_server() {
        return Err(ProtocolError::ServerPacket.into());
    }
    let Some((remaining, bytes)) = remaining_length(rest)? else {
        return Ok(Decoded::Incomplete { need: 0 });
    };
    // MQTT-1.5.5-1; 3.x has no such rule, and before CONNECT is read the version is not known.
    if version.is_v5() && bytes != variable_len(remaining) && packet_type != PacketType::Connect {
        return Err(MalformedPacket::VariableByteInteger.into());
    }
    let header = 1 + bytes;
    let length = header + remaining;
    if length > limits.packet_size_max as usize {
        return Err(LimitExceeded::PacketSize.into());
    }
    let Some(body) = buffer.get(header..length) else {
        return Ok(Decoded::Incomplete { need: length });
    };
    let mut body = Body { cursor: Cursor::new(body), version, limits };
    let packet = body.packet(packet_type, first)?;
    body.cursor.end()?;
    Ok(Decoded::Packet { packet, length })
}

/// Decodes the first packet of a connection, which must be CONNECT (MQTT-3.1.0-1).
///
/// Anything else is refused at its first byte, so that nothing is kept for it (CVE-2023-0809).
pub fn decode_first<'a>(
    buffer: &'a [u8],
    limits: &DecodeLimits,
) -> Result<Decoded<'a>, DecodeError> {
    match buffer.first() {
        Some(first) if first >> 4 != PacketType::Connect as u8 => {
            Err(ProtocolError::NotConnect.into())
        }
        _ => decode(buffer, Version::V5, limits),
    }
}

/// Remaining Length (MQTT 5.0, 2.1.4) and how many bytes it takes; `None` if it is cut off.
#[inline]
fn remaining_length(bytes: &[u8]) -> Result<Option<(usize, usize)>, MalformedPacket> {
    let mut value = 0;
    for (at, &byte) in bytes.iter().take(4).enumerate() {
        value |= usize::from(byte & 0x7F) << (7 * at);
        if byte & 0x80 == 0 {
            return Ok(Some((value, at + 1)));
        }
    }
    if bytes.len() >= 4 { Err(MalformedPacket::VariableByteInteger) } else { Ok(None) }
}

/// Everything behind the fixed header of one packet.
pub(crate) struct Body<'a, 'l> {
    pub(crate) cursor: Cursor<'a>,
    pub(crate) version: Version,
    pub(crate) limits: &'l DecodeLimits,
}

impl<'a> Body<'a, '_> {
    #[inline]
    fn packet(&mut self, packet_type: PacketType, first: u8) -> Result<Packet<'a>, DecodeError> {
        Ok(match packet_type {
            PacketType::Publish => Packet::Publish(Publish::decode(self, first)?),
            PacketType::Puback => Packet::Puback(Ack::decode(self, Ack::PUBACK_REASONS)?),
            PacketType::Pubrec => Packet::Pubrec(Ack::decode(self, Ack::PUBREC_REASONS)?),
            PacketType::Pubrel => Packet::Pubrel(Ack::decode(self, Ack::PUBREL_REASONS)?),
            PacketType::Pubcomp => Packet::Pubcomp(Ack::decode(self, Ack::PUBCOMP_REASONS)?),
            PacketType::Connect => Packet::Connect(Box::new(Connect::decode(self)?)),
            PacketType::Connack => Packet::Connack(Connack::decode(self)?),
            PacketType::Subscribe => Packet::Subscribe(Subscribe::decode(self)?),
            PacketType::Suback => Packet::Suback(Suback::decode(self)?),
            PacketType::Unsubscribe => Packet::Unsubscribe(Unsubscribe::decode(self)?),
            PacketType::Unsuback => Packet::Unsuback(Unsuback::decode(self)?),
            PacketType::Pingreq => Packet::Pingreq,
            PacketType::Pingresp => Packet::Pingresp,
            PacketType::Disconnect => Packet::Disconnect(Disconnect::decode(self)?),
            PacketType::Auth => Packet::Auth(Auth::decode(self)?),
        })
    }

    /// The properties of this packet: none before 5.0.
    #[inline]
    pub(crate) fn properties(&mut self, place: Place) -> Result<Properties<'a>, DecodeError> {
        if !self.version.is_v5() {
            return Ok(Properties::default());
        }
        let sender = self.limits.sender();
        Properties::decode(&mut self.cursor, place, sender, self.limits.user_properties_max)
    }

    /// A reason code that this packet may have.
    pub(crate) fn reason(&mut self, allowed: &[ReasonCode]) -> Result<ReasonCode, DecodeError> {
        let reason = ReasonCode::from_byte(self.cursor.u8()?);
        if allowed.contains(&reason) { Ok(reason) } else { Err(ProtocolError::ReasonCode.into()) }
    }

    /// Reason code and properties of a packet that may end before either of them
    /// (MQTT 5.0, 3.4.2.1, 3.14.2.1, 3.15.2.1).
    pub(crate) fn reason_and_properties(
        &mut self,
        allowed: &[ReasonCode],
        place: Place,
    ) -> Result<(ReasonCode, Properties<'a>), DecodeError> {
        if !self.version.is_v5() || self.cursor.is_empty() {
            return Ok((ReasonCode::SUCCESS, Properties::default()));
        }
        let reason = self.reason(allowed)?;
        if self.cursor.is_empty() {
            return Ok((reason, Properties::default()));
        }
        Ok((reason, self.properties(place)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT: DecodeLimits = DecodeLimits::of_clients();

    fn error(bytes: &[u8], version: Version) -> DecodeError {
        decode(bytes, version, &CLIENT).err().unwrap_or_else(|| panic!("{bytes:x?} was accepted"))
    }

    #[test]
    fn v5_mqtt_3_1_0_1_the_first_packet_is_connect() {
        for first in [0x00, 0x20, 0x30, 0x16, 0x47, 0xA7, 0xC0, 0xF0] {
            let bytes = [first];
            let result = decode_first(&bytes, &CLIENT);
            let expected = match first {
                0x16 => MalformedPacket::FixedHeaderFlags.into(),
                _ => ProtocolError::NotConnect.into(),
            };
            assert_eq!(result, Err(expected), "{first:x}");
        }
        assert_eq!(decode_first(&[], &CLIENT), Ok(Decoded::Incomplete { need: 0 }));
        assert_eq!(decode_first(&[0x10], &CLIENT), Ok(Decoded::Incomplete { need: 0 }));
        assert_eq!(decode_first(&[0x10, 20, 0], &CLIENT), Ok(Decoded::Incomplete { need: 22 }));
    }

    #[test]
    fn v5_mqtt_2_1_3_1_flags_of_every_packet_type() {
        let flags = MalformedPacket::FixedHeaderFlags.into();
        for first in [0x11, 0x42, 0x51, 0x60, 0x78, 0x80, 0x8A, 0xA0, 0xC1, 0xE1, 0xF1] {
            assert_eq!(error(&[first], Version::V5), flags, "{first:x}");
        }
        assert_eq!(error(&[0x00], Version::V5), MalformedPacket::PacketType.into());
        assert_eq!(error(&[0xF0], Version::V311), MalformedPacket::PacketType.into());
        assert_eq!(error(&[0x36], Version::V5), MalformedPacket::QoS.into());
        assert_eq!(error(&[0x38], Version::V311), ProtocolError::DupAtQoS0.into());
    }

    #[test]
    fn v3_mqtt31_2_1_dup_in_subscribe_and_its_like() {
        for first in [0x6A, 0x8A, 0xAA] {
            let incomplete = Ok(Decoded::Incomplete { need: 0 });
            assert_eq!(decode(&[first], Version::V31, &CLIENT), incomplete, "{first:x}");
            assert!(decode(&[first], Version::V311, &CLIENT).is_err(), "{first:x}");
        }
    }

    #[test]
    fn v5_mqtt_4_13_1_1_packets_of_servers_are_refused_at_their_first_byte() {
        for first in [0x20, 0x90, 0xB0, 0xD0] {
            assert_eq!(error(&[first], Version::V5), ProtocolError::ServerPacket.into());
        }
    }

    #[test]
    fn v5_mqtt_3_2_2_15_sizes_are_refused_before_the_packet_is_there() {
        let limits = DecodeLimits { packet_size_max: 10, ..CLIENT };
        let of = |bytes: &[u8]| decode(bytes, Version::V5, &limits).map(|_| ());
        assert_eq!(of(&[0x30, 8]), Ok(()));
        assert_eq!(of(&[0x30, 9]), Err(LimitExceeded::PacketSize.into()));
        assert_eq!(of(&[0x30, 0xFF, 0xFF, 0xFF, 0x7F]), Err(LimitExceeded::PacketSize.into()));
    }

    #[test]
    fn v5_mqtt_1_5_5_1_remaining_length() {
        let malformed = MalformedPacket::VariableByteInteger.into();
        assert_eq!(error(&[0x30, 0xFF, 0xFF, 0xFF, 0xFF], Version::V311), malformed);
        assert_eq!(error(&[0xC0, 0x80, 0x00], Version::V5), malformed);
        let lenient = decode(&[0xC0, 0x80, 0x00], Version::V311, &CLIENT);
        assert_eq!(lenient, Ok(Decoded::Packet { packet: Packet::Pingreq, length: 3 }));
    }

    #[test]
    fn v5_mqtt_3_12_pings_have_no_body() {
        assert_eq!(error(&[0xC0, 1, 0], Version::V5), MalformedPacket::TrailingBytes.into());
        let decoded = decode(&[0xC0, 0, 0x30], Version::V5, &CLIENT);
        assert_eq!(decoded, Ok(Decoded::Packet { packet: Packet::Pingreq, length: 2 }));
    }
}
