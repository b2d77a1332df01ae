//! The control packets (MQTT 5.0, chapter 3), one file each. All text and bytes are borrowed from
//! the buffer that a packet was decoded from.

mod ack;
mod auth;
mod connack;
mod connect;
mod disconnect;
mod filters;
mod publish;
mod reasons;
mod suback;
mod subscribe;
mod subscription_options;
mod unsuback;
mod unsubscribe;

use alloc::boxed::Box;

pub use ack::Ack;
pub use auth::Auth;
pub use connack::Connack;
pub use connect::{Connect, Will};
pub use disconnect::Disconnect;
pub use publish::Publish;
pub use reasons::Reasons;
pub use suback::Suback;
pub use subscribe::{Subscribe, SubscribeFilter};
pub use subscription_options::{RetainHandling, SubscriptionOptions};
pub use unsuback::Unsuback;
pub use unsubscribe::Unsubscribe;

use crate::error::{DecodeError, MalformedPacket, ProtocolError};
use crate::version::Version;

/// A control packet, in at most 72 bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Packet<'a> {
    /// A client asks for a connection.
    Connect(Box<Connect<'a>>),
    /// The answer to CONNECT.
    Connack(Connack<'a>),
    /// A message.
    Publish(Publish<'a>),
    /// The answer to a PUBLISH at QoS 1.
    Puback(Ack<'a>),
    /// The first answer to a PUBLISH at QoS 2.
    Pubrec(Ack<'a>),
    /// The answer to PUBREC.
    Pubrel(Ack<'a>),
    /// The answer to PUBREL.
    Pubcomp(Ack<'a>),
    /// A client subscribes.
    Subscribe(Subscribe<'a>),
    /// The answer to SUBSCRIBE.
    Suback(Suback<'a>),
    /// A client ends subscriptions.
    Unsubscribe(Unsubscribe<'a>),
    /// The answer to UNSUBSCRIBE.
    Unsuback(Unsuback<'a>),
    /// A client shows that it is alive (MQTT 5.0, 3.12).
    Pingreq,
    /// The answer to PINGREQ (MQTT 5.0, 3.13).
    Pingresp,
    /// The sender will close the connection.
    Disconnect(Disconnect<'a>),
    /// A step of extended authentication.
    Auth(Auth<'a>),
}

/// The upper half of a packet's first byte (MQTT 5.0, table 2-1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum PacketType {
    Connect = 1,
    Connack,
    Publish,
    Puback,
    Pubrec,
    Pubrel,
    Pubcomp,
    Subscribe,
    Suback,
    Unsubscribe,
    Unsuback,
    Pingreq,
    Pingresp,
    Disconnect,
    Auth,
}

impl PacketType {
    /// The type that a first byte names, if its flags are those of the type (MQTT-2.1.3-1).
    #[inline]
    pub(crate) fn of(first: u8, version: Version) -> Result<Self, DecodeError> {
        let packet_type = match first >> 4 {
            1 => Self::Connect,
            2 => Self::Connack,
            3 => Self::Publish,
            4 => Self::Puback,
            5 => Self::Pubrec,
            6 => Self::Pubrel,
            7 => Self::Pubcomp,
            8 => Self::Subscribe,
            9 => Self::Suback,
            10 => Self::Unsubscribe,
            11 => Self::Unsuback,
            12 => Self::Pingreq,
            13 => Self::Pingresp,
            14 => Self::Disconnect,
            15 if version.is_v5() => Self::Auth,
            _ => return Err(MalformedPacket::PacketType.into()),
        };
        packet_type.check_flags(first & 0x0F, version)?;
        Ok(packet_type)
    }

    #[inline]
    fn check_flags(self, flags: u8, version: Version) -> Result<(), DecodeError> {
        let expected = match self {
            Self::Publish if flags & 0b0110 == 0b0110 => return Err(MalformedPacket::QoS.into()),
            Self::Publish if flags & 0b1110 == 0b1000 => {
                return Err(ProtocolError::DupAtQoS0.into());
            }
            Self::Publish => return Ok(()),
            // MQTT-3.6.1-1, MQTT-3.8.1-1, MQTT-3.10.1-1
            Self::Pubrel | Self::Subscribe | Self::Unsubscribe => 0b0010,
            _ => 0,
        };
        // 3.1 (2.1 there) let these three have DUP when they were sent again.
        let again = version == Version::V31 && expected != 0 && flags == expected | 0b1000;
        if flags == expected || again {
            Ok(())
        } else {
            Err(MalformedPacket::FixedHeaderFlags.into())
        }
    }

    /// Whether only servers send it (MQTT 5.0, table 2-1).
    #[inline]
    pub(crate) const fn is_from_server(self) -> bool {
        matches!(self, Self::Connack | Self::Suback | Self::Unsuback | Self::Pingresp)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_is_small() {
        assert!(size_of::<Packet<'_>>() <= 72, "{} bytes", size_of::<Packet<'_>>());
    }
}
