//! A bounded past: means over buckets of time, in a fine ring and in a coarse one.

use crate::sample::{COLUMNS, Column, Sample};
use std::collections::VecDeque;

/// Buckets that the fine ring keeps.
pub(crate) const FINE: usize = 600;
/// Buckets that the coarse ring keeps.
pub(crate) const COARSE: usize = 700;

/// What was seen in one span of time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bucket {
    /// Mean time of the samples, seconds.
    pub(crate) t: f64,
    /// When the process started, as far as known, seconds.
    pub(crate) start: f64,
    /// Which process, counted from 0.
    pub(crate) life: u32,
    /// Samples.
    samples: u32,
    /// Number of the span since time 0.
    span: i64,
    /// Means, `NaN` where nothing was seen; of counters the last value.
    mean: [f64; COLUMNS],
    /// Smallest heap and memory, for low-water marks.
    least: [f64; 2],
}

impl Bucket {
    /// The mean of a column.
    pub(crate) fn mean(&self, column: Column) -> Option<f64> {
        self.mean.get(column as usize).copied().filter(|value| value.is_finite())
    }

    /// The smallest value of a column, where that is kept; its mean elsewhere.
    pub(crate) fn least(&self, column: Column) -> Option<f64> {
        let [memory, heap] = self.least;
        match column {
            Column::Memory => Some(memory).filter(|value| value.is_finite()),
            Column::Heap => Some(heap).filter(|value| value.is_finite()),
            _ => self.mean(column),
        }
    }

    fn add(&mut self, t: f64, columns: &[f64; COLUMNS]) {
        let before = f64::from(self.samples);
        self.samples = self.samples.saturating_add(1);
        let share = |mean: f64, value: f64| mean + (value - mean) / (before + 1.0);
        self.t = share(self.t, t);
        for (index, (mean, value)) in self.mean.iter_mut().zip(columns).enumerate() {
            let counter = index >= Column::Published as usize;
            *mean = match (mean.is_finite(), value.is_finite()) {
                (true, true) if !counter => share(*mean, *value),
                (_, true) => *value,
                (_, false) => *mean,
            };
        }
        let [memory, heap] = &mut self.least;
        *memory = memory.min(columns[Column::Memory as usize]);
        *heap = heap.min(columns[Column::Heap as usize]);
    }
}

/// One ring of buckets of the same width, the last of which may still fill.
#[derive(Clone, Debug)]
pub(crate) struct Ring {
    width: f64,
    capacity: usize,
    buckets: VecDeque<Bucket>,
}

impl Ring {
    fn new(width: f64, capacity: usize) -> Ring {
        Ring { width, capacity, buckets: VecDeque::with_capacity(capacity) }
    }

    /// Adds a sample; true if it began a new bucket.
    fn add(&mut self, life: u32, start: f64, t: f64, columns: &[f64; COLUMNS]) -> bool {
        let span = (t / self.width).floor() as i64;
        if let Some(last) = self.buckets.back_mut()
            && last.span == span
            && last.life == life
        {
            last.add(t, columns);
            return false;
        }
        if self.buckets.len() == self.capacity {
            self.buckets.pop_front();
        }
        let least = [columns[Column::Memory as usize], columns[Column::Heap as usize]];
        self.buckets.push_back(Bucket { t, start, life, samples: 1, span, mean: *columns, least });
        true
    }

    /// Width of a bucket, seconds.
    pub(crate) fn width(&self) -> f64 {
        self.width
    }

    /// The buckets that are complete, oldest first.
    pub(crate) fn complete(&self) -> impl DoubleEndedIterator<Item = &Bucket> + Clone {
        self.buckets.range(..self.buckets.len().saturating_sub(1))
    }

    /// The complete buckets of one life since a time, oldest first.
    pub(crate) fn since(
        &self,
        life: u32,
        from: f64,
    ) -> impl DoubleEndedIterator<Item = &Bucket> + Clone {
        let first = self.buckets.partition_point(|bucket| (bucket.life, bucket.t) < (life, from));
        self.buckets.range(
            first.min(self.buckets.len().saturating_sub(1))..self.buckets.len().saturating_sub(1),
        )
    }
}

/// The past in two resolutions.
#[derive(Clone, Debug)]
pub(crate) struct History {
    pub(crate) fine: Ring,
    pub(crate) coarse: Ring,
    /// Which process is looked at.
    pub(crate) life: u32,
    /// When it started, seconds: as told, or when it was first seen.
    pub(crate) start: f64,
    /// Whether that was told.
    pub(crate) start_known: bool,
    /// The first sample of all.
    pub(crate) first_t: Option<f64>,
    /// The last sample.
    pub(crate) last_t: f64,
    counters: [f64; 2],
}

/// What a sample brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Added {
    pub(crate) restarted: bool,
    pub(crate) fine: bool,
    pub(crate) coarse: bool,
}

impl History {
    pub(crate) fn new(fine_width: f64, coarse_width: f64) -> History {
        History {
            fine: Ring::new(fine_width, FINE),
            coarse: Ring::new(coarse_width, COARSE),
            life: 0,
            start: 0.0,
            start_known: false,
            first_t: None,
            last_t: f64::NEG_INFINITY,
            counters: [f64::NAN; 2],
        }
    }

    /// Adds a sample. One that is not later than the last, or has no memory, is passed over.
    pub(crate) fn add(&mut self, sample: &Sample) -> Added {
        if !sample.t.is_finite() || sample.t <= self.last_t || sample.memory().is_none() {
            return Added::default();
        }
        let columns = sample.columns();
        let counters = [columns[Column::Published as usize], columns[Column::Connects as usize]];
        let told = sample.start.filter(|start| start.is_finite());
        let mut restarted = false;
        if self.first_t.is_none() {
            self.first_t = Some(sample.t);
            self.start = told.unwrap_or(sample.t).min(sample.t);
            self.start_known = told.is_some();
        } else {
            restarted = match told {
                Some(start) if self.start_known => (start - self.start).abs() > 2.0,
                Some(start) => {
                    self.start_known = true;
                    self.start = start;
                    false
                }
                // A counter that fell to less than half began anew.
                None => self.counters.iter().zip(counters).any(|(before, now)| now < before / 2.0),
            };
            if restarted {
                self.life = self.life.wrapping_add(1);
                self.start = told.unwrap_or(sample.t);
            }
        }
        for (kept, now) in self.counters.iter_mut().zip(counters) {
            if now.is_finite() {
                *kept = now;
            }
        }
        self.last_t = sample.t;
        let fine = self.fine.add(self.life, self.start, sample.t, &columns);
        let coarse = self.coarse.add(self.life, self.start, sample.t, &columns);
        Added { restarted, fine, coarse }
    }

    /// Age of the process at the last sample, seconds.
    pub(crate) fn age(&self) -> f64 {
        (self.last_t - self.start).max(0.0)
    }
}

/// The most bytes that a history takes.
pub(crate) const BYTES_MAX: usize = (FINE + COARSE) * size_of::<Bucket>() + size_of::<History>();
