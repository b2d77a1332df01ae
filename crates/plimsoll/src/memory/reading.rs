//! What the allocator and the system say about the process's memory.

use tikv_jemalloc_ctl::{Access, AsName, epoch, stats};

/// What they said at one moment, in bytes. Each takes in the next one, down to `allocated`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reading {
    /// Resident set of the process; 0 where `/proc` is not to be had.
    pub(crate) rss: usize,
    /// Its part that is mapped from files: the program itself.
    pub(crate) rss_file: usize,
    /// The allocator's memory that is resident, by its own count.
    pub(crate) resident: usize,
    /// The allocator's own tables, heap profile included.
    pub(crate) metadata: usize,
    /// Pages with at least one block that is in use.
    pub(crate) active: usize,
    /// Blocks that the program holds, and those that threads keep at hand for it.
    pub(crate) allocated: usize,
    /// Blocks that threads keep at hand: free, yet not the allocator's.
    pub(crate) cached: usize,
}

impl Reading {
    /// Takes a reading; `None` if the allocator is another one.
    pub(crate) fn take() -> Option<Self> {
        // The figures are those of the last epoch.
        epoch::advance().ok()?;
        let (rss, rss_file) = statm().unwrap_or_default();
        Some(Self {
            rss,
            rss_file,
            resident: stats::resident::read().ok()?,
            metadata: stats::metadata::read().ok()?,
            active: stats::active::read().ok()?,
            allocated: stats::allocated::read().ok()?,
            cached: CACHED.name().read().ok()?,
        })
    }

    /// Blocks that the program itself holds.
    pub(crate) fn held(&self) -> usize {
        self.allocated.saturating_sub(self.cached)
    }
}

/// jemalloc(3): `stats.arenas.<i>.tcache_bytes`, where 4096 stands for all arenas (`MALLCTL_ARENAS_ALL`).
const CACHED: &[u8] = b"stats.arenas.4096.tcache_bytes\0";

/// Resident set of the process alone: cheap.
pub(crate) fn resident_set() -> Option<usize> {
    statm().map(|(rss, _)| rss)
}

/// Gives what is free back to the system at once, instead of within its decay time.
pub(crate) fn purge() {
    // jemalloc(3): setting arena.<i>.dirty_decay_ms to 0 purges at once; then it is as it was.
    let arenas = b"arenas.narenas\0".name().read().unwrap_or(0u32);
    for arena in 0..arenas {
        let name = format!("arena.{arena}.dirty_decay_ms\0");
        let name = name.as_bytes().name();
        let before: Result<isize, _> = name.read();
        if let Ok(before) = before {
            // An arena that is not there has nothing to purge.
            let _ = name.write(0isize).and_then(|()| name.write(before));
        }
    }
}

/// Resident set, and its part from files, from `/proc/self/statm` (`proc_pid_statm(5)`).
fn statm() -> Option<(usize, usize)> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let mut pages = statm.split_whitespace().skip(1).map_while(|field| field.parse::<usize>().ok());
    let page = rustix::param::page_size();
    Some((pages.next()? * page, pages.next()? * page))
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
