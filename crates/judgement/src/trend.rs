//! Trends of short series: least squares, Theil–Sen, Mann–Kendall.

/// A straight line with a bend, through evenly spaced values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Line {
    /// Growth from one value to the next.
    pub(crate) slope: f64,
    /// Standard error of the slope, residuals taken as independent.
    pub(crate) error: f64,
    /// Slope of the second half over slope of the first: 1 is straight, below 1 it levels off.
    pub(crate) bend: f64,
    /// Standard error of the bend.
    pub(crate) bend_error: f64,
    /// Standard deviation of what the line leaves.
    pub(crate) noise: f64,
}

/// Fits by least squares. The bend comes from a quadratic term, which is orthogonal to the line on evenly
/// spaced points, so it costs the slope nothing.
pub(crate) fn line(values: &[f64]) -> Option<Line> {
    let count = values.len();
    if count < 4 {
        return None;
    }
    let n = count as f64;
    let middle = (n - 1.0) / 2.0;
    let mean = values.iter().sum::<f64>() / n;
    // Legendre's first two polynomials on the points, in units of steps.
    let square = (n * n - 1.0) / 12.0;
    let (mut xy, mut xx, mut qy, mut qq) = (0.0, 0.0, 0.0, 0.0);
    for (index, value) in values.iter().enumerate() {
        let x = index as f64 - middle;
        let q = x * x - square;
        xy += x * (value - mean);
        xx += x * x;
        qy += q * (value - mean);
        qq += q * q;
    }
    let slope = xy / xx;
    let bow = qy / qq;
    let rest: f64 = values
        .iter()
        .enumerate()
        .map(|(index, value)| {
            let x = index as f64 - middle;
            (value - mean - slope * x).powi(2)
        })
        .sum();
    let noise = (rest / (n - 2.0)).sqrt();
    let bow_error = ((rest - bow * bow * qq).max(0.0) / (n - 3.0) / qq).sqrt();
    // The slope at a quarter and at three quarters of the window.
    let quarter = n / 4.0;
    let (early, late) = (slope - 2.0 * bow * quarter, slope + 2.0 * bow * quarter);
    let bend = if early > 0.0 { late / early } else { f64::INFINITY };
    let bend_error = if early > 0.0 { 2.0 * 2.0 * bow_error * quarter / early } else { 0.0 };
    Some(Line { slope, error: noise / xx.sqrt(), bend, bend_error, noise })
}

/// A slope with its 95 % confidence interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Slope {
    /// Median of the slopes of all pairs, units per second.
    pub per_second: f64,
    /// Lower end of the interval.
    pub low: f64,
    /// Upper end of the interval.
    pub high: f64,
}

/// Theil–Sen slope of points `(seconds, value)` with Sen's interval.
///
/// P. K. Sen, “Estimates of the regression coefficient based on Kendall's tau”, J. Am. Stat. Assoc. 63
/// (1968) 1379–1389. It takes time of the square of the number of points: thin out first. It supposes
/// independent errors; average over spans that are longer than the noise remembers.
pub fn theil_sen(points: &[(f64, f64)]) -> Option<Slope> {
    theil_sen_at(points, 1.96)
}

/// The same with an interval of so many standard deviations to each side.
pub(crate) fn theil_sen_at(points: &[(f64, f64)], deviations: f64) -> Option<Slope> {
    let mut slopes: Vec<f64> =
        Vec::with_capacity(points.len() * points.len().saturating_sub(1) / 2);
    for (index, (t, value)) in points.iter().enumerate() {
        for (later, other) in points.iter().skip(index + 1) {
            if later > t {
                slopes.push((other - value) / (later - t));
            }
        }
    }
    if points.len() < 4 || slopes.is_empty() {
        return None;
    }
    slopes.sort_unstable_by(f64::total_cmp);
    let n = points.len() as f64;
    let spread = deviations * (n * (n - 1.0) * (2.0 * n + 5.0) / 18.0).sqrt();
    let pairs = slopes.len() as f64;
    let at = |rank: f64| {
        let rank = rank.clamp(0.0, pairs - 1.0);
        slopes.get(rank.round() as usize).copied()
    };
    Some(Slope {
        per_second: at((pairs - 1.0) / 2.0)?,
        low: at((pairs - spread) / 2.0)?,
        high: at(f64::midpoint(pairs, spread))?,
    })
}

/// Mann–Kendall's score as a share of its largest value: 1 if each value is above all before it, −1 if below.
///
/// H. B. Mann, “Nonparametric tests against trend”, Econometrica 13 (1945) 245–259.
pub fn mann_kendall(values: &[f64]) -> f64 {
    let mut score = 0.0;
    let mut pairs = 0.0;
    for (index, value) in values.iter().enumerate() {
        for later in values.iter().skip(index + 1) {
            pairs += 1.0;
            if later > value {
                score += 1.0;
            } else if later < value {
                score -= 1.0;
            }
        }
    }
    if pairs > 0.0 { score / pairs } else { 0.0 }
}

/// Mann–Kendall's score in standard deviations, for independent values without ties.
pub fn mann_kendall_z(values: &[f64]) -> f64 {
    let n = values.len() as f64;
    let pairs = n * (n - 1.0) / 2.0;
    let deviation = (n * (n - 1.0) * (2.0 * n + 5.0) / 18.0).sqrt();
    if deviation > 0.0 { mann_kendall(values) * pairs / deviation } else { 0.0 }
}

/// The median; of an even number the mean of the middle two. `None` of nothing.
pub(crate) fn median(values: &mut [f64]) -> Option<f64> {
    quantile(values, 0.5)
}

/// A quantile, interpolated. `None` of nothing.
pub(crate) fn quantile(values: &mut [f64], share: f64) -> Option<f64> {
    values.sort_unstable_by(f64::total_cmp);
    let place = share.clamp(0.0, 1.0) * values.len().checked_sub(1)? as f64;
    let below = *values.get(place.floor() as usize)?;
    let above = *values.get(place.ceil() as usize)?;
    Some(below + (above - below) * place.fract())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_straight_line_is_straight() {
        let values: Vec<f64> = (0..8).map(|x| 5.0 + 3.0 * f64::from(x)).collect();
        let line = line(&values).unwrap();
        assert!(
            (line.slope - 3.0).abs() < 1e-9 && (line.bend - 1.0).abs() < 1e-9 && line.noise < 1e-9
        );
    }

    #[test]
    fn saturation_bends_as_its_time_constant_says() {
        let values: Vec<f64> = (0..8).map(|x| 1.0 - (-f64::from(x) / 16.0).exp()).collect();
        // Over eight steps with a time constant of 16, half a window apart: e^(−4/16).
        assert!((line(&values).unwrap().bend - (-0.25_f64).exp()).abs() < 0.02);
    }

    #[test]
    fn theil_sen_is_not_moved_by_a_spike() {
        let mut points: Vec<(f64, f64)> =
            (0..40).map(|x| (f64::from(x), 2.0 * f64::from(x))).collect();
        points[17].1 = 1e9;
        let slope = theil_sen(&points).unwrap();
        assert!((slope.per_second - 2.0).abs() < 1e-9 && slope.low <= 2.0 && slope.high >= 2.0);
    }

    #[test]
    fn mann_kendall_counts_order() {
        assert!((mann_kendall(&[1.0, 2.0, 3.0, 4.0]) - 1.0).abs() < 1e-9);
        assert!((mann_kendall(&[4.0, 3.0, 2.0]) + 1.0).abs() < 1e-9);
        assert!(mann_kendall(&[1.0, 1.0]).abs() < 1e-9);
    }

    #[test]
    fn quantiles() {
        assert_eq!(median(&mut [3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&mut [4.0, 1.0]), Some(2.5));
        assert_eq!(median(&mut []), None);
    }
}
