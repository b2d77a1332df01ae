//! Lives that are too short to show a leak each: laid one upon the other by age.

use std::collections::VecDeque;

use super::Settings;
use super::bend::comes_to_an_end;
use super::bucket::Life;
use super::columns::Columns;
use super::rules::least;
use super::views::{Series, Sight, series};
use super::window::{Growth, POINTS, ends, measure, thin};

/// Lives that are remembered.
const LIVES: usize = 8;
/// Lives that are wanted, at the least.
const WANTED: usize = 3;
/// Growth of a life that is worth a word, bytes.
const ENOUGH: f64 = 16.0 * 1024.0 * 1024.0;
/// Ages at which a life is remembered, and how far they lie apart, settling times.
const AGES: usize = 96;
const APART: f64 = 0.25;

/// What is looked at, best first.
const SIGHTS: [Sight; 5] =
    [Sight::Native, Sight::Follow, Sight::Ratchet, Sight::Counted, Sight::Bare];

/// What is remembered of a life, as one sight has it.
#[derive(Clone, Debug)]
struct Profile {
    sight: Sight,
    level: f64,
    /// The series at each age; NaN where there was none.
    q: Vec<f64>,
}

/// The last lives.
#[derive(Clone, Debug, Default)]
pub(super) struct Lives {
    profiles: VecDeque<Vec<Profile>>,
    spans: VecDeque<Span>,
}

/// Begin, end and growth of a life, however short.
#[derive(Clone, Copy, Debug)]
struct Span {
    length: f64,
    first: f64,
    last: f64,
    /// What the last third has of the growth.
    tail: f64,
}

impl Span {
    fn new(life: &Life) -> Option<Self> {
        let (one, other) = (life.buckets().front()?, life.buckets().back()?);
        let row = life.buckets().len() * 2 / 3;
        let third = life.buckets().get(row)?;
        let grown = other.resident - one.resident;
        Some(Self {
            length: other.t - one.t,
            first: one.resident,
            last: other.resident,
            tail: (other.resident - third.resident) / grown,
        })
    }
}

/// Growth that all of the last lives have.
#[derive(Clone, Copy, Debug)]
pub(super) struct Common {
    pub(super) sight: Sight,
    /// Over age, not time.
    pub(super) growth: Growth,
}

impl Lives {
    /// Remembers a life that is over.
    pub(super) fn remember(&mut self, settings: Settings, life: &Life) {
        if let Some(span) = Span::new(life) {
            if self.spans.len() >= LIVES {
                self.spans.pop_front();
            }
            self.spans.push_back(span);
        }
        let columns = Columns::new(life, life.start + settings.settle_s);
        let all = series(&columns);
        let profiles: Vec<Profile> = all
            .iter()
            .filter(|series| SIGHTS.contains(&series.sight))
            .map(|series| Profile::new(settings, series, life.start))
            .collect();
        if profiles.is_empty() {
            return;
        }
        if self.profiles.len() >= LIVES {
            self.profiles.pop_front();
        }
        self.profiles.push_back(profiles);
    }

    /// Length of the last lives in seconds, on the average, and how many they are, if each was shorter than `seconds`.
    pub(super) fn all_shorter(&self, seconds: f64) -> Option<(f64, usize)> {
        let short = self.spans.len() >= WANTED && self.spans.iter().all(|s| s.length < seconds);
        let mean = self.spans.iter().map(|s| s.length).sum::<f64>() / self.spans.len() as f64;
        short.then_some((mean, self.spans.len()))
    }

    /// Rate and its error, bytes per second, if the last lives grew to the end, each by half of what it began with
    /// at the least, and ended near a limit; or by two fifths, and ended at a like size.
    pub(super) fn all_grow(&self, limit: Option<f64>) -> Option<(f64, f64)> {
        let last: Vec<&Span> = self.spans.iter().rev().take(WANTED).collect();
        if last.len() < WANTED {
            return None;
        }
        let highest = last.iter().map(|span| span.last).fold(0.0, f64::max);
        let at_limit = limit.is_some_and(|limit| {
            last.iter().all(|span| {
                span.last > 1.5 * span.first && span.tail > 0.2 && span.last > 0.75 * limit
            })
        });
        let alike = last.iter().all(|span| {
            span.last > 1.4 * span.first && span.tail > 0.25 && span.last > 0.9 * highest
        });
        let dies = at_limit || alike;
        let rates: Vec<f64> = last.iter().map(|s| (s.last - s.first) / s.length.max(1.0)).collect();
        let mean = rates.iter().sum::<f64>() / rates.len() as f64;
        let spread = rates.iter().map(|rate| (rate - mean).powi(2)).sum::<f64>();
        let enough = last.iter().all(|span| span.last - span.first > ENOUGH);
        (dies && enough)
            .then(|| (mean, (spread / (rates.len() - 1) as f64 / rates.len() as f64).sqrt()))
    }

    /// Growth that does not slow down in their mean, and that each of the last lives has.
    pub(super) fn common(&self, settings: Settings) -> Option<Common> {
        SIGHTS.iter().find_map(|sight| self.seen_by(*sight, settings))
    }

    fn seen_by(&self, sight: Sight, settings: Settings) -> Option<Common> {
        let same: Vec<&Profile> =
            self.profiles.iter().flatten().filter(|profile| profile.sight == sight).collect();
        let level = same.last()?.level;
        let mut lengths: Vec<usize> = same.iter().map(|profile| profile.length()).collect();
        lengths.sort_unstable_by_key(|length| std::cmp::Reverse(*length));
        let until = *lengths.get(WANTED.max(same.len() * 2 / 3) - 1)?;
        // A life of less than five settling times is its start and little more.
        if (until as f64) * APART < 5.0 {
            return None;
        }
        let from = (until * 3 / 10).max(6); // 1.5 settling times
        let parts: Vec<&[f64]> = same
            .iter()
            .filter(|profile| profile.length() >= until)
            .filter_map(|profile| profile.q.get(from..until))
            .collect();
        let ages: Vec<f64> =
            (from..until).map(|age| (age as f64 + 0.5) * APART * settings.settle_s).collect();
        let mean: Vec<f64> = (0..ages.len())
            .map(|row| {
                parts.iter().filter_map(|part| part.get(row)).sum::<f64>() / parts.len() as f64
            })
            .collect();
        let points = thin(&ages, &mean, POINTS);
        let growth = measure(&points)?;
        let hours = (growth.to - growth.from) / settings.settle_s;
        let each = parts.iter().all(|part| ends(part).is_some_and(|own| own > 0.4 * growth.grown));
        let enough = growth.grown - 2.5 * growth.error > least(hours, level);
        let goes_on =
            growth.keeps > 0.85 && growth.evenness > 0.4 && !comes_to_an_end(&points, 0.0);
        (each && enough && goes_on).then_some(Common { sight, growth })
    }
}

impl Profile {
    fn new(settings: Settings, series: &Series, start: f64) -> Self {
        let mut q = vec![f64::NAN; AGES];
        for (t, value) in series.t.iter().zip(&series.q) {
            let age = ((t - start) / (APART * settings.settle_s)).floor();
            #[expect(clippy::cast_sign_loss, reason = "an index, or past the end")]
            if let Some(slot) = q.get_mut(age.max(0.0) as usize) {
                *slot = if slot.is_nan() { *value } else { f64::midpoint(*slot, *value) };
            }
        }
        Self { sight: series.sight, level: series.level, q }
    }

    /// Ages that it reached.
    fn length(&self) -> usize {
        self.q.iter().rposition(|value| value.is_finite()).map_or(0, |last| last + 1)
    }
}
