//! What a session weighs in the budgets that it counts to.

use plimsoll_ledger::{Boxed, Snapshot};

use crate::message::Message;
use crate::session::Session;

impl Session {
    /// Bytes that the session holds, by the sizes of the ledger: itself with its names, its list of
    /// subscriptions, its will, its tables, its messages in flight and waiting in memory, and
    /// what its connection has not taken. A message that others hold too counts in full, as for
    /// `max_queued_bytes`: so the figure does not change by what others do.
    ///
    /// It adds up what is charged, and walks over nothing but replays under way: it is called at each change. 0 of
    /// itself and its names for a session that counts to no budget.
    pub(crate) fn weight(&self) -> usize {
        let flow = self.flow.as_ref().map_or(0, |flow| flow.charged() + flow.bytes_charged());
        let rare = self.rare.as_ref().map_or(0, |rare| rare.charged() + rare.parts_charged());
        let will = self.will.as_ref().map_or(0, Boxed::charged);
        self.counted.fixed_bytes()
            + self.subscriptions.charged()
            + will
            + flow
            + rare
            + self.unflushed as usize
    }

    /// The same by a walk that looks at no charge.
    pub(super) fn weight_by_walk(&self) -> usize {
        let mut snapshot = Snapshot::default();
        self.recount(&mut snapshot);
        let messages = self.flow.iter().flat_map(|flow| flow.messages());
        Boxed::<Self>::BLOCK_BYTES
            + Self::fixed_bytes(&self.client_identifier, self.username.as_deref())
            + snapshot.total()
            + messages.map(Message::bytes).sum::<usize>()
            + self.unflushed as usize
    }
}
