//! Looks into the engine: short ones, timed, with room for others between them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::extract::Query;
use axum::extract::rejection::QueryRejection;
use plimsoll_engine::Engine;
use tokio::time::sleep;

use super::problem::Problem;
use super::routes::Context;

/// Places that one look goes over: well below a millisecond.
pub(super) const STEPS: u32 = 1000;

/// Looks of one request; one that has not found enough by then says where to go on.
const LOOKS_MAX: u32 = 200;

/// What the I/O threads have between two looks.
const PAUSE: Duration = Duration::from_millis(1);

/// Entries of an answer, if nothing is said, and at most.
const LIMIT: usize = 100;
const LIMIT_MAX: usize = 1000;

/// Upper bounds of the classes that waits are counted in, in seconds.
const BOUNDS: [f64; 9] = [1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 1e-1, f64::INFINITY];

/// How long things took, counted by class.
#[derive(Debug, Default)]
pub(super) struct Durations {
    counts: [AtomicU64; BOUNDS.len()],
    nanos: AtomicU64,
}

impl Durations {
    fn note(&self, duration: Duration) {
        let secs = duration.as_secs_f64();
        let class = BOUNDS.iter().position(|bound| secs <= *bound);
        if let Some(count) = class.and_then(|class| self.counts.get(class)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.nanos.fetch_add(duration.as_nanos() as u64, Ordering::Relaxed);
    }

    /// How many lay in each class, by its upper bound.
    pub(super) fn counts(&self) -> Vec<(f64, u64)> {
        let counts = self.counts.iter().map(|count| count.load(Ordering::Relaxed));
        BOUNDS.into_iter().zip(counts).collect()
    }

    /// Their sum in seconds.
    pub(super) fn sum(&self) -> f64 {
        Duration::from_nanos(self.nanos.load(Ordering::Relaxed)).as_secs_f64()
    }
}

/// How long HTTP has waited for the engine, and how long it has kept it.
#[derive(Debug, Default)]
pub(super) struct Looks {
    pub(super) waits: Durations,
    pub(super) holds: Durations,
}

impl Context {
    /// One look. It has to be a short one.
    pub(super) fn look<T>(&self, see: impl FnOnce(&Engine) -> T) -> T {
        self.timed_look(see).0
    }

    /// The same, and how long the engine was waited for.
    pub(super) fn timed_look<T>(&self, see: impl FnOnce(&Engine) -> T) -> (T, Duration) {
        let asked = Instant::now();
        let engine = self.shared.engine();
        let got = Instant::now();
        let seen = see(&engine);
        drop(engine);
        let waited = got - asked;
        self.looks.waits.note(waited);
        self.looks.holds.note(got.elapsed());
        (seen, waited)
    }

    /// Looks from `at` on until `see` says that it has enough, or there is no more. `see` answers where
    /// to go on and whether it wants to. Answers where the next request is to go on.
    pub(super) async fn leaf<C: Clone>(
        &self,
        mut at: C,
        mut see: impl FnMut(&Engine, C) -> (Option<C>, bool),
    ) -> Option<C> {
        for look in 0..LOOKS_MAX {
            if look > 0 {
                sleep(PAUSE).await;
            }
            let from = at.clone();
            let (next, more) = self.look(|engine| see(engine, from));
            at = next?;
            if !more {
                break;
            }
        }
        Some(at)
    }
}

/// Bytes that one look copies while the engine stands still.
const LOOK_BYTES: usize = 256 * 1024;

/// Bytes of an answer, roughly: names may be 64 KiB each.
const ANSWER_BYTES: usize = 1024 * 1024;

/// How much has been copied of what clients have named.
#[derive(Debug, Default)]
pub(super) struct Copied {
    in_look: usize,
    in_answer: usize,
}

impl Copied {
    /// Another look begins.
    pub(super) fn look(&mut self) {
        self.in_look = 0;
    }

    /// So many bytes were copied. Whether this look may go on.
    pub(super) fn take(&mut self, bytes: usize) -> bool {
        self.in_look += bytes;
        self.in_answer += bytes;
        self.in_look < LOOK_BYTES && !self.is_full()
    }

    /// Whether the answer has enough.
    pub(super) fn is_full(&self) -> bool {
        self.in_answer >= ANSWER_BYTES
    }
}

/// The query of a request.
pub(super) fn asked<T>(query: Result<Query<T>, QueryRejection>) -> Result<T, Problem> {
    query.map(|Query(query)| query).map_err(|error| Problem::bad_request(error.body_text()))
}

/// Entries that are wanted.
pub(super) fn limit(wanted: Option<usize>) -> Result<usize, Problem> {
    match wanted.unwrap_or(LIMIT) {
        limit @ 1..=LIMIT_MAX => Ok(limit),
        _ => Err(Problem::bad_request(format!("limit has to be from 1 to {LIMIT_MAX}"))),
    }
}

/// Where a request is to go on.
pub(super) fn place(cursor: Option<&str>) -> Result<u32, Problem> {
    let stale = || Problem::bad_request("cursor has to be one that an answer gave");
    cursor.map_or(Ok(0), |cursor| cursor.parse().map_err(|_| stale()))
}

impl Context {
    /// Messages queued or in flight, over all sessions. Walked over anew when it is some seconds old.
    pub(super) async fn messages_held(&self) -> u64 {
        const FRESH: Duration = Duration::from_secs(5);
        let known = *self.held.lock().await;
        if let Some((at, held)) = known
            && at.elapsed() < FRESH
        {
            return held;
        }
        let mut held = 0;
        self.leaf(0, |engine, from| {
            let next = engine.clients(from, STEPS, |client| {
                held += (client.queued + client.inflight) as u64;
                std::ops::ControlFlow::Continue(())
            });
            (next, true)
        })
        .await;
        *self.held.lock().await = Some((Instant::now(), held));
        held
    }
}

/// The latest walk over all sessions: when, and what was found.
pub(super) type Held = Arc<tokio::sync::Mutex<Option<(Instant, u64)>>>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_counted_in_the_class_that_they_fit() {
        let durations = Durations::default();
        for micros in [1, 10, 11, 500, 2_000_000] {
            durations.note(Duration::from_micros(micros));
        }
        let counts: Vec<u64> = durations.counts().iter().map(|(_, count)| *count).collect();
        assert_eq!(counts, [2, 1, 0, 0, 1, 0, 0, 0, 1]);
        assert!((durations.sum() - 2.000_522).abs() < 1e-9);
    }

    #[test]
    fn limits_have_bounds() {
        assert_eq!(limit(None).unwrap(), LIMIT);
        assert_eq!(limit(Some(1000)).unwrap(), 1000);
        assert!(limit(Some(0)).is_err() && limit(Some(1001)).is_err());
        assert_eq!(place(Some("7")).unwrap(), 7);
        assert!(place(Some("x")).is_err());
    }
}
