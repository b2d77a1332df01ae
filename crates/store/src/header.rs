//! The 64 bytes with which every file begins: what it is, by itself.
//!
//! The layout is in `docs/formats.md`.

use crate::numbers::{checksum, u16_at, u32_at, u64_at};

/// The format version that this release writes, and the newest that it reads.
pub(crate) const VERSION: u16 = 1;
/// Bytes of a header.
pub(crate) const HEADER_BYTES: usize = 64;

const MAGIC: [u8; 8] = *b"PLIMSOLL";

/// What kind of file it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileKind {
    Manifest = 1,
    Journal = 2,
    Run = 3,
    /// The last 64 bytes of a run.
    RunEnd = 4,
}

/// The header of a file. What the words say depends on the kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) kind: FileKind,
    /// The file's number, as in its name; a manifest's generation.
    pub(crate) number: u64,
    pub(crate) words: [u64; 5],
}

/// Why a header says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BadHeader {
    /// Not a header, or a damaged one.
    Damaged,
    /// A sound header of a newer format.
    Newer(u16),
}

impl Header {
    pub(crate) fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[12..14].copy_from_slice(&VERSION.to_le_bytes());
        bytes[14..16].copy_from_slice(&(self.kind as u16).to_le_bytes());
        bytes[16..24].copy_from_slice(&self.number.to_le_bytes());
        for (at, word) in self.words.iter().enumerate() {
            bytes[24 + at * 8..32 + at * 8].copy_from_slice(&word.to_le_bytes());
        }
        let crc = checksum(&bytes[12..]);
        bytes[8..12].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8], kind: FileKind) -> Result<Self, BadHeader> {
        let Some(bytes) = bytes.get(..HEADER_BYTES) else { return Err(BadHeader::Damaged) };
        if bytes[..8] != MAGIC || u32_at(bytes, 8) != checksum(&bytes[12..]) {
            return Err(BadHeader::Damaged);
        }
        // The place of version and checksum is the one thing that no version may change.
        let version = u16_at(bytes, 12);
        if version > VERSION {
            return Err(BadHeader::Newer(version));
        }
        if u16_at(bytes, 14) != kind as u16 {
            return Err(BadHeader::Damaged);
        }
        let words = [24, 32, 40, 48, 56].map(|at| u64_at(bytes, at));
        Ok(Self { kind, number: u64_at(bytes, 16), words })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_read_back_and_every_flipped_byte_is_noticed() {
        let header = Header { kind: FileKind::Run, number: 9, words: [1, 2, 3, 4, u64::MAX] };
        let bytes = header.encode();
        assert_eq!(Header::decode(&bytes, FileKind::Run), Ok(header));
        assert_eq!(Header::decode(&bytes, FileKind::Journal), Err(BadHeader::Damaged));
        assert_eq!(Header::decode(&bytes[..63], FileKind::Run), Err(BadHeader::Damaged));
        for at in 0..bytes.len() {
            let mut bytes = bytes;
            bytes[at] ^= 0x10;
            assert_eq!(Header::decode(&bytes, FileKind::Run), Err(BadHeader::Damaged), "{at}");
        }
    }

    #[test]
    fn a_newer_version_is_told_from_damage() {
        let mut bytes = Header { kind: FileKind::Run, number: 9, words: [0; 5] }.encode();
        bytes[12] = 2;
        let crc = checksum(&bytes[12..]);
        bytes[8..12].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(Header::decode(&bytes, FileKind::Run), Err(BadHeader::Newer(2)));
    }
}
