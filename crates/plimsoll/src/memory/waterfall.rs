//! From RSS down to who holds it.

use plimsoll_ledger::{Account, Ledger};
use serde::Serialize;

use super::reading::Reading;

/// The process's memory at one moment, in bytes, from the outside in.
///
/// `rss = outside + resident`, `resident = metadata + free pages + active`, `active = slack + allocated`,
/// `allocated = cached + baseline + accounted + residue`. Where the parts were read one after the other the
/// first two sums are off by what changed in between.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Waterfall {
    /// When, in seconds since 1970.
    pub(crate) time: f64,
    /// Resident set of the process.
    pub(crate) rss_bytes: usize,
    /// Its part that is mapped from files: the program itself.
    pub(crate) rss_file_bytes: usize,
    /// What the allocator has resident.
    pub(crate) resident_bytes: usize,
    /// The allocator's own tables.
    pub(crate) metadata_bytes: usize,
    /// Pages with blocks in use.
    pub(crate) active_bytes: usize,
    /// Room within those pages that nobody uses: what is freed and not returned.
    pub(crate) slack_bytes: usize,
    /// Blocks in use, and those that threads keep at hand.
    pub(crate) allocated_bytes: usize,
    /// Blocks that threads keep at hand.
    pub(crate) cached_bytes: usize,
    /// What was held before the first client came and is in no account: tables of the runtime, code for names,
    /// parsed configuration.
    pub(crate) baseline_bytes: i64,
    /// Sum of all accounts.
    pub(crate) accounted_bytes: usize,
    /// What is left: held, and nobody has said so. Negative if accounts say too much.
    pub(crate) residue_bytes: i64,
    /// Who holds what.
    pub(crate) accounts: Vec<Holding>,
}

/// One account.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Holding {
    /// Its name in the book.
    pub(crate) name: &'static str,
    /// Bytes that it holds.
    pub(crate) bytes: usize,
    /// The most that it may hold; `None` is no limit.
    pub(crate) budget_bytes: Option<usize>,
}

impl Waterfall {
    /// Sets a reading against the book. `baseline` is what was held beside the book at the start.
    pub(crate) fn new(time: f64, reading: &Reading, ledger: &Ledger, baseline: i64) -> Self {
        let book = ledger.snapshot();
        let budget = |account| Some(ledger.budget(account)).filter(|&most| most != usize::MAX);
        let accounts = book.iter().map(|(account, bytes)| Holding {
            name: account.name(),
            bytes,
            budget_bytes: budget(account),
        });
        let accounted = book.total();
        Self {
            time,
            rss_bytes: reading.rss,
            rss_file_bytes: reading.rss_file,
            resident_bytes: reading.resident,
            metadata_bytes: reading.metadata,
            active_bytes: reading.active,
            slack_bytes: reading.active.saturating_sub(reading.allocated),
            allocated_bytes: reading.allocated,
            cached_bytes: reading.cached,
            baseline_bytes: baseline,
            accounted_bytes: accounted,
            residue_bytes: signed(reading.held()) - signed(accounted) - baseline,
            accounts: accounts.collect(),
        }
    }

    /// What an account holds.
    pub(crate) fn bytes(&self, account: Account) -> usize {
        let holding = self.accounts.iter().find(|holding| holding.name == account.name());
        holding.map_or(0, |holding| holding.bytes)
    }

    /// Every figure with its name in `$SYS/broker/memory/…`.
    pub(crate) fn figures(&self) -> impl Iterator<Item = (&'static str, i64)> + '_ {
        let sizes = [
            ("rss", self.rss_bytes),
            ("rss_file", self.rss_file_bytes),
            ("resident", self.resident_bytes),
            ("metadata", self.metadata_bytes),
            ("active", self.active_bytes),
            ("slack", self.slack_bytes),
            ("allocated", self.allocated_bytes),
            ("cached", self.cached_bytes),
            ("total", self.accounted_bytes),
        ];
        let accounts = self.accounts.iter().map(|account| (account.name, account.bytes));
        let sizes = sizes.into_iter().chain(accounts).map(|(name, bytes)| (name, signed(bytes)));
        let rests = [("baseline", self.baseline_bytes), ("residue", self.residue_bytes)];
        sizes.chain(rests)
    }
}

/// No size is so large that it has no sign.
pub(super) fn signed(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

#[cfg(test)]
impl Waterfall {
    /// A waterfall in which `account` holds `bytes`.
    pub(super) fn set(&mut self, account: Account, bytes: usize) {
        self.accounts.push(Holding { name: account.name(), bytes, budget_bytes: None });
    }
}
