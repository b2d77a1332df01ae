//! What was answered, kept for a while: a bounded table of digests of questions.

use std::collections::{HashMap, VecDeque};

use aws_lc_rs::digest::{Context, SHA256};
use plimsoll_ledger::{Account, Charge, Ledger};

/// A question: the digest of its parts, since a topic may be long and a password is a secret.
pub(crate) type Key = [u8; 32];

/// How long an answer holds at least. The one who waits for it asks again within that time.
const HOLD_MILLIS: u64 = 1000;

/// After this a question counts as forgotten.
const ASKED_MILLIS: u64 = 120_000;

/// The digest of a question.
pub(crate) fn key(parts: &[&[u8]]) -> Key {
    let mut context = Context::new(&SHA256);
    for part in parts {
        context.update(&(part.len() as u64).to_le_bytes());
        context.update(part);
    }
    let mut key = [0; 32];
    key.copy_from_slice(context.finish().as_ref());
    key
}

/// How long answers are kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Keeping {
    pub(crate) millis: u64,
    /// The above is longer or shorter by up to so much.
    pub(crate) jitter_millis: u64,
    /// An answer that is used is kept anew.
    pub(crate) refresh: bool,
}

/// What is known of a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Known<T> {
    Answered(T),
    Asked,
    Nothing,
}

#[derive(Debug)]
struct Entry<T> {
    /// `None` while it is being asked.
    answer: Option<T>,
    until: u64,
}

/// The table.
#[derive(Debug)]
pub(crate) struct Answers<T> {
    entries: HashMap<Key, Entry<T>>,
    /// In the order in which they came.
    order: VecDeque<Key>,
    most: usize,
    keeping: Keeping,
    charge: Charge,
}

impl<T: Clone> Answers<T> {
    pub(crate) fn new(ledger: &'static Ledger, most: usize, keeping: Keeping) -> Self {
        let charge = ledger.charge(Account::Admin, 0);
        Self { entries: HashMap::new(), order: VecDeque::new(), most, keeping, charge }
    }

    /// What is known at `now`, in milliseconds.
    pub(crate) fn get(&mut self, key: &Key, now: u64) -> Known<T> {
        let Some(entry) = self.entries.get_mut(key) else { return Known::Nothing };
        if now >= entry.until {
            return Known::Nothing;
        }
        let Some(answer) = &entry.answer else { return Known::Asked };
        if self.keeping.refresh {
            entry.until = entry.until.max(now + lifetime(self.keeping, key));
        }
        Known::Answered(answer.clone())
    }

    /// It has been asked.
    pub(crate) fn ask(&mut self, key: Key, now: u64) {
        self.insert(key, Entry { answer: None, until: now + ASKED_MILLIS });
    }

    /// It has been answered. What is no answer but a failure is kept only for those who wait.
    pub(crate) fn answer(&mut self, key: Key, answer: T, certain: bool, now: u64) {
        let lives = if certain { lifetime(self.keeping, &key) } else { HOLD_MILLIS };
        self.insert(key, Entry { answer: Some(answer), until: now + lives });
    }

    /// Everything may be different now.
    pub(crate) fn clear(&mut self, keeping: Keeping, most: usize) {
        (self.entries, self.order) = (HashMap::new(), VecDeque::new());
        (self.keeping, self.most) = (keeping, most);
        self.settle();
    }

    fn insert(&mut self, key: Key, entry: Entry<T>) {
        if self.entries.insert(key, entry).is_none() {
            self.order.push_back(key);
        }
        while self.order.len() > self.most {
            let Some(oldest) = self.order.pop_front() else { break };
            self.entries.remove(&oldest);
        }
        self.settle();
    }

    fn settle(&mut self) {
        // A hash table has a byte of its own for each place, and an eighth of them free.
        let places = self.entries.capacity() * 8 / 7;
        let entries = places * (size_of::<(Key, Entry<T>)>() + 1);
        self.charge.set(entries + self.order.capacity() * size_of::<Key>());
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }
}

/// How long the answer to a question is kept: the question's digest is the dice for the jitter.
fn lifetime(keeping: Keeping, key: &Key) -> u64 {
    let [a, b, c, d, ..] = *key;
    let dice = u64::from(u32::from_le_bytes([a, b, c, d]));
    let jitter = keeping.jitter_millis.min(keeping.millis);
    let shift = dice % (2 * jitter + 1);
    (keeping.millis + shift - jitter).max(HOLD_MILLIS)
}
