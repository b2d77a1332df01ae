//! The one place that reads a clock.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use plimsoll_engine::Time;

/// Wall-clock time that never goes back: read once, then counted on by the monotonic clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    wall_millis: u64,
    start: Instant,
}

impl Clock {
    /// Starts at the present wall-clock time.
    pub(crate) fn new() -> Self {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { wall_millis: wall.as_millis() as u64, start: Instant::now() }
    }

    /// Now.
    pub(crate) fn now(&self) -> Time {
        Time::from_millis(self.wall_millis + self.start.elapsed().as_millis() as u64)
    }

    /// How long the clock has been counting.
    pub(crate) fn uptime(&self) -> Duration {
        self.start.elapsed()
    }
}
