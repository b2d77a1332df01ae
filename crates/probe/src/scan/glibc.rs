//! glibc's heap as it lies in memory: chunks, arenas and their heaps (malloc/malloc.c and arena.c, 2.27 to 2.42).

use std::ops::Range;
use std::time::Duration;

use super::blocks::Region;
use crate::process::memory::Memory;

/// Heaps of arenas other than the main one lie at multiples of this (`HEAP_MAX_SIZE`).
const HEAP_MAX: u64 = 64 << 20;
/// Of a chunk's size: the chunk before it is in use.
const PREV_INUSE: u64 = 1;
/// Of a chunk's size: it has a mapping of its own.
const IS_MMAPPED: u64 = 2;
/// Of a chunk's size: the bits that are not size.
const FLAGS: u64 = 7;
/// The smallest chunk.
const CHUNK_MIN: u64 = 0x20;
/// What is asked for beyond this gets a mapping of its own, unless that was raised (`M_MMAP_THRESHOLD`).
const MMAP_MIN: u64 = 4096;

/// Offsets within `struct malloc_state`.
pub(super) mod arena {
    /// `fastbinsY`, ten of them.
    pub(crate) const FASTBINS: u64 = 0x10;
    /// How many there are.
    pub(crate) const FASTBINS_COUNT: usize = 10;
    /// `top`; the first bin's links would stand two words behind it, as if it were a chunk.
    pub(crate) const TOP: u64 = 0x60;
    /// How many bins there are.
    pub(crate) const BINS_COUNT: u64 = 127;
    /// `attached_threads`, behind it `system_mem` and `max_system_mem`.
    pub(crate) const THREADS: u64 = 0x880;
    /// Its size.
    pub(crate) const SIZE: u64 = 0x898;
}

/// What came of going from chunk to chunk.
#[derive(Debug)]
pub(super) struct Walk {
    /// The chunks in use.
    pub(super) region: Region,
    /// What was not understood, to the region's end.
    pub(super) unknown: Option<Range<u64>>,
}

/// How far back a walk goes that met something which is no chunk: twice as many blocks each time.
const BACK: usize = 64;
/// How often, before it gives up on the rest.
const BACK_TIMES: u32 = 8;

/// Goes from chunk to chunk over `range`. The owner goes on allocating meanwhile: where what is read does not fit
/// together, some blocks are read once more; where the heap has got another size, `end_now` answers its end.
///
/// At most `blocks_max` blocks are taken; the rest is unknown then.
pub(super) fn walk(
    memory: &Memory,
    range: Range<u64>,
    blocks_max: usize,
    end_now: &dyn Fn() -> Option<u64>,
) -> Walk {
    let mut range = range;
    let mut window = Window::new(memory);
    let mut region = Region::new(range.start);
    let mut at = range.start;
    let (mut back, mut broken_at) = (0, 0);
    let mut unknown = None;
    while region.len() < blocks_max {
        match step(&mut window, at, range.end) {
            Step::Used(size) if region.push(at, size) => at += size,
            Step::Free(size) => at += size,
            Step::End => break,
            Step::Resized if end_now().is_some_and(|end| end > at && end != range.end) => {
                range.end = end_now().unwrap_or(range.end);
                window.forget();
            }
            Step::Used(_) | Step::Resized | Step::Broken => {
                back = if at > broken_at { 0 } else { back + 1 };
                broken_at = broken_at.max(at);
                let keep = region.len().saturating_sub(BACK << back.min(BACK_TIMES));
                if back >= BACK_TIMES {
                    unknown = Some(broken_at..range.end);
                    break;
                }
                // Whoever is just changing this may have been stopped in the middle of it.
                std::thread::sleep(Duration::from_millis(1 << back));
                at = region.forget_from(keep).unwrap_or(range.start);
                window.forget();
            }
        }
    }
    if region.len() >= blocks_max {
        unknown = Some(at..range.end);
    }
    region.close(unknown.as_ref().map_or(range.end, |unknown| unknown.start));
    Walk { region, unknown }
}

enum Step {
    Used(u64),
    Free(u64),
    /// The top chunk, or the fence at a heap's end.
    End,
    /// The heap seems to end elsewhere.
    Resized,
    Broken,
}

fn step(window: &mut Window<'_>, at: u64, end: u64) -> Step {
    let Some(word) = window.size_word(at) else {
        return if at >= end { Step::End } else { Step::Broken };
    };
    let size = word & !FLAGS;
    if size <= 0x10 {
        // Chunks that only keep others from being joined over the end.
        return if end.saturating_sub(at) <= 0x40 && word & PREV_INUSE != 0 {
            Step::End
        } else {
            Step::Broken
        };
    }
    if size < CHUNK_MIN || !size.is_multiple_of(16) || word & IS_MMAPPED != 0 {
        return Step::Broken;
    }
    let next = at.saturating_add(size);
    if next == end {
        // The top chunk ends where its heap does.
        return Step::End;
    }
    if next > end {
        return Step::Resized;
    }
    match window.size_word(next) {
        Some(word) if word & PREV_INUSE != 0 => Step::Used(size),
        Some(_) => Step::Free(size),
        None => Step::Resized,
    }
}

/// Memory read ahead.
struct Window<'a> {
    memory: &'a Memory,
    bytes: Vec<u8>,
    start: u64,
    length: usize,
}

impl<'a> Window<'a> {
    fn new(memory: &'a Memory) -> Self {
        Self { memory, bytes: vec![0; 256 << 10], start: 0, length: 0 }
    }

    fn forget(&mut self) {
        self.length = 0;
    }

    /// The size word of the chunk at `chunk`.
    fn size_word(&mut self, chunk: u64) -> Option<u64> {
        let address = chunk.checked_add(8)?;
        if address < self.start || address + 8 > self.start + self.length as u64 {
            self.start = chunk;
            self.length = self.memory.read(chunk, &mut self.bytes);
        }
        let offset = usize::try_from(address - self.start).ok()?;
        let bytes = self.bytes[..self.length].get(offset..)?.first_chunk::<8>()?;
        Some(u64::from_ne_bytes(*bytes))
    }
}

/// A heap of an arena that is not the main one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ArenaHeap {
    /// Its chunks lie here.
    pub(super) chunks: Range<u64>,
    /// Where it begins.
    pub(super) start: u64,
    /// The arena that it belongs to.
    pub(super) arena: u64,
}

/// The heaps of other arenas within a mapping.
pub(super) fn arena_heaps(memory: &Memory, mapping: &Range<u64>) -> Vec<ArenaHeap> {
    let first = mapping.start.div_ceil(HEAP_MAX) * HEAP_MAX;
    (first..mapping.end)
        .step_by(usize::try_from(HEAP_MAX).unwrap_or(usize::MAX))
        .filter_map(|start| arena_heap(memory, start))
        .collect()
}

/// `struct heap_info`: its arena, the heap before it, its size, and how much of it was ever used.
pub(super) fn arena_heap(memory: &Memory, start: u64) -> Option<ArenaHeap> {
    let [arena, before, size, used] = memory.words::<4>(start)?;
    // Since 2.35 there is a page size too. The arena lies right behind it, in its first heap.
    let header = arena % HEAP_MAX;
    let sound = (header == 0x20 || header == 0x30)
        && before.is_multiple_of(HEAP_MAX)
        && size > header
        && size <= HEAP_MAX
        && size.is_multiple_of(4096)
        && used >= size
        && used <= HEAP_MAX;
    if !sound {
        return None;
    }
    let own = arena - header == start;
    let first = if own { (arena + arena::SIZE).next_multiple_of(16) } else { start + header };
    Some(ArenaHeap { chunks: first..start + size, start, arena })
}

/// Where the main arena is: `places` are the writable data of the C library or of a static program. Most of its
/// bins are empty at any time, and an empty bin's links point to the bin itself.
pub(super) fn main_arena(memory: &Memory, places: &[Range<u64>]) -> Option<u64> {
    places.iter().find_map(|place| {
        let mut bytes = vec![0; usize::try_from(place.end - place.start).ok()?];
        let length = memory.read(place.start, &mut bytes);
        let words: Vec<u64> = crate::process::memory::words_of(&bytes[..length]).collect();
        (0..words.len())
            .find(|&at| is_arena(&words[at..], place.start + at as u64 * 8))
            .map(|at| place.start + at as u64 * 8)
    })
}

/// How far behind the start of `[heap]` its chunks may begin: a static program has asked for a little before.
const AHEAD_MAX: u64 = 64 << 10;
/// How often the main arena is asked where its chunks begin, while it may just grow.
const ASKED_MAX: usize = 5;

/// Where the chunks of the main arena begin, which has the mapping `heap`: as far before the end of its top chunk as it
/// has asked for bytes.
pub(super) fn main_chunks(memory: &Memory, main_arena: u64, heap: &Range<u64>) -> u64 {
    let asked = || {
        let [top] = memory.words(main_arena + arena::TOP)?;
        let [bytes] = memory.words(main_arena + arena::THREADS + 8)?;
        let [size] = memory.words(top.checked_add(8)?)?;
        let start = top.checked_add(size & !FLAGS)?.checked_sub(bytes)?.next_multiple_of(16);
        (heap.start..heap.start + AHEAD_MAX).contains(&start).then_some(start)
    };
    (0..ASKED_MAX).find_map(|_| asked()).unwrap_or(heap.start)
}

/// Whether `words`, which stand at `address`, are an arena. Links of empty bins look the same a bin further on, so
/// what stands around them is looked at too.
fn is_arena(words: &[u64], address: u64) -> bool {
    if words.len() * 8 < arena::SIZE as usize {
        return false;
    }
    let (lock, fast_chunks) = (words[0] & 0xffff_ffff, words[1] & 0xffff_ffff);
    let threads = arena::THREADS as usize / 8;
    let [threads, bytes, bytes_max] = [words[threads], words[threads + 1], words[threads + 2]];
    let around =
        lock <= 2 && fast_chunks <= 1 && threads < 1 << 20 && bytes > 0 && bytes <= bytes_max;
    let empty = (0..arena::BINS_COUNT).filter(|bin| {
        let itself = address + arena::TOP + bin * 16;
        let links = (itself + 16 - address) as usize / 8;
        words[links] == itself && words[links + 1] == itself
    });
    around && empty.count() as u64 >= arena::BINS_COUNT / 8
}

/// The chunks with mappings of their own within an anonymous mapping: where each begins, and its size.
pub(super) fn mapped_chunks(memory: &Memory, mapping: &Range<u64>) -> Vec<(u64, u64)> {
    let mut chunks = Vec::new();
    for run in memory.held(mapping) {
        let mut at = run.start;
        while at < run.end {
            let size = mapped_chunk(memory, at, mapping.end);
            if let Some(size) = size {
                chunks.push((at, size));
            }
            at += size.unwrap_or(memory.page_size());
        }
    }
    chunks
}

fn mapped_chunk(memory: &Memory, at: u64, end: u64) -> Option<u64> {
    let [before, word] = memory.words::<2>(at)?;
    let size = word & !FLAGS;
    let sound = before == 0
        && word & FLAGS == IS_MMAPPED
        && size > MMAP_MIN
        && size.is_multiple_of(memory.page_size())
        && at.checked_add(size)? <= end;
    sound.then_some(size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arena_is_known_by_its_empty_bins() {
        let address = 0x7f00_0000_1000;
        let before = 6;
        let mut words = vec![0_u64; before + arena::SIZE as usize / 8 + 6];
        let first = address - before as u64 * 8;
        let find = |words: &[u64]| {
            (0..words.len()).find(|&at| is_arena(&words[at..], first + at as u64 * 8))
        };
        for bin in 0..arena::BINS_COUNT {
            let links = before + (arena::TOP + 16 + bin * 16) as usize / 8;
            words[links] = address + arena::TOP + bin * 16;
            words[links + 1] = words[links];
        }
        assert_eq!(find(&words), None, "it has no memory");
        let threads = before + arena::THREADS as usize / 8;
        words[threads] = 1;
        words[threads + 1] = 0x2_1000;
        words[threads + 2] = 0x2_1000;
        // One bin is in use, and so are fast bins.
        words[before + 14] = 0x5500_0000_1000;
        words[before + 2] = 0x5500_0000_2000;
        assert_eq!(find(&words), Some(before));
        assert!(!is_arena(&words[before..200], address));
    }
}
