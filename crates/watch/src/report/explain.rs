//! How much of the memory moves with what the process says of itself.

use plimsoll_judgement::outside::Sample;

use crate::figure::Figure;

/// What may explain resident memory, in the order in which it is tried.
const EXPLAINING: [Figure; 8] = [
    Figure::Account,
    Figure::HeapCommitted,
    Figure::Direct,
    Figure::Retained,
    Figure::Sessions,
    Figure::Subscriptions,
    Figure::Queued,
    Figure::Connections,
];

/// Samples that are looked at to fit; of more, every so many.
const SAMPLES_MAX: usize = 20_000;

/// A part of the movement is too small to be fitted: relative to the figure's own size.
const MOVED_MIN: f64 = 1e-4;

/// Resident memory taken apart: what moves with figures, and what is left.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Explained {
    /// Figures, and how many bytes one more of each goes with.
    pub(super) parts: Vec<(Figure, f64)>,
    /// Time, and memory less what moved with the figures.
    pub(super) residue: Vec<(f64, f64)>,
}

/// Resident memory: its anonymous part if that is known, for files can be dropped.
pub(super) fn resident(sample: &Sample) -> f64 {
    sample.anon.unwrap_or(sample.rss)
}

/// Fits memory by least squares to those figures that are there, and to time, so that growth over time is not put
/// down to them; a figure that memory falls with explains nothing.
pub(super) fn explain(samples: &[Sample]) -> Explained {
    let mut chosen: Vec<Figure> =
        EXPLAINING.into_iter().filter(|figure| moves(samples, *figure)).collect();
    loop {
        let weights = fit(samples, &chosen);
        let falls = weights.iter().position(|weight| *weight <= 0.0 || !weight.is_finite());
        if let Some(at) = falls {
            chosen.remove(at);
            continue;
        }
        let parts: Vec<(Figure, f64)> = chosen.into_iter().zip(weights).collect();
        let residue = samples.iter().map(|sample| (sample.t, left(sample, &parts))).collect();
        return Explained { parts, residue };
    }
}

fn left(sample: &Sample, parts: &[(Figure, f64)]) -> f64 {
    // A figure that is missing makes it unknown.
    let explained: f64 = parts
        .iter()
        .map(|(figure, weight)| figure.of(sample).map_or(f64::NAN, |value| value * weight))
        .sum();
    resident(sample) - explained
}

/// Whether a figure is there most of the time, and not always the same.
fn moves(samples: &[Sample], figure: Figure) -> bool {
    let values: Vec<f64> = samples.iter().filter_map(|sample| figure.of(sample)).collect();
    let low = values.iter().copied().fold(f64::INFINITY, f64::min);
    let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    values.len() * 2 > samples.len() && high - low > MOVED_MIN * high.abs()
}

/// The weights of figures, by the normal equations of columns scaled to their spread.
fn fit(samples: &[Sample], figures: &[Figure]) -> Vec<f64> {
    let every = samples.len().div_ceil(SAMPLES_MAX).max(1);
    let rows: Vec<Vec<f64>> =
        samples.iter().step_by(every).filter_map(|s| row(s, figures)).collect();
    let Some(first) = rows.first() else { return Vec::new() };
    let count = rows.len() as f64;
    let columns = first.len();
    let mean: Vec<f64> =
        (0..columns).map(|c| rows.iter().map(|row| row[c]).sum::<f64>() / count).collect();
    let spread: Vec<f64> = (0..columns)
        .map(|c| (rows.iter().map(|row| (row[c] - mean[c]).powi(2)).sum::<f64>() / count).sqrt())
        .map(|spread| if spread > 0.0 { spread } else { 1.0 })
        .collect();
    let scaled = |row: &Vec<f64>, c: usize| (row[c] - mean[c]) / spread[c];
    // The last column is memory, the last but one time.
    let unknowns = columns - 1;
    let mut matrix = vec![vec![0.0; unknowns + 1]; unknowns];
    for row in &rows {
        for (i, line) in matrix.iter_mut().enumerate() {
            for (j, cell) in line.iter_mut().enumerate() {
                *cell += scaled(row, i) * scaled(row, j);
            }
        }
    }
    for (i, line) in matrix.iter_mut().enumerate() {
        // Columns that move alike share what they explain, instead of blowing each other up.
        line[i] += 1e-3 * count;
    }
    let mut solution = solve(matrix);
    solution.truncate(figures.len());
    solution.iter().zip(&spread).map(|(weight, own)| weight * spread[unknowns] / own).collect()
}

fn row(sample: &Sample, figures: &[Figure]) -> Option<Vec<f64>> {
    let mut row: Vec<f64> =
        figures.iter().map(|figure| figure.of(sample)).collect::<Option<_>>()?;
    row.extend([sample.t, resident(sample)]);
    Some(row)
}

/// Gauss with the largest pivot; a singular system has unknowns that are no numbers.
fn solve(mut matrix: Vec<Vec<f64>>) -> Vec<f64> {
    let size = matrix.len();
    for step in 0..size {
        let best = (step..size)
            .max_by(|one, other| matrix[*one][step].abs().total_cmp(&matrix[*other][step].abs()))
            .unwrap_or(step);
        matrix.swap(step, best);
        let pivot = matrix[step].clone();
        for (number, line) in matrix.iter_mut().enumerate() {
            if number == step {
                continue;
            }
            let factor = line[step] / pivot[step];
            for (cell, above) in line.iter_mut().zip(&pivot).skip(step) {
                *cell -= factor * above;
            }
        }
    }
    (0..size).map(|i| matrix[i][size] / matrix[i][i]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(leak_per_hour: f64) -> Vec<Sample> {
        (0..2000u32)
            .map(|minute| {
                let t = f64::from(minute) * 60.0;
                let retained = 1000.0 + f64::from((minute * 37) % 500);
                let rss = 20e6 + retained * 800.0 + leak_per_hour * t / 3600.0;
                Sample {
                    t,
                    rss,
                    retained: Some(retained),
                    sessions: Some(5.0),
                    ..Sample::default()
                }
            })
            .collect()
    }

    #[test]
    fn what_moves_with_state_is_put_down_to_it_and_the_rest_is_left() {
        let samples = series(1e5);
        let explained = explain(&samples);
        let [(Figure::Retained, weight)] = explained.parts[..] else {
            panic!("{:?}", explained.parts);
        };
        assert!((weight - 800.0).abs() < 10.0, "{weight}");
        let (first, last) = (explained.residue[0].1, explained.residue[1999].1);
        assert!((last - first - 1e5 * 1999.0 / 60.0).abs() < 2e4, "{first} {last}");
    }

    #[test]
    fn without_figures_all_of_it_is_left() {
        let samples = [Sample { t: 1.0, rss: 5.0, ..Sample::default() }];
        assert_eq!(explain(&samples), Explained { parts: vec![], residue: vec![(1.0, 5.0)] });
        assert_eq!(explain(&[]).residue, []);
    }

    #[test]
    fn a_figure_that_memory_falls_with_explains_nothing() {
        let mut samples = series(0.0);
        for sample in &mut samples {
            sample.queued = sample.retained.map(|retained| 5000.0 - retained);
            sample.retained = None;
        }
        assert_eq!(explain(&samples).parts, []);
    }
}
