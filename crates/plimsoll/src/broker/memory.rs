//! What the allocator and the system say about the process's memory.

use tikv_jemalloc_ctl::{epoch, stats};

/// Readings in bytes; `None` where a source does not answer.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Reading {
    /// Bytes in blocks that the program holds.
    pub(crate) allocated: Option<usize>,
    /// Bytes in pages with such blocks.
    pub(crate) active: Option<usize>,
    /// Bytes of the allocator's that are in memory.
    pub(crate) resident: Option<usize>,
    /// Resident set of the process.
    pub(crate) rss: Option<usize>,
}

/// Takes a reading.
pub(crate) fn read() -> Reading {
    // The figures are those of the last epoch.
    let fresh = epoch::advance().is_ok();
    Reading {
        allocated: stats::allocated::read().ok().filter(|_| fresh),
        active: stats::active::read().ok().filter(|_| fresh),
        resident: stats::resident::read().ok().filter(|_| fresh),
        rss: rss(),
    }
}

/// Resident set from `/proc/self/statm`.
fn rss() -> Option<usize> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: usize = statm.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size())
}

#[cfg(test)]
mod tests {
    use plimsoll_ledger::usable_size;
    use tikv_jemalloc_ctl::thread::allocatedp;

    #[test]
    fn the_ledger_knows_the_allocators_size_classes() {
        let allocated = allocatedp::mib().and_then(|mib| mib.read()).expect("jemalloc counts");
        let small = 1..5000;
        let large = (5000..200_000).step_by(997).chain([1 << 20, (1 << 20) + 1, 7 << 20]);
        for size in small.chain(large) {
            let before = allocated.get();
            let block = Vec::<u8>::with_capacity(size);
            let taken = allocated.get() - before;
            assert_eq!(taken as usize, usable_size(size, 1), "{size}");
            drop(block);
        }
    }
}
