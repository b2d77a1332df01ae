//! Signals, with Mosquitto's meanings.

use std::io;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::iterator::Signals;

use super::reload::{self, Reloader};
use super::shared::Shared;
use crate::config::Config;

/// `SIGRTMIN` as glibc and musl give it to programs.
const SIGRTMIN: i32 = 34;

/// The signals that are waited for.
pub(crate) struct Watch(Signals);

impl Watch {
    /// From here on the signals no longer end the process by themselves.
    pub(crate) fn new() -> io::Result<Self> {
        Signals::new([SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2, SIGRTMIN]).map(Self)
    }

    /// Serves them on a thread.
    pub(crate) fn serve(
        mut self,
        shared: Arc<Shared>,
        reloader: Arc<Mutex<Reloader<impl Fn() -> Result<Config, String> + Send + 'static>>>,
    ) -> Result<(), String> {
        let thread = thread::Builder::new().name("signals".into());
        let served = thread.spawn(move || {
            for signal in &mut self.0 {
                match signal {
                    SIGHUP => {
                        // What came of it is in the log.
                        let _ = reload::lock(&reloader).reload(&shared);
                    }
                    SIGUSR1 => match shared.storage() {
                        Some(storage) => storage.checkpoint(),
                        None => shared.log.information("Nothing to save: persistence is off."),
                    },
                    SIGUSR2 => report(&shared),
                    SIGRTMIN => shared.log.log().reopen(),
                    _ => return shared.stop(),
                }
            }
        });
        served.map(drop).map_err(|error| format!("cannot start the signals' thread: {error}"))
    }
}

/// Places of the index that are looked at while the engine stands still: well below a millisecond. So many lines
/// also fit into the log beside those of others.
const FILTERS_AT_ONCE: u32 = 1000;

/// How long the log's destination may take for so many lines; one that takes longer gets no more of them.
const PATIENCE: Duration = Duration::from_secs(5);

/// Writes the subscriptions and the books to the log.
fn report(shared: &Shared) {
    let mut filters = 0;
    let mut next = Some(0);
    while let Some(from) = next {
        // A piece at a time, as the API does: the engine is not kept from others while the log is written, and what
        // comes behind many filters is not dropped.
        let mut lines = Vec::new();
        next = shared.engine().filters(from, FILTERS_AT_ONCE, |filter| {
            lines.push(format!("{} ({})", filter.filter, filter.subscribers()));
            ControlFlow::Continue(())
        });
        for line in &lines {
            shared.log.information(line);
        }
        filters += lines.len();
        if next.is_some() && !shared.log.log().flush_within(PATIENCE) {
            shared.log.warning("The log's destination is too slow for the other topic filters.");
            break;
        }
    }
    shared.log.information(&format!("{filters} topic filters."));
    report_memory(shared);
}

fn report_memory(shared: &Shared) {
    match shared.recount() {
        Some(recount) => {
            for ((account, bytes), (_, counted)) in
                recount.charged.iter().zip(recount.counted.iter())
            {
                if bytes + counted > 0 {
                    shared.log.information(&format!(
                        "Memory of {}: {bytes} bytes charged, {counted} of them counted.",
                        account.name()
                    ));
                }
            }
        }
        None => shared.log.warning("Memory was not counted anew: an I/O thread is busy."),
    }
    let waterfall = shared.memory.reconcile();
    shared.log.information(&format!(
        "Memory: {} bytes charged, {} allocated, {} resident in the allocator, {} resident in the process; residue {}.",
        waterfall.accounted_bytes,
        waterfall.allocated_bytes,
        waterfall.resident_bytes,
        waterfall.rss_bytes,
        waterfall.residue_bytes,
    ));
}
