//! What can be chosen about a store.

/// What can be chosen about a [`Store`](crate::Store).
#[derive(Clone, Debug)]
pub struct Options {
    /// Bytes of a journal segment. It is written with zeros once and then used again and again.
    pub segment_bytes: u64,
    /// Bytes of memory that the newest entries may take before they are written into a run.
    pub memtable_bytes: usize,
    /// Bytes of a block of a run, about. One key per block is kept in memory.
    pub block_bytes: usize,
    /// Bytes of journal since the last run after which the memtable is written into one, however
    /// small it is: bounds the time to start.
    pub journal_bytes_max: u64,
    /// Bytes of commits that are not synced; a commit beyond it syncs first. They are kept in
    /// memory, to be written again if a sync fails.
    pub unsynced_bytes_max: usize,
    /// Whether [`Store::sync`](crate::Store::sync) waits for the disk. If not, what was committed
    /// survives the process, but not a power loss.
    pub syncs: bool,
    /// Runs of about the same size that are merged into one.
    pub merge_runs: usize,
    /// Whether writing runs and merging happen within [`Store::maintain`](crate::Store::maintain),
    /// a piece per call, instead of on a thread of their own. For simulations.
    pub inline: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            segment_bytes: 16 << 20,
            memtable_bytes: 4 << 20,
            block_bytes: 8 << 10,
            journal_bytes_max: 64 << 20,
            unsynced_bytes_max: 1 << 20,
            syncs: true,
            merge_runs: 4,
            inline: false,
        }
    }
}

/// A page: what the disk writes at once, and what a segment's length is a multiple of.
pub(crate) const PAGE_BYTES: usize = 4096;

impl Options {
    /// These options with every figure in the range in which it works.
    pub(crate) fn sane(mut self) -> Self {
        let page = PAGE_BYTES as u64;
        self.segment_bytes = self.segment_bytes.clamp(2 * page, 1 << 32).next_multiple_of(page);
        self.memtable_bytes = self.memtable_bytes.max(PAGE_BYTES);
        self.block_bytes = self.block_bytes.clamp(64, 1 << 20);
        self.unsynced_bytes_max = self.unsynced_bytes_max.max(PAGE_BYTES);
        self.merge_runs = self.merge_runs.max(2);
        self
    }
}
