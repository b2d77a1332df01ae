//! The few packets that clients of a load send, in MQTT 3.1.1.

use plimsoll_mqtt::encode::{self, AckKind, PublishStart};
use plimsoll_mqtt::{
    Packet, Publish, QoS, ReasonCode, Subscribe, SubscribeFilter, SubscriptionOptions, Version,
};

/// Appends a PUBLISH at QoS 1.
pub(crate) fn publish(
    out: &mut Vec<u8>,
    topic: &[u8],
    packet_identifier: u16,
    retain: bool,
    payload: &[u8],
) {
    let start = PublishStart {
        version: Version::V311,
        dup: false,
        qos: QoS::AtLeastOnce,
        retain,
        topic,
        packet_identifier,
        properties: [&[], &[]],
        payload_len: payload.len(),
    };
    start.encode(out);
    out.extend_from_slice(payload);
}

/// Appends a SUBSCRIBE to `filters` at one QoS.
pub(crate) fn subscribe(out: &mut Vec<u8>, packet_identifier: u16, qos: QoS, filters: &[&str]) {
    let options = SubscriptionOptions { qos, ..Default::default() };
    let filters: Vec<SubscribeFilter<'_>> =
        filters.iter().map(|filter| SubscribeFilter { filter, options }).collect();
    let subscribe = Subscribe::new(packet_identifier, &filters);
    encode::packet(&Packet::Subscribe(subscribe), Version::V311, out);
}

/// Appends the PUBACK of a message that wants one.
pub(crate) fn acknowledge(out: &mut Vec<u8>, message: &Publish<'_>) {
    if message.qos == QoS::AtLeastOnce {
        let identifier = message.packet_identifier;
        encode::ack(out, Version::V311, AckKind::Puback, identifier, ReasonCode::SUCCESS);
    }
}
