//! Packets that wait until rules have their answer.
//!
//! Rules that have to ask somebody else say [`Decision::Pending`]. A packet that needs such an answer
//! is put back whole, before anything was done for it, and so is what the same link brought behind it
//! in this turn: the shell keeps the bytes, and gives them again when it is told to
//! ([`Piece::Retry`](crate::Piece::Retry)).

use alloc::vec::Vec;

use plimsoll_ledger::{Account, Charged, Ledger, Measure};
use plimsoll_mqtt::{Packet, Publish, TopicFilter};

use crate::access::{Action, Decision};
use crate::engine::Engine;
use crate::input::{Input, Loss};
use crate::session::GROUP;
use crate::subscribe::in_place;
use crate::time::Time;

/// Everybody who waits looks again after this, should nobody have told.
const RETRY_MILLIS: u64 = 1000;

/// A session whose packet waits.
#[derive(Clone, Copy, Debug)]
struct Waiter {
    slot: u32,
    epoch: u32,
    /// The session about which the last question was asked.
    on: u32,
}

/// All of them.
#[derive(Debug)]
pub(crate) struct Waiting {
    list: Charged<Vec<Waiter>>,
    /// Inputs of this turn, by their index, that were put back.
    put_back: Vec<u32>,
    pub(crate) retry_at: Time,
}

impl Waiting {
    pub(crate) fn new(ledger: &'static Ledger) -> Self {
        let list = ledger.own(Account::Sessions, Vec::new());
        Self { list, put_back: Vec::new(), retry_at: Time::NEVER }
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        self.list.heap_bytes()
    }
}

impl Engine {
    /// Inputs of the last turn that have to be given again after
    /// [`Piece::Retry`](crate::Piece::Retry), by their index, in order. Nothing was done for them.
    pub fn take_put_back(&mut self) -> Vec<u32> {
        core::mem::take(&mut self.waiting.put_back)
    }

    /// Tells rules that a turn begins. Answers whether something may have to wait for them.
    pub(crate) fn begin_turn(&self) -> bool {
        let access = self.dispatch.access.as_ref();
        access.is_some_and(|access| {
            access.turn(self.dispatch.now);
            access.may_wait()
        })
    }

    /// Puts an input back if it has to wait, or stands behind one that does.
    pub(crate) fn put_back(&mut self, index: usize, input: &Input<'_>) -> bool {
        let link = match input {
            Input::Packet { link, .. }
            | Input::Malformed { link, .. }
            | Input::Lost { link, loss: Loss::ClosedByPeer } => *link,
            _ => return false,
        };
        let Some(slot) = self.sessions.linked(link) else { return false };
        let behind = self.sessions.get(slot).is_some_and(|session| session.flags.waiting);
        if !behind {
            let Input::Packet { packet, .. } = input else { return false };
            let Some(on) = self.waits_on(slot, packet) else { return false };
            let Some(session) = self.sessions.get_mut(slot) else { return false };
            session.flags.waiting = true;
            self.wait_on(slot, on);
        }
        self.waiting.put_back.push(index as u32);
        true
    }

    /// A session waits until something is answered about it.
    pub(crate) fn wait(&mut self, slot: u32) {
        self.wait_on(slot, slot);
    }

    fn wait_on(&mut self, slot: u32, on: u32) {
        let Some(session) = self.sessions.get(slot) else { return };
        let waiter = Waiter { slot, epoch: session.epoch, on };
        self.waiting.list.edit().push(waiter);
        let retry_at = self.dispatch.now.plus_millis(RETRY_MILLIS);
        self.waiting.retry_at = self.waiting.retry_at.min(retry_at);
    }

    /// The session on whose answer a packet has to wait. All questions that it needs are asked.
    fn waits_on(&self, slot: u32, packet: &Packet<'_>) -> Option<u32> {
        let session = self.sessions.get(slot)?;
        let mount_point = self.mount_point(slot);
        let asks = |action, filter: &str| {
            let whole = in_place(mount_point, filter);
            let topic = TopicFilter::parse(&whole).filter();
            let pending = self.dispatch.decide(session, action, topic) == Decision::Pending;
            pending.then_some(slot)
        };
        match packet {
            Packet::Publish(publish) => self.publish_waits_on(slot, publish),
            Packet::Subscribe(subscribe) => subscribe
                .filters()
                .fold(None, |on, wanted| asks(Action::Subscribe, wanted.filter).or(on)),
            Packet::Unsubscribe(unsubscribe) => unsubscribe
                .filters()
                .fold(None, |on, filter| asks(Action::Unsubscribe, filter).or(on)),
            _ => None,
        }
    }

    fn publish_waits_on(&self, slot: u32, publish: &Publish<'_>) -> Option<u32> {
        let topic = match publish.properties.topic_alias() {
            Some(alias) if publish.topic.is_empty() => {
                self.sessions.get(slot)?.rare.as_ref()?.aliases_in.topic(alias)?
            }
            _ => publish.topic,
        };
        let action = Action::Publish { qos: publish.qos, retain: publish.retain };
        self.message_waits_on(slot, action, &in_place(self.mount_point(slot), topic))
    }

    /// Whether the will of a session that has ended has to wait.
    pub(crate) fn will_waits(&self, slot: u32) -> bool {
        if !self.dispatch.access.as_ref().is_some_and(|access| access.may_wait()) {
            return false;
        }
        let will = self.sessions.get(slot).and_then(|session| session.will.as_ref());
        will.is_some_and(|will| {
            let action = Action::Publish { qos: will.qos, retain: will.retain };
            self.message_waits_on(slot, action, &will.topic).is_some()
        })
    }

    /// The session on whose answer a message has to wait: its publisher, or one that it would go to.
    fn message_waits_on(&self, slot: u32, action: Action, topic: &str) -> Option<u32> {
        match self.dispatch.decide(self.sessions.get(slot)?, action, topic) {
            Decision::Pending => Some(slot),
            Decision::Deny => None,
            Decision::Allow => self.receivers_wait_on(topic),
        }
    }

    /// The last of the sessions that a message would go to of which it is not known whether it may.
    fn receivers_wait_on(&self, topic: &str) -> Option<u32> {
        let mut on = None;
        let mut ask = |slot: u32| {
            let Some(session) = self.sessions.get(slot) else { return };
            if self.dispatch.decide(session, Action::Receive, topic) == Decision::Pending {
                on = Some(slot);
            }
        };
        self.subscriptions.matches(topic, |entries| {
            for (subscriber, _) in entries {
                match subscriber.0 & GROUP {
                    0 => ask(subscriber.0),
                    _ => {
                        let group = self.groups.get(subscriber.0 & !GROUP);
                        let members = group.iter().flat_map(|group| group.members.iter());
                        members.for_each(|member| ask(member.slot));
                    }
                }
            }
        });
        on
    }

    /// A question about a client has been answered.
    pub(crate) fn handle_answered(&mut self, client_identifier: &str) {
        let Some(slot) = self.sessions.find(client_identifier) else { return };
        self.retry(Some(slot));
    }

    /// Everybody looks again who has waited for a while.
    pub(crate) fn retry_waiting(&mut self) {
        if self.waiting.retry_at <= self.dispatch.now {
            self.waiting.retry_at = Time::NEVER;
            self.retry(None);
        }
    }

    /// Those who wait on a session, or all, give their packets again.
    fn retry(&mut self, on: Option<u32>) {
        let mut list = self.waiting.list.edit();
        let concerned = |waiter: &mut Waiter| on.is_none_or(|on| on == waiter.on);
        let waiters: Vec<Waiter> = list.extract_if(.., concerned).collect();
        if list.is_empty() {
            *list = Vec::new();
        }
        drop(list);
        for waiter in waiters {
            self.wake_replay(waiter.slot);
            let Some(session) = self.sessions.get_mut(waiter.slot) else { continue };
            let Some(link) = session.link else { continue };
            if session.epoch == waiter.epoch && core::mem::take(&mut session.flags.waiting) {
                session.seen_at = self.dispatch.now;
                if let Some(outbox) = self.dispatch.outboxes.get_mut(link.shard()) {
                    outbox.retry(link);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
