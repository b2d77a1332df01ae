//! Properties of MQTT 5.0 (2.2.2): a checked slice with typed access.

use alloc::vec::Vec;
use core::fmt;

use crate::cursor::Cursor;
use crate::encode;
use crate::error::DecodeError;

/// How the value of a property is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Byte,
    TwoBytes,
    FourBytes,
    Variable,
    Text,
    Binary,
    Pair,
}

/// The packet, or part of one, that properties stand in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Connect = 1,
    Will = 1 << 1,
    Connack = 1 << 2,
    Publish = 1 << 3,
    Ack = 1 << 4,
    Subscribe = 1 << 5,
    Suback = 1 << 6,
    Unsubscribe = 1 << 7,
    Disconnect = 1 << 8,
    Auth = 1 << 9,
}

const fn places(list: &[Place]) -> u16 {
    let mut mask = 0;
    let mut at = 0;
    while at < list.len() {
        mask |= list[at] as u16;
        at += 1;
    }
    mask
}

const EVERYWHERE_BUT_WILL: u16 = 0x3FF & !(Place::Will as u16);

macro_rules! properties {
    ($($name:ident = $id:literal, $kind:ident, $places:expr;)*) => {
        /// A property's identifier (MQTT 5.0, table 2-4).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum PropertyIdentifier {
            $(#[doc = concat!("Identifier ", stringify!($id), ".")] $name = $id,)*
        }

        impl PropertyIdentifier {
            fn from_wire(id: u32) -> Option<Self> {
                match id {
                    $($id => Some(Self::$name),)*
                    _ => None,
                }
            }

            fn kind(self) -> Kind {
                match self {
                    $(Self::$name => Kind::$kind,)*
                }
            }

            fn places(self) -> u16 {
                match self {
                    $(Self::$name => $places,)*
                }
            }
        }
    };
}

use Place::{Auth, Connack, Connect, Disconnect, Publish, Subscribe, Will};

properties! {
    PayloadFormatIndicator = 0x01, Byte, places(&[Publish, Will]);
    MessageExpiryInterval = 0x02, FourBytes, places(&[Publish, Will]);
    ContentType = 0x03, Text, places(&[Publish, Will]);
    ResponseTopic = 0x08, Text, places(&[Publish, Will]);
    CorrelationData = 0x09, Binary, places(&[Publish, Will]);
    SubscriptionIdentifier = 0x0B, Variable, places(&[Publish, Subscribe]);
    SessionExpiryInterval = 0x11, FourBytes, places(&[Connect, Connack, Disconnect]);
    AssignedClientIdentifier = 0x12, Text, places(&[Connack]);
    ServerKeepAlive = 0x13, TwoBytes, places(&[Connack]);
    AuthenticationMethod = 0x15, Text, places(&[Connect, Connack, Auth]);
    AuthenticationData = 0x16, Binary, places(&[Connect, Connack, Auth]);
    RequestProblemInformation = 0x17, Byte, places(&[Connect]);
    WillDelayInterval = 0x18, FourBytes, places(&[Will]);
    RequestResponseInformation = 0x19, Byte, places(&[Connect]);
    ResponseInformation = 0x1A, Text, places(&[Connack]);
    ServerReference = 0x1C, Text, places(&[Connack, Disconnect]);
    ReasonString = 0x1F, Text, EVERYWHERE_BUT_WILL & !places(&[Connect, Publish, Subscribe, Place::Unsubscribe]);
    ReceiveMaximum = 0x21, TwoBytes, places(&[Connect, Connack]);
    TopicAliasMaximum = 0x22, TwoBytes, places(&[Connect, Connack]);
    TopicAlias = 0x23, TwoBytes, places(&[Publish]);
    MaximumQoS = 0x24, Byte, places(&[Connack]);
    RetainAvailable = 0x25, Byte, places(&[Connack]);
    UserProperty = 0x26, Pair, 0x3FF;
    MaximumPacketSize = 0x27, FourBytes, places(&[Connect, Connack]);
    WildcardSubscriptionAvailable = 0x28, Byte, places(&[Connack]);
    SubscriptionIdentifierAvailable = 0x29, Byte, places(&[Connack]);
    SharedSubscriptionAvailable = 0x2A, Byte, places(&[Connack]);
}

/// A property's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PropertyValue<'a> {
    /// Byte, Two Byte, Four Byte or Variable Byte Integer.
    Number(u32),
    /// UTF-8 Encoded String.
    Text(&'a str),
    /// Binary Data.
    Binary(&'a [u8]),
    /// UTF-8 String Pair: name and value of a User Property.
    Pair(&'a str, &'a str),
}

/// The properties of a packet: a slice that was checked when the packet was decoded.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Properties<'a> {
    raw: &'a [u8],
}

impl fmt::Debug for Properties<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

/// Reads one property. Strings are checked here, so it serves decoding and access alike.
fn read<'a>(
    cursor: &mut Cursor<'a>,
) -> Result<(PropertyIdentifier, PropertyValue<'a>), DecodeError> {
    let id = cursor.variable().map_err(|_| DecodeError::Property)?;
    let identifier = PropertyIdentifier::from_wire(id).ok_or(DecodeError::Property)?;
    let cut_off = |error| if error == DecodeError::Length { DecodeError::Property } else { error };
    let value = match identifier.kind() {
        Kind::Byte => PropertyValue::Number(u32::from(cursor.u8().map_err(cut_off)?)),
        Kind::TwoBytes => PropertyValue::Number(u32::from(cursor.u16().map_err(cut_off)?)),
        Kind::FourBytes => PropertyValue::Number(cursor.u32().map_err(cut_off)?),
        Kind::Variable => PropertyValue::Number(cursor.variable().map_err(cut_off)?),
        Kind::Text => PropertyValue::Text(cursor.string().map_err(cut_off)?),
        Kind::Binary => PropertyValue::Binary(cursor.binary().map_err(cut_off)?),
        Kind::Pair => {
            let name = cursor.string().map_err(cut_off)?;
            PropertyValue::Pair(name, cursor.string().map_err(cut_off)?)
        }
    };
    Ok((identifier, value))
}

impl<'a> Properties<'a> {
    /// Reads the property length and checks every property that follows.
    pub(crate) fn decode(
        cursor: &mut Cursor<'a>,
        place: Place,
        user_properties_max: u16,
    ) -> Result<Self, DecodeError> {
        let len = cursor.variable().map_err(|_| DecodeError::Length)?;
        let raw = cursor.bytes(len as usize)?;
        let mut rest = Cursor::new(raw);
        let mut seen = 0u64;
        let mut user_properties = 0;
        while !rest.is_empty() {
            let (identifier, value) = read(&mut rest)?;
            if identifier.places() & place as u16 == 0 {
                return Err(DecodeError::PropertyNotAllowed); // MQTT-2.2.2-2 and each packet's list
            }
            let repeats = identifier == PropertyIdentifier::UserProperty
                || identifier == PropertyIdentifier::SubscriptionIdentifier && place == Publish;
            let bit = 1 << identifier as u8;
            if seen & bit != 0 && !repeats {
                return Err(DecodeError::PropertyTwice);
            }
            seen |= bit;
            if identifier == PropertyIdentifier::UserProperty {
                user_properties += 1;
                if user_properties > user_properties_max {
                    return Err(DecodeError::TooMany);
                }
            }
            check_value(identifier, &value)?;
        }
        Ok(Self { raw })
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.raw.is_empty()
    }

    /// The encoded properties, without their length.
    pub fn raw(&self) -> &'a [u8] {
        self.raw
    }

    /// Every property, in order.
    pub fn iter(&self) -> impl Iterator<Item = (PropertyIdentifier, PropertyValue<'a>)> + use<'a> {
        let mut rest = Cursor::new(self.raw);
        core::iter::from_fn(move || if rest.is_empty() { None } else { read(&mut rest).ok() })
    }

    fn find(&self, wanted: PropertyIdentifier) -> Option<PropertyValue<'a>> {
        if self.raw.is_empty() {
            return None;
        }
        self.iter().find(|(identifier, _)| *identifier == wanted).map(|(_, value)| value)
    }

    fn number(&self, wanted: PropertyIdentifier) -> Option<u32> {
        match self.find(wanted)? {
            PropertyValue::Number(number) => Some(number),
            _ => None,
        }
    }

    fn text(&self, wanted: PropertyIdentifier) -> Option<&'a str> {
        match self.find(wanted)? {
            PropertyValue::Text(text) => Some(text),
            _ => None,
        }
    }

    fn binary(&self, wanted: PropertyIdentifier) -> Option<&'a [u8]> {
        match self.find(wanted)? {
            PropertyValue::Binary(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// User properties, in order (MQTT-3.3.2-18).
    pub fn user_properties(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        self.iter().filter_map(|(_, value)| match value {
            PropertyValue::Pair(name, value) => Some((name, value)),
            _ => None,
        })
    }

    /// Subscription Identifiers, in order.
    pub fn subscription_identifiers(&self) -> impl Iterator<Item = u32> + use<'a> {
        self.iter().filter_map(|(identifier, value)| match (identifier, value) {
            (PropertyIdentifier::SubscriptionIdentifier, PropertyValue::Number(number)) => {
                Some(number)
            }
            _ => None,
        })
    }
}

macro_rules! accessors {
    ($($(#[$doc:meta])* $name:ident: $identifier:ident => $kind:ident as $type:ty;)*) => {
        impl<'a> Properties<'a> {
            $(
                $(#[$doc])*
                pub fn $name(&self) -> Option<$type> {
                    self.$kind(PropertyIdentifier::$identifier).map(|value| value as $type)
                }
            )*
        }
    };
}

accessors! {
    /// Payload Format Indicator: 1 is UTF-8.
    payload_format_indicator: PayloadFormatIndicator => number as u8;
    /// Message Expiry Interval, seconds.
    message_expiry_interval: MessageExpiryInterval => number as u32;
    /// Content Type.
    content_type: ContentType => text as &'a str;
    /// Response Topic.
    response_topic: ResponseTopic => text as &'a str;
    /// Correlation Data.
    correlation_data: CorrelationData => binary as &'a [u8];
    /// Session Expiry Interval, seconds; 0xFFFFFFFF is never.
    session_expiry_interval: SessionExpiryInterval => number as u32;
    /// Assigned Client Identifier.
    assigned_client_identifier: AssignedClientIdentifier => text as &'a str;
    /// Server Keep Alive, seconds.
    server_keep_alive: ServerKeepAlive => number as u16;
    /// Authentication Method.
    authentication_method: AuthenticationMethod => text as &'a str;
    /// Authentication Data.
    authentication_data: AuthenticationData => binary as &'a [u8];
    /// Will Delay Interval, seconds.
    will_delay_interval: WillDelayInterval => number as u32;
    /// Response Information.
    response_information: ResponseInformation => text as &'a str;
    /// Server Reference.
    server_reference: ServerReference => text as &'a str;
    /// Reason String.
    reason_string: ReasonString => text as &'a str;
    /// Receive Maximum.
    receive_maximum: ReceiveMaximum => number as u16;
    /// Topic Alias Maximum.
    topic_alias_maximum: TopicAliasMaximum => number as u16;
    /// Topic Alias.
    topic_alias: TopicAlias => number as u16;
    /// Maximum QoS.
    maximum_qos: MaximumQoS => number as u8;
    /// Maximum Packet Size, bytes.
    maximum_packet_size: MaximumPacketSize => number as u32;
}

macro_rules! switches {
    ($($(#[$doc:meta])* $name:ident: $identifier:ident;)*) => {
        impl Properties<'_> {
            $(
                $(#[$doc])*
                pub fn $name(&self) -> Option<bool> {
                    self.number(PropertyIdentifier::$identifier).map(|value| value != 0)
                }
            )*
        }
    };
}

switches! {
    /// Request Problem Information.
    request_problem_information: RequestProblemInformation;
    /// Request Response Information.
    request_response_information: RequestResponseInformation;
    /// Retain Available.
    retain_available: RetainAvailable;
    /// Wildcard Subscription Available.
    wildcard_subscription_available: WildcardSubscriptionAvailable;
    /// Subscription Identifiers Available.
    subscription_identifier_available: SubscriptionIdentifierAvailable;
    /// Shared Subscription Available.
    shared_subscription_available: SharedSubscriptionAvailable;
}

/// The ranges that the specification sets.
fn check_value(
    identifier: PropertyIdentifier,
    value: &PropertyValue<'_>,
) -> Result<(), DecodeError> {
    use PropertyIdentifier as Id;
    let fits = match (identifier, *value) {
        (
            Id::ReceiveMaximum | Id::MaximumPacketSize | Id::SubscriptionIdentifier,
            PropertyValue::Number(number),
        ) => number > 0,
        // MQTT-3.3.2-8: alias 0 has a reason code of its own; the receiver of PUBLISH checks it.
        (
            Id::PayloadFormatIndicator
            | Id::RequestProblemInformation
            | Id::RequestResponseInformation
            | Id::MaximumQoS
            | Id::RetainAvailable
            | Id::WildcardSubscriptionAvailable
            | Id::SubscriptionIdentifierAvailable
            | Id::SharedSubscriptionAvailable,
            PropertyValue::Number(number),
        ) => number <= 1,
        // MQTT-3.3.2-14
        (Id::ResponseTopic, PropertyValue::Text(topic)) => !topic.contains(['+', '#']),
        _ => true,
    };
    if fits { Ok(()) } else { Err(DecodeError::PropertyValue) }
}

/// Properties in the making.
#[derive(Clone, Debug, Default)]
pub struct PropertiesBuf {
    raw: Vec<u8>,
}

impl PropertiesBuf {
    /// None yet.
    pub const fn new() -> Self {
        Self { raw: Vec::new() }
    }

    /// What has been put in so far.
    pub fn view(&self) -> Properties<'_> {
        Properties { raw: &self.raw }
    }

    /// Appends a property.
    pub fn push(&mut self, identifier: PropertyIdentifier, value: PropertyValue<'_>) {
        encode::property(&mut self.raw, identifier, &value);
    }
}

macro_rules! builders {
    ($($name:ident: $identifier:ident, $variant:ident($type:ty);)*) => {
        impl PropertiesBuf {
            $(
                #[doc = concat!("Appends [`PropertyIdentifier::", stringify!($identifier), "`].")]
                pub fn $name(&mut self, value: $type) {
                    let value = PropertyValue::$variant(value.into());
                    self.push(PropertyIdentifier::$identifier, value);
                }
            )*
        }
    };
}

builders! {
    payload_format_indicator: PayloadFormatIndicator, Number(u8);
    message_expiry_interval: MessageExpiryInterval, Number(u32);
    content_type: ContentType, Text(&str);
    response_topic: ResponseTopic, Text(&str);
    correlation_data: CorrelationData, Binary(&[u8]);
    subscription_identifier: SubscriptionIdentifier, Number(u32);
    session_expiry_interval: SessionExpiryInterval, Number(u32);
    assigned_client_identifier: AssignedClientIdentifier, Text(&str);
    server_keep_alive: ServerKeepAlive, Number(u16);
    authentication_method: AuthenticationMethod, Text(&str);
    authentication_data: AuthenticationData, Binary(&[u8]);
    request_problem_information: RequestProblemInformation, Number(bool);
    request_response_information: RequestResponseInformation, Number(bool);
    will_delay_interval: WillDelayInterval, Number(u32);
    reason_string: ReasonString, Text(&str);
    receive_maximum: ReceiveMaximum, Number(u16);
    topic_alias_maximum: TopicAliasMaximum, Number(u16);
    topic_alias: TopicAlias, Number(u16);
    maximum_qos: MaximumQoS, Number(u8);
    retain_available: RetainAvailable, Number(bool);
    maximum_packet_size: MaximumPacketSize, Number(u32);
}

impl PropertiesBuf {
    /// Appends a user property.
    pub fn user_property(&mut self, name: &str, value: &str) {
        self.push(PropertyIdentifier::UserProperty, PropertyValue::Pair(name, value));
    }
}

impl PropertyIdentifier {
    /// Whether the value is encoded in one, two or four bytes, or (`None`) in another way.
    pub(crate) fn number_width(self) -> Option<usize> {
        match self.kind() {
            Kind::Byte => Some(1),
            Kind::TwoBytes => Some(2),
            Kind::FourBytes => Some(4),
            _ => None,
        }
    }
}
