//! From findings to a verdict.

use crate::daily::rising;
use crate::driver::driver;
use crate::growth::{Growth, growth};
use crate::history::{BYTES_MAX, History};
use crate::sample::Sample;
use crate::settings::Settings;
use crate::signal::Signal;
use crate::window::{Finding, grown, sustained};

/// What a leak grows with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Driver {
    /// So many bytes for each PUBLISH received.
    PerUpdate(f64),
    /// So many bytes for each CONNECT accepted.
    PerConnect(f64),
    /// So many bytes in each hour, whatever the load.
    PerHour(f64),
}

/// A leak, as far as it is known.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Leak {
    /// Growth, bytes per hour.
    pub bytes_per_hour: f64,
    /// Half of the 95 % confidence interval of that.
    pub error: f64,
    /// Since when it has been seen to grow, seconds on the samples' clock.
    pub since: f64,
    /// Time until the limit is reached, seconds; `None` without a limit.
    pub limit_in_s: Option<f64>,
    /// What it grows with, as far as that can be told: load that never changes says nothing.
    pub driver: Driver,
    /// Growth over PUBLISH packets received in the same time, if they are counted.
    pub bytes_per_update: Option<f64>,
    /// Growth over CONNECT packets accepted in the same time, if they are counted.
    pub bytes_per_connect: Option<f64>,
    /// Where it shows.
    pub seen_in: Signal,
}

/// The judgement at one time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Verdict {
    /// Too little has been seen.
    InsufficientData {
        /// How much more is needed, minutes.
        minutes_more: f64,
    },
    /// The process is young and still grows as young processes do.
    WarmingUp,
    /// Memory does not grow.
    Stable,
    /// Memory grows with what is counted.
    GrowingWithState,
    /// Memory grows, and nothing that is counted explains it.
    Leaking(Leak),
}

impl Verdict {
    /// The word for it in JSON and metrics.
    pub fn word(&self) -> &'static str {
        match self {
            Verdict::InsufficientData { .. } => "insufficient_data",
            Verdict::WarmingUp => "warming_up",
            Verdict::Stable => "stable",
            Verdict::GrowingWithState => "growing_with_state",
            Verdict::Leaking(_) => "leaking",
        }
    }
}

/// Something that a sample brought to light.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Event {
    /// A leak was found.
    Raised(Leak),
    /// The leak that was found no longer grows.
    Cleared {
        /// How long it was thought to leak, seconds.
        after_s: f64,
    },
    /// Another process has taken the place of the one that was watched.
    Restarted,
}

/// An alarm that stands.
#[derive(Clone, Copy, Debug)]
struct Alarm {
    leak: Leak,
    raised: f64,
    /// When it was last seen to grow.
    seen: f64,
    /// How long it may go without.
    patience: f64,
}

/// Judges one process, and its successors after restarts, from samples in order of time.
#[derive(Clone, Debug)]
pub struct Judge {
    settings: Settings,
    history: History,
    /// Findings that wait to be confirmed, by signal and length: since when they hold.
    pending: Vec<(Signal, usize, f64, f64)>,
    alarm: Option<Alarm>,
    growth: Growth,
}

impl Judge {
    /// The most memory that a judge takes, bytes, whatever it is fed.
    pub const BYTES_MAX: usize = BYTES_MAX + size_of::<Judge>() + 64 * 64;

    /// A judge that has seen nothing.
    pub fn new(settings: Settings) -> Judge {
        Judge {
            settings,
            history: History::new(settings.fine_s(), settings.coarse_s()),
            pending: Vec::new(),
            alarm: None,
            growth: Growth::None,
        }
    }

    /// Takes a sample. One that is not later than those before is passed over.
    pub fn push(&mut self, sample: &Sample) -> Option<Event> {
        let added = self.history.add(sample);
        if added.restarted {
            self.pending.clear();
            return Some(Event::Restarted);
        }
        if !added.fine {
            return None;
        }
        if added.coarse {
            self.growth = growth(&self.settings, &self.history);
        }
        let now = self.history.last_t;
        let confirmed = self.look(added.coarse);
        if let Some(finding) = confirmed {
            let leak = self.leak(&finding);
            let patience = 3.0 * (now - finding.from).max(self.settings.cycle_s.unwrap_or(0.0));
            if let Some(alarm) = &mut self.alarm {
                alarm.seen = now;
                alarm.patience = alarm.patience.max(patience);
                alarm.leak = Leak { since: alarm.leak.since.min(leak.since), ..leak };
                return None;
            }
            self.alarm = Some(Alarm { leak, raised: now, seen: now, patience });
            return Some(Event::Raised(leak));
        }
        let alarm = self.alarm.as_mut()?;
        if now - alarm.seen <= alarm.patience {
            return None;
        }
        let grown = grown(&self.history, alarm.leak.seen_in, alarm.patience)?;
        if grown > 0.25 * alarm.leak.bytes_per_hour / 3600.0 * alarm.patience * 2.0 / 3.0 {
            // Not as plain as it was, but it goes on.
            alarm.seen = now - alarm.patience / 2.0;
            return None;
        }
        let after_s = now - alarm.raised;
        self.alarm = None;
        Some(Event::Cleared { after_s })
    }

    /// Looks at all windows; the finding that has held for long enough, from the longest of them.
    fn look(&mut self, daily: bool) -> Option<Finding> {
        let now = self.history.last_t;
        let mut confirmed: Option<Finding> = None;
        for signal in Signal::ALL {
            for (index, units) in Settings::WINDOWS.into_iter().enumerate() {
                let found = sustained(
                    &self.settings,
                    &self.history,
                    signal,
                    units * self.settings.settle_s,
                );
                confirmed = self.hold(signal, index, found, now).or(confirmed);
            }
            if daily {
                let found = rising(&self.settings, &self.history, signal);
                confirmed = self.hold(signal, Settings::WINDOWS.len(), found, now).or(confirmed);
            }
        }
        confirmed
    }

    /// Keeps note of a finding, and gives it back if it has held for long enough.
    fn hold(
        &mut self,
        signal: Signal,
        rule: usize,
        found: Option<Finding>,
        now: f64,
    ) -> Option<Finding> {
        let known = self.pending.iter().position(|(s, r, ..)| (*s, *r) == (signal, rule));
        let Some(finding) = found else {
            if let Some(known) = known {
                self.pending.swap_remove(known);
            }
            return None;
        };
        let since = known.and_then(|known| self.pending.get(known)).map(|pending| pending.2);
        if since.is_none() {
            self.pending.push((signal, rule, now, finding.from));
        }
        Some(finding).filter(|finding| since.is_some_and(|since| now - since >= finding.confirm))
    }

    fn leak(&self, finding: &Finding) -> Leak {
        let limit_in_s = self.settings.limit_bytes.and_then(|limit| {
            let used =
                self.history.coarse.complete().next_back()?.mean(crate::sample::Column::Memory)?;
            Some(((limit - used) / finding.rate).max(0.0))
        });
        let follows = driver(&self.history, finding);
        let bytes_per_hour = finding.rate * 3600.0;
        Leak {
            bytes_per_hour,
            error: finding.error * 3600.0,
            since: finding.from,
            limit_in_s,
            driver: follows.driver.unwrap_or(Driver::PerHour(bytes_per_hour)),
            bytes_per_update: follows.updates_per_hour.map(|updates| bytes_per_hour / updates),
            bytes_per_connect: follows.connects_per_hour.map(|connects| bytes_per_hour / connects),
            seen_in: finding.signal,
        }
    }

    /// The judgement so far.
    pub fn verdict(&self) -> Verdict {
        if let Some(alarm) = &self.alarm {
            return Verdict::Leaking(alarm.leak);
        }
        let Some(first) = self.history.first_t else {
            return Verdict::InsufficientData { minutes_more: self.settings.settle_s / 60.0 };
        };
        let seen = self.history.last_t - first;
        if seen < self.settings.settle_s {
            return Verdict::InsufficientData {
                minutes_more: (self.settings.settle_s - seen) / 60.0,
            };
        }
        match self.growth {
            Growth::WithState => Verdict::GrowingWithState,
            Growth::Young => Verdict::WarmingUp,
            Growth::None => Verdict::Stable,
        }
    }

    /// Why, step by step, in sentences for people.
    pub fn reasons(&self) -> Vec<String> {
        crate::reasons::reasons(&self.settings, &self.history, self.growth, &self.verdict())
    }
}
