//! Payloads that are too large for a page, each in a block of its own, by number.
//!
//! Numbers stand in records, so a blob keeps its own. The table is in segments, each of which goes with
//! its last blob: what is left after a mass deletion pays for the segments that it is in, which is less
//! than it takes itself.

use alloc::boxed::Box;
use alloc::vec::Vec;

use plimsoll_ledger::Measure;

/// Blobs of a segment.
const SEGMENT: usize = 32;

/// Payloads that are too large for a page.
#[derive(Debug, Default)]
pub(super) struct Blobs {
    segments: Vec<Segment>,
    /// Segments that may have room. Those that are full, or gone, are passed over when it is their turn.
    open: Vec<u32>,
    /// Bytes of blobs and of the segments' blocks.
    bytes: usize,
}

type Slots = [Option<Box<[u8]>>; SEGMENT];

#[derive(Debug, Default)]
struct Segment {
    slots: Option<Box<Slots>>,
    used: u8,
    /// It stands in the list of those that may have room.
    listed: bool,
}

impl Measure for Blobs {
    fn heap_bytes(&self) -> usize {
        self.segments.heap_bytes() + self.open.heap_bytes() + self.bytes
    }
}

/// Bytes of a segment's block.
fn block_bytes() -> usize {
    plimsoll_ledger::usable_size(size_of::<Slots>(), align_of::<Slots>())
}

impl Blobs {
    /// Properties and payload, one behind the other.
    pub(super) fn get(&self, number: u32) -> &[u8] {
        let (segment, slot) = place(number);
        let slots = self.segments.get(segment).and_then(|segment| segment.slots.as_ref());
        slots.and_then(|slots| slots.get(slot)?.as_deref()).unwrap_or_default()
    }

    pub(super) fn insert(&mut self, properties: &[u8], payload: &[u8]) -> u32 {
        let mut blob = Vec::with_capacity(properties.len() + payload.len());
        blob.extend_from_slice(properties);
        blob.extend_from_slice(payload);
        let blob = blob.into_boxed_slice();
        self.bytes += blob.heap_bytes();
        let number = self.segment_with_room();
        let Some(segment) = self.segments.get_mut(number) else { return 0 };
        let slots = segment.slots.get_or_insert_with(|| {
            self.bytes += block_bytes();
            Box::default()
        });
        let free = slots.iter().position(Option::is_none).unwrap_or(0);
        if let Some(slot) = slots.get_mut(free) {
            *slot = Some(blob);
            segment.used += 1;
        }
        (number * SEGMENT + free) as u32
    }

    fn segment_with_room(&mut self) -> usize {
        while let Some(&number) = self.open.last() {
            match self.segments.get_mut(number as usize) {
                Some(segment) if usize::from(segment.used) < SEGMENT => return number as usize,
                Some(segment) => segment.listed = false,
                None => {}
            }
            self.open.pop();
        }
        self.segments.push(Segment { listed: true, ..Segment::default() });
        self.open.push(self.segments.len() as u32 - 1);
        self.segments.len() - 1
    }

    pub(super) fn remove(&mut self, number: u32) {
        let (at, slot) = place(number);
        let Some(segment) = self.segments.get_mut(at) else { return };
        let Some(slots) = segment.slots.as_mut() else { return };
        let Some(blob) = slots.get_mut(slot).and_then(Option::take) else { return };
        self.bytes -= blob.heap_bytes();
        segment.used -= 1;
        if segment.used == 0 {
            segment.slots = None;
            self.bytes -= block_bytes();
        }
        if !core::mem::replace(&mut segment.listed, true) {
            self.open.push(at as u32);
        }
        self.shrink();
    }

    /// Gives back segments at the end that are empty.
    fn shrink(&mut self) {
        let before = self.segments.len();
        while self.segments.last().is_some_and(|segment| segment.used == 0) {
            self.segments.pop();
        }
        let len = self.segments.len();
        if len < before && len < self.segments.capacity() / 4 {
            self.segments.shrink_to(len * 2);
            self.open.retain(|&number| (number as usize) < len);
            self.open.sort_unstable();
            self.open.dedup(); // One that was gone and came back stands there twice.
            self.open.shrink_to(len * 2);
        }
        if len == 0 {
            *self = Self::default();
        }
    }

    /// The same as [`Measure::heap_bytes`], by walking.
    pub(super) fn recount(&self) -> usize {
        let held = self.segments.iter().filter_map(|segment| segment.slots.as_ref());
        let bytes =
            held.map(|slots| block_bytes() + slots.iter().map(Measure::heap_bytes).sum::<usize>());
        self.segments.heap_bytes() + self.open.heap_bytes() + bytes.sum::<usize>()
    }
}

fn place(number: u32) -> (usize, usize) {
    (number as usize / SEGMENT, number as usize % SEGMENT)
}
