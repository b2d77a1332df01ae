//! Application messages: one exactly sized block, shared by all sessions that hold it.

use alloc::vec::Vec;
use core::mem::{align_of, size_of};
use core::sync::atomic::{AtomicU64, Ordering};

use plimsoll_ledger::{Charge, Ledger, usable_size};
use plimsoll_mqtt::QoS;
use triomphe::{HeaderSlice, HeaderWithLength, ThinArc};

use crate::time::Time;

/// What is known of a message beside its bytes.
#[derive(Debug)]
struct Header {
    charge: Charge,
    /// Number of the stored body that holds it; 0 is none.
    body: AtomicU64,
    /// Absolute second at which it expires; `u32::MAX` is never.
    expires_at: u32,
    /// Absolute second at which this block was made.
    made_at: u32,
    properties_len: u32,
    topic_len: u16,
    qos: QoS,
    retain: bool,
}

/// A message on its way: topic, properties to forward, payload. Cloning shares the block.
///
/// Nothing in it refers to a read buffer: the bytes were copied once, into a block of exactly
/// their size, which is charged to [`Account::Queues`](plimsoll_ledger::Account) until the last session lets go.
#[derive(Clone, Debug)]
pub struct Message(ThinArc<Header, u8>);

/// The parts that a [`Message`] is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parts<'a> {
    /// Topic name.
    pub topic: &'a str,
    /// MQTT 5 properties as they are forwarded, encoded, in the publisher's order, without
    /// Message Expiry Interval, Topic Alias and Subscription Identifier.
    pub properties: &'a [u8],
    /// Payload.
    pub payload: &'a [u8],
    /// QoS of the publisher.
    pub qos: QoS,
    /// RETAIN flag of the publisher.
    pub retain: bool,
    /// Absolute second at which it expires, if it does.
    pub expires_at: Option<u32>,
}

impl Parts<'_> {
    /// A message without anything.
    pub(crate) const EMPTY: Self = Self {
        topic: "",
        properties: &[],
        payload: &[],
        qos: QoS::AtMostOnce,
        retain: false,
        expires_at: None,
    };

    /// Whether the message has expired (MQTT-3.3.2-5).
    pub fn expired(&self, now: Time) -> bool {
        self.expires_at.is_some_and(|second| second <= now.as_secs())
    }
}

/// The latest expiry that is stored; it stands for every later one.
pub(crate) const EXPIRY_LAST: u32 = u32::MAX - 1;

impl Message {
    /// Copies `parts` into a block of its own.
    ///
    /// `scratch` is working space of the caller; its contents are lost.
    pub fn new(
        ledger: &'static Ledger,
        scratch: &mut Vec<u8>,
        parts: &Parts<'_>,
        now: Time,
    ) -> Self {
        Self::counted(ledger, scratch, parts, now, None)
    }

    /// The same, counted to a part of the account ([`Ledger::charge_part`]).
    pub(crate) fn counted(
        ledger: &'static Ledger,
        scratch: &mut Vec<u8>,
        parts: &Parts<'_>,
        now: Time,
        part: Option<u8>,
    ) -> Self {
        scratch.clear();
        scratch.extend_from_slice(parts.topic.as_bytes());
        scratch.extend_from_slice(parts.properties);
        scratch.extend_from_slice(parts.payload);
        let header = Header {
            charge: ledger.charge_part(part, block_bytes(scratch.len())),
            body: AtomicU64::new(0),
            expires_at: parts.expires_at.unwrap_or(u32::MAX),
            made_at: now.as_secs(),
            properties_len: parts.properties.len() as u32,
            topic_len: parts.topic.len() as u16,
            qos: parts.qos,
            retain: parts.retain,
        };
        let message = Self(ThinArc::from_header_and_slice(header, scratch));
        if scratch.capacity() > SCRATCH_KEEP_BYTES {
            *scratch = Vec::new();
        }
        message
    }

    /// The message in parts.
    pub fn parts(&self) -> Parts<'_> {
        let header = &self.0.header.header;
        let (topic, rest) = self.0.slice.split_at(usize::from(header.topic_len));
        let (properties, payload) = rest.split_at(header.properties_len as usize);
        Parts {
            // It came from a `&str`; the check is cheaper than a promise that needs `unsafe`.
            topic: core::str::from_utf8(topic).unwrap_or_default(),
            properties,
            payload,
            qos: header.qos,
            retain: header.retain,
            expires_at: self.expires_at(),
        }
    }

    /// Topic name, as bytes.
    pub fn topic_bytes(&self) -> &[u8] {
        self.0.slice.get(..usize::from(self.0.header.header.topic_len)).unwrap_or_default()
    }

    /// Properties to forward and payload.
    pub fn properties_and_payload(&self) -> (&[u8], &[u8]) {
        let header = &self.0.header.header;
        let from = usize::from(header.topic_len);
        let properties_end = from + header.properties_len as usize;
        (
            self.0.slice.get(from..properties_end).unwrap_or_default(),
            self.0.slice.get(properties_end..).unwrap_or_default(),
        )
    }

    /// QoS of the publisher.
    pub fn qos(&self) -> QoS {
        self.0.header.header.qos
    }

    /// RETAIN flag of the publisher.
    pub fn retain(&self) -> bool {
        self.0.header.header.retain
    }

    /// Absolute second at which it expires, if it does.
    pub fn expires_at(&self) -> Option<u32> {
        let at = self.0.header.header.expires_at;
        (at != u32::MAX).then_some(at)
    }

    /// Seconds that are left of its life: `None` if it does not expire, 0 if it has.
    pub fn expiry_left(&self, now: Time) -> Option<u32> {
        self.expires_at().map(|at| at.saturating_sub(now.as_secs()))
    }

    /// Whether it has expired (MQTT-3.3.2-5).
    pub fn expired(&self, now: Time) -> bool {
        self.expiry_left(now) == Some(0)
    }

    /// Size of its allocation, in bytes: what it is charged with.
    pub fn bytes(&self) -> usize {
        self.0.header.header.charge.bytes()
    }

    /// What a message of these parts would take, in bytes.
    pub(crate) fn bytes_of(parts: &Parts<'_>) -> usize {
        block_bytes(parts.topic.len() + parts.properties.len() + parts.payload.len())
    }

    /// Length of topic, properties and payload together, in bytes.
    pub(crate) fn len_bytes(&self) -> usize {
        self.0.slice.len()
    }

    /// Absolute second at which it came into memory; 0 if it was read from the store.
    pub(crate) fn made_at(&self) -> u32 {
        self.0.header.header.made_at
    }

    /// How many hold it.
    pub(crate) fn holders(&self) -> usize {
        ThinArc::with_arc(&self.0, triomphe::Arc::strong_count)
    }

    /// Number of the body that holds it in the store; 0 if each queue holds it itself.
    pub(crate) fn body(&self) -> u64 {
        self.0.header.header.body.load(Ordering::Relaxed)
    }

    /// It is held by the body `number` from now on. Only the engine's one thread sets it.
    pub(crate) fn set_body(&self, number: u64) {
        self.0.header.header.body.store(number, Ordering::Relaxed);
    }

    /// Its block, for a recount.
    pub(crate) fn block(&self) -> Block {
        Block {
            address: self.0.as_ptr() as usize,
            bytes: self.bytes(),
            part: self.0.header.header.charge.part(),
        }
    }
}

/// The block of a message, for a recount: what is shared is counted once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Block {
    address: usize,
    /// What it is charged with.
    pub(crate) bytes: usize,
    /// The part of the account that it is counted to.
    pub(crate) part: Option<u8>,
}

/// Working space that is kept between messages; a larger one is given back at once.
const SCRATCH_KEEP_BYTES: usize = 64 * 1024;

/// Size of the allocation of a message with `len` bytes of topic, properties and payload:
/// reference count, header, length and bytes, as `triomphe` lays them out.
fn block_bytes(len: usize) -> usize {
    type Fixed = HeaderSlice<HeaderWithLength<Header>, [u8; 0]>;
    let align = align_of::<Fixed>();
    let size = size_of::<usize>() + core::mem::offset_of!(Fixed, slice) + len;
    usable_size(size.next_multiple_of(align), align)
}

#[cfg(test)]
mod tests {
    use alloc::boxed::Box;

    use plimsoll_ledger::Account;

    use super::*;

    #[test]
    fn a_message_keeps_its_parts_and_gives_its_bytes_back() {
        let ledger: &'static Ledger = Box::leak(Box::default());
        let parts = Parts {
            topic: "a/b",
            properties: &[1, 1],
            payload: b"payload",
            qos: QoS::AtLeastOnce,
            retain: true,
            expires_at: Some(7),
        };
        let message = Message::new(ledger, &mut Vec::new(), &parts, Time::default());
        let shared = message.clone();
        assert_eq!(message.parts().topic, "a/b");
        assert_eq!(message.properties_and_payload(), (&[1u8, 1][..], &b"payload"[..]));
        assert_eq!(message.expiry_left(Time::from_secs(5)), Some(2));
        assert!(message.expired(Time::from_secs(7)));
        assert_eq!(ledger.bytes(Account::Queues), message.bytes());
        drop(message);
        assert_ne!(ledger.total(), 0);
        drop(shared);
        assert_eq!(ledger.total(), 0);
    }
}
