//! What is kept of a life, by column.

use super::bucket::Life;
use super::views::gives_back;

/// Columns of one life, oldest first. NaN is a source that there was not.
#[derive(Clone, Debug, Default)]
pub(super) struct Columns {
    /// What is passed over after the start, seconds.
    pub(super) settle_s: f64,
    pub(super) t: Vec<f64>,
    pub(super) resident: Vec<f64>,
    pub(super) resident_low: Vec<f64>,
    pub(super) account: Vec<f64>,
    pub(super) heap_low: Vec<f64>,
    pub(super) heap_high: Vec<f64>,
    pub(super) committed: Vec<f64>,
    pub(super) direct: Vec<f64>,
    pub(super) counts: [Vec<f64>; 5],
    pub(super) published: Vec<f64>,
    pub(super) connected: Vec<f64>,
    /// Bytes of memory for each byte of the account, where memory is seen to follow it up and down.
    pub(super) overhead: Option<f64>,
}

impl Columns {
    /// Of what is later than `from`.
    pub(super) fn new(life: &Life, from: f64) -> Self {
        let mut columns = Self { settle_s: from - life.start, ..Self::default() };
        for bucket in life.buckets().iter().filter(|bucket| bucket.t >= from) {
            columns.t.push(bucket.t);
            columns.resident.push(bucket.resident);
            columns.resident_low.push(bucket.resident_low);
            columns.account.push(bucket.account);
            columns.heap_low.push(bucket.heap_low);
            columns.heap_high.push(bucket.heap_high);
            columns.committed.push(bucket.committed);
            columns.direct.push(bucket.direct);
            for (column, count) in columns.counts.iter_mut().zip(bucket.counts) {
                column.push(count);
            }
            columns.published.push(bucket.published);
            columns.connected.push(bucket.connected);
        }
        columns.counts.iter_mut().filter(|column| there(column)).for_each(|column| carry(column));
        columns.overhead = gives_back(&columns);
        columns
    }

    /// Points by another clock, that of a counter, as long as they are by time. `None`: the counter is not there at one
    /// of ten of them or at the ends, or stands still.
    pub(super) fn by(&self, counter: &[f64], points: &[(f64, f64)]) -> Option<Vec<(f64, f64)>> {
        let (first, last) = (points.first()?.0, points.last()?.0);
        if self.t.len() < 2 {
            return None;
        }
        let at = |t: f64| {
            let after = self.t.partition_point(|other| *other < t).clamp(1, self.t.len() - 1);
            let (t0, t1) = (self.t.get(after - 1)?, self.t.get(after)?);
            let (c0, c1) = (counter.get(after - 1)?, counter.get(after)?);
            let share = ((t - t0) / (t1 - t0)).clamp(0.0, 1.0);
            Some(c0 + share * (c1 - c0)).filter(|count| count.is_finite())
        };
        let begin = at(first)?;
        let pace = (last - first) / (at(last)? - begin);
        if !pace.is_finite() || pace <= 0.0 {
            return None;
        }
        let moved: Vec<(f64, f64)> = points
            .iter()
            .filter_map(|(t, q)| Some((first + (at(*t)? - begin) * pace, *q)))
            .collect();
        (moved.len() * 10 >= points.len() * 9).then_some(moved)
    }
}

/// Whether a column has figures at nine times of ten.
pub(super) fn there(column: &[f64]) -> bool {
    let known = column.iter().filter(|value| value.is_finite()).count();
    known > 0 && known * 10 >= column.len() * 9
}

/// The largest so far, at each time.
pub(super) fn largest_so_far(column: &[f64]) -> Vec<f64> {
    let mut largest = f64::NEG_INFINITY;
    column
        .iter()
        .map(|value| {
            largest = largest.max(*value);
            if largest.is_finite() { largest } else { f64::NAN }
        })
        .collect()
}

/// Fills gaps with what was known before: state goes on while its source is silent.
fn carry(column: &mut [f64]) {
    let mut last = column.iter().copied().find(|value| value.is_finite()).unwrap_or(f64::NAN);
    for value in column {
        if value.is_finite() { last = *value } else { *value = last }
    }
}
