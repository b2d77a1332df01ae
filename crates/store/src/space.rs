//! What a store takes, and what of it is probably of use.

/// What a store takes. All figures are of this moment, but for `bytes_written`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Space {
    /// Files of the journal and runs.
    pub files: usize,
    /// Bytes of the journal's files, spare ones included.
    pub journal_bytes: u64,
    /// Bytes of journal since the memtable was last put into a run: what a start replays.
    pub replay_bytes: u64,
    /// Runs.
    pub runs: usize,
    /// Bytes of runs.
    pub run_bytes: u64,
    /// Bytes of runs that deletes have made useless, as an estimate. Overwritten values are not
    /// part of it: they are known only when runs are merged.
    pub garbage_bytes: u64,
    /// Bytes of memory of the memtables.
    pub memtable_bytes: usize,
    /// Entries with a value in memtables and runs; one that was overwritten counts more than once.
    pub values: u64,
    /// Entries that say that a key is gone.
    pub deletes: u64,
    /// Bytes written to files since the store was opened, journal by whole pages.
    pub bytes_written: u64,
}
