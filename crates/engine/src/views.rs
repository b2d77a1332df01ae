//! Looks into the state from outside: paged, and bounded in what one call does.
//!
//! Each look goes on where the one before it ended, whatever has changed in between: what is there
//! the whole time is seen exactly once. Whoever looks says how far one call may go, and lets others
//! have the engine between two of them.

use core::ops::ControlFlow;

use plimsoll_mqtt::{QoS, Version};

use crate::access::Who;
use crate::counters::Counters;
use crate::engine::Engine;
use crate::input::Link;
use crate::retained::{RetainedMessage, Scan, ScanCursor, Stop};
use crate::session::{GROUP, Held, Session};
use crate::subscriptions::{Entry, SubscriptionOptions};
use crate::time::Time;

/// A client's session, as operators see it.
#[derive(Clone, Copy, Debug)]
pub struct ClientView<'a> {
    /// Client identifier, user name and listener.
    pub who: Who<'a>,
    /// Its network connection, if it is connected.
    pub link: Option<Link>,
    /// Of its present or last connection.
    pub version: Version,
    /// Seconds; 0 is off.
    pub keep_alive: u16,
    /// Seconds that the session outlives its connection; `u32::MAX` is for ever.
    pub expiry_interval: u32,
    /// Subscriptions, shared ones too.
    pub subscriptions: usize,
    /// Messages that wait for it.
    pub queued: usize,
    /// Messages in flight to it.
    pub inflight: usize,
    /// Bytes sent to it that the network has not taken.
    pub unsent_bytes: u32,
    /// Messages that a limit dropped for it.
    pub dropped: u64,
    /// Whether it leaves a will.
    pub will: bool,
    /// When it was last heard of.
    pub seen_at: Time,
    /// When its connection was lost; [`Time::NEVER`] while it is connected or has never been.
    pub lost_at: Time,
    /// When its life ends if it does not come back; [`Time::NEVER`] while it is connected.
    pub expires_at: Time,
}

impl<'a> ClientView<'a> {
    fn of(session: &'a Session) -> Self {
        let connected = session.is_connected();
        let flow = session.flow.as_ref();
        Self {
            who: session.who(),
            link: session.link,
            version: session.version,
            keep_alive: session.keep_alive,
            expiry_interval: session.expiry_interval,
            subscriptions: session.subscriptions.len(),
            queued: flow.map_or(0, |flow| flow.queue_len()),
            inflight: flow.map_or(0, |flow| flow.inflight_len()),
            unsent_bytes: session.unflushed,
            dropped: session.dropped,
            will: session.will.is_some(),
            seen_at: session.seen_at,
            lost_at: if connected { Time::NEVER } else { session.lost_at },
            expires_at: if connected { Time::NEVER } else { session.expires_at() },
        }
    }
}

/// One subscription of one client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubscriptionView<'a> {
    /// Whose it is.
    pub client_identifier: &'a str,
    /// The whole filter, with `$share/NAME/` if it is shared.
    pub filter: &'a str,
    /// Granted QoS.
    pub qos: QoS,
    /// The client's own messages do not come back to it.
    pub no_local: bool,
    /// The RETAIN flag is that of the publisher.
    pub retain_as_published: bool,
    /// Subscription Identifier; 0 is none.
    pub identifier: u32,
}

impl<'a> SubscriptionView<'a> {
    fn new(client_identifier: &'a str, filter: &'a str, options: SubscriptionOptions) -> Self {
        Self {
            client_identifier,
            filter,
            qos: options.qos(),
            no_local: options.no_local(),
            retain_as_published: options.retain_as_published(),
            identifier: options.identifier(),
        }
    }
}

/// A filter and who subscribes to it.
#[derive(Clone, Copy, Debug)]
pub struct FilterView<'a> {
    engine: &'a Engine,
    /// The filter, without `$share/NAME/`.
    pub filter: &'a str,
    entries: &'a [Entry],
}

impl FilterView<'_> {
    /// Subscribers; a shared group counts as one.
    pub fn subscribers(&self) -> usize {
        self.entries.len()
    }

    /// Its first `most` subscriptions, those of a group's members each.
    pub fn each(&self, most: usize, mut visit: impl FnMut(SubscriptionView<'_>)) {
        let mut left = most;
        for (subscriber, options) in self.entries {
            if left == 0 {
                return;
            }
            if subscriber.0 & GROUP == 0 {
                if let Some(session) = self.engine.sessions.get(subscriber.0) {
                    let client = &session.client_identifier;
                    visit(SubscriptionView::new(client, self.filter, *options));
                    left -= 1;
                }
                continue;
            }
            let Some(group) = self.engine.groups.get(subscriber.0 & !GROUP) else { continue };
            for member in group.members.iter().take(left) {
                if let Some(session) = self.engine.sessions.get(member.slot) {
                    let client = &session.client_identifier;
                    visit(SubscriptionView::new(client, &group.filter, member.options));
                    left -= 1;
                }
            }
        }
    }
}

impl Engine {
    /// Calls `visit` with sessions, from place `from` on (0 is the first), until it breaks or
    /// `steps_max` places have been looked at. Answers where to go on; `None` is the end.
    pub fn clients(
        &self,
        from: u32,
        steps_max: u32,
        mut visit: impl FnMut(ClientView<'_>) -> ControlFlow<()>,
    ) -> Option<u32> {
        let end = self.sessions.places();
        let stop = from.saturating_add(steps_max).min(end);
        for slot in from..stop {
            let Some(session) = self.sessions.get(slot) else { continue };
            if visit(ClientView::of(session)).is_break() {
                return (slot + 1 < end).then_some(slot + 1);
            }
        }
        (stop < end).then_some(stop)
    }

    /// One client's session.
    pub fn client(&self, client_identifier: &str) -> Option<ClientView<'_>> {
        let slot = self.sessions.find(client_identifier)?;
        self.sessions.get(slot).map(ClientView::of)
    }

    /// Calls `visit` with the subscriptions of a client, from number `from` on, `most` of them at
    /// most, until it answers no. Answers where to go on; `None` is the end.
    pub fn subscriptions_of(
        &self,
        client_identifier: &str,
        from: usize,
        most: usize,
        mut visit: impl FnMut(SubscriptionView<'_>) -> bool,
    ) -> Option<usize> {
        let slot = self.sessions.find(client_identifier)?;
        let session = self.sessions.get(slot)?;
        let mut next = from;
        for held in session.subscriptions.iter().skip(from).take(most) {
            next += 1;
            if self.subscription(session, *held).is_some_and(|view| !visit(view)) {
                break;
            }
        }
        (next < session.subscriptions.len()).then_some(next)
    }

    fn subscription<'a>(
        &'a self,
        session: &'a Session,
        held: Held,
    ) -> Option<SubscriptionView<'a>> {
        let client = &session.client_identifier;
        match held.resolve() {
            Ok(group) => {
                let group = self.groups.get(group)?;
                let member = group.member(session.slot)?;
                Some(SubscriptionView::new(client, &group.filter, member.options))
            }
            Err(key) => {
                let filter = self.subscriptions.filter(key)?;
                let subscriber = crate::subscriptions::Subscriber(session.slot);
                let options = self.subscriptions.options(key, subscriber)?;
                Some(SubscriptionView::new(client, filter, options))
            }
        }
    }

    /// Calls `visit` with filters, from place `from` on (0 is the first), until it breaks or
    /// `steps_max` places have been looked at. Answers where to go on; `None` is the end.
    pub fn filters(
        &self,
        from: u32,
        steps_max: u32,
        mut visit: impl FnMut(FilterView<'_>) -> ControlFlow<()>,
    ) -> Option<u32> {
        self.subscriptions.page(from, steps_max, |filter, entries| {
            visit(FilterView { engine: self, filter, entries })
        })
    }

    /// How many filters there are.
    pub fn filters_len(&self) -> usize {
        self.subscriptions.filters_len()
    }

    /// Calls `visit` with retained messages whose topics match `filter`, in order, from where `cursor`
    /// stands on, until it breaks or `steps_max` topics have been looked at.
    pub fn retained_below(
        &self,
        filter: &str,
        cursor: &mut ScanCursor,
        steps_max: usize,
        visit: impl FnMut(&str, RetainedMessage<'_>) -> ControlFlow<Stop>,
    ) -> Scan {
        self.retained.scan(filter, cursor, steps_max, visit)
    }

    /// The retained message of a topic.
    pub fn retained_message(&self, topic: &str) -> Option<RetainedMessage<'_>> {
        self.retained.get(topic)
    }

    /// Counts and gauges, all but [`Counters::messages_stored`]: without a walk over sessions.
    pub fn quick_counters(&self) -> Counters {
        let mut counters = self.dispatch.counters.clone();
        counters.clients_total = self.sessions.len() as u64;
        counters.retained = self.retained.len() as u64;
        counters.retained_bytes = self.retained.bytes();
        counters.stored_payload_bytes = self.retained.payload_bytes();
        counters
    }
}

#[cfg(test)]
mod tests;
