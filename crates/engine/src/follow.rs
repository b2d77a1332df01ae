//! Publishes whose way is followed, because somebody asked: what becomes of each, step by step.
//!
//! Nothing is followed unless [`Engine::follow`] says so, and then only so many publishes. Each gets a
//! number; what happens to it leaves as [`Event::Traced`], in the outbox of the connection that it
//! concerns. The engine has no clock: whoever drains the outbox knows when that was.

#[cfg(test)]
mod tests;

use alloc::boxed::Box;
use alloc::vec::Vec;

use plimsoll_ledger::{Account, Boxed, Charged, Ledger, Measure, usable_size};
use plimsoll_mqtt::{Publish, QoS, ReasonCode, topic};

use crate::dispatch::{Dispatch, Outgoing};
use crate::durable::What;
use crate::engine::Engine;
use crate::event::{Event, Limit};
use crate::input::Link;
use crate::session::Session;

/// Publishes that are followed at once, at most.
pub const FOLLOWED_MAX: u32 = 1000;

/// Sessions whose part in one publish is told; of more only the number is.
pub const FOLLOWED_SESSIONS_MAX: u32 = 32;

/// The user property that carries a trace over MQTT 5.0 (W3C Trace Context; its MQTT binding).
const PARENT: &str = "traceparent";

/// Longest `traceparent` that is told; version 00 has 55 characters.
const PARENT_BYTES_MAX: usize = 128;

/// Which publishes are to be followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Follow {
    /// Those on topics that this filter matches, as rules see topics: with mount points.
    pub filter: Box<str>,
    /// So many of them, [`FOLLOWED_MAX`] at most.
    pub publishes: u32,
    /// The number of the first; 1 or more.
    pub first: u32,
}

/// Something has happened to a publish that is followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Traced {
    /// Which one.
    pub number: u32,
    /// What.
    pub stage: Stage,
}

/// What has happened to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It came in.
    Received(Received),
    /// It went nowhere, and its publisher is not told (QoS 0), or is disconnected.
    Refused {
        /// Why, if that has a reason code.
        reason: Option<ReasonCode>,
    },
    /// Everybody it is for has been found, and has it in flight or in a queue.
    Routed {
        /// Sessions that have taken it.
        sessions: u32,
        /// Sessions that it was dropped for.
        missed: u32,
        /// Full queues that its acknowledgement waits for.
        holds: u16,
    },
    /// It is on its way to a client: its frame lies in this outbox.
    Sent {
        /// Client identifier.
        client: Box<str>,
        /// At this QoS.
        qos: QoS,
    },
    /// It waits in a session's queue.
    Queued {
        /// Client identifier.
        client: Box<str>,
        /// At this QoS.
        qos: QoS,
        /// It is followed out of the queue: the client is connected. For as long as it is.
        followed: bool,
    },
    /// A limit kept it from a session.
    Dropped {
        /// Client identifier.
        client: Box<str>,
        /// Which limit.
        limit: Limit,
    },
    /// A client has answered: its PUBACK or PUBREC came.
    Confirmed {
        /// Client identifier.
        client: Box<str>,
    },
    /// Its publisher's PUBACK or PUBREC lies in this outbox.
    Acknowledged {
        /// What that says.
        reason: ReasonCode,
        /// It has waited until the store had everything up to here ([`Input::Stored`](crate::Input::Stored));
        /// 0: it did not have to.
        stored: u64,
    },
}

/// A publish as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// Its publisher's client identifier.
    pub client: Box<str>,
    /// The topic, as rules see it.
    pub topic: Box<str>,
    /// QoS.
    pub qos: QoS,
    /// Whether it is to be retained.
    pub retain: bool,
    /// Bytes of payload.
    pub payload_bytes: u32,
    /// The trace that it is a part of, as the publisher said it in a user property; not checked.
    pub parent: Option<Box<str>>,
}

/// What is followed at present.
#[derive(Debug)]
pub(crate) struct Following {
    filter: Box<str>,
    left: u32,
    next: u32,
    /// What is still to come, by connection and the number that it has there.
    acknowledgements: Charged<Vec<Awaited>>,
    deliveries: Charged<Vec<Awaited>>,
}

/// The connection's epoch, its ordinal or sequence, and the publish; sorted.
type Awaited = (u32, u64, u32);

impl Following {
    fn new(follow: Follow, ledger: &'static Ledger) -> Boxed<Self> {
        let bytes = follow.filter.heap_bytes();
        let following = Self {
            filter: follow.filter,
            left: follow.publishes.min(FOLLOWED_MAX),
            next: follow.first.max(1),
            acknowledgements: ledger.own(Account::Tools, Vec::new()),
            deliveries: ledger.own(Account::Tools, Vec::new()),
        };
        Boxed::new(ledger, Account::Tools, following, bytes)
    }

    /// What it holds, block included.
    pub(crate) fn recount(&self) -> usize {
        Boxed::<Self>::BLOCK_BYTES
            + usable_size(self.filter.len(), 1)
            + self.acknowledgements.heap_bytes()
            + self.deliveries.heap_bytes()
    }
}

fn await_one(list: &mut Charged<Vec<Awaited>>, epoch: u32, at: u64, number: u32) {
    let place = list.partition_point(|&(e, a, _)| (e, a) < (epoch, at));
    list.edit().insert(place, (epoch, at, number));
}

fn find(list: &[Awaited], epoch: u32, at: u64) -> Option<usize> {
    list.binary_search_by_key(&(epoch, at), |&(epoch, at, _)| (epoch, at)).ok()
}

impl Engine {
    /// Follows publishes from now on, in place of those that were followed before; `None`: none.
    pub fn follow(&mut self, follow: Option<Follow>) {
        let ledger = self.ledger();
        self.dispatch.following = follow.map(|follow| Following::new(follow, ledger));
    }
}

impl Dispatch {
    /// Whether publishes on a topic are to be followed.
    pub(crate) fn follows(&self, name: &str) -> bool {
        self.following
            .as_ref()
            .is_some_and(|following| following.left > 0 && topic::matches(&following.filter, name))
    }

    /// A publish came in, on a topic that is followed or not. Answers its number; 0 if that is not, or enough
    /// are followed.
    pub(crate) fn begin_following(
        &mut self,
        followed: bool,
        session: &Session,
        topic: &str,
        publish: &Publish<'_>,
    ) -> u32 {
        let Some(following) = self.following.as_mut().filter(|_| followed) else { return 0 };
        let Some(left) = following.left.checked_sub(1) else { return 0 };
        let number = following.next;
        (following.left, following.next) = (left, number.wrapping_add(1).max(1));
        let parent = publish.properties.user_properties().find(|(name, _)| *name == PARENT);
        let parent = parent.map(|(_, value)| value).filter(|value| value.len() <= PARENT_BYTES_MAX);
        let received = Received {
            client: session.client_identifier.clone(),
            topic: Box::from(topic),
            qos: publish.qos,
            retain: publish.retain,
            payload_bytes: publish.payload.len() as u32,
            parent: parent.map(Box::from),
        };
        self.traced(session.link, number, Stage::Received(received));
        number
    }

    /// Something has happened to a publish; 0 is one that is not followed.
    pub(crate) fn traced(&mut self, link: Option<Link>, number: u32, stage: Stage) {
        if number != 0 {
            self.event(link, Event::Traced(Box::new(Traced { number, stage })));
        }
    }

    /// A publish goes nowhere.
    pub(crate) fn follow_refused(&mut self, link: Link, number: u32, reason: Option<ReasonCode>) {
        self.traced(Some(link), number, Stage::Refused { reason });
    }

    /// Where the messages of a run went.
    pub(crate) fn follow_routed(&mut self, link: Link, run: &[Outgoing<'_>]) {
        if self.following.is_none() {
            return;
        }
        for outgoing in run {
            let (sessions, missed, holds) = (outgoing.taken, outgoing.refused, outgoing.holds);
            let stage = Stage::Routed { sessions, missed, holds };
            self.traced(Some(link), outgoing.number, stage);
        }
    }

    /// A session has a message in flight, or it waits there: what follows is told too.
    pub(crate) fn follow_taken(
        &mut self,
        session: &Session,
        outgoing: &Outgoing<'_>,
        qos: QoS,
        sequence: u64,
        sent: bool,
    ) {
        if outgoing.number == 0 || outgoing.taken > FOLLOWED_SESSIONS_MAX {
            return;
        }
        let client = session.client_identifier.clone();
        let followed = session.is_connected() && sequence > 0;
        let stage = match sent {
            true => Stage::Sent { client, qos },
            false => Stage::Queued { client, qos, followed },
        };
        self.traced(session.link, outgoing.number, stage);
        if let (Some(following), true) = (self.following.as_mut(), followed) {
            await_one(&mut following.deliveries, session.epoch, sequence, outgoing.number);
        }
    }

    /// A message did not get into a session.
    pub(crate) fn follow_dropped(
        &mut self,
        session: &Session,
        outgoing: &Outgoing<'_>,
        limit: Limit,
    ) {
        if outgoing.number != 0 && outgoing.refused <= FOLLOWED_SESSIONS_MAX {
            let client = session.client_identifier.clone();
            self.traced(session.link, outgoing.number, Stage::Dropped { client, limit });
        }
    }

    /// A message that waited leaves for its client.
    pub(crate) fn follow_sent(&mut self, session: &Session, sequence: u64, qos: QoS) {
        let Some(following) = self.following.as_ref() else { return };
        if let Some(at) = find(&following.deliveries, session.epoch, sequence)
            && let Some(&(_, _, number)) = following.deliveries.get(at)
        {
            let client = session.client_identifier.clone();
            self.traced(session.link, number, Stage::Sent { client, qos });
        }
    }

    /// A client has acknowledged a message.
    pub(crate) fn follow_confirmed(&mut self, session: &Session, sequence: u64) {
        let Some(following) = self.following.as_mut() else { return };
        if let Some(at) = find(&following.deliveries, session.epoch, sequence) {
            let (_, _, number) = following.deliveries.edit().remove(at);
            let client = session.client_identifier.clone();
            self.traced(session.link, number, Stage::Confirmed { client });
        }
    }

    /// The acknowledgement of a publish will have this place among those of its connection.
    pub(crate) fn follow_acknowledgement(&mut self, session: &Session, ordinal: u32, number: u32) {
        if let (Some(following), 1..) = (self.following.as_mut(), number) {
            await_one(&mut following.acknowledgements, session.epoch, ordinal.into(), number);
        }
    }

    /// The acknowledgement with this place has been given to [`Dispatch::promise`], which may hold it back.
    pub(crate) fn follow_acknowledged(
        &mut self,
        session: &mut Session,
        ordinal: u32,
        reason: ReasonCode,
    ) {
        let Some(following) = self.following.as_mut() else { return };
        let Some(at) = find(&following.acknowledgements, session.epoch, ordinal.into()) else {
            return;
        };
        let (_, _, number) = following.acknowledgements.edit().remove(at);
        if session.held > 0 {
            self.hold(session, What::Traced { number, reason }, &[]);
        } else {
            self.traced(session.link, number, Stage::Acknowledged { reason, stored: 0 });
        }
    }
}
