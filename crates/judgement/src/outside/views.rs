//! The series that should stay where they are if nothing leaks, and what may move them all the same.

use super::View;
use super::columns::{Columns, largest_so_far, there};
use super::counted::{
    ACCOUNTED, BESIDE_HEAP, HEAPED, Less, beside_heap, largest, less_counts, per_unit, rise,
};
use super::explain::{Trend, fit};
use super::floors::floors;
use super::window::{ENOUGH, Growth, POINTS, ends, lowest, measure, measure_few, thin};

/// Bytes that an allocator takes for each byte asked of it, as long as nothing better is known.
const OVERHEAD: f64 = 1.15;
/// Bytes of memory for each byte that leaks, as far as rates are told: an account that does not count all makes the
/// measured overhead larger than that of the allocator.
pub(super) const LEAKED_OVERHEAD: f64 = 1.1;
/// How far that may be from the truth, as a share of what was asked for.
pub(super) const OVERHEAD_ERROR: f64 = 0.2;
/// The same once it has been measured: memory followed the account up and down.
const MEASURED_ERROR: f64 = 0.05;

/// Growth of a few floors of a sawtooth that is worth a word, as a share of the last of them.
const LARGE: f64 = 0.1;

/// A way to look at a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Sight {
    /// Resident memory less what the account explains.
    Follow,
    /// The largest resident memory so far, less what the largest account so far explains: for allocators
    /// that keep what they had.
    Ratchet,
    /// The account less what counts of state explain.
    Account,
    /// Resident memory of a managed process, less heap and direct memory.
    Native,
    /// Resident memory less what counts of state explain.
    Counted,
    /// Resident memory, of which nothing is known.
    Bare,
    /// Managed heap after collections.
    HeapFloor,
    /// Resident memory after collections.
    ResidentFloor,
    /// Memory beside the heap.
    Direct,
}

/// All of them.
pub(super) const SIGHTS: [Sight; 9] = [
    Sight::Follow,
    Sight::Ratchet,
    Sight::Account,
    Sight::Native,
    Sight::Counted,
    Sight::Bare,
    Sight::HeapFloor,
    Sight::ResidentFloor,
    Sight::Direct,
];

impl Sight {
    /// Whether it says something: where memory is seen to follow its account, its high-water mark says nothing that
    /// the account does not explain better.
    pub(super) fn counts(self, columns: &Columns) -> bool {
        self != Self::Ratchet || columns.overhead.is_none()
    }

    /// Where a leak shows that is seen this way.
    pub(super) fn view(self) -> View {
        match self {
            Self::Account => View::Account,
            Self::HeapFloor => View::Heap,
            Self::Direct => View::Direct,
            _ => View::Resident,
        }
    }
}

/// A series, cut to what one sight looks at.
#[derive(Clone, Debug)]
pub(super) struct Series {
    pub(super) sight: Sight,
    pub(super) t: Vec<f64>,
    pub(super) q: Vec<f64>,
    /// What the series is a part of, bytes: its errors are in proportion.
    pub(super) level: f64,
    /// The shortest window, in units of the settling time.
    pub(super) shortest_h: f64,
    /// Bytes that one more of each count may have in it: retained messages, connections, sessions, subscriptions,
    /// queued messages. Of [`Sight::Native`] alone.
    per_unit: [f64; 5],
}

/// The series that there are for what is known of this process.
pub(super) fn series(columns: &Columns) -> Vec<Series> {
    let managed = there(&columns.heap_low) || there(&columns.committed);
    let mut all = Vec::new();
    let mut add = |sight, t: &[f64], q: Vec<f64>, level: f64| {
        let shortest_h = match sight {
            Sight::Bare | Sight::Counted => 4.0,
            _ => 2.0,
        };
        let per_unit = if sight == Sight::Native { per_unit(columns, &q) } else { BESIDE_HEAP };
        all.push(Series { sight, t: t.to_vec(), q, level, shortest_h, per_unit });
    };
    let t = &columns.t;
    let last = |column: &[f64]| {
        column.iter().rev().find(|value| value.is_finite()).copied().unwrap_or(0.0)
    };
    let resident = last(&columns.resident);
    let counted = columns.counts.iter().any(|column| there(column));
    if there(&columns.direct) {
        add(Sight::Direct, t, columns.direct.clone(), last(&columns.direct));
    }
    if managed {
        if there(&columns.heap_low) {
            let (t, q) = floors(t, &columns.heap_low, columns.settle_s);
            let level = last(&q);
            add(Sight::HeapFloor, &t, q, level);
        }
        if there(&columns.committed) {
            let q = if expanded(columns) {
                beside(columns, &largest_so_far(&columns.heap_high))
            } else {
                beside(columns, &columns.committed)
            };
            let level = last(&q).max(0.1 * resident);
            add(Sight::Native, t, q, level);
        } else {
            let (floor_t, q) = floors(t, &columns.resident_low, columns.settle_s);
            let level = last(&q);
            add(Sight::ResidentFloor, &floor_t, q, level);
            let q = beside(columns, &largest_so_far(&columns.heap_high));
            let level = last(&q).max(0.1 * resident);
            add(Sight::Native, t, q, level);
        }
        for series in &mut all {
            let floor = matches!(series.sight, Sight::HeapFloor | Sight::ResidentFloor);
            if floor && series.t.len() == columns.t.len() {
                series.shortest_h = 24.0;
            }
        }
        return all;
    }
    if there(&columns.account) {
        let q = (columns.resident.iter().zip(&columns.account))
            .map(|(resident, account)| resident - OVERHEAD * account)
            .collect();
        add(Sight::Follow, t, q, resident);
        add(Sight::Ratchet, t, held(columns), resident);
        if counted {
            add(Sight::Account, t, columns.account.clone(), last(&columns.account));
        }
    } else if counted {
        add(Sight::Counted, t, columns.resident.clone(), resident);
    } else {
        add(Sight::Bare, t, columns.resident.clone(), resident);
    }
    all
}

/// Whether a managed heap asked for more than it had at first: what it asked for and has not touched yet is not known
/// then, and the most that was in use says more.
pub(super) fn expanded(columns: &Columns) -> bool {
    let mut known = columns.committed.iter().copied().filter(|size| size.is_finite());
    let first = known.next();
    first.zip(known.next_back()).is_some_and(|(first, last)| last > 1.1 * first)
        && there(&columns.heap_high)
}

/// Resident memory less a managed heap of some size and direct memory.
pub(super) fn beside(columns: &Columns, heap: &[f64]) -> Vec<f64> {
    let direct = |row: usize| {
        columns.direct.get(row).copied().filter(|value| value.is_finite()).unwrap_or(0.0)
    };
    (columns.resident.iter().zip(heap).enumerate())
        .map(|(row, (resident, heap))| resident - heap - direct(row))
        .collect()
}

/// Growth of a window, with what is known of its errors.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) growth: Growth,
    /// Growth that what moved meanwhile may explain beyond what was taken off, bytes.
    pub(super) explained: f64,
    /// What was taken off.
    pub(super) model: Model,
}

/// What is taken off a series before it is looked at.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Model {
    /// Nothing more than was already.
    AsIs,
    /// So much of the account.
    Overhead(f64),
    /// The largest account so far from the largest memory so far.
    Held,
    /// So much for each of the counts that there are.
    Counts([f64; 5]),
}

impl Model {
    /// Bytes of memory for each byte asked for.
    pub(super) fn overhead(&self) -> f64 {
        match self {
            Self::Overhead(overhead) => overhead.min(LEAKED_OVERHEAD),
            Self::Held => LEAKED_OVERHEAD,
            Self::AsIs | Self::Counts(_) => 1.0,
        }
    }
}

/// The whole of a series, with a window's model of it.
pub(super) fn whole(series: &Series, columns: &Columns, model: &Model) -> Vec<f64> {
    match model {
        Model::AsIs => series.q.clone(),
        Model::Overhead(overhead) => (columns.resident.iter().zip(&columns.account))
            .map(|(resident, account)| resident - overhead * account)
            .collect(),
        Model::Held => held(columns),
        Model::Counts(units) => (series.t.iter().zip(&series.q))
            .map(|(t, q)| {
                let row = columns.t.partition_point(|other| other < t);
                let counts = columns.counts.iter().zip(units).filter(|(_, unit)| **unit > 0.0);
                let explained: f64 =
                    counts.map(|(column, unit)| column.get(row).unwrap_or(&f64::NAN) * unit).sum();
                q - explained
            })
            .collect(),
    }
}

fn held(columns: &Columns) -> Vec<f64> {
    (largest_so_far(&columns.resident).iter().zip(largest_so_far(&columns.account)))
        .map(|(resident, account)| resident - OVERHEAD * account)
        .collect()
}

/// Looks at the window since `from`. `None`: too few points, or growth of less than `least` at first sight.
pub(super) fn look(series: &Series, columns: &Columns, from: f64, least: f64) -> Option<Seen> {
    let row = series.t.partition_point(|t| *t < from);
    let (t, q) = (series.t.get(row..)?, series.q.get(row..)?);
    let start = columns.t.partition_point(|t| *t < from);
    let promising = |points: &[(f64, f64)]| {
        let values: Vec<f64> = points.iter().map(|point| point.1).collect();
        ends(&values).is_some_and(|grown| grown > 0.6 * least)
    };
    let seen = |points: &[(f64, f64)], explained: f64, model: Model| {
        if !promising(points) {
            return None;
        }
        Some(Seen { growth: measure(points)?, explained, model })
    };
    let by_counts = || rise(columns, start) * series.level;
    match series.sight {
        Sight::Follow => {
            let (points, explained, model) = follow(t, columns, start)?;
            seen(&points, explained + 0.1 * by_counts(), model)
        }
        Sight::Ratchet => {
            let account = largest_so_far(&columns.account);
            let risen = ends(account.get(start..)?)?.max(0.0);
            let points = thin(t, q, POINTS);
            seen(&points, OVERHEAD_ERROR * risen + 0.1 * by_counts(), Model::Held)
        }
        Sight::Account => {
            let points = thin(t, q, POINTS);
            let counts = |column: &[f64]| {
                // Where the account is silent nothing is looked at.
                let pairs = column.get(start..).unwrap_or_default().iter().zip(q);
                let known: Vec<f64> = pairs
                    .map(|(count, account)| if account.is_finite() { *count } else { f64::NAN })
                    .collect();
                let means = thin(t, &known, POINTS);
                means.into_iter().map(|point| point.1).collect()
            };
            let less = less_counts(&points, columns, start, ACCOUNTED, counts)?;
            seen(&less.points, less.explained, Model::Counts(less.per_unit))
        }
        Sight::HeapFloor | Sight::ResidentFloor => {
            let points = if t.len() >= 12 {
                lowest(t, q, (t.len() / 2).min(24))
            } else {
                t.iter().copied().zip(q.iter().copied()).collect()
            };
            if points.len() < ENOUGH {
                let growth = measure_few(&points)?;
                let large = growth.grown > LARGE * series.level;
                let explained = by_counts();
                return large.then_some(Seen { growth, explained, model: Model::AsIs });
            }
            match floors_less_counts(&points, columns, start) {
                Some(less) => seen(&less.points, less.explained, Model::Counts(less.per_unit)),
                None => seen(&points, by_counts(), Model::AsIs),
            }
        }
        Sight::Native => {
            let explained = by_counts().min(beside_heap(&series.per_unit, columns, start));
            seen(&thin(t, q, POINTS), explained, Model::AsIs)
        }
        Sight::Direct | Sight::Counted | Sight::Bare => {
            seen(&thin(t, q, POINTS), by_counts(), Model::AsIs)
        }
    }
}

/// Floors of a heap less what counts of state have in it. `None`: too few, or they do not go up and down: what warms up
/// rises with the counts of a morning as well.
fn floors_less_counts(points: &[(f64, f64)], columns: &Columns, start: usize) -> Option<Less> {
    let floors: Vec<f64> = points.iter().map(|point| point.1).collect();
    let range = largest(&floors) - floors.iter().copied().fold(f64::INFINITY, f64::min);
    if fall(&floors) <= 0.3 * range {
        return None;
    }
    let counts = |column: &[f64]| {
        let row = |t: f64| columns.t.partition_point(|other| *other < t);
        points.iter().map(|(t, _)| column.get(row(*t)).copied().unwrap_or(f64::NAN)).collect()
    };
    less_counts(points, columns, start, HEAPED, counts)
}

/// Points of a window, what may be wrong with them, and what was taken off.
type Explained = (Vec<(f64, f64)>, f64, Model);

/// Memory less what the account explains: measured, if memory followed the account up and down.
fn follow(t: &[f64], columns: &Columns, start: usize) -> Option<Explained> {
    let values = |column: &[f64]| -> Option<Vec<f64>> {
        let points = thin(t, column.get(start..)?, POINTS);
        Some(points.into_iter().map(|point| point.1).collect())
    };
    let times: Vec<f64> =
        thin(t, columns.resident.get(start..)?, POINTS).into_iter().map(|point| point.0).collect();
    let (account, resident) = (values(&columns.account)?, values(&columns.resident)?);
    if account.len() != resident.len() {
        return None;
    }
    let low = account.iter().copied().fold(f64::INFINITY, f64::min);
    let range = account.iter().copied().fold(f64::NEG_INFINITY, f64::max) - low;
    let less = |resident: &[f64], account: &[f64], overhead: f64| -> Vec<(f64, f64)> {
        (times.iter().zip(resident.iter().zip(account)))
            .map(|(t, (resident, account))| (*t, resident - overhead * account))
            .collect()
    };
    let trend = ends(&account)?.abs();
    let taken_off = |overhead: f64, share: f64| {
        let points = less(&resident, &account, overhead);
        Some((points, share * range + 0.1 * trend, Model::Overhead(overhead)))
    };
    if let Some(overhead) = columns.overhead {
        return taken_off(overhead, MEASURED_ERROR);
    }
    if let Some(found) = fit(&times, &resident, &[&account], &[3.0], Trend::Time)
        && let [overhead] = *found.per_unit.as_slice()
        && (1.0..1.45).contains(&overhead)
        && found.residue < 0.06 * range
    {
        // Both went down as well as up: then it is measured and not only likely.
        let both =
            fall(&account) > 0.3 * range && fall(&resident) > 0.4 * overhead * fall(&account);
        let share = if both { MEASURED_ERROR } else { OVERHEAD_ERROR };
        if both || fall(&account) < 0.1 * range {
            return taken_off(overhead, share);
        }
    }
    let points = less(&largest_so_far(&resident), &largest_so_far(&account), OVERHEAD);
    let risen = low + range - account.first()?;
    // Where the account hardly moves it does not matter what the allocator does with it.
    let calm = OVERHEAD * range < 0.02 * resident.last()?;
    let model = if calm { Model::Overhead(OVERHEAD) } else { Model::Held };
    Some((points, OVERHEAD_ERROR * risen, model))
}

/// Bytes of memory for each byte of the account, if memory has gone up and down with it over the last day and a half.
pub(super) fn gives_back(columns: &Columns) -> Option<f64> {
    let span = 36.0 * columns.settle_s;
    let now = columns.t.last()?;
    let start = columns.t.partition_point(|t| *t < now - span);
    let t = columns.t.get(start..)?;
    let points = |column: &[f64]| thin(t, column, 2 * POINTS);
    let (account, resident) =
        (points(columns.account.get(start..)?), points(columns.resident.get(start..)?));
    if account.len() != resident.len() || account.len() < POINTS {
        return None;
    }
    let times: Vec<f64> = resident.iter().map(|point| point.0).collect();
    let values = |points: &[(f64, f64)]| points.iter().map(|point| point.1).collect::<Vec<f64>>();
    let (account, resident) = (values(&account), values(&resident));
    let low = account.iter().copied().fold(f64::INFINITY, f64::min);
    let range = account.iter().copied().fold(f64::NEG_INFINITY, f64::max) - low;
    // It has to rise again below what it had been: nothing else tells an allocator that gives back from one that keeps.
    let fell = fall(&account) > 0.5 * range;
    if !fell || recovered(&account) < 0.3 * range || range < 0.02 * resident.last()? {
        return None;
    }
    // What fills or warms up beside it bends.
    let (first, last) = (times.first()?, times.last()?);
    if last - first < 6.0 * columns.settle_s {
        return None;
    }
    let bow: Vec<f64> =
        times.iter().map(|t| range * ((t - first) / (last - first)).powi(2)).collect();
    let down: Vec<f64> = bow.iter().map(|bow| -bow).collect();
    let caps = [3.0, 100.0, 100.0];
    let found = fit(&times, &resident, &[&account, &bow, &down], &caps, Trend::Time)?;
    let overhead = *found.per_unit.first()?;
    ((0.9..1.6).contains(&overhead) && found.residue < 0.1 * range).then_some(overhead)
}

/// How far it rose again behind its deepest fall.
fn recovered(values: &[f64]) -> f64 {
    let (mut high, mut deepest, mut recovered) = (f64::NEG_INFINITY, 0.0, 0.0);
    let mut bottom = f64::INFINITY;
    for value in values {
        high = high.max(*value);
        if high - value > deepest {
            (deepest, bottom, recovered) = (high - value, *value, 0.0);
        }
        recovered = f64::max(recovered, value - bottom);
    }
    recovered
}

/// The deepest fall below what was before.
pub(super) fn fall(values: &[f64]) -> f64 {
    let mut high = f64::NEG_INFINITY;
    values.iter().fold(0.0, |deepest: f64, value| {
        high = high.max(*value);
        deepest.max(high - value)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two days of a swing, seen each six minutes, and what an allocator makes of it.
    fn swing(memory: impl Fn(&[f64], f64) -> f64) -> Columns {
        let mut columns = Columns { settle_s: 3600.0, ..Columns::default() };
        for step in 0..480 {
            let t = f64::from(step) * 360.0;
            columns.t.push(t);
            columns.account.push(40e6 + 10e6 * (t / 86_400.0 * std::f64::consts::TAU).sin());
            let memory = memory(&columns.account, t);
            columns.resident.push(memory);
        }
        columns
    }

    #[test]
    fn an_overhead_is_measured_where_memory_follows_and_nowhere_else() {
        let now = |account: &[f64]| account.last().copied().unwrap_or(0.0);
        let follows = swing(|account, t| 5e6 + 1.2 * now(account) + 3e6 * t / 3600.0);
        assert!(gives_back(&follows).is_some_and(|overhead| (overhead - 1.2).abs() < 0.01));
        let keeps = swing(|account, _| 1.2 * account.iter().copied().fold(0.0, f64::max));
        assert_eq!(gives_back(&keeps), None);
        assert_eq!(gives_back(&Columns::default()), None);
    }

    #[test]
    fn what_rose_again_is_counted_behind_the_deepest_fall() {
        assert!((recovered(&[5.0, 1.0, 3.0, 2.0]) - 2.0).abs() < 1e-9);
        assert!(recovered(&[1.0, 5.0, 2.0]).abs() < 1e-9);
        assert!(recovered(&[]).abs() < 1e-9);
    }
}
