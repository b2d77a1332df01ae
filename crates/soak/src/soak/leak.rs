//! From cycles to leaks: in which view memory grows, with which events, and what that is at production's rate.

use super::figures::Figures;
use super::growth::{Growth, growth, median};
use super::outcome::{CycleRecord, Driver, Leak, Seen, View};
use super::scenario::Production;
use super::world::Events;

/// Share of the growth that must fall into one kind of phase, to say that it goes with its events.
const DECISIVE: f64 = 0.6;

/// Most points that a slope is fitted to; it takes time of the square.
const POINTS_MAX: usize = 80;

impl Driver {
    /// Kinds of events, in the order of their phases.
    const ALL: [Self; 4] = [Self::Updates, Self::Connects, Self::Subscriptions, Self::Queued];

    /// How many of them there were.
    fn events(self, events: &Events) -> f64 {
        let count = match self {
            Self::Updates => events.updates,
            Self::Connects => events.connects,
            Self::Subscriptions => events.subscriptions,
            Self::Queued => events.queued,
            Self::Time | Self::Mixed => 0,
        };
        count as f64
    }

    /// How many there are in an hour of production.
    fn per_hour(self, production: &Production) -> f64 {
        match self {
            Self::Updates => production.updates_per_hour,
            Self::Connects => production.connects_per_hour,
            Self::Subscriptions => production.subscriptions_per_hour,
            Self::Queued => production.queued_per_hour,
            Self::Time => 3600.0,
            Self::Mixed => 0.0,
        }
    }

    /// One of them, for people.
    pub(crate) fn event(self) -> &'static str {
        match self {
            Self::Updates => "update",
            Self::Connects => "connection",
            Self::Subscriptions => "subscription",
            Self::Queued => "queued message",
            Self::Time => "second",
            Self::Mixed => "cycle",
        }
    }
}

/// Looks at all views.
pub(crate) fn leaks(
    cycles: &[CycleRecord],
    figures: &Figures,
    production: &Production,
) -> Vec<Leak> {
    let judged: Vec<&CycleRecord> = cycles.iter().filter(|cycle| cycle.judged).collect();
    let shares = shares(&judged);
    let suspected = driver(shares, time_shares(&judged));
    let resident_by = |driver: Driver| -> Vec<(f64, f64)> {
        let points = (0u32..).zip(&judged).map(|(index, cycle)| {
            let x = match driver {
                Driver::Mixed => f64::from(index),
                Driver::Time => cycle.to_s,
                driver => driver.events(&cycle.events_total),
            };
            // All four were taken after the cycle's updates: the middle of them is the least noisy.
            (x, median(cycle.quiet.get(1..).unwrap_or_default()))
        });
        points.collect()
    };
    let mut found = Vec::new();
    // What does not grow is said by updates: they are what there is most of.
    let growing = growth(&resident_by(suspected)).filter(|growth| growth.grows);
    let (driver, resident) = match growing {
        Some(growth) => (suspected, Some(growth)),
        None => (Driver::Updates, growth(&resident_by(Driver::Updates))),
    };
    if let Some(growth) = resident {
        let mut leak = project(View::Resident, driver, growth, shares, &judged, production);
        leak.others = Driver::ALL
            .into_iter()
            .filter(|other| *other != driver)
            .filter_map(|other| {
                let growth = self::growth(&resident_by(other))?;
                Some(Seen {
                    driver: other,
                    per_event: growth.resolution,
                    per_hour: growth.resolution * other.per_hour(production),
                })
            })
            .collect();
        found.push(leak);
    }
    let driver =
        if matches!(driver, Driver::Mixed | Driver::Time) { Driver::Updates } else { driver };
    for view in View::ASKED {
        let mut points = account(figures.of(view), &judged, driver);
        if view == View::Heap {
            points = low_waters(&points);
        }
        if let Some(growth) = growth(&points) {
            found.push(project(view, driver, growth, shares, &judged, production));
        }
    }
    found
}

/// The broker's own figures by events, thinned out, from the first judged cycle on.
fn account(accounts: &[(Events, f64)], judged: &[&CycleRecord], driver: Driver) -> Vec<(f64, f64)> {
    let (Some(first), Some(last)) = (judged.first(), judged.last()) else { return Vec::new() };
    let from = driver.events(&first.events_total) - driver.events(&first.events);
    let to = driver.events(&last.events_total);
    let points: Vec<(f64, f64)> = accounts
        .iter()
        .map(|(events, bytes)| (driver.events(events), *bytes))
        .filter(|(x, _)| (from..=to).contains(x))
        .collect();
    let step = points.len().div_ceil(POINTS_MAX).max(1);
    points.into_iter().step_by(step).collect()
}

/// The lowest of each few figures: a managed heap holds what was dropped as well, until it is collected.
fn low_waters(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let lowest = |few: &[(f64, f64)]| few.iter().copied().min_by(|a, b| a.1.total_cmp(&b.1));
    points.chunks(4).filter_map(lowest).collect()
}

/// How the growth is spread over the phases: what each adds from quiet to quiet, in all cycles together (a leak may come in
/// bursts), as shares of the sum.
fn shares(judged: &[&CycleRecord]) -> [f64; 4] {
    shares_of(judged, |cycle| &cycle.quiet)
}

/// The same for the time that goes by.
fn time_shares(judged: &[&CycleRecord]) -> [f64; 4] {
    shares_of(judged, |cycle| &cycle.quiet_s)
}

fn shares_of(judged: &[&CycleRecord], of: impl Fn(&CycleRecord) -> &[f64; 5]) -> [f64; 4] {
    let mut added = [0.0; 4];
    for (phase, added) in added.iter_mut().enumerate() {
        let step = |cycle: &&CycleRecord| -> Option<f64> {
            let values = of(cycle);
            Some(values.get(phase + 1)? - values.get(phase)?)
        };
        *added = judged.iter().filter_map(step).sum::<f64>().max(0.0);
    }
    let sum: f64 = added.iter().sum();
    added.map(|part| if sum > 0.0 { part / sum } else { 0.0 })
}

/// What the growth goes with, if it is growth.
fn driver(shares: [f64; 4], time: [f64; 4]) -> Driver {
    if shares.iter().sum::<f64>() <= 0.0 {
        return Driver::Updates;
    }
    // Whatever goes on: no kind of event is what it goes with.
    let as_time = shares
        .iter()
        .zip(time)
        .all(|(share, time)| time > 0.0 && (0.5 * time..=2.0 * time).contains(share));
    if as_time {
        return Driver::Time;
    }
    let decisive = Driver::ALL.into_iter().zip(shares).find(|(_, share)| *share >= DECISIVE);
    decisive.map_or(Driver::Mixed, |(driver, _)| driver)
}

fn project(
    view: View,
    driver: Driver,
    growth: Growth,
    shares: [f64; 4],
    judged: &[&CycleRecord],
    production: &Production,
) -> Leak {
    let factor = match driver {
        Driver::Mixed => {
            let parts = Driver::ALL.into_iter().zip(shares).map(|(driver, share)| {
                let counts: Vec<f64> =
                    judged.iter().map(|cycle| driver.events(&cycle.events)).collect();
                share * driver.per_hour(production) / median(&counts).max(1.0)
            });
            parts.sum()
        }
        driver => driver.per_hour(production),
    };
    Leak {
        view,
        driver,
        growth,
        per_hour: growth.per_event * factor,
        per_hour_low: growth.low * factor,
        per_hour_high: growth.high * factor,
        resolution_per_hour: growth.resolution * factor,
        clock_per_hour: growth.grown / hours(judged).max(1e-6),
        others: Vec::new(),
    }
}

/// Hours of the clock between the middles of the first and the last third of the cycles, as growth is told.
fn hours(judged: &[&CycleRecord]) -> f64 {
    let third = judged.len() / 3;
    let middle =
        |part: &[&CycleRecord]| median(&part.iter().map(|cycle| cycle.to_s).collect::<Vec<f64>>());
    let (first, rest) = judged.split_at(third);
    (middle(rest.split_at(rest.len() - third).1) - middle(first)) / 3600.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::Random;

    fn run(leak: impl Fn(&Events) -> f64) -> (Vec<CycleRecord>, Figures) {
        let mut random = Random::new(7);
        let (mut total, mut held, mut records, mut accounts) =
            (Events::default(), 40e6, Vec::new(), Figures::default());
        for index in 0..9 {
            let parts = [
                Events { updates: 400_000 + random.below(200_000) as u64, ..Events::default() },
                Events { connects: 900 + random.below(200) as u64, ..Events::default() },
                Events { subscriptions: 5000, ..Events::default() },
                Events { queued: 4000, ..Events::default() },
            ];
            let mut quiet = [held; 5];
            let from_s = 12.0 * f64::from(index);
            let quiet_s = [0.0, 7.7, 9.3, 10.7, 12.0].map(|s| from_s + s);
            let mut cycle = Events::default();
            for (phase, part) in parts.iter().enumerate() {
                held += leak(part);
                quiet[phase + 1] = held + 3e5 * (random.uniform() - 0.5);
                cycle.updates += part.updates;
                cycle.connects += part.connects;
                cycle.subscriptions += part.subscriptions;
                cycle.queued += part.queued;
            }
            total.updates += cycle.updates;
            total.connects += cycle.connects;
            total.subscriptions += cycle.subscriptions;
            total.queued += cycle.queued;
            accounts.note(View::Account, total, held);
            records.push(CycleRecord {
                judged: index > 0,
                events: cycle,
                events_total: total,
                quiet,
                from_s,
                to_s: from_s + 12.0,
                quiet_s,
                ..CycleRecord::default()
            });
        }
        (records, accounts)
    }

    #[test]
    fn a_leak_is_charged_to_its_events() {
        let production = Production::default();
        let (cycles, accounts) = run(|events| 48.0 * events.updates as f64);
        let found = leaks(&cycles, &accounts, &production);
        assert_eq!(found.len(), 2);
        for leak in found {
            assert!(leak.growth.grows && leak.driver == Driver::Updates, "{leak:?}");
            assert!((leak.per_hour / 1e6 - 115.2).abs() < 5.0, "{leak:?}");
        }
        let (cycles, accounts) = run(|events| 2000.0 * events.connects as f64);
        let found = leaks(&cycles, &accounts, &production);
        assert!(found[0].growth.grows && found[0].driver == Driver::Connects, "{found:?}");
        assert!((found[0].growth.per_event - 2000.0).abs() < 200.0, "{found:?}");
    }

    #[test]
    fn two_leaks_are_projected_each_at_its_rate() {
        let production = Production::default();
        let (cycles, accounts) = run(|e| 2.0 * e.updates as f64 + 1000.0 * e.connects as f64);
        let found = leaks(&cycles, &accounts, &production);
        assert!(found[0].growth.grows && found[0].driver == Driver::Mixed, "{found:?}");
        // 4.8 MB/h of updates and 12 MB/h of connections.
        assert!((found[0].per_hour / 1e6 - 16.8).abs() < 4.0, "{found:?}");
    }

    #[test]
    fn a_leak_with_time_is_said_by_the_hour() {
        let production = Production::default();
        let (mut cycles, _) = run(|_| 0.0);
        let mut random = Random::new(3);
        for cycle in &mut cycles {
            for (quiet, at) in cycle.quiet.iter_mut().zip(cycle.quiet_s) {
                *quiet = 40e6 + 1e5 * at + 3e4 * random.uniform();
            }
        }
        let found = leaks(&cycles, &Figures::default(), &production);
        assert!(found[0].growth.grows && found[0].driver == Driver::Time, "{found:?}");
        assert!((found[0].per_hour / 360e6 - 1.0).abs() < 0.05, "{found:?}");
        assert!((found[0].clock_per_hour / 360e6 - 1.0).abs() < 0.1, "{found:?}");
    }

    #[test]
    fn a_leak_in_bursts_goes_with_what_it_comes_in() {
        // 48 B each, lost at every 1.5 millionth update.
        let mut total = 0;
        let (cycles, _) = {
            let state = std::cell::RefCell::new(&mut total);
            run(move |events| {
                let mut total = state.borrow_mut();
                let before: u64 = **total / 1_500_000;
                **total += events.updates;
                72e6 * (**total / 1_500_000 - before) as f64
            })
        };
        let found = leaks(&cycles, &Figures::default(), &Production::default());
        assert!(found[0].driver == Driver::Updates, "{found:?}");
    }

    #[test]
    fn without_a_leak_there_is_a_resolution() {
        let (cycles, accounts) = run(|_| 0.0);
        for leak in leaks(&cycles, &accounts, &Production::default()) {
            assert!(!leak.growth.grows && leak.resolution_per_hour > 0.0, "{leak:?}");
        }
        assert!(leaks(&[], &Figures::default(), &Production::default()).is_empty());
    }
}
