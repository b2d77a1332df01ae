//! What can be wrong with bytes from a peer, and the one place that maps it to reason codes.

use core::fmt;

use crate::reason::ReasonCode;
use crate::version::Version;

/// A violation of the protocol in received bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// The first packet is not CONNECT (MQTT-3.1.0-1).
    NotConnect,
    /// The protocol name is not one of MQTT's (MQTT-3.1.2-1).
    ProtocolName,
    /// The protocol level is not supported (MQTT-3.1.2-2).
    ProtocolLevel(u8),
    /// Packet type 0, or 15 before 5.0.
    PacketType,
    /// The flags in the fixed header are not those of the packet type (MQTT-2.1.3-1).
    Flags,
    /// Remaining Length has more than four bytes (MQTT-1.5.5-1).
    RemainingLength,
    /// The packet is larger than the receiver allows.
    TooLarge,
    /// A field is cut off by the end of the packet, or bytes are left behind the last field.
    Length,
    /// Both QoS bits are set (MQTT-3.3.1-4).
    QoS,
    /// DUP is set at QoS 0 (MQTT-3.3.1-2).
    DupWithoutQoS,
    /// Packet Identifier 0 (MQTT-2.2.1-3).
    PacketIdentifier,
    /// A string that is not UTF-8 or contains U+0000 (MQTT-1.5.4-1, -2).
    Utf8,
    /// A topic name with a wildcard, or an empty one (MQTT-3.3.2-2, MQTT-4.7.3-1).
    TopicName,
    /// An ill-formed topic filter (MQTT-4.7.1-1, -2, MQTT-4.8.2-1, -2).
    TopicFilter,
    /// SUBSCRIBE or UNSUBSCRIBE without a filter (MQTT-3.8.3-2, MQTT-3.10.3-2).
    NoFilters,
    /// More filters, levels or user properties than the receiver allows.
    TooMany,
    /// Reserved bits in subscription options, or Retain Handling 3 (MQTT-3.8.3-5).
    SubscriptionOptions,
    /// Connect flags that contradict each other (MQTT-3.1.2-3 and following).
    ConnectFlags,
    /// A property that this packet cannot have.
    PropertyNotAllowed,
    /// A property that may come once came twice.
    PropertyTwice,
    /// A property's value is out of its range.
    PropertyValue,
    /// An unknown property, or one cut off.
    Property,
    /// A reason code that this packet cannot have.
    Reason,
    /// Only a server sends this property or packet (MQTT-3.3.4-6).
    FromServerOnly,
    /// Any of the above, found in a CONNECT whose version was read.
    InConnect(Version, ConnectError),
}

/// The kind of violation in a CONNECT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectError {
    /// See [`DecodeError::Length`] and the other malformed ones.
    Malformed,
    /// See the violations of rules between fields.
    Protocol,
    /// The client identifier is not valid.
    ClientIdentifier,
    /// The will's topic is not a topic name.
    WillTopic,
}

impl DecodeError {
    /// The code of DISCONNECT or CONNACK that says it.
    pub const fn reason_code(self) -> ReasonCode {
        match self {
            Self::ProtocolName | Self::ProtocolLevel(_) => ReasonCode::UNSUPPORTED_PROTOCOL_VERSION,
            Self::TooLarge => ReasonCode::PACKET_TOO_LARGE,
            Self::TopicName | Self::InConnect(_, ConnectError::WillTopic) => {
                ReasonCode::TOPIC_NAME_INVALID
            }
            Self::TopicFilter => ReasonCode::TOPIC_FILTER_INVALID,
            Self::InConnect(_, ConnectError::ClientIdentifier) => {
                ReasonCode::CLIENT_IDENTIFIER_NOT_VALID
            }
            Self::NotConnect
            | Self::NoFilters
            | Self::PropertyNotAllowed
            | Self::PropertyTwice
            | Self::PropertyValue
            | Self::FromServerOnly
            | Self::InConnect(_, ConnectError::Protocol) => ReasonCode::PROTOCOL_ERROR,
            Self::TooMany => ReasonCode::QUOTA_EXCEEDED,
            Self::PacketType
            | Self::Flags
            | Self::RemainingLength
            | Self::Length
            | Self::QoS
            | Self::DupWithoutQoS
            | Self::PacketIdentifier
            | Self::Utf8
            | Self::SubscriptionOptions
            | Self::ConnectFlags
            | Self::Property
            | Self::Reason
            | Self::InConnect(_, ConnectError::Malformed) => ReasonCode::MALFORMED_PACKET,
        }
    }

    /// The version in which a CONNACK should be written, if one is due: an unsupported level is
    /// answered as 3.1.1 would, which every client reads (MQTT3-3.1.2-2).
    pub const fn connect_version(self) -> Option<Version> {
        match self {
            Self::ProtocolLevel(level) if level > Version::V5.level() => Some(Version::V5),
            Self::ProtocolLevel(_) => Some(Version::V311),
            Self::InConnect(Version::V5, _) => Some(Version::V5),
            _ => None,
        }
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::NotConnect => "the first packet is not CONNECT",
            Self::ProtocolName => "the protocol name is not MQTT",
            Self::ProtocolLevel(level) => {
                return write!(f, "protocol level {level} is not supported");
            }
            Self::PacketType => "reserved packet type",
            Self::Flags => "reserved flags in the fixed header",
            Self::RemainingLength => "remaining length of more than four bytes",
            Self::TooLarge => "packet too large",
            Self::Length => "field lengths do not add up to the packet's",
            Self::QoS => "QoS 3",
            Self::DupWithoutQoS => "DUP at QoS 0",
            Self::PacketIdentifier => "packet identifier 0",
            Self::Utf8 => "ill-formed UTF-8 or U+0000 in a string",
            Self::TopicName => "invalid topic name",
            Self::TopicFilter => "invalid topic filter",
            Self::NoFilters => "no topic filter",
            Self::TooMany => "too many filters, topic levels or user properties",
            Self::SubscriptionOptions => "reserved subscription options",
            Self::ConnectFlags => "contradictory connect flags",
            Self::PropertyNotAllowed => "property not allowed in this packet",
            Self::PropertyTwice => "property given twice",
            Self::PropertyValue => "property value out of range",
            Self::Property => "unknown or cut off property",
            Self::Reason => "invalid reason code",
            Self::FromServerOnly => "only a server sends this",
            Self::InConnect(_, ConnectError::Malformed) => "malformed CONNECT",
            Self::InConnect(_, ConnectError::Protocol) => "CONNECT breaks a rule",
            Self::InConnect(_, ConnectError::ClientIdentifier) => "client identifier not valid",
            Self::InConnect(_, ConnectError::WillTopic) => "invalid will topic",
        };
        f.write_str(text)
    }
}

impl core::error::Error for DecodeError {}
