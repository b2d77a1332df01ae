//! How far it is: a line that is written anew on a terminal, now and then a line elsewhere.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use crate::quantity::{clock, count, size};

/// Time between two looks on a terminal.
const TERMINAL_PAUSE: Duration = Duration::from_millis(500);

/// Time between two lines elsewhere.
const LOG_PAUSE: Duration = Duration::from_secs(30);

/// Characters of the bar.
const BAR: usize = 20;

/// Tells people.
#[derive(Debug)]
pub(crate) struct Progress {
    planned: Duration,
    terminal: bool,
    told: Instant,
}

/// What there is to tell.
#[derive(Clone, Copy, Debug)]
pub(crate) struct State<'a> {
    pub(crate) phase: &'a str,
    pub(crate) cycle: (u32, u32),
    pub(crate) elapsed: Duration,
    pub(crate) updates: u64,
    pub(crate) memory: f64,
}

impl Progress {
    pub(crate) fn new(planned: Duration) -> Self {
        Self { planned, terminal: io::stderr().is_terminal(), told: Instant::now() }
    }

    /// Says something once.
    pub(crate) fn say(&self, line: &str) {
        let clear = if self.terminal { "\r\x1b[2K" } else { "" };
        eprintln!("{clear}{line}");
    }

    /// Says how far it is, if it is time again.
    pub(crate) fn look(&mut self, state: State<'_>) {
        let pause = if self.terminal { TERMINAL_PAUSE } else { LOG_PAUSE };
        if self.told.elapsed() < pause {
            return;
        }
        self.told = Instant::now();
        let line = self.line(&state);
        if self.terminal {
            let share = (state.elapsed.as_secs_f64() / self.planned.as_secs_f64()).clamp(0.0, 1.0);
            #[expect(clippy::cast_sign_loss, reason = "it is from 0 to BAR")]
            let full = (share * BAR as f64) as usize;
            eprint!("\r\x1b[2K[{}{}] {line}", "█".repeat(full), "·".repeat(BAR - full));
            // What is on its way to a terminal that is gone is of no use.
            let _ = io::stderr().flush();
        } else {
            eprintln!("{line}");
        }
    }

    fn line(&self, state: &State<'_>) -> String {
        let (cycle, cycles) = state.cycle;
        let place = if cycles > 0 { format!("cycle {cycle} of {cycles}, ") } else { String::new() };
        format!(
            "{place}{}: {} updates, {}, {} left",
            state.phase,
            count(state.updates),
            size(state.memory),
            clock(self.planned.saturating_sub(state.elapsed))
        )
    }

    /// Leaves the line of a terminal.
    pub(crate) fn end(&self) {
        if self.terminal {
            eprint!("\r\x1b[2K");
        }
    }
}
