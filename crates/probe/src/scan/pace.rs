//! How long a scan may take, and how far it is.

use std::time::{Duration, Instant};

use crate::problem::Problem;

/// A scan's deadline, and somebody who hears how far it is.
pub struct Pace<'a> {
    started: Instant,
    longest: Duration,
    heard: Instant,
    bytes: u64,
    progress: &'a mut dyn FnMut(&str),
}

impl<'a> Pace<'a> {
    /// From now on for `longest`; `progress` hears a line at most twice a second.
    pub fn new(longest: Duration, progress: &'a mut dyn FnMut(&str)) -> Self {
        let now = Instant::now();
        Self { started: now, longest, heard: now, bytes: 0, progress }
    }

    /// `bytes` more of `what` will be read.
    pub(super) fn goes_on(&mut self, what: &str, bytes: u64) -> Result<(), Problem> {
        self.bytes += bytes;
        let now = Instant::now();
        if now - self.heard >= Duration::from_millis(500) {
            self.heard = now;
            (self.progress)(&format!("{what}: {} MiB read", self.bytes >> 20));
        }
        if now - self.started > self.longest {
            return Err(Problem::Failed(format!(
                "the scan took longer than {:?}: {} MiB were read. Allow it more with --scan-time",
                self.longest,
                self.bytes >> 20
            )));
        }
        Ok(())
    }
}
