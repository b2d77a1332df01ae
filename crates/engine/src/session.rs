//! One client's session, connected or not.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;

use hashbrown::HashTable;
use plimsoll_ledger::{Account, Boxed, Charged, Ledger, Measure, Snapshot, usable_size};
use plimsoll_mqtt::{QoS, ReasonCode, Version};

use crate::access::Who;
use crate::budgets::Counted;
use crate::flow::{Flow, Origin, OriginKind};
use crate::input::Link;
use crate::replay::Replay;
use crate::subscriptions::FilterKey;
use crate::time::Time;

/// State of a session. A connected session that only receives QoS 0 owns nothing but its name and
/// its list of filters; everything rarer is boxed when it is first needed.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) client_identifier: Box<str>,
    pub(crate) username: Option<Box<str>>,
    /// Its network connection, if it is connected.
    pub(crate) link: Option<Link>,
    /// Its slot in the table of sessions.
    pub(crate) slot: u32,
    /// What it is called in the store; 0 for a session that is not stored.
    pub(crate) number: u64,
    /// Position of the last record that something sent to it depends on.
    pub(crate) promised: u64,
    /// Things for it that wait for the store.
    pub(crate) held: u32,
    /// Number of its present or last connection, unique in the life of the engine.
    pub(crate) epoch: u32,
    pub(crate) version: Version,
    pub(crate) listener: u16,
    pub(crate) flags: Flags,
    /// Seconds; in force, so already lowered to the broker's maximum. 0 is off.
    pub(crate) keep_alive: u16,
    /// Largest number of QoS 1 and 2 messages in flight to it.
    pub(crate) window: u16,
    /// Topic Alias Maximum towards it.
    pub(crate) topic_alias_max: u16,
    /// Maximum Packet Size of the client.
    pub(crate) packet_size_max: u32,
    /// Session Expiry Interval, seconds; `u32::MAX` is never.
    pub(crate) expiry_interval: u32,
    /// Bytes sent and not yet taken by the network.
    pub(crate) unflushed: u32,
    /// Publishes of this connection whose acknowledgement has been sent: the number of the first
    /// of [`Rare::acknowledgements`].
    pub(crate) acknowledged: u32,
    /// Budgets that it counts to.
    pub(crate) counted: Counted,
    /// Messages dropped for it by a limit.
    pub(crate) dropped: u64,
    /// When it was last heard of.
    pub(crate) seen_at: Time,
    /// When it last took something: acknowledged a message, or its output went out.
    pub(crate) progress_at: Time,
    /// When its connection was lost.
    pub(crate) lost_at: Time,
    /// Filters it subscribes to, sorted.
    pub(crate) subscriptions: Charged<Vec<Held>>,
    pub(crate) will: Option<Boxed<Will>>,
    pub(crate) flow: Option<Boxed<Flow>>,
    pub(crate) rare: Option<Boxed<Rare>>,
}

/// Yes-or-no facts of a session.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Flags {
    /// A bridge (bit 7 of the protocol level): in 3.x its subscriptions retain as published, and
    /// are not sent its own messages.
    pub(crate) bridge: bool,
    /// It was held up longer than `slow_consumer_timeout`.
    pub(crate) stalled: bool,
    /// Its connection is not read from at present.
    pub(crate) paused: bool,
    /// Nor is it for a moment, since memory is short.
    pub(crate) slowed: bool,
    /// An acknowledgement is held back for it by a queue whose budget is short.
    pub(crate) pressed: bool,
    /// Its CONNACK waits for the store, and so does everything behind it.
    pub(crate) greeting: bool,
    /// It will be told when its QoS 2 messages are on disk.
    pub(crate) awaits_durable: bool,
    /// It stands in the list of sessions whose replay can go on.
    pub(crate) replaying: bool,
    /// Its last packet was put back and waits for an answer of the rules.
    pub(crate) waiting: bool,
    /// It comes from the store, and its client has not been back yet.
    pub(crate) restored: bool,
}

/// What only some sessions need.
#[derive(Debug)]
pub(crate) struct Rare {
    /// Packet identifiers of QoS 2 messages received and not yet released.
    pub(crate) received: Charged<Identifiers>,
    /// How many of `received`, at most, came on earlier connections: Receive Maximum counts anew
    /// on each one (MQTT 5.0, 4.9).
    pub(crate) received_earlier: u16,
    /// Acknowledgements that wait for room in a queue, in the order of their publishes.
    pub(crate) acknowledgements: Charged<VecDeque<Acknowledgement>>,
    /// How many of `acknowledgements` are PUBACKs.
    pub(crate) held_qos1: u16,
    /// Topics that the client gave an alias on this connection, by alias - 1.
    pub(crate) aliases_in: Charged<Aliases>,
    /// Topics that this broker gave an alias on this connection, by alias - 1.
    pub(crate) aliases_out: Charged<Aliases>,
    /// Retained messages still to be sent for new subscriptions.
    pub(crate) replays: Charged<VecDeque<Boxed<Replay>>>,
    /// Sets of subscription identifiers that deliveries refer to.
    pub(crate) identifier_lists: Charged<IdentifierLists>,
}

/// A subscription that a session holds: a filter of the index, or membership of a shared group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Held(u32);

/// The top bit of a subscriber or held subscription says that the rest is the number of a group.
pub(crate) const GROUP: u32 = 1 << 31;

impl Held {
    pub(crate) fn filter(key: FilterKey) -> Self {
        Self(key.0)
    }

    pub(crate) fn group(number: u32) -> Self {
        Self(number | GROUP)
    }

    /// The group's number, or the filter's key.
    pub(crate) fn resolve(self) -> Result<u32, FilterKey> {
        if self.0 & GROUP != 0 { Ok(self.0 & !GROUP) } else { Err(FilterKey(self.0)) }
    }
}

impl Rare {
    pub(crate) fn new(ledger: &'static Ledger) -> Self {
        Self {
            received: ledger.own(Account::Inflight, Identifiers::default()),
            received_earlier: 0,
            acknowledgements: ledger.own(Account::Inflight, VecDeque::new()),
            held_qos1: 0,
            aliases_in: ledger.own(Account::Connections, Aliases::default()),
            aliases_out: ledger.own(Account::Connections, Aliases::default()),
            replays: ledger.own(Account::Sessions, VecDeque::new()),
            identifier_lists: ledger.own(Account::Sessions, IdentifierLists::default()),
        }
    }

    fn recount(&self, into: &mut Snapshot) {
        into.add(
            Account::Inflight,
            self.received.heap_bytes() + self.acknowledgements.heap_bytes(),
        );
        into.add(Account::Connections, self.aliases_in.recount() + self.aliases_out.recount());
        into.add(
            Account::Sessions,
            Boxed::<Self>::BLOCK_BYTES
                + self.replays.heap_bytes()
                + self.identifier_lists.recount(),
        );
        for replay in self.replays.iter() {
            into.add(Account::Sessions, Boxed::<Replay>::BLOCK_BYTES + replay.recount());
        }
    }

    /// Bytes charged for its parts, beside its own block.
    pub(crate) fn parts_charged(&self) -> usize {
        let replays = self.replays.iter().map(|replay| replay.charged() + replay.cursor_charged());
        self.received.charged()
            + self.acknowledgements.charged()
            + self.aliases_in.charged()
            + self.aliases_out.charged()
            + self.replays.charged()
            + self.identifier_lists.charged()
            + replays.sum::<usize>()
    }

    /// The identifier of a QoS 2 message may be used again. Answers whether it was known.
    pub(crate) fn release(&mut self, packet_identifier: u16) -> bool {
        let known = self.received.edit().remove(packet_identifier);
        self.received_earlier = self.received_earlier.min(self.received.len() as u16);
        known
    }

    /// Publishes received on this connection that are not acknowledged to the end.
    pub(crate) fn unacknowledged(&self) -> usize {
        self.received.len() - usize::from(self.received_earlier) + usize::from(self.held_qos1)
    }

    /// Forgets what belongs to a connection.
    pub(crate) fn connection_lost(&mut self) {
        self.received_earlier = self.received.len() as u16;
        *self.acknowledgements.edit() = VecDeque::new();
        self.held_qos1 = 0;
        *self.aliases_in.edit() = Aliases::default();
        *self.aliases_out.edit() = Aliases::default();
        *self.replays.edit() = VecDeque::new();
    }

    /// Whether nothing is left in it.
    pub(crate) fn is_empty(&self) -> bool {
        self.received.len() == 0
            && self.acknowledgements.is_empty()
            && self.aliases_in.len() == 0
            && self.aliases_out.len() == 0
            && self.replays.is_empty()
            && self.identifier_lists.is_empty()
    }
}

/// An acknowledgement of a received PUBLISH that cannot leave yet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Acknowledgement {
    pub(crate) packet_identifier: u16,
    pub(crate) qos: QoS,
    pub(crate) reason: ReasonCode,
    /// Queues that it waits for.
    pub(crate) holds: u16,
}

/// Topics by alias. Strings are charged with the table.
#[derive(Debug, Default)]
pub(crate) struct Aliases {
    topics: Vec<Option<Box<str>>>,
    bytes: usize,
}

impl Aliases {
    /// The topic of `alias`.
    pub(crate) fn topic(&self, alias: u16) -> Option<&str> {
        self.topics.get(usize::from(alias).checked_sub(1)?)?.as_deref()
    }

    /// The alias of `topic`.
    pub(crate) fn alias(&self, topic: &[u8]) -> Option<u16> {
        let fits = |known: &Option<Box<str>>| {
            known.as_ref().is_some_and(|known| known.as_bytes() == topic)
        };
        self.topics.iter().position(fits).map(|at| at as u16 + 1)
    }

    pub(crate) fn len(&self) -> u16 {
        self.topics.len() as u16
    }

    /// Sets what `alias` (1 or more, and within the limit) stands for.
    pub(crate) fn set(&mut self, alias: u16, topic: &str) {
        let Some(at) = usize::from(alias).checked_sub(1) else { return };
        if self.topics.len() <= at {
            self.topics.resize(at + 1, None);
        }
        if let Some(entry) = self.topics.get_mut(at) {
            self.bytes += usable_size(topic.len(), 1);
            let old = entry.replace(Box::from(topic));
            self.bytes -= old.map_or(0, |old| old.heap_bytes());
        }
    }

    /// The same as [`Measure::heap_bytes`], by walking.
    pub(crate) fn recount(&self) -> usize {
        self.topics.heap_bytes() + self.topics.iter().map(Measure::heap_bytes).sum::<usize>()
    }
}

impl Measure for Aliases {
    fn heap_bytes(&self) -> usize {
        self.topics.heap_bytes() + self.bytes
    }
}

/// A set of packet identifiers.
#[derive(Debug, Default)]
pub(crate) struct Identifiers(HashTable<u16>);

/// Fibonacci hashing: identifiers come in runs, and a peer gains nothing from collisions among
/// at most 65,535 of them.
fn spread(identifier: u16) -> u64 {
    u64::from(identifier).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

impl Identifiers {
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = u16> + '_ {
        self.0.iter().copied()
    }

    pub(crate) fn contains(&self, identifier: u16) -> bool {
        self.0.find(spread(identifier), |&other| other == identifier).is_some()
    }

    /// Answers whether it is new.
    pub(crate) fn insert(&mut self, identifier: u16) -> bool {
        let new = !self.contains(identifier);
        if new {
            self.0.insert_unique(spread(identifier), identifier, |&other| spread(other));
        }
        new
    }

    pub(crate) fn remove(&mut self, identifier: u16) -> bool {
        let found = self.0.find_entry(spread(identifier), |&other| other == identifier);
        let removed = found.is_ok();
        if let Ok(entry) = found {
            entry.remove();
        }
        if self.0.is_empty() && self.0.capacity() > 64 {
            self.0 = HashTable::new();
        }
        removed
    }
}

impl Measure for Identifiers {
    fn heap_bytes(&self) -> usize {
        usable_size(self.0.allocation_size(), 16)
    }
}

/// Interned sets of subscription identifiers: a client with overlapping subscriptions has few.
#[derive(Debug, Default)]
pub(crate) struct IdentifierLists {
    lists: Vec<Box<[u32]>>,
    bytes: usize,
}

impl IdentifierLists {
    /// Sets kept at most; beyond that the session makes do with the first identifier.
    const MAX: usize = 4096;

    pub(crate) fn is_empty(&self) -> bool {
        self.lists.is_empty()
    }

    pub(crate) fn list(&self, index: u32) -> &[u32] {
        self.lists.get(index as usize).map(AsRef::as_ref).unwrap_or_default()
    }

    pub(crate) fn intern(&mut self, identifiers: &[u32]) -> Option<u32> {
        if let Some(at) = self.lists.iter().position(|list| **list == *identifiers) {
            return Some(at as u32);
        }
        if self.lists.len() >= Self::MAX {
            return None;
        }
        let list: Box<[u32]> = Box::from(identifiers);
        self.bytes += list.heap_bytes();
        self.lists.push(list);
        Some(self.lists.len() as u32 - 1)
    }

    pub(crate) fn recount(&self) -> usize {
        self.lists.heap_bytes() + self.lists.iter().map(Measure::heap_bytes).sum::<usize>()
    }
}

impl Measure for IdentifierLists {
    fn heap_bytes(&self) -> usize {
        self.lists.heap_bytes() + self.bytes
    }
}

/// A Will Message with what it needs to be published later.
#[derive(Debug)]
pub(crate) struct Will {
    pub(crate) topic: Box<str>,
    pub(crate) payload: Box<[u8]>,
    /// Properties to forward, encoded.
    pub(crate) properties: Box<[u8]>,
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
    /// Will Delay Interval, seconds.
    pub(crate) delay: u32,
    /// Message Expiry Interval, seconds from publication.
    pub(crate) message_expiry: Option<u32>,
}

impl Will {
    /// Bytes of its parts on the heap.
    pub(crate) fn parts_bytes(&self) -> usize {
        self.topic.heap_bytes() + self.payload.heap_bytes() + self.properties.heap_bytes()
    }
}

impl Session {
    /// Its client, as rules see it.
    pub(crate) fn who(&self) -> Who<'_> {
        Who {
            client_identifier: &self.client_identifier,
            username: self.username.as_deref(),
            listener: if self.flags.restored { Who::NO_LISTENER } else { self.listener },
        }
    }

    /// A session that has not been connected yet.
    pub(crate) fn new(
        ledger: &'static Ledger,
        client_identifier: &str,
        username: Option<&str>,
        version: Version,
    ) -> Self {
        Self {
            client_identifier: Box::from(client_identifier),
            username: username.map(Box::from),
            link: None,
            slot: 0,
            number: 0,
            promised: 0,
            held: 0,
            epoch: 0,
            version,
            listener: 0,
            flags: Flags::default(),
            keep_alive: 0,
            window: u16::MAX,
            topic_alias_max: 0,
            packet_size_max: u32::MAX,
            expiry_interval: 0,
            unflushed: 0,
            acknowledged: 0,
            counted: Counted::NOWHERE,
            dropped: 0,
            seen_at: Time::default(),
            progress_at: Time::default(),
            lost_at: Time::NEVER,
            subscriptions: ledger.own(Account::Subscriptions, Vec::new()),
            will: None,
            flow: None,
            rare: None,
        }
    }

    /// What stands for several subscription identifiers in a delivery.
    pub(crate) fn origin(&mut self, identifiers: &[u32], ledger: &'static Ledger) -> Origin {
        let first = identifiers.first().copied().unwrap_or(0);
        if identifiers.len() > 1 {
            let lists = &mut crate::dispatch::rare(self, ledger).identifier_lists;
            if let Some(index) = lists.edit().intern(identifiers) {
                return Origin::list(index);
            }
        }
        Origin::identifier(first)
    }

    /// Subscription identifiers that an origin stands for, those of shared subscriptions aside.
    pub(crate) fn identifiers(&self, origin: Origin) -> Vec<u32> {
        match (origin.resolve(), &self.rare) {
            (OriginKind::List(index), Some(rare)) => rare.identifier_lists.list(index).to_vec(),
            (OriginKind::Identifier(identifier), _) if identifier != 0 => {
                alloc::vec![identifier]
            }
            _ => Vec::new(),
        }
    }

    /// Number on this connection of the next acknowledgement owed to it.
    pub(crate) fn next_ordinal(&self) -> u32 {
        let held = self.rare.as_ref().map_or(0, |rare| rare.acknowledgements.len());
        self.acknowledged.wrapping_add(held as u32)
    }

    /// Walks what it holds beside its own box and fixed parts; messages are counted elsewhere,
    /// since sessions share them.
    pub(crate) fn recount(&self, into: &mut Snapshot) {
        into.add(Account::Subscriptions, self.subscriptions.heap_bytes());
        if let Some(will) = &self.will {
            into.add(Account::Wills, Boxed::<Will>::BLOCK_BYTES + will.parts_bytes());
        }
        if let Some(flow) = &self.flow {
            let (queue, inflight) = flow.recount();
            into.add(Account::Queues, queue);
            into.add(Account::Inflight, Boxed::<Flow>::BLOCK_BYTES + inflight);
        }
        if let Some(rare) = &self.rare {
            rare.recount(into);
        }
    }

    /// Bytes of its fixed parts: what is charged to its box beside the box itself.
    pub(crate) fn fixed_bytes(client_identifier: &str, username: Option<&str>) -> usize {
        usable_size(client_identifier.len(), 1)
            + username.map_or(0, |username| usable_size(username.len(), 1))
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.link.is_some()
    }

    /// Whether anything may be sent to it: it is connected, and its CONNACK has left.
    pub(crate) fn is_open(&self) -> bool {
        self.is_connected() && !self.flags.greeting
    }

    /// When its life ends, now that it is not connected.
    pub(crate) fn expires_at(&self) -> Time {
        match self.expiry_interval {
            u32::MAX => Time::NEVER,
            secs => self.lost_at.plus_secs(u64::from(secs)),
        }
    }

    /// When its will is due, now that it is not connected (MQTT-3.1.3-9).
    pub(crate) fn will_due_at(&self) -> Time {
        self.will.as_ref().map_or(Time::NEVER, |will| {
            self.lost_at.plus_secs(u64::from(will.delay)).min(self.expires_at())
        })
    }

    /// When it will be taken for dead (MQTT-3.1.2-22): one and a half times the keep alive.
    pub(crate) fn silent_at(&self) -> Time {
        match self.keep_alive {
            0 => Time::NEVER,
            secs => self.seen_at.plus_millis(u64::from(secs) * 1500),
        }
    }
}
