//! What a leak grows with.

use crate::history::{Bucket, History};
use crate::judge::Driver;
use crate::sample::Column;
use crate::signal::View;
use crate::window::Finding;

/// What was seen at one time: seconds, counters of PUBLISH and CONNECT (`NaN` if unknown), bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Point {
    pub(crate) t: f64,
    pub(crate) published: f64,
    pub(crate) connects: f64,
    pub(crate) bytes: f64,
}

/// How growth goes with the load.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Follows {
    pub(crate) updates_per_hour: Option<f64>,
    pub(crate) connects_per_hour: Option<f64>,
    /// What it goes with best; `None` if that is not clear.
    pub(crate) driver: Option<Driver>,
}

/// Residual sum of squares, slope, of least squares of `y` on `x`.
fn fit(points: impl Iterator<Item = (f64, f64)> + Clone) -> Option<(f64, f64)> {
    let n = points.clone().count() as f64;
    if n < 6.0 {
        return None;
    }
    let (sx, sy) = points.clone().fold((0.0, 0.0), |(sx, sy), (x, y)| (sx + x, sy + y));
    let (mx, my) = (sx / n, sy / n);
    let (xx, xy) = points
        .clone()
        .fold((0.0, 0.0), |(xx, xy), (x, y)| (xx + (x - mx).powi(2), xy + (x - mx) * (y - my)));
    if xx <= 0.0 {
        return None;
    }
    let slope = xy / xx;
    Some((points.map(|(x, y)| (y - my - slope * (x - mx)).powi(2)).sum(), slope))
}

/// Whether growth follows updates, connects or the clock: whichever leaves the least, and the clock unless
/// another one is clearly better.
pub(crate) fn follows(points: impl Iterator<Item = Point> + Clone) -> Follows {
    let against = |x: fn(&Point) -> f64| {
        fit(points.clone().map(move |p| (x(&p), p.bytes)).filter(|(x, _)| x.is_finite()))
    };
    let per_hour = |x: fn(&Point) -> f64| {
        let known = points.clone().filter(move |p| x(p).is_finite());
        let (first, last) = (known.clone().next()?, known.last()?);
        let rate = (x(&last) - x(&first)) / (last.t - first.t) * 3600.0;
        Some(rate).filter(|rate| *rate > 0.0 && rate.is_finite())
    };
    let updates_per_hour = per_hour(|p| p.published);
    let connects_per_hour = per_hour(|p| p.connects);
    let clock = against(|p| p.t);
    let better =
        |found: &(f64, f64)| found.1 > 0.0 && clock.is_some_and(|(clock, _)| found.0 < 0.7 * clock);
    let updates = against(|p| p.published).filter(better);
    let connects = against(|p| p.connects).filter(better);
    let driver = match (updates, connects) {
        (Some((rest, bytes)), other) if other.is_none_or(|(other, _)| rest <= other) => {
            Some(Driver::PerUpdate(bytes))
        }
        (_, Some((_, bytes))) => Some(Driver::PerConnect(bytes)),
        _ => None,
    };
    Follows { updates_per_hour, connects_per_hour, driver }
}

/// What a finding from outside grows with.
pub(crate) fn driver(history: &History, finding: &Finding) -> Follows {
    let buckets: Vec<&Bucket> = history.coarse.since(history.life, finding.from).collect();
    let Some(view) = buckets.last().and_then(|last| View::central(finding.signal, last)) else {
        return Follows::default();
    };
    let column = |bucket: &Bucket, column| bucket.mean(column).unwrap_or(f64::NAN);
    follows(buckets.iter().filter_map(|bucket| {
        Some(Point {
            t: bucket.t,
            published: column(bucket, Column::Published),
            connects: column(bucket, Column::Connects),
            bytes: view.value(bucket, false)?,
        })
    }))
}
