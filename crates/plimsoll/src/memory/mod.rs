//! What the broker means to hold against what the process does hold, each second.
//!
//! [`Reading`] is what the allocator and the system say, the ledger is what the broker means, and a
//! [`Waterfall`] sets one against the other. What does not add up is the *residue*. The [`Watchman`] looks at it
//! and at the accounts ([`Detector`](alarm::Detector)), and names the call stacks that have grown when something
//! leaks. `docs/memory.md` tells the rest.

mod alarm;
mod heap;
mod owners;
mod pprof;
mod reading;
mod report;
pub(crate) mod symbols;
#[cfg(test)]
mod tests;
mod watchman;
mod waterfall;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use plimsoll_ledger::Ledger;

pub(crate) use alarm::Alarm;
use heap::HeapProfile;
pub(crate) use reading::Reading;
pub(crate) use reading::{purge, resident_set};
pub(crate) use report::Reporting;
pub(crate) use watchman::Watchman;
pub(crate) use waterfall::Waterfall;
use waterfall::signed;

/// Alarms that are remembered, the latest ones.
const ALARMS_MAX: usize = 64;

/// The reconciliation, as other threads see it.
#[derive(Debug)]
pub(crate) struct Memory {
    ledger: &'static Ledger,
    /// Bytes held beside the book before the first client came; below nothing if the book has more than is held.
    baseline: OnceLock<i64>,
    latest: Mutex<Arc<Waterfall>>,
    alarms: Mutex<VecDeque<Arc<Alarm>>>,
    /// Where alarms go beside the log.
    reporting: Mutex<Arc<Reporting>>,
}

impl Memory {
    pub(crate) fn new(ledger: &'static Ledger) -> Self {
        Self {
            ledger,
            baseline: OnceLock::new(),
            latest: Mutex::default(),
            alarms: Mutex::default(),
            reporting: Mutex::default(),
        }
    }

    /// The latest waterfall, at most a second old while the broker runs.
    pub(crate) fn waterfall(&self) -> Arc<Waterfall> {
        Arc::clone(&lock(&self.latest))
    }

    /// Reads everything and sets it against the book. The first reading is the baseline.
    pub(crate) fn reconcile(&self) -> Arc<Waterfall> {
        let Some(reading) = Reading::take() else { return self.waterfall() };
        let baseline = || signed(reading.held()) - signed(self.ledger.total());
        let baseline = *self.baseline.get_or_init(baseline);
        let now = now().as_secs_f64();
        let waterfall = Arc::new(Waterfall::new(now, &reading, self.ledger, baseline));
        *lock(&self.latest) = Arc::clone(&waterfall);
        waterfall
    }

    /// Alarms, the latest first.
    pub(crate) fn alarms(&self) -> Vec<Arc<Alarm>> {
        lock(&self.alarms).iter().rev().cloned().collect()
    }

    /// Alarms that stand.
    pub(crate) fn standing(&self) -> usize {
        lock(&self.alarms).iter().filter(|alarm| alarm.cleared.is_none()).count()
    }

    /// From now on alarms go there too.
    pub(crate) fn report_to(&self, reporting: Reporting) {
        *lock(&self.reporting) = Arc::new(reporting);
    }

    fn reporting(&self) -> Arc<Reporting> {
        Arc::clone(&lock(&self.reporting))
    }

    /// Remembers an alarm; one of the same subject that stands is replaced.
    fn remember(&self, alarm: Alarm) -> Arc<Alarm> {
        let alarm = Arc::new(alarm);
        let mut alarms = lock(&self.alarms);
        let same = |known: &Arc<Alarm>| known.subject == alarm.subject && known.cleared.is_none();
        match alarms.iter_mut().find(|known| same(known)) {
            Some(known) => *known = Arc::clone(&alarm),
            None => {
                if alarms.len() >= ALARMS_MAX {
                    // There are fewer subjects than that, so some are over.
                    let over = alarms.iter().position(|known| known.cleared.is_some());
                    alarms.remove(over.unwrap_or(0));
                }
                alarms.push_back(Arc::clone(&alarm));
            }
        }
        alarm
    }
}

/// Who holds the heap, gzipped as `pprof` reads it.
pub(crate) fn heap_profile() -> Result<Vec<u8>, String> {
    let profile = HeapProfile::take()?;
    pprof::write(&profile, &profile.names(), now().as_nanos() as u64)
        .map_err(|error| error.to_string())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic ends the process, so nobody sees a poisoned lock.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Time since 1970.
fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
