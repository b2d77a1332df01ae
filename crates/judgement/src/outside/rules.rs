//! When growth over a window is a leak, as far as that window can tell.

use super::Settings;
use super::bend::{Bend, comes_to_an_end, risers, slowest, squares};
use super::columns::{Columns, largest_so_far, there};
use super::views::{
    Model, OVERHEAD_ERROR, Series, Sight, beside, ends, expanded, look, rise, whole,
};
use super::window::{Growth, POINTS, Thin, measure, median, thin};

const MIB: f64 = 1024.0 * 1024.0;

/// Growth of so many bytes an hour is worth a word within hours: it may be the begin of a cache that fills, but who
/// waits for the end of that has lost much.
const FAST: f64 = 2.0 * MIB;
/// The same beside a managed heap that keeps its size meanwhile: such a process is not warming up.
const SETTLED_FAST: f64 = 2.0 * MIB;

/// The same for what may be a warm-up.
const VERY_FAST: f64 = 2.75 * MIB;
/// Growth of less than this is no leak unless it lasts for days, bytes an hour.
const WORTH_A_WORD: f64 = 0.11 * MIB;
/// Growth of less than this may wait: in a day it is little.
const SLOW: f64 = 0.8 * MIB;
/// A process that was so old when it was seen first has no warm-up, settling times.
const OLD: f64 = 48.0;

/// For so long at the most a collector leaves old garbage alone, settling times.
const UNSEEN_GARBAGE: f64 = 80.0;

/// What is touched for the first time grows ever more slowly; that shows by then, settling times.
const UNTOUCHED: f64 = 22.0;

/// What bends as if it filled with a time constant of less than this is a warm-up or a cache, settling times.
const FILLING: f64 = 80.0;

/// No cache and no pool that fills is larger than this and all that a process held before, bytes.
const LARGEST_CACHE: f64 = 512.0 * MIB;

/// What bends less than with this time constant, settling times, is a straight line.
const STRAIGHT: f64 = 50.0;

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
    if series.sight == Sight::Ratchet && columns.overhead.is_some() {
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
        let Some(seen) = look(series, columns, from, 0.6 * least) else { continue };
        let growth = seen.growth;
        let settled = old || outside && heap_has_its_size(columns, &growth);
        if settled {
            least *= 0.66;
        }
        let sure = growth.grown - 2.5 * growth.error - seen.explained;
        if sure < least || growth.to - growth.from < 0.7 * length {
            continue;
        }
        let stairs =
            seen.model == Model::Held || matches!(series.sight, Sight::Bare | Sight::Counted);
        let jump_max = if stairs && hours > 60.0 { 0.55 } else { growth.jump_max };
        if growth.order < 0.6 || growth.evenness < 0.2 || growth.jump > jump_max {
            continue;
        }
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
        found.push(Candidate { sight, window, length, growth, whole, model, stairs });
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
        // The first peak may be that of a warm-up.
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
    Some(Candidate { sight, window, length: day, growth, whole, model, stairs: true })
}

/// Whether it bends less than what fills with a time constant of two and a half times its length, and surely less than
/// what fills with one of its length.
fn bends_little(points: &[(f64, f64)]) -> bool {
    slowest(points).is_none_or(|bend| {
        bend.rate <= 0.0 || bend.slow(0.0) > 2.5 * bend.span && bend.slow(1.0) > 1.2 * bend.span
    })
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
            let touched = first.iter().take(8).all(|beside| beside.is_nan() || *beside >= 0.0);
            let both = grew(&all) && grew(&used);
            (touched && both)
                || (there(&columns.heap_high)
                    && (both || expanded(columns))
                    && length > UNTOUCHED * hour
                    && (growth.rate * hour > SLOW || length > 2.0 * UNTOUCHED * hour)
                    && bends_little(&thin(
                        series.t.get(from..).unwrap_or_default(),
                        series.q.get(from..).unwrap_or_default(),
                        POINTS,
                        Thin::Mean,
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
fn heap_has_its_size(columns: &Columns, growth: &Growth) -> bool {
    let row = columns.t.partition_point(|t| *t < growth.from);
    let committed = columns.committed.get(row..).unwrap_or_default();
    let known = committed.iter().copied().filter(|size| size.is_finite());
    let (low, high) = known.fold((f64::INFINITY, 0.0), |(low, high): (f64, f64), size| {
        (low.min(size), high.max(size))
    });
    there(&columns.committed) && high - low < (0.01 * high).max(0.25 * growth.grown)
}

/// Growth that is never called a leak, bytes.
pub(super) fn least(hours: f64, level: f64) -> f64 {
    let bytes = (16.0 * MIB / hours).clamp(0.3 * MIB, 4.0 * MIB);
    let share = (0.24 / hours).clamp(0.015, 0.06);
    bytes.max(share * level)
}

/// What was before a window.
struct Past<'a> {
    t: &'a [f64],
    q: &'a [f64],
    start: f64,
    age: f64,
    /// It grows in stairs, as the peak of a day is above that of the day before.
    stairs: bool,
    /// It grows by more than a daily swing would.
    doubles: bool,
    /// What it is a part of, bytes.
    level: f64,
    /// It is not warming up: it is beside a managed heap that keeps its size meanwhile, or the process was
    /// days old when it was seen first.
    settled: bool,
    /// Nothing is known of what it holds.
    bare: bool,
    /// Nobody else accounts for it, so that it may be a cache: what grows slowly can wait.
    alone: bool,
    /// It is the floor of a sawtooth, and the next tooth may fall lower.
    floor: bool,
    /// What was taken off, if it is not known how much of it should be.
    account: Option<&'a [f64]>,
    /// All columns, whose counters are clocks too.
    columns: &'a Columns,
}

impl Past<'_> {
    fn between(&self, from: f64, to: f64) -> Vec<(f64, f64)> {
        let begin = self.t.partition_point(|t| *t < from);
        let end = self.t.partition_point(|t| *t <= to);
        let part = self.t.get(begin..end).zip(self.q.get(begin..end));
        part.map(|(t, q)| thin(t, q, POINTS, Thin::Mean)).unwrap_or_default()
    }

    /// Whether it ends above what it has ever been: what comes back each day is no leak.
    fn is_new(&self, growth: &Growth, least: f64) -> bool {
        let end = self.t.partition_point(|t| *t < growth.from);
        let before = self.q.get(..end).unwrap_or_default();
        let mut before: Vec<f64> = before.iter().copied().filter(|q| q.is_finite()).collect();
        if before.is_empty() {
            return true;
        }
        let rank = before.len() * 95 / 100;
        let high = *before.select_nth_unstable_by(rank, f64::total_cmp).1;
        let length = growth.to - growth.from;
        let last = self.between(growth.to - length / 8.0, growth.to);
        let last = last.iter().map(|point| point.1).sum::<f64>() / last.len().max(1) as f64;
        last - high > 0.7 * least
    }

    /// Whether it is growth that goes on, and not one that comes to its end: a warm-up, a cache that fills.
    fn goes_on(&self, settings: Settings, growth: &Growth) -> bool {
        let hour = settings.settle_s;
        let length = growth.to - growth.from;
        let trifle = growth.rate * hour < WORTH_A_WORD && length < 60.0 * hour;
        if growth.keeps < 0.5 || trifle {
            return false;
        }
        if !self.floor && self.cannot_fill(hour, growth) {
            return true;
        }
        if self.age < 12.0 * hour {
            return growth.rate * hour > FAST && self.is_dead_straight(hour, growth.to);
        }
        let day = 24.0 * hour;
        let fast = growth.rate * hour > FAST;
        let slow = self.alone && growth.rate * hour < SLOW;
        let lasts = fast || (length > if slow { 20.0 } else { 15.0 } * hour && growth.keeps > 0.8);
        if self.stairs && length < 0.9 * day && !(self.doubles && self.age < day) {
            // A day in which it did not grow, from one peak to the next, or it is the stair of each day.
            let at = |t: f64| {
                let points = self.between(t - hour, t);
                let count = points.len().max(1) as f64;
                (t - hour > self.start + hour && !points.is_empty())
                    .then(|| points.iter().map(|point| point.1).sum::<f64>() / count)
            };
            let (Some(before), Some(older)) = (at(growth.to - day), at(growth.to - 2.0 * day))
            else {
                return false;
            };
            return lasts && before - older < 0.3 * growth.grown;
        }
        // As fast as in the time before that is as long, or as much of it as there is.
        let before = self.between(growth.from - length.max(4.0 * hour), growth.from);
        let before = if before.len() >= 6 { measure(&before) } else { None };
        let began_here = before.is_some_and(|before| {
            before.to - before.from > 0.6 * length.max(4.0 * hour)
                && before.rate < 0.2 * growth.rate
        });
        if began_here {
            let points = self.between(growth.from, growth.to);
            let lasts = fast || (lasts && bends_little(&points));
            return lasts && !comes_to_an_end(&points, growth.from - hour);
        }
        self.went_on(hour, growth, before.map(|before| before.rate))
    }

    /// Growth that was there before the window too, perhaps from the start on.
    fn went_on(&self, hour: f64, growth: &Growth, before: Option<f64>) -> bool {
        let length = growth.to - growth.from;
        let age = self.age / hour;
        // What is a small part of all, and what shows in stairs, takes its time.
        let small = growth.grown < 0.1 * self.level;
        let wanted = if self.stairs {
            36.0
        } else if small || (self.alone && growth.rate * hour < SLOW) {
            20.0
        } else {
            12.0
        };
        if age < wanted || length < 0.3 * self.age.min(72.0 * hour) {
            return false;
        }
        if before.is_some_and(|before| growth.rate < 0.75 * before) {
            return false;
        }
        let whole = self.between(self.start + hour.max(self.age / 6.0), growth.to);
        let Some(all) = measure(&whole) else { return true };
        let wanted = (0.95 - 0.05 * age / 12.0).max(0.8);
        all.keeps >= wanted && !comes_to_an_end(&whole, self.start)
    }

    /// Whether it has grown since the start as nothing does that fills: what bends so little would end far above what
    /// a cache or a pool of such a process may be.
    fn cannot_fill(&self, hour: f64, growth: &Growth) -> bool {
        // Caches rise by a tenth to the whole of what a process holds, fast leaks by several times of it.
        let large = growth.grown > 0.3 * self.level || self.settled;
        let least = if self.settled { SETTLED_FAST } else { VERY_FAST };
        let first = self.t.first().copied().unwrap_or(growth.to);
        let seen = growth.to - first;
        if !large || seen > 24.0 * hour || growth.rate * hour < least {
            return false;
        }
        // A few steps, or a late begin, are no growth since the start.
        if !self.settled && (growth.evenness < 0.4 || growth.jump > 0.25 || growth.keeps > 1.8) {
            return false;
        }
        let Some(bend) = self.bend(hour, growth.to) else { return false };
        if bend.span < 2.0 * hour || growth.rate < 0.75 * bend.rate {
            return false;
        }
        let (slow, size) = match (self.settled, self.bare) {
            (true, false) => (8.0, 40.0 * MIB),
            (true, true) => (20.0, 40.0 * MIB + self.level),
            (false, _) => (40.0, 128.0 * MIB + self.level),
        };
        let bent = bend.slow(if self.settled { 1.6 } else { 2.0 });
        bent > slow * hour && bend.rate * bent > size
    }

    /// Whether it grows in so straight a line since the start that nothing that fills with a time constant of fifty
    /// settling times or less can do so: that would bend by more than the noise.
    fn is_dead_straight(&self, hour: f64, to: f64) -> bool {
        self.bend(hour, to).is_some_and(|bend| {
            bend.span > 2.5 * hour
                && bend.rate * bend.span > 0.5 * self.level
                && bend.slow(2.0) > STRAIGHT * hour
        })
    }

    /// How straight its line is since the start: by the hours, or by PUBLISH packets or connections if a straight line
    /// by them fits better than a bent one by the hours. `None`: it does not grow, or is seen to bend: it fills.
    fn bend(&self, hour: f64, to: f64) -> Option<Bend> {
        let begin = self.t.partition_point(|t| *t < self.start + hour);
        let end = self.t.partition_point(|t| *t <= to);
        let (t, q) = (self.t.get(begin..end)?, self.q.get(begin..end)?);
        let points = risers(t, q).unwrap_or_else(|| thin(t, q, 2 * POINTS, Thin::Mean));
        let mut bend = slowest(&points)?;
        let counters = [&self.columns.published, &self.columns.connected];
        for points in counters.iter().filter_map(|counter| self.columns.by(counter, &points)) {
            if squares(&points, |t| t).is_some_and(|(left, _)| left < 0.5 * bend.left) {
                bend = slowest(&points)?;
            }
        }
        if let Some(account) = self.account.and_then(|account| account.get(begin..end))
            && let Some(other) = slowest(&thin(t, account, 2 * POINTS, Thin::Mean))
        {
            bend = bend.doubted(&other, 0.5 * OVERHEAD_ERROR);
        }
        let size = bend.rate * bend.slow(0.0);
        let fills = bend.is_sure(2.0)
            && bend.slow(0.0) < FILLING * hour
            && size < LARGEST_CACHE + self.level;
        (bend.rate > 0.0 && !fills).then_some(bend)
    }
}
