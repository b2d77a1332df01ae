//! Blocks that nothing points to any more, in the heap of a process that runs on: found by reading its memory.
//!
//! glibc's heap is gone through chunk by chunk, and pointers are looked for from all memory that is no heap, and from
//! every block that was reached. A block which nobody has an address of cannot be freed any more. The process is not
//! stopped, so one look may be wrong about what changes just then: only what three looks agree on, some seconds apart
//! (the same block, the same size, the same content), is said to be lost. Anything that could be a pointer counts as
//! one, so a lost block may go unseen; one that is named is lost, unless its only pointer is in a register of a
//! thread that waits, or is kept in a form that is no address.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hasher};
use std::ops::Range;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::problem::Problem;
use crate::process::Process;
use crate::process::maps::Mapping;
use crate::process::memory::Memory;
use crate::program;

mod blocks;
mod cached;
mod content;
mod findings;
mod glibc;
mod pace;
mod pages;
mod reach;
#[cfg(test)]
mod tests;

use blocks::{Heap, Id};
pub use findings::{Findings, Group};
pub use pace::Pace;

/// How a scan is done.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// From the first to the last of three looks. What is being built up or taken down must be done within it.
    pub apart: Duration,
    /// Blocks that are kept account of, at most, at 8 bytes each. What lies beyond counts as reached.
    pub blocks_max: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self { apart: Duration::from_secs(5), blocks_max: 64_000_000 }
    }
}

/// What was looked at.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Extent {
    /// Heaps of glibc: the main one, and those of other arenas.
    pub heaps: usize,
    /// Blocks in use.
    pub blocks: usize,
    /// Bytes of them, with their headers.
    pub bytes: u64,
    /// Bytes of heaps that were not understood, and count as pointing to anything.
    pub not_understood_bytes: u64,
    /// Bytes of anonymous memory that is none of glibc's: of other allocators, stacks, buffers.
    pub other_bytes: u64,
    /// Bytes that may hold pointers and are no heap.
    pub roots_bytes: u64,
    /// Seconds that the look took.
    pub seconds: f64,
}

/// One look.
struct Look {
    heap: Heap,
    mappings: Vec<Mapping>,
    extent: Extent,
}

/// How often is looked.
const LOOKS: u32 = 3;
/// How often candidates are compared with what they were, between two looks.
const COMPARISONS: u32 = 20;

/// Blocks that may be lost: address, and what each was recognised by when it was first seen so.
type Candidates = HashMap<u64, Fingerprint>;

/// A block's size, and a hash of its header and of what it begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Fingerprint {
    size: u64,
    hash: u64,
}

/// Looks several times, and says what is lost by all looks.
pub fn scan(
    process: &Process,
    settings: &Settings,
    pace: &mut Pace<'_>,
) -> Result<Findings, Problem> {
    let memory = Memory::of(process)?;
    let (look, lost) = lost(process, &memory, settings, pace)?;
    Ok(findings::of(process, &memory, &look, &lost, settings))
}

/// The addresses of the blocks that are lost by all looks.
pub fn lost_blocks(
    process: &Process,
    settings: &Settings,
    pace: &mut Pace<'_>,
) -> Result<HashSet<u64>, Problem> {
    let (look, lost) = lost(process, &Memory::of(process)?, settings, pace)?;
    Ok(lost.into_iter().map(|id| look.heap.room(id).start).collect())
}

/// The last look, and the blocks that are lost by all.
fn lost(
    process: &Process,
    memory: &Memory,
    settings: &Settings,
    pace: &mut Pace<'_>,
) -> Result<(Look, Vec<Id>), Problem> {
    let mut last = look(process, memory, settings, pace)?;
    let mut candidates: Candidates = lost_by(&last, memory).collect();
    for _ in 1..LOOKS {
        drop(last);
        wait(memory, &mut candidates, settings.apart / (LOOKS - 1));
        if !process.lives() {
            let (pid, name) = (process.pid(), process.name());
            return Err(Problem::Gone(format!("process {pid} ({name}) has ended")));
        }
        last = look(process, memory, settings, pace)?;
        candidates = lost_by(&last, memory)
            .filter(|(address, now)| candidates.get(address) == Some(now))
            .collect();
    }
    wait(memory, &mut candidates, Duration::ZERO);
    let is_lost = |id: &Id| candidates.contains_key(&last.heap.room(*id).start);
    let lost = last.heap.unreached().filter(is_lost).collect();
    Ok((last, lost))
}

/// The blocks that a look did not reach.
fn lost_by<'a>(
    look: &'a Look,
    memory: &'a Memory,
) -> impl Iterator<Item = (u64, Fingerprint)> + 'a {
    look.heap.unreached().map(|id| {
        let room = look.heap.room(id);
        (room.start, fingerprint(memory, &room))
    })
}

/// Waits, and drops candidates that change meanwhile: a lost block cannot. Where blocks come and go quickly, one that
/// was on its way at each look would be taken for lost otherwise.
fn wait(memory: &Memory, candidates: &mut Candidates, long: Duration) {
    let started = Instant::now();
    loop {
        candidates.retain(|address, before| {
            fingerprint(memory, &(*address..*address + before.size)) == *before
        });
        if started.elapsed() >= long {
            return;
        }
        std::thread::sleep(long / COMPARISONS);
    }
}

fn fingerprint(memory: &Memory, room: &Range<u64>) -> Fingerprint {
    let size = room.end - room.start;
    // With the chunk's size before it.
    let mut bytes = vec![0; size.min(4096) as usize + 8];
    let length = memory.read(room.start - 8, &mut bytes);
    let mut hasher = DefaultHasher::new();
    hasher.write(&bytes[..length]);
    Fingerprint { size, hash: hasher.finish() }
}

/// One look: all blocks, and which of them are reached.
fn look(
    process: &Process,
    memory: &Memory,
    settings: &Settings,
    pace: &mut Pace<'_>,
) -> Result<Look, Problem> {
    let started = Instant::now();
    let mappings = process.mappings()?;
    // Memory of another allocator could look like a heap: glibc's is there only if its main arena is.
    let Some(main_arena) = glibc::main_arena(memory, &data_of_libc(&mappings)) else {
        return Err(not_glibc(process, &mappings));
    };
    let Found { regions, arenas, taken, not_understood, heaps } =
        regions(process, memory, &mappings, main_arena, settings, pace)?;
    let heap = Heap::new(regions);
    let free = cached::chunks(memory, &heap, &arenas);
    let mut heap = heap.without(free);
    let roots = reach::roots(&mappings, &taken);
    reach::mark(process, memory, &mut heap, &roots, pace)?;
    let sum = |ranges: &mut dyn Iterator<Item = Range<u64>>| {
        ranges.map(|range| range.end - range.start).sum::<u64>()
    };
    let anonymous = mappings.iter().filter(|mapping| mapping.is_anonymous() && mapping.writable);
    let extent = Extent {
        heaps,
        blocks: heap.count(),
        bytes: heap.bytes(),
        not_understood_bytes: not_understood,
        other_bytes: sum(&mut anonymous.map(Mapping::range))
            .saturating_sub(sum(&mut taken.iter().cloned())),
        roots_bytes: sum(&mut roots.iter().cloned()),
        seconds: started.elapsed().as_secs_f64(),
    };
    Ok(Look { heap, mappings, extent })
}

/// What is found of the heap before anything is marked.
struct Found {
    regions: Vec<blocks::Region>,
    arenas: Vec<u64>,
    /// Memory that is no root, ascending.
    taken: Vec<Range<u64>>,
    not_understood: u64,
    heaps: usize,
}

fn regions(
    process: &Process,
    memory: &Memory,
    mappings: &[Mapping],
    main_arena: u64,
    settings: &Settings,
    pace: &mut Pace<'_>,
) -> Result<Found, Problem> {
    let mut found = Found {
        regions: Vec::new(),
        arenas: vec![main_arena],
        taken: Vec::new(),
        not_understood: 0,
        heaps: 0,
    };
    let mut left = settings.blocks_max;
    let written = |mapping: &&Mapping| {
        mapping.readable && mapping.writable && mapping.is_anonymous() && !mapping.shared
    };
    let mut walk =
        |found: &mut Found, chunks: Range<u64>, start: u64, end_now: &dyn Fn() -> Option<u64>| {
            pace.goes_on("heaps", chunks.end - chunks.start)?;
            let walk = glibc::walk(memory, chunks, left, end_now);
            if walk.region.len() == 0 {
                return Ok(());
            }
            found.heaps += 1;
            found.not_understood += walk.unknown.map_or(0, |unknown| unknown.end - unknown.start);
            left = left.saturating_sub(walk.region.len());
            found.taken.push(start..walk.region.end());
            found.regions.push(walk.region);
            Ok::<(), Problem>(())
        };
    let main_heaps =
        |mappings: &[Mapping]| joined(mappings.iter().filter(|mapping| mapping.path == "[heap]"));
    for heap in main_heaps(mappings) {
        let end_now = || {
            let now = main_heaps(&process.mappings().ok()?);
            now.iter().find(|now| now.start == heap.start).map(|now| now.end)
        };
        let chunks = glibc::main_chunks(memory, main_arena, &heap)..heap.end;
        // What lies before is of others, and may hold pointers.
        walk(&mut found, chunks.clone(), chunks.start, &end_now)?;
    }
    for mapping in mappings.iter().filter(written).filter(|mapping| mapping.path.is_empty()) {
        let heaps = glibc::arena_heaps(memory, &mapping.range());
        for heap in &heaps {
            found.arenas.push(heap.arena);
            walk(&mut found, heap.chunks.clone(), heap.start, &|| {
                glibc::arena_heap(memory, heap.start).map(|now| now.chunks.end)
            })?;
        }
        if heaps.is_empty() {
            for (chunk, size) in glibc::mapped_chunks(memory, &mapping.range()) {
                if let Some(region) = blocks::Region::mapped(chunk, size) {
                    found.regions.push(region);
                    found.taken.push(chunk..chunk + size);
                }
            }
        }
    }
    found.arenas.sort_unstable();
    found.arenas.dedup();
    found.taken.sort_by_key(|range| range.start);
    Ok(found)
}

/// Ranges of mappings, those that touch as one.
fn joined<'a>(mappings: impl Iterator<Item = &'a Mapping>) -> Vec<Range<u64>> {
    let mut joined: Vec<Range<u64>> = Vec::new();
    for mapping in mappings {
        match joined.last_mut().filter(|last| last.end == mapping.start) {
            Some(last) => last.end = mapping.end,
            None => joined.push(mapping.range()),
        }
    }
    joined
}

/// Writable data of the C library, or of the program itself if that is static.
fn data_of_libc(mappings: &[Mapping]) -> Vec<Range<u64>> {
    let is_libc = |mapping: &Mapping| {
        let name = mapping.file_name();
        name.starts_with("libc.so") || name.starts_with("libc-2.")
    };
    let library = mappings.iter().find(|mapping| is_libc(mapping));
    let program = mappings.iter().find(|mapping| !mapping.is_anonymous());
    let Some(file) = library.or(program).map(|mapping| mapping.file.clone()) else {
        return Vec::new();
    };
    mappings
        .iter()
        .filter(|mapping| mapping.file == file && mapping.writable)
        .map(Mapping::range)
        .collect()
}

fn not_glibc(process: &Process, mappings: &[Mapping]) -> Problem {
    let heaps = program::heaps_beside_glibc(process, mappings);
    let why = if heaps.is_empty() {
        "malloc was never called, it is another one, or glibc is none of 2.27 to 2.42".to_owned()
    } else {
        format!("there is {}", heaps.join(", "))
    };
    Problem::NotThisProgram(format!(
        "process {} ({}) has no heap of glibc ({why}): a scan knows glibc's only. Without --scan, allocations by \
         malloc are traced whosever it is, if it has symbols",
        process.pid(),
        process.name()
    ))
}
