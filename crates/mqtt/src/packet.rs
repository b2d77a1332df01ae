//! The packets. All text and bytes are borrowed from the buffer that a packet was decoded from.

use alloc::boxed::Box;

use crate::cursor::Cursor;
use crate::property::Properties;
use crate::reason::ReasonCode;
use crate::version::{QoS, Version};

/// A control packet.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is documented at its type")]
pub enum Packet<'a> {
    Connect(Box<Connect<'a>>),
    Connack(Connack<'a>),
    Publish(Publish<'a>),
    Puback(Ack<'a>),
    Pubrec(Ack<'a>),
    Pubrel(Ack<'a>),
    Pubcomp(Ack<'a>),
    Subscribe(Subscribe<'a>),
    Suback(Suback<'a>),
    Unsubscribe(Unsubscribe<'a>),
    Unsuback(Unsuback<'a>),
    Pingreq,
    Pingresp,
    Disconnect(Disconnect<'a>),
    Auth(Auth<'a>),
}

impl<'a> Packet<'a> {
    /// The properties of a packet in which Reason String and User Properties can be left out.
    pub(crate) fn properties(&self) -> Option<Properties<'a>> {
        match self {
            Self::Connack(packet) => Some(packet.properties),
            Self::Puback(packet)
            | Self::Pubrec(packet)
            | Self::Pubrel(packet)
            | Self::Pubcomp(packet) => Some(packet.properties),
            Self::Suback(packet) => Some(packet.properties),
            Self::Unsuback(packet) => Some(packet.properties),
            Self::Disconnect(packet) => Some(packet.properties),
            Self::Auth(packet) => Some(packet.properties),
            _ => None,
        }
    }

    /// The same packet with other properties.
    pub(crate) fn with_properties(&self, properties: Properties<'a>) -> Self {
        let mut packet = self.clone();
        match &mut packet {
            Self::Connack(packet) => packet.properties = properties,
            Self::Puback(packet)
            | Self::Pubrec(packet)
            | Self::Pubrel(packet)
            | Self::Pubcomp(packet) => packet.properties = properties,
            Self::Suback(packet) => packet.properties = properties,
            Self::Unsuback(packet) => packet.properties = properties,
            Self::Disconnect(packet) => packet.properties = properties,
            Self::Auth(packet) => packet.properties = properties,
            _ => {}
        }
        packet
    }
}

/// CONNECT (3.1): a client asks for a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connect<'a> {
    /// Protocol version, from name and level.
    pub version: Version,
    /// Bit 7 of the level: the client is a bridge, as Mosquitto's say.
    pub bridge: bool,
    /// Clean Start; Clean Session in 3.x.
    pub clean_start: bool,
    /// Keep Alive, seconds; 0 is off.
    pub keep_alive: u16,
    /// Client Identifier; may be empty.
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

/// A Will Message in CONNECT.
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

/// CONNACK (3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connack<'a> {
    /// Session Present.
    pub session_present: bool,
    /// Connect Reason Code.
    pub reason: ReasonCode,
    /// Properties; empty in 3.x.
    pub properties: Properties<'a>,
}

/// PUBLISH (3.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Publish<'a> {
    /// DUP flag.
    pub dup: bool,
    /// QoS.
    pub qos: QoS,
    /// RETAIN flag.
    pub retain: bool,
    /// Topic Name; empty only with a Topic Alias.
    pub topic: &'a str,
    /// Packet Identifier; 0 at QoS 0.
    pub packet_identifier: u16,
    /// Properties; empty in 3.x.
    pub properties: Properties<'a>,
    /// Payload.
    pub payload: &'a [u8],
}

/// PUBACK, PUBREC, PUBREL or PUBCOMP (3.4 to 3.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack<'a> {
    /// Packet Identifier.
    pub packet_identifier: u16,
    /// Reason Code; success in 3.x.
    pub reason: ReasonCode,
    /// Properties; empty in 3.x.
    pub properties: Properties<'a>,
}

impl Ack<'_> {
    /// Success, without properties.
    pub fn new(packet_identifier: u16) -> Self {
        Self { packet_identifier, reason: ReasonCode::SUCCESS, properties: Properties::default() }
    }
}

/// SUBSCRIBE (3.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subscribe<'a> {
    /// Packet Identifier.
    pub packet_identifier: u16,
    /// Properties; empty in 3.x.
    pub properties: Properties<'a>,
    pub(crate) version: Version,
    /// Filters with their options, encoded and checked.
    pub(crate) payload: &'a [u8],
}

/// One filter of a SUBSCRIBE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubscribeFilter<'a> {
    /// Topic Filter, with `$share/…/` if it is shared.
    pub filter: &'a str,
    /// Subscription Options.
    pub options: SubscriptionOptions,
}

/// Subscription Options (3.8.3.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SubscriptionOptions {
    /// Maximum QoS.
    pub qos: QoS,
    /// No Local.
    pub no_local: bool,
    /// Retain As Published.
    pub retain_as_published: bool,
    /// Retain Handling.
    pub retain_handling: RetainHandling,
}

/// When retained messages are sent for a subscription (3.8.3.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum RetainHandling {
    /// At the time of the subscribe.
    #[default]
    SendAtSubscribe = 0,
    /// Only if the subscription did not exist.
    SendIfNew = 1,
    /// Not at all.
    DoNotSend = 2,
}

impl SubscriptionOptions {
    /// Reads the options byte; `None` if reserved bits or values are in it.
    pub(crate) fn from_byte(byte: u8, version: Version) -> Option<Self> {
        let qos = QoS::try_from(byte & 0b11).ok()?;
        if !version.is_v5() {
            return (byte & !0b11 == 0).then_some(Self { qos, ..Self::default() });
        }
        let retain_handling = match byte >> 4 & 0b11 {
            0 => RetainHandling::SendAtSubscribe,
            1 => RetainHandling::SendIfNew,
            2 => RetainHandling::DoNotSend,
            _ => return None,
        };
        let (no_local, retain_as_published) = (byte & 0b100 != 0, byte & 0b1000 != 0);
        let options = Self { qos, no_local, retain_as_published, retain_handling };
        (byte & 0b1100_0000 == 0).then_some(options)
    }

    pub(crate) fn to_byte(self, version: Version) -> u8 {
        if !version.is_v5() {
            return self.qos as u8;
        }
        self.qos as u8
            | u8::from(self.no_local) << 2
            | u8::from(self.retain_as_published) << 3
            | (self.retain_handling as u8) << 4
    }
}

impl<'a> Subscribe<'a> {
    /// A packet to be encoded; `payload` is made by [`Subscribe::payload`].
    pub fn new(
        packet_identifier: u16,
        properties: Properties<'a>,
        version: Version,
        payload: &'a [u8],
    ) -> Self {
        Self { packet_identifier, properties, version, payload }
    }

    /// Encodes filters for [`Subscribe::new`].
    pub fn payload(filters: &[SubscribeFilter<'_>], version: Version) -> alloc::vec::Vec<u8> {
        let mut payload = alloc::vec::Vec::new();
        for filter in filters {
            crate::encode::string(&mut payload, filter.filter);
            payload.push(filter.options.to_byte(version));
        }
        payload
    }

    /// Every filter with its options, in order.
    pub fn filters(&self) -> impl Iterator<Item = SubscribeFilter<'a>> + use<'a> {
        let (mut rest, version) = (Cursor::new(self.payload), self.version);
        core::iter::from_fn(move || {
            let filter = rest.string().ok()?;
            let options = SubscriptionOptions::from_byte(rest.u8().ok()?, version)?;
            Some(SubscribeFilter { filter, options })
        })
    }
}

/// SUBACK (3.9).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Suback<'a> {
    /// Packet Identifier.
    pub packet_identifier: u16,
    /// Properties; empty in 3.x.
    pub properties: Properties<'a>,
    /// One reason code for each filter.
    pub reasons: &'a [ReasonCode],
    /// The same, as they came from the network.
    pub raw_reasons: &'a [u8],
}

impl<'a> Suback<'a> {
    /// Without properties.
    pub fn new(packet_identifier: u16, reasons: &'a [ReasonCode]) -> Self {
        Self { packet_identifier, properties: Properties::default(), reasons, raw_reasons: &[] }
    }

    /// The reason codes, wherever they came from.
    pub fn codes(&self) -> impl Iterator<Item = ReasonCode> + use<'a> {
        let raw = self.raw_reasons.iter().map(|&byte| ReasonCode::from_byte(byte));
        self.reasons.iter().copied().chain(raw)
    }
}

/// UNSUBSCRIBE (3.10).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unsubscribe<'a> {
    /// Packet Identifier.
    pub packet_identifier: u16,
    /// Properties; empty in 3.x.
    pub properties: Properties<'a>,
    /// Filters, encoded and checked.
    pub(crate) payload: &'a [u8],
}

impl<'a> Unsubscribe<'a> {
    /// A packet to be encoded; `payload` is made by [`Unsubscribe::payload`].
    pub fn new(packet_identifier: u16, properties: Properties<'a>, payload: &'a [u8]) -> Self {
        Self { packet_identifier, properties, payload }
    }

    /// Encodes filters for [`Unsubscribe::new`].
    pub fn payload(filters: &[&str]) -> alloc::vec::Vec<u8> {
        let mut payload = alloc::vec::Vec::new();
        for filter in filters {
            crate::encode::string(&mut payload, filter);
        }
        payload
    }

    /// Every filter, in order.
    pub fn filters(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        let mut rest = Cursor::new(self.payload);
        core::iter::from_fn(move || rest.string().ok())
    }
}

/// UNSUBACK (3.11).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unsuback<'a> {
    /// Packet Identifier.
    pub packet_identifier: u16,
    /// Properties; empty in 3.x.
    pub properties: Properties<'a>,
    /// One reason code for each filter; not sent in 3.x.
    pub reasons: &'a [ReasonCode],
    /// The same, as they came from the network.
    pub raw_reasons: &'a [u8],
}

impl<'a> Unsuback<'a> {
    /// Without properties.
    pub fn new(packet_identifier: u16, reasons: &'a [ReasonCode]) -> Self {
        Self { packet_identifier, properties: Properties::default(), reasons, raw_reasons: &[] }
    }
}

/// DISCONNECT (3.14). In 3.x only a client sends it, and it says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disconnect<'a> {
    /// Disconnect Reason Code.
    pub reason: ReasonCode,
    /// Properties.
    pub properties: Properties<'a>,
}

impl Disconnect<'_> {
    /// Without properties.
    pub fn new(reason: ReasonCode) -> Self {
        Self { reason, properties: Properties::default() }
    }
}

/// AUTH (3.15).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Auth<'a> {
    /// Authenticate Reason Code.
    pub reason: ReasonCode,
    /// Properties.
    pub properties: Properties<'a>,
}
