//! Lines for people: what happens, and if wanted how things stand, again and again.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::time::Duration;

use jiff::Timestamp;

use crate::describe::{Bytes, Sentence};
use crate::event::{Event, Happening};
use crate::figure::Figure;
use crate::json;
use crate::output::Output;
use crate::reading::Reading;
use crate::watched::Watched;

/// A round that comes a little early counts: else every second one would be left out.
const EARLY_S: f64 = 0.2;

/// Lines for people, to standard output, or to standard error if something else is written there.
pub(crate) struct Journal {
    out: Box<dyn Write>,
    pace: Option<Pace>,
    broken: bool,
}

/// When the next line about each target is due.
#[derive(Debug)]
struct Pace {
    every_s: f64,
    next_t: f64,
}

impl Pace {
    fn is_due(&self, t: f64) -> bool {
        t + EARLY_S >= self.next_t
    }

    /// All targets were looked at, the last one at `t`.
    fn round(&mut self, t: f64) {
        if self.is_due(t) {
            self.next_t = t + self.every_s;
        }
    }
}

impl Journal {
    /// A line at each event, and one for each target every so often.
    pub(crate) fn new(to_stderr: bool, every: Option<Duration>) -> Self {
        let out: Box<dyn Write> =
            if to_stderr { Box::new(io::stderr()) } else { Box::new(io::stdout()) };
        let pace =
            every.map(|every| Pace { every_s: every.as_secs_f64(), next_t: f64::NEG_INFINITY });
        Self { out, pace, broken: false }
    }

    fn say(&mut self, time: std::time::SystemTime, text: &str) {
        let stamp =
            Timestamp::try_from(time).map_or_else(|_| String::new(), |t| format!("{t:.0} "));
        let written = writeln!(self.out, "{stamp}{text}").and_then(|()| self.out.flush());
        self.broken |= written.is_err();
    }
}

impl Output for Journal {
    fn reading(&mut self, watched: &Watched, reading: &Reading) {
        if self.pace.as_ref().is_some_and(|pace| pace.is_due(reading.t)) {
            self.say(reading.time, &standing(watched, reading));
        }
    }

    fn event(&mut self, watched: &Watched, event: &Event) {
        self.say(event.time, &json::text(&watched.target.name, &event.what));
        if let Happening::Judged { .. } = &event.what {
            for reason in watched.judge.reasons() {
                self.say(event.time, &format!("  - {reason}"));
            }
        }
    }

    fn round(&mut self, all: &[Watched]) {
        let last = all.iter().filter_map(|one| one.last.as_ref()).map(|look| look.t);
        if let (Some(pace), Some(t)) = (&mut self.pace, last.reduce(f64::max)) {
            pace.round(t);
        }
    }

    fn is_broken(&self) -> bool {
        self.broken
    }
}

/// How a target stands, in one line.
fn standing(watched: &Watched, reading: &Reading) -> String {
    let mut line = watched.target.name.clone();
    let Some(sample) = &reading.sample else {
        let state = if reading.process.is_some() { "cannot be judged" } else { "is not there" };
        let _ = write!(line, " {state}: {}", reading.absent.as_deref().unwrap_or_default());
        return line;
    };
    let _ = write!(line, ": rss {}", Bytes(sample.rss));
    for figure in Figure::ALL {
        // The limit is the machine's mostly, and always the same.
        let Some(value) = figure.of(sample).filter(|_| figure != Figure::Limit) else { continue };
        let name = figure.name().replace('_', " ");
        let _ = if figure.is_bytes() {
            write!(line, ", {name} {}", Bytes(value))
        } else {
            write!(line, ", {name} {value:.0}")
        };
    }
    let _ = write!(line, "; {}", Sentence(&watched.verdict));
    line
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use plimsoll_judgement::outside::Sample;

    use super::*;
    use crate::accounts::Accounts;
    use crate::procfs::ProcessReading;
    use crate::selector::Selector;
    use crate::target::Target;

    #[test]
    fn a_line_per_second_is_one_each_second() {
        let lines = |every_s: f64| {
            let mut pace = Pace { every_s, next_t: f64::NEG_INFINITY };
            // Rounds of a second, a little early or late.
            let times = (0..60).map(|round| f64::from(round) + f64::from(round % 3 - 1) / 500.0);
            times
                .filter(|&t| {
                    let due = pace.is_due(t);
                    pace.round(t);
                    due
                })
                .count()
        };
        assert_eq!((lines(1.0), lines(2.0), lines(20.0)), (60, 30, 3));
    }

    #[test]
    fn a_line_has_what_is_known() {
        let watched = Watched::new(Target::new("edge", Selector::Pid(1)));
        let sample = Sample {
            rss: 3_145_728.0,
            direct: Some(512.0),
            retained: Some(1200.0),
            limit: Some(1e9),
            ..Sample::default()
        };
        let mut reading = Reading {
            time: SystemTime::now(),
            t: 0.0,
            process: None,
            cgroup: None,
            oom_killed: 0,
            pressure: None,
            accounts: Accounts::default(),
            sample: Some(sample),
            absent: Some("no process is called edge".into()),
        };
        let line = standing(&watched, &reading);
        assert!(
            line.starts_with("edge: rss 3.0 MiB, direct 512 B, retained 1200; not enough data"),
            "{line}"
        );
        reading.sample = None;
        assert_eq!(standing(&watched, &reading), "edge is not there: no process is called edge");
        reading.process = Some(ProcessReading::default());
        reading.absent = Some("cgroup edge has no memory of its own".into());
        let line = standing(&watched, &reading);
        assert_eq!(line, "edge cannot be judged: cgroup edge has no memory of its own");
    }
}
