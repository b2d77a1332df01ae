//! A window of a series: does it grow, and is it growth that goes on?

use crate::trend::{Slope, mann_kendall, theil_sen};

/// Points of a window at the most.
pub(super) const POINTS: usize = 32;

/// Points that are wanted to measure growth, where they need not lie on a line.
pub(super) const ENOUGH: usize = 6;
/// Where there are fewer, no stretch between two may grow at less than this share of the whole, nor the whole at less than
/// this share of a stretch.
const EVEN: f64 = 0.65;
/// Nor the last one at less than this share of the first.
const KEEPS: f64 = 0.75;

/// Growth over a window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Growth {
    /// First and last time.
    pub(super) from: f64,
    pub(super) to: f64,
    /// Bytes per second.
    pub(super) rate: f64,
    /// Standard error of the growth over the whole window, bytes.
    pub(super) error: f64,
    /// Growth over the window, bytes.
    pub(super) grown: f64,
    /// Slope of the last half over that of the first one.
    pub(super) keeps: f64,
    /// Standard error of that.
    pub(super) keeps_error: f64,
    /// The smallest growth of a third as a share of what a straight line has.
    pub(super) evenness: f64,
    /// The largest part of the growth that came at once, as a share of it.
    pub(super) jump: f64,
    /// The largest that this may be for so many points.
    pub(super) jump_max: f64,
    /// Share of pairs in rising order, −1 to 1.
    pub(super) order: f64,
    /// Points that it was measured by.
    pub(super) points: usize,
}

/// Cuts a stretch of a series into pieces of equal length: mean time and mean value of each that is not empty.
pub(super) fn thin(t: &[f64], q: &[f64], pieces: usize) -> Vec<(f64, f64)> {
    cut(t, q, pieces, |piece| {
        let count = piece.len() as f64;
        let sum = piece.iter().fold((0.0, 0.0), |sum, point| (sum.0 + point.0, sum.1 + point.1));
        (sum.0 / count, sum.1 / count)
    })
}

/// The same: time and value of the lowest of each.
pub(super) fn lowest(t: &[f64], q: &[f64], pieces: usize) -> Vec<(f64, f64)> {
    cut(t, q, pieces, |piece| {
        let lower =
            |one: (f64, f64), other: &(f64, f64)| if other.1 < one.1 { *other } else { one };
        piece.iter().fold((0.0, f64::INFINITY), lower)
    })
}

fn cut(
    t: &[f64],
    q: &[f64],
    pieces: usize,
    point: impl Fn(&[(f64, f64)]) -> (f64, f64),
) -> Vec<(f64, f64)> {
    let (Some(&from), Some(&to)) = (t.first(), t.last()) else { return Vec::new() };
    let width = (to - from) / pieces as f64;
    let mut points: Vec<(f64, f64)> = Vec::with_capacity(pieces);
    let mut piece: Vec<(f64, f64)> = Vec::with_capacity(t.len() / pieces.max(1) + 1);
    let mut end = from + width;
    for (&t, &q) in t.iter().zip(q) {
        while t > end && end < to - width * 0.5 {
            if !piece.is_empty() {
                points.push(point(&piece));
                piece.clear();
            }
            end += width;
        }
        if q.is_finite() {
            piece.push((t, q));
        }
    }
    if !piece.is_empty() {
        points.push(point(&piece));
    }
    points
}

/// Measures the growth of a thinned-out window. `None`: too few points.
pub(super) fn measure(points: &[(f64, f64)]) -> Option<Growth> {
    let n = points.len();
    if n < ENOUGH {
        return None;
    }
    let (first, last) = (points.first()?, points.last()?);
    let span = last.0 - first.0;
    let Slope { per_second: rate, .. } = theil_sen(points)?;
    let grown = rate * span;
    let residual: Vec<f64> = points.iter().map(|(t, q)| q - rate * (t - first.0)).collect();
    let middle = median(&residual);
    let residual: Vec<f64> = residual.iter().map(|value| value - middle).collect();
    let power: f64 = residual.iter().map(|value| value * value).sum();
    let count = n as f64;
    let deviation = (power / (count - 2.0)).sqrt();
    let lagged: f64 = residual.windows(2).map(|pair| pair.iter().product::<f64>()).sum();
    let memory = if power > 0.0 { (lagged / power).clamp(0.0, 0.8) } else { 0.0 };
    let inflation = ((1.0 + memory) / (1.0 - memory)).sqrt();
    let error = deviation * (12.0 / count).sqrt() * inflation;
    // Growth of thirds: between means of the ends of each.
    let edge = (n / 12).max(1);
    let at = |share: usize| {
        let middle = share * (n - 1) / 3;
        let from = middle.saturating_sub(edge / 2).min(n - edge);
        let piece = points.get(from..from + edge).unwrap_or_default();
        let count = piece.len().max(1) as f64;
        (
            piece.iter().map(|point| point.0).sum::<f64>() / count,
            piece.iter().map(|point| point.1).sum::<f64>() / count,
        )
    };
    let ends = [at(0), at(1), at(2), at(3)];
    let thirds: Vec<f64> = ends
        .windows(2)
        .map(|pair| match pair {
            [before, after] if after.0 > before.0 => (after.1 - before.1) / (after.0 - before.0),
            _ => 0.0,
        })
        .collect();
    // Slopes of halves are steadier than differences of ends.
    let half = (n / 2).max(4);
    let early = theil_sen(points.get(..half).unwrap_or_default());
    let late = theil_sen(points.get(n - half..).unwrap_or_default());
    let (keeps, keeps_error) = match (early, late) {
        (Some(early), Some(late)) if early.per_second > 0.0 => {
            let error = (late.high - late.low + early.high - early.low) / 4.0 * inflation;
            (late.per_second / early.per_second, error / early.per_second)
        }
        (Some(_), Some(late)) if late.per_second > 0.0 => (f64::INFINITY, 0.0),
        _ => (0.0, 0.0),
    };
    let least = thirds.iter().copied().fold(f64::INFINITY, f64::min);
    let jump = points
        .windows(3)
        .map(|three| match three {
            [before, _, after] => after.1 - before.1,
            _ => 0.0,
        })
        .fold(0.0, f64::max);
    let values: Vec<f64> = points.iter().map(|point| point.1).collect();
    Some(Growth {
        from: first.0,
        to: last.0,
        rate,
        error,
        grown,
        keeps,
        keeps_error,
        evenness: if rate > 0.0 { least / rate } else { 0.0 },
        jump: if grown > 0.0 { jump / grown } else { 0.0 },
        jump_max: (4.5 / (count - 1.0)).max(0.35),
        order: mann_kendall(&values),
        points: n,
    })
}

/// Measures growth by four or five points, if they lie so well on a line that they are enough: what fills or warms up
/// slows down by more from the first of three stretches to the last. `None`: too few points, or not such a line.
pub(super) fn measure_few(points: &[(f64, f64)]) -> Option<Growth> {
    if points.len() < 4 {
        return None;
    }
    let (first, last) = (points.first()?, points.last()?);
    let rate = theil_sen(points)?.per_second;
    let rates: Vec<f64> = points
        .windows(2)
        .filter_map(|pair| match pair {
            [before, after] => Some((after.1 - before.1) / (after.0 - before.0)),
            _ => None,
        })
        .collect();
    let least = rates.iter().copied().fold(f64::INFINITY, f64::min);
    let most = rates.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let keeps = rates.last()? / rates.first()?;
    if rate <= 0.0 || least < EVEN * rate || most > rate / EVEN || keeps < KEEPS {
        return None;
    }
    let span = last.0 - first.0;
    let residual: Vec<f64> = points.iter().map(|(t, q)| q - rate * (t - first.0)).collect();
    let middle = median(&residual);
    let power: f64 = residual.iter().map(|value| (value - middle).powi(2)).sum();
    Some(Growth {
        from: first.0,
        to: last.0,
        rate,
        error: 2.0 * (power / (points.len() - 2) as f64).sqrt(),
        grown: rate * span,
        keeps,
        keeps_error: 0.0,
        evenness: least / rate,
        jump: 1.0 / rates.len() as f64,
        jump_max: 1.0,
        order: 1.0,
        points: points.len(),
    })
}

/// Last eighth less first eighth.
pub(super) fn ends(column: &[f64]) -> Option<f64> {
    let piece = (column.len() / 8).max(1);
    let mean = |part: &[f64]| {
        let known: Vec<f64> = part.iter().copied().filter(|value| value.is_finite()).collect();
        (!known.is_empty()).then(|| known.iter().sum::<f64>() / known.len() as f64)
    };
    Some(mean(column.get(column.len().saturating_sub(piece)..)?)? - mean(column.get(..piece)?)?)
}

/// The middle one; NaN if there is none.
pub(super) fn median(values: &[f64]) -> f64 {
    let mut sorted: Vec<f64> = values.iter().copied().filter(|value| !value.is_nan()).collect();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn floors(values: &[f64]) -> Vec<(f64, f64)> {
        values.iter().enumerate().map(|(tooth, value)| (tooth as f64 * 36e3, *value)).collect()
    }

    #[test]
    fn four_points_are_enough_if_they_lie_on_a_line() {
        let growth = measure_few(&floors(&[100.0, 131.0, 160.0, 192.0])).unwrap();
        assert!((85.0..97.0).contains(&growth.grown) && growth.error < 5.0, "{growth:?}");
        assert!(growth.points < ENOUGH);
        // What fills with a time constant of five stretches; what falls once; what stands; three points.
        let fills = [0.0f64, 1.0, 2.0, 3.0].map(|tooth| 1.0 - (-tooth / 5.0).exp());
        for none in [&fills[..], &[0.0, 9.0, 3.0, 12.0], &[5.0; 5], &[0.0, 1.0, 2.0]] {
            assert_eq!(measure_few(&floors(none)), None, "{none:?}");
        }
    }

    #[test]
    fn the_lowest_of_a_piece_has_its_own_time() {
        let (t, q): (Vec<f64>, Vec<f64>) =
            (0..100).map(|step| (f64::from(step), f64::from((step + 3) % 10))).unzip();
        let found = lowest(&t, &q, 10);
        assert!(found.len() == 10 && found.iter().all(|(t, q)| *q < 1.0 && (t + 3.0) % 10.0 < 1.0));
        assert!(lowest(&[], &[], 10).is_empty());
    }
}
