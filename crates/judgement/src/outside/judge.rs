//! Judges one process.

use super::bucket::{BUCKETS, Life, usable};
use super::changes::{Change, ChangeKind, Changes};
use super::columns::Columns;
use super::driver::driver;
use super::lives::Lives;
use super::onset::onset;
use super::reasons;
use super::rules::{Candidate, MIB, WINDOWS, candidates};
use super::state;
use super::views::{LEAKED_OVERHEAD, Model, SIGHTS, Series, Sight, series, whole};
use super::window::{ENOUGH, POINTS, ends, measure, thin};
use super::{Driver, Explained, Leak, Sample, Verdict, View};

/// How long growth is looked at before it is called a leak, settling times: what fills, is loaded or is rolled out within
/// half a day is none. Numbers of state do not tell when each has become larger, as an account does: it waits longer.
pub(super) const WAIT: f64 = 12.0;
const WAIT_ACCOUNT: f64 = 16.0;

/// Growth that does not wait, bytes: of a process that has lived for so long before it began, and of one that may be
/// warming up, beyond half of what it held before.
const LARGE_LATER: f64 = 24.0 * MIB;
const LARGE_AT_FIRST: f64 = 128.0 * MIB;

/// What the judge may be told.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// What is passed over after the start of a process, seconds. All windows but those of whole days' rhythm are
    /// in proportion to it; the shortest is twice as long. A few seconds make a judge that answers within
    /// minutes, and mistakes more for a leak.
    pub settle_s: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { settle_s: 3600.0 }
    }
}

/// A leak that stands.
#[derive(Clone, Debug)]
pub(super) struct Standing {
    pub(super) sight: Sight,
    /// Length of the window that shows it, seconds.
    pub(super) length: f64,
    /// When it was seen last.
    seen: f64,
    /// What was taken off.
    pub(super) model: Model,
    /// It grows in stairs of days.
    pub(super) stairs: bool,
    /// Bytes per second when it was seen last.
    rate: f64,
    pub(super) leak: Leak,
}

/// Judges the memory of one process, and of those that follow it after restarts.
///
/// It holds less than 512 KiB. A sample takes well under a microsecond; six times in an hour (of
/// [`Settings::settle_s`]) the judgement is made anew, which takes about a millisecond.
#[derive(Clone, Debug)]
pub struct Judge {
    settings: Settings,
    life: Option<Life>,
    last: Option<Sample>,
    judged_at: f64,
    /// Since when the rules hold, by sight and window.
    holds: [[Option<f64>; WINDOWS]; SIGHTS.len()],
    standing: Option<Standing>,
    /// What is said if nothing leaks.
    otherwise: Option<Verdict>,
    lives: Lives,
    changes: Changes,
}

impl Judge {
    /// A judge that has seen nothing.
    pub fn new(settings: Settings) -> Self {
        let settle_s =
            if settings.settle_s.is_finite() { settings.settle_s.max(0.1) } else { 3600.0 };
        Self {
            settings: Settings { settle_s },
            life: None,
            last: None,
            judged_at: f64::NEG_INFINITY,
            holds: [[None; WINDOWS]; SIGHTS.len()],
            standing: None,
            otherwise: None,
            lives: Lives::default(),
            changes: Changes::default(),
        }
    }

    /// Stretches of time that are kept of one life at the most.
    pub const fn stretches_max() -> usize {
        BUCKETS
    }

    /// Stretches of time that are kept now.
    pub fn stretches(&self) -> usize {
        self.life.as_ref().map_or(0, |life| life.buckets().len())
    }

    /// Takes a sample, of any age and at any pace. One that is not later than those before, or whose time or
    /// resident memory cannot be one, is passed over.
    pub fn push(&mut self, sample: &Sample) {
        if !usable(sample) || self.last.is_some_and(|last| sample.t <= last.t) {
            return;
        }
        if self.life.as_ref().is_none_or(|_| self.is_other(sample)) {
            self.end_of_life(sample.t);
            let kind = if self.life.is_none() { ChangeKind::Began } else { ChangeKind::Restarted };
            self.changes.add(sample.t, kind);
            let width = self.settings.settle_s / 60.0;
            self.life = Some(Life::new(sample, width, 10.0 * width));
            self.holds = [[None; WINDOWS]; SIGHTS.len()];
            self.otherwise = None;
        }
        self.last = Some(*sample);
        let Some(life) = &mut self.life else { return };
        let complete = life.push(sample);
        if complete && sample.t - self.judged_at >= self.settings.settle_s / 6.0 {
            self.judged_at = sample.t;
            self.judge();
        }
    }

    /// Remembers a life that is over, and looks at what the last ones have in common.
    fn end_of_life(&mut self, now: f64) {
        let Some(life) = &self.life else { return };
        self.lives.remember(self.settings, life);
        if self.standing.is_some() {
            return;
        }
        let limit = self.last.and_then(|last| last.limit);
        let (sight, length, rate, error) = if let Some(common) = self.lives.common(self.settings) {
            let length = common.growth.to - common.growth.from;
            (common.sight, length, common.growth.rate, common.growth.error / length)
        } else if let Some((rate, error)) = self.lives.all_grow(limit) {
            (Sight::Bare, self.settings.settle_s, rate, error)
        } else {
            return;
        };
        let held = matches!(sight, Sight::Follow | Sight::Ratchet);
        let model = if held { Model::Held } else { Model::AsIs };
        let asked_for = 3600.0 / model.overhead();
        self.changes.add(now, ChangeKind::LeakSeen);
        self.standing = Some(Standing {
            sight,
            length,
            seen: now,
            stairs: false,
            rate: rate / model.overhead(),
            model,
            leak: Leak {
                bytes_per_hour: rate * asked_for,
                error: 1.96 * error * asked_for,
                since: life.start,
                view: sight.view(),
                driver: Driver::Unclear,
                bytes_per_event: None,
                limit_in_s: self.limit_in(sight, rate, None),
            },
        });
    }

    /// Whether a sample is of another process than the last one.
    fn is_other(&self, sample: &Sample) -> bool {
        let Some(last) = &self.last else { return true };
        if (last.start - sample.start).abs() > 1.5 {
            return true;
        }
        // Who does not know when it began may see that its counters begin anew.
        let fell = |before: Option<f64>, now: Option<f64>| {
            before.zip(now).map(|(before, now)| now < 0.5 * before)
        };
        fell(last.published_total, sample.published_total) == Some(true)
            && fell(last.connected_total, sample.connected_total) == Some(true)
    }

    fn judge(&mut self) {
        let Some(life) = &self.life else { return };
        let columns = Columns::new(life, life.start + self.settings.settle_s);
        let Some(&now) = columns.t.last() else { return };
        let all = series(&columns);
        let found: Vec<Candidate> = all
            .iter()
            .flat_map(|one| candidates(self.settings, one, &columns, life.start))
            .collect();
        self.changes.look_for_step(&columns, self.settings.settle_s);
        self.otherwise = Some(state::otherwise(self.settings, &columns, life.start));
        let confirmed = self.confirmed(&found, now);
        // Where most of it shows, and not where its shadow falls.
        let rate = |c: &Candidate| c.growth.rate / c.model.overhead();
        let most = confirmed.iter().map(rate).fold(0.0, f64::max);
        let best = confirmed.iter().filter(|c| rate(c) > 0.4 * most).min_by(|one, other| {
            // Stairs are steeper than the way up on the average.
            let day = 24.0 * self.settings.settle_s;
            let doubt = |c: &Candidate| if c.length < day { day / c.length } else { 1.0 };
            let quality = |c: &Candidate| doubt(c) * c.growth.error / c.growth.grown;
            quality(one).total_cmp(&quality(other))
        });
        match best {
            Some(best) => self.stand(best, &columns, &all, now),
            None => self.clear(&columns, &all, now),
        }
    }

    /// Those that have held for a sixth of their window, a twelfth of a short one.
    fn confirmed(&mut self, found: &[Candidate], now: f64) -> Vec<Candidate> {
        let mut confirmed = Vec::new();
        for (sight, row) in SIGHTS.iter().zip(&mut self.holds) {
            for (window, since) in row.iter_mut().enumerate() {
                let held = found.iter().find(|c| c.sight == *sight && c.window == window);
                let Some(candidate) = held else {
                    *since = None;
                    continue;
                };
                let short = candidate.length < 3.0 * self.settings.settle_s;
                // Floors that are hours apart say no more the longer they are looked at.
                let wanted = match candidate.growth.points {
                    ..ENOUGH => 0.0,
                    _ if short => candidate.length / 12.0,
                    _ => candidate.length / 6.0,
                };
                if now - *since.get_or_insert(now) >= wanted {
                    confirmed.push(candidate.clone());
                }
            }
        }
        confirmed
    }

    fn stand(&mut self, best: &Candidate, columns: &Columns, all: &[Series], now: f64) {
        let Some(series) = all.iter().find(|series| series.sight == best.sight) else { return };
        let Some(life) = &self.life else { return };
        let before = self.standing.as_ref().map(|standing| standing.leak.since);
        let settled = life.start + self.settings.settle_s;
        let since = match onset(&series.t, &best.whole) {
            _ if before.is_some_and(|since| since < settled) => before.unwrap_or(settled),
            Some(onset) if onset <= settled + 0.05 * (now - settled) => life.start,
            Some(onset) => onset,
            None => best.growth.from,
        };
        let age = since - life.start;
        if self.standing.is_none()
            && can_wait(best, series.level, self.settings.settle_s, age, now - since)
        {
            return;
        }
        let growth = &best.growth;
        let day = 24.0 * self.settings.settle_s;
        // A stair is that of a day.
        let in_stairs = best.stairs && best.model == Model::Held;
        let span = if in_stairs { best.length.max(day) } else { growth.to - growth.from };
        let standing = Standing {
            sight: best.sight,
            model: best.model.clone(),
            length: best.length,
            seen: now,
            stairs: best.stairs,
            rate: growth.grown / span / best.model.overhead(),
            leak: Leak {
                bytes_per_hour: growth.grown / span * 3600.0 / best.model.overhead(),
                error: 1.96 * growth.error / span * 3600.0 / best.model.overhead(),
                since,
                view: best.sight.view(),
                driver: Driver::Unclear,
                bytes_per_event: None,
                limit_in_s: None,
            },
        };
        if self.standing.is_none() {
            self.changes.add(now, ChangeKind::LeakSeen);
        }
        self.standing = Some(standing);
        self.update(columns, all, &best.whole, now);
    }

    /// Measures the leak that stands anew: the mean since it began says more than a window of it.
    fn update(&mut self, columns: &Columns, all: &[Series], whole: &[f64], now: f64) {
        let Some(standing) = &mut self.standing else { return };
        let Some(series) = all.iter().find(|series| series.sight == standing.sight) else { return };
        let day = 24.0 * self.settings.settle_s;
        let least = if standing.stairs { day } else { 6.0 * self.settings.settle_s };
        let least = least.max(standing.length);
        let row = series.t.partition_point(|t| *t < standing.leak.since);
        let (Some(t), Some(q)) = (series.t.get(row..), whole.get(row..)) else { return };
        let overhead = standing.model.overhead();
        if t.first().is_some_and(|first| now - first > 1.5 * least)
            && let Some(growth) = measure(&thin(t, q, POINTS))
            && growth.rate > 0.0
        {
            standing.leak.bytes_per_hour = growth.rate / overhead * 3600.0;
            let span = growth.to - growth.from;
            standing.leak.error = 1.96 * growth.error / span * 3600.0 / overhead;
        }
        if let Some(rate) = not_all_counted(standing, columns) {
            standing.leak.bytes_per_hour = standing.leak.bytes_per_hour.max(rate * 3600.0);
        }
        // What is known of an allocator is not better than that, however straight the line.
        let least = if overhead > 1.0 { 0.05 } else { 0.01 } * standing.leak.bytes_per_hour;
        standing.leak.error = standing.leak.error.max(least);
        let from = standing.leak.since.min(now - standing.length);
        let (driver, bytes) = driver(columns, &series.t, whole, from);
        (standing.leak.driver, standing.leak.bytes_per_event) =
            (driver, bytes.map(|bytes| bytes / overhead));
        let (sight, rate) = (standing.sight, standing.leak.bytes_per_hour / 3600.0 * overhead);
        let limit_in_s = self.limit_in(sight, rate, series.q.last().copied());
        if let Some(standing) = &mut self.standing {
            standing.leak.limit_in_s = limit_in_s;
        }
    }

    /// Seconds until the limit is reached. What ends a managed heap is its own limit, however much the machine has;
    /// `floor` is what is left of it after collections.
    fn limit_in(&self, sight: Sight, rate: f64, floor: Option<f64>) -> Option<f64> {
        let last = self.last?;
        let until = |limit: Option<f64>, now: Option<f64>| {
            Some(((limit? - now?) / rate).max(0.0)).filter(|seconds| seconds.is_finite())
        };
        if sight == Sight::HeapFloor {
            return until(
                last.heap_limit,
                floor.filter(|floor| floor.is_finite()).or(last.heap_used),
            );
        }
        let resident = until(last.limit, Some(last.rss));
        let direct = until(last.direct_limit, last.direct).filter(|_| sight == Sight::Direct);
        match (resident, direct) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        }
    }

    /// Takes back what was said, if it has long ceased to grow.
    fn clear(&mut self, columns: &Columns, all: &[Series], now: f64) {
        let Some(standing) = &self.standing else { return };
        let Some(series) = all.iter().find(|series| series.sight == standing.sight) else { return };
        let whole = whole(series, columns, &standing.model);
        // Lives that are over within a day have to do with less.
        let hour = self.settings.settle_s;
        let day = if self.lives.all_shorter(30.0 * hour).is_some() { 14.0 } else { 24.0 } * hour;
        let window = standing.length.max(if standing.stairs { 2.0 * day } else { day });
        let from = now - window;
        // Not before what showed it is long gone by, and only by what this life shows.
        let seen = series.t.first().is_some_and(|first| *first < from + 0.1 * window);
        if !seen || now - standing.seen < 0.75 * window {
            self.update(columns, all, &whole, now);
            return;
        }
        let row = series.t.partition_point(|t| *t < from);
        // A source that is silent says nothing of growth.
        let Some(grown) = whole.get(row..).and_then(ends) else { return };
        let grown = grown / standing.model.overhead();
        let unsure = standing.leak.error > 0.7 * standing.leak.bytes_per_hour;
        if unsure || grown < 0.2 * standing.rate * window {
            self.standing = None;
            self.changes.add(now, ChangeKind::LeakOver);
            return;
        }
        self.update(columns, all, &whole, now);
    }

    /// The judgement as it stands.
    pub fn verdict(&self) -> Verdict {
        if let Some(standing) = &self.standing {
            return Verdict::Leaking(standing.leak.clone());
        }
        let seen = match (&self.life, &self.last) {
            (Some(life), Some(last)) => last.t - life.seen_from,
            _ => 0.0,
        };
        let wanted = 4.0 * self.settings.settle_s;
        match &self.otherwise {
            Some(verdict) if seen >= wanted => verdict.clone(),
            _ => Verdict::InsufficientData { more_s: (wanted - seen).max(0.0) },
        }
    }

    /// Points at which something changed, oldest first, 64 at the most: starts, steps, when a leak was seen.
    pub fn changes(&self) -> impl Iterator<Item = &Change> {
        self.changes.iter()
    }

    /// What was looked at and what is left of it when what explains it is taken off, oldest first: 2048 stretches of the
    /// life that is now, at the most. Of the leak that stands, or else of the first of the series that are looked at.
    pub fn explained(&self) -> Vec<Explained> {
        let Some(life) = &self.life else { return Vec::new() };
        let columns = Columns::new(life, life.start + self.settings.settle_s);
        let all = series(&columns);
        let standing = self.standing.as_ref();
        let own = standing.and_then(|leak| all.iter().find(|one| one.sight == leak.sight));
        let Some(series) = own.or(all.first()) else { return Vec::new() };
        let model =
            standing.filter(|_| own.is_some()).map_or(Model::AsIs, |leak| leak.model.clone());
        let left = whole(series, &columns, &model);
        let seen = |t: f64, left: f64| {
            let row = columns.t.partition_point(|other| *other < t);
            let column = match series.sight.view() {
                View::Account => &columns.account,
                View::Direct => &columns.direct,
                View::Heap => &columns.heap_low,
                View::Resident => &columns.resident,
            };
            column.get(row).copied().filter(|seen| seen.is_finite()).unwrap_or(left)
        };
        (series.t.iter().zip(&left).filter(|(_, left)| left.is_finite()))
            .map(|(t, left)| Explained { t: *t, seen: seen(*t, *left), left: *left })
            .collect()
    }

    /// In how many seconds a leak of so many bytes per hour would be seen at the noise that there is now, if it began
    /// now and this process lived on. `None`: not with what is known so far.
    pub fn power(&self, bytes_per_hour: f64) -> Option<f64> {
        let life = self.life.as_ref()?;
        let columns = Columns::new(life, life.start + self.settings.settle_s);
        reasons::power(self.settings, &columns, bytes_per_hour)
    }

    /// Why, in sentences for people: what was looked at, what it shows, what was ruled out, and how long a small leak
    /// would take to be seen.
    pub fn reasons(&self) -> Vec<String> {
        let Some(life) = &self.life else { return vec!["Nothing has been seen yet.".to_owned()] };
        let columns = Columns::new(life, life.start + self.settings.settle_s);
        reasons::sentences(self.settings, life, &columns, self.standing.as_ref(), &self.lives)
    }
}

/// Whether growth of a part of so many bytes is none yet to be called a leak: it began at some age of the process, and has
/// gone on for so long since.
fn can_wait(best: &Candidate, level: f64, hour: f64, began: f64, lasts: f64) -> bool {
    let account = best.sight == Sight::Account;
    let wait = if account { WAIT_ACCOUNT } else { WAIT };
    let grown = best.growth.rate * lasts;
    let before = (level - grown).max(0.0);
    let large = if began > WAIT * hour { LARGE_LATER } else { LARGE_AT_FIRST + 0.5 * before };
    let is_large = !account && grown > large;
    !best.beside && !is_large && lasts < wait * hour
}

/// The rate of an account's leak as memory shows it, bytes per second, less what counts of state explain of that: an
/// account need not count all that leaks.
fn not_all_counted(standing: &Standing, columns: &Columns) -> Option<f64> {
    let (Sight::Account, Model::Counts(units)) = (standing.sight, &standing.model) else {
        return None;
    };
    let row = columns.t.partition_point(|t| *t < standing.leak.since);
    let explained = |row: usize| -> f64 {
        let of = |column: &Vec<f64>| column.get(row).copied().unwrap_or(f64::NAN);
        let moved = columns.counts.iter().zip(units).filter(|(_, unit)| **unit > 0.0);
        moved.map(|(column, unit)| of(column) * unit).sum()
    };
    let left: Vec<f64> = (columns.resident.iter().enumerate().skip(row))
        .map(|(row, resident)| resident - LEAKED_OVERHEAD * explained(row))
        .collect();
    let growth = measure(&thin(columns.t.get(row..)?, &left, POINTS))?;
    (growth.grown > 5.0 * growth.error).then_some(growth.rate / LEAKED_OVERHEAD)
}
