//! Whether the tool itself was the bottleneck: how much of a core its thread has used, and how long it
//! has waited for one.

use std::path::Path;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// From this share of the time on, the tool is said to have been the bottleneck.
const BOTTLENECK: f64 = 0.85;

/// What a span of time has cost the calling thread.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Strain {
    /// How long it was.
    pub(crate) wall: Duration,
    /// Time on a core.
    pub(crate) cpu: Duration,
    /// Time in which it could have run, but others had the cores.
    pub(crate) waited: Duration,
}

impl Strain {
    /// Share of the time on a core.
    pub(crate) fn cpu_share(&self) -> f64 {
        self.cpu.as_secs_f64() / self.wall.as_secs_f64().max(1e-9)
    }

    /// Share of the time that it waited for a core.
    pub(crate) fn waited_share(&self) -> f64 {
        self.waited.as_secs_f64() / self.wall.as_secs_f64().max(1e-9)
    }

    /// Whether the tool had no time left to do more.
    pub(crate) fn is_bottleneck(&self) -> bool {
        self.cpu_share() + self.waited_share() > BOTTLENECK
    }

    /// Both spans together.
    pub(crate) fn and(&self, other: &Self) -> Self {
        Self {
            wall: self.wall + other.wall,
            cpu: self.cpu + other.cpu,
            waited: self.waited + other.waited,
        }
    }
}

/// Measures the calling thread from its making on.
#[derive(Debug)]
pub(crate) struct StrainMeter {
    begin: Instant,
    cpu: Duration,
    waited: Duration,
}

impl StrainMeter {
    /// Begins to measure.
    pub(crate) fn start() -> Self {
        Self { begin: Instant::now(), cpu: thread_cpu(), waited: thread_waited() }
    }

    /// What there was since the beginning.
    pub(crate) fn read(&self) -> Strain {
        Strain {
            wall: self.begin.elapsed(),
            cpu: thread_cpu().saturating_sub(self.cpu),
            waited: thread_waited().saturating_sub(self.waited),
        }
    }
}

fn thread_cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// How long the threads of a process have waited for a core, since each began; those that have ended are not in it. None
/// where the kernel does not keep it.
pub(crate) fn process_waited(pid: u32) -> Duration {
    let Ok(tasks) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return Duration::ZERO };
    tasks.flatten().map(|task| waited(&task.path().join("schedstat"))).sum()
}

/// The second figure of `/proc/thread-self/schedstat`: time on a run queue, ns (Linux,
/// Documentation/scheduler/sched-stats.rst). None where the kernel does not keep it.
fn thread_waited() -> Duration {
    waited(Path::new("/proc/thread-self/schedstat"))
}

fn waited(schedstat: &Path) -> Duration {
    let text = std::fs::read_to_string(schedstat).unwrap_or_default();
    let ns = text.split_ascii_whitespace().nth(1).and_then(|field| field.parse().ok());
    Duration::from_nanos(ns.unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_thread_is_seen_to_be_busy() {
        let meter = StrainMeter::start();
        while meter.begin.elapsed() < Duration::from_millis(50) {
            std::hint::black_box(thread_cpu());
        }
        let busy = meter.read();
        assert!(busy.cpu > Duration::ZERO && busy.cpu <= busy.wall * 2, "{busy:?}");
        // As one of the process's threads.
        assert!(process_waited(std::process::id()) >= busy.waited);
        let idle = Strain { wall: Duration::from_secs(1), ..Strain::default() };
        assert!(!idle.is_bottleneck());
        let full = Strain { cpu: Duration::from_millis(900), ..idle };
        assert!(full.is_bottleneck() && !full.and(&idle).is_bottleneck());
    }
}
