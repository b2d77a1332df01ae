//! Threads that check passwords, so that nobody else waits for it.

use std::collections::VecDeque;
use std::fmt::{self, Debug};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use plimsoll_ledger::{Account, Charge, Ledger, Measure};
use plimsoll_mqtt::ReasonCode;

use crate::broker::gate::Reply;

/// Checks that wait at most; who comes beyond that is told that the server is busy.
const WAITING_MAX: usize = 4096;

/// Threads. Each may take the memory that one Argon2id check takes (46 MiB as Mosquitto sets it).
const THREADS: usize = 2;

struct Job {
    working_bytes: usize,
    reply: Reply,
    check: Box<dyn FnOnce(Reply) + Send>,
}

/// What waits for a thread. The threads are there from the first check on.
struct Queue {
    jobs: VecDeque<Job>,
    charge: Charge,
    threads: usize,
    /// Nobody brings more.
    closed: bool,
}

impl Queue {
    /// Brings the charge up to what it holds; the burst of a morning is not kept for ever.
    fn settle(&mut self) {
        if self.jobs.is_empty() {
            self.jobs = VecDeque::new();
        }
        self.charge.set(self.jobs.heap_bytes());
    }
}

/// The threads, and what waits for them.
pub(crate) struct Verifier {
    shared: Arc<Waiting>,
}

struct Waiting {
    queue: Mutex<Queue>,
    more: Condvar,
    ledger: &'static Ledger,
}

impl Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier").field("waiting", &self.shared.lock().jobs.len()).finish()
    }
}

impl Verifier {
    pub(crate) fn new(ledger: &'static Ledger) -> Arc<Self> {
        let charge = ledger.charge(Account::Connections, 0);
        let queue = Queue { jobs: VecDeque::new(), charge, threads: 0, closed: false };
        let (queue, more) = (Mutex::new(queue), Condvar::new());
        Arc::new(Self { shared: Arc::new(Waiting { queue, more, ledger }) })
    }

    /// Runs a check on one of the threads, which has `working_bytes` for it.
    pub(crate) fn run(
        &self,
        working_bytes: usize,
        reply: Reply,
        check: impl FnOnce(Reply) + Send + 'static,
    ) {
        let mut queue = self.shared.lock();
        if queue.threads < THREADS && !self.begin_thread(&mut queue) && queue.threads == 0 {
            drop(queue);
            return reply.refuse(ReasonCode::SERVER_UNAVAILABLE);
        }
        if queue.jobs.len() >= WAITING_MAX {
            drop(queue);
            return reply.refuse(ReasonCode::SERVER_BUSY);
        }
        queue.jobs.push_back(Job { working_bytes, reply, check: Box::new(check) });
        queue.settle();
        drop(queue);
        self.shared.more.notify_one();
    }

    /// Starts one more thread, if the system lets us.
    fn begin_thread(&self, queue: &mut Queue) -> bool {
        let shared = Arc::clone(&self.shared);
        let thread = thread::Builder::new().name(format!("password-{}", queue.threads));
        let began = thread.spawn(move || while shared.serve() {}).is_ok();
        queue.threads += usize::from(began);
        began
    }
}

impl Drop for Verifier {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.more.notify_all();
    }
}

impl Waiting {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        // A panic ends the process, so nobody sees a poisoned lock.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes one job. Answers whether there may be more.
    fn serve(&self) -> bool {
        let mut queue = self.lock();
        let job = loop {
            if let Some(job) = queue.jobs.pop_front() {
                queue.settle();
                break job;
            }
            if queue.closed {
                return false;
            }
            queue = self.more.wait(queue).unwrap_or_else(PoisonError::into_inner);
        };
        drop(queue);
        // Whoever guesses on many connections at once is not given a try for each.
        if job.reply.comes_too_late() {
            job.reply.refuse(ReasonCode::CONNECTION_RATE_EXCEEDED);
            return true;
        }
        let _charge = self.ledger.charge(Account::Connections, job.working_bytes);
        (job.check)(job.reply);
        true
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;

    static LEDGER: Ledger = Ledger::new();

    #[test]
    fn what_waits_has_a_bound_and_nothing_is_left_of_it() {
        const BYTES: usize = 1 << 20;
        let verifier = Verifier::new(&LEDGER);
        let held = Arc::new(Barrier::new(THREADS + 1));
        let done = Arc::new(AtomicUsize::new(0));
        for _ in 0..THREADS {
            let held = Arc::clone(&held);
            verifier.run(BYTES, Reply::to_nobody(&LEDGER), move |_| {
                held.wait();
                held.wait();
            });
        }
        held.wait();
        assert!(LEDGER.bytes(Account::Connections) >= THREADS * BYTES, "for the checks that run");
        for _ in 0..WAITING_MAX + 10 {
            let done = Arc::clone(&done);
            verifier.run(0, Reply::to_nobody(&LEDGER), move |_| {
                done.fetch_add(1, Ordering::SeqCst);
            });
        }
        let full = LEDGER.bytes(Account::Connections);
        assert!(full >= THREADS * BYTES + WAITING_MAX * size_of::<Job>());
        held.wait();
        while LEDGER.bytes(Account::Connections) > 0 {
            thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(done.load(Ordering::SeqCst), WAITING_MAX, "the others have been refused");
        assert_eq!(verifier.shared.lock().jobs.capacity(), 0);
    }
}
