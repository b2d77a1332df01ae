//! The thread that tells the engine how near to its limit the process is, and does what is not the
//! engine's to do: memory that is free goes back to the system, and large packets are cut short.

mod cgroup;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use plimsoll_engine::{Input, LoadLine, Step};
use plimsoll_mqtt::ReasonCode;

use super::connection::Connection;
use super::shared::Shared;
use crate::config::MemoryLimit;
use crate::memory;
use cgroup::{Cgroup, host_memory};

/// How often the process is looked at.
const EVERY: Duration = Duration::from_millis(100);

/// How often that is told where there is room; else each time.
const TOLD_EVERY: Duration = Duration::from_secs(1);

/// The part of the limit from which on it is told each time, in percent.
const NEAR_PERCENT: usize = 50;

/// How often free memory is given back at once while caches are to be small.
const PURGE_EVERY: Duration = Duration::from_secs(1);

/// The least beginning of a packet that is cut short at the last step.
const PARTIAL_BYTES_MIN: usize = 64 * 1024;

/// Starts the thread. Everything that the broker needs at rest must be there.
pub(crate) fn serve(shared: &Arc<Shared>) -> io::Result<()> {
    let shared = Arc::clone(shared);
    thread::Builder::new().name("load line".into()).spawn(move || Lookout::new(shared).run())?;
    Ok(())
}

/// The thread.
struct Lookout {
    shared: Arc<Shared>,
    cgroup: Option<Cgroup>,
    /// The least that the process has held beside the ledger: what a reading says that was taken while memory came and
    /// went is not less than that.
    at_rest: usize,
    announced: Option<(MemoryLimit, usize)>,
    told_at: Option<Instant>,
    purged_at: Instant,
    /// The largest beginning of a packet that was seen last.
    largest_partial: Arc<AtomicUsize>,
}

impl Lookout {
    fn new(shared: Arc<Shared>) -> Self {
        // What a start has left behind is free, and not what the broker holds at rest.
        memory::purge();
        let held = memory::resident_set().unwrap_or(0);
        Self {
            at_rest: held.saturating_sub(shared.ledger.total()),
            shared,
            cgroup: Cgroup::find(),
            announced: None,
            told_at: None,
            purged_at: Instant::now(),
            largest_partial: Arc::default(),
        }
    }

    fn run(mut self) {
        while !self.shared.stopping() {
            let limit = self.shared.limits().memory_limit;
            let ceiling = limit.and_then(|limit| Some((limit, self.ceiling(limit)?)));
            self.announce(ceiling);
            match ceiling {
                Some((limit, bytes)) => {
                    self.look(limit, bytes);
                    thread::sleep(EVERY);
                }
                None => {
                    if self.told_at.take().is_some() {
                        self.shared.tell(&[Input::LoadLine(None)]);
                    }
                    thread::sleep(TOLD_EVERY);
                }
            }
        }
    }

    /// The limit in bytes.
    fn ceiling(&self, limit: MemoryLimit) -> Option<usize> {
        match limit {
            MemoryLimit::Bytes(bytes) => Some(bytes),
            MemoryLimit::Percent(percent) => {
                let cgroup = self.cgroup.as_ref().and_then(Cgroup::limit);
                let whole = cgroup.into_iter().chain(host_memory()).min()?;
                Some(whole / 100 * usize::from(percent))
            }
        }
    }

    /// Says what the limit comes to, whenever that changes.
    fn announce(&mut self, ceiling: Option<(MemoryLimit, usize)>) {
        if ceiling == self.announced {
            return;
        }
        self.announced = ceiling;
        let Some((limit, bytes)) = ceiling else {
            return self.shared.log.information("memory_limit: none.");
        };
        let at_rest = self.at_rest + self.shared.ledger.total();
        self.shared.log.information(&format!(
            "memory_limit: {limit}, which are {} MiB; {} MiB are held now.",
            bytes >> 20,
            at_rest >> 20
        ));
        if at_rest >= bytes / 100 * Step::ShrinkCaches.percent() {
            self.shared.log.warning(&format!(
                "memory_limit is so low that the broker is near it without doing anything: {bytes} bytes, of which {at_rest} are held."
            ));
        }
    }

    /// Looks at the process, and tells the engine.
    fn look(&mut self, limit: MemoryLimit, ceiling: usize) {
        // First the ledger: what comes meanwhile counts twice rather than not at all.
        let accounted = self.shared.ledger.total();
        let resident = memory::resident_set().unwrap_or(0);
        // A share of the cgroup's is shared with the kernel, and with whoever else is in it.
        let shares = matches!(limit, MemoryLimit::Percent(_));
        let cgroup = self.cgroup.as_ref().filter(|_| shares).and_then(Cgroup::held).unwrap_or(0);
        if resident > 0 {
            self.at_rest = self.at_rest.min(resident.saturating_sub(accounted));
        }
        let beside = resident.max(cgroup).saturating_sub(accounted).max(self.at_rest);
        let near = accounted + beside >= ceiling / 100 * NEAR_PERCENT;
        if !near && self.told_at.is_some_and(|at| at.elapsed() < TOLD_EVERY) {
            return;
        }
        self.told_at = Some(Instant::now());
        self.shared.tell(&[Input::LoadLine(Some(LoadLine { limit: ceiling, beside }))]);
        let step = self.shared.step();
        if step >= Step::ShrinkCaches && self.purged_at.elapsed() >= PURGE_EVERY {
            self.purged_at = Instant::now();
            memory::purge();
        }
        if step >= Step::Disconnect {
            self.cut_short();
        }
    }

    /// Ends the connection with the largest beginning of a packet: the engine does not know of it. One
    /// round finds out how large that is, and the next one acts.
    fn cut_short(&self) {
        let known = self.largest_partial.swap(0, Ordering::Relaxed);
        let largest = Arc::clone(&self.largest_partial);
        self.shared.purge(move |connection: &Connection| {
            let bytes = connection.partial.as_ref().map_or(0, |partial| partial.bytes.len());
            if known >= PARTIAL_BYTES_MIN && bytes >= known {
                return Some(ReasonCode::QUOTA_EXCEEDED);
            }
            largest.fetch_max(bytes, Ordering::Relaxed);
            None
        });
    }
}
