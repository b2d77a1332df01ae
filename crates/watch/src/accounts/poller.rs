//! Asks a source on a thread of its own, so that a slow one holds up nothing.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use super::{Accounts, Source, SourceState};

/// How a source is read.
pub(super) trait Reader: Send {
    /// Waits for what the source says, within bounds, and puts each figure into its place.
    fn read(&mut self, values: &mut [Option<f64>]) -> Result<(), String>;

    /// How long to wait before it is read again; nothing for one that waits by itself.
    fn pause(&self) -> Duration;
}

/// A source that is being asked, until this is dropped.
#[derive(Debug)]
pub(crate) struct Poller {
    source: Source,
    address: Arc<str>,
    shared: Arc<Shared>,
    thread: Option<Thread>,
}

#[derive(Debug, Default)]
struct Shared {
    over: AtomicBool,
    latest: Mutex<Latest>,
}

/// What the source has said.
#[derive(Debug, Default)]
struct Latest {
    /// By the source's mappings: the value and when it was read.
    values: Vec<Option<(f64, Instant)>>,
    /// Mappings that have had a value since the process began.
    known: Vec<bool>,
    /// Which process it is about, counted.
    life: u64,
    failures: u64,
    error: Option<Arc<str>>,
}

/// A figure is dropped when it is older than so many rounds of asking.
const ROUNDS_MAX: u32 = 3;

/// The pause after a failure: a broker that starts takes its time.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(2);

/// Room for TLS and for parsing; nothing here recurses.
const STACK_BYTES: usize = 512 * 1024;

impl Poller {
    /// Begins to ask.
    pub(crate) fn start(source: &Source) -> Self {
        let count = source.map.len();
        let latest =
            Latest { values: vec![None; count], known: vec![false; count], ..Latest::default() };
        let shared = Arc::new(Shared { latest: Mutex::new(latest), ..Shared::default() });
        let mut poller =
            Self { address: source.shown().into(), source: source.clone(), shared, thread: None };
        match source.reader() {
            Ok(reader) => poller.run(reader),
            Err(error) => lock(&poller.shared).failed(&error),
        }
        poller
    }

    fn run(&mut self, mut reader: Box<dyn Reader>) {
        let (shared, count) = (Arc::clone(&self.shared), self.source.map.len());
        let body = move || {
            let mut values = vec![None; count];
            while !shared.over.load(Ordering::Relaxed) {
                values.fill(None);
                let life = lock(&shared).life;
                let pause = match reader.read(&mut values) {
                    Ok(()) => {
                        lock(&shared).said(life, &values);
                        reader.pause()
                    }
                    Err(error) => {
                        lock(&shared).failed(&error);
                        reader.pause().max(PAUSE_AFTER_FAILURE)
                    }
                };
                if !pause.is_zero() && !shared.over.load(Ordering::Relaxed) {
                    thread::park_timeout(pause);
                }
            }
        };
        let named = thread::Builder::new().name("accounts".into()).stack_size(STACK_BYTES);
        match named.spawn(body) {
            Ok(handle) => self.thread = Some(handle.thread().clone()),
            Err(error) => {
                lock(&self.shared).failed(&format!("cannot start a thread for it: {error}"));
            }
        }
    }

    /// Forgets what was said, and what is on its way: it is of another process.
    pub(crate) fn forget(&self) {
        let mut latest = lock(&self.shared);
        latest.life += 1;
        latest.values.fill(None);
        latest.known.fill(false);
    }

    /// Adds what was said of late.
    pub(crate) fn add_to(&self, accounts: &mut Accounts) {
        let latest = lock(&self.shared);
        let oldest = self.source.every * ROUNDS_MAX + PAUSE_AFTER_FAILURE;
        let fresh = |value: &Option<(f64, Instant)>| {
            value.filter(|(_, at)| at.elapsed() <= oldest).map(|(value, _)| value)
        };
        let said = || self.source.map.iter().zip(latest.values.iter().map(fresh));
        // Sums first, and then what they are at least, whatever the order of the mappings.
        let mut own = Accounts::default();
        for at_least in [false, true] {
            for (mapping, value) in said().filter(|(mapping, _)| mapping.at_least == at_least) {
                match value.map(|value| value * mapping.scale) {
                    Some(value) if at_least => own.lift(&mapping.name, value),
                    Some(value) => own.add(&mapping.name, value),
                    None => {}
                }
            }
        }
        accounts.merge(&own);
        // A sum with a part missing would look like a drop.
        for ((mapping, value), known) in said().zip(&latest.known) {
            if *known && value.is_none() {
                accounts.withhold(&mapping.name);
            }
        }
        accounts.sources.push(SourceState {
            address: Arc::clone(&self.address),
            up: said().any(|(_, value)| value.is_some()),
            failures: latest.failures,
            error: latest.error.clone(),
        });
    }
}

impl Drop for Poller {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Relaxed);
        // It ends by itself when it has its answer, and is not waited for.
        if let Some(thread) = &self.thread {
            thread.unpark();
        }
    }
}

impl Latest {
    /// Takes an answer that was asked for in a life.
    fn said(&mut self, life: u64, values: &[Option<f64>]) {
        if life != self.life {
            return;
        }
        let at = Instant::now();
        for ((place, known), value) in self.values.iter_mut().zip(&mut self.known).zip(values) {
            if let Some(value) = value.filter(|value| value.is_finite()) {
                *place = Some((value, at));
                *known = true;
            }
        }
        self.error = None;
    }

    fn failed(&mut self, error: &str) {
        self.failures += 1;
        self.error = Some(error.into());
    }
}

fn lock(shared: &Shared) -> MutexGuard<'_, Latest> {
    // What is in it is whole after each statement.
    shared.latest.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_to_what_was_asked_of_another_process_does_not_count() {
        let mut latest =
            Latest { values: vec![None; 1], known: vec![false; 1], ..Latest::default() };
        latest.said(0, &[Some(7.0)]);
        assert_eq!(latest.values[0].map(|(value, _)| value), Some(7.0));
        latest.life += 1;
        latest.values.fill(None);
        latest.said(0, &[Some(8.0)]);
        assert_eq!(latest.values, [None]);
        latest.said(1, &[Some(9.0)]);
        assert!(latest.values[0].is_some());
    }
}
