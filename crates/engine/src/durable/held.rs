//! Packets that wait until what they promise is on disk.

use alloc::collections::VecDeque;

use plimsoll_ledger::Measure;
use plimsoll_mqtt::ReasonCode;

/// Packets in the order in which they may leave.
#[derive(Debug, Default)]
pub(crate) struct Held {
    arena: VecDeque<u8>,
    parts: VecDeque<HeldPart>,
}

/// Something that waits.
#[derive(Debug)]
pub(crate) struct HeldPart {
    /// Position of the record that it waits for.
    pub(crate) position: u64,
    /// Session, and the connection of it that this is meant for.
    pub(crate) slot: u32,
    pub(crate) epoch: u32,
    pub(crate) what: What,
}

/// What waits.
#[derive(Debug)]
pub(crate) enum What {
    /// So many bytes of the arena are to be sent.
    Bytes(u32),
    /// QoS 2 messages of the session before this sequence number may be sent.
    Durable(u64),
    /// Retained messages for a new subscription may be sent.
    Replay,
    /// The acknowledgement before it was of a publish that is followed.
    Traced { number: u32, reason: ReasonCode },
}

impl Measure for Held {
    fn heap_bytes(&self) -> usize {
        self.arena.heap_bytes() + self.parts.heap_bytes()
    }
}

impl Held {
    pub(crate) fn push(&mut self, part: HeldPart, bytes: &[u8]) {
        self.arena.extend(bytes);
        self.parts.push_back(part);
    }

    /// The first part, if it waits for nothing behind `durable`; its bytes are in `bytes`.
    pub(crate) fn pop(
        &mut self,
        durable: u64,
        bytes: &mut alloc::vec::Vec<u8>,
    ) -> Option<HeldPart> {
        if self.parts.front()?.position > durable {
            return None;
        }
        let part = self.parts.pop_front()?;
        bytes.clear();
        if let What::Bytes(len) = part.what {
            bytes.extend(self.arena.drain(..(len as usize).min(self.arena.len())));
        }
        if self.parts.is_empty() {
            *self = Self::default();
        }
        Some(part)
    }
}
