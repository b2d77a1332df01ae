//! What the tests of all packets share, and the properties that hold for all of them.

use crate::decode::{DecodeLimits, Decoded, decode};
use crate::error::DecodeError;
use crate::packet::Packet;
use crate::version::Version;

/// The packet that `bytes` are, from a client.
pub(crate) fn accepted(bytes: &[u8], version: Version) -> Packet<'_> {
    accepted_with(bytes, version, &DecodeLimits::of_clients())
}

/// The packet that `bytes` are, from a server.
pub(crate) fn accepted_from_server(bytes: &[u8], version: Version) -> Packet<'_> {
    accepted_with(bytes, version, &DecodeLimits::of_servers())
}

fn accepted_with<'a>(bytes: &'a [u8], version: Version, limits: &DecodeLimits) -> Packet<'a> {
    match decode(bytes, version, limits) {
        Ok(Decoded::Packet { packet, length }) => {
            assert_eq!(length, bytes.len());
            packet
        }
        other => panic!("{bytes:x?}: {other:?}"),
    }
}

/// Checks what is wrong with `bytes` from a client.
#[track_caller]
pub(crate) fn refused(bytes: &[u8], version: Version, expected: impl Into<DecodeError>) {
    refused_with(bytes, version, expected.into(), &DecodeLimits::of_clients());
}

/// Checks what is wrong with `bytes` from a server.
#[track_caller]
pub(crate) fn refused_from_server(
    bytes: &[u8],
    version: Version,
    expected: impl Into<DecodeError>,
) {
    refused_with(bytes, version, expected.into(), &DecodeLimits::of_servers());
}

#[track_caller]
fn refused_with(bytes: &[u8], version: Version, expected: DecodeError, limits: &DecodeLimits) {
    assert_eq!(decode(bytes, version, limits), Err(expected), "{bytes:x?}");
}

mod sample;
mod totality;
mod vectors;
