//! When a leak began.

use super::window::thin;

/// Points that are tried.
const POINTS: usize = 64;

/// Since when a series grows: where a flat line with a ramp behind it fits best. `None`: too few points.
pub(super) fn onset(t: &[f64], q: &[f64]) -> Option<f64> {
    let points = thin(t, q, POINTS);
    if points.len() < 8 {
        return None;
    }
    let count = points.len() as f64;
    let mean = points.iter().map(|point| point.1).sum::<f64>() / count;
    let left = |onset: f64| {
        let ramps: Vec<f64> = points.iter().map(|(t, _)| (t - onset).max(0.0)).collect();
        let middle = ramps.iter().sum::<f64>() / count;
        let (mut xx, mut xy, mut yy) = (0.0, 0.0, 0.0);
        for (ramp, (_, q)) in ramps.iter().zip(&points) {
            let (x, y) = (ramp - middle, q - mean);
            xx += x * x;
            xy += x * y;
            yy += y * y;
        }
        if xx > 0.0 && xy > 0.0 { yy - xy * xy / xx } else { yy }
    };
    let ending = points.len() - 3;
    points
        .iter()
        .take(ending)
        .map(|point| point.0)
        .min_by(|one, other| left(*one).total_cmp(&left(*other)))
}
