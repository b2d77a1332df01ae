//! How long decoding takes: `cargo run --release -p plimsoll-mqtt --example decode_publish`.

use std::hint::black_box;
use std::time::Instant;

use plimsoll_mqtt::encode::PublishStart;
use plimsoll_mqtt::{DecodeLimits, Decoded, PropertiesBuf, QoS, Version, decode};

/// Packets in a row, as a socket brings them.
const PACKETS: usize = 500;

/// Rounds of which the fastest counts: the machine does other things, too.
const ROUNDS: usize = 2000;

fn main() {
    let limits = DecodeLimits::of_clients();
    let mut properties = PropertiesBuf::new();
    properties.message_expiry_interval(60);
    properties.user_property("unit", "celsius");
    for (name, version, own) in [
        ("3.1.1", Version::V311, &[][..]),
        ("5.0", Version::V5, &[][..]),
        ("5.0 with two properties", Version::V5, properties.view().raw()),
    ] {
        let bytes = publishes(version, own);
        let fastest = (0..ROUNDS).map(|_| round(&bytes, version, &limits)).fold(f64::MAX, f64::min);
        println!("{fastest:6.1} ns a PUBLISH of {name}: QoS 1, topic 33 bytes, payload 64 bytes");
    }
}

fn publishes(version: Version, properties: &[u8]) -> Vec<u8> {
    let start = PublishStart {
        version,
        dup: false,
        qos: QoS::AtLeastOnce,
        retain: false,
        topic: b"plant/3/line/12/sensor/1207/level",
        packet_identifier: 7,
        properties: [&[], properties],
        payload_len: 64,
    };
    let mut bytes = Vec::new();
    for _ in 0..PACKETS {
        start.encode(&mut bytes);
        bytes.extend_from_slice(&[b'x'; 64]);
    }
    bytes
}

/// Nanoseconds for each packet.
fn round(bytes: &[u8], version: Version, limits: &DecodeLimits) -> f64 {
    let begin = Instant::now();
    let (mut rest, mut count) = (black_box(bytes), 0);
    while let Ok(Decoded::Packet { packet, length }) = decode(rest, version, limits) {
        black_box(&packet);
        rest = rest.get(length..).unwrap_or_default();
        count += 1;
    }
    assert_eq!(count, PACKETS);
    begin.elapsed().as_secs_f64() * 1e9 / PACKETS as f64
}
