//! The clock of samples: it does not go back, and means the same after a restart of `watch`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

/// Counts on from the time of day at which it was made, by the kernel's clock since boot (which counts
/// while the machine sleeps), so that a correction of the time of day is no step in a series.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// `t` of the moment at which the machine was booted.
    boot_t: f64,
}

/// One moment on both clocks.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// The time of day, for people and for other programs.
    pub time: SystemTime,
    /// Seconds since 1970 by [`Clock`]: what series are made of.
    pub t: f64,
    /// `t` of the moment at which the machine was booted: the system counts starts of processes from there.
    pub boot_t: f64,
}

impl Clock {
    /// A clock that begins with the time of day.
    pub fn new() -> Self {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { boot_t: unix.as_secs_f64() - since_boot().as_secs_f64() }
    }

    /// The same, but not before `t`: what was recorded earlier stays earlier, whatever was done to the time of day.
    pub fn not_before(t: f64) -> Self {
        Self::new().and_not_before(t)
    }

    /// This clock, moved on if it is before `t`.
    #[must_use]
    pub fn and_not_before(mut self, t: f64) -> Self {
        self.boot_t += (t - self.now().t).max(0.0);
        self
    }

    /// This moment.
    pub fn now(&self) -> Now {
        let t = self.boot_t + since_boot().as_secs_f64();
        Now { time: SystemTime::now(), t, boot_t: self.boot_t }
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
}

/// Time since the machine was booted (`CLOCK_BOOTTIME`).
fn since_boot() -> Duration {
    let time = clock_gettime(ClockId::Boottime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_does_not_go_back_behind_what_was_recorded() {
        let real = Clock::new().now();
        let unix = real.time.duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
        assert!((real.t - unix).abs() < 1.0, "{} {unix}", real.t);
        let ahead = Clock::not_before(real.t + 5000.0);
        assert!(ahead.now().t >= real.t + 5000.0);
        assert!((Clock::not_before(real.t - 5000.0).now().t - real.t).abs() < 1.0);
        let later = ahead.now();
        assert!(ahead.now().t >= later.t);
    }
}
