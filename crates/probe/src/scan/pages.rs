//! Pages that were read lately: blocks that lead to one another often lie near, and a read of a page costs hardly more
//! than one of a block.

use std::ops::Range;

use crate::process::memory::Memory;

/// Bytes that are read at once, and begin at a multiple of it.
const PAGE: u64 = 4096;
/// How many are kept: 2 MiB.
const SLOTS: usize = 512;
const NONE: u64 = u64::MAX;

/// The pages.
pub(super) struct Pages {
    starts: Vec<u64>,
    lengths: Vec<usize>,
    bytes: Vec<u8>,
}

impl Pages {
    /// None yet.
    pub(super) fn new() -> Self {
        Self {
            starts: vec![NONE; SLOTS],
            lengths: vec![0; SLOTS],
            bytes: vec![0; SLOTS * PAGE as usize],
        }
    }

    /// Whether all of a range lies in one page.
    pub(super) fn hold(range: &Range<u64>) -> bool {
        range.start / PAGE == (range.end - 1) / PAGE
    }

    /// What stands in a range within a page, as far as it can be read.
    pub(super) fn read(&mut self, memory: &Memory, range: &Range<u64>) -> &[u8] {
        let start = range.start / PAGE * PAGE;
        let slot = (range.start / PAGE) as usize % SLOTS;
        let bytes = &mut self.bytes[slot * PAGE as usize..(slot + 1) * PAGE as usize];
        if self.starts[slot] != start {
            self.starts[slot] = start;
            self.lengths[slot] = memory.read(start, bytes);
        }
        let end = ((range.end - start) as usize).min(self.lengths[slot]);
        bytes.get((range.start - start) as usize..end).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::Process;

    #[test]
    fn a_page_is_read_once() {
        let memory = Memory::of(&Process::find(std::process::id()).unwrap()).unwrap();
        let mut page = vec![7_u8; 3 * PAGE as usize];
        let start = (page.as_ptr() as u64).next_multiple_of(PAGE) + 64;
        let offset = (start - page.as_ptr() as u64) as usize;
        let mut pages = Pages::new();
        assert_eq!(pages.read(&memory, &(start..start + 4)), [7; 4]);
        page[offset] = 8;
        assert_eq!(pages.read(&memory, &(start..start + 4)), [7; 4]);
        let other = start + SLOTS as u64 * PAGE;
        assert_eq!(pages.read(&memory, &(8..16)), [0; 0], "nothing is there");
        let _ = pages.read(&memory, &(other..other + 1));
        assert_eq!(
            pages.read(&memory, &(start..start + 2)),
            [8, 7],
            "its place was taken meanwhile"
        );
        assert!(Pages::hold(&(PAGE..2 * PAGE)));
        assert!(!Pages::hold(&(PAGE + 8..2 * PAGE + 8)));
        assert_eq!(page[offset + 1], 7);
    }
}
