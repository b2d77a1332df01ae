//! What others do: resident memory alone, and a threshold.

use std::collections::VecDeque;

use plimsoll_judgement::mann_kendall;
use plimsoll_judgement::outside::Sample;

/// Detectors in the order in which they run; the last one is ours.
pub(crate) const NAMES: [&str; 6] = [
    "the seed's exporter: two samples 60 s apart, 0.2 MB/h",
    "its alert rule as meant: slope over 1 h > 0.2 MB/h",
    "linear regression over 24 h > 0.2 MB/h",
    "Mann–Kendall over 24 h of half-hour means, p < 0.001",
    "CUSUM against the first day, k = ½ σ, h = 8 σ",
    "`plimsoll watch`",
];

/// Bytes an hour.
const THRESHOLD: f64 = 0.2e6;
const HOUR: f64 = 3600.0;

/// Says after each sample whether its alarm stands.
pub(crate) trait Detector {
    fn push(&mut self, sample: &Sample) -> bool;
}

/// Compares each sample with the one before.
#[derive(Default)]
pub(crate) struct Exporter(Option<(f64, f64)>);

impl Detector for Exporter {
    fn push(&mut self, sample: &Sample) -> bool {
        let before = self.0.replace((sample.t, sample.rss));
        before.is_some_and(|(t, rss)| (sample.rss - rss) / (sample.t - t) * HOUR > THRESHOLD)
    }
}

/// A least-squares slope over a window, asked every ten minutes.
pub(crate) struct Derivative {
    window: f64,
    start: f64,
    points: VecDeque<(f64, f64)>,
    asked: f64,
    stands: bool,
}

impl Derivative {
    pub(crate) fn over(window: f64) -> Self {
        Self { window, start: 0.0, points: VecDeque::new(), asked: 0.0, stands: false }
    }
}

impl Detector for Derivative {
    fn push(&mut self, sample: &Sample) -> bool {
        if (sample.start - self.start).abs() > 1.0 {
            self.points.clear();
            self.start = sample.start;
            self.stands = false;
        }
        self.points.push_back((sample.t, sample.rss));
        while self.points.front().is_some_and(|(t, _)| *t < sample.t - self.window) {
            self.points.pop_front();
        }
        let first = self.points.front().map_or(sample.t, |point| point.0);
        if sample.t - self.asked >= 600.0 && sample.t - first > 0.95 * self.window {
            self.asked = sample.t;
            self.stands = slope(&self.points) * HOUR > THRESHOLD;
        }
        self.stands
    }
}

fn slope(points: &VecDeque<(f64, f64)>) -> f64 {
    let count = points.len() as f64;
    let t_mean = points.iter().map(|point| point.0).sum::<f64>() / count;
    let (mut tt, mut ty) = (0.0, 0.0);
    for (t, y) in points {
        tt += (t - t_mean) * (t - t_mean);
        ty += (t - t_mean) * y;
    }
    ty / tt
}

/// Means of so many seconds.
#[derive(Default)]
struct Means {
    sum: f64,
    count: f64,
    from: f64,
}

impl Means {
    fn push(&mut self, sample: &Sample, width: f64) -> Option<f64> {
        let due = self.count > 0.0 && sample.t >= self.from + width;
        let mean = self.sum / self.count;
        if due || self.count == 0.0 {
            *self = Self { sum: 0.0, count: 0.0, from: sample.t };
        }
        self.sum += sample.rss;
        self.count += 1.0;
        due.then_some(mean)
    }
}

/// Mann–Kendall's test for a trend, which supposes that noise does not remember.
#[derive(Default)]
pub(crate) struct MannKendall {
    means: Means,
    points: VecDeque<f64>,
    start: f64,
    stands: bool,
}

impl Detector for MannKendall {
    fn push(&mut self, sample: &Sample) -> bool {
        if (sample.start - self.start).abs() > 1.0 {
            *self = Self { start: sample.start, ..Self::default() };
        }
        if let Some(mean) = self.means.push(sample, HOUR / 2.0) {
            self.points.push_back(mean);
            if self.points.len() > 48 {
                self.points.pop_front();
                let n = 48.0_f64;
                let deviation = (n * (n - 1.0) * (2.0 * n + 5.0) / 18.0).sqrt();
                let score = mann_kendall(self.points.make_contiguous()) * n * (n - 1.0) / 2.0;
                self.stands = score / deviation > 3.29;
            }
        }
        self.stands
    }
}

/// A cumulative sum against level and spread of the first day, begun anew after each alarm.
#[derive(Default)]
pub(crate) struct Cusum {
    means: Means,
    first_day: Vec<f64>,
    level: Option<(f64, f64)>,
    sum: f64,
    start: f64,
}

impl Detector for Cusum {
    fn push(&mut self, sample: &Sample) -> bool {
        if (sample.start - self.start).abs() > 1.0 {
            *self = Self { start: sample.start, ..Self::default() };
        }
        let Some(mean) = self.means.push(sample, 600.0) else { return self.sum > 8.0 };
        let Some((level, deviation)) = self.level else {
            self.first_day.push(mean);
            if self.first_day.len() == 144 {
                let level = self.first_day.iter().sum::<f64>() / 144.0;
                let power: f64 = self.first_day.iter().map(|x| (x - level).powi(2)).sum();
                self.level = Some((level, (power / 143.0).sqrt().max(1.0)));
            }
            return false;
        };
        if self.sum > 8.0 {
            self.sum = 0.0;
        }
        self.sum = (self.sum + (mean - level) / deviation - 0.5).max(0.0);
        self.sum > 8.0
    }
}
