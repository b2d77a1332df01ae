//! What a leak grows with.

use super::Driver;
use super::columns::{Columns, there};
use super::window::{POINTS, thin};

/// How much better than the second the best explanation has to be, as a share of what is left unexplained.
const BETTER: f64 = 0.8;
/// Events whose rate varies by less than this share of it cannot be told from the hours.
const EVEN: f64 = 0.15;

/// Which of the hours, PUBLISH packets and connections fits the growth of a series since `from` best, and how many
/// bytes there are to each of them.
///
/// Each is tried alone on the increments between pieces of the window: if leaked bytes follow events, an hour
/// with twice the events has twice the bytes. Events that come evenly cannot be told from the hours.
pub(super) fn driver(columns: &Columns, t: &[f64], q: &[f64], from: f64) -> (Driver, Option<f64>) {
    let row = t.partition_point(|t| *t < from);
    let own = columns.t.partition_point(|t| *t < from);
    let (Some(t), Some(q)) = (t.get(row..), q.get(row..)) else { return (Driver::Unclear, None) };
    let grown = increments(&thin(t, q, POINTS));
    let total: f64 = grown.iter().map(|(_, bytes)| bytes).sum();
    if grown.len() < 8 || total <= 0.0 {
        return (Driver::Unclear, None);
    }
    let mut even = false;
    let mut fits = vec![(Driver::Time, left(&grown, |(seconds, _)| seconds), None)];
    for (driver, column) in
        [(Driver::Publish, &columns.published), (Driver::Connect, &columns.connected)]
    {
        let (true, Some(t), Some(counter)) =
            (there(column), columns.t.get(own..), column.get(own..))
        else {
            continue;
        };
        let counted = increments(&thin(t, counter, POINTS));
        let events: f64 = counted.iter().map(|(_, events)| events).sum();
        if counted.len() != grown.len() || events <= 0.0 {
            continue;
        }
        // Events that come as evenly as time goes by.
        let rates: Vec<f64> = counted.iter().map(|(seconds, events)| events / seconds).collect();
        let mean = rates.iter().sum::<f64>() / rates.len() as f64;
        let spread = rates.iter().map(|rate| (rate - mean).powi(2)).sum::<f64>();
        even |= (spread / rates.len() as f64).sqrt() < EVEN * mean;
        let mut rows = counted.iter();
        let left = left(&grown, |_| rows.next().map_or(0.0, |(_, events)| *events));
        fits.push((driver, left, Some(total / events)));
    }
    if fits.len() == 1 {
        return (Driver::Unclear, None);
    }
    fits.sort_by(|one, other| one.1.total_cmp(&other.1));
    match fits.as_slice() {
        [(Driver::Time, ..), ..] if even => (Driver::Unclear, None),
        [(driver, best, bytes), (_, second, _), ..] if *best < BETTER * second => (*driver, *bytes),
        _ => (Driver::Unclear, None),
    }
}

/// Differences of time and of value between neighbours.
fn increments(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    points
        .windows(2)
        .filter_map(|pair| match pair {
            [before, after] => Some((after.0 - before.0, after.1 - before.1)),
            _ => None,
        })
        .collect()
}

/// Squares that are left when increments are put down to something in proportion.
fn left(grown: &[(f64, f64)], mut of: impl FnMut((f64, f64)) -> f64) -> f64 {
    let pairs: Vec<(f64, f64)> = grown.iter().map(|&row| (of(row), row.1)).collect();
    let xx: f64 = pairs.iter().map(|(x, _)| x * x).sum();
    let xy: f64 = pairs.iter().map(|(x, y)| x * y).sum();
    let unit = if xx > 0.0 { xy / xx } else { 0.0 };
    pairs.iter().map(|(x, y)| (y - unit * x).powi(2)).sum()
}
