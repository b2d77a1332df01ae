//! Sustained growth within one window of one process's life.

use crate::history::{Bucket, History, Ring};
use crate::sample::Column;
use crate::settings::Settings;
use crate::signal::{Signal, View, by_state, is_blind, is_saw, middle};
use crate::trend::{Line, line, mann_kendall, median};

/// Pieces into which a window is cut.
const PIECES: usize = 8;
/// Steps between them.
const STEPS: f64 = 7.0;

/// Growth that nothing explains.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Finding {
    pub(crate) signal: Signal,
    /// Growth, bytes per second.
    pub(crate) rate: f64,
    /// Half of its 95 % confidence interval.
    pub(crate) error: f64,
    /// Where the window begins, seconds.
    pub(crate) from: f64,
    /// How long the finding must hold before it is an alarm, seconds.
    pub(crate) confirm: f64,
}

/// The values of the pieces of a window, oldest first; `None` if one is empty.
pub(crate) struct Pieces {
    pub(crate) values: Vec<f64>,
    pub(crate) state: Vec<[Option<f64>; 5]>,
}

/// Cuts the buckets of `[from, to)` into equal pieces of time.
pub(crate) fn cut<'a>(
    buckets: impl Iterator<Item = &'a Bucket> + Clone,
    (from, to): (f64, f64),
    count: usize,
    view: &View,
) -> Option<Pieces> {
    let low = view.low(buckets.clone().any(is_blind) && is_saw(buckets.clone()));
    let mut pieces = Pieces { values: Vec::with_capacity(count), state: Vec::with_capacity(count) };
    let mut falls: Vec<(f64, f64)> = Vec::with_capacity(count);
    let width = (to - from) / count as f64;
    for index in 0..count {
        let (begin, end) = (from + width * index as f64, from + width * (index + 1) as f64);
        let within = buckets.clone().filter(move |bucket| bucket.t >= begin && bucket.t < end);
        let mut values: Vec<f64> =
            within.clone().filter_map(|bucket| view.value(bucket, low)).collect();
        let value = if low { values.iter().copied().reduce(f64::min) } else { median(&mut values) };
        pieces.values.push(value?);
        falls.push(fall(within.clone(), view.signal.column())?);
        pieces.state.push(
            Column::STATE
                .map(|(column, _)| if view.state { middle(within.clone(), column) } else { None }),
        );
    }
    if low {
        // A low-water mark is one only if something was collected: every piece has to see it.
        let height = median(&mut falls.iter().map(|(_, height)| *height).collect::<Vec<f64>>())?;
        if falls.iter().any(|(fall, _)| *fall < 0.4 * height) {
            return None;
        }
    }
    let mut explained_by_load = false;
    if view.state
        && view.signal != Signal::Memory
        && let Some(bytes) = per_load(buckets.clone(), view)
    {
        explained_by_load = true;
        let load = Column::STATE
            .iter()
            .position(|(column, _)| *column == Column::Connections)
            .unwrap_or(0);
        for (value, now) in pieces.values.iter_mut().zip(&mut pieces.state) {
            *value -= bytes * now.get(load).copied().flatten().unwrap_or(0.0);
            for ((column, _), now) in Column::STATE.iter().zip(now) {
                if matches!(column, Column::Connections | Column::Sessions | Column::Subscriptions)
                {
                    *now = None;
                }
            }
        }
    }
    if view.state
        && let (Some(level), Some(first)) =
            (pieces.values.first().copied(), pieces.state.first().copied())
    {
        let level = if explained_by_load {
            buckets.clone().find_map(|b| b.mean(view.signal.column())).unwrap_or(level)
        } else {
            level
        };
        for (value, now) in pieces.values.iter_mut().zip(&pieces.state) {
            *value -= by_state(level, &first, now);
        }
    }
    Some(pieces)
}

/// Bytes for each connection, if a signal follows connections so closely within the buckets that the two can be
/// told from a trend: least squares on time and connections.
fn per_load<'a>(buckets: impl Iterator<Item = &'a Bucket>, view: &View) -> Option<f64> {
    let points: Vec<(f64, f64, f64)> = buckets
        .filter_map(|bucket| {
            Some((bucket.t, bucket.mean(Column::Connections)?, view.value(bucket, false)?))
        })
        .collect();
    let n = points.len() as f64;
    if points.len() < 24 {
        return None;
    }
    let (mt, mx, my) =
        points.iter().fold((0.0, 0.0, 0.0), |(t, x, y), p| (t + p.0 / n, x + p.1 / n, y + p.2 / n));
    let (mut tt, mut tx, mut xx, mut ty, mut xy) = (0.0, 0.0, 0.0, 0.0, 0.0);
    for (t, x, y) in &points {
        let (t, x, y) = (t - mt, x - mx, y - my);
        tt += t * t;
        tx += t * x;
        xx += x * x;
        ty += t * y;
        xy += x * y;
    }
    // What is left of connections without their trend.
    let own = xx - tx * tx / tt;
    if own < 0.02 * xx || xx <= 0.0 {
        return None;
    }
    let bytes = (xy - tx * ty / tt) / own;
    let trend = (ty - bytes * tx) / tt;
    let rest: f64 =
        points.iter().map(|(t, x, y)| (y - my - bytes * (x - mx) - trend * (t - mt)).powi(2)).sum();
    // It has to follow them closely, or it is lag or chance.
    (bytes > 0.0 && bytes * bytes * own > 9.0 * rest).then_some(bytes)
}

/// The deepest fall from one bucket to the next, and the height of all.
fn fall<'a>(buckets: impl Iterator<Item = &'a Bucket>, column: Column) -> Option<(f64, f64)> {
    let (mut deepest, mut before) = (0.0_f64, f64::NAN);
    let (mut lowest, mut highest) = (f64::INFINITY, f64::NEG_INFINITY);
    for bucket in buckets {
        let (mean, least) = (bucket.mean(column)?, bucket.least(column)?);
        deepest = deepest.max(before - least).max(mean - least);
        (lowest, highest) = (lowest.min(least), highest.max(mean));
        before = mean;
    }
    Some((deepest, highest - lowest))
}

/// The straightest of the shapes that end by themselves: an exponential approach with the longest time constant
/// that is plausible, and a logarithm of the process's age.
fn straightest_end(settings: &Settings, length: f64, age: f64) -> f64 {
    let saturating = (-length / 2.0 / settings.saturation_s()).exp();
    let (a, b, c) = (age, age - length / 2.0, (age - length).max(age * 1e-3));
    let logarithm = if age > length / 2.0 { (a / b).ln() / (b / c).ln() } else { 0.0 };
    saturating.max(logarithm.min(0.9))
}

/// Looks for sustained growth of a signal in the last `length` seconds.
pub(crate) fn sustained(
    settings: &Settings,
    history: &History,
    signal: Signal,
    length: f64,
) -> Option<Finding> {
    let ring: &Ring =
        if length > 500.0 * history.fine.width() { &history.coarse } else { &history.fine };
    let buckets = ring.since(history.life, history.last_t - length);
    let last = buckets.clone().next_back()?;
    let to = last.t + ring.width() / 2.0;
    let from = to - length;
    let age = to - history.start;
    if from < history.start + settings.ignore_s()
        || from < buckets.clone().next()?.t - length / 16.0
    {
        return None;
    }
    let young = age < 12.0 * settings.settle_s;
    let fresh = age < 2.0 * settings.settle_s;
    let hasty = young && length < 2.0 * settings.settle_s;
    if (hasty && length < 0.75 * settings.settle_s)
        || (is_blind(last) && settings.cycle_s.is_some_and(|cycle| length < cycle))
    {
        return None;
    }
    let views = View::all(signal, last);
    if views.is_empty() {
        return None;
    }
    let level = last.mean(signal.column())?.max(1.0);
    let least = settings.growth_bytes_min.max(settings.growth_share_min * level);
    let mut best: Option<(Line, f64)> = None;
    for view in &views {
        let pieces = cut(buckets.clone(), (from, to), PIECES, view)?;
        let line = line(&pieces.values)?;
        let order = mann_kendall(&pieces.values);
        // Every view has to see growth; it need not be tidy in those that explain too little or too much.
        if line.slope < 3.0 * line.error || order < 0.6 || line.slope * STEPS < least {
            return None;
        }
        if best.is_none_or(|(best, _)| line.slope * best.error > best.slope * line.error) {
            best = Some((line, order));
        }
    }
    let (line, order) = best?;
    if line.slope < settings.significance * line.error || order < 0.8 {
        return None;
    }
    if hasty && line.slope * STEPS < settings.young_growth_bytes {
        return None;
    }
    // Growth must be straighter than any shape that ends by itself, half way at least; while the process is
    // fresh, when such shapes are to be expected, beyond doubt.
    let end = straightest_end(settings, length, age);
    if line.bend < f64::midpoint(1.0, end) || (fresh && line.bend - 2.5 * line.bend_error < end) {
        return None;
    }
    let step = length / PIECES as f64;
    let (rate, error) = (line.slope / step, line.error / step);
    if !fresh && levels_off(settings, history, signal, rate) {
        return None;
    }
    // Student's 97.5 % for the six degrees of freedom that eight pieces leave.
    Some(Finding { signal, rate, error: 2.45 * error, from, confirm: length / 8.0 })
}

/// Whether a rate is what is left of a start-up that levels off.
///
/// At age `a`, steady growth since the start gives `rate · a / 2` twice what came between `a / 4` and `a / 2`. A
/// logarithm gives 0.7 times as much, an exponential approach less than 1.7 times from a quarter of its time
/// constant on. Growth that began late gives more.
pub(crate) fn levels_off(
    settings: &Settings,
    history: &History,
    signal: Signal,
    rate: f64,
) -> bool {
    let age = history.age();
    let Some(last) = history.coarse.since(history.life, f64::NEG_INFINITY).next_back() else {
        return true;
    };
    let Some(view) = View::central(signal, last) else { return true };
    // Around whole cycles once there are some, so that the hour does not matter.
    let cycle = settings.cycle_s.unwrap_or(f64::INFINITY);
    let span = if age >= 4.0 * cycle { cycle } else { age / 8.0 };
    let level = |at: f64| {
        let ring = if span > 400.0 * history.fine.width()
            || history.last_t - at > 500.0 * history.fine.width()
        {
            &history.coarse
        } else {
            &history.fine
        };
        let (from, to) = (history.start + at - span / 2.0, history.start + at + span / 2.0);
        let buckets = ring.since(history.life, from);
        cut(buckets, (from, to), 1, &View { state: false, ..view })?.values.first().copied()
    };
    let (Some(quarter), Some(half)) = (level(age / 4.0), level(age / 2.0)) else { return false };
    rate * age / 2.0 < 1.7 * (half - quarter)
}

/// Growth from the first third of a span to the last, as the middle one of all views has it.
pub(crate) fn grown(history: &History, signal: Signal, length: f64) -> Option<f64> {
    let buckets = history.coarse.since(history.life, history.last_t - length);
    let last = buckets.clone().next_back()?;
    let ends = (last.t - length, last.t + 1e-9);
    let mut all: Vec<f64> = View::all(signal, last)
        .iter()
        .filter_map(|view| {
            let thirds = cut(buckets.clone(), ends, 3, view)?.values;
            Some(thirds.last()? - thirds.first()?)
        })
        .collect();
    median(&mut all)
}
