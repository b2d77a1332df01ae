//! Whether growth in a window is new and goes on, as what was before it tells: a leak does, a warm-up or a cache that fills
//! comes to its end.

use super::Settings;
use super::bend::{Bend, bends_little, comes_to_an_end, risers, slowest, squares};
use super::columns::Columns;
use super::rules::{MIB, SLOW, SLOW_WAIT};
use super::views::OVERHEAD_ERROR;
use super::window::{Growth, POINTS, measure, measure_few, thin};

/// Growth of so many bytes an hour is worth a word within hours: it may be the begin of a cache that fills, but who
/// waits for the end of that has lost much.
const FAST: f64 = 2.0 * MIB;

/// The same beside a managed heap that keeps its size meanwhile: such a process is not warming up.
const SETTLED_FAST: f64 = 2.0 * MIB;

/// The same for what may be a warm-up.
const VERY_FAST: f64 = 2.75 * MIB;

/// Growth of less than this is no leak unless it lasts for days, bytes an hour.
const WORTH_A_WORD: f64 = 0.11 * MIB;

/// What bends as if it filled with a time constant of less than this is a warm-up or a cache, settling times.
const FILLING: f64 = 80.0;

/// No cache and no pool that fills is larger than this and all that a process held before, bytes.
const LARGEST_CACHE: f64 = 512.0 * MIB;

/// What bends less than with this time constant, settling times, is a straight line.
const STRAIGHT: f64 = 50.0;

/// What was before a window.
pub(super) struct Past<'a> {
    pub(super) t: &'a [f64],
    pub(super) q: &'a [f64],
    pub(super) start: f64,
    pub(super) age: f64,
    /// It grows in stairs, as the peak of a day is above that of the day before.
    pub(super) stairs: bool,
    /// It grows by more than a daily swing would.
    pub(super) doubles: bool,
    /// What it is a part of, bytes.
    pub(super) level: f64,
    /// It is not warming up: it is beside a managed heap that keeps its size meanwhile, or the process was
    /// days old when it was seen first.
    pub(super) settled: bool,
    /// Nothing is known of what it holds.
    pub(super) bare: bool,
    /// Nobody else accounts for it, so that it may be a cache: what grows slowly can wait.
    pub(super) alone: bool,
    /// It is the floor of a sawtooth, and the next tooth may fall lower.
    pub(super) floor: bool,
    /// What was taken off, more or less: some of its bend may be left.
    pub(super) account: Option<&'a [f64]>,
    /// All columns, whose counters are clocks too.
    pub(super) columns: &'a Columns,
}

impl Past<'_> {
    pub(super) fn between(&self, from: f64, to: f64) -> Vec<(f64, f64)> {
        let begin = self.t.partition_point(|t| *t < from);
        let end = self.t.partition_point(|t| *t <= to);
        let part = self.t.get(begin..end).zip(self.q.get(begin..end));
        part.map(|(t, q)| thin(t, q, POINTS)).unwrap_or_default()
    }

    /// Whether it ends above what it has ever been: what comes back each day is no leak.
    pub(super) fn is_new(&self, growth: &Growth, least: f64) -> bool {
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
    pub(super) fn goes_on(&self, settings: Settings, growth: &Growth) -> bool {
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
            return !self.floor
                && growth.rate * hour > FAST
                && self.is_dead_straight(hour, growth.to);
        }
        let day = 24.0 * hour;
        let fast = growth.rate * hour > FAST;
        let slow = self.alone && growth.rate * hour < SLOW;
        let lasts =
            fast || (length > if slow { SLOW_WAIT } else { 15.0 } * hour && growth.keeps > 0.8);
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
            SLOW_WAIT
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
        let Some(all) = measure(&whole).or_else(|| measure_few(&whole)) else { return false };
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
        let points = risers(t, q).unwrap_or_else(|| thin(t, q, 2 * POINTS));
        let by_hours = slowest(&points)?;
        let by_events = [&self.columns.published, &self.columns.connected]
            .into_iter()
            .filter_map(|counter| self.columns.by(counter, &points))
            .filter_map(|points| Some((squares(&points, |t| t)?.0, points)))
            .filter(|(left, _)| *left < 0.5 * by_hours.left)
            .min_by(|one, other| one.0.total_cmp(&other.0));
        let mut bend = by_events.map_or(Some(by_hours), |(_, points)| slowest(&points))?;
        if let Some(account) = self.account.and_then(|account| account.get(begin..end))
            && let Some(other) = slowest(&thin(t, account, 2 * POINTS))
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
