//! A thread that sends what lies in a mailbox.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::door::{Door, Refusal};
use super::mailbox::{Counts, Mailbox};

/// Is told, in words, what did not work and when it works again.
pub type Trouble = Arc<dyn Fn(&str) + Send + Sync>;

/// How what waits is put into requests.
pub(super) trait Courier: Send + 'static {
    /// What lies in the mailbox.
    type Item: Send + 'static;

    /// Items that are sent at once, at most.
    const BATCH_MAX: usize;

    /// How long to wait for items before [`Courier::idle`] is asked.
    const IDLE: Duration;

    /// Pauses between attempts.
    const PAUSES: &'static [Duration];

    /// Whether the last pause is repeated for as long as it takes; else what was not taken by then is dropped.
    const FOR_EVER: bool;

    /// Sends items; those that are left in `items` are tried again if the refusal says so.
    fn send(
        &mut self,
        door: &Door,
        items: &mut Vec<Self::Item>,
        counts: &Counts,
    ) -> Result<(), Refusal>;

    /// Nothing has come for a while: what to send of itself.
    fn idle(&mut self) -> Vec<Self::Item> {
        Vec::new()
    }
}

/// Starts the thread.
///
/// # Errors
///
/// The system has no thread left.
pub(super) fn start<C: Courier>(
    mut courier: C,
    door: Door,
    mailbox: Arc<Mailbox<C::Item>>,
    counts: Arc<Counts>,
    trouble: Trouble,
) -> Result<(), String> {
    let shown = door.shown.clone();
    let body = move || {
        let mut line = Line { door, counts, trouble, silent: false };
        while let Some(mut items) = mailbox.take(C::BATCH_MAX, C::IDLE) {
            if items.is_empty() {
                items = courier.idle();
            }
            if !items.is_empty() {
                line.deliver(&mut courier, &mailbox, items);
            }
        }
        mailbox.over();
    };
    let named = thread::Builder::new().name("push".into());
    named.spawn(body).map(drop).map_err(|error| format!("{shown}: cannot start a thread: {error}"))
}

/// The way to one destination.
struct Line {
    door: Door,
    counts: Arc<Counts>,
    trouble: Trouble,
    /// It has been said that it does not work.
    silent: bool,
}

impl Line {
    fn deliver<C: Courier>(
        &mut self,
        courier: &mut C,
        mailbox: &Mailbox<C::Item>,
        mut items: Vec<C::Item>,
    ) {
        let mut attempts = 0;
        loop {
            let Err(refusal) = courier.send(&self.door, &mut items, &self.counts) else {
                return self.works();
            };
            Counts::add(&self.counts.failures, 1);
            self.fails(&refusal.text);
            let last = C::PAUSES.last().filter(|_| C::FOR_EVER);
            let pause = C::PAUSES.get(attempts).or(last);
            attempts += 1;
            let goes_on = refusal.again && pause.is_some_and(|pause| mailbox.pause(*pause));
            if !goes_on {
                Counts::add(&self.counts.dropped, items.len());
                return;
            }
        }
    }

    /// Said once, until it works again.
    fn fails(&mut self, text: &str) {
        if !self.silent {
            (self.trouble)(&format!("{}: {text}", self.door.shown));
        }
        self.silent = true;
    }

    fn works(&mut self) {
        if self.silent {
            (self.trouble)(&format!("{} answers again.", self.door.shown));
        }
        self.silent = false;
    }
}
