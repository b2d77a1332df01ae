//! Growth that is no leak: with state, and of young processes.

use crate::history::{Bucket, History};
use crate::sample::Column;
use crate::settings::Settings;
use crate::signal::{by_state, middle};
use crate::trend::median;

/// What a process that does not leak does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Growth {
    None,
    WithState,
    Young,
}

/// Compares the first cycle that is known with the last one.
pub(crate) fn growth(settings: &Settings, history: &History) -> Growth {
    let all: Vec<&Bucket> = history.coarse.complete().collect();
    let (Some(first), Some(last)) = (all.first(), all.last()) else { return Growth::None };
    let span = settings.cycle_s.unwrap_or(2.0 * settings.settle_s).min((last.t - first.t) / 3.0);
    let memory = |from: f64, to: f64| {
        let mut values: Vec<f64> = all
            .iter()
            .filter(|bucket| bucket.t >= from && bucket.t <= to)
            .filter_map(|bucket| bucket.mean(Column::Memory))
            .collect();
        median(&mut values)
    };
    let (Some(before), Some(now)) =
        (memory(first.t, first.t + span), memory(last.t - span, last.t))
    else {
        return Growth::None;
    };
    let grown = now - before;
    if grown < settings.growth_bytes_min.max(0.03 * before) {
        return Growth::None;
    }
    let within = |from: f64, to: f64| {
        all.iter().copied().filter(move |bucket| bucket.t >= from && bucket.t <= to)
    };
    let state =
        |from: f64, to: f64| Column::STATE.map(|(column, _)| middle(within(from, to), column));
    let (then, today) = (state(first.t, first.t + span), state(last.t - span, last.t));
    let explained = by_state(before, &then, &today);
    if explained > 0.3 * grown {
        return Growth::WithState;
    }
    if history.age() < 12.0 * settings.settle_s { Growth::Young } else { Growth::None }
}
