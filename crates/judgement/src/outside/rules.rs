//! When growth over a window is a leak, as far as that window can tell.

use super::Settings;
use super::columns::Columns;
use super::views::{Model, Series, Sight, look, whole};
use super::window::{Growth, POINTS, Thin, measure, thin};

const MIB: f64 = 1024.0 * 1024.0;

/// Windows: the shortest, and each longer than the one before by the square root of two.
pub(super) const WINDOWS: usize = 16;

/// Growth that nothing explains, in one window of one series.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    pub(super) sight: Sight,
    pub(super) window: usize,
    pub(super) length: f64,
    pub(super) growth: Growth,
    /// The whole series, with what explains it taken off.
    pub(super) whole: Vec<f64>,
}

/// Length of a window, seconds.
pub(super) fn length(settings: Settings, window: usize) -> f64 {
    2.0 * settings.settle_s
        * f64::from(1u32 << (window / 2))
        * [1.0, std::f64::consts::SQRT_2][window % 2]
}

/// The windows of a series in which it grows and nothing explains it.
pub(super) fn candidates(
    settings: Settings,
    series: &Series,
    columns: &Columns,
    start: f64,
) -> Vec<Candidate> {
    let mut found = Vec::new();
    let (Some(&first), Some(&now)) = (series.t.first(), columns.t.last()) else { return found };
    let age = now - start;
    for window in 0..WINDOWS {
        let length = length(settings, window);
        let hours = length / settings.settle_s;
        if hours < series.shortest_h - 0.1 {
            continue;
        }
        let from = now - length;
        if from < first - 0.08 * length {
            break;
        }
        let least = least(hours, series.level);
        let Some(seen) = look(series, columns, from, least) else { continue };
        let growth = seen.growth;
        let sure = growth.grown - 2.5 * growth.error - seen.explained;
        if sure < least || growth.to - growth.from < 0.7 * length {
            continue;
        }
        if growth.order < 0.6 || growth.evenness < 0.2 || growth.jump > growth.jump_max {
            continue;
        }
        let whole = whole(series, columns, &seen.model);
        let stairs =
            seen.model == Model::Held || matches!(series.sight, Sight::Bare | Sight::Counted);
        let past = Past { t: &series.t, q: &whole, start, age, stairs };
        if !past.is_new(&growth, least) || !past.goes_on(settings, &growth) {
            continue;
        }
        found.push(Candidate { sight: series.sight, window, length, growth, whole });
    }
    found
}

/// Growth that is never called a leak, bytes.
pub(super) fn least(hours: f64, level: f64) -> f64 {
    let bytes = (16.0 * MIB / hours).clamp(0.6 * MIB, 4.0 * MIB);
    let share = (0.24 / hours).clamp(0.015, 0.06);
    bytes.max(share * level)
}

/// What was before a window.
struct Past<'a> {
    t: &'a [f64],
    q: &'a [f64],
    start: f64,
    age: f64,
    /// It grows in stairs, as the peak of a day is above that of the day before.
    stairs: bool,
}

impl Past<'_> {
    fn between(&self, from: f64, to: f64) -> Vec<(f64, f64)> {
        let begin = self.t.partition_point(|t| *t < from);
        let end = self.t.partition_point(|t| *t <= to);
        let part = self.t.get(begin..end).zip(self.q.get(begin..end));
        part.map(|(t, q)| thin(t, q, POINTS, Thin::Mean)).unwrap_or_default()
    }

    /// Whether it ends above what it has ever been: what comes back each day is no leak.
    fn is_new(&self, growth: &Growth, least: f64) -> bool {
        let end = self.t.partition_point(|t| *t < growth.from);
        let before = self.q.get(..end).unwrap_or_default();
        let mut before: Vec<f64> = before.iter().copied().filter(|q| q.is_finite()).collect();
        if before.is_empty() {
            return true;
        }
        let rank = before.len() * 95 / 100;
        let high = *before.select_nth_unstable_by(rank, f64::total_cmp).1;
        let length = growth.to - growth.from;
        let last = self.between(growth.to - length / 8.0, growth.to);
        let last = last.iter().map(|point| point.1).sum::<f64>() / last.len().max(1) as f64;
        last - high > 0.7 * least
    }

    /// Whether it is growth that goes on, and not one that comes to its end: a warm-up, a cache that fills.
    fn goes_on(&self, settings: Settings, growth: &Growth) -> bool {
        let hour = settings.settle_s;
        let length = growth.to - growth.from;
        if growth.keeps < 0.5 {
            return false;
        }
        let day = 24.0 * hour;
        if self.stairs && length < day {
            // A day in which it did not grow, or it is the stair of each day.
            let before = self.between(growth.from - day, growth.from);
            let Some(before) = (before.len() >= 6).then(|| measure(&before)).flatten() else {
                return false;
            };
            let grown = before.rate.max(0.0) * (before.to - before.from);
            return before.to - before.from > 0.9 * day && grown < 0.3 * growth.grown;
        }
        // As fast as in the time before that is as long, or as much of it as there is.
        let before = self.between(growth.from - length.max(4.0 * hour), growth.from);
        let before = if before.len() >= 6 { measure(&before) } else { None };
        let began_here = before.is_some_and(|before| {
            before.to - before.from > 0.6 * length.max(4.0 * hour)
                && before.rate < 0.2 * growth.rate
        });
        if began_here {
            return true;
        }
        if self.age < 12.0 * hour {
            return false;
        }
        if before.is_some_and(|before| growth.rate < 0.75 * before.rate) {
            return false;
        }
        let whole = self.between(self.start + hour.max(self.age / 6.0), growth.to);
        let Some(all) = measure(&whole) else { return true };
        let wanted = (0.95 - 0.05 * self.age / (12.0 * hour)).max(0.8);
        all.keeps >= wanted && !comes_to_an_end(&whole, self.start)
    }
}

/// Whether growth that slows down fits better than growth that does not: with the logarithm of age, or
/// towards a limit.
fn comes_to_an_end(points: &[(f64, f64)], start: f64) -> bool {
    let (Some(first), Some(last)) = (points.first(), points.last()) else { return false };
    let span = last.0 - first.0;
    let Some((straight, _)) = squares(points, |t| t - start) else { return false };
    let mut best = squares(points, |t| (t - start).ln()).map(|(squares, unit)| {
        (squares, unit / (last.0 - start), unit * ((last.0 - start) / (first.0 - start)).ln())
    });
    for share in [0.25, 0.5, 1.0, 2.0] {
        let slow = share * span;
        let towards = |t: f64| -(-(t - first.0) / slow).exp();
        if let Some((squares, unit)) = squares(points, towards)
            && best.is_none_or(|best| squares < best.0)
        {
            let rate = unit / slow * (-span / slow).exp();
            best = Some((squares, rate, unit * (1.0 - (-span / slow).exp())));
        }
    }
    best.is_some_and(|(squares, rate, grown)| {
        squares < 0.85 * straight && rate * span < 0.85 * grown
    })
}

/// Least squares of one function: what is left, and the factor.
fn squares(points: &[(f64, f64)], function: impl Fn(f64) -> f64) -> Option<(f64, f64)> {
    let count = points.len() as f64;
    let xs: Vec<f64> = points.iter().map(|(t, _)| function(*t)).collect();
    let x_mean = xs.iter().sum::<f64>() / count;
    let y_mean = points.iter().map(|point| point.1).sum::<f64>() / count;
    let (mut xx, mut xy, mut yy) = (0.0, 0.0, 0.0);
    for (x, (_, y)) in xs.iter().zip(points) {
        let (x, y) = (x - x_mean, y - y_mean);
        xx += x * x;
        xy += x * y;
        yy += y * y;
    }
    (xx > 0.0).then(|| (yy - xy * xy / xx, xy / xx))
}
