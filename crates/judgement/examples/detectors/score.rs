//! What each detector said of a series, and how good that is.

use std::fmt;

use plimsoll_judgement::outside::{Judge, Settings, Verdict};

use super::baselines::{Cusum, Derivative, Detector, Exporter, MannKendall};
use super::corpus::Labelled;

const HOUR: f64 = 3600.0;
const YEAR: f64 = 365.25 * 24.0 * HOUR;
/// Bytes an hour from which on a leak should be seen within hours.
const FAST: f64 = 3e6;

/// A time during which a detector's alarm stood.
#[derive(Clone, Debug)]
pub(crate) struct Alarm {
    pub(crate) from: f64,
    pub(crate) to: Option<f64>,
    pub(crate) said: String,
}

/// What a detector said of a series.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) alarms: Vec<Alarm>,
    /// The verdict at the end.
    pub(crate) end: &'static str,
}

impl Outcome {
    fn take(&mut self, t: f64, alarm: bool) {
        let open = self.alarms.last_mut().filter(|alarm| alarm.to.is_none());
        match (alarm, open) {
            (true, None) => self.alarms.push(Alarm { from: t, to: None, said: String::new() }),
            (false, Some(open)) => open.to = Some(t),
            _ => {}
        }
    }

    /// Hours from the onset to the first alarm after it.
    pub(crate) fn delay_h(&self, series: &Labelled) -> Option<f64> {
        let onset = series.onset?;
        self.alarms
            .iter()
            .find(|alarm| alarm.from >= onset)
            .map(|alarm| (alarm.from - onset) / HOUR)
    }

    /// Alarms without a leak.
    pub(crate) fn false_alarms(&self, series: &Labelled) -> usize {
        let until = series.onset.unwrap_or(f64::INFINITY);
        self.alarms.iter().filter(|alarm| alarm.from < until).count()
    }
}

/// Runs all detectors over a series, in the order of [`super::baselines::NAMES`]; `ours_only` leaves the others idle.
pub(crate) fn watch(series: &Labelled, ours_only: bool) -> Vec<Outcome> {
    let mut simple: Vec<Box<dyn Detector>> = vec![
        Box::new(Exporter::default()),
        Box::new(Derivative::over(HOUR)),
        Box::new(Derivative::over(24.0 * HOUR)),
        Box::new(MannKendall::default()),
        Box::new(Cusum::default()),
    ];
    let mut outcomes = vec![Outcome::default(); simple.len() + 1];
    if ours_only {
        simple.clear();
    }
    let mut judge = Judge::new(Settings::default());
    for sample in &series.samples {
        for (detector, outcome) in simple.iter_mut().zip(&mut outcomes) {
            let alarm = detector.push(sample);
            outcome.take(sample.t, alarm);
        }
        judge.push(sample);
        let verdict = judge.verdict();
        let Some(ours) = outcomes.last_mut() else { continue };
        ours.take(sample.t, matches!(verdict, Verdict::Leaking(_)));
        if let (Verdict::Leaking(leak), Some(alarm)) = (&verdict, ours.alarms.last_mut()) {
            alarm.said = format!(
                "{:.3} ± {:.3} MB/h since {:.1} h, {:?}, {:?}",
                leak.bytes_per_hour / 1e6,
                leak.error / 1e6,
                leak.since / HOUR,
                leak.view,
                leak.driver
            );
        }
    }
    if let Some(ours) = outcomes.last_mut() {
        ours.end = judge.verdict().name();
    }
    outcomes
}

/// A row of the table.
#[derive(Clone, Debug, Default)]
pub(crate) struct Score {
    leaks: usize,
    delays: Vec<f64>,
    fast: usize,
    fast_in_time: usize,
    false_alarms: usize,
    leak_free: f64,
}

impl Score {
    pub(crate) fn add(&mut self, series: &Labelled, outcome: &Outcome) {
        let delay = outcome.delay_h(series);
        if series.onset.is_some() {
            self.leaks += 1;
            self.delays.extend(delay);
            if series.rate >= FAST {
                self.fast += 1;
                self.fast_in_time += usize::from(delay.is_some_and(|hours| hours <= 4.0));
            }
        }
        self.false_alarms += outcome.false_alarms(series);
        self.leak_free += series.onset.unwrap_or(series.length);
    }
}

impl fmt::Display for Score {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut delays = self.delays.clone();
        delays.sort_by(f64::total_cmp);
        let median = delays.get(delays.len() / 2).copied().unwrap_or(f64::NAN);
        let years = self.leak_free / YEAR;
        write!(
            f,
            "{} of {} | {median:.1} h | {} of {} | {:.1} ({} in {years:.2} years)",
            delays.len(),
            self.leaks,
            self.fast_in_time,
            self.fast,
            self.false_alarms as f64 / years,
            self.false_alarms
        )
    }
}
