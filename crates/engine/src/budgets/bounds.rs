//! The limits that hold for one session, by the steps of its budgets.

use crate::dispatch::Dispatch;
use crate::load::Step;
use crate::session::Session;

impl Dispatch {
    /// Bytes that may be on their way to a session's connection and not taken by the network.
    pub(crate) fn output_max(&self, session: &Session) -> u32 {
        let most = self.settings.output_bytes_max;
        most.min(self.budgets.step(session).output_bytes_max())
    }

    /// Messages that may wait for a session; 0 is no limit.
    pub(crate) fn queued_max(&self, session: &Session) -> usize {
        let connected = session.is_connected();
        let most = self.settings.queued_max(connected);
        match self.budgets.step(session).connected_queued_max().filter(|_| connected) {
            Some(tight) if most == 0 => tight as usize,
            Some(tight) => most.min(tight as usize),
            None => most,
        }
    }

    /// Whether nothing more may be queued for a session in memory, since one of its budgets is
    /// short and nobody is there to take it.
    pub(crate) fn queues_nothing(&self, session: &Session) -> bool {
        !session.is_connected()
            && session.number == 0
            && self.budgets.step(session) >= Step::RefuseNew
    }

    /// Whether one more message of `bytes` may wait for a session.
    pub(crate) fn has_room(&self, session: &Session, bytes: usize) -> bool {
        let most = self.queued_max(session);
        !self.queues_nothing(session)
            && session.flow.as_ref().is_none_or(|flow| flow.has_room(&self.settings, most, bytes))
    }

    /// Entries of a session's queue that are kept in memory if the store has them too.
    pub(crate) fn stored_entries(&self, session: &Session) -> usize {
        self.budgets.step(session).stored_queue_entries(self.settings.stored_queue_entries)
    }
}
