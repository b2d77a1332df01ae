//! Everything counted anew, while everybody stands still.
//!
//! The engine counts what it holds, and each I/O thread what its connections hold; the ledger is read in between.
//! So that all three speak of one moment, the threads wait for each other at the end of their turns.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use plimsoll_engine::Block;
use plimsoll_engine::budgets::BudgetDifference;
use plimsoll_ledger::{Account, Snapshot};

use super::shared::Shared;

/// Longest time to wait for the threads to come to the end of their turns.
const PATIENCE: Duration = Duration::from_millis(500);

/// What is on its way between threads (a login, a queue that is read back from the store) is in the book and nowhere
/// else: where the two do not agree, this many more looks are taken, a little apart.
const AGAIN: usize = 4;
const PAUSE: Duration = Duration::from_millis(50);

/// Accounts whose every byte is counted. The others are charged by what measures them each time: the store's
/// thread, and files that were loaded.
pub(crate) const COUNTED: [Account; 9] = [
    Account::Retained,
    Account::Subscriptions,
    Account::Sessions,
    Account::Inflight,
    Account::Queues,
    Account::Wills,
    Account::WebSocket,
    Account::Connections,
    Account::Tls,
];

/// What was charged and what was counted.
#[derive(Debug)]
pub(crate) struct Recount {
    pub(crate) charged: Snapshot,
    pub(crate) counted: Snapshot,
    /// Budgets whose figure is not what is there.
    pub(crate) budgets: Vec<BudgetDifference>,
    /// How long everybody stood still.
    pub(crate) held: Duration,
}

impl Recount {
    /// Whether every account that is counted is what its values add up to, and every budget what is
    /// there.
    pub(crate) fn agrees(&self) -> bool {
        self.budgets.is_empty()
            && COUNTED
                .iter()
                .all(|&account| self.charged.bytes(account) == self.counted.bytes(account))
    }
}

/// Where threads wait for each other.
#[derive(Debug, Default)]
pub(crate) struct Standstill {
    wanted: AtomicBool,
    state: Mutex<State>,
    changed: Condvar,
    /// One recount at a time.
    turn: Mutex<()>,
}

#[derive(Debug, Default)]
struct State {
    /// Threads that stand still.
    standing: usize,
    counted: Snapshot,
    /// Messages that wait for the network.
    blocks: Vec<Block>,
    /// Told apart from the recount before.
    number: u64,
}

impl Standstill {
    /// Whether a thread has to join at the end of its turn.
    pub(crate) fn is_wanted(&self) -> bool {
        self.wanted.load(Ordering::Acquire)
    }

    /// A thread has counted what it holds, and stands still until the recount is over.
    pub(crate) fn join(&self, counted: &Snapshot, blocks: Vec<Block>) {
        let mut state = lock(&self.state);
        if !self.is_wanted() {
            return;
        }
        for (account, bytes) in counted.iter() {
            state.counted.add(account, bytes);
        }
        state.blocks.extend(blocks);
        state.standing += 1;
        let number = state.number;
        self.changed.notify_all();
        while state.number == number {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic ends the process, so nobody sees a poisoned lock.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// Counts everything; `None` if a thread did not come to the end of its turn in time.
    pub(crate) fn recount(&self) -> Option<Recount> {
        let mut recount = self.recount_once()?;
        for _ in 0..AGAIN {
            if recount.agrees() || self.stopping() {
                break;
            }
            thread::sleep(PAUSE);
            recount = self.recount_once()?;
        }
        Some(recount)
    }

    fn recount_once(&self) -> Option<Recount> {
        let still = &self.standstill;
        let _one_at_a_time = lock(&still.turn);
        still.wanted.store(true, Ordering::Release);
        self.wake_all();
        let mut state = lock(&still.state);
        let deadline = Instant::now() + PATIENCE;
        while state.standing < self.shards() && Instant::now() < deadline {
            let rest = deadline.saturating_duration_since(Instant::now());
            let waited = still.changed.wait_timeout(state, rest);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        let recount = (state.standing == self.shards()).then(|| {
            let begun = Instant::now();
            let engine = self.engine();
            let mut counted = engine.recount_with(&state.blocks);
            for (account, bytes) in state.counted.iter() {
                counted.add(account, bytes);
            }
            self.recount_own(&mut counted);
            let charged = self.ledger.snapshot();
            let budgets = engine.recount_budgets(&state.blocks);
            Recount { charged, counted, budgets, held: begun.elapsed() }
        });
        still.wanted.store(false, Ordering::Release);
        *state = State { number: state.number + 1, ..State::default() };
        drop(state);
        still.changed.notify_all();
        recount
    }
}
