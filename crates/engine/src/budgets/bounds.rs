//! The limits that hold for one session, by the steps of its budgets.

use crate::dispatch::{Dispatch, Outgoing};
use crate::event::Limit;
use crate::load::Step;
use crate::session::Session;

impl Dispatch {
    /// Bytes that may be on their way to a session's connection and not taken by the network.
    pub(crate) fn output_max(&self, session: &Session) -> u32 {
        self.settings.output_bytes_max.min(self.budgets.output_max(session))
    }

    /// Messages that may wait for a session; 0 is no limit.
    pub(crate) fn queued_max(&self, session: &Session) -> usize {
        self.queued_max_at(session, self.budgets.step(session))
    }

    /// The same at a step.
    pub(crate) fn queued_max_at(&self, session: &Session, step: Step) -> usize {
        let connected = session.is_connected();
        let most = self.settings.queued_max(connected);
        match step.connected_queued_max().filter(|_| connected) {
            Some(tight) if most == 0 => tight as usize,
            Some(tight) => most.min(tight as usize),
            None => most,
        }
    }

    /// Whether one more message of `bytes` may wait for a session.
    pub(crate) fn has_room(&self, session: &Session, bytes: usize) -> bool {
        self.has_room_at(session, self.budgets.step(session), bytes)
    }

    /// The same at a step.
    pub(crate) fn has_room_at(&self, session: &Session, step: Step, bytes: usize) -> bool {
        let most = self.queued_max_at(session, step);
        !queues_nothing(session, step)
            && session.flow.as_ref().is_none_or(|flow| flow.has_room(&self.settings, most, bytes))
    }

    /// Entries of a session's queue that are kept in memory if the store has them too.
    pub(crate) fn stored_entries(&self, session: &Session) -> usize {
        self.budgets.step(session).stored_queue_entries(self.settings.stored_queue_entries)
    }

    /// A QoS 1 or 2 message does not get into the session's queue.
    pub(crate) fn refuse_queued(
        &mut self,
        session: &mut Session,
        outgoing: &mut Outgoing<'_>,
        queues_nothing: bool,
    ) {
        if queues_nothing {
            outgoing.unqueued += u32::from(outgoing.step >= Step::RefuseNew);
            self.budgets.count(session, Step::RefuseNew, |counts| counts.publishes_refused += 1);
            return self.missed(session, outgoing, Limit::Budget);
        }
        let connected = session.is_connected();
        let limit = if connected { Limit::SlowConsumer } else { Limit::QueueFull };
        self.missed(session, outgoing, limit);
    }
}

/// Whether nothing more may be queued for a session in memory at a step of a budget, since nobody
/// is there to take it.
pub(crate) fn queues_nothing(session: &Session, step: Step) -> bool {
    step >= Step::RefuseNew && !session.is_connected() && session.number == 0
}
