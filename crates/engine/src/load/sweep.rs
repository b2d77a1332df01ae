//! What is done to sessions by themselves while memory is short: queues are left to the store, and the
//! client whose end frees most is disconnected. A bounded piece of the table at a time.

use alloc::vec::Vec;

use plimsoll_mqtt::ReasonCode;

use super::Step;
use crate::engine::Engine;
use crate::session::Session;

/// Places of the table looked at in one piece: about a millisecond.
const PIECE: u32 = 10_000;

/// How far the present round over all sessions has come.
#[derive(Debug, Default)]
pub(super) struct Sweep {
    /// The next place.
    next: u32,
    /// The most that one client's end would have freed in the round before.
    largest_before: usize,
    /// The same so far in this round.
    largest: usize,
}

impl Engine {
    /// Goes on with the round. It acts on sessions for which a step is in force, the load line's or one of a budget.
    ///
    /// One client at most is disconnected in a piece: the largest of it, unless it is less than half
    /// as large as the largest of the round before, which will come up again.
    pub(crate) fn sweep(&mut self) {
        let end = self.sessions.slots();
        let from = if self.load.sweep.next < end { self.load.sweep.next } else { 0 };
        let until = from.saturating_add(PIECE).min(end);
        let mut long: Vec<u32> = Vec::new();
        let mut offender = (0, 0);
        for slot in from..until {
            let Some(session) = self.sessions.get(slot).filter(|session| session.is_connected())
            else {
                continue;
            };
            let step = self.load.step.max(self.dispatch.budgets.step(session));
            if step >= Step::Spill && self.can_spill(session) {
                long.push(slot);
            }
            if step >= Step::Disconnect {
                offender = offender.max((session.freed_by_its_end(), slot));
            }
        }
        for slot in long {
            self.spill_connected(slot);
        }
        let whole = from == 0 && until == end;
        let sweep = &mut self.load.sweep;
        let least = if whole { 0 } else { sweep.largest_before / 2 };
        sweep.largest = sweep.largest.max(offender.0);
        sweep.next = until;
        if until == end {
            (sweep.next, sweep.largest_before, sweep.largest) = (0, sweep.largest, 0);
        }
        let (bytes, slot) = offender;
        if bytes >= least.max(self.dispatch.settings.offender_bytes_min).max(1) {
            self.disconnect_offender(slot);
        }
    }

    /// Whether much of a session's queue is in memory and can be left to the store.
    fn can_spill(&self, session: &Session) -> bool {
        let keep = self.dispatch.stored_entries(session);
        session.number != 0 && session.flow.as_ref().is_some_and(|flow| flow.can_spill(keep))
    }

    /// Leaves what waits for a connected session to the store, but for what is being read from it.
    fn spill_connected(&mut self, slot: u32) {
        if self.load.step >= Step::Spill {
            self.dispatch.counters.load.queues_spilled += 1;
        }
        if let Some(session) = self.sessions.get(slot) {
            let budgets = &mut self.dispatch.budgets;
            budgets.count(session, Step::Spill, |counts| counts.queues_spilled += 1);
        }
        self.spill(slot);
        self.reschedule(slot);
        self.settle_budgets();
    }

    fn disconnect_offender(&mut self, slot: u32) {
        if self.load.step >= Step::Disconnect {
            self.dispatch.counters.load.disconnected += 1;
        }
        if let Some(session) = self.sessions.get(slot) {
            let budgets = &mut self.dispatch.budgets;
            budgets.count(session, Step::Disconnect, |counts| counts.disconnected += 1);
        }
        self.disconnect(slot, ReasonCode::QUOTA_EXCEEDED);
        self.settle_budgets();
    }
}

#[cfg(test)]
mod tests;
