//! What a leak grows with.

use crate::history::{Bucket, History};
use crate::judge::Driver;
use crate::sample::Column;
use crate::signal::View;
use crate::window::Finding;

/// Residual sum of squares, slope, of least squares of `y` on `x`.
fn fit(points: &[(f64, f64)]) -> Option<(f64, f64)> {
    let n = points.len() as f64;
    let (mx, my) =
        (points.iter().map(|p| p.0).sum::<f64>() / n, points.iter().map(|p| p.1).sum::<f64>() / n);
    let xx: f64 = points.iter().map(|(x, _)| (x - mx).powi(2)).sum();
    let xy: f64 = points.iter().map(|(x, y)| (x - mx) * (y - my)).sum();
    if xx <= 0.0 {
        return None;
    }
    let slope = xy / xx;
    Some((points.iter().map(|(x, y)| (y - my - slope * (x - mx)).powi(2)).sum(), slope))
}

/// Whether growth follows updates, connects or the clock: whichever leaves the least, and the clock unless
/// another one is clearly better.
pub(crate) fn driver(history: &History, finding: &Finding) -> Driver {
    let hourly = Driver::PerHour(finding.rate * 3600.0);
    let buckets: Vec<&Bucket> = history.coarse.since(history.life, finding.from).collect();
    let Some(view) = buckets.last().and_then(|last| {
        View::all(finding.signal, last).into_iter().find(|view| {
            view.per_account > 0.0
                || view.per_runtime > 0.0
                || finding.signal != crate::Signal::Memory
        })
    }) else {
        return hourly;
    };
    let against = |x: &dyn Fn(&Bucket) -> Option<f64>| {
        let points: Vec<(f64, f64)> = buckets
            .iter()
            .filter_map(|bucket| Some((x(bucket)?, view.value(bucket, false)?)))
            .collect();
        if points.len() < 6 { None } else { fit(&points) }
    };
    let Some((clock, _)) = against(&|bucket| Some(bucket.t)) else { return hourly };
    let updates = against(&|bucket| bucket.mean(Column::Published));
    let connects = against(&|bucket| bucket.mean(Column::Connects));
    let better = |rest: f64| rest < 0.7 * clock;
    match (updates, connects) {
        (Some((rest, bytes)), other)
            if better(rest) && other.is_none_or(|(other, _)| rest <= other) =>
        {
            Driver::PerUpdate(bytes)
        }
        (_, Some((rest, bytes))) if better(rest) => Driver::PerConnect(bytes),
        _ => hourly,
    }
}
