//! What a target says of itself: over MQTT, as Prometheus metrics, as JSON.

mod http;
mod jolokia;
mod mqtt;
mod pointer;
mod poller;
pub(crate) mod presets;
mod prometheus;
mod source;
mod url;

use std::sync::Arc;

pub(crate) use poller::Poller;
pub use source::{Credentials, Kind, Mapping, Name, Source};

use crate::figure::Figure;

/// Most extra figures of one target.
pub const EXTRAS_MAX: usize = 64;

/// Figures of a target's sources at one moment; stale ones are left out.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Accounts {
    values: [Option<f64>; Figure::COUNT],
    /// Further figures, by the names that the configuration gives them, in its order.
    pub extras: Vec<(Arc<str>, f64)>,
    /// How its sources do.
    pub sources: Vec<SourceState>,
}

/// How a source does.
#[derive(Clone, Debug, PartialEq)]
pub struct SourceState {
    /// Its address, without secrets.
    pub address: Arc<str>,
    /// Whether it has answered of late.
    pub up: bool,
    /// Looks that failed, since `watch` began.
    pub failures: u64,
    /// Why the last look failed, if it did.
    pub error: Option<Arc<str>>,
}

impl Accounts {
    /// A figure, if a source has said it of late. A difference of figures that were not said at the same moment is not
    /// less than nothing.
    pub fn get(&self, figure: Figure) -> Option<f64> {
        let value = self.values.get(figure as usize).copied().flatten()?.max(0.0);
        // A limit of nothing is how runtimes say that there is none.
        (value > 0.0 || !figure.is_limit()).then_some(value)
    }

    /// Adds what a source says. Several sources of one figure are summed up: a JVM's buffer pools and Netty's own
    /// counter know different memory.
    pub fn add(&mut self, name: &Name, value: f64) {
        match name {
            Name::Figure(figure) => {
                if let Some(place) = self.values.get_mut(*figure as usize) {
                    *place = Some(place.unwrap_or(0.0) + value);
                }
            }
            Name::Extra(name) => {
                let room = self.extras.len() < EXTRAS_MAX;
                match self.extras.iter_mut().find(|(other, _)| other == name) {
                    Some((_, sum)) => *sum += value,
                    None if room => self.extras.push((Arc::clone(name), value)),
                    None => {}
                }
            }
        }
    }

    /// Lifts a figure to what a source says that it is at least.
    fn lift(&mut self, name: &Name, least: f64) {
        let known = match name {
            Name::Figure(figure) => self.values.get(*figure as usize).copied().flatten(),
            Name::Extra(name) => {
                self.extras.iter().find(|(other, _)| other == name).map(|(_, value)| *value)
            }
        };
        let missing = least - known.unwrap_or(0.0);
        if known.is_none() || missing > 0.0 {
            self.add(name, missing);
        }
    }

    /// Adds the figures of another source. Of limits the least holds.
    fn merge(&mut self, other: &Self) {
        for (figure, (own, value)) in
            Figure::ALL.into_iter().zip(self.values.iter_mut().zip(other.values))
        {
            // A limit of nothing is how a JVM says that there is none.
            let Some(value) = value.filter(|value| *value > 0.0 || !figure.is_limit()) else {
                continue;
            };
            *own = Some(match *own {
                Some(before) if figure.is_limit() => before.min(value),
                Some(before) => before + value,
                None => value,
            });
        }
        for (name, value) in &other.extras {
            self.add(&Name::Extra(Arc::clone(name)), *value);
        }
    }

    /// Drops a figure of which only a part is known.
    pub(crate) fn withhold(&mut self, name: &Name) {
        match name {
            Name::Figure(figure) => {
                if let Some(place) = self.values.get_mut(*figure as usize) {
                    *place = None;
                }
            }
            Name::Extra(name) => self.extras.retain(|(other, _)| other != name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_is_lifted_to_what_it_is_at_least() {
        let (direct, busy) = (Name::Figure(Figure::Direct), Name::Extra("busy".into()));
        let mut pool = Accounts::default();
        pool.add(&direct, 5.0);
        pool.lift(&direct, 4.0);
        assert_eq!(pool.get(Figure::Direct), Some(5.0), "part of it");
        pool.lift(&direct, 7.0);
        pool.lift(&busy, 2.0);
        assert_eq!(pool.get(Figure::Direct), Some(7.0), "beside it");
        let mut accounts = Accounts::default();
        accounts.merge(&pool);
        accounts.merge(&pool);
        assert_eq!(accounts.get(Figure::Direct), Some(14.0), "sources are summed up");
        assert_eq!(accounts.extras, [("busy".into(), 4.0)]);
        assert_eq!(accounts.get(Figure::Account), None);
    }

    #[test]
    fn of_the_limits_that_sources_know_the_least_holds() {
        let mut accounts = Accounts::default();
        for limit in [96.0, 64.0, 0.0, 80.0] {
            let mut source = Accounts::default();
            source.add(&Name::Figure(Figure::DirectLimit), limit);
            accounts.merge(&source);
        }
        assert_eq!(accounts.get(Figure::DirectLimit), Some(64.0));
    }
}
