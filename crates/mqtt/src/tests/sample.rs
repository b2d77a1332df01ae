//! Packets of every type and version, made up by proptest, and their round trip.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::accepted_from_server;
use crate::encode;
use crate::packet::{
    Ack, Auth, Connack, Connect, Disconnect, Packet, PacketType, Publish, RetainHandling, Suback,
    Subscribe, SubscribeFilter, SubscriptionOptions, Unsuback, Unsubscribe, Will,
};
use crate::property::{Place, Properties, PropertiesBuf, PropertyIdentifier, PropertyValue};
use crate::reason::ReasonCode;
use crate::version::{QoS, Version};

/// What a packet is made of. Each packet takes what it has a place for.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    pub(super) version: Version,
    packet_type: PacketType,
    packet_identifier: u16,
    flags: [bool; 4],
    qos: QoS,
    keep_alive: u16,
    topic: String,
    text: String,
    username: Option<String>,
    password: Option<Vec<u8>>,
    payload: Vec<u8>,
    filters: Vec<(String, SubscriptionOptions)>,
    reasons: Vec<Index>,
    properties: PropertiesBuf,
    will: Option<PropertiesBuf>,
}

const PACKET_TYPES: [PacketType; 15] = [
    PacketType::Connect,
    PacketType::Connack,
    PacketType::Publish,
    PacketType::Puback,
    PacketType::Pubrec,
    PacketType::Pubrel,
    PacketType::Pubcomp,
    PacketType::Subscribe,
    PacketType::Suback,
    PacketType::Unsubscribe,
    PacketType::Unsuback,
    PacketType::Pingreq,
    PacketType::Pingresp,
    PacketType::Disconnect,
    PacketType::Auth,
];

fn place(packet_type: PacketType) -> Option<Place> {
    Some(match packet_type {
        PacketType::Connect => Place::Connect,
        PacketType::Connack => Place::Connack,
        PacketType::Publish => Place::Publish,
        PacketType::Subscribe => Place::Subscribe,
        PacketType::Unsubscribe => Place::Unsubscribe,
        PacketType::Disconnect => Place::Disconnect,
        PacketType::Auth => Place::Auth,
        PacketType::Pingreq | PacketType::Pingresp => return None,
        _ => Place::Acknowledgement,
    })
}

/// A packet of any type in any version that has it.
pub(super) fn sample() -> impl Strategy<Value = Sample> {
    let versions = select(&[Version::V31, Version::V311, Version::V5][..]);
    let there = |&(version, packet_type): &(Version, PacketType)| {
        version.is_v5() || packet_type != PacketType::Auth
    };
    (versions, select(&PACKET_TYPES[..])).prop_filter("AUTH is of 5.0", there).prop_flat_map(
        |(version, packet_type)| {
            let place = place(packet_type).filter(|_| version.is_v5());
            let will = Some(Place::Will).filter(|_| version.is_v5());
            (
                (any::<[bool; 4]>(), 1..=u16::MAX, any::<u16>(), qos()),
                (topic_name(), text(), option::of(text()), option::of(bytes()), bytes()),
                (vec((filter(), options(version)), 1..5), vec(any::<Index>(), 1..5)),
                (properties(place), option::of(properties(will))),
            )
                .prop_map(move |(numbers, texts, lists, properties)| Sample {
                    version,
                    packet_type,
                    flags: numbers.0,
                    packet_identifier: numbers.1,
                    keep_alive: numbers.2,
                    qos: numbers.3,
                    topic: texts.0,
                    text: texts.1,
                    username: texts.2,
                    password: texts.3,
                    payload: texts.4,
                    filters: lists.0,
                    reasons: lists.1,
                    properties: properties.0,
                    will: properties.1,
                })
        },
    )
}

fn qos() -> impl Strategy<Value = QoS> {
    select(&[QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce][..])
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![vec(any::<u8>(), 0..40), vec(any::<u8>(), 100..300)]
}

fn text() -> impl Strategy<Value = String> {
    text_without(&['\0'])
}

fn text_without(excluded: &'static [char]) -> impl Strategy<Value = String> {
    let character = prop_oneof![any::<char>(), prop::char::range(' ', '~')];
    let allowed = character.prop_filter("excluded", |c| !excluded.contains(c));
    vec(allowed, 0..20).prop_map(|characters| characters.into_iter().collect())
}

fn level() -> impl Strategy<Value = String> {
    text_without(&['\0', '/', '+', '#'])
}

fn topic_name() -> impl Strategy<Value = String> {
    let name = vec(level(), 1..5).prop_map(|levels| levels.join("/"));
    name.prop_filter("empty", |name| !name.is_empty())
}

fn filter() -> impl Strategy<Value = String> {
    let level = prop_oneof![3 => level(), 1 => Just(String::from("+"))];
    let share = option::of(Just("$share/group/"));
    (share, vec(level, 1..5), any::<bool>()).prop_map(|(share, mut levels, rest)| {
        if rest || levels.iter().all(String::is_empty) {
            levels.push(String::from("#"));
        }
        String::from(share.unwrap_or_default()) + &levels.join("/")
    })
}

fn options(version: Version) -> impl Strategy<Value = SubscriptionOptions> {
    let handling =
        [RetainHandling::SendAtSubscribe, RetainHandling::SendIfNew, RetainHandling::DoNotSend];
    (qos(), any::<[bool; 2]>(), select(handling.to_vec())).prop_map(
        move |(qos, [no_local, retain_as_published], retain_handling)| {
            if version.is_v5() {
                SubscriptionOptions { qos, no_local, retain_as_published, retain_handling }
            } else {
                SubscriptionOptions { qos, ..Default::default() }
            }
        },
    )
}

/// Properties that may stand there, in any order.
fn properties(place: Option<Place>) -> impl Strategy<Value = PropertiesBuf> {
    let all = PropertyIdentifier::ALL.iter().copied();
    let allowed: Vec<_> =
        all.filter(|identifier| place.is_some_and(|place| identifier.is_allowed(place))).collect();
    let most = if allowed.is_empty() { 0 } else { 8 };
    let one = (any::<Index>(), any::<u32>(), text(), bytes());
    vec(one, 0..=most).prop_map(move |list| {
        let mut properties = PropertiesBuf::new();
        for (index, number, text, bytes) in &list {
            let Some(place) = place else { break };
            let identifier = *index.get(&allowed);
            let there = properties.view().iter().any(|(other, _)| other == identifier);
            if !there || identifier.repeats(place) {
                properties.push(identifier, value(identifier, *number, text, bytes));
            }
        }
        let view = properties.view();
        if view.authentication_data().is_some() && view.authentication_method().is_none() {
            properties.authentication_method("method");
        }
        properties
    })
}

/// A value within the range of a property.
fn value<'a>(
    identifier: PropertyIdentifier,
    number: u32,
    text: &'a str,
    bytes: &'a [u8],
) -> PropertyValue<'a> {
    use PropertyIdentifier as Id;
    match identifier {
        Id::PayloadFormatIndicator
        | Id::RequestProblemInformation
        | Id::RequestResponseInformation
        | Id::MaximumQoS
        | Id::RetainAvailable
        | Id::WildcardSubscriptionAvailable
        | Id::SubscriptionIdentifierAvailable
        | Id::SharedSubscriptionAvailable => PropertyValue::Number(number % 2),
        Id::ReceiveMaximum | Id::TopicAlias => PropertyValue::Number(number % 0xFFFF + 1),
        Id::ServerKeepAlive | Id::TopicAliasMaximum => PropertyValue::Number(number % 0x1_0000),
        Id::SubscriptionIdentifier => PropertyValue::Number(number % 268_435_455 + 1),
        Id::MaximumPacketSize => PropertyValue::Number(number.max(1)),
        Id::MessageExpiryInterval | Id::SessionExpiryInterval | Id::WillDelayInterval => {
            PropertyValue::Number(number)
        }
        Id::ResponseTopic => PropertyValue::Text("response/topic"),
        Id::CorrelationData | Id::AuthenticationData => PropertyValue::Binary(bytes),
        Id::UserProperty => PropertyValue::Pair("name", text),
        _ => PropertyValue::Text(text),
    }
}

impl Sample {
    /// Bytes of the packet.
    pub(super) fn encoded(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.with_packet(|packet| encode::packet(packet, self.version, &mut out));
        out
    }

    /// Lends the packet to `use_it`.
    fn with_packet<R>(&self, use_it: impl FnOnce(&Packet<'_>) -> R) -> R {
        let (packet_identifier, properties) = (self.packet_identifier, self.properties.view());
        let filters: Vec<_> = self
            .filters
            .iter()
            .map(|(filter, options)| SubscribeFilter { filter, options: *options })
            .collect();
        let names: Vec<_> = self.filters.iter().map(|(filter, _)| filter.as_str()).collect();
        let reasons = self.reasons();
        let ack = |reasons| Ack { packet_identifier, reason: self.reason(reasons), properties };
        use_it(&match self.packet_type {
            PacketType::Connect => Packet::Connect(Box::new(self.connect())),
            PacketType::Connack => Packet::Connack(self.connack()),
            PacketType::Publish => Packet::Publish(self.publish()),
            PacketType::Puback => Packet::Puback(ack(Ack::PUBACK_REASONS)),
            PacketType::Pubrec => Packet::Pubrec(ack(Ack::PUBREC_REASONS)),
            PacketType::Pubrel => Packet::Pubrel(ack(Ack::PUBREL_REASONS)),
            PacketType::Pubcomp => Packet::Pubcomp(ack(Ack::PUBCOMP_REASONS)),
            PacketType::Subscribe => {
                let subscribe = Subscribe::new(packet_identifier, &filters);
                Packet::Subscribe(subscribe.with_properties(properties))
            }
            PacketType::Suback => {
                Packet::Suback(Suback { properties, ..Suback::new(packet_identifier, &reasons) })
            }
            PacketType::Unsubscribe => {
                let unsubscribe = Unsubscribe::new(packet_identifier, &names);
                Packet::Unsubscribe(unsubscribe.with_properties(properties))
            }
            PacketType::Unsuback => Packet::Unsuback(Unsuback {
                properties,
                ..Unsuback::new(packet_identifier, &reasons)
            }),
            PacketType::Pingreq => Packet::Pingreq,
            PacketType::Pingresp => Packet::Pingresp,
            PacketType::Disconnect => Packet::Disconnect(Disconnect {
                reason: self.reason(Disconnect::REASONS),
                properties,
            }),
            PacketType::Auth => {
                Packet::Auth(Auth { reason: self.reason(Auth::REASONS), properties })
            }
        })
    }

    /// One of the reason codes; success before 5.0.
    fn reason(&self, allowed: &[ReasonCode]) -> ReasonCode {
        match self.reasons.first() {
            Some(index) if self.version.is_v5() => *index.get(allowed),
            _ => ReasonCode::SUCCESS,
        }
    }

    /// The reason codes of SUBACK or UNSUBACK.
    fn reasons(&self) -> Vec<ReasonCode> {
        let allowed = match (self.packet_type, self.version.is_v5()) {
            (PacketType::Suback, true) => Suback::REASONS,
            (PacketType::Suback, false) => Suback::REASONS_V3,
            (PacketType::Unsuback, true) => Unsuback::REASONS,
            _ => return Vec::new(),
        };
        self.reasons.iter().map(|index| *index.get(allowed)).collect()
    }

    fn connect(&self) -> Connect<'_> {
        let [bridge, clean_start, retain, _] = self.flags;
        let old = self.version == Version::V31;
        let username = self.username.as_deref();
        Connect {
            version: self.version,
            bridge,
            clean_start,
            keep_alive: self.keep_alive,
            client_identifier: if old { &self.topic } else { &self.text },
            username,
            password: self
                .password
                .as_deref()
                .filter(|_| self.version.is_v5() || username.is_some()),
            will: self.will.as_ref().map(|properties| Will {
                topic: &self.topic,
                payload: &self.payload,
                qos: self.qos,
                retain,
                properties: properties.view(),
            }),
            properties: self.properties.view(),
        }
    }

    fn connack(&self) -> Connack<'_> {
        let reason = match self.reasons.first() {
            Some(index) if !self.version.is_v5() => {
                ReasonCode::from_v3_connack(index.index(6) as u8).unwrap_or(ReasonCode::SUCCESS)
            }
            _ => self.reason(Connack::REASONS),
        };
        let present = self.flags[0] && self.version != Version::V31;
        Connack {
            session_present: present && reason == ReasonCode::SUCCESS,
            reason,
            properties: self.properties.view(),
        }
    }

    fn publish(&self) -> Publish<'_> {
        let [dup, retain, aliased, _] = self.flags;
        let properties: Properties<'_> = self.properties.view();
        let unacknowledged = self.qos == QoS::AtMostOnce;
        Publish {
            dup: dup && !unacknowledged,
            qos: self.qos,
            retain,
            topic: if aliased && properties.topic_alias().is_some() { "" } else { &self.topic },
            packet_identifier: if unacknowledged { 0 } else { self.packet_identifier },
            properties,
            payload: &self.payload,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn every_packet_comes_back_as_it_was_written(sample in sample()) {
        let bytes = sample.encoded();
        let decoded = accepted_from_server(&bytes, sample.version);
        sample.with_packet(|packet| assert_eq!(&decoded, packet));
        let mut again = Vec::new();
        encode::packet(&decoded, sample.version, &mut again);
        prop_assert_eq!(again, bytes);
    }
}
