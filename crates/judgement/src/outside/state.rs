//! What is said of a process that does not leak.

use super::columns::{Columns, there};
use super::judge::WAIT;
use super::window::ends;
use super::{Settings, Verdict};

/// Stretches of a window that are wanted: with fewer nothing can be measured.
const ENOUGH: usize = 8;

/// Growth that is worth a word: bytes, and as a share of resident memory.
const WORTH_SAYING: (f64, f64) = (2.0 * 1024.0 * 1024.0, 0.05);

/// Stable, warming up, growing with its state, or growing in a way that is not known yet: over the last two days, one day, or what there is.
pub(super) fn otherwise(settings: Settings, columns: &Columns, start: f64) -> Verdict {
    let hour = settings.settle_s;
    let (Some(&first), Some(&now)) = (columns.t.first(), columns.t.last()) else {
        return Verdict::Stable;
    };
    let seen = now - first;
    // Whole days, as far as there are, so that a swing is no growth.
    let window = [48.0, 24.0].into_iter().map(|hours| hours * hour).find(|length| *length < seen);
    let from = window.map_or(first, |length| now - length);
    let row = columns.t.partition_point(|t| *t < from);
    let not_yet = Verdict::InsufficientData { more_s: WAIT * hour };
    if columns.t.len() - row < ENOUGH {
        return not_yet;
    }
    let managed = there(&columns.heap_low);
    let resident = if managed { &columns.resident_low } else { &columns.resident };
    let grown = |column: &[f64]| column.get(row..).and_then(ends).unwrap_or(0.0);
    let level = resident.last().copied().unwrap_or(0.0);
    let growth = grown(resident);
    if growth < WORTH_SAYING.0.max(WORTH_SAYING.1 * level) {
        return Verdict::Stable;
    }
    // What it has been before is no growth.
    let before = resident.get(..row).unwrap_or_default();
    let highest = before.iter().copied().fold(0.0, f64::max);
    if level < highest + WORTH_SAYING.0 {
        return Verdict::Stable;
    }
    let account = if there(&columns.account) { grown(&columns.account) } else { 0.0 };
    // An account that is there says more than numbers of what it counts.
    let counted = !there(&columns.account)
        && columns.counts.iter().filter(|column| there(column)).any(|column| {
            let now = column.last().copied().unwrap_or(0.0);
            let before = now - grown(column);
            before > 0.0 && (now - before) / before > 0.6 * growth / (level - growth).max(1.0)
        });
    if account > 0.6 * growth || counted {
        let length = (now - from).max(1.0);
        return Verdict::GrowingWithState { bytes_per_hour: growth / length * 3600.0 };
    }
    if now - start < 48.0 * hour { Verdict::WarmingUp } else { not_yet }
}
