//! Means over stretches of time: what is kept of the samples.

use std::collections::VecDeque;

use super::Sample;

/// Stretches that are kept of one life at the most.
pub(super) const BUCKETS: usize = 2048;

/// Means over a stretch of time. NaN is a source that there was not.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bucket {
    /// Mean time, seconds.
    pub(super) t: f64,
    /// Resident memory without the page cache, bytes.
    pub(super) resident: f64,
    /// The lowest of it.
    pub(super) resident_low: f64,
    /// The process's own account.
    pub(super) account: f64,
    /// Managed heap in use: the lowest.
    pub(super) heap_low: f64,
    /// The highest.
    pub(super) heap_high: f64,
    /// Managed heap asked of the system.
    pub(super) committed: f64,
    /// Memory beside the heap that a counter knows.
    pub(super) direct: f64,
    /// Retained messages, connections, sessions, subscriptions, queued messages.
    pub(super) counts: [f64; 5],
    /// PUBLISH packets since the life began, without the falls of a counter that was reset.
    pub(super) published: f64,
    /// Connections likewise.
    pub(super) connected: f64,
}

impl Bucket {
    fn merged(&self, other: &Self) -> Self {
        let mut counts = self.counts;
        for (mine, theirs) in counts.iter_mut().zip(other.counts) {
            *mine = mean(*mine, theirs);
        }
        Self {
            t: f64::midpoint(self.t, other.t),
            resident: mean(self.resident, other.resident),
            resident_low: self.resident_low.min(other.resident_low),
            account: mean(self.account, other.account),
            heap_low: self.heap_low.min(other.heap_low),
            heap_high: self.heap_high.max(other.heap_high),
            committed: mean(self.committed, other.committed),
            direct: mean(self.direct, other.direct),
            counts,
            published: mean(self.published, other.published),
            connected: mean(self.connected, other.connected),
        }
    }
}

/// The mean of those that are numbers.
fn mean(one: f64, other: f64) -> f64 {
    match (one.is_nan(), other.is_nan()) {
        (true, _) => other,
        (_, true) => one,
        _ => f64::midpoint(one, other),
    }
}

/// Sum and number of what is being averaged.
#[derive(Clone, Copy, Debug, Default)]
struct Sum(f64, f64);

impl Sum {
    fn add(&mut self, value: Option<f64>) {
        if let Some(value) = value {
            self.0 += value;
            self.1 += 1.0;
        }
    }

    fn mean(self) -> f64 {
        if self.1 > 0.0 { self.0 / self.1 } else { f64::NAN }
    }
}

/// A counter that may be reset under way: what it would be if it were not.
#[derive(Clone, Copy, Debug, Default)]
struct Counter {
    last: Option<f64>,
    risen: f64,
}

impl Counter {
    fn take(&mut self, value: Option<f64>) -> Option<f64> {
        let value = value?;
        let before = self.last.replace(value).unwrap_or(0.0);
        self.risen += if value >= before { value - before } else { value };
        Some(self.risen)
    }
}

/// The stretch that is being filled.
#[derive(Clone, Copy, Debug)]
struct Filling {
    from: f64,
    t: Sum,
    resident: Sum,
    account: Sum,
    committed: Sum,
    direct: Sum,
    counts: [Sum; 5],
    published: Sum,
    connected: Sum,
    resident_low: f64,
    heap_low: f64,
    heap_high: f64,
}

impl Filling {
    fn new(from: f64) -> Self {
        let none = Sum::default();
        Self {
            from,
            t: none,
            resident: none,
            account: none,
            committed: none,
            direct: none,
            counts: [none; 5],
            published: none,
            connected: none,
            resident_low: f64::NAN,
            heap_low: f64::NAN,
            heap_high: f64::NAN,
        }
    }

    fn finish(&self) -> Bucket {
        Bucket {
            t: self.t.mean(),
            resident: self.resident.mean(),
            resident_low: self.resident_low,
            account: self.account.mean(),
            heap_low: self.heap_low,
            heap_high: self.heap_high,
            committed: self.committed.mean(),
            direct: self.direct.mean(),
            counts: self.counts.map(Sum::mean),
            published: self.published.mean(),
            connected: self.connected.mean(),
        }
    }
}

/// What is kept of one life of a process.
#[derive(Clone, Debug)]
pub(super) struct Life {
    /// When it began; at the latest with the first sample of it.
    pub(super) start: f64,
    /// When the first sample of it was taken.
    pub(super) seen_from: f64,
    buckets: VecDeque<Bucket>,
    /// Length of a stretch, seconds.
    width: f64,
    /// Length that is not exceeded: older stretches go instead.
    width_max: f64,
    filling: Filling,
    published: Counter,
    connected: Counter,
}

impl Life {
    /// A life that begins with a sample.
    pub(super) fn new(first: &Sample, width: f64, width_max: f64) -> Self {
        Self {
            start: first.start.min(first.t),
            seen_from: first.t,
            buckets: VecDeque::with_capacity(BUCKETS),
            width,
            width_max,
            filling: Filling::new(first.t),
            published: Counter::default(),
            connected: Counter::default(),
        }
    }

    /// What is kept, oldest first.
    pub(super) fn buckets(&self) -> &VecDeque<Bucket> {
        &self.buckets
    }

    /// Takes a sample. Answers whether a stretch is complete.
    pub(super) fn push(&mut self, sample: &Sample) -> bool {
        let due = sample.t >= self.filling.from + self.width && self.filling.t.1 > 0.0;
        if due {
            self.buckets.push_back(self.filling.finish());
            if self.buckets.len() >= BUCKETS {
                self.thin();
            }
            // On the grid, so that the pace of the samples does not drift against it.
            let passed = ((sample.t - self.filling.from) / self.width).floor();
            self.filling = Filling::new(self.filling.from + passed * self.width);
        }
        let filling = &mut self.filling;
        let resident = resident(sample);
        filling.t.add(Some(sample.t));
        filling.resident.add(Some(resident));
        filling.resident_low = filling.resident_low.min(resident);
        filling.account.add(known(sample.account));
        if let Some(heap) = known(sample.heap_used) {
            filling.heap_low = filling.heap_low.min(heap);
            filling.heap_high = filling.heap_high.max(heap);
        }
        filling.committed.add(known(sample.heap_committed));
        filling.direct.add(known(sample.direct));
        let counts = [
            sample.retained,
            sample.connections,
            sample.sessions,
            sample.subscriptions,
            sample.queued,
        ];
        for (sum, count) in filling.counts.iter_mut().zip(counts) {
            sum.add(known(count));
        }
        filling.published.add(self.published.take(known(sample.published_total)));
        filling.connected.add(self.connected.take(known(sample.connected_total)));
        due
    }

    /// Makes room: neighbours become one, or the oldest go.
    fn thin(&mut self) {
        if self.width * 2.0 > self.width_max {
            self.buckets.pop_front();
            return;
        }
        let kept: Vec<Bucket> = self.buckets.iter().copied().collect();
        self.buckets.clear();
        for pair in kept.chunks(2) {
            match pair {
                [older, newer] => self.buckets.push_back(older.merged(newer)),
                rest => self.buckets.extend(rest),
            }
        }
        self.width *= 2.0;
    }
}

/// Memory of the process itself: the page cache of its files comes and goes as others use the machine.
fn resident(sample: &Sample) -> f64 {
    let without_files = known(sample.file).map(|file| (sample.rss - file).max(0.0));
    known(sample.anon).or(without_files).unwrap_or(sample.rss)
}

/// No process has an exabyte, or has counted so far; nor is there a clock that shows so many seconds.
const FIGURE_MAX: f64 = 1e18;
const CLOCK_MAX: f64 = 1e12;

/// A figure that can be one.
fn known(value: Option<f64>) -> Option<f64> {
    value.filter(|value| (0.0..FIGURE_MAX).contains(value))
}

/// Whether a sample can be one at all.
pub(super) fn usable(sample: &Sample) -> bool {
    let clock = |seconds: f64| (-CLOCK_MAX..CLOCK_MAX).contains(&seconds);
    clock(sample.t) && clock(sample.start) && known(Some(sample.rss)).is_some()
}
