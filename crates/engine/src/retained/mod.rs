//! Retained messages: an ordered map from topic to message, built for size.
//!
//! Messages lie in pages of up to 4 KiB, ordered by topic, with `/` sorting before every other
//! byte, so that everything below a topic lies side by side. Within a page a topic is stored as
//! the length of the prefix it shares with the one before it, and the rest (front coding): a
//! fleet's topics cost a few bytes each. A page's block has the allocator's size class that fits,
//! so a message costs little more than its bytes.
//!
//! Payloads of more than [`INLINE_BYTES_MAX`] lie in blocks of their own.

mod directory;
mod key;
mod page;
mod record;
mod scan;
#[cfg(test)]
mod tests;

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use plimsoll_ledger::{Account, Charged, Ledger, Measure};

use crate::time::Time;
use directory::{Directory, Place};
use key::Key;
use record::Record;
pub use scan::{Scan, ScanCursor, Stop};

/// Properties and payload of at most so many bytes lie in the page itself.
pub const INLINE_BYTES_MAX: usize = 512;

/// A retained message without its topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetainedMessage<'a> {
    /// QoS of the publisher.
    pub qos: u8,
    /// MQTT 5 properties to forward, encoded.
    pub properties: &'a [u8],
    /// Payload; never empty.
    pub payload: &'a [u8],
    /// Absolute second at which it expires, if it does.
    pub expires_at: Option<u32>,
    /// Absolute second in which it was published; `None` if that is not known, which is so only of
    /// what an earlier release has stored.
    pub written_at: Option<u32>,
}

impl RetainedMessage<'_> {
    /// What it counts for in quotas and lists: the bytes of topic, properties and payload.
    pub fn size(&self, topic: &str) -> usize {
        topic.len() + self.properties.len() + self.payload.len()
    }
}

/// What [`RetainedStore::set`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Set {
    /// The topic had no retained message.
    New,
    /// It replaced the one that was there.
    Replaced,
}

/// The retained messages of a broker.
#[derive(Debug)]
pub struct RetainedStore {
    inner: Charged<Inner>,
    /// Where the sweep for expired messages goes on.
    sweep_page: usize,
}

#[derive(Debug)]
struct Inner {
    directory: Directory,
    blobs: Blobs,
    len: usize,
    payload_bytes: u64,
}

impl Measure for Inner {
    fn heap_bytes(&self) -> usize {
        self.directory.heap_bytes() + self.blobs.heap_bytes()
    }
}

/// Payloads that are too large for a page.
#[derive(Debug, Default)]
struct Blobs {
    blobs: Vec<Option<Box<[u8]>>>,
    free: Vec<u32>,
    bytes: usize,
}

impl Measure for Blobs {
    fn heap_bytes(&self) -> usize {
        self.blobs.heap_bytes() + self.free.heap_bytes() + self.bytes
    }
}

impl Blobs {
    fn get(&self, number: u32) -> &[u8] {
        self.blobs.get(number as usize).and_then(Option::as_deref).unwrap_or_default()
    }

    fn insert(&mut self, properties: &[u8], payload: &[u8]) -> u32 {
        let mut blob = Vec::with_capacity(properties.len() + payload.len());
        blob.extend_from_slice(properties);
        blob.extend_from_slice(payload);
        let blob = blob.into_boxed_slice();
        self.bytes += blob.heap_bytes();
        let number = self.free.pop().unwrap_or_else(|| {
            self.blobs.push(None);
            self.blobs.len() as u32 - 1
        });
        if let Some(place) = self.blobs.get_mut(number as usize) {
            *place = Some(blob);
        }
        number
    }

    fn remove(&mut self, number: u32) {
        let blob = self.blobs.get_mut(number as usize).and_then(Option::take);
        let Some(blob) = blob else { return };
        self.bytes -= blob.heap_bytes();
        self.free.push(number);
        if self.free.len() == self.blobs.len() {
            *self = Self::default();
        }
    }

    fn recount(&self) -> usize {
        let blobs: usize = self.blobs.iter().map(Measure::heap_bytes).sum();
        self.blobs.heap_bytes() + self.free.heap_bytes() + blobs
    }
}

impl RetainedStore {
    /// An empty store, charged to [`Account::Retained`].
    pub fn new(ledger: &'static Ledger) -> Self {
        Self::with_page_bytes(ledger, page::PAGE_BYTES_MAX)
    }

    fn with_page_bytes(ledger: &'static Ledger, page_bytes: usize) -> Self {
        let inner = Inner {
            directory: Directory::new(page_bytes),
            blobs: Blobs::default(),
            len: 0,
            payload_bytes: 0,
        };
        Self { inner: ledger.own(Account::Retained, inner), sweep_page: 0 }
    }

    /// How many messages there are.
    pub fn len(&self) -> usize {
        self.inner.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.inner.len == 0
    }

    /// Sum of the payloads, in bytes.
    pub fn payload_bytes(&self) -> u64 {
        self.inner.payload_bytes
    }

    /// Stores the message of a topic, in place of the one that is there (MQTT-3.3.1-5).
    pub fn set(&mut self, topic: &str, message: RetainedMessage<'_>) -> Set {
        let key = Key::of(topic);
        let mut inner = self.inner.edit();
        let place = inner.directory.find(key.bytes());
        let replaced = place.found;
        if replaced {
            inner.forget(&place);
        }
        let record = inner.record(&message);
        inner.directory.put(&place, key.bytes(), &record, message.expires_at);
        inner.len += usize::from(!replaced);
        inner.payload_bytes += message.payload.len() as u64;
        if replaced { Set::Replaced } else { Set::New }
    }

    /// Deletes the message of a topic (MQTT-3.3.1-6). Answers whether there was one.
    pub fn remove(&mut self, topic: &str) -> bool {
        let key = Key::of(topic);
        let place = self.inner.directory.find(key.bytes());
        if place.found {
            self.inner.edit().remove(&place);
        }
        place.found
    }

    /// The message of a topic.
    pub fn get(&self, topic: &str) -> Option<RetainedMessage<'_>> {
        let place = self.inner.directory.find(Key::of(topic).bytes());
        if place.found { self.inner.message(self.inner.directory.record(&place)) } else { None }
    }

    /// Frees messages that have expired, looking through at most `pages_max` pages, and says the topic
    /// of `each`. Answers when to look again: at once if there is more to look through, else at the
    /// next expiry.
    pub fn sweep(&mut self, now: Time, pages_max: usize, mut each: impl FnMut(&str)) -> Time {
        let mut next = u32::MAX;
        for page in self.inner.directory.pages() {
            next = next.min(page.expires_at());
        }
        if next > now.as_secs() {
            self.sweep_page = 0;
            return if next == u32::MAX { Time::NEVER } else { Time::from_secs(next) };
        }
        let from = self.sweep_page;
        let due = self.inner.directory.pages().enumerate().skip(from);
        let due = due.filter(|(_, page)| page.expires_at() <= now.as_secs()).map(|(at, _)| at);
        let due: Vec<usize> = due.take(pages_max).collect();
        let Some(&last) = due.last() else {
            self.sweep_page = 0;
            return now;
        };
        let mut expired = Vec::new();
        for at in due {
            if let Some(page) = self.inner.directory.pages().nth(at) {
                page.for_each(|key, record| {
                    if Record::of(record).expires_at.is_some_and(|second| second <= now.as_secs()) {
                        expired.push(Box::<[u8]>::from(key));
                    }
                });
            }
        }
        self.sweep_page = last;
        let mut inner = self.inner.edit();
        let any = !expired.is_empty();
        let (mut bytes, mut topic) = (Vec::new(), String::new());
        for key in expired {
            let place = inner.directory.find(&key);
            inner.remove(&place);
            key::write_topic(&key, &mut bytes, &mut topic);
            each(&topic);
        }
        if !any {
            // Bounds that were too early: the messages that they stood for are gone.
            inner.directory.tighten_expiries();
        }
        now
    }

    /// Bytes that the store holds, by walking it: equal to what is charged.
    pub fn recount(&self) -> usize {
        self.inner.directory.recount() + self.inner.blobs.recount()
    }
}

impl Inner {
    /// Encodes a message; a large one goes to a blob.
    fn record(&mut self, message: &RetainedMessage<'_>) -> Vec<u8> {
        let size = message.properties.len() + message.payload.len();
        let blob = (size > INLINE_BYTES_MAX)
            .then(|| self.blobs.insert(message.properties, message.payload));
        record::encode(message, blob)
    }

    /// Reads a record.
    fn message<'s>(&'s self, record: &'s [u8]) -> Option<RetainedMessage<'s>> {
        let record = Record::of(record);
        let bytes = record.blob.map_or(record.bytes, |number| self.blobs.get(number));
        let (properties, payload) = bytes.split_at_checked(record.properties_len)?;
        Some(RetainedMessage {
            qos: record.qos,
            properties,
            payload,
            expires_at: record.expires_at,
            written_at: record.written_at,
        })
    }

    /// Takes what a message holds out of the books, before its record goes.
    fn forget(&mut self, place: &Place) {
        let payload = self.message(self.directory.record(place)).map_or(0, |m| m.payload.len());
        let blob = Record::of(self.directory.record(place)).blob;
        self.payload_bytes -= payload as u64;
        if let Some(number) = blob {
            self.blobs.remove(number);
        }
    }

    fn remove(&mut self, place: &Place) {
        if place.found {
            self.forget(place);
            self.directory.remove(place);
            self.len -= 1;
        }
    }
}
