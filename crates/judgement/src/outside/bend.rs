//! Does growth bend? What fills or warms up slows down; a leak does not.

/// Whether growth that slows down fits better than growth that does not.
pub(super) fn comes_to_an_end(points: &[(f64, f64)], start: f64) -> bool {
    let (Some(first), Some(last)) = (points.first(), points.last()) else { return false };
    let span = last.0 - first.0;
    let Some((straight, _)) = squares(points, |t| t - start) else { return false };
    bending(points, start).is_some_and(|(squares, rate, grown)| {
        squares < 0.85 * straight && rate * span < 0.85 * grown
    })
}

/// The growth that slows down which fits best: with the logarithm of age, or towards a limit. What is left in
/// squares, the rate at the end, and the growth within the window.
fn bending(points: &[(f64, f64)], start: f64) -> Option<(f64, f64, f64)> {
    let (first, last) = (points.first()?, points.last()?);
    let span = last.0 - first.0;
    let logarithm = squares(points, |t| (t - start).ln()).map(|(squares, unit)| {
        let ages = (last.0 - start, first.0 - start);
        (squares, unit / ages.0, unit * (ages.0 / ages.1).ln())
    });
    let limits = [0.25, 0.5, 1.0, 2.0].into_iter().filter_map(|share| {
        let slow = share * span;
        let (squares, unit) = squares(points, |t| -(-(t - first.0) / slow).exp())?;
        let left = (-span / slow).exp();
        Some((squares, unit / slow * left, unit * (1.0 - left)))
    });
    logarithm.into_iter().chain(limits).min_by(|one, other| one.0.total_cmp(&other.0))
}

/// Least squares of one function: what is left, and the factor.
pub(super) fn squares(points: &[(f64, f64)], function: impl Fn(f64) -> f64) -> Option<(f64, f64)> {
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

/// How straight a line is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bend {
    /// Units per second, on the average.
    pub(super) rate: f64,
    /// First to last, seconds.
    pub(super) span: f64,
    /// How far the middle lies above the straight line between the ends, about, and the standard error of that.
    bow: (f64, f64),
    /// Squares that it leaves.
    pub(super) left: f64,
}

impl Bend {
    /// The time constant of something that fills, `1 − exp(−t / slow)`, which bends as much as this does, or by so many
    /// standard errors more; seconds, infinite if it does not slow down or does not grow.
    pub(super) fn slow(&self, errors: f64) -> f64 {
        // Growth with a time constant has a second derivative of −rate / slow.
        let bent = self.bow.0 + errors * self.bow.1;
        if bent > 0.0 && self.rate > 0.0 {
            self.rate * self.span * self.span / (8.0 * bent)
        } else {
            f64::INFINITY
        }
    }

    /// With what may be wrong with it: a share of what was taken off, which bends too.
    pub(super) fn doubted(self, taken_off: &Self, share: f64) -> Self {
        let doubt = share * (taken_off.bow.0.abs() + taken_off.bow.1);
        Self { bow: (self.bow.0, self.bow.1.hypot(doubt)), ..self }
    }

    /// Whether it surely slows down: by more than so many standard errors.
    pub(super) fn is_sure(&self, errors: f64) -> bool {
        self.bow.0 > errors * self.bow.1
    }
}

/// Fits a parabola by least squares. `None`: fewer than five points, or all at two times.
///
/// The error of its curvature counts with the memory of what is left: neighbours that lie on the same side say less.
pub(super) fn slowest(points: &[(f64, f64)]) -> Option<Bend> {
    let (first, last) = (points.first()?, points.last()?);
    let count = points.len() as f64;
    let (middle, half) = (f64::midpoint(first.0, last.0), (last.0 - first.0) / 2.0);
    if points.len() < 5 || half <= 0.0 {
        return None;
    }
    let mean = |of: &dyn Fn(f64, f64) -> f64| {
        points.iter().map(|(t, y)| of((t - middle) / half, *y)).sum::<f64>() / count
    };
    // Two functions that are orthogonal to a constant and to each other: x, and x² less what x and a constant have.
    let x_mean = mean(&|x, _| x);
    let xx = mean(&|x, _| (x - x_mean).powi(2));
    let square_mean = mean(&|x, _| x * x);
    let shared = mean(&|x, _| (x - x_mean) * x * x) / xx;
    let bow = |x: f64| x * x - square_mean - shared * (x - x_mean);
    let bows = mean(&|x, _| bow(x).powi(2));
    // Two places in time alone have no middle.
    if bows < 1e-6 || !bows.is_finite() {
        return None;
    }
    let y_mean = mean(&|_, y| y);
    let slope = mean(&|x, y| (x - x_mean) * y) / xx;
    let curvature = mean(&|x, y| bow(x) * y) / bows;
    let left: Vec<f64> = points
        .iter()
        .map(|(t, y)| {
            let x = (t - middle) / half;
            y - y_mean - slope * (x - x_mean) - curvature * bow(x)
        })
        .collect();
    let power: f64 = left.iter().map(|value| value * value).sum();
    let lagged: f64 = left.windows(2).map(|pair| pair.iter().product::<f64>()).sum();
    let memory = if power > 0.0 { (lagged / power).clamp(0.0, 0.9) } else { 0.0 };
    let variance = power / (count - 3.0) * (1.0 + memory) / (1.0 - memory);
    let error = (variance / (count * bows)).sqrt();
    let (grown, span) = (2.0 * slope, 2.0 * half);
    Some(Bend { rate: grown / span, span, bow: (-curvature, error), left: power })
}

/// Whether it bends less than what fills with a time constant of two and a half times its length, and surely less than
/// what fills with one of its length.
pub(super) fn bends_little(points: &[(f64, f64)]) -> bool {
    slowest(points)
        .is_none_or(|bend| bend.slow(0.0) > 2.5 * bend.span && bend.slow(1.0) > 1.2 * bend.span)
}

/// The middles of the risers of stairs, if a series is one: a pool that takes memory in chunks lies on the straight line
/// there, and half a chunk beside it elsewhere.
pub(super) fn risers(t: &[f64], q: &[f64]) -> Option<Vec<(f64, f64)>> {
    let known: Vec<(f64, f64)> =
        t.iter().copied().zip(q.iter().copied()).filter(|(_, q)| q.is_finite()).collect();
    let mut found: Vec<(f64, f64)> = Vec::new();
    let mut level = known.first()?.1;
    let mut still = 0;
    let mut from = known.first()?;
    for pair in known.windows(2) {
        let [before, after] = pair else { continue };
        if (after.1 - before.1).abs() < 1.0 {
            still += 1;
            if after.1 > level {
                found.push((f64::midpoint(from.0, before.0), f64::midpoint(level, after.1)));
            }
            level = after.1;
            from = after;
        }
    }
    (found.len() >= 5 && still * 2 > known.len()).then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(of: impl Fn(f64) -> f64) -> Vec<(f64, f64)> {
        (0..60).map(|minute| (f64::from(minute) * 60.0, of(f64::from(minute) * 60.0))).collect()
    }

    #[test]
    fn a_time_constant_is_told_from_the_bend() {
        let slow = 10_000.0;
        let bend = slowest(&line(|t| 1e6 * (1.0 - (-t / slow).exp()))).unwrap();
        assert!((0.7..1.3).contains(&(bend.slow(2.0) / slow)), "{bend:?}");
        let straight = slowest(&line(|t| 5.0 * t)).unwrap();
        assert!(straight.slow(2.0) > 1e9 && (straight.rate - 5.0).abs() < 1e-6, "{straight:?}");
    }

    #[test]
    fn noise_hides_a_bend_and_that_is_counted() {
        let noisy = line(|t| 5.0 * t + 2000.0 * (t * 0.7).sin());
        let bend = slowest(&noisy).unwrap();
        assert!(bend.slow(2.0) < 1e5 && bend.slow(0.0) > bend.slow(2.0), "{bend:?}");
        assert!(slowest(&line(|t| -t)).is_some_and(|bend| bend.rate < 0.0));
    }

    #[test]
    fn stairs_lie_on_the_line_at_their_risers() {
        let (t, q): (Vec<f64>, Vec<f64>) = line(|t| (t / 360.0).floor() * 1e6).into_iter().unzip();
        let found = risers(&t, &q).unwrap();
        assert!(found.len() >= 8, "{found:?}");
        assert!(slowest(&found).unwrap().slow(2.0) > 1e5);
        let (t, q): (Vec<f64>, Vec<f64>) = line(|t| 5.0 * t).into_iter().unzip();
        assert!(risers(&t, &q).is_none());
    }
}
