//! Reading queued messages back from the store.
//!
//! The engine asks for a bounded piece of a session's queue; whoever has the store reads it with
//! [`Load::read`], outside of the engine, and gives the answer as an input.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::ops::ControlFlow;

use plimsoll_ledger::Ledger;
use plimsoll_mqtt::QoS;

use super::item::{Content, Item, QueuedItem, body_key, queued_key};
use crate::message::{Message, Parts};
use crate::time::Time;

/// Bytes of entries after which no more are read at once.
const BYTES_MAX: usize = 256 * 1024;

/// Is called with keys and values, until it breaks off.
pub type Each<'e> = dyn FnMut(&[u8], &[u8]) -> ControlFlow<()> + 'e;

/// What the engine's state is read back from.
pub trait StateReader {
    /// What may go wrong.
    type Error;

    /// Calls `each` with the entries from key `from` on, in the order of their keys, until it
    /// breaks off.
    fn scan(&mut self, from: &[u8], each: &mut Each<'_>) -> Result<(), Self::Error>;

    /// The value of a key.
    fn get(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>, Self::Error>;
}

/// A piece of a session's queue that the engine wants to have.
#[derive(Clone, Debug)]
pub struct Load {
    pub(crate) what_for: LoadFor,
    /// The session's number in the store.
    pub(crate) session: u64,
    /// Sequence numbers from this one on …
    pub(crate) from: u64,
    /// … and before this one.
    pub(crate) until: u64,
    /// Most entries.
    pub(crate) entries_max: usize,
}

/// What is done with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LoadFor {
    /// The client is there: it is sent.
    Send { slot: u32, epoch: u32 },
    /// Something in it has expired. `next_expiry` is the earliest one seen that has not.
    Purge { slot: u32, epoch: u32, next_expiry: u32 },
    /// The session has ended: other members of its shared groups get it.
    HandOn { sent_before: u64 },
}

/// The answer to a [`Load`].
#[derive(Clone, Debug)]
pub struct Loaded {
    pub(crate) load: Load,
    pub(crate) entries: Vec<LoadedEntry>,
    /// Nothing is left before `load.until`.
    pub(crate) ended: bool,
}

/// An entry of a queue, read back.
#[derive(Clone, Debug)]
pub(crate) struct LoadedEntry {
    pub(crate) sequence: u64,
    pub(crate) what: LoadedWhat,
}

#[derive(Clone, Debug)]
pub(crate) enum LoadedWhat {
    Released,
    Publish {
        message: Message,
        qos: QoS,
        retain: bool,
        identifiers: Vec<u32>,
        group: Option<Box<str>>,
    },
    /// Damaged, or its body is.
    Unreadable,
}

impl Load {
    /// Reads the piece.
    pub fn read<R: StateReader>(
        &self,
        ledger: &'static Ledger,
        reader: &mut R,
    ) -> Result<Loaded, R::Error> {
        let (mut from, mut end) = (Vec::new(), Vec::new());
        queued_key(self.session, self.from, &mut from);
        queued_key(self.session, self.until, &mut end);
        let mut piece = Piece { ledger, scratch: Vec::new(), entries: Vec::new(), bytes: 0 };
        let mut ended = true;
        reader.scan(&from, &mut |key, value| {
            if *key >= *end {
                return ControlFlow::Break(());
            }
            if piece.entries.len() >= self.entries_max || piece.bytes >= BYTES_MAX {
                ended = false;
                return ControlFlow::Break(());
            }
            piece.add(key, value);
            ControlFlow::Continue(())
        })?;
        let Piece { mut entries, mut scratch, .. } = piece;
        fetch_bodies(&mut entries, ledger, &mut scratch, reader)?;
        let entries = entries.into_iter().map(|found| found.entry).collect();
        Ok(Loaded { load: self.clone(), entries, ended })
    }
}

/// An entry whose body may still have to be fetched.
struct Found {
    entry: LoadedEntry,
    body: u64,
}

struct Piece {
    ledger: &'static Ledger,
    scratch: Vec<u8>,
    entries: Vec<Found>,
    bytes: usize,
}

impl Piece {
    fn add(&mut self, key: &[u8], value: &[u8]) {
        self.bytes += value.len();
        let sequence = match key.last_chunk() {
            Some(sequence) => u64::from_be_bytes(*sequence),
            None => return,
        };
        let (what, body) = match Item::decode(key, value) {
            Ok(Item::Queued { entry, .. }) => self.entry(entry),
            _ => (LoadedWhat::Unreadable, 0),
        };
        self.entries.push(Found { entry: LoadedEntry { sequence, what }, body });
    }

    fn entry(&mut self, entry: QueuedItem<'_>) -> (LoadedWhat, u64) {
        let QueuedItem::Publish { qos, retain, identifiers, group, content } = entry else {
            return (LoadedWhat::Released, 0);
        };
        // A body is put in its place when it has been fetched.
        let (parts, body) = match content {
            Content::Inline(parts) => (parts, 0),
            Content::Body(number) => (Parts::EMPTY, number),
        };
        let message = Message::new(self.ledger, &mut self.scratch, &parts, Time::default());
        let group = group.map(Box::from);
        (LoadedWhat::Publish { message, qos, retain, identifiers, group }, body)
    }
}

/// Puts the bodies that entries refer to in their places: each is fetched once for all that stand
/// next to each other.
fn fetch_bodies<R: StateReader>(
    entries: &mut [Found],
    ledger: &'static Ledger,
    scratch: &mut Vec<u8>,
    reader: &mut R,
) -> Result<(), R::Error> {
    let mut wanted: Vec<u64> = entries.iter().map(|found| found.body).filter(|&b| b != 0).collect();
    wanted.sort_unstable();
    wanted.dedup();
    let (Some(&first), Some(&last)) = (wanted.first(), wanted.last()) else { return Ok(()) };
    let mut bodies: Vec<(u64, Message)> = Vec::new();
    let mut take = |number: u64, key: &[u8], value: &[u8]| {
        if let Ok(Item::Body { message, .. }) = Item::decode(key, value) {
            let message = Message::new(ledger, scratch, &message, Time::default());
            message.set_body(number);
            bodies.push((number, message));
        }
    };
    let (mut key, mut end) = (Vec::new(), Vec::new());
    if last - first < 4 * wanted.len() as u64 {
        // They lie side by side.
        body_key(first, &mut key);
        body_key(last, &mut end);
        reader.scan(&key, &mut |key, value| {
            let number = key.last_chunk().map_or(0, |number| u64::from_be_bytes(*number));
            if *key > *end {
                return ControlFlow::Break(());
            }
            if wanted.binary_search(&number).is_ok() {
                take(number, key, value);
            }
            ControlFlow::Continue(())
        })?;
    } else {
        for &number in &wanted {
            body_key(number, &mut key);
            if let Some(value) = reader.get(&key)? {
                take(number, &key, &value);
            }
        }
    }
    for found in entries.iter_mut().filter(|found| found.body != 0) {
        let body = bodies.binary_search_by_key(&found.body, |(number, _)| *number);
        match (body.ok().and_then(|at| bodies.get(at)), &mut found.entry.what) {
            (Some((_, body)), LoadedWhat::Publish { message, .. }) => *message = body.clone(),
            (_, what) => *what = LoadedWhat::Unreadable,
        }
    }
    Ok(())
}
