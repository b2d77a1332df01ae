//! Ctrl-C: the first one ends the run so that there is a report, the second one ends the program, and with it the broker
//! that it has started.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

use rustix::process::{Pid, Signal, kill_process_group};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// Exit code of a run that Ctrl-C has cut short (as a shell has it).
pub(crate) const EXIT_INTERRUPTED: u8 = 130;

/// The process group that was started by this program, 0 if there is none: it does not get the terminal's signals.
static STARTED: AtomicI32 = AtomicI32::new(0);

/// Names the process group that a second Ctrl-C ends as well; 0 for none.
pub(crate) fn started(group: i32) {
    STARTED.store(group, Ordering::Relaxed);
}

/// Whether somebody does not want to wait.
#[derive(Clone, Debug, Default)]
pub(crate) struct Interrupts(Arc<AtomicBool>);

impl Interrupts {
    /// Listens to SIGINT and SIGTERM from now on.
    pub(crate) fn watch() -> io::Result<Self> {
        let seen = Arc::new(AtomicBool::new(false));
        let (mut signals, first) = (Signals::new([SIGINT, SIGTERM])?, Arc::clone(&seen));
        let watch = move || {
            for _ in signals.forever() {
                if first.swap(true, Ordering::Relaxed) {
                    if let Some(group) = Pid::from_raw(STARTED.load(Ordering::Relaxed)) {
                        // It may have ended meanwhile.
                        let _ = kill_process_group(group, Signal::TERM);
                    }
                    signal_hook::low_level::exit(i32::from(EXIT_INTERRUPTED));
                }
            }
        };
        std::thread::Builder::new().name("signals".into()).spawn(watch)?;
        Ok(Self(seen))
    }

    /// Whether there was one.
    pub(crate) fn seen(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
