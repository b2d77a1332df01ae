//! The judgement from within: a process that accounts for what it holds looks at what is left over.
//!
//! Such a series should stay where it is, so minutes say what takes hours from outside.
//! The rule, over windows of 2 minutes, 4 minutes … 6 days at once, each of 32 means:
//!
//! 1. The growth over the window is more than what accounting may be wrong by: [`Bounds::growth_bytes_min`],
//!    a share of the series' [`Observation::total`], and a share of what [`Observation::reference`] moved by meanwhile (an
//!    error in proportion to state moves with state). Growth is the lower end of the 95 % interval of the
//!    Theil–Sen slope (Sen 1968) times the window.
//! 2. It is no step: first, middle and last third each grew by at least a quarter of what a straight line has.
//! 3. Both hold again an eighth of the window later.
//!
//! A stationary series passes 1 only if its slow swings are larger than the bounds there, whatever its quick noise:
//! the false-alarm rate does not depend on chance as long as the bounds hold. `examples/year.rs` runs it over
//! a year of ordinary load at one sample a second.

use std::collections::VecDeque;

use crate::trend::{Slope, theil_sen};

/// One observation of a series. Sizes are in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Observation {
    /// Time, seconds on a clock that does not go back.
    pub t: f64,
    /// What should stay where it is.
    pub value: f64,
    /// What the series is a small part of; growth of less than a share of it is none.
    pub total: f64,
    /// What errors of `value` may follow: bytes accounted for, or a count of state.
    pub reference: f64,
    /// How many bytes of `value` each unit of `reference` may explain.
    pub explains: f64,
}

/// Bounds of the rule.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bounds {
    /// Growth that is never called a leak, bytes.
    pub growth_bytes_min: f64,
    /// The same as a share of the total.
    pub growth_share_min: f64,
    /// What is passed over after the start, seconds.
    pub settle_s: f64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { growth_bytes_min: 2.0 * 1024.0 * 1024.0, growth_share_min: 0.02, settle_s: 30.0 }
    }
}

/// Growth that nothing explains.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Growth {
    /// Bytes per hour, with the ends of the 95 % confidence interval.
    pub bytes_per_hour: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// Since when at the latest, seconds.
    pub since: f64,
    /// Length of the window that shows it, seconds.
    pub window_s: f64,
    /// Growth within that window, bytes.
    pub grown_bytes: f64,
}

/// What an observation brought to light.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Change {
    /// It grows.
    Raised(Growth),
    /// It has stopped.
    Cleared,
}

/// Means of a window, oldest first.
#[derive(Clone, Debug)]
struct Scale {
    points: VecDeque<Observation>,
    /// The older half of the next point of the scale above.
    half: Option<Observation>,
    /// Since when the rule holds here.
    holds_since: Option<f64>,
}

/// Points of a window.
const POINTS: usize = 32;
/// Windows, each twice as long as the one before.
const SCALES: usize = 13;
/// Length of the shortest one, seconds.
const SHORTEST_S: f64 = 120.0;

/// Judges one series.
#[derive(Clone, Debug)]
pub struct Accounted {
    bounds: Bounds,
    first_t: Option<f64>,
    /// Sums of the point that is being filled, and how many they are of.
    sum: Observation,
    count: f64,
    point_from: f64,
    scales: [Scale; SCALES],
    standing: Option<(Growth, usize)>,
}

impl Accounted {
    /// Sizes of the blocks that one takes on the heap beside itself, bytes. They do not change.
    pub fn blocks() -> impl Iterator<Item = usize> {
        std::iter::repeat_n((POINTS + 1) * size_of::<Observation>(), SCALES)
    }

    /// A judge that has seen nothing.
    pub fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            first_t: None,
            sum: Observation::default(),
            count: 0.0,
            point_from: 0.0,
            scales: std::array::from_fn(|_| Scale {
                points: VecDeque::with_capacity(POINTS + 1),
                half: None,
                holds_since: None,
            }),
            standing: None,
        }
    }

    /// The growth that stands.
    pub fn standing(&self) -> Option<Growth> {
        self.standing.map(|(growth, _)| growth)
    }

    /// Takes an observation. One that is not later than those before, or is no number, is passed over.
    pub fn push(&mut self, seen: &Observation) -> Option<Change> {
        let finite = [seen.t, seen.value, seen.total, seen.reference, seen.explains];
        if finite.iter().any(|number| !number.is_finite()) {
            return None;
        }
        let first = *self.first_t.get_or_insert(seen.t);
        if seen.t < first + self.bounds.settle_s {
            return None;
        }
        let width = SHORTEST_S / POINTS as f64;
        if self.count == 0.0 {
            self.point_from = seen.t;
        }
        if seen.t < self.point_from {
            return None;
        }
        let complete = (self.count > 0.0 && seen.t >= self.point_from + width).then(|| self.mean());
        if complete.is_some() {
            (self.sum, self.count, self.point_from) = (Observation::default(), 0.0, seen.t);
        }
        self.sum = self.sum.plus(seen);
        self.count += 1.0;
        self.add(complete?)
    }

    fn mean(&self) -> Observation {
        self.sum.times(1.0 / self.count)
    }

    /// Adds a point to the shortest window, and what follows from it to the longer ones.
    fn add(&mut self, point: Observation) -> Option<Change> {
        let mut next = Some(point);
        let mut found = None;
        for index in 0..SCALES {
            let Some(point) = next.take() else { break };
            let Some(scale) = self.scales.get_mut(index) else { break };
            scale.points.push_back(point);
            if scale.points.len() > POINTS {
                scale.points.pop_front();
            }
            next = match scale.half.take() {
                None => {
                    scale.half = Some(point);
                    None
                }
                Some(older) => Some(older.plus(&point).times(0.5)),
            };
            let window = SHORTEST_S * f64::from(1u32 << index);
            let growth = grows(&self.bounds, &scale.points, window);
            let since = match growth {
                Some(_) => *scale.holds_since.get_or_insert(point.t),
                None => {
                    scale.holds_since = None;
                    continue;
                }
            };
            if point.t - since >= window / 8.0 {
                found = growth.map(|growth| (growth, index));
            }
        }
        self.conclude(point.t, found)
    }

    fn conclude(&mut self, now: f64, found: Option<(Growth, usize)>) -> Option<Change> {
        if let Some((growth, index)) = found {
            let Some((standing, before)) = &mut self.standing else {
                self.standing = Some((growth, index));
                return Some(Change::Raised(growth));
            };
            let since = standing.since.min(growth.since);
            (*standing, *before) = (Growth { since, ..growth }, index);
            return None;
        }
        let (growth, index) = self.standing?;
        // Looked for in the window that showed it: is there next to nothing left of the growth?
        let points = &self.scales.get(index)?.points;
        let seen = theil_sen(&points.iter().map(|p| (p.t, p.value)).collect::<Vec<_>>())?;
        let stopped = seen.high * 3600.0 < 0.25 * growth.bytes_per_hour
            && points.front().is_some_and(|first| now - first.t >= growth.window_s * 0.9);
        if !stopped {
            return None;
        }
        self.standing = None;
        Some(Change::Cleared)
    }
}

impl Observation {
    fn plus(&self, other: &Self) -> Self {
        Self {
            t: self.t + other.t,
            value: self.value + other.value,
            total: self.total + other.total,
            reference: self.reference + other.reference,
            explains: self.explains + other.explains,
        }
    }

    fn times(&self, factor: f64) -> Self {
        Self {
            t: self.t * factor,
            value: self.value * factor,
            total: self.total * factor,
            reference: self.reference * factor,
            explains: self.explains * factor,
        }
    }
}

/// Rules 1 and 2 for one window.
fn grows(bounds: &Bounds, points: &VecDeque<Observation>, window: f64) -> Option<Growth> {
    let (first, last) = (points.front()?, points.back()?);
    if points.len() < POINTS || last.t - first.t > 2.0 * window {
        return None; // Not yet, or there was a gap.
    }
    let span = last.t - first.t;
    let reference = points.iter().map(|point| point.reference);
    let lowest = reference.clone().fold(f64::INFINITY, f64::min);
    let highest = reference.fold(f64::NEG_INFINITY, f64::max);
    let least = bounds
        .growth_bytes_min
        .max(bounds.growth_share_min * last.total)
        .max((highest - lowest) * last.explains.max(first.explains));
    if last.value - first.value < least {
        return None; // Most series, nearly always: spares the sorting.
    }
    let series: Vec<(f64, f64)> = points.iter().map(|point| (point.t, point.value)).collect();
    let Slope { per_second, low, high } = theil_sen(&series)?;
    if low * span < least {
        return None;
    }
    let third = POINTS / 3;
    let mean =
        |from: usize| series.iter().skip(from).take(4).map(|(_, value)| value).sum::<f64>() / 4.0;
    let ends = [mean(0), mean(third), mean(2 * third), mean(POINTS - 4)];
    let straight = per_second * span / 3.0;
    let steady = ends.windows(2).all(|pair| match pair {
        [before, after] => after - before > 0.25 * straight,
        _ => false,
    });
    steady.then_some(Growth {
        bytes_per_hour: per_second * 3600.0,
        low: low * 3600.0,
        high: high * 3600.0,
        since: first.t,
        window_s: window,
        grown_bytes: last.value - first.value,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a series at one sample a second. Answers when it was raised, and when cleared.
    fn run(seconds: u32, value: impl Fn(f64) -> Observation) -> (Option<f64>, Option<f64>) {
        let mut judge = Accounted::new(Bounds::default());
        let (mut raised, mut cleared) = (None, None);
        for second in 0..seconds {
            let t = f64::from(second);
            match judge.push(&Observation { t, ..value(t) }) {
                Some(Change::Raised(_)) => raised = raised.or(Some(t)),
                Some(Change::Cleared) => cleared = Some(t),
                None => {}
            }
        }
        (raised, cleared)
    }

    fn flat(value: f64) -> Observation {
        Observation { value, total: 10e6, reference: 10e6, explains: 0.04, ..Default::default() }
    }

    #[test]
    fn a_topic_string_per_update_is_found_within_minutes() {
        // 400 updates a second, 48 bytes each, from the tenth minute on.
        let (raised, _) = run(2400, |t| flat(170e3 + (t - 600.0).max(0.0) * 400.0 * 48.0));
        let after = raised.map(|t| t - 600.0);
        assert!(after.is_some_and(|after| after < 300.0), "{after:?}");
    }

    #[test]
    fn a_slow_leak_is_found_in_time_and_its_end_is_seen() {
        let day = 86_400.0;
        let leak = |t: f64| flat(t.min(2.0 * day) * 150e3 / 3600.0);
        let (raised, cleared) = run(6 * 86_400, leak);
        assert!(raised.is_some_and(|t| t < 1.5 * day), "{raised:?}");
        assert!(cleared.is_some_and(|t| t > 2.0 * day), "{cleared:?}");
    }

    #[test]
    fn steps_and_what_follows_state_are_no_leaks() {
        let (raised, _) = run(20_000, |t| flat(if t > 9000.0 { 50e6 } else { 0.0 }));
        assert_eq!(raised, None, "a step");
        let state = |t: f64| 1e9 + 400e6 * (t / 86_400.0 * std::f64::consts::TAU).sin();
        let (raised, _) = run(200_000, |t| Observation {
            value: 0.02 * state(t),
            total: state(t),
            reference: state(t),
            explains: 0.04,
            ..Default::default()
        });
        assert_eq!(raised, None, "an error of two per cent of the state");
    }

    #[test]
    fn what_is_no_number_or_comes_too_late_is_passed_over() {
        let mut judge = Accounted::new(Bounds::default());
        for t in [f64::NAN, f64::INFINITY, 5.0, -5.0, 1e12, 3.0] {
            assert_eq!(judge.push(&Observation { t, value: f64::NAN, ..Default::default() }), None);
            assert_eq!(judge.push(&Observation { t, value: 1e300, ..Default::default() }), None);
        }
        assert_eq!(judge.standing(), None);
    }
}
