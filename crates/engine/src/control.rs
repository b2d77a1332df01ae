//! Commands to the broker, published to `$CONTROL/…`, and their answers.

use alloc::boxed::Box;
use alloc::vec::Vec;

use plimsoll_mqtt::{Publish, QoS, ReasonCode};

use crate::dispatch::{Dispatch, Outgoing};
use crate::engine::Engine;
use crate::event::Event;
use crate::message::Parts;
use crate::route::Target;
use crate::session::Session;

/// What topics of commands begin with.
const PREFIX: &str = "$CONTROL/";

impl Dispatch {
    /// Whether a message on a topic is a command.
    pub(crate) fn is_command(&self, topic: &str) -> bool {
        self.settings.control && topic.starts_with(PREFIX)
    }

    /// Hands a command to the shell.
    pub(crate) fn command(&mut self, session: &Session, topic: &str, publish: &Publish<'_>) {
        let event = Event::Control {
            client: session.client_identifier.clone(),
            username: session.username.clone(),
            listener: session.listener,
            topic: Box::from(topic),
            payload: Box::from(publish.payload),
        };
        self.event(session.link, event);
    }
}

impl Engine {
    /// Disconnects everybody of some users, without their wills.
    pub(crate) fn expel_users(&mut self, users: &[Option<&str>]) {
        let concerned = |session: &Session| {
            session.is_connected() && users.binary_search(&session.username.as_deref()).is_ok()
        };
        let sessions = self.sessions.iter().filter(|(_, session)| concerned(session));
        let slots: Vec<u32> = sessions.map(|(slot, _)| slot).collect();
        for slot in slots {
            if let Some(session) = self.sessions.get_mut(slot) {
                session.will = None;
            }
            self.disconnect(slot, ReasonCode::ADMINISTRATIVE_ACTION);
        }
    }

    /// Sends a message to one client, as its subscriptions have it.
    pub(crate) fn respond(&mut self, client_identifier: &str, topic: &str, payload: &[u8]) {
        let Some(slot) = self.sessions.find(client_identifier) else { return };
        if !self.sessions.get(slot).is_some_and(Session::is_connected) {
            return;
        }
        let mut own: Vec<Target> = Vec::new();
        self.subscriptions.matches(topic, |entries| {
            own.extend(entries.iter().filter(|(subscriber, _)| subscriber.0 == slot));
        });
        let parts = Parts {
            topic,
            properties: &[],
            payload,
            qos: QoS::AtMostOnce,
            retain: false,
            expires_at: None,
        };
        // Once, however many of its filters match.
        if let Some(target) = own.first() {
            self.deliver_entries(slot, core::slice::from_ref(target), &mut [Outgoing::new(parts)]);
        }
    }
}
