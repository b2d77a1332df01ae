//! What the broker means to hold against what the process does hold, each second.
//!
//! [`Reading`] is what the allocator and the system say, the ledger is what the broker means, and a
//! [`Waterfall`] sets one against the other. What does not add up is the *residue*.

mod heap;
mod pprof;
mod reading;
pub(crate) mod symbols;
mod waterfall;

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use plimsoll_ledger::Ledger;

use heap::HeapProfile;
pub(crate) use reading::Reading;
pub(crate) use waterfall::Waterfall;

/// The reconciliation, as other threads see it.
#[derive(Debug)]
pub(crate) struct Memory {
    ledger: &'static Ledger,
    /// Bytes held beside the book before the first client came.
    baseline: OnceLock<usize>,
    latest: Mutex<Arc<Waterfall>>,
}

impl Memory {
    pub(crate) fn new(ledger: &'static Ledger) -> Self {
        Self { ledger, baseline: OnceLock::new(), latest: Mutex::default() }
    }

    /// The latest waterfall, at most a second old while the broker runs.
    pub(crate) fn waterfall(&self) -> Arc<Waterfall> {
        Arc::clone(&self.latest.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Who holds the heap, gzipped as `pprof` reads it.
    pub(crate) fn heap_profile(&self) -> Result<Vec<u8>, String> {
        let profile = HeapProfile::take()?;
        let names = symbols::name(&profile.addresses(), &profile.mappings);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        pprof::write(&profile, &names, now.as_nanos() as u64).map_err(|error| error.to_string())
    }

    /// Reads everything and sets it against the book. The first reading is the baseline.
    pub(crate) fn reconcile(&self) -> Arc<Waterfall> {
        let Some(reading) = Reading::take() else { return self.waterfall() };
        let baseline = || reading.held().saturating_sub(self.ledger.total());
        let baseline = *self.baseline.get_or_init(baseline);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let waterfall =
            Arc::new(Waterfall::new(now.as_secs_f64(), &reading, self.ledger, baseline));
        *self.latest.lock().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&waterfall);
        waterfall
    }
}
