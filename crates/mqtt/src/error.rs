//! What can be wrong with bytes from a peer, and the one place that maps it to reason codes.

use core::fmt;

use crate::reason::ReasonCode;
use crate::version::Version;

/// Received bytes break the protocol or go beyond a limit.
///
/// The connection cannot go on (MQTT-4.13.1-1): [`reason_code`](Self::reason_code) is what DISCONNECT
/// or CONNACK says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecodeError {
    violation: Violation,
    connect: Option<Version>,
}

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Violation {
    /// The bytes cannot be read as the specification lays them out.
    MalformedPacket(MalformedPacket),
    /// They can be read, but must not say this.
    ProtocolError(ProtocolError),
    /// They ask for more than the receiver allows ([`DecodeLimits`](crate::DecodeLimits)).
    LimitExceeded(LimitExceeded),
}

/// Bytes that cannot be read (MQTT 5.0, 1.2, *Malformed Packet*).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MalformedPacket {
    /// Packet type 0, or AUTH before 5.0.
    PacketType,
    /// The flags in the fixed header are not those of the packet type (MQTT-2.1.3-1).
    FixedHeaderFlags,
    /// A Variable Byte Integer of more than four bytes, or of more than it needs (MQTT-1.5.5-1).
    VariableByteInteger,
    /// A field goes beyond the end of the packet or of the properties.
    Truncated,
    /// Bytes are left behind the last field.
    TrailingBytes,
    /// A string that is not UTF-8, or is so with surrogates (MQTT-1.5.4-1).
    Utf8,
    /// A string with U+0000 (MQTT-1.5.4-2).
    NullCharacter,
    /// Both QoS bits are set (MQTT-3.3.1-4, MQTT-3.1.2-12).
    QoS,
    /// The reserved connect flag is set (MQTT-3.1.2-3).
    ConnectFlags,
    /// The reserved acknowledge flags of CONNACK are set (MQTT-3.2.2-1).
    ConnectAcknowledgeFlags,
    /// The reserved subscription options are set (MQTT-3.8.3-5, MQTT3-3.8.3-4).
    SubscriptionOptions,
    /// An identifier that no property has (MQTT 5.0, 2.2.2.2).
    PropertyUnknown,
    /// A property that this packet cannot have (MQTT 5.0, 2.2.2.2).
    PropertyNotAllowed,
}

/// Bytes that must not say what they say (MQTT 5.0, 1.2, *Protocol Error*).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProtocolError {
    /// The first packet is not CONNECT (MQTT-3.1.0-1).
    NotConnect,
    /// A second CONNECT (MQTT-3.1.0-2).
    SecondConnect,
    /// A packet that only a server sends.
    ServerPacket,
    /// The protocol name is none of MQTT's (MQTT-3.1.2-1).
    ProtocolName,
    /// A protocol level that is not known, as it came (MQTT-3.1.2-2).
    ProtocolLevel(u8),
    /// No client identifier in 3.1.
    ClientIdentifierEmpty,
    /// Will QoS or Will Retain without a will (MQTT-3.1.2-11, MQTT-3.1.2-13).
    WillFlags,
    /// A password without a user name in 3.x (MQTT3-3.1.2-22).
    PasswordWithoutUsername,
    /// Session Present in a refusal (MQTT-3.2.2-6).
    SessionPresent,
    /// DUP is set at QoS 0 (MQTT-3.3.1-2).
    DupAtQoS0,
    /// Packet Identifier 0 (MQTT-2.2.1-3).
    PacketIdentifier,
    /// A topic name with a wildcard (MQTT-3.3.2-2).
    TopicName,
    /// An empty topic name (MQTT-4.7.3-1) without a Topic Alias.
    TopicNameEmpty,
    /// Topic Alias 0 (MQTT-3.3.2-8).
    TopicAlias,
    /// No topic name, and no Topic Alias in its place (MQTT 5.0, 3.3.2.1).
    NoTopic,
    /// An ill-formed topic filter (MQTT-4.7.1-1, MQTT-4.7.1-2, MQTT-4.8.2-1, MQTT-4.8.2-2).
    TopicFilter,
    /// SUBSCRIBE or UNSUBSCRIBE without a filter (MQTT-3.8.3-2, MQTT-3.10.3-2).
    NoFilters,
    /// Maximum QoS 3 in the subscription options (MQTT 5.0, 3.8.3.1).
    SubscriptionQoS,
    /// Retain Handling 3 (MQTT 5.0, 3.8.3.1).
    RetainHandling,
    /// A property that may come once came twice.
    PropertyTwice,
    /// A property's value is out of its range.
    PropertyValue,
    /// Authentication Data without an Authentication Method.
    AuthenticationDataAlone,
    /// A Subscription Identifier in a PUBLISH from a client (MQTT-3.3.4-6).
    SubscriptionIdentifier,
    /// A property that only the other side may send in this packet.
    WrongDirection,
    /// A reason code that this packet, or this sender of it, cannot have (MQTT-3.4.2-1 and alike).
    ReasonCode,
    /// SUBACK or UNSUBACK without a reason code.
    NoReasonCodes,
}

/// More than the receiver allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitExceeded {
    /// Bytes of the packet.
    PacketSize,
    /// Length of a topic name.
    TopicNameBytes,
    /// Length of a topic filter.
    TopicFilterBytes,
    /// Levels of a topic name.
    TopicNameLevels,
    /// Levels of a topic filter.
    TopicFilterLevels,
    /// User properties of a packet.
    UserProperties,
    /// Filters of a packet.
    Filters,
}

impl DecodeError {
    /// What is wrong.
    pub const fn violation(self) -> Violation {
        self.violation
    }

    /// The code of DISCONNECT or CONNACK that says it.
    pub const fn reason_code(self) -> ReasonCode {
        match self.violation {
            Violation::MalformedPacket(_) => ReasonCode::MALFORMED_PACKET,
            Violation::ProtocolError(error) => error.reason_code(),
            Violation::LimitExceeded(limit) => limit.reason_code(),
        }
    }

    /// The version in which a CONNACK says it, if one is due: a CONNECT of 5.0 is always answered,
    /// one of 3.x only if it has a return code for it (MQTT3-3.1.4-1, MQTT3-3.2.2-6).
    pub const fn connect_version(self) -> Option<Version> {
        match (self.violation, self.connect) {
            // MQTT3-3.1.2-2: every client reads the answer to a level that is not known.
            (Violation::ProtocolError(ProtocolError::ProtocolLevel(level)), _) => {
                if level & 0x7F > Version::V5.level() {
                    Some(Version::V5)
                } else {
                    Some(Version::V311)
                }
            }
            (_, Some(Version::V5)) => Some(Version::V5),
            (Violation::ProtocolError(ProtocolError::ClientIdentifierEmpty), version) => version,
            _ => None,
        }
    }

    /// What it is in a packet that is not a connection's first: no CONNACK answers a second CONNECT,
    /// whatever is wrong with it (MQTT-3.2.0-2).
    #[must_use]
    pub fn behind_connect(self) -> Self {
        match self.connect_version() {
            Some(_) => ProtocolError::SecondConnect.into(),
            None => self,
        }
    }

    /// Marks an error as found in a CONNECT of `version`.
    pub(crate) const fn in_connect(self, version: Version) -> Self {
        Self { connect: Some(version), ..self }
    }
}

impl ProtocolError {
    const fn reason_code(self) -> ReasonCode {
        match self {
            Self::ProtocolName | Self::ProtocolLevel(_) => ReasonCode::UNSUPPORTED_PROTOCOL_VERSION,
            Self::ClientIdentifierEmpty => ReasonCode::CLIENT_IDENTIFIER_NOT_VALID,
            Self::TopicName => ReasonCode::TOPIC_NAME_INVALID,
            Self::TopicFilter => ReasonCode::TOPIC_FILTER_INVALID,
            Self::TopicAlias => ReasonCode::TOPIC_ALIAS_INVALID,
            _ => ReasonCode::PROTOCOL_ERROR,
        }
    }
}

impl LimitExceeded {
    const fn reason_code(self) -> ReasonCode {
        match self {
            Self::PacketSize => ReasonCode::PACKET_TOO_LARGE,
            Self::TopicNameBytes | Self::TopicNameLevels => ReasonCode::TOPIC_NAME_INVALID,
            Self::TopicFilterBytes | Self::TopicFilterLevels => ReasonCode::TOPIC_FILTER_INVALID,
            Self::UserProperties | Self::Filters => ReasonCode::QUOTA_EXCEEDED,
        }
    }
}

impl From<Violation> for DecodeError {
    fn from(violation: Violation) -> Self {
        Self { violation, connect: None }
    }
}

impl From<MalformedPacket> for DecodeError {
    fn from(error: MalformedPacket) -> Self {
        Violation::MalformedPacket(error).into()
    }
}

impl From<ProtocolError> for DecodeError {
    fn from(error: ProtocolError) -> Self {
        Violation::ProtocolError(error).into()
    }
}

impl From<LimitExceeded> for DecodeError {
    fn from(limit: LimitExceeded) -> Self {
        Violation::LimitExceeded(limit).into()
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.violation {
            Violation::MalformedPacket(error) => write!(f, "malformed packet: {}", error.text()),
            Violation::ProtocolError(ProtocolError::ProtocolLevel(level)) => {
                write!(f, "protocol error: protocol level {level} is not supported")
            }
            Violation::ProtocolError(error) => write!(f, "protocol error: {}", error.text()),
            Violation::LimitExceeded(limit) => f.write_str(limit.text()),
        }
    }
}

impl core::error::Error for DecodeError {}

impl MalformedPacket {
    const fn text(self) -> &'static str {
        match self {
            Self::PacketType => "reserved packet type",
            Self::FixedHeaderFlags => "reserved flags in the fixed header",
            Self::VariableByteInteger => "ill-formed variable byte integer",
            Self::Truncated => "a field goes beyond the end",
            Self::TrailingBytes => "bytes behind the last field",
            Self::Utf8 => "a string is not UTF-8",
            Self::NullCharacter => "U+0000 in a string",
            Self::QoS => "QoS 3",
            Self::ConnectFlags => "reserved connect flag",
            Self::ConnectAcknowledgeFlags => "reserved connect acknowledge flags",
            Self::SubscriptionOptions => "reserved subscription options",
            Self::PropertyUnknown => "unknown property",
            Self::PropertyNotAllowed => "property not allowed in this packet",
        }
    }
}

impl ProtocolError {
    const fn text(self) -> &'static str {
        match self {
            Self::NotConnect => "the first packet is not CONNECT",
            Self::SecondConnect => "a second CONNECT",
            Self::ServerPacket => "only a server sends this packet",
            Self::ProtocolName => "the protocol name is not MQTT",
            Self::ProtocolLevel(_) => "the protocol level is not supported",
            Self::ClientIdentifierEmpty => "no client identifier",
            Self::WillFlags => "will QoS or will retain without a will",
            Self::PasswordWithoutUsername => "password without user name",
            Self::SessionPresent => "session present in a refusal",
            Self::DupAtQoS0 => "DUP at QoS 0",
            Self::PacketIdentifier => "packet identifier 0",
            Self::TopicName => "invalid topic name",
            Self::TopicNameEmpty => "empty topic name",
            Self::TopicAlias => "topic alias 0",
            Self::NoTopic => "no topic name and no topic alias",
            Self::TopicFilter => "invalid topic filter",
            Self::NoFilters => "no topic filter",
            Self::SubscriptionQoS => "QoS 3 asked for",
            Self::RetainHandling => "retain handling 3",
            Self::PropertyTwice => "property given twice",
            Self::PropertyValue => "property value out of range",
            Self::AuthenticationDataAlone => "authentication data without a method",
            Self::SubscriptionIdentifier => "subscription identifier from a client",
            Self::WrongDirection => "property not allowed from this side",
            Self::ReasonCode => "reason code not allowed in this packet",
            Self::NoReasonCodes => "no reason code",
        }
    }
}

impl LimitExceeded {
    const fn text(self) -> &'static str {
        match self {
            Self::PacketSize => "packet too large",
            Self::TopicNameBytes => "a topic name is too long",
            Self::TopicFilterBytes => "a topic filter is too long",
            Self::TopicNameLevels => "too many levels in a topic name",
            Self::TopicFilterLevels => "too many levels in a topic filter",
            Self::UserProperties => "too many user properties",
            Self::Filters => "too many topic filters",
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;

    #[test]
    fn v5_mqtt_4_13_1_1_every_violation_has_its_reason_code() {
        let cases: [(DecodeError, u8); 8] = [
            (MalformedPacket::Utf8.into(), 0x81),
            (ProtocolError::NoFilters.into(), 0x82),
            (ProtocolError::ProtocolName.into(), 0x84),
            (ProtocolError::TopicName.into(), 0x90),
            (ProtocolError::TopicFilter.into(), 0x8F),
            (ProtocolError::TopicAlias.into(), 0x94),
            (LimitExceeded::PacketSize.into(), 0x95),
            (LimitExceeded::Filters.into(), 0x97),
        ];
        for (error, code) in cases {
            assert_eq!(error.reason_code().byte(), code, "{error}");
        }
    }

    #[test]
    fn v3_mqtt_3_1_4_1_a_malformed_connect_is_not_answered() {
        let error = DecodeError::from(MalformedPacket::Utf8);
        assert_eq!(error.connect_version(), None);
        assert_eq!(error.in_connect(Version::V311).connect_version(), None);
        assert_eq!(error.in_connect(Version::V5).connect_version(), Some(Version::V5));
        let level =
            |level| DecodeError::from(ProtocolError::ProtocolLevel(level)).connect_version();
        assert_eq!((level(2), level(6)), (Some(Version::V311), Some(Version::V5)));
    }

    #[test]
    fn v5_mqtt_3_2_0_2_a_second_connect_is_not_answered() {
        let utf8 = DecodeError::from(MalformedPacket::Utf8);
        let level = DecodeError::from(ProtocolError::ProtocolLevel(9));
        for error in [utf8.in_connect(Version::V5), level] {
            assert_eq!(error.behind_connect(), ProtocolError::SecondConnect.into());
        }
        assert_eq!(utf8.behind_connect(), utf8);
    }

    #[test]
    fn errors_say_what_is_wrong() {
        let error = DecodeError::from(ProtocolError::ProtocolLevel(9));
        assert_eq!(error.to_string(), "protocol error: protocol level 9 is not supported");
        let error = DecodeError::from(MalformedPacket::QoS);
        assert_eq!(error.to_string(), "malformed packet: QoS 3");
    }
}
