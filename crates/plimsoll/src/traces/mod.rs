//! The way of a publish through the broker, with times, for whoever asks: `POST /api/v1/trace`.
//!
//! The engine says what happens to the publishes that it is told to follow ([`Stage`]); it has no
//! clock. The I/O threads know when they read, when they entered and left the engine ([`Turn`]), and
//! when they wrote; the storage thread knows when something was stored. Here both come together, in a
//! [`Way`] for each publish, of which [`otlp`] makes OpenTelemetry's spans and [`export`] sends them
//! on. Unless somebody asks, all of this is one flag that an I/O thread looks at once in each turn.

pub(crate) mod export;
pub(crate) mod otlp;
mod parent;
mod way;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime};

use plimsoll_engine::{FOLLOWED_MAX, Follow, Stage, Traced};
use plimsoll_ledger::{Account, Charge, Ledger, Measure};

use crate::broker::shared::Shared;
pub(crate) use export::{Exporter, Otlp};
use way::Way;

/// Times of the store that are remembered: acknowledgements wait for one of the latest.
const STORED_MAX: usize = 4096;

/// The times of one turn of an I/O thread.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Turn {
    /// It began to read: what it found had come by then.
    pub(crate) read: Instant,
    /// It had the engine.
    pub(crate) entered: Instant,
    /// The engine had done everything.
    pub(crate) left: Instant,
}

impl Turn {
    /// It begins.
    pub(crate) fn begin() -> Self {
        let now = Instant::now();
        Self { read: now, entered: now, left: now }
    }
}

/// Something that is told when the network has it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark {
    number: u32,
    what: Outgoing,
}

#[derive(Clone, Copy, Debug)]
enum Outgoing {
    /// The delivery with this place.
    Delivery(usize),
    Acknowledgement,
}

/// Traces as the rest of the broker sees them.
#[derive(Debug)]
pub(crate) struct Traces {
    ledger: &'static Ledger,
    on: AtomicBool,
    current: Mutex<Current>,
    pub(crate) exporter: Exporter,
}

/// The request that runs, and the number of the next one's first publish.
#[derive(Debug)]
struct Current {
    next: u32,
    collection: Option<Collection>,
}

/// What has been told so far.
#[derive(Debug)]
struct Collection {
    first: u32,
    wanted: u32,
    ways: Vec<Way>,
    /// What the store had, and when.
    stored: VecDeque<(u64, Instant)>,
    /// For all of that.
    charge: Charge,
    /// What the ways own beside their list.
    bytes: usize,
}

/// The result of a request.
#[derive(Debug)]
pub(crate) struct Collected {
    ways: Vec<Way>,
    clock: WallClock,
    _charge: Charge,
}

/// What wall clocks say at an instant.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WallClock {
    at: Instant,
    wall: SystemTime,
}

impl WallClock {
    pub(crate) fn now() -> Self {
        Self { at: Instant::now(), wall: SystemTime::now() }
    }

    /// Nanoseconds since 1970.
    pub(crate) fn nanos(&self, instant: Instant) -> u64 {
        let wall = match instant.checked_duration_since(self.at) {
            Some(later) => self.wall + later,
            None => self.wall - (self.at - instant),
        };
        wall.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_nanos() as u64
    }
}

/// A request that runs. It ends when this is dropped.
pub(crate) struct Running {
    shared: Arc<Shared>,
    clock: WallClock,
    ended: bool,
}

impl Traces {
    pub(crate) fn new(ledger: &'static Ledger) -> Self {
        Self {
            ledger,
            on: AtomicBool::new(false),
            current: Mutex::new(Current { next: 1, collection: None }),
            exporter: Exporter::new(ledger),
        }
    }

    fn current(&self) -> MutexGuard<'_, Current> {
        // A panic ends the process, so nobody sees a poisoned lock.
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether somebody has asked.
    pub(crate) fn is_on(&self) -> bool {
        self.on.load(Ordering::Relaxed)
    }

    /// Begins to follow publishes, unless others are followed already.
    pub(crate) fn begin(shared: &Arc<Shared>, filter: &str, publishes: u32) -> Option<Running> {
        let traces = &shared.traces;
        let publishes = publishes.min(FOLLOWED_MAX);
        let first = {
            let mut current = traces.current();
            if current.collection.is_some() {
                return None;
            }
            let first = current.next;
            // Late news of the request before must not be taken for this one's.
            current.next = first.checked_add(publishes).unwrap_or(1);
            current.collection = Some(Collection {
                first,
                wanted: publishes,
                ways: Vec::new(),
                stored: VecDeque::new(),
                charge: traces.ledger.charge(Account::Tools, 0),
                bytes: 0,
            });
            first
        };
        traces.on.store(true, Ordering::SeqCst);
        let running = Running { shared: Arc::clone(shared), clock: WallClock::now(), ended: false };
        shared.engine().follow(Some(Follow { filter: filter.into(), publishes, first }));
        Some(running)
    }

    /// The engine has said something in a turn of an I/O thread. Answers whether it is to be told when the
    /// network has what was sent.
    pub(crate) fn note(
        &self,
        traced: Traced,
        turn: Option<Turn>,
        peer: Option<SocketAddr>,
    ) -> Option<Mark> {
        let turn = turn.unwrap_or_else(Turn::begin);
        let mut current = self.current();
        let collection = current.collection.as_mut()?;
        let stored = match &traced.stage {
            Stage::Acknowledged { stored: upto @ 1.., .. } => {
                let found = collection.stored.partition_point(|(known, _)| known < upto);
                collection.stored.get(found).map(|(_, at)| *at)
            }
            _ => None,
        };
        let way = collection.way(traced.number)?;
        let before = way.heap_bytes();
        let what = way.note(traced.stage, turn, stored, peer);
        let after = way.heap_bytes();
        collection.bytes = collection.bytes + after - before;
        collection.settle();
        what.map(|what| Mark { number: traced.number, what })
    }

    /// The network has something.
    pub(crate) fn written(&self, mark: Mark, at: Instant) {
        let mut current = self.current();
        if let Some(way) = current.collection.as_mut().and_then(|c| c.way(mark.number)) {
            way.written(mark.what, at);
        }
    }

    /// The store has everything up to a position, just now.
    pub(crate) fn stored(&self, upto: u64) {
        if !self.is_on() {
            return;
        }
        let at = Instant::now();
        if let Some(collection) = &mut self.current().collection {
            if collection.stored.len() >= STORED_MAX {
                collection.stored.pop_front();
            }
            collection.stored.push_back((upto, at));
            collection.settle();
        }
    }
}

impl Collection {
    /// The way of a publish; `None` if it is not of this request.
    fn way(&mut self, number: u32) -> Option<&mut Way> {
        let at = number.checked_sub(self.first)?;
        if at >= self.wanted {
            return None;
        }
        let at = at as usize;
        if self.ways.len() <= at {
            self.ways.resize_with(at + 1, Way::default);
        }
        self.ways.get_mut(at)
    }

    fn is_complete(&self) -> bool {
        self.ways.len() == self.wanted as usize && self.ways.iter().all(Way::is_over)
    }

    fn settle(&mut self) {
        let lists = self.ways.heap_bytes() + self.stored.heap_bytes();
        self.charge.set(lists + self.bytes);
    }
}

impl Running {
    /// Whether as many publishes as were asked for have gone all their way.
    pub(crate) fn is_complete(&self) -> bool {
        self.shared.traces.current().collection.as_ref().is_some_and(Collection::is_complete)
    }

    /// Ends it. Answers what has been found out.
    pub(crate) fn finish(mut self) -> Collected {
        let ended = self.end();
        let charge = self.shared.ledger.charge(Account::Tools, 0);
        let (ways, charge) = ended.map_or((Vec::new(), charge), |c| (c.ways, c.charge));
        Collected { ways, clock: self.clock, _charge: charge }
    }

    fn end(&mut self) -> Option<Collection> {
        if std::mem::replace(&mut self.ended, true) {
            return None;
        }
        let traces = &self.shared.traces;
        self.shared.engine().follow(None);
        traces.on.store(false, Ordering::SeqCst);
        traces.current().collection.take()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Dropped here and not under the lock.
        drop(self.end());
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn instants_before_and_after_have_their_wall_time() {
        let clock = WallClock::now();
        let (before, after) = (Duration::from_millis(3), Duration::from_millis(5));
        let span =
            clock.nanos(clock.at + after) - clock.nanos(clock.at.checked_sub(before).unwrap());
        assert_eq!(span, 8_000_000);
    }
}
