//! Which properties there are, how their values are encoded and where they may stand
//! (MQTT 5.0, table 2-4).

use crate::cursor::Cursor;
use crate::error::{DecodeError, MalformedPacket};

/// How the value of a property is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    Byte,
    TwoByteInteger,
    FourByteInteger,
    VariableByteInteger,
    Text,
    Binary,
    TextPair,
}

/// The packet, or part of one, that properties stand in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub(crate) enum Place {
    Connect = 1,
    Will = 1 << 1,
    Connack = 1 << 2,
    Publish = 1 << 3,
    /// PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK and UNSUBACK have the same ones.
    Acknowledgement = 1 << 4,
    Subscribe = 1 << 5,
    Unsubscribe = 1 << 6,
    Disconnect = 1 << 7,
    Auth = 1 << 8,
}

/// Who sends the packet, where that decides what may stand in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sender {
    Client,
    /// A server, or nobody asks.
    Any,
}

/// Every place.
const EVERYWHERE: u16 = (1 << 9) - 1;

macro_rules! properties {
    ($($(#[$doc:meta])* $name:ident = $byte:literal, $encoding:ident, $places:expr;)*) => {
        /// A property's identifier.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum PropertyIdentifier {
            $($(#[$doc])* $name = $byte,)*
        }

        impl PropertyIdentifier {
            /// All of them, in the order of their bytes.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            const fn from_byte(byte: u8) -> Option<Self> {
                match byte {
                    $($byte => Some(Self::$name),)*
                    _ => None,
                }
            }

            pub(crate) const fn encoding(self) -> Encoding {
                match self {
                    $(Self::$name => Encoding::$encoding,)*
                }
            }

            const fn places(self) -> u16 {
                match self {
                    $(Self::$name => $places,)*
                }
            }
        }
    };
}

const CONNECT: u16 = Place::Connect as u16;
const WILL: u16 = Place::Will as u16;
const CONNACK: u16 = Place::Connack as u16;
const PUBLISH: u16 = Place::Publish as u16;
const ACKNOWLEDGEMENT: u16 = Place::Acknowledgement as u16;
const SUBSCRIBE: u16 = Place::Subscribe as u16;
const DISCONNECT: u16 = Place::Disconnect as u16;
const AUTH: u16 = Place::Auth as u16;

properties! {
    /// Payload Format Indicator.
    PayloadFormatIndicator = 0x01, Byte, PUBLISH | WILL;
    /// Message Expiry Interval, seconds.
    MessageExpiryInterval = 0x02, FourByteInteger, PUBLISH | WILL;
    /// Content Type.
    ContentType = 0x03, Text, PUBLISH | WILL;
    /// Response Topic.
    ResponseTopic = 0x08, Text, PUBLISH | WILL;
    /// Correlation Data.
    CorrelationData = 0x09, Binary, PUBLISH | WILL;
    /// Subscription Identifier.
    SubscriptionIdentifier = 0x0B, VariableByteInteger, PUBLISH | SUBSCRIBE;
    /// Session Expiry Interval, seconds.
    SessionExpiryInterval = 0x11, FourByteInteger, CONNECT | CONNACK | DISCONNECT;
    /// Assigned Client Identifier.
    AssignedClientIdentifier = 0x12, Text, CONNACK;
    /// Server Keep Alive, seconds.
    ServerKeepAlive = 0x13, TwoByteInteger, CONNACK;
    /// Authentication Method.
    AuthenticationMethod = 0x15, Text, CONNECT | CONNACK | AUTH;
    /// Authentication Data.
    AuthenticationData = 0x16, Binary, CONNECT | CONNACK | AUTH;
    /// Request Problem Information.
    RequestProblemInformation = 0x17, Byte, CONNECT;
    /// Will Delay Interval, seconds.
    WillDelayInterval = 0x18, FourByteInteger, WILL;
    /// Request Response Information.
    RequestResponseInformation = 0x19, Byte, CONNECT;
    /// Response Information.
    ResponseInformation = 0x1A, Text, CONNACK;
    /// Server Reference.
    ServerReference = 0x1C, Text, CONNACK | DISCONNECT;
    /// Reason String.
    ReasonString = 0x1F, Text, CONNACK | ACKNOWLEDGEMENT | DISCONNECT | AUTH;
    /// Receive Maximum.
    ReceiveMaximum = 0x21, TwoByteInteger, CONNECT | CONNACK;
    /// Topic Alias Maximum.
    TopicAliasMaximum = 0x22, TwoByteInteger, CONNECT | CONNACK;
    /// Topic Alias.
    TopicAlias = 0x23, TwoByteInteger, PUBLISH;
    /// Maximum QoS.
    MaximumQoS = 0x24, Byte, CONNACK;
    /// Retain Available.
    RetainAvailable = 0x25, Byte, CONNACK;
    /// User Property.
    UserProperty = 0x26, TextPair, EVERYWHERE;
    /// Maximum Packet Size, bytes.
    MaximumPacketSize = 0x27, FourByteInteger, CONNECT | CONNACK;
    /// Wildcard Subscription Available.
    WildcardSubscriptionAvailable = 0x28, Byte, CONNACK;
    /// Subscription Identifiers Available.
    SubscriptionIdentifierAvailable = 0x29, Byte, CONNACK;
    /// Shared Subscription Available.
    SharedSubscriptionAvailable = 0x2A, Byte, CONNACK;
}

impl PropertyIdentifier {
    /// Reads one: a Variable Byte Integer that has never needed more than one byte.
    #[inline]
    pub(crate) fn decode(cursor: &mut Cursor<'_>) -> Result<Self, DecodeError> {
        let number = cursor.variable()?;
        let known = u8::try_from(number).ok().and_then(Self::from_byte);
        known.ok_or_else(|| MalformedPacket::PropertyUnknown.into())
    }

    /// Whether it may stand there (MQTT 5.0, 2.2.2.2).
    pub(crate) const fn is_allowed(self, place: Place) -> bool {
        self.places() & place as u16 != 0
    }

    /// Whether it may stand there more than once.
    pub(crate) fn repeats(self, place: Place) -> bool {
        match self {
            Self::UserProperty => true,
            Self::SubscriptionIdentifier => place == Place::Publish, // MQTT-3.3.4-4
            _ => false,
        }
    }

    /// The bit that stands for it in a set.
    pub(crate) const fn bit(self) -> u64 {
        1 << self as u8
    }
}
