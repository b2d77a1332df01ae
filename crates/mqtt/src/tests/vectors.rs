//! Bytes from the figures and examples of the specifications, byte for byte.

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::accepted_from_server;
use crate::encode;
use crate::packet::{
    Ack, Connack, Connect, Disconnect, Packet, Publish, Suback, Subscribe, SubscribeFilter,
    SubscriptionOptions, Unsuback, Unsubscribe, Will,
};
use crate::property::{Properties, PropertiesBuf};
use crate::reason::ReasonCode;
use crate::version::{QoS, Version};

/// The packet is written as these bytes, and read from them.
#[track_caller]
fn check(version: Version, packet: &Packet<'_>, bytes: &[u8]) {
    let mut out = Vec::new();
    encode::packet(packet, version, &mut out);
    assert_eq!(out, bytes);
    assert_eq!(&accepted_from_server(bytes, version), packet);
}

fn connect(version: Version) -> Connect<'static> {
    let will = Will {
        topic: "w",
        payload: b"m",
        qos: QoS::AtLeastOnce,
        retain: false,
        properties: Properties::default(),
    };
    Connect {
        keep_alive: 10,
        username: Some("u"),
        password: Some(b"p"),
        will: Some(will),
        ..Connect::new(version, "c", true)
    }
}

#[test]
fn v3_mqtt_3_1_figure_3_6_connect() {
    let bytes = [
        &[0x10, 25, 0, 4, b'M', b'Q', b'T', b'T', 4, 0b1100_1110, 0, 10][..],
        &[0, 1, b'c', 0, 1, b'w', 0, 1, b'm', 0, 1, b'u', 0, 1, b'p'],
    ]
    .concat();
    check(Version::V311, &Packet::Connect(Box::new(connect(Version::V311))), &bytes);
}

#[test]
fn v3_mqtt31_3_1_connect() {
    let bytes = [
        &[0x10, 27, 0, 6, b'M', b'Q', b'I', b's', b'd', b'p', 3, 0b1100_1110, 0, 10][..],
        &[0, 1, b'c', 0, 1, b'w', 0, 1, b'm', 0, 1, b'u', 0, 1, b'p'],
    ]
    .concat();
    check(Version::V31, &Packet::Connect(Box::new(connect(Version::V31))), &bytes);
}

#[test]
fn v5_mqtt_3_1_figure_3_6_connect() {
    let mut properties = PropertiesBuf::new();
    properties.session_expiry_interval(10);
    let packet = Connect { properties: properties.view(), ..connect(Version::V5) };
    let bytes = [
        &[0x10, 32, 0, 4, b'M', b'Q', b'T', b'T', 5, 0b1100_1110, 0, 10][..],
        &[5, 17, 0, 0, 0, 10],
        &[0, 1, b'c', 0, 0, 1, b'w', 0, 1, b'm', 0, 1, b'u', 0, 1, b'p'],
    ]
    .concat();
    check(Version::V5, &Packet::Connect(Box::new(packet)), &bytes);
}

#[test]
fn v3_mqtt_3_2_connack() {
    let connack = |session_present, reason| {
        Packet::Connack(Connack { session_present, reason, properties: Properties::default() })
    };
    check(Version::V311, &connack(true, ReasonCode::SUCCESS), &[0x20, 2, 1, 0]);
    let refused = connack(false, ReasonCode::CLIENT_IDENTIFIER_NOT_VALID);
    check(Version::V311, &refused, &[0x20, 2, 0, 2]);
    check(Version::V5, &refused, &[0x20, 3, 0, 0x85, 0]);
}

#[test]
fn v3_mqtt_3_3_figure_3_11_publish() {
    let publish = Publish {
        dup: false,
        qos: QoS::AtLeastOnce,
        retain: false,
        topic: "a/b",
        packet_identifier: 10,
        properties: Properties::default(),
        payload: b"",
    };
    let packet = Packet::Publish(publish);
    check(Version::V311, &packet, &[0x32, 7, 0, 3, b'a', b'/', b'b', 0, 10]);
    check(Version::V5, &packet, &[0x32, 8, 0, 3, b'a', b'/', b'b', 0, 10, 0]);
}

#[test]
fn v5_mqtt_1_5_4_figure_1_1_a_character_of_four_bytes() {
    let publish = Publish {
        dup: false,
        qos: QoS::AtMostOnce,
        retain: true,
        topic: "A\u{2A6D4}",
        packet_identifier: 0,
        properties: Properties::default(),
        payload: b"x",
    };
    let bytes = [0x31, 8, 0, 5, 0x41, 0xF0, 0xAA, 0x9B, 0x94, b'x'];
    check(Version::V311, &Packet::Publish(publish), &bytes);
}

#[test]
fn v3_mqtt_3_4_acknowledgements() {
    let ack = Ack::new(0x1234);
    for version in [Version::V31, Version::V311, Version::V5] {
        check(version, &Packet::Puback(ack), &[0x40, 2, 0x12, 0x34]);
        check(version, &Packet::Pubrec(ack), &[0x50, 2, 0x12, 0x34]);
        check(version, &Packet::Pubrel(ack), &[0x62, 2, 0x12, 0x34]);
        check(version, &Packet::Pubcomp(ack), &[0x70, 2, 0x12, 0x34]);
    }
}

#[test]
fn v3_mqtt_3_8_figure_3_23_subscribe() {
    let filter = |filter, qos| SubscribeFilter {
        filter,
        options: SubscriptionOptions { qos, ..Default::default() },
    };
    let filters = [filter("a/b", QoS::AtLeastOnce), filter("c/d", QoS::ExactlyOnce)];
    let packet = Packet::Subscribe(Subscribe::new(10, &filters));
    let payload = [0, 3, b'a', b'/', b'b', 1, 0, 3, b'c', b'/', b'd', 2];
    check(Version::V311, &packet, &[&[0x82, 14, 0, 10][..], &payload].concat());
    check(Version::V5, &packet, &[&[0x82, 15, 0, 10, 0][..], &payload].concat());
}

#[test]
fn v3_mqtt_3_9_figure_3_27_suback() {
    let reasons =
        [ReasonCode::GRANTED_QOS_0, ReasonCode::GRANTED_QOS_2, ReasonCode::UNSPECIFIED_ERROR];
    let packet = Packet::Suback(Suback::new(10, &reasons));
    check(Version::V311, &packet, &[0x90, 5, 0, 10, 0, 2, 0x80]);
    check(Version::V5, &packet, &[0x90, 6, 0, 10, 0, 0, 2, 0x80]);
}

#[test]
fn v5_mqtt_3_10_figure_3_28_unsubscribe() {
    let packet = Packet::Unsubscribe(Unsubscribe::new(10, &["a/b", "c/d"]));
    let payload = [0, 3, b'a', b'/', b'b', 0, 3, b'c', b'/', b'd'];
    check(Version::V5, &packet, &[&[0xA2, 13, 0, 10, 0][..], &payload].concat());
    let unsuback = [ReasonCode::SUCCESS, ReasonCode::NO_SUBSCRIPTION_EXISTED];
    let packet = Packet::Unsuback(Unsuback::new(10, &unsuback));
    check(Version::V5, &packet, &[0xB0, 5, 0, 10, 0, 0, 0x11]);
}

#[test]
fn v3_mqtt_3_12_packets_without_a_body() {
    for version in [Version::V31, Version::V311, Version::V5] {
        check(version, &Packet::Pingreq, &[0xC0, 0]);
        check(version, &Packet::Pingresp, &[0xD0, 0]);
        let disconnect = Disconnect::new(ReasonCode::NORMAL_DISCONNECTION);
        check(version, &Packet::Disconnect(disconnect), &[0xE0, 0]);
    }
}
