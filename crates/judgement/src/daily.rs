//! Growth from day to day, at the same hour, where load has a daily swing.

use crate::history::{Bucket, History};
use crate::sample::Column;
use crate::settings::Settings;
use crate::signal::{Signal, View, by_state, is_blind, is_saw};
use crate::trend::median;
use crate::window::{Finding, levels_off};

/// Days back that an hour is compared with.
const DAYS: usize = 14;

/// For each coarse bucket of the last `count`, how far it is above the highest value that the same hour ever had.
fn above_records(
    history: &History,
    cycle: f64,
    count: usize,
    view: &View,
) -> Option<Vec<(f64, f64, f64)>> {
    let width = history.coarse.width();
    let buckets: Vec<&Bucket> = history.coarse.since(history.life, f64::NEG_INFINITY).collect();
    let mut above = Vec::with_capacity(count);
    let low = view
        .low(buckets.last().is_some_and(|last| is_blind(last)) && is_saw(buckets.iter().copied()));
    for now in buckets.iter().rev().take(count) {
        let value = view.value(now, low)?;
        let state = |bucket: &Bucket| {
            Column::STATE.map(|(column, _)| bucket.mean(column).filter(|_| view.state))
        };
        let mut record = f64::NEG_INFINITY;
        let mut yesterday = f64::NAN;
        for day in 1..=DAYS {
            let t = now.t - cycle * day as f64;
            if t < history.start {
                break;
            }
            let at = buckets.partition_point(|bucket| bucket.t < t - width / 2.0);
            let Some(then) = buckets.get(at).filter(|then| (then.t - t).abs() <= width) else {
                continue;
            };
            let Some(before) = view.value(then, low) else { continue };
            let level = then.mean(view.signal.column()).unwrap_or(0.0);
            let before = before + by_state(level, &state(then), &state(now));
            if yesterday.is_nan() {
                yesterday = before;
            }
            record = record.max(before);
        }
        if record.is_finite() {
            above.push((now.t, value - record, value - yesterday));
        }
    }
    above.reverse();
    Some(above)
}

/// Looks for growth of a signal over the last cycles.
pub(crate) fn rising(settings: &Settings, history: &History, signal: Signal) -> Option<Finding> {
    let cycle = settings.cycle_s?;
    let width = history.coarse.width();
    let last = history.coarse.since(history.life, f64::NEG_INFINITY).next_back()?;
    let views = View::all(signal, last);
    let level = last.mean(signal.column())?.max(1.0);
    let least = settings.growth_bytes_min.max(settings.growth_share_min * level);
    let per_cycle = (cycle / width).round() as usize;
    let mut slowest: Option<(f64, f64)> = None;
    for view in &views {
        let above = above_records(history, cycle, 2 * per_cycle, view)?;
        let today: Vec<f64> =
            above.iter().rev().take(per_cycle).rev().map(|(_, above, _)| *above).collect();
        let before: Vec<f64> =
            above.iter().rev().skip(per_cycle).map(|(_, _, growth)| *growth).collect();
        if today.len() * 2 < per_cycle {
            return None;
        }
        let mut sorted = today.clone();
        let middle = median(&mut sorted)?;
        let spread =
            median(&mut today.iter().map(|value| (value - middle).abs()).collect::<Vec<f64>>())?;
        let low = sorted.iter().filter(|value| **value <= 0.0).count();
        if middle < least || middle < 3.0 * spread || low * 10 > today.len() {
            return None;
        }
        // It must not slow down: within the day, and against the day before.
        let half = today.len() / 2;
        let (early, late) =
            (median(&mut today[..half].to_vec())?, median(&mut today[half..].to_vec())?);
        if late < 0.9 * early {
            return None;
        }
        if before.len() * 2 >= per_cycle && middle < 0.85 * median(&mut before.clone())? {
            return None;
        }
        if slowest.is_none_or(|(rate, _)| middle / cycle < rate) {
            slowest = Some((middle / cycle, 1.48 * spread / cycle));
        }
    }
    let (rate, error) = slowest?;
    if levels_off(settings, history, signal, rate) {
        return None;
    }
    Some(Finding { signal, rate, error, from: last.t - cycle, confirm: cycle / 8.0 })
}
