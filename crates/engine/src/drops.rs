//! Messages that a limit keeps from a session: counted, said now and then, and told if they are followed.

use crate::dispatch::{Dispatch, Outgoing};
use crate::event::{Event, Limit};
use crate::session::Session;

impl Dispatch {
    /// A limit keeps a message from a session: it is counted, and told if it is followed.
    pub(crate) fn missed(&mut self, session: &mut Session, outgoing: &Outgoing<'_>, limit: Limit) {
        self.dropped(session, limit);
        self.follow_dropped(session, outgoing, limit);
    }

    /// Counts a message that a limit kept from the session, and says so now and then.
    pub(crate) fn dropped(&mut self, session: &mut Session, limit: Limit) {
        self.counters.publishes_dropped += 1;
        session.dropped += 1;
        if session.dropped.is_power_of_two() {
            let (client, total) = (session.client_identifier.clone(), session.dropped);
            self.event(session.link, Event::Dropped { client, total, limit });
        }
    }
}
