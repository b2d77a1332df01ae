//! When growth over a window is a leak, as far as that window can tell.

use super::Settings;
use super::bend::{bends_little, comes_to_an_end};
use super::columns::{Columns, largest_so_far, there};
use super::counted::rise;
use super::past::Past;
use super::views::{Model, Series, Sight, beside, expanded, look, whole};
use super::window::{Growth, POINTS, ends, measure, median, thin};

pub(super) const MIB: f64 = 1024.0 * 1024.0;
/// Growth of less than this may wait: in a day it is little.
pub(super) const SLOW: f64 = 0.8 * MIB;
/// For so long, settling times.
pub(super) const SLOW_WAIT: f64 = 20.0;
/// A process that was so old when it was seen first has no warm-up, settling times.
const OLD: f64 = 48.0;

/// For so long at the most a collector leaves old garbage alone, settling times.
const UNSEEN_GARBAGE: f64 = 80.0;

/// Growth that is wanted there, as a share of that elsewhere.
const BESIDE_A_QUIET_HEAP: f64 = 0.5;

/// How large a part of growth beside a managed heap may come at once, and how far the ratio of its halves may be from the
/// truth: classes and code that are loaded come in bursts, for days.
const SMOOTH: (f64, f64) = (0.18, 0.5);

/// What is touched for the first time grows ever more slowly; that shows by then, settling times.
const UNTOUCHED: f64 = 22.0;

/// Bytes that any process with a managed heap has beside it: code, stacks, what a runtime knows of itself. Where there is
/// less beside all that a heap asked for, some of that was never touched, and memory may yet grow into it.
const BESIDE_LEAST: f64 = 32.0 * MIB;

/// Windows: the shortest, and each longer than the one before by the square root of two. The last place is that of days.
pub(super) const WINDOWS: usize = 17;

/// Growth that nothing explains, in one window of one series.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    pub(super) sight: Sight,
    pub(super) window: usize,
    pub(super) length: f64,
    pub(super) growth: Growth,
    /// The whole series, with what explains it taken off.
    pub(super) whole: Vec<f64>,
    /// What was taken off.
    pub(super) model: Model,
    /// It grows in stairs, as the peak of a day is above that of the day before.
    pub(super) stairs: bool,
    /// It is beside a managed heap that keeps its size meanwhile: nothing warms up.
    pub(super) beside: bool,
}

/// Length of a window, seconds.
pub(super) fn length(settings: Settings, window: usize) -> f64 {
    2.0 * settings.settle_s
        * f64::from(1u32 << (window / 2))
        * [1.0, std::f64::consts::SQRT_2][window % 2]
}

/// The windows of a series in which it grows and nothing explains it.
pub(super) fn candidates(
    settings: Settings,
    series: &Series,
    columns: &Columns,
    start: f64,
) -> Vec<Candidate> {
    let mut found = Vec::new();
    let (Some(&first), Some(&now)) = (series.t.first(), columns.t.last()) else { return found };
    if !series.sight.counts(columns) {
        return found;
    }
    let age = now - start;
    let old = first - start > OLD * settings.settle_s;
    let outside = matches!(series.sight, Sight::Native | Sight::Direct);
    for window in 0..WINDOWS - 1 {
        let length = length(settings, window);
        let hours = length / settings.settle_s;
        if hours < series.shortest_h - 0.1 {
            continue;
        }
        let from = now - length;
        if from < first - 0.08 * length {
            break;
        }
        let mut least = least(hours, series.level);
        if matches!(series.sight, Sight::Bare | Sight::Counted) && hours < 22.0 {
            // Less than a day is part of a swing, unless it is beyond any.
            least = least.max(0.4 * series.level);
        }
        // Beside a heap that keeps its size less is enough.
        let quiet = outside && heap_has_its_size(columns, from, 0.5 * least);
        if quiet {
            least *= BESIDE_A_QUIET_HEAP;
        }
        let Some(seen) = look(series, columns, from, least) else { continue };
        let growth = seen.growth;
        let sure = growth.grown - 2.5 * growth.error - seen.explained;
        if sure < least || growth.to - growth.from < 0.7 * length {
            continue;
        }
        let stairs =
            seen.model == Model::Held || matches!(series.sight, Sight::Bare | Sight::Counted);
        let jump_max = if stairs && hours > 60.0 { 0.55 } else { growth.jump_max };
        let rough = series.sight == Sight::Native
            && (growth.jump > SMOOTH.0 || growth.keeps_error > SMOOTH.1);
        if rough || growth.order < 0.6 || growth.evenness < 0.2 || growth.jump > jump_max {
            continue;
        }
        let beside = quiet || outside && heap_has_its_size(columns, from, growth.grown);
        let settled = old || beside;
        let whole = whole(series, columns, &seen.model);
        let level = series.level;
        let doubles = series.sight == Sight::Bare && growth.grown > 0.4 * series.level;
        let bare = stairs && seen.model == Model::AsIs;
        let alone = !matches!(series.sight, Sight::Account | Sight::Direct);
        let floor = match series.sight {
            Sight::HeapFloor => !is_full(series, columns),
            sight => sight == Sight::ResidentFloor,
        };
        let past = Past {
            t: &series.t,
            q: &whole,
            start,
            age,
            stairs,
            doubles,
            level,
            settled,
            bare,
            alone,
            floor,
            account: matches!(series.sight, Sight::Follow | Sight::Ratchet)
                .then_some(columns.account.as_slice()),
            columns,
        };
        if !is_in_use(series, columns, &growth, settings.settle_s)
            || (bare && in_leaps(series, &growth))
        {
            continue;
        }
        if !past.is_new(&growth, least) || !past.goes_on(settings, &growth) {
            continue;
        }
        let (sight, model) = (series.sight, seen.model);
        found.push(Candidate { sight, window, length, growth, whole, model, stairs, beside });
    }
    found.extend(daily(settings, series, columns, start));
    found
}

/// The stairs of days: a high-water mark that is above that of a day ago, as that was above that of the day before.
///
/// Under a daily swing an allocator that keeps what it had shows a leak once a day.
fn daily(settings: Settings, series: &Series, columns: &Columns, start: f64) -> Option<Candidate> {
    let hour = settings.settle_s;
    let day = 24.0 * hour;
    if !matches!(series.sight, Sight::Ratchet | Sight::Bare | Sight::Counted) {
        return None;
    }
    let now = *columns.t.last()?;
    let at = |t: f64| {
        let begin = series.t.partition_point(|other| *other < t - hour);
        let end = series.t.partition_point(|other| *other <= t);
        let part: Vec<f64> = series.q.get(begin..end)?.to_vec();
        (!part.is_empty() && begin > 0).then(|| median(&part))
    };
    let levels: Vec<f64> = (0..4).map_while(|days| at(now - f64::from(days) * day)).collect();
    let stairs: Vec<f64> = levels
        .windows(2)
        .map(|pair| match pair {
            [after, before] => after - before,
            _ => 0.0,
        })
        .collect();
    let days = stairs.len();
    let wanted = match (days, series.sight) {
        // The first peak may be that of a warm-up. That of a process that was seen late is none.
        (2, Sight::Ratchet) if now - start > 3.0 * day => (4.0 * MIB).max(0.04 * series.level),
        (3, _) => (1.5 * MIB).max(0.02 * series.level),
        _ => return None,
    };
    let from = now - day * days as f64;
    let account = largest_so_far(&columns.account);
    let row = columns.t.partition_point(|t| *t < from);
    let risen = account.get(row..).and_then(ends).unwrap_or(0.0).max(0.0) / days as f64;
    let counted =
        if series.sight == Sight::Counted { rise(columns, row) * series.level } else { 0.0 };
    let explained = 0.2 * risen + counted / days as f64;
    let lowest = stairs.iter().copied().fold(f64::INFINITY, f64::min);
    let highest = stairs.iter().copied().fold(0.0, f64::max);
    let newest = stairs.first().copied().unwrap_or(0.0);
    let mean = stairs.iter().sum::<f64>() / days as f64;
    let slows_down = newest < if days == 2 { 0.8 } else { 0.6 } * mean;
    if lowest - explained < wanted || lowest < 0.3 * highest || slows_down {
        return None;
    }
    let level = series.level;
    let past = Past {
        t: &series.t,
        q: &series.q,
        start,
        age: now - start,
        stairs: true,
        doubles: false,
        level,
        settled: false,
        bare: false,
        alone: true,
        floor: false,
        account: None,
        columns,
    };
    let whole = past.between(start + hour.max(past.age / 6.0), now);
    let span =
        Growth { from, to: now, grown: levels.first()? - levels.last()?, ..measure(&whole)? };
    if series.sight != Sight::Ratchet && in_leaps(series, &span) {
        return None;
    }
    if comes_to_an_end(&whole, start) {
        return None;
    }
    let grown = levels.first()? - levels.last()?;
    let points = past.between(from, now);
    let growth = Growth { rate: grown / (now - from), grown, from, to: now, ..measure(&points)? };
    let model = if series.sight == Sight::Ratchet { Model::Held } else { Model::AsIs };
    let (sight, whole) = (series.sight, series.q.clone());
    let window = WINDOWS - 1;
    let (length, stairs, beside) = (day, true, false);
    Some(Candidate { sight, window, length, growth, whole, model, stairs, beside })
}

/// Whether most of the growth came in a few leaps, each within minutes: tables that double, pools, new code.
fn in_leaps(series: &Series, growth: &Growth) -> bool {
    let row = series.t.partition_point(|t| *t < growth.from);
    let known: Vec<f64> =
        series.q.get(row..).unwrap_or_default().iter().copied().filter(|q| q.is_finite()).collect();
    let leaps: f64 = known
        .windows(2)
        .map(|pair| pair.last().unwrap_or(&0.0) - pair.first().unwrap_or(&0.0))
        .filter(|leap| *leap > 0.12 * growth.grown)
        .sum();
    leaps > 0.6 * growth.grown
}

/// Whether growth of a managed process can be more than memory that it was given before and had not touched yet, or
/// garbage that it has no reason yet to look for: collectors leave old regions alone below about 45 % of the heap.
fn is_in_use(series: &Series, columns: &Columns, growth: &Growth, hour: f64) -> bool {
    let row = columns.t.partition_point(|t| *t < growth.from);
    let from = series.t.partition_point(|t| *t < growth.from);
    let length = growth.to - growth.from;
    let highest = largest_so_far(&columns.heap_high);
    if !there(&columns.committed) {
        // It has asked for what was in use at the least, and may have asked for more as that grew, or given some back.
        let used = highest.last().copied().unwrap_or(f64::NAN);
        let risen = columns.heap_high.get(row..).and_then(ends).unwrap_or(0.0);
        return match series.sight {
            Sight::HeapFloor => series.level >= 0.3 * used || length > UNSEEN_GARBAGE * hour,
            Sight::Native => growth.grown > 2.0 * risen,
            _ => true,
        };
    }
    match series.sight {
        Sight::HeapFloor => {
            let committed = columns.committed.get(row..).unwrap_or_default();
            let known = committed.iter().copied().filter(|size| size.is_finite());
            let largest = known.fold(0.0, f64::max);
            series.level > 0.46 * largest
                || expands(committed, growth.grown)
                || (series.level > 0.4 * largest && length > UNSEEN_GARBAGE * hour)
        }
        Sight::Native => {
            // What follows a heap that grows is a shadow of that.
            let asked = columns.committed.get(row..).and_then(ends);
            if asked.is_some_and(|asked| asked > 3.0 * growth.grown) {
                return false;
            }
            // What the heap has touched is between what was in use at the most, and all of it.
            let all = beside(columns, &columns.committed);
            let used = beside(columns, &highest);
            let grew = |beside: &[f64]| {
                let grown = beside.get(row..).and_then(ends);
                grown.is_none_or(|grown| grown > 0.25 * growth.grown)
            };
            let first = all.get(row..).unwrap_or_default();
            let touched =
                first.iter().take(8).all(|beside| beside.is_nan() || *beside > BESIDE_LEAST);
            let both = grew(&all) && grew(&used);
            (touched && both)
                || (there(&columns.heap_high)
                    && all.iter().rev().find(|beside| !beside.is_nan()) > Some(&BESIDE_LEAST)
                    && (both || expanded(columns))
                    && length > UNTOUCHED * hour
                    && (growth.rate * hour > SLOW || length > 2.0 * UNTOUCHED * hour)
                    && bends_little(&thin(
                        series.t.get(from..).unwrap_or_default(),
                        series.q.get(from..).unwrap_or_default(),
                        POINTS,
                    )))
        }
        _ => true,
    }
}

/// Whether nearly all that a managed heap asked for is in use, and it asks for more as that grows: there is no room for
/// garbage that nobody looks for.
fn is_full(series: &Series, columns: &Columns) -> bool {
    let committed = columns.committed.iter().rev().find(|size| size.is_finite());
    expanded(columns) && committed.is_some_and(|committed| series.level > 0.6 * committed)
}

/// Whether a heap was made larger all along, by as much as what grows in it: then it is that what made it larger, and
/// its share of it says nothing.
fn expands(committed: &[f64], grown: f64) -> bool {
    let known: Vec<f64> = committed.iter().copied().filter(|size| size.is_finite()).collect();
    let at = |quarter: usize| known.get(quarter * known.len().saturating_sub(1) / 4).copied();
    let sizes: Vec<f64> = (0..5).filter_map(at).collect();
    let [first, .., last] = *sizes.as_slice() else { return false };
    let raised = sizes.windows(2).filter(|pair| pair.last() > pair.first()).count();
    raised >= 3 && last - first > grown
}

/// Whether a managed heap kept its size meanwhile, or about that, compared with what grew beside it.
fn heap_has_its_size(columns: &Columns, from: f64, grown: f64) -> bool {
    let row = columns.t.partition_point(|t| *t < from);
    let committed = columns.committed.get(row..).unwrap_or_default();
    let known = committed.iter().copied().filter(|size| size.is_finite());
    let (low, high) = known.fold((f64::INFINITY, 0.0), |(low, high): (f64, f64), size| {
        (low.min(size), high.max(size))
    });
    there(&columns.committed) && high - low < (0.01 * high).max(0.25 * grown)
}

/// Growth that is never called a leak, bytes.
pub(super) fn least(hours: f64, level: f64) -> f64 {
    let bytes = (16.0 * MIB / hours).clamp(0.3 * MIB, 4.0 * MIB);
    let share = (0.24 / hours).clamp(0.015, 0.06);
    bytes.max(share * level)
}
