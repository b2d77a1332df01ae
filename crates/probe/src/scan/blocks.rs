//! The blocks of a heap that are in use, found by any address within them.

use std::ops::Range;

/// Bytes that an address of a chunk is a multiple of, in glibc on 64-bit machines.
const UNIT: u64 = 16;
/// Addresses are looked up by page first.
const PAGE: u64 = 4096;
/// From a chunk's address to the block that `malloc` answered.
pub(super) const HEADER: u64 = 16;

/// A block: where its chunk begins in its region, and how long the chunk is, in units of 16 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Chunk {
    at: u32,
    size: u32,
}

/// A stretch of memory that is divided into chunks.
#[derive(Debug, Default)]
pub(super) struct Region {
    start: u64,
    end: u64,
    chunks: Vec<Chunk>,
    /// The first chunk that ends behind the start of each page.
    pages: Vec<u32>,
    reached: Vec<u64>,
    /// Bytes that a block goes on behind its chunk: the first word of the next one's header, if there is a next one.
    tail: u64,
}

/// A block of a [`Heap`]: its region, and its number in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Id {
    region: u32,
    number: u32,
}

impl Region {
    /// One without blocks, from `start` on.
    pub(super) fn new(start: u64) -> Self {
        Self { start, end: start, tail: 8, ..Self::default() }
    }

    /// One chunk that has a mapping of its own; nothing if it is too large.
    pub(super) fn mapped(chunk: u64, size: u64) -> Option<Self> {
        let mut region = Self { tail: 0, ..Self::new(chunk) };
        region.push(chunk, size).then(|| {
            region.close(chunk + size);
            region
        })
    }

    /// Takes up a chunk that is in use, behind all others; false if it is too far from the region's start.
    pub(super) fn push(&mut self, chunk: u64, size: u64) -> bool {
        let at = u32::try_from((chunk - self.start) / UNIT);
        let (Ok(at), Ok(size)) = (at, u32::try_from(size / UNIT)) else { return false };
        self.chunks.push(Chunk { at, size });
        true
    }

    /// How many blocks it has.
    pub(super) fn len(&self) -> usize {
        self.chunks.len()
    }

    /// Where it ends.
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// Says where it ends.
    pub(super) fn close(&mut self, end: u64) {
        self.end = end;
    }

    /// Forgets all blocks but the first `keep`; answers the address of the first chunk that it forgot.
    pub(super) fn forget_from(&mut self, keep: usize) -> Option<u64> {
        let first = self.chunks.get(keep).map(|chunk| self.start + u64::from(chunk.at) * UNIT);
        self.chunks.truncate(keep);
        first
    }

    /// Takes out the chunks that begin at `free`, which ascends.
    fn remove(&mut self, free: &[u64]) {
        let start = self.start;
        self.chunks
            .retain(|chunk| free.binary_search(&(start + u64::from(chunk.at) * UNIT)).is_err());
    }

    fn index(&mut self) {
        let pages = usize::try_from((self.end - self.start).div_ceil(PAGE)).unwrap_or(0);
        self.pages = Vec::with_capacity(pages);
        let mut number = 0;
        for page in 0..pages as u64 {
            while self.chunks.get(number).is_some_and(|chunk| chunk.end() <= page * PAGE) {
                number += 1;
            }
            self.pages.push(u32::try_from(number).unwrap_or(u32::MAX));
        }
        self.reached = vec![0; self.chunks.len().div_ceil(64)];
    }

    /// The block of this region that `address` points into.
    fn find(&self, address: u64) -> Option<u32> {
        let offset = address.checked_sub(self.start)?;
        let first = *self.pages.get(usize::try_from(offset / PAGE).ok()?)?;
        let mut number = first;
        while let Some(chunk) = self.chunks.get(number as usize) {
            if offset < u64::from(chunk.at) * UNIT + HEADER {
                return None;
            }
            // Where a free chunk follows, its address is in the allocator's lists, and is no pointer to this one's end.
            if offset == chunk.end() && self.tail > 0 {
                let next = self.chunks.get(number as usize + 1);
                return next
                    .is_some_and(|next| u64::from(next.at) * UNIT == offset)
                    .then_some(number);
            }
            if offset < chunk.end() + self.tail {
                return Some(number);
            }
            number += 1;
        }
        None
    }
}

impl Chunk {
    fn end(self) -> u64 {
        (u64::from(self.at) + u64::from(self.size)) * UNIT
    }
}

/// All regions, and which of their blocks something points to.
#[derive(Debug, Default)]
pub(super) struct Heap {
    regions: Vec<Region>,
}

impl Heap {
    /// Of these regions; none overlaps another.
    pub(super) fn new(mut regions: Vec<Region>) -> Self {
        regions.sort_by_key(|region| region.start);
        for region in &mut regions {
            region.index();
        }
        Self { regions }
    }

    /// Takes out blocks that are free after all: kept at hand by the allocator.
    pub(super) fn without(mut self, mut free: Vec<u64>) -> Self {
        free.sort_unstable();
        free.dedup();
        for region in &mut self.regions {
            region.remove(&free);
            region.index();
        }
        self
    }

    /// How many blocks are in use.
    pub(super) fn count(&self) -> usize {
        self.regions.iter().map(|region| region.chunks.len()).sum()
    }

    /// Bytes of the chunks that are in use, headers included.
    pub(super) fn bytes(&self) -> u64 {
        let chunks = self.regions.iter().flat_map(|region| &region.chunks);
        chunks.map(|chunk| u64::from(chunk.size) * UNIT).sum()
    }

    /// The block that `address` points into.
    pub(super) fn find(&self, address: u64) -> Option<Id> {
        let after = self.regions.partition_point(|region| region.start <= address);
        let region = after.checked_sub(1)?;
        let number = self.regions[region].find(address)?;
        Some(Id { region: u32::try_from(region).ok()?, number })
    }

    /// The chunk of the block that begins exactly at `address`, and its size.
    pub(super) fn chunk_of(&self, address: u64) -> Option<(u64, u64)> {
        let (chunk, size) = self.chunk(self.find(address)?);
        (chunk + HEADER == address).then_some((chunk, size))
    }

    /// A block's chunk: address and size.
    pub(super) fn chunk(&self, id: Id) -> (u64, u64) {
        let region = &self.regions[id.region as usize];
        let chunk = region.chunks[id.number as usize];
        (region.start + u64::from(chunk.at) * UNIT, u64::from(chunk.size) * UNIT)
    }

    /// The bytes that a block's owner may use.
    pub(super) fn room(&self, id: Id) -> Range<u64> {
        let (chunk, size) = self.chunk(id);
        chunk + HEADER..chunk + size + self.regions[id.region as usize].tail
    }

    /// Marks a block as reached; true the first time.
    pub(super) fn reach(&mut self, id: Id) -> bool {
        let word = &mut self.regions[id.region as usize].reached[id.number as usize / 64];
        let bit = 1 << (id.number % 64);
        let first = *word & bit == 0;
        *word |= bit;
        first
    }

    /// All blocks, by address.
    pub(super) fn ids(&self) -> impl Iterator<Item = Id> + '_ {
        self.regions.iter().enumerate().flat_map(|(region, of)| {
            let region = u32::try_from(region).unwrap_or(u32::MAX);
            (0..u32::try_from(of.chunks.len()).unwrap_or(u32::MAX))
                .map(move |number| Id { region, number })
        })
    }

    /// Those that were not reached.
    pub(super) fn unreached(&self) -> impl Iterator<Item = Id> + '_ {
        self.ids().filter(|id| {
            let word = self.regions[id.region as usize].reached[id.number as usize / 64];
            word >> (id.number % 64) & 1 == 0
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three blocks with a free chunk before the last, over two pages.
    fn heap() -> Heap {
        let mut region = Region::new(0x10_0000);
        assert!(region.push(0x10_0000, 0x20));
        assert!(region.push(0x10_0020, 0x1000));
        assert!(region.push(0x10_1100, 0x30));
        region.close(0x10_2000);
        let mut other = Region::new(0x8_0000);
        assert!(other.push(0x8_0000, 0x40));
        other.close(0x8_1000);
        Heap::new(vec![region, other])
    }

    fn chunk_at(heap: &Heap, address: u64) -> Option<u64> {
        heap.find(address).map(|id| heap.chunk(id).0)
    }

    #[test]
    fn any_address_within_finds_the_block() {
        let heap = heap();
        assert_eq!(heap.count(), 4);
        assert_eq!(heap.bytes(), 0x20 + 0x1000 + 0x30 + 0x40);
        assert_eq!(chunk_at(&heap, 0x10_0010), Some(0x10_0000));
        assert_eq!(chunk_at(&heap, 0x10_0020), Some(0x10_0000), "the last word of the first");
        assert_eq!(chunk_at(&heap, 0x10_0027), Some(0x10_0000));
        assert_eq!(chunk_at(&heap, 0x10_0028), None, "a header");
        assert_eq!(chunk_at(&heap, 0x10_0030), Some(0x10_0020));
        assert_eq!(chunk_at(&heap, 0x10_1018), Some(0x10_0020), "on its second page");
        assert_eq!(chunk_at(&heap, 0x10_1020), None, "the address of a free chunk");
        assert_eq!(chunk_at(&heap, 0x10_1021), Some(0x10_0020));
        assert_eq!(chunk_at(&heap, 0x10_1028), None, "a free chunk");
        assert_eq!(chunk_at(&heap, 0x10_1110), Some(0x10_1100));
        assert_eq!(chunk_at(&heap, 0x10_1fff), None);
        assert_eq!(chunk_at(&heap, 0x10_2000), None);
        assert_eq!(chunk_at(&heap, 0x8_0010), Some(0x8_0000));
        assert_eq!(chunk_at(&heap, 0x7_ffff), None);
        assert_eq!(heap.chunk_of(0x10_0030), Some((0x10_0020, 0x1000)));
        assert_eq!(heap.chunk_of(0x10_0031), None);
    }

    #[test]
    fn what_is_not_reached_is_left() {
        let mut heap = heap();
        let id = heap.find(0x10_0100).unwrap();
        assert!(heap.reach(id));
        assert!(!heap.reach(id));
        let left: Vec<u64> = heap.unreached().map(|id| heap.chunk(id).0).collect();
        assert_eq!(left, [0x8_0000, 0x10_0000, 0x10_1100]);
    }

    #[test]
    fn free_blocks_are_taken_out() {
        let heap = heap().without(vec![0x10_1100, 0x10_0000]);
        assert_eq!(heap.count(), 2);
        assert_eq!(chunk_at(&heap, 0x10_0010), None);
        assert_eq!(chunk_at(&heap, 0x10_0030), Some(0x10_0020));
    }

    #[test]
    fn blocks_are_forgotten_from_behind() {
        let mut region = Region::new(0x1000);
        assert!(region.push(0x1000, 0x20));
        assert!(region.push(0x1020, 0x20));
        assert_eq!(region.forget_from(1), Some(0x1020));
        assert_eq!(region.forget_from(1), None);
        assert_eq!(region.len(), 1);
        assert!(!region.push(0x1000 + (16 << 33), 0x20), "too far");
    }
}
