//! Outputs on their way to the I/O thread that owns the connection.

use alloc::vec::Vec;
use core::fmt;
use core::mem::{size_of, take};

use plimsoll_ledger::{Account, Charge, Ledger, usable_size};

use crate::event::Event;
use crate::input::Link;
use crate::message::{Block, Message};

/// Everything that one shard has to do after a batch of inputs, in order.
///
/// Frames are encoded one behind the other into one arena; large payloads are not copied but
/// referred to. The shell takes the box ([`Engine::take_outbox`](crate::Engine::take_outbox)),
/// drains it and brings it back empty at the next turn, so its memory is reused.
pub struct Outbox {
    arena: Vec<u8>,
    parts: Vec<Part>,
    events: Vec<(Link, Event)>,
    charge: Charge,
}

struct Part {
    slot: u32,
    what: What,
}

enum What {
    /// Arena bytes from the end of the last such part to here.
    Bytes {
        end: usize,
    },
    Body(Message),
    Close,
    PauseReading,
    ResumeReading,
    Retry,
}

/// One thing to do for a connection.
#[derive(Debug)]
pub enum Piece<'a> {
    /// Send these bytes.
    Bytes(&'a [u8]),
    /// Send this payload, which is shared with others and need not be copied.
    Body(Body),
    /// Send what is there, then close. Nothing follows for this slot.
    Close,
    /// Read no more from it until told: its publishes have nowhere to go.
    PauseReading,
    /// Read again.
    ResumeReading,
    /// Give again what was put back ([`Engine::take_put_back`](crate::Engine::take_put_back)).
    Retry,
}

/// The payload of a message that several connections are sent.
#[derive(Clone, Debug)]
pub struct Body(Message);

impl Body {
    /// The bytes to send.
    pub fn bytes(&self) -> &[u8] {
        self.0.properties_and_payload().1
    }

    /// The block of the message that it is a part of.
    pub fn block(&self) -> Block {
        self.0.block()
    }
}

/// Payloads from this size on are shared with the connection instead of copied to it.
pub(crate) const BODY_SHARED_BYTES_MIN: usize = 2048;

/// Arena and lists larger than this are given back when they have been drained.
const KEEP_BYTES: usize = 256 * 1024;

impl Outbox {
    /// An empty box, charged to [`Account::Connections`].
    pub fn new(ledger: &'static Ledger) -> Self {
        Self {
            arena: Vec::new(),
            parts: Vec::new(),
            events: Vec::new(),
            charge: ledger.charge(Account::Connections, 0),
        }
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty() && self.events.is_empty()
    }

    /// Bytes waiting in the arena.
    pub fn len_bytes(&self) -> usize {
        self.arena.len()
    }

    /// Hands out every piece with its slot, in order, and empties the box.
    pub fn drain(&mut self, mut each: impl FnMut(u32, Piece<'_>)) {
        let mut from = 0;
        for part in self.parts.drain(..) {
            let piece = match part.what {
                What::Bytes { end } => {
                    let bytes = self.arena.get(from..end).unwrap_or_default();
                    from = end;
                    Piece::Bytes(bytes)
                }
                What::Body(message) => Piece::Body(Body(message)),
                What::Close => Piece::Close,
                What::PauseReading => Piece::PauseReading,
                What::ResumeReading => Piece::ResumeReading,
                What::Retry => Piece::Retry,
            };
            each(part.slot, piece);
        }
        self.arena.clear();
        if self.arena.capacity() > KEEP_BYTES {
            self.arena = Vec::new();
        }
        if self.parts.capacity() * size_of::<Part>() > KEEP_BYTES {
            self.parts = Vec::new();
        }
        self.settle();
    }

    /// Takes the events (things to log) out, in order.
    pub fn take_events(&mut self) -> Vec<(Link, Event)> {
        take(&mut self.events)
    }

    /// Appends what `encode` writes to what `link` is sent. Answers the number of bytes.
    pub(crate) fn frame(&mut self, link: Link, encode: impl FnOnce(&mut Vec<u8>)) -> usize {
        let before = self.arena.len();
        encode(&mut self.arena);
        let end = self.arena.len();
        match self.parts.last_mut() {
            Some(Part { slot, what: What::Bytes { end: last } }) if *slot == link.slot() => {
                *last = end;
            }
            _ => self.parts.push(Part { slot: link.slot(), what: What::Bytes { end } }),
        }
        end - before
    }

    /// Appends the payload of `message` without copying it. Answers the number of bytes.
    pub(crate) fn body(&mut self, link: Link, message: &Message) -> usize {
        let len = message.properties_and_payload().1.len();
        self.parts.push(Part { slot: link.slot(), what: What::Body(message.clone()) });
        len
    }

    pub(crate) fn close(&mut self, link: Link) {
        self.parts.push(Part { slot: link.slot(), what: What::Close });
    }

    pub(crate) fn pause_reading(&mut self, link: Link) {
        self.parts.push(Part { slot: link.slot(), what: What::PauseReading });
    }

    pub(crate) fn resume_reading(&mut self, link: Link) {
        self.parts.push(Part { slot: link.slot(), what: What::ResumeReading });
    }

    pub(crate) fn retry(&mut self, link: Link) {
        self.parts.push(Part { slot: link.slot(), what: What::Retry });
    }

    pub(crate) fn event(&mut self, link: Link, event: Event) {
        self.events.push((link, event));
    }

    /// Messages that it refers to.
    pub(crate) fn messages(&self) -> impl Iterator<Item = &Message> {
        self.parts.iter().filter_map(|part| match &part.what {
            What::Body(message) => Some(message),
            _ => None,
        })
    }

    /// Brings the charge up to what the box holds: once per turn, when nobody else looks.
    pub(crate) fn settle(&mut self) {
        self.charge.set(self.heap_bytes());
    }

    /// What the box holds by its capacities.
    pub fn heap_bytes(&self) -> usize {
        usable_size(self.arena.capacity(), 1)
            + usable_size(self.parts.capacity() * size_of::<Part>(), align_of::<Part>())
            + usable_size(
                self.events.capacity() * size_of::<(Link, Event)>(),
                align_of::<(Link, Event)>(),
            )
    }
}

impl fmt::Debug for Outbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Outbox: {} parts, {} bytes", self.parts.len(), self.arena.len())
    }
}
