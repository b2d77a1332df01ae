//! The sparse index of a run: the first key of each block, and where the block lies.

use plimsoll_ledger::Measure;

/// Where a block lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BlockPlace {
    /// Its frame's offset in the run, in bytes.
    pub(crate) offset: u64,
    /// Bytes of its frame without padding.
    pub(crate) bytes: u32,
    key_at: u32,
    key_bytes: u32,
}

/// All blocks of a run, in order. The keys lie in one block of memory.
#[derive(Debug, Default)]
pub(crate) struct Index {
    keys: Vec<u8>,
    blocks: Vec<BlockPlace>,
}

impl Index {
    pub(crate) fn push(&mut self, first_key: &[u8], offset: u64, bytes: u32) {
        let key_at = self.keys.len() as u32;
        self.keys.extend_from_slice(first_key);
        self.blocks.push(BlockPlace { offset, bytes, key_at, key_bytes: first_key.len() as u32 });
    }

    pub(crate) fn block(&self, at: usize) -> Option<BlockPlace> {
        self.blocks.get(at).copied()
    }

    pub(crate) fn key(&self, block: &BlockPlace) -> &[u8] {
        let from = block.key_at as usize;
        self.keys.get(from..from + block.key_bytes as usize).unwrap_or_default()
    }

    /// The block in which `key` lies if it lies anywhere.
    pub(crate) fn find(&self, key: &[u8]) -> usize {
        self.blocks.partition_point(|block| self.key(block) <= key).saturating_sub(1)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&[u8], BlockPlace)> {
        self.blocks.iter().map(|block| (self.key(block), *block))
    }

    /// Gives back what growing took too much.
    pub(crate) fn shrink(&mut self) {
        self.keys.shrink_to_fit();
        self.blocks.shrink_to_fit();
    }

    /// Bytes of heap that it owns.
    pub(crate) fn heap_bytes(&self) -> usize {
        self.keys.heap_bytes() + self.blocks.heap_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_sought_in_the_last_block_that_begins_before_it() {
        let mut index = Index::default();
        for (at, key) in [b"b", b"d", b"f"].into_iter().enumerate() {
            index.push(key, at as u64 * 100, 10);
        }
        assert_eq!([b"a", b"b", b"c", b"d", b"z"].map(|key| index.find(key)), [0, 0, 0, 1, 2]);
        assert_eq!(Index::default().find(b"a"), 0);
    }
}
