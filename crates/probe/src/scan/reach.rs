//! From the roots to every block that can be reached.

use std::ops::Range;

use super::blocks::{Heap, Id};
use super::pace::Pace;
use super::pages::Pages;
use crate::problem::Problem;
use crate::process::Process;
use crate::process::maps::Mapping;
use crate::process::memory::{Memory, words_of};

/// Bytes read at once.
const READ: u64 = 1 << 20;
/// Blocks this near to one another are read together.
const GAP: u64 = 4096;

/// Marks all blocks of `heap` that a pointer leads to: from `roots`, from words that the kernel holds for the
/// process, and from blocks that were reached. Anything that could be an address counts as one.
pub(super) fn mark(
    process: &Process,
    memory: &Memory,
    heap: &mut Heap,
    roots: &[Range<u64>],
    pace: &mut Pace<'_>,
) -> Result<(), Problem> {
    let mut found = Vec::new();
    for word in words_in_the_kernel(process) {
        consider(heap, word, &mut found);
    }
    let mut buffer = vec![0; READ as usize];
    for root in roots {
        for run in memory.held(root) {
            pace.goes_on("roots", run.end - run.start)?;
            look(memory, heap, &run, &mut buffer, &mut found);
        }
    }
    let mut pages = Pages::new();
    // Level by level, so that blocks which lie together are read together.
    while !found.is_empty() {
        let mut level = std::mem::take(&mut found);
        level.sort_unstable();
        let mut rooms =
            level.iter().map(|id| heap.room(*id)).collect::<Vec<_>>().into_iter().peekable();
        while let Some(mut run) = rooms.next() {
            let mut parts = vec![run.clone()];
            while let Some(next) =
                rooms.next_if(|next| next.start <= run.end + GAP && next.end - run.start <= READ)
            {
                run.end = next.end;
                parts.push(next);
            }
            pace.goes_on("blocks", run.end - run.start)?;
            if parts.len() == 1 && Pages::hold(&run) {
                for word in words_of(pages.read(memory, &run)) {
                    consider(heap, word, &mut found);
                }
            } else {
                look_at_parts(memory, heap, &run, &parts, &mut buffer, &mut found);
            }
        }
    }
    Ok(())
}

/// Reads `run` and looks at its `parts`.
fn look_at_parts(
    memory: &Memory,
    heap: &mut Heap,
    run: &Range<u64>,
    parts: &[Range<u64>],
    buffer: &mut [u8],
    found: &mut Vec<Id>,
) {
    if let [part] = parts {
        // It alone may be larger than the buffer, and mostly untouched.
        let runs =
            if part.end - part.start > READ { memory.held(part) } else { vec![part.clone()] };
        for run in runs {
            look(memory, heap, &run, buffer, found);
        }
        return;
    }
    let length = memory.read(run.start, &mut buffer[..(run.end - run.start) as usize]);
    for part in parts {
        let from = ((part.start - run.start) as usize).min(length);
        let to = ((part.end - run.start) as usize).min(length);
        for word in words_of(&buffer[from..to]) {
            consider(heap, word, found);
        }
    }
}

fn look(
    memory: &Memory,
    heap: &mut Heap,
    run: &Range<u64>,
    buffer: &mut [u8],
    found: &mut Vec<Id>,
) {
    let mut at = run.start;
    while at < run.end {
        let wanted = (run.end - at).min(READ) as usize;
        let length = memory.read(at, &mut buffer[..wanted]);
        for word in words_of(&buffer[..length]) {
            consider(heap, word, found);
        }
        // A page that cannot be read is passed over.
        at += if length == wanted { length as u64 } else { (length as u64 / GAP + 1) * GAP };
    }
}

fn consider(heap: &mut Heap, word: u64, found: &mut Vec<Id>) {
    if let Some(id) = heap.find(word)
        && heap.reach(id)
    {
        found.push(id);
    }
}

/// Memory that pointers start from: all that is written and is not a heap. `taken` ascends: regions and blocks with
/// mappings of their own.
pub(super) fn roots(mappings: &[Mapping], taken: &[Range<u64>]) -> Vec<Range<u64>> {
    let mut roots = Vec::new();
    for mapping in mappings.iter().filter(|mapping| mapping.readable && mapping.writable) {
        let mut at = mapping.start;
        let first = taken.partition_point(|taken| taken.end <= mapping.start);
        for taken in taken[first..].iter().take_while(|taken| taken.start < mapping.end) {
            if at < taken.start {
                roots.push(at..taken.start);
            }
            at = at.max(taken.end);
        }
        if at < mapping.end {
            roots.push(at..mapping.end);
        }
    }
    roots
}

/// Words that the kernel keeps for the process and that may be pointers: arguments of the calls that its threads
/// wait in, and what belongs to the descriptors that an epoll waits for.
fn words_in_the_kernel(process: &Process) -> Vec<u64> {
    let mut words = Vec::new();
    for directory in ["task", "fdinfo"] {
        let entries = std::fs::read_dir(process.path(directory)).into_iter().flatten().flatten();
        for entry in entries {
            let path =
                if directory == "task" { entry.path().join("syscall") } else { entry.path() };
            let Ok(text) = std::fs::read_to_string(path) else { continue };
            let mut fields = text.split_ascii_whitespace().peekable();
            while let Some(field) = fields.next() {
                let hex = match field {
                    "data:" => fields.peek().copied(),
                    _ => field.strip_prefix("0x"),
                };
                words.extend(hex.and_then(|hex| u64::from_str_radix(hex, 16).ok()));
            }
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roots_are_what_is_written_and_no_heap() {
        let mapping = |start, end, writable| Mapping {
            start,
            end,
            readable: true,
            writable,
            ..Mapping::default()
        };
        let mappings = [
            mapping(0, 10, false),
            mapping(10, 30, true),
            mapping(40, 50, true),
            mapping(60, 70, true),
        ];
        let taken = [12..14, 20..30, 40..50, 65..70];
        assert_eq!(roots(&mappings, &taken), [10..12, 14..20, 60..65]);
        assert_eq!(roots(&mappings, &[]), [10..30, 40..50, 60..70]);
    }
}
