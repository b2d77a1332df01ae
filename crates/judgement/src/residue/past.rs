//! The past of a residue: five rings of means, each eight times as coarse as the one before.

use std::collections::VecDeque;

use super::Balance;

/// Rings.
pub(super) const LEVELS: usize = 5;
/// Buckets that a ring keeps: the longest window, and as much again to see where growth began.
pub(super) const BUCKETS: usize = 280;
/// Buckets of one ring that make one of the next.
const FOLD: u32 = 8;
/// Width of a bucket of the finest ring, seconds.
const FINEST_S: f64 = 5.0;

/// What was seen in one span of time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bucket {
    /// Number of the span since time 0.
    span: i64,
    /// Seconds of the ring below, or samples, that were seen.
    weight: f64,
    /// Means.
    pub(super) t: f64,
    pub(super) residue: f64,
    /// What the accounts say, with the baseline.
    pub(super) accounted: f64,
    /// Counters at the end of the span; `NaN` if not given.
    pub(super) published: f64,
    pub(super) connects: f64,
}

impl Bucket {
    fn add(&mut self, other: &Bucket) {
        self.weight += other.weight;
        let share = other.weight / self.weight;
        self.t += (other.t - self.t) * share;
        self.residue += (other.residue - self.residue) * share;
        self.accounted += (other.accounted - self.accounted) * share;
        self.published = other.published;
        self.connects = other.connects;
    }
}

/// One ring, and the bucket that fills.
#[derive(Clone, Debug)]
pub(super) struct Ring {
    pub(super) width: f64,
    filling: Option<Bucket>,
    pub(super) buckets: VecDeque<Bucket>,
}

impl Ring {
    /// Adds a part, and gives back the bucket that it completed.
    fn add(&mut self, part: &Bucket) -> Option<Bucket> {
        let span = (part.t / self.width).floor() as i64;
        let Some(filling) = self.filling.as_mut().filter(|filling| filling.span == span) else {
            let done = self.filling.replace(Bucket { span, ..*part })?;
            if self.buckets.len() == BUCKETS {
                self.buckets.pop_front();
            }
            self.buckets.push_back(done);
            return Some(done);
        };
        filling.add(part);
        None
    }
}

/// All rings.
#[derive(Clone, Debug)]
pub(super) struct Past {
    pub(super) rings: [Ring; LEVELS],
    pub(super) first_t: Option<f64>,
    pub(super) last_t: f64,
}

impl Past {
    /// The most that it takes, bytes.
    pub(super) const BYTES_MAX: usize = LEVELS * BUCKETS * size_of::<Bucket>() + size_of::<Past>();

    pub(super) fn new() -> Past {
        let mut width = FINEST_S;
        let rings = [(); LEVELS].map(|()| {
            let ring = Ring { width, filling: None, buckets: VecDeque::with_capacity(BUCKETS) };
            width *= f64::from(FOLD);
            ring
        });
        Past { rings, first_t: None, last_t: f64::NEG_INFINITY }
    }

    /// Adds what was seen at one time; how many of the rings, from the finest on, have a new bucket. What is not
    /// later than all before, or is no number, is passed over.
    pub(super) fn add(&mut self, balance: &Balance) -> usize {
        let Balance { t, residue, total, .. } = *balance;
        let known = t.is_finite() && residue.is_finite() && total.is_finite();
        // Beyond that a span's number would not be exact.
        if !known || t <= self.last_t || t.abs() > 1e12 {
            return 0;
        }
        self.first_t.get_or_insert(t);
        self.last_t = t;
        let counter = |value: Option<f64>| value.filter(|v| v.is_finite()).unwrap_or(f64::NAN);
        let mut part = Bucket {
            span: 0,
            weight: 1.0,
            t,
            residue,
            accounted: total - residue,
            published: counter(balance.published_total),
            connects: counter(balance.connects_total),
        };
        for (level, ring) in self.rings.iter_mut().enumerate() {
            match ring.add(&part) {
                Some(done) => part = done,
                None => return level,
            }
        }
        LEVELS
    }

    /// Seconds seen.
    pub(super) fn age(&self) -> f64 {
        self.first_t.map_or(0.0, |first| self.last_t - first)
    }
}
