//! Whatever bytes come: an answer, no panic, and no more memory than there were bytes.

use alloc::format;
use alloc::vec::Vec;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::sample::sample;
use crate::decode::{DecodeLimits, Decoded, decode, decode_first};
use crate::encode;
use crate::packet::Packet;
use crate::version::Version;

fn version() -> impl Strategy<Value = Version> {
    select(&[Version::V31, Version::V311, Version::V5][..])
}

fn limits() -> impl Strategy<Value = DecodeLimits> {
    any::<bool>().prop_map(|from_client| DecodeLimits { from_client, ..Default::default() })
}

/// A first byte that is likely to be a packet's.
fn first_byte() -> impl Strategy<Value = u8> {
    let likely = [
        0x10, 0x20, 0x30, 0x31, 0x32, 0x34, 0x3D, 0x40, 0x50, 0x62, 0x70, 0x82, 0x90, 0xA2, 0xB0,
        0xC0, 0xD0, 0xE0, 0xF0,
    ];
    select(likely.to_vec())
}

/// Decodes, reads every part of what comes out, and writes it again: what was accepted stays the
/// same packet.
fn exercise(bytes: &[u8], version: Version, limits: &DecodeLimits) {
    let _ = decode_first(bytes, limits).map(|decoded| format!("{decoded:?}"));
    match decode(bytes, version, limits) {
        Ok(Decoded::Packet { packet, length }) => {
            assert!(length <= bytes.len());
            let own = match &packet {
                Packet::Connect(connect) => connect.version,
                _ => version,
            };
            let mut out = Vec::new();
            encode::packet(&packet, version, &mut out);
            let again = decode(&out, own, limits);
            assert_eq!(again, Ok(Decoded::Packet { packet, length: out.len() }));
        }
        Ok(Decoded::Incomplete { need }) => assert!(need == 0 || need > bytes.len()),
        Err(error) => assert!(!format!("{error}").is_empty() && error.reason_code().is_error()),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8192))]

    #[test]
    fn arbitrary_bytes_get_an_answer(
        bytes in vec(any::<u8>(), 0..64),
        version in version(),
        limits in limits(),
    ) {
        exercise(&bytes, version, &limits);
    }

    #[test]
    fn arbitrary_bodies_get_an_answer(
        first in first_byte(),
        body in vec(prop_oneof![any::<u8>(), 0u8..8], 0..64),
        version in version(),
        limits in limits(),
    ) {
        let mut bytes = Vec::from([first, body.len() as u8]);
        bytes.extend_from_slice(&body);
        exercise(&bytes, version, &limits);
    }

    #[test]
    fn mutated_packets_get_an_answer(
        sample in sample(),
        changes in vec((any::<Index>(), any::<u8>()), 1..4),
        limits in limits(),
    ) {
        let mut bytes = sample.encoded();
        for (index, byte) in changes {
            *index.get_mut(&mut bytes) = byte;
        }
        exercise(&bytes, sample.version, &limits);
    }

    #[test]
    fn every_prefix_of_a_packet_is_incomplete(sample in sample(), rest in vec(any::<u8>(), 0..4)) {
        let mut bytes = sample.encoded();
        let total = bytes.len();
        let limits = DecodeLimits::of_servers();
        for end in 0..total {
            match decode(bytes.get(..end).unwrap_or_default(), sample.version, &limits) {
                Ok(Decoded::Incomplete { need }) => prop_assert!(need == 0 || need == total),
                other => panic!("{end} of {total} bytes: {other:?}"),
            }
        }
        // What follows belongs to the next packet.
        bytes.extend_from_slice(&rest);
        let decoded = decode(&bytes, sample.version, &limits);
        let whole = matches!(decoded, Ok(Decoded::Packet { length, .. }) if length == total);
        prop_assert!(whole);
    }

    #[test]
    fn limits_hold(sample in sample(), below in 0u32..4) {
        let bytes = sample.encoded();
        let size = bytes.len() as u32;
        let limits = DecodeLimits {
            packet_size_max: (size + 2).saturating_sub(below),
            ..DecodeLimits::of_servers()
        };
        let accepted = decode(&bytes, sample.version, &limits).is_ok();
        prop_assert_eq!(accepted, size <= limits.packet_size_max);
    }

    #[test]
    fn packets_stay_within_the_limit_of_their_receiver(sample in sample(), limit in 0u32..200) {
        let bytes = sample.encoded();
        let packet = super::accepted_from_server(&bytes, sample.version);
        let mut out = Vec::new();
        if encode::packet_within(&packet, sample.version, limit, &mut out) {
            prop_assert!(out.len() <= limit as usize);
            super::accepted_from_server(&out, sample.version);
        } else {
            prop_assert!(out.is_empty() && bytes.len() > limit as usize);
        }
    }
}
