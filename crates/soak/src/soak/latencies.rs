//! Latencies of a stretch of time: of what was published, of its way to the listener, of the tool itself.

use super::outcome::{Quantiles, Window};
use crate::load::Latency;

/// Latencies, µs, each from when a message was due.
#[derive(Clone, Debug)]
pub(crate) struct Latencies {
    /// Until the PUBACK.
    pub(crate) publish: Latency,
    /// Until the arrival at the witness.
    pub(crate) listener: Latency,
    /// Until the tool got round to it.
    pub(crate) late: Latency,
}

impl Latencies {
    /// None.
    pub(crate) fn new() -> Result<Self, String> {
        let new = Latency::new;
        Ok(Self { publish: new()?, listener: new()?, late: new()? })
    }

    /// Adds those of another stretch.
    pub(crate) fn add(&mut self, other: &Self) {
        self.publish.add(&other.publish);
        self.listener.add(&other.listener);
        self.late.add(&other.late);
    }

    /// Forgets all.
    pub(crate) fn clear(&mut self) {
        self.publish.clear();
        self.listener.clear();
        self.late.clear();
    }
}

/// Fewest messages that a window's quantiles are made of.
const WINDOW_MESSAGES_MIN: u64 = 50;

/// Most windows; every second one is dropped when there are more.
const WINDOWS_MAX: usize = 4000;

/// Windows of a plot, whatever the duration, and the shortest, seconds.
const WINDOWS: f64 = 600.0;
const WINDOW_MIN_S: f64 = 1.0;

/// The latencies of a phase, and of windows of it for plots.
#[derive(Debug)]
pub(crate) struct Windows {
    /// The phase so far, without the window that goes on.
    phase: Latencies,
    pub(crate) windows: Vec<Window>,
    begin_s: f64,
    length_s: f64,
}

impl Windows {
    /// For a run that is planned to take so many seconds.
    pub(crate) fn new(planned_s: f64) -> Result<Self, String> {
        Ok(Self {
            phase: Latencies::new()?,
            windows: Vec::new(),
            begin_s: 0.0,
            length_s: (planned_s / WINDOWS).max(WINDOW_MIN_S),
        })
    }

    /// A phase begins at `now_s`; `current` is empty afterwards.
    pub(crate) fn begin(&mut self, now_s: f64, current: &mut Latencies) {
        self.phase.clear();
        current.clear();
        self.begin_s = now_s;
    }

    /// Ends a window if it is long enough.
    pub(crate) fn look(&mut self, phase: &str, now_s: f64, current: &mut Latencies) {
        if now_s - self.begin_s >= self.length_s {
            self.cut(phase, now_s, current);
        }
    }

    /// Ends the phase. Answers its latencies.
    pub(crate) fn end(&mut self, phase: &str, now_s: f64, current: &mut Latencies) -> &Latencies {
        self.cut(phase, now_s, current);
        &self.phase
    }

    fn cut(&mut self, phase: &str, now_s: f64, current: &mut Latencies) {
        if current.publish.count() >= WINDOW_MESSAGES_MIN {
            self.windows.push(Window {
                phase: phase.into(),
                from_s: self.begin_s,
                to_s: now_s,
                publish: Quantiles::from(&current.publish),
                listener_p99_ms: current.listener.quantile_ms(0.99),
                late_p99_ms: current.late.quantile_ms(0.99),
            });
        }
        self.phase.add(current);
        current.clear();
        self.begin_s = now_s;
        if self.windows.len() > WINDOWS_MAX {
            let mut index = 0;
            self.windows.retain(|_| {
                index += 1;
                index % 2 == 0
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phase_is_the_sum_of_its_windows() {
        let mut windows = Windows::new(600.0).expect("bounds");
        let mut current = Latencies::new().expect("bounds");
        windows.begin(10.0, &mut current);
        for second in 1..=3u32 {
            for _ in 0..100 {
                current.publish.record(1000 * u64::from(second));
            }
            windows.look("steady", 10.0 + f64::from(second) - 0.5, &mut current);
            assert_eq!(windows.windows.len() as u32, second - 1);
            windows.look("steady", 10.0 + f64::from(second), &mut current);
        }
        current.publish.record(9000);
        let phase = windows.end("steady", 13.1, &mut current);
        assert_eq!(phase.publish.count(), 301);
        assert!(phase.publish.max_ms() > 8.9);
        // One message makes no quantiles.
        assert_eq!(windows.windows.len(), 3);
        assert!((windows.windows[1].publish.p50 - 2.0).abs() < 0.05, "{:?}", windows.windows[1]);
        windows.begin(20.0, &mut current);
        assert_eq!(windows.end("updates", 21.0, &mut current).publish.count(), 0);
    }

    #[test]
    fn there_are_never_too_many() {
        let mut windows = Windows::new(1.0).expect("bounds");
        let mut current = Latencies::new().expect("bounds");
        for second in 0..9000u32 {
            for _ in 0..WINDOW_MESSAGES_MIN {
                current.publish.record(10);
            }
            windows.look("steady", f64::from(second + 1), &mut current);
        }
        assert!(windows.windows.len() <= WINDOWS_MAX + 1 && windows.windows.len() > 1000);
    }
}
