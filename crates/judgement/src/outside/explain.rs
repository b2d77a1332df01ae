//! What explains a series: least squares with bounds.

/// How a series is explained.
#[derive(Clone, Debug)]
pub(super) struct Fit {
    /// Units of the series per unit of each regressor.
    pub(super) per_unit: Vec<f64>,
    /// Root of the mean squared residue.
    pub(super) residue: f64,
}

/// Whether growth over time is one of the explanations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trend {
    /// It is, and comes first: what moved with time is put down to time.
    Time,
    /// It is not: all growth is put down to the regressors, as far as they reach.
    None,
}

/// Fits `y = a + rate · t + Σ per_unit · x`, with each `per_unit` between zero and its cap, by coordinate descent.
///
/// The bounds are what keeps a count that hardly moved from explaining what grew beside it.
/// `None`: fewer than eight points without a gap in any column.
pub(super) fn fit(t: &[f64], y: &[f64], xs: &[&[f64]], caps: &[f64], trend: Trend) -> Option<Fit> {
    let usable: Vec<usize> = (0..t.len().min(y.len()))
        .filter(|&row| {
            let there = |column: &[f64]| column.get(row).is_some_and(|value| value.is_finite());
            there(t) && there(y) && xs.iter().all(|column| there(column))
        })
        .collect();
    if usable.len() < 8 {
        return None;
    }
    let count = usable.len() as f64;
    let centred = |column: &[f64]| {
        let values: Vec<f64> = usable.iter().filter_map(|&row| column.get(row)).copied().collect();
        let mean = values.iter().sum::<f64>() / count;
        values.into_iter().map(|value| value - mean).collect::<Vec<f64>>()
    };
    let time = centred(t);
    let mut left = centred(y);
    let columns: Vec<Vec<f64>> = xs.iter().map(|column| centred(column)).collect();
    let power = |column: &[f64]| column.iter().map(|value| value * value).sum::<f64>();
    let time_power = power(&time);
    // Time is projected out of everything first: what is left decides the units.
    let detrend = |column: &mut Vec<f64>| {
        if trend == Trend::None {
            return;
        }
        let slope = dot(column, &time) / time_power;
        for (value, t) in column.iter_mut().zip(&time) {
            *value -= slope * t;
        }
    };
    detrend(&mut left);
    let mut columns = columns;
    for column in &mut columns {
        detrend(column);
    }
    let powers: Vec<f64> = columns.iter().map(|column| power(column)).collect();
    let mut per_unit = vec![0.0; columns.len()];
    for _ in 0..60 {
        let mut moved: f64 = 0.0;
        for (index, column) in columns.iter().enumerate() {
            let (Some(&power), Some(&cap), Some(unit)) =
                (powers.get(index), caps.get(index), per_unit.get_mut(index))
            else {
                continue;
            };
            if power <= 1e-9 {
                continue;
            }
            let wanted = (*unit + dot(&left, column) / power).clamp(0.0, cap);
            let step = wanted - *unit;
            if step != 0.0 {
                for (value, x) in left.iter_mut().zip(column) {
                    *value -= step * x;
                }
                *unit = wanted;
                moved = moved.max(step.abs() / cap.max(1e-9));
            }
        }
        if moved < 1e-6 {
            break;
        }
    }
    Some(Fit { per_unit, residue: (power(&left) / count).sqrt() })
}

fn dot(one: &[f64], other: &[f64]) -> f64 {
    one.iter().zip(other).map(|(one, other)| one * other).sum()
}
