//! `plimsoll watch replay`: a recorded series, judged as if it came in live.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use plimsoll_judgement::outside::{Judge, Leak, Sample, Settings, Verdict};
use serde_json::{Value, json};

use crate::describe::{Bytes, Rate, Sentence, Span};
use crate::json;
use crate::remark::remark;
use crate::series::{Series, SeriesError};
use crate::units;

/// Judge a recorded series as if it came in live: what would have been said, and when
#[derive(Args, Clone, Debug)]
#[command(after_help = "Columns, by the names in the header; the time and RSS are enough:
  t (seconds, or a date and a time), start, rss_kb, anon_kb, file_kb, acc_b, heap_kb, heapc_kb, direct_kb,
  limit_kb, heap_limit_kb, direct_limit_kb, retained, conns, sess, subs, queued, pub_total, conn_total
The unit is the end of the name: _b, _kb or _mb. An empty field is a source that does not exist. What
Grafana exports (Time, process_resident_memory_bytes) is understood. gzip too.

Examples:
  plimsoll watch replay incident.csv
  plimsoll watch replay --json series.csv.gz | tail -n 1 | jq .verdict
  xzcat series.csv.xz | plimsoll watch replay -

Exit code: 0 judged, whatever the judgement; 1 with --check if it leaks at the end; 2 the series cannot
be read; 3 a mistake in the command.")]
pub(crate) struct Options {
    /// The series; `-` is standard input
    file: PathBuf,
    /// Print JSON: a line at each change, and the whole result as the last one
    #[arg(long)]
    json: bool,
    /// End with exit code 1 if it leaks at the end
    #[arg(long)]
    check: bool,
    /// What memory must not reach, if the series has no column for it
    #[arg(long, value_name = "SIZE", value_parser = units::size)]
    limit: Option<f64>,
    /// What is passed over after the start of a process
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = units::duration)]
    settle: Duration,
}

/// The series cannot be read.
const EXIT_NOT_READ: u8 = 2;

/// It leaks, and `--check` was given.
const EXIT_LEAKING: u8 = 1;

/// How often the judge is asked, seconds of the series.
const ASK_EVERY_S: f64 = 60.0;

/// A time during which it was said that it leaks.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Alarm {
    /// When it was first said, seconds on the series' clock.
    pub(crate) from_s: f64,
    /// When it was no longer said; `None` if it still stood at the end.
    pub(crate) to_s: Option<f64>,
    /// What was said last.
    pub(crate) leak: Leak,
}

/// What came of a series.
#[derive(Debug)]
pub(crate) struct Replay {
    pub(crate) judge: Judge,
    pub(crate) verdict: Verdict,
    pub(crate) alarms: Vec<Alarm>,
    /// Samples that were judged.
    pub(crate) samples: u64,
    passed_over: u64,
    first_t: f64,
    last_t: f64,
    /// The last sample at which the judge was asked.
    asked_t: f64,
}

impl Options {
    /// Replays and prints.
    pub(crate) fn run(&self) -> ExitCode {
        match self.replay() {
            Ok(Some(replay)) => {
                let leaking = matches!(replay.verdict, Verdict::Leaking(_));
                ExitCode::from(if leaking && self.check { EXIT_LEAKING } else { 0 })
            }
            // Whoever reads has seen enough.
            Ok(None) => ExitCode::SUCCESS,
            Err(error) => {
                remark(format_args!("Error: {error}"));
                ExitCode::from(EXIT_NOT_READ)
            }
        }
    }

    fn replay(&self) -> Result<Option<Replay>, SeriesError> {
        let mut series = Series::open(&self.file)?;
        let mut replay = Replay::new(Settings { settle_s: self.settle.as_secs_f64() });
        let mut out = io::BufWriter::new(io::stdout().lock());
        let unused = series.unused().join(", ");
        if !unused.is_empty() {
            remark(format_args!("Warning: {}: not used: {unused}.", self.file.display()));
        }
        let mut late = None;
        while let Some(sample) = series.next() {
            let mut sample = sample?;
            sample.limit = sample.limit.or(self.limit);
            if sample.t <= replay.last_t {
                late.get_or_insert(series.line());
            }
            if let Some(before) = replay.push(&sample)
                && let Err(error) = self.changed(&replay, &before, &mut out)
            {
                return unheard(&error);
            }
        }
        if let Some(line) = late {
            let (file, count) = (self.file.display(), replay.passed_over);
            remark(format_args!(
                "Warning: {file}, line {line}: its time is not later than that before. {count} such lines are passed over; of several processes, keep one."
            ));
        }
        if replay.samples == 0 {
            return Err(SeriesError {
                file: self.file.clone(),
                line: 0,
                column: None,
                what: "has no line with a time and a size".into(),
            });
        }
        let before = replay.ask();
        let printed = match before {
            Some(before) => self.changed(&replay, &before, &mut out),
            None => Ok(()),
        };
        let printed = printed.and_then(|()| self.result(&replay, &mut out));
        match printed.and_then(|()| out.flush()) {
            Ok(()) => Ok(Some(replay)),
            Err(error) => unheard(&error),
        }
    }

    /// Prints a change of the verdict.
    fn changed(&self, replay: &Replay, before: &Verdict, out: &mut impl Write) -> io::Result<()> {
        let (t, now) = (replay.last_t, &replay.verdict);
        if self.json {
            let mut line = json::verdict(now);
            line.insert("t".into(), json!(t));
            line.insert("before".into(), before.name().into());
            writeln!(out, "{}", Value::from(line))
        } else {
            writeln!(out, "{:>16}  {}", replay.clock(t), Sentence(now))
        }
    }

    fn result(&self, replay: &Replay, out: &mut impl Write) -> io::Result<()> {
        if self.json {
            return writeln!(out, "{}", replay.json());
        }
        let seen = Span(replay.last_t - replay.first_t);
        writeln!(
            out,
            "\n{} samples, {seen}. At the end: {}.",
            replay.samples,
            Sentence(&replay.verdict)
        )?;
        for alarm in &replay.alarms {
            let until = match alarm.to_s {
                Some(to) => format!("until {}", replay.clock(to)),
                None => "and still".into(),
            };
            let (from, rate) = (replay.clock(alarm.from_s), Rate(alarm.leak.bytes_per_hour));
            let leaked = (replay.last_t.min(alarm.to_s.unwrap_or(f64::MAX)) - alarm.leak.since)
                * alarm.leak.bytes_per_hour
                / 3600.0;
            let since = replay.clock(alarm.leak.since);
            writeln!(
                out,
                "Alarm at {from}, {until}: {rate} since {since}, {} by then.",
                Bytes(leaked)
            )?;
        }
        for reason in replay.judge.reasons() {
            writeln!(out, "- {reason}")?;
        }
        Ok(())
    }
}

/// What cannot be printed is a failure, unless whoever reads has seen enough.
fn unheard(error: &io::Error) -> Result<Option<Replay>, SeriesError> {
    if error.kind() == io::ErrorKind::BrokenPipe {
        return Ok(None);
    }
    let (file, what) = (PathBuf::from("standard output"), error.to_string());
    Err(SeriesError { file, line: 0, column: None, what })
}

impl Replay {
    /// Nothing was seen yet.
    pub(crate) fn new(settings: Settings) -> Self {
        let judge = Judge::new(settings);
        Self {
            verdict: judge.verdict(),
            judge,
            alarms: Vec::new(),
            samples: 0,
            passed_over: 0,
            first_t: 0.0,
            last_t: f64::NEG_INFINITY,
            asked_t: f64::NEG_INFINITY,
        }
    }

    /// Takes a sample; answers the verdict before it, if it was changed.
    pub(crate) fn push(&mut self, sample: &Sample) -> Option<Verdict> {
        if sample.t <= self.last_t {
            self.passed_over += 1;
            return None;
        }
        if self.samples == 0 {
            self.first_t = sample.t;
        }
        self.samples += 1;
        self.last_t = sample.t;
        self.judge.push(sample);
        if sample.t - self.asked_t < ASK_EVERY_S {
            return None;
        }
        self.ask()
    }

    /// Asks the judge; answers the verdict before, if it was changed.
    pub(crate) fn ask(&mut self) -> Option<Verdict> {
        self.asked_t = self.last_t;
        let now = self.judge.verdict();
        let standing = self.alarms.last_mut().filter(|alarm| alarm.to_s.is_none());
        match (&now, standing) {
            (Verdict::Leaking(leak), Some(alarm)) => alarm.leak = leak.clone(),
            (Verdict::Leaking(leak), None) => {
                let (from_s, leak) = (self.last_t, leak.clone());
                self.alarms.push(Alarm { from_s, to_s: None, leak });
            }
            (_, Some(alarm)) => alarm.to_s = Some(self.last_t),
            (_, None) => {}
        }
        let before = std::mem::replace(&mut self.verdict, now);
        (before.name() != self.verdict.name()).then_some(before)
    }

    /// A time of the series, for people: a date, or the time since its beginning.
    fn clock(&self, t: f64) -> String {
        const YEAR_2000: f64 = 946_684_800.0;
        if self.first_t >= YEAR_2000
            && let Ok(stamp) = jiff::Timestamp::from_second(t as i64)
        {
            return format!("{stamp}");
        }
        let minutes = ((t - self.first_t) / 60.0) as i64;
        format!("day {} {:02}:{:02}", minutes / 1440 + 1, minutes / 60 % 24, minutes % 60)
    }

    fn json(&self) -> Value {
        let alarms: Vec<Value> = self.alarms.iter().map(Alarm::json).collect();
        let mut result = json!({
            "alarms": alarms,
            "sentence": Sentence(&self.verdict).to_string(),
            "reasons": self.judge.reasons(),
            "samples": self.samples,
            "passed_over": self.passed_over,
            "from_s": self.first_t,
            "to_s": self.last_t,
        });
        if let Some(result) = result.as_object_mut() {
            result.extend(json::verdict(&self.verdict));
        }
        result
    }
}

impl Alarm {
    fn json(&self) -> Value {
        let mut alarm = json::verdict(&Verdict::Leaking(self.leak.clone()));
        alarm.remove("verdict");
        alarm.insert("from_s".into(), json!(self.from_s));
        alarm.insert("to_s".into(), json!(self.to_s));
        alarm.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_that_is_not_later_is_passed_over() {
        let mut replay = Replay::new(Settings::default());
        for t in [100.0, 160.0, 160.0, 90.0, 220.0] {
            replay.push(&Sample { t, rss: 1e6, ..Sample::default() });
        }
        assert_eq!((replay.samples, replay.passed_over), (3, 2));
        let value = replay.json();
        assert_eq!((value["from_s"].as_f64(), value["to_s"].as_f64()), (Some(100.0), Some(220.0)));
        assert_eq!(value["verdict"], "insufficient_data");
        assert_eq!(value["alarms"], json!([]));
    }

    #[test]
    fn times_are_dates_or_counted_from_the_beginning() {
        let mut replay = Replay::new(Settings::default());
        replay.first_t = 60.0;
        assert_eq!(replay.clock(60.0 + 90_000.0), "day 2 01:00");
        replay.first_t = 1_795_687_200.0;
        assert_eq!(replay.clock(1_795_687_260.0), "2026-11-26T10:01:00Z");
    }
}
