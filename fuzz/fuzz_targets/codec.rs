//! Any bytes decode to a packet, a request for more or an error; what decodes, encodes to something
//! that decodes to the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use plimsoll_mqtt::{DecodeLimits, Decoded, Packet, Version, decode, decode_first, encode};

fuzz_target!(|input: (u8, &[u8])| {
    let (choice, bytes) = input;
    let version = [Version::V31, Version::V311, Version::V5][usize::from(choice % 3)];
    let limits =
        if choice & 4 == 0 { DecodeLimits::of_clients() } else { DecodeLimits::of_servers() };
    let _ = decode_first(bytes, &limits);
    let Ok(Decoded::Packet { packet, length }) = decode(bytes, version, &limits) else { return };
    assert!(length <= bytes.len());
    let version = if let Packet::Connect(connect) = &packet { connect.version } else { version };
    let mut encoded = Vec::new();
    encode::packet(&packet, version, &mut encoded);
    if encoded.is_empty() {
        return; // What this version cannot say.
    }
    match decode(&encoded, version, &DecodeLimits::of_servers()) {
        Ok(Decoded::Packet { packet: again, .. }) => assert_eq!(packet, again),
        other => panic!("{packet:?} became {other:?}"),
    }
});
