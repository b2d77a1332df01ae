//! Connections and sessions end, wills are published, deadlines pass.

use alloc::vec::Vec;

use plimsoll_mqtt::{Auth, Disconnect, QoS, ReasonCode};

use crate::access::{Action, Decision};
use crate::dispatch::{Dispatch, Publisher};
use crate::engine::Engine;
use crate::event::{Cause, Event};
use crate::flow::{Delivery, Waiting};
use crate::message::{EXPIRY_LAST, Parts};
use crate::publish::is_own_topic;
use crate::session::{Held, Session, Will};
use crate::settings::Settings;
use crate::time::Time;

/// A will that rules have no answer for yet is looked at again after this.
const WILL_RETRY_MILLIS: u64 = 200;

impl Engine {
    /// DISCONNECT from the client (MQTT-3.14.4).
    pub(crate) fn handle_disconnect(&mut self, slot: u32, disconnect: &Disconnect<'_>) {
        let most = self.dispatch.settings.persistent_client_expiration;
        let Some(session) = self.sessions.get_mut(slot) else { return };
        if let Some(expiry) = disconnect.properties.session_expiry_interval() {
            if session.expiry_interval == 0 && expiry > 0 {
                // MQTT 5, 3.14.2.2.2: a session that was to end cannot be made to last.
                return self.refuse(slot, ReasonCode::PROTOCOL_ERROR);
            }
            session.expiry_interval = most.map_or(expiry, |most| expiry.min(most));
        }
        if disconnect.reason == ReasonCode::SUCCESS {
            session.will = None; // MQTT-3.14.4-3
        }
        let Some(link) = session.link else { return };
        let client = session.client_identifier.clone();
        let cause = Cause::Client(disconnect.reason);
        if let Some(outbox) = self.dispatch.outbox(link) {
            outbox.close(link);
        }
        self.dispatch.event(Some(link), Event::Disconnected { client, cause });
        self.connection_ended(slot);
    }

    /// AUTH: no method was agreed on at CONNECT, so there is nothing to go on with
    /// (MQTT-4.12.0-6, MQTT-4.12.1-1).
    pub(crate) fn handle_auth(&mut self, slot: u32, auth: &Auth<'_>) {
        let reason = match auth.properties.authentication_method() {
            Some(_) => ReasonCode::BAD_AUTHENTICATION_METHOD,
            None => ReasonCode::PROTOCOL_ERROR,
        };
        self.refuse(slot, reason);
    }

    /// The broker ends a connection.
    pub(crate) fn disconnect(&mut self, slot: u32, reason: ReasonCode) {
        if let Some(session) = self.sessions.get_mut(slot) {
            self.dispatch.close(session, reason);
        }
        self.connection_ended(slot);
    }

    /// The session has no connection any more: it waits (MQTT-4.1.0-1), or it ends (MQTT-4.1.0-2).
    pub(crate) fn connection_ended(&mut self, slot: u32) {
        let now = self.dispatch.now;
        let Some(session) = self.sessions.get_mut(slot) else { return };
        let Some(link) = session.link.take() else { return };
        session.lost_at = now;
        session.unflushed = 0;
        session.flags.paused = false;
        session.flags.slowed = false;
        session.flags.pressed = false;
        session.flags.waiting = false;
        session.flags.greeting = false;
        session.flags.awaits_durable = false;
        session.held = 0;
        if let Some(flow) = session.flow.as_mut() {
            flow.connection_lost();
        }
        self.dispatch.forget_refused(session);
        if let Some(rare) = session.rare.as_mut() {
            rare.connection_lost();
        }
        session.tidy();
        self.sessions.disconnect(link);
        self.dispatch.counters.clients_connected -= 1;
        self.pay_owed(slot, true);
        self.spill(slot);
        self.come_due(slot, true);
    }

    /// Publishes the will and ends the session if it is time; sets the next deadline. `changed`: it
    /// is to be stored anew.
    fn come_due(&mut self, slot: u32, mut changed: bool) {
        if self.leaking.keeps_sessions() {
            return;
        }
        let now = self.dispatch.now;
        let due = self.sessions.get(slot).is_some_and(|s| s.will_due_at() <= now);
        let waits = due && self.will_waits(slot);
        let Some(session) = self.sessions.get_mut(slot) else { return };
        if let (true, Some(will)) = (waits, session.will.as_mut()) {
            // It is due again a little later, and the session lives as long.
            will.delay = 0;
            session.lost_at = now.plus_millis(WILL_RETRY_MILLIS);
        }
        let ends = session.expires_at() <= now;
        if session.will_due_at() <= now
            && let Some(will) = session.will.take()
        {
            changed = true;
            self.publish_will(slot, &will);
        }
        if ends {
            self.end_session(slot);
        } else {
            if changed {
                self.store_session(slot);
            }
            self.reschedule(slot);
        }
    }

    /// MQTT-3.1.2-8; but a will is no way to write what its client may not.
    fn publish_will(&mut self, slot: u32, will: &Will) {
        let Some(session) = self.sessions.get(slot) else { return };
        let action = Action::Publish { qos: will.qos, retain: will.retain };
        let decision = self.dispatch.decide(session, action, &will.topic);
        if is_own_topic(&will.topic) || decision != Decision::Allow {
            return;
        }
        let now = self.dispatch.now;
        let parts = Parts {
            topic: &will.topic,
            properties: &will.properties,
            payload: &will.payload,
            qos: will.qos,
            retain: will.retain,
            expires_at: will
                .message_expiry
                .map(|secs| now.as_secs().saturating_add(secs).min(EXPIRY_LAST)),
        };
        // Its own subscriptions with No Local do not get it (MQTT-3.8.3-3).
        self.publish_parts(parts, Some(Publisher { slot, epoch: 0, waits: false }));
    }

    /// An operator ends a session.
    pub(crate) fn end_session_of(&mut self, client_identifier: &str, reason: ReasonCode) {
        let Some(slot) = self.sessions.find(client_identifier) else { return };
        self.disconnect(slot, reason);
        // It may have ended with its connection.
        if self.sessions.find(client_identifier) == Some(slot) {
            self.end_session(slot);
        }
    }

    /// The session ends: everything it held goes (MQTT-3.1.2-23), and what it got from a shared
    /// subscription and did not take goes to another member.
    pub(crate) fn end_session(&mut self, slot: u32) {
        let Some(session) = self.sessions.get_mut(slot) else { return };
        if let Some(will) = session.will.take() {
            self.publish_will(slot, &will);
        }
        self.pay_owed(slot, true);
        let Some(session) = self.sessions.get_mut(slot) else { return };
        let held: Vec<Held> = session.subscriptions.clone();
        let left_behind = self.dispatch.leave_behind(session);
        self.forget_session(slot, &held);
        self.redeliver_shared(slot, left_behind);
        for held in held {
            self.remove_subscription(slot, held);
        }
        self.deadlines.set(slot, Time::NEVER);
        if let Some(mut session) = self.sessions.remove(slot) {
            self.dispatch.budgets.leave(&mut session);
            self.dispatch.stored_sessions -= usize::from(session.number != 0);
        }
    }

    /// Does what has come due.
    pub(crate) fn handle_deadlines(&mut self) {
        let now = self.dispatch.now;
        while let Some(slot) = self.deadlines.pop_reached(now) {
            self.deadline_reached(slot);
        }
        self.tend_retained();
    }

    fn deadline_reached(&mut self, slot: u32) {
        let now = self.dispatch.now;
        let stall = self.dispatch.settings.slow_consumer_timeout;
        let Some(session) = self.sessions.get_mut(slot) else { return };
        if session.flags.paused || session.flags.slowed || session.flags.waiting {
            session.seen_at = now; // What it sends is not read: its silence says nothing.
        }
        let silent = session.silent_at() <= now;
        let owes = session.flow.as_ref().is_some_and(|flow| flow.owes());
        let stalled = owes && session.progress_at.plus_secs(u64::from(stall)) <= now;
        let mut expired = Vec::new();
        if let Some(flow) = session.flow.as_mut() {
            flow.drop_expired(now, |delivery| expired.push(delivery));
        }
        for delivery in expired {
            self.dispatch.forget(session, delivery.sequence, Some(&delivery.message));
        }
        let connected = session.is_connected();
        let in_store = session.flow.as_ref().map_or(u32::MAX, |flow| flow.expires_at(connected));
        if in_store <= now.as_secs() {
            self.purge(slot);
        }
        let Some(session) = self.sessions.get_mut(slot) else { return };
        if session.is_connected() && silent {
            return self.disconnect(slot, ReasonCode::KEEP_ALIVE_TIMEOUT); // MQTT-3.1.2-22
        }
        if session.is_connected() {
            session.flags.stalled |= stalled;
            self.pay_owed(slot, stalled);
            return self.reschedule(slot);
        }
        let client = session.client_identifier.clone();
        let ends = session.expires_at() <= now;
        if ends {
            self.dispatch.counters.sessions_expired += 1;
            self.dispatch.event(None, Event::SessionExpired { client });
        }
        self.come_due(slot, false);
    }
}

impl Dispatch {
    /// PUBRECs that say that a message is refused, and will not leave any more: sent again, it is no
    /// copy of one that was received.
    fn forget_refused(&mut self, session: &mut Session) {
        let Some(rare) = session.rare.as_mut() else { return };
        let waiting = core::mem::take(&mut *rare.acknowledgements.edit());
        for due in waiting {
            let refused = due.qos == QoS::ExactlyOnce && due.reason.is_error();
            if refused && rare.release(due.packet_identifier) && session.number != 0 {
                self.journal.delete_received(session.number, due.packet_identifier);
            }
        }
    }

    /// Takes everything in memory out of a session that ends. What is answered may go to others:
    /// queued messages, and QoS 1 messages in flight, but no QoS 2 message whose delivery has begun
    /// (MQTT-4.8.2-5).
    fn leave_behind(&mut self, session: &mut Session) -> Vec<Delivery> {
        let mut left = Vec::new();
        let Some(flow) = session.flow.as_mut() else { return left };
        let waiting = flow.drain();
        let sent_before = flow.maybe_sent_before();
        for waiting in waiting {
            match waiting {
                Waiting::Release(sequence) => self.forget(session, sequence, None),
                Waiting::Publish(delivery) => {
                    self.forget(session, delivery.sequence, Some(&delivery.message));
                    let begun = delivery.qos == QoS::ExactlyOnce && delivery.sequence < sent_before;
                    if !begun {
                        left.push(delivery);
                    }
                }
            }
        }
        left
    }
}

impl Session {
    /// When something has to be done about it next.
    pub(crate) fn deadline(&self, settings: &Settings) -> Time {
        let connected = self.is_connected();
        let expires_at = self.flow.as_ref().map_or(u32::MAX, |flow| flow.expires_at(connected));
        let mut at = match expires_at {
            u32::MAX => Time::NEVER,
            secs => Time::from_secs(secs),
        };
        if !self.is_connected() {
            return at.min(self.expires_at()).min(self.will_due_at());
        }
        if self.flow.as_ref().is_some_and(|flow| flow.owes()) {
            at = at.min(self.progress_at.plus_secs(u64::from(settings.slow_consumer_timeout)));
        }
        at.min(self.silent_at())
    }

    /// Gives back parts that hold nothing.
    pub(crate) fn tidy(&mut self) {
        // What the store knows of the order of a connected session's messages holds until it is
        // told otherwise, and that is when the connection is gone.
        let numbered = self.number != 0 && self.is_connected();
        if self.flow.as_ref().is_some_and(|flow| flow.is_idle() && !flow.owes() && !numbered) {
            self.flow = None;
        }
        if self.rare.as_ref().is_some_and(|rare| rare.is_empty()) {
            self.rare = None;
        }
    }

    /// Whether retained messages are still to be sent for new subscriptions.
    pub(crate) fn has_replays(&self) -> bool {
        self.rare.as_ref().is_some_and(|rare| !rare.replays.is_empty())
    }
}
