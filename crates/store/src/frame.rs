//! A frame: a body of entries behind a header that says what it is and where it belongs. A batch of
//! the journal is one, and so is a block of a run.
//!
//! Since a frame names its segment and its offset, the bytes that a recycled segment still holds
//! of its former life are never taken for frames. The layout is in `docs/formats.md`.

use crate::entries::{Body, seed};
use crate::numbers::{checksum, u16_at, u32_at, u64_at};

/// Bytes of a frame's header.
pub(crate) const FRAME_HEADER_BYTES: usize = 48;
/// Frames begin at multiples of this.
pub(crate) const FRAME_ALIGN: usize = 8;

const MAGIC: [u8; 4] = *b"PJFR";
const FRAME_VERSION: u16 = 1;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FrameKind {
    /// A batch of changes.
    Batch = 1,
    /// Says only what is synced; the next batch is written over it.
    Mark = 2,
    /// A block of a run: segment and sequence are the run's number.
    Block = 3,
    /// The index of a run: for the first key of each block, where the block lies.
    Index = 4,
}

/// The header of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    pub(crate) kind: FrameKind,
    /// The number of the segment that it was written for.
    pub(crate) segment: u64,
    /// Its offset in there, in bytes.
    pub(crate) offset: u64,
    /// The batch's number; a mark has that of the next batch.
    pub(crate) sequence: u64,
    /// All batches up to this one were durable when the frame was written.
    pub(crate) synced_through: u64,
    /// Bytes of the body behind the header.
    pub(crate) body_bytes: u32,
}

impl FrameHeader {
    pub(crate) fn encode(&self) -> [u8; FRAME_HEADER_BYTES] {
        let mut bytes = [0; FRAME_HEADER_BYTES];
        bytes[..4].copy_from_slice(&MAGIC);
        bytes[8..16].copy_from_slice(&self.segment.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.offset.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.sequence.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.synced_through.to_le_bytes());
        bytes[40..44].copy_from_slice(&self.body_bytes.to_le_bytes());
        bytes[44..46].copy_from_slice(&FRAME_VERSION.to_le_bytes());
        bytes[46..48].copy_from_slice(&(self.kind as u16).to_le_bytes());
        let crc = checksum(&bytes[8..]);
        bytes[4..8].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// The header with which `bytes` begin, if it is a sound one of this place in this file.
    pub(crate) fn decode(bytes: &[u8], offset: u64, segment: u64) -> Option<Self> {
        let bytes = bytes.get(..FRAME_HEADER_BYTES)?;
        if bytes[..4] != MAGIC || u32_at(bytes, 4) != checksum(&bytes[8..]) {
            return None;
        }
        let kind = match u16_at(bytes, 46) {
            1 => FrameKind::Batch,
            2 => FrameKind::Mark,
            3 => FrameKind::Block,
            4 => FrameKind::Index,
            _ => return None,
        };
        let header = Self {
            kind,
            segment: u64_at(bytes, 8),
            offset: u64_at(bytes, 16),
            sequence: u64_at(bytes, 24),
            synced_through: u64_at(bytes, 32),
            body_bytes: u32_at(bytes, 40),
        };
        let known = u16_at(bytes, 44) == FRAME_VERSION;
        (known && header.segment == segment && header.offset == offset).then_some(header)
    }

    /// Bytes of the frame with its padding.
    pub(crate) fn frame_bytes(&self) -> usize {
        padded(FRAME_HEADER_BYTES + self.body_bytes as usize)
    }
}

/// `bytes`, rounded up to where the next frame may begin.
pub(crate) fn padded(bytes: usize) -> usize {
    bytes.next_multiple_of(FRAME_ALIGN)
}

/// Something that a walk over a segment's content meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// A frame with a sound header; its body is yet to be read.
    Frame(FrameHeader),
    /// Bytes between sound headers that are none.
    Gap { at: usize, bytes: usize },
}

/// Walks over the frames of a segment, finding its way again behind damage.
#[derive(Debug)]
pub(crate) struct Frames<'a> {
    content: &'a [u8],
    segment: u64,
    at: usize,
}

impl<'a> Frames<'a> {
    /// All frames in `content` from offset `at` on.
    pub(crate) fn new(content: &'a [u8], segment: u64, at: usize) -> Self {
        Self { content, segment, at }
    }

    /// The first sound header from `at` on.
    fn resynchronise(&self, mut at: usize) -> Option<usize> {
        while at + FRAME_HEADER_BYTES <= self.content.len() {
            if self.content[at..at + 4] == MAGIC
                && FrameHeader::decode(&self.content[at..], at as u64, self.segment).is_some()
            {
                return Some(at);
            }
            at += FRAME_ALIGN;
        }
        None
    }
}

impl Iterator for Frames<'_> {
    type Item = Found;

    fn next(&mut self) -> Option<Found> {
        let at = self.at;
        let rest = self.content.get(at..)?;
        if let Some(header) = FrameHeader::decode(rest, at as u64, self.segment) {
            self.at = at + header.frame_bytes();
            return Some(Found::Frame(header));
        }
        // Behind the last frame there is no other, so the end of the segment is no gap.
        let next = self.resynchronise(at + FRAME_ALIGN)?;
        self.at = next;
        Some(Found::Gap { at, bytes: next - at })
    }
}

/// Reads the body of a frame from its segment's content. The body of a frame that goes beyond the
/// content is damaged.
pub(crate) fn body_of<'a>(content: &'a [u8], header: &FrameHeader, body: &mut Body) -> &'a [u8] {
    let from = header.offset as usize + FRAME_HEADER_BYTES;
    let to = (from + header.body_bytes as usize).min(content.len());
    let bytes = content.get(from..to).unwrap_or_default();
    body.read(bytes, seed(header.sequence));
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(offset: u64, sequence: u64, body: u32) -> FrameHeader {
        FrameHeader {
            kind: FrameKind::Batch,
            segment: 3,
            offset,
            sequence,
            synced_through: 0,
            body_bytes: body,
        }
    }

    fn content() -> Vec<u8> {
        let mut content = vec![0; 1024];
        for header in [frame(64, 1, 10), frame(128, 2, 100), frame(280, 3, 0)] {
            let at = header.offset as usize;
            content[at..at + FRAME_HEADER_BYTES].copy_from_slice(&header.encode());
        }
        content
    }

    #[test]
    fn frames_are_found_one_behind_the_other() {
        let content = content();
        let found: Vec<_> = Frames::new(&content, 3, 64).collect();
        let expected = [frame(64, 1, 10), frame(128, 2, 100), frame(280, 3, 0)];
        assert_eq!(found, expected.map(Found::Frame));
        assert_eq!(Frames::new(&content, 4, 64).count(), 0);
    }

    #[test]
    fn the_walk_goes_on_behind_a_damaged_header() {
        for at in 128..128 + FRAME_HEADER_BYTES {
            let mut content = content();
            content[at] ^= 1;
            let found: Vec<_> = Frames::new(&content, 3, 64).collect();
            let expected = [
                Found::Frame(frame(64, 1, 10)),
                Found::Gap { at: 128, bytes: 152 },
                Found::Frame(frame(280, 3, 0)),
            ];
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn a_frame_at_another_place_is_none() {
        let mut content = content();
        content.copy_within(64..128, 512);
        assert_eq!(Frames::new(&content, 3, 64).count(), 3);
    }
}
