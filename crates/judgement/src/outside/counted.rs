//! What counts of state explain of memory: how much each of them has, and by how much they rose.

use super::columns::{Columns, there};
use super::explain::{Trend, fit};
use super::window::{POINTS, ends, thin};

/// Bytes of an account for one of each count, at the most.
pub(super) const ACCOUNTED: f64 = 16.0 * 1024.0;

/// Bytes of a managed heap for one of each count, at the most.
pub(super) const HEAPED: f64 = 64.0 * 1024.0;

/// Bytes beside a managed heap for each retained message, connection, session, subscription and queued message, at the
/// most.
pub(super) const BESIDE_HEAP: [f64; 5] = [1024.0, 32.0 * 1024.0, 4.0 * 1024.0, 512.0, 4.0 * 1024.0];

/// Bytes beside a managed heap for one more of each count, at the most: there are buffers of connections and of messages
/// that wait, and little else. Where a count goes its own way, less: what it has per unit over the whole life.
pub(super) fn per_unit(columns: &Columns, memory: &[f64]) -> [f64; 5] {
    let mut units = BESIDE_HEAP;
    for (column, unit) in columns.counts.iter().zip(&mut units) {
        // Rows in which one of them is missing are missing in both.
        let known: Vec<(f64, f64, f64)> = (columns
            .t
            .iter()
            .zip(memory)
            .zip(column)
            .map(|((t, memory), count)| (*t, *memory, *count)))
        .filter(|(_, memory, count)| memory.is_finite() && count.is_finite())
        .collect();
        let t: Vec<f64> = known.iter().map(|row| row.0).collect();
        let of = |value: fn(&(f64, f64, f64)) -> f64| {
            let values: Vec<f64> = known.iter().map(value).collect();
            thin(&t, &values, POINTS)
        };
        let (memory, counts) = (of(|row| row.1), of(|row| row.2));
        if straightness(&counts) > 0.8 {
            continue;
        }
        let times: Vec<f64> = counts.iter().map(|point| point.0).collect();
        let values = |points: Vec<(f64, f64)>| points.into_iter().map(|point| point.1).collect();
        let (memory, counts): (Vec<f64>, Vec<f64>) = (values(memory), values(counts));
        if let Some(found) = fit(&times, &memory, &[&counts], &[*unit], Trend::Time) {
            let fitted = found.per_unit.first().copied().unwrap_or(*unit);
            *unit = (1.5 * fitted + 0.1 * *unit).min(*unit);
        }
    }
    units
}

/// What state that came since a row has beside a managed heap at the most, bytes.
pub(super) fn beside_heap(per_unit: &[f64; 5], columns: &Columns, start: usize) -> f64 {
    let before = start + (columns.t.len() - start) / 6;
    let known = columns.counts.iter().zip(per_unit).filter(|(column, _)| there(column));
    known.map(|(column, unit)| risen(column, before) * unit).sum()
}

/// By how much a count rose above all that it had been until a row.
fn risen(column: &[f64], before: usize) -> f64 {
    largest(column) - largest(column.get(..=before).unwrap_or_default())
}

/// The largest one; zero if there is none above.
pub(super) fn largest(column: &[f64]) -> f64 {
    column.iter().copied().fold(0.0, f64::max)
}

/// By how much counts of state rose above all that they had been, from a row on: the largest share.
pub(super) fn rise(columns: &Columns, start: usize) -> f64 {
    let before = start + (columns.t.len() - start) / 6;
    let known = columns.counts.iter().enumerate().filter(|(_, column)| there(column));
    known
        .map(|(index, column)| {
            // Some hundreds of messages that wait are no state to speak of.
            share_risen(column, before, if index == 4 { 1000.0 } else { 10.0 })
        })
        .fold(0.0, f64::max)
}

/// How far a count rose above all that it had been until a row, as a share of that, or of `least`.
fn share_risen(column: &[f64], before: usize, least: f64) -> f64 {
    let had = largest(column.get(..=before).unwrap_or_default());
    (largest(column) - had) / had.max(least)
}

/// How much of what a series does is a straight line: the square of its correlation with time.
fn straightness(points: &[(f64, f64)]) -> f64 {
    let count = points.len() as f64;
    let t_mean = points.iter().map(|point| point.0).sum::<f64>() / count;
    let y_mean = points.iter().map(|point| point.1).sum::<f64>() / count;
    let (mut tt, mut ty, mut yy) = (0.0, 0.0, 0.0);
    for (t, y) in points {
        let (t, y) = (t - t_mean, y - y_mean);
        (tt, ty, yy) = (tt + t * t, ty + t * y, yy + y * y);
    }
    if yy > 0.0 { ty * ty / (tt * yy) } else { 0.0 }
}

/// What is left when what counts explain is taken off.
pub(super) struct Less {
    pub(super) points: Vec<(f64, f64)>,
    /// What they may explain beyond that, bytes.
    pub(super) explained: f64,
    /// Bytes for one of each count, as they were taken off.
    pub(super) per_unit: [f64; 5],
}

/// Points less what counts of state explain of them since a row, of which one of a kind has no more than so many bytes;
/// `at` tells the counts of a column at each of them. `None`: fewer than eight points.
pub(super) fn less_counts(
    points: &[(f64, f64)],
    columns: &Columns,
    start: usize,
    most_each: f64,
    at: impl Fn(&[f64]) -> Vec<f64>,
) -> Option<Less> {
    let times: Vec<f64> = points.iter().map(|point| point.0).collect();
    let values: Vec<f64> = points.iter().map(|point| point.1).collect();
    let size = *values.last()?;
    let (mut regressors, mut caps, mut which) = (Vec::new(), Vec::new(), Vec::new());
    for (index, column) in columns.counts.iter().enumerate() {
        let values: Vec<f64> = at(column);
        let most = values.iter().copied().fold(0.0, f64::max);
        if there(column) && values.len() == times.len() && most > 0.0 {
            // One of a kind is not more than all that there is, divided by how many there are; and has a limit.
            caps.push((2.0 * size / most).min(most_each));
            regressors.push(values);
            which.push(index);
        }
    }
    let xs: Vec<&[f64]> = regressors.iter().map(Vec::as_slice).collect();
    let taken_off = |per_unit: &[f64]| {
        let mut less = values.clone();
        for (column, unit) in xs.iter().zip(per_unit) {
            for (value, count) in less.iter_mut().zip(*column) {
                *value -= unit * count;
            }
        }
        less
    };
    let found = fit(&times, &values, &xs, &caps, Trend::Time)?;
    let less = taken_off(&found.per_unit);
    // What counts explain if time explains nothing is state, whatever time would have explained as well.
    let state = fit(&times, &values, &xs, &caps, Trend::None)?;
    let explained = ends(&less)? - ends(&taken_off(&state.per_unit))?;
    let mut units = [0.0; 5];
    let mut moved = 0.0;
    for ((column, unit), index) in xs.iter().zip(&found.per_unit).zip(which) {
        moved += unit * ends(column)?.abs();
        if let Some(slot) = units.get_mut(index) {
            *slot = *unit;
        }
    }
    // A count that rose as evenly as time cannot be told from it: it may explain all that its share is.
    let even = (columns.counts.iter().filter(|column| there(column))).filter(|column| {
        let values = at(column);
        let same = values.len() == times.len();
        let points: Vec<(f64, f64)> = times.iter().copied().zip(values).collect();
        same && straightness(&points) > 0.8
    });
    let before = start + (columns.t.len() - start) / 6;
    let share = even.map(|column| share_risen(column, before, 100.0)).fold(0.0, f64::max);
    let explained = explained.max(0.0).max(0.25 * moved + share * size);
    let points = times.into_iter().zip(less).filter(|point| point.1.is_finite()).collect();
    Some(Less { points, explained, per_unit: units })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two days of connections that come and go, seen each six minutes.
    fn fleet() -> Columns {
        let mut columns = Columns { settle_s: 3600.0, ..Columns::default() };
        for step in 0..480 {
            let t = f64::from(step) * 360.0;
            columns.t.push(t);
            columns.counts[1].push(400.0 + 100.0 * (t / 86_400.0 * std::f64::consts::TAU).sin());
        }
        columns
    }

    #[test]
    fn what_a_connection_has_is_measured_in_spite_of_a_gap() {
        let mut columns = fleet();
        let memory: Vec<f64> = (columns.counts[1].iter().zip(&columns.t))
            .map(|(count, t)| 100e6 + 10_000.0 * count + 1e6 * t / 3600.0)
            .collect();
        columns.counts[1].iter_mut().skip(200).take(30).for_each(|count| *count = f64::NAN);
        let [_, unit, ..] = per_unit(&columns, &memory);
        assert!((15_000.0..20_000.0).contains(&unit), "{unit}");
        assert!((per_unit(&columns, &[])[1] - BESIDE_HEAP[1]).abs() < 1e-9);
    }

    #[test]
    fn what_is_left_of_a_swing_is_the_leak() {
        let columns = fleet();
        let at = |leak: f64| {
            let value = |(t, count): (&f64, &f64)| (*t, 30e6 + 20_000.0 * count + leak * t);
            let points: Vec<(f64, f64)> =
                columns.t.iter().zip(&columns.counts[1]).map(value).step_by(20).collect();
            let counts = |column: &[f64]| column.iter().copied().step_by(20).collect();
            less_counts(&points, &columns, 0, HEAPED, counts).unwrap()
        };
        let Less { points, per_unit: units, .. } = at(100.0);
        let values: Vec<f64> = points.iter().map(|point| point.1).collect();
        assert!((units[1] - 20_000.0).abs() < 1.0, "{units:?}");
        assert!((ends(&values).unwrap() / (100.0 * 158e3) - 1.0).abs() < 0.05, "{values:?}");
        let Less { points, explained, .. } = at(0.0);
        let values: Vec<f64> = points.iter().map(|point| point.1).collect();
        assert!(ends(&values).unwrap().abs() < 1e5 && explained < 1e6, "{explained}");
    }
}
