//! The looks of one minute, on their way into a record.

use plimsoll_judgement::outside::Sample;

use super::{RECORD_S, Record};
use crate::figure::Figure;
use crate::procfs::Identity;
use crate::reading::Reading;

/// Sums over the minute that has begun.
#[derive(Debug, Default)]
pub(super) struct Minute {
    begun_t: f64,
    last: Option<Record>,
    rss: Mean,
    anon: Mean,
    file: Mean,
    figures: [Mean; Figure::COUNT],
}

/// A mean of what was known.
#[derive(Clone, Copy, Debug, Default)]
struct Mean {
    sum: f64,
    count: f64,
}

impl Mean {
    fn add(&mut self, value: Option<f64>) {
        if let Some(value) = value {
            self.sum += value;
            self.count += 1.0;
        }
    }

    fn value(self) -> Option<f64> {
        (self.count > 0.0).then(|| self.sum / self.count)
    }
}

impl Minute {
    /// Takes a look; answers the minute before, if this one begins another or is of another process.
    pub(super) fn push(&mut self, reading: &Reading) -> Option<Record> {
        let Some((sample, process)) = reading.sample.as_ref().zip(reading.process.as_ref()) else {
            // It is gone: what was seen of it is said now, not when it comes back.
            return self.take();
        };
        let over = sample.t.div_euclid(RECORD_S) > self.begun_t.div_euclid(RECORD_S);
        let other = self.last.as_ref().is_some_and(|last| last.identity != process.identity);
        let finished = if over || other { self.take() } else { None };
        if self.last.is_none() {
            self.begun_t = sample.t;
        }
        self.add(sample);
        let identity: Identity = process.identity;
        self.last = Some(Record {
            sample: *sample,
            identity,
            swap: Some(process.swap),
            pss: process.pss,
            threads: Some(process.threads),
            fds: process.fds,
            cpu_s: Some(process.cpu_s),
            pressure: reading.pressure.map(|pressure| pressure.some_percent),
        });
        finished
    }

    fn add(&mut self, sample: &Sample) {
        self.rss.add(Some(sample.rss));
        self.anon.add(sample.anon);
        self.file.add(sample.file);
        for (mean, figure) in self.figures.iter_mut().zip(Figure::ALL) {
            mean.add(figure.of(sample));
        }
    }

    /// The minute as it is; another begins.
    pub(super) fn take(&mut self) -> Option<Record> {
        let minute = std::mem::take(self);
        let mut record = minute.last?;
        let sample = &mut record.sample;
        sample.rss = minute.rss.value()?;
        sample.anon = minute.anon.value();
        sample.file = minute.file.value();
        for (mean, figure) in minute.figures.into_iter().zip(Figure::ALL) {
            // Of a counter or a limit the last value says all.
            if !figure.is_counter() && !figure.is_limit() {
                *figure.place(sample) = mean.value();
            }
        }
        Some(record)
    }
}
