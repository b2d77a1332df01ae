//! Trends of short series: Theil–Sen, Mann–Kendall.

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
    let n = points.len() as f64;
    let spread = 1.96 * (n * (n - 1.0) * (2.0 * n + 5.0) / 18.0).sqrt();
    let pairs = slopes.len() as f64;
    let mut at = |rank: f64| {
        #[expect(clippy::cast_sign_loss, reason = "it is clamped to what there is")]
        let rank = rank.clamp(0.0, pairs - 1.0).round() as usize;
        *slopes.select_nth_unstable_by(rank, f64::total_cmp).1
    };
    Some(Slope {
        per_second: at((pairs - 1.0) / 2.0),
        low: at((pairs - spread) / 2.0),
        high: at(f64::midpoint(pairs, spread)),
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

#[cfg(test)]
mod tests {
    use super::*;

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
}
