//! PUBACK, PUBREC and PUBCOMP from a client, and what may be sent next because of them.

use alloc::sync::Arc;

use plimsoll_mqtt::encode::AckKind;
use plimsoll_mqtt::{Packet, ReasonCode};

use crate::access::{Access, Action, Decision, Who};
use crate::dispatch::Dispatch;
use crate::engine::Engine;
use crate::flow::{Acknowledged, Next};
use crate::input::{Input, Link};
use crate::route::identifier_of;
use crate::session::Session;

impl Engine {
    /// Consecutive acknowledgements of one link; PUBREL goes out in the order of the PUBRECs
    /// (MQTT-4.6.0-4). A refused message goes to nobody else (MQTT-4.8.2-6). Answers how many inputs it took.
    pub(crate) fn handle_acknowledgements(
        &mut self,
        link: Link,
        slot: u32,
        inputs: &[Input<'_>],
    ) -> usize {
        let now = self.dispatch.now;
        let Some(session) = self.sessions.get_mut(slot) else { return 1 };
        let mut used = 0;
        for input in inputs {
            let packet = match input {
                Input::Packet { link: other, packet } if *other == link => packet,
                _ => break,
            };
            let flow = session.flow.as_mut();
            match packet {
                Packet::Puback(ack) => {
                    let done = flow.map(|flow| flow.puback(ack.packet_identifier));
                    self.dispatch.completed(session, done);
                }
                Packet::Pubrec(ack) => {
                    let refused = ack.reason.is_error();
                    let id = ack.packet_identifier;
                    let done = flow.map(|flow| flow.pubrec(id, refused));
                    // MQTT-4.3.3-4: PUBREL follows a PUBREC without error, known or not.
                    let reason = match done {
                        None | Some(Acknowledged::Unknown) => {
                            ReasonCode::PACKET_IDENTIFIER_NOT_FOUND
                        }
                        _ => ReasonCode::SUCCESS,
                    };
                    self.dispatch.completed(session, done);
                    if !refused {
                        self.dispatch.acknowledge(session, AckKind::Pubrel, id, reason);
                    }
                }
                Packet::Pubcomp(ack) => {
                    let done = flow.map(|flow| flow.pubcomp(ack.packet_identifier));
                    self.dispatch.completed(session, done);
                }
                _ => break,
            }
            used += 1;
        }
        session.progress_at = now;
        session.flags.stalled = false;
        let waits = session.flow.as_ref().is_some_and(|flow| !flow.nothing_waits() || flow.owes());
        if waits || session.has_replays() {
            self.pump(slot);
            self.wake_replay(slot);
        }
        used.max(1)
    }

    /// Sends a session what waits for it, as far as its window and its output allow, and lets go
    /// of acknowledgements that waited for the room.
    pub(crate) fn pump(&mut self, slot: u32) {
        let now = self.dispatch.now;
        let Some(session) = self.sessions.get_mut(slot) else { return };
        let output_max = self.dispatch.output_max(session);
        while session.is_open() && session.unflushed < output_max {
            let window = session.window;
            // Who has waited may have lost the right to read meanwhile.
            let who = Who {
                client_identifier: &session.client_identifier,
                username: session.username.as_deref(),
                listener: session.listener,
            };
            let may_read = |topic: &str| {
                let forbids = |rules: &Arc<dyn Access>| {
                    rules.decide(&who, Action::Receive, topic) == Decision::Deny
                };
                !self.dispatch.access.as_ref().is_some_and(forbids)
            };
            let Some(flow) = session.flow.as_mut() else { return };
            match flow.next(window, &self.dispatch.settings, now, may_read) {
                None => break,
                Some(Next::Vain(delivery)) => {
                    self.dispatch.forget(session, delivery.sequence, Some(&delivery.message));
                }
                Some(Next::Release { packet_identifier }) => {
                    let success = ReasonCode::SUCCESS;
                    self.dispatch.acknowledge(session, AckKind::Pubrel, packet_identifier, success);
                }
                Some(Next::Publish { packet_identifier, dup, delivery }) => {
                    let identifier = identifier_of(&self.groups, delivery.origin, slot);
                    self.dispatch.send_delivery(
                        session,
                        &delivery,
                        packet_identifier,
                        dup,
                        identifier,
                    );
                    if packet_identifier == 0 {
                        self.dispatch.forget(session, delivery.sequence, Some(&delivery.message));
                    }
                }
            }
        }
        // It may have something to acknowledge now.
        self.dispatch.resume_if_relieved(session);
        if session.is_open() {
            self.load_more(slot);
        }
        self.pay_owed(slot, false);
    }

    /// Releases acknowledgements that waited for this session's queue: those for which it has room
    /// again, or `all`.
    pub(crate) fn pay_owed(&mut self, slot: u32, all: bool) {
        loop {
            let Some(session) = self.sessions.get_mut(slot) else { return };
            let most = self.dispatch.queued_max(session);
            let settings = &self.dispatch.settings;
            let owed = session.flow.as_mut().and_then(|flow| flow.pay(settings, most, all));
            match owed {
                Some(owed) => self.pay(owed),
                None => return,
            }
        }
    }
}

impl Dispatch {
    /// A client acknowledged a message: the store learns of it. PUBREL waits for that: without it,
    /// a restart would send the message again to a client that has forgotten it.
    fn completed(&mut self, session: &mut Session, done: Option<Acknowledged>) {
        if self.following.is_some()
            && let Some(
                Acknowledged::Done { sequence, .. } | Acknowledged::Release { sequence, .. },
            ) = done
        {
            self.follow_confirmed(session, sequence);
        }
        match done {
            Some(Acknowledged::Done { sequence, message }) => {
                self.forget(session, sequence, message.as_ref());
            }
            Some(Acknowledged::Release { sequence, message: Some(message) })
                if session.number != 0 =>
            {
                self.journal.released(session.number, sequence, Some(&message));
                session.promised = self.journal.position();
            }
            _ => {}
        }
    }
}
