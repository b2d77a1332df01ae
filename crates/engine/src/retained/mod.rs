//! Retained messages: an ordered map from topic to message, built for size.
//!
//! Messages lie in pages of up to 4 KiB, ordered by topic, with `/` sorting before every other
//! byte, so that everything below a topic lies side by side. Within a page a topic is stored as
//! the length of the prefix it shares with the one before it, and the rest (front coding): a
//! fleet's topics cost a few bytes each. A page's block has the allocator's size class that fits,
//! so a message costs little more than its bytes.
//!
//! Payloads of more than [`INLINE_BYTES_MAX`] lie in blocks of their own.

mod blobs;
mod directory;
mod key;
mod page;
mod passes;
mod policy;
mod record;
mod scan;
#[cfg(test)]
mod tests;

use alloc::vec::Vec;

use plimsoll_ledger::{Account, Charged, Ledger, Measure};

use blobs::Blobs;
use directory::{Directory, Place};
use key::Key;
pub use passes::Deleted;
use policy::Policy;
pub use policy::{RETAIN_RULES_MAX, RetainExpiry, RetainLimit, RetainRules, Tally};
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
    /// Absolute second at which it expires, if it does. Of a message that is stored, its publisher's
    /// wish; of one that is read, whichever comes first, that or its age limit.
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
    policy: Policy,
}

#[derive(Debug)]
struct Inner {
    directory: Directory,
    blobs: Blobs,
    len: usize,
    payload_bytes: u64,
    /// Topics, properties and payloads.
    bytes: u64,
    /// Messages of which it is not known when they were written.
    undated: usize,
}

impl Measure for Inner {
    fn heap_bytes(&self) -> usize {
        self.directory.heap_bytes() + self.blobs.heap_bytes()
    }
}

impl RetainedStore {
    /// An empty store, charged to [`Account::Retained`].
    pub fn new(ledger: &'static Ledger, rules: RetainRules) -> Self {
        Self::with_page_bytes(ledger, rules, page::PAGE_BYTES_MAX)
    }

    fn with_page_bytes(ledger: &'static Ledger, rules: RetainRules, page_bytes: usize) -> Self {
        let inner = Inner {
            directory: Directory::new(page_bytes),
            blobs: Blobs::default(),
            len: 0,
            payload_bytes: 0,
            bytes: 0,
            undated: 0,
        };
        Self { inner: ledger.own(Account::Retained, inner), policy: Policy::new(rules) }
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

    /// Sum of topics, properties and payloads, in bytes.
    pub fn bytes(&self) -> u64 {
        self.inner.bytes
    }

    /// Whether a message would be stored: the number of the first limit that is in the way. A new topic
    /// needs room in number and bytes, another message in the place of one only for what it is larger.
    ///
    /// While everything is counted anew after other rules came, what has not been counted is not
    /// held against anybody.
    pub fn admits(&self, topic: &str, size: usize) -> Result<(), usize> {
        if self.policy.rules().limits.is_empty() {
            return Ok(());
        }
        let key = Key::of(topic);
        let place = self.inner.directory.find(key.bytes());
        let old = place.found.then(|| self.inner.size(&place, key.bytes()));
        self.policy.admits(topic, old, size as u64)
    }

    /// Counts a refusal: the limit, and how often it has refused.
    pub fn refused(&mut self, rule: usize) -> Option<(&RetainLimit, u64)> {
        self.policy.refused(rule)
    }

    /// Stores the message of a topic, in place of the one that is there (MQTT-3.3.1-5), whatever the
    /// limits are. Answers also when it expires.
    pub fn set(&mut self, topic: &str, message: RetainedMessage<'_>) -> (Set, Option<u32>) {
        let key = Key::of(topic);
        let mut inner = self.inner.edit();
        let place = inner.directory.find(key.bytes());
        let old = place.found.then(|| inner.forget(&place, key.bytes()));
        let expires_at = self.policy.expires_at(topic, &message);
        let record = inner.record(&message);
        inner.directory.put(&place, key.bytes(), &record, expires_at);
        let size = message.size(topic) as u64;
        inner.len += usize::from(old.is_none());
        inner.payload_bytes += message.payload.len() as u64;
        inner.bytes += size;
        inner.undated += usize::from(message.written_at.is_none());
        self.policy.moved(topic, key.bytes(), old, Some(size));
        (if old.is_some() { Set::Replaced } else { Set::New }, expires_at)
    }

    /// Deletes the message of a topic (MQTT-3.3.1-6). Answers whether there was one.
    pub fn remove(&mut self, topic: &str) -> bool {
        let key = Key::of(topic);
        let place = self.inner.directory.find(key.bytes());
        if place.found {
            let old = self.inner.edit().remove(&place, key.bytes());
            self.policy.moved(topic, key.bytes(), Some(old), None);
        }
        place.found
    }

    /// The message of a topic.
    pub fn get(&self, topic: &str) -> Option<RetainedMessage<'_>> {
        let message = self.stored(topic)?;
        Some(RetainedMessage { expires_at: self.policy.expires_at(topic, &message), ..message })
    }

    /// The message of a topic, as it was given.
    pub(crate) fn stored(&self, topic: &str) -> Option<RetainedMessage<'_>> {
        let place = self.inner.directory.find(Key::of(topic).bytes());
        if place.found { self.inner.message(self.inner.directory.record(&place)) } else { None }
    }

    /// When a message would expire.
    pub fn expires_at(&self, topic: &str, message: &RetainedMessage<'_>) -> Option<u32> {
        self.policy.expires_at(topic, message)
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

    /// Bytes of properties and payload of a record.
    fn content_bytes(&self, record: &[u8]) -> usize {
        let record = Record::of(record);
        record.blob.map_or(record.bytes, |number| self.blobs.get(number)).len()
    }

    /// What a message counts for ([`RetainedMessage::size`]).
    fn size(&self, place: &Place, key: &[u8]) -> u64 {
        (key.len() + self.content_bytes(self.directory.record(place))) as u64
    }

    /// Takes what a message holds out of the books, before its record goes. Answers its size.
    fn forget(&mut self, place: &Place, key: &[u8]) -> u64 {
        let size = self.size(place, key);
        let record = self.directory.record(place);
        let payload = self.message(record).map_or(0, |m| m.payload.len());
        let Record { blob, written_at, .. } = Record::of(record);
        self.payload_bytes -= payload as u64;
        self.bytes -= size;
        self.undated -= usize::from(written_at.is_none());
        if let Some(number) = blob {
            self.blobs.remove(number);
        }
        size
    }

    /// Removes a message that was found. Answers its size.
    fn remove(&mut self, place: &Place, key: &[u8]) -> u64 {
        let size = self.forget(place, key);
        self.directory.remove(place);
        self.len -= 1;
        size
    }
}
