//! The part of a queue that lies in the store alone.

use super::{Flow, Restored, Stored, Waiting};

impl Flow {
    /// Whether more should be read from the store now, if `kept` may be in memory.
    pub(crate) fn wants_load(&self, kept: usize) -> bool {
        let little = self.queue.len() <= kept / 4;
        self.stored.count > 0 && !self.stored.loading && little
    }

    /// Takes an entry that was read from the store to the end of what is in memory.
    pub(crate) fn loaded(&mut self, waiting: Waiting) {
        self.stored.from = waiting.sequence() + 1;
        self.stored.count = self.stored.count.saturating_sub(1);
        self.stored.bytes = self.stored.bytes.saturating_sub(waiting.bytes());
        self.push_back(waiting);
    }

    /// An entry of the store is gone: it had expired, or could not be read.
    pub(crate) fn lost_in_store(&mut self, sequence: u64, bytes: usize) {
        self.stored.from = self.stored.from.max(sequence + 1);
        self.stored.count = self.stored.count.saturating_sub(1);
        self.stored.bytes = self.stored.bytes.saturating_sub(bytes);
    }

    /// The store was read up to `until`: nothing is left before it.
    pub(crate) fn load_ended(&mut self, until: u64) {
        let stored = &mut self.stored;
        stored.from = stored.from.max(until);
        if stored.from >= self.next {
            (stored.count, stored.bytes, stored.expires_at) = (0, 0, u32::MAX);
            (stored.entangled, stored.qos0) = (false, false);
        } else {
            self.load_goes_on();
        }
    }

    /// There is more, whatever was counted: entries that cannot be read may be more than were known.
    pub(crate) fn load_goes_on(&mut self) {
        self.stored.count = self.stored.count.max(1);
    }

    /// An entry in the middle of the store's part has expired and is gone.
    pub(crate) fn purged(&mut self, bytes: usize) {
        self.stored.count = self.stored.count.saturating_sub(1);
        self.stored.bytes = self.stored.bytes.saturating_sub(bytes);
    }

    /// The store's part is being looked through for expired entries (`None`), or was, and this is
    /// when the next one expires.
    pub(crate) fn stored_purged(&mut self, next_expiry: Option<u32>) {
        let stored = &mut self.stored;
        stored.purging = next_expiry.is_none();
        stored.expires_at = match next_expiry {
            None => u32::MAX,
            Some(at) => stored.expires_at.min(at),
        };
    }

    /// Sets what the store has for a session after a restart.
    pub(crate) fn restore(&mut self, restored: &Restored) {
        self.next = restored.next;
        self.sent_before = restored.sent_before;
        self.maybe_sent_before = restored.maybe_sent_before;
        self.durable_before = restored.next;
        self.returned = restored.returned;
        self.stored = Stored {
            from: restored.first,
            count: restored.count,
            bytes: restored.bytes,
            expires_at: restored.expires_at,
            loading: false,
            purging: false,
            entangled: restored.entangled,
            qos0: restored.qos0,
        };
    }
}
