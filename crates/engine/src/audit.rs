//! Looks for state whose time is over, a bounded piece at a time.
//!
//! Memory that grows with the number of sessions is nobody's leak, unless those sessions should have gone.

use crate::engine::Engine;
use crate::time::Time;

/// What an audit has found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Audit {
    /// Sessions looked at.
    pub sessions: u64,
    /// Sessions that are still there though their Session Expiry Interval is over.
    pub sessions_overdue: u64,
    /// Sessions that wait for a time at which nobody will look at them.
    pub deadlines_lost: u64,
}

/// What has come due may wait for its turn for so long, seconds.
const GRACE_SECS: u64 = 30;

impl Engine {
    /// Looks at sessions from slot `from` on, at `slots` slots. Answers where to go on; `None` at the end.
    pub fn audit(&self, now: Time, from: u32, slots: u32, audit: &mut Audit) -> Option<u32> {
        let to = from.saturating_add(slots).min(self.sessions.slots());
        for slot in from..to {
            let Some(session) = self.sessions.get(slot) else { continue };
            audit.sessions += 1;
            let over = !session.is_connected()
                && session.expires_at().plus_secs(GRACE_SECS) <= now
                && session.expires_at() != Time::NEVER;
            audit.sessions_overdue += u64::from(over);
            let due = session.deadline(&self.dispatch.settings);
            let lost = due != Time::NEVER && self.deadlines.get(slot) == Time::NEVER;
            audit.deadlines_lost += u64::from(lost);
        }
        (to < self.sessions.slots()).then_some(to)
    }
}

#[cfg(test)]
mod tests {
    use plimsoll_ledger::Ledger;

    use super::*;
    use crate::Settings;

    #[test]
    fn an_engine_without_sessions_has_nothing_overdue() {
        let ledger: &'static Ledger = alloc::boxed::Box::leak(alloc::boxed::Box::default());
        let engine = Engine::new(Settings::default(), 1, 7, ledger);
        let mut audit = Audit::default();
        assert_eq!(engine.audit(Time::from_secs(9), 0, 100, &mut audit), None);
        assert_eq!(audit, Audit::default());
    }
}
