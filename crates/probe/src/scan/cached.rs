//! Blocks that look as if they were in use and are free: those that glibc keeps at hand in a thread's cache
//! (`tcache`) and in an arena's fast bins.

use super::blocks::{HEADER, Heap};
use super::glibc::arena;
use crate::process::memory::Memory;

/// A list longer than this is none.
const LENGTH_MAX: usize = 1 << 20;

/// A thread's cache: the size of its chunk, where the list heads begin in its block, and how many there are.
struct Form {
    chunk: u64,
    heads: u64,
    count: usize,
}

const FORMS: [Form; 3] = [
    // 2.30 to 2.41: 64 counts of two bytes.
    Form { chunk: 0x290, heads: 128, count: 64 },
    // 2.26 to 2.29: counts of one byte.
    Form { chunk: 0x250, heads: 64, count: 64 },
    // 2.42: twelve more lists, for larger blocks.
    Form { chunk: 0x300, heads: 152, count: 76 },
];

/// Lists whose blocks have one size each; those beyond have ranges.
const SIZED: usize = 64;

/// The chunks that lie in caches of threads and in the fast bins of `arenas`.
pub(super) fn chunks(memory: &Memory, heap: &Heap, arenas: &[u64]) -> Vec<u64> {
    let mut free = Vec::new();
    for id in heap.ids() {
        let (chunk, size) = heap.chunk(id);
        for form in FORMS.iter().filter(|form| form.chunk == size) {
            thread_cache(memory, heap, chunk + HEADER + form.heads, form.count, &mut free);
        }
    }
    for arena in arenas {
        let heads = memory.words::<{ arena::FASTBINS_COUNT }>(arena + arena::FASTBINS);
        for head in heads.into_iter().flatten().filter(|head| *head != 0) {
            // Fast bins point to chunks, and thread caches to blocks.
            follow(memory, heap, head + HEADER, HEADER, None, &mut free);
        }
    }
    free
}

/// Takes the lists at `heads`, if that is what stands there: pointers to blocks of just the sizes of their lists.
fn thread_cache(memory: &Memory, heap: &Heap, heads: u64, count: usize, free: &mut Vec<u64>) {
    let Some(mut lists) = memory
        .words::<76>(heads)
        .map(Vec::from)
        .or_else(|| memory.words::<64>(heads).map(Vec::from))
    else {
        return;
    };
    lists.truncate(count);
    let is_of_size = |list: usize, block: u64| {
        heap.chunk_of(block).is_some_and(|(_, size)| list >= SIZED || size == size_of(list))
    };
    let used: Vec<(usize, u64)> =
        lists.into_iter().enumerate().filter(|(_, block)| *block != 0).collect();
    let right = used.iter().filter(|(list, block)| is_of_size(*list, *block)).count();
    // Blocks come and go while we look: one list or two may have changed since the heap was walked.
    if right == 0 || right + 2 < used.len() {
        return;
    }
    for (list, block) in used {
        let size = (list < SIZED).then(|| size_of(list));
        follow(memory, heap, block, 0, size, free);
    }
}

fn size_of(list: usize) -> u64 {
    0x20 + 16 * list as u64
}

/// Follows a list from `block` on. A link stands in a block's first word and points `ahead` bytes before the next
/// block. Since 2.32 it is mixed with its own address (`PROTECT_PTR`).
fn follow(
    memory: &Memory,
    heap: &Heap,
    block: u64,
    ahead: u64,
    size: Option<u64>,
    free: &mut Vec<u64>,
) {
    let chunk_of = |block: u64| {
        heap.chunk_of(block).filter(|(_, found)| size.is_none_or(|size| size == *found))
    };
    let mut block = block;
    for _ in 0..LENGTH_MAX {
        let Some((chunk, _)) = chunk_of(block) else { return };
        free.push(chunk);
        let Some([link]) = memory.words::<1>(block) else { return };
        let mixed = link ^ (block >> 12);
        let Some(next) = [mixed, link]
            .into_iter()
            .find(|next| *next == 0 || chunk_of(next.wrapping_add(ahead)).is_some())
        else {
            return;
        };
        if next == 0 {
            return;
        }
        block = next.wrapping_add(ahead);
    }
}
