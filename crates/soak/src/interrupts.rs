//! Ctrl-C: the first one ends the run so that there is a report, the second one ends the program.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag::{register, register_conditional_shutdown};

/// Exit code of a run that Ctrl-C has cut short (as a shell has it).
pub(crate) const EXIT_INTERRUPTED: u8 = 130;

/// Whether somebody does not want to wait.
#[derive(Clone, Debug, Default)]
pub(crate) struct Interrupts(Arc<AtomicBool>);

impl Interrupts {
    /// Listens to SIGINT and SIGTERM from now on.
    pub(crate) fn watch() -> io::Result<Self> {
        let seen = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            register_conditional_shutdown(signal, EXIT_INTERRUPTED.into(), Arc::clone(&seen))?;
            register(signal, Arc::clone(&seen))?;
        }
        Ok(Self(seen))
    }

    /// Whether there was one.
    pub(crate) fn seen(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
