//! A queue with a bound between the sampling thread and one that sends.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What became of what was to be sent to one destination.
#[derive(Debug)]
pub(crate) struct Counts {
    /// Which one, without secrets.
    pub(crate) destination: String,
    /// What has arrived.
    pub(crate) sent: AtomicU64,
    /// What was given up: the queue was full, or the destination does not want it.
    pub(crate) dropped: AtomicU64,
    /// Attempts that failed.
    pub(crate) failures: AtomicU64,
}

impl Counts {
    pub(crate) fn new(destination: String) -> Arc<Self> {
        Arc::new(Self {
            destination,
            sent: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            failures: AtomicU64::new(0),
        })
    }

    pub(super) fn add(counter: &AtomicU64, count: usize) {
        counter.fetch_add(count as u64, Ordering::Relaxed);
    }
}

/// A queue of so many: when it is full the oldest is dropped and counted, for what is new says more.
#[derive(Debug)]
pub(super) struct Mailbox<T> {
    most: usize,
    counts: Arc<Counts>,
    inside: Mutex<Inside<T>>,
    changed: Condvar,
}

#[derive(Debug)]
struct Inside<T> {
    waiting: VecDeque<T>,
    /// No more will come.
    closed: bool,
    /// The thread that sends has ended.
    over: bool,
}

impl<T> Mailbox<T> {
    pub(super) fn new(most: usize, counts: Arc<Counts>) -> Arc<Self> {
        let inside = Inside { waiting: VecDeque::new(), closed: false, over: false };
        let most = most.max(1);
        Arc::new(Self { most, counts, inside: Mutex::new(inside), changed: Condvar::new() })
    }

    fn lock(&self) -> MutexGuard<'_, Inside<T>> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds one; never waits.
    pub(super) fn put(&self, item: T) {
        let mut inside = self.lock();
        if inside.waiting.len() >= self.most {
            inside.waiting.pop_front();
            Counts::add(&self.counts.dropped, 1);
        }
        inside.waiting.push_back(item);
        self.changed.notify_all();
    }

    /// Waits for something, for so long at most, and takes no more than `most`. `None` when no more will come.
    pub(super) fn take(&self, most: usize, patience: Duration) -> Option<Vec<T>> {
        let until = Instant::now() + patience;
        let mut inside = self.lock();
        while inside.waiting.is_empty() {
            let left = until.saturating_duration_since(Instant::now());
            if inside.closed {
                return None;
            }
            if left.is_zero() {
                return Some(Vec::new());
            }
            let (again, _) =
                self.changed.wait_timeout(inside, left).unwrap_or_else(PoisonError::into_inner);
            inside = again;
        }
        let count = inside.waiting.len().min(most);
        Some(inside.waiting.drain(..count).collect())
    }

    /// Waits before another attempt; answers false if the end has come meanwhile.
    pub(super) fn pause(&self, pause: Duration) -> bool {
        let until = Instant::now() + pause;
        let mut inside = self.lock();
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if inside.closed || left.is_zero() {
                return !inside.closed;
            }
            let (again, _) =
                self.changed.wait_timeout(inside, left).unwrap_or_else(PoisonError::into_inner);
            inside = again;
        }
    }

    /// No more will come: what waits is sent once, for so long at most.
    pub(super) fn close(&self, farewell: Duration) {
        let until = Instant::now() + farewell;
        let mut inside = self.lock();
        inside.closed = true;
        self.changed.notify_all();
        while !inside.over {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let (again, _) =
                self.changed.wait_timeout(inside, left).unwrap_or_else(PoisonError::into_inner);
            inside = again;
        }
    }

    /// The thread that sends has ended.
    pub(super) fn over(&self) {
        self.lock().over = true;
        self.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_is_dropped_and_counted() {
        let counts = Counts::new("x".into());
        let mailbox = Mailbox::new(3, Arc::clone(&counts));
        (0..5).for_each(|number| mailbox.put(number));
        assert_eq!(counts.dropped.load(Ordering::Relaxed), 2);
        assert_eq!(mailbox.take(2, Duration::ZERO), Some(vec![2, 3]));
        assert_eq!(mailbox.take(2, Duration::ZERO), Some(vec![4]));
        assert_eq!(mailbox.take(2, Duration::ZERO), Some(vec![]));
    }

    #[test]
    fn what_waits_at_the_end_is_still_taken() {
        let mailbox = Mailbox::new(3, Counts::new("x".into()));
        mailbox.put(1);
        mailbox.close(Duration::ZERO);
        assert!(!mailbox.pause(Duration::from_secs(60)), "no more attempts");
        assert_eq!(mailbox.take(9, Duration::from_secs(60)), Some(vec![1]));
        assert_eq!(mailbox.take(9, Duration::from_secs(60)), None);
    }
}
