//! Who holds memory, who lags behind, who grows, and who was left: a census of all sessions, and one of
//! retained messages by topic, each in bounded pieces.
//!
//! Nothing is kept for it beside what the state has anyway. A census goes over everything once, and
//! keeps the first few of each kind.

use alloc::boxed::Box;
use alloc::vec::Vec;

use plimsoll_ledger::{Account, Boxed, Charged, Ledger, Snapshot};

use crate::engine::Engine;
use crate::session::Session;
use crate::time::Time;

mod backlog;
mod prefixes;
#[cfg(test)]
mod tests;
mod top;

pub use backlog::{BACKLOG_PREFIXES_MAX, BacklogCensus};
pub use prefixes::{GROWTH_PREFIXES_MAX, Prefix, PrefixBytes, PrefixCensus};
pub use top::Top;

/// Places in the lists of a census, at most.
pub const HOLDERS_MAX: usize = 1000;

/// Sessions whose growth is followed, at most: those in the first slots. They take 8 bytes each from one
/// census to the next.
pub const GROWTH_SESSIONS_MAX: usize = 128 * 1024;

/// Sessions and messages looked at in one piece of a census.
const PIECE_STEPS: usize = 2000;

/// Messages of a session that are looked at to see with how many others it shares them.
const SHARES_LOOKED_AT: usize = 32;

/// What a session holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Holding {
    /// All of the following together, without what lies in the store alone.
    pub bytes: usize,
    /// The session itself, with its names and what is rarely needed.
    pub session_bytes: usize,
    /// Its list of subscriptions. What the index has of their filters is shared and not in it.
    pub subscriptions_bytes: usize,
    /// Its tables of messages in flight and waiting.
    pub entries_bytes: usize,
    /// Its share of the messages that it has in flight and waiting: a message that ten sessions hold
    /// counts a tenth for each. Of long queues the share is that of the first 32 messages.
    pub messages_bytes: usize,
    /// Its will.
    pub will_bytes: usize,
    /// Sent to its connection, and not yet taken by the network.
    pub output_bytes: usize,
    /// Messages in flight and waiting, in memory and in the store.
    pub backlog: u64,
    /// Their bytes, undivided.
    pub backlog_bytes: u64,
    /// Those of them that lie in the store alone.
    pub backlog_stored_bytes: u64,
    /// Since when the oldest of them has been there, at least; `None` if there is none, or it was read from the
    /// store after a restart.
    pub backlog_since: Option<Time>,
    /// Subscriptions.
    pub subscriptions: usize,
}

/// A client with what its session holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Client identifier.
    pub client: Box<str>,
    /// User name that it was last connected with.
    pub username: Option<Box<str>>,
    /// Whether it is connected.
    pub connected: bool,
    /// What it holds.
    pub holding: Holding,
    /// How many bytes more or less than at the census before; `None` if it was not in that.
    pub growth: Option<i64>,
    /// When it last took anything, if something waits for it.
    pub progress_at: Time,
    /// When its connection was lost; [`Time::NEVER`] if it has one.
    pub lost_at: Time,
    /// When its session ends if it does not come back; [`Time::NEVER`] if it never does.
    pub expires_at: Time,
}

/// What is asked of a [`Census`].
#[derive(Clone, Copy, Debug)]
pub struct CensusTerms {
    /// Places in each list; [`HOLDERS_MAX`] at most.
    pub most: usize,
    /// Seconds without progress after which a connected client for which something waits is slow.
    pub slow_after: u32,
    /// Seconds without a connection after which a session has been left.
    pub left_after: u32,
}

/// Bytes of each session at the time of a census, by slot.
#[derive(Debug)]
pub struct Bytes {
    /// When that census began.
    pub at: Time,
    /// Who has the slot (a hash of the client identifier), and how much.
    slots: Charged<Vec<(u32, u32)>>,
}

/// A census of all sessions. See [`Engine::census`].
#[derive(Debug)]
pub struct Census {
    terms: CensusTerms,
    next_slot: u32,
    before: Option<Bytes>,
    now: Bytes,
    /// Sessions seen.
    pub sessions: u64,
    /// Bytes that they hold.
    pub bytes: u64,
    /// Connected clients for which something waits and that take nothing.
    pub slow: u64,
    /// Sessions without a connection for long.
    pub left: u64,
    /// What they hold.
    pub left_bytes: u64,
    /// Sessions without a connection for long that never expire.
    pub left_for_ever: u64,
    /// Those who hold the most bytes.
    pub by_bytes: Top<Holder>,
    /// Those with the most bytes in flight and waiting, in memory and in the store.
    pub by_backlog: Top<Holder>,
    /// Those who grew most since the census before.
    pub by_growth: Top<Holder>,
    /// Connected clients that take nothing, those first for which it has been longest.
    pub slowest: Top<Holder>,
    /// Sessions that nobody came back for, those first that hold the most.
    pub most_left: Top<Holder>,
}

impl Census {
    /// A census that has seen nothing yet. `before` is what an earlier one found
    /// ([`Census::into_bytes`]), to compare with.
    pub fn new(
        ledger: &'static Ledger,
        now: Time,
        terms: CensusTerms,
        before: Option<Bytes>,
    ) -> Self {
        let most = terms.most.min(HOLDERS_MAX);
        Self {
            terms,
            next_slot: 0,
            before,
            now: Bytes { at: now, slots: ledger.own(Account::Admin, Vec::new()) },
            sessions: 0,
            bytes: 0,
            slow: 0,
            left: 0,
            left_bytes: 0,
            left_for_ever: 0,
            by_bytes: Top::new(most),
            by_backlog: Top::new(most),
            by_growth: Top::new(most),
            slowest: Top::new(most),
            most_left: Top::new(most),
        }
    }

    /// When the census that growth is measured from began.
    pub fn growth_since(&self) -> Option<Time> {
        self.before.as_ref().map(|before| before.at)
    }

    /// What the next census compares with.
    pub fn into_bytes(self) -> Bytes {
        self.now
    }

    /// What this one has compared with, and what the next one may compare with.
    pub fn into_parts(self) -> (Option<Bytes>, Bytes) {
        (self.before, self.now)
    }

    fn see(&mut self, slot: u32, session: &Session, now: Time) {
        let holding = Holding::of(session);
        let (name, bytes) = (name(&session.client_identifier), holding.bytes);
        let before = self.before.as_ref().and_then(|before| {
            let &(other, bytes) = before.slots.get(slot as usize)?;
            (other == name).then_some(bytes)
        });
        let growth = before.map(|before| bytes.cast_signed() as i64 - i64::from(before));
        self.sessions += 1;
        self.bytes += bytes as u64;
        if (slot as usize) < GROWTH_SESSIONS_MAX {
            let mut slots = self.now.slots.edit();
            slots.resize(slot as usize, (0, 0));
            slots.push((name, u32::try_from(bytes).unwrap_or(u32::MAX)));
        }
        let holder = || Holder::of(session, holding, growth);
        self.by_bytes.offer(bytes as u64, holder);
        if holding.backlog > 0 {
            self.by_backlog.offer(holding.backlog_bytes.max(1), holder);
        }
        if let Some(growth @ 1..) = growth {
            self.by_growth.offer(growth.cast_unsigned(), holder);
        }
        if session.is_connected() {
            let waits = session.unflushed > 0 || holding.backlog > 0;
            let still = now.millis_since(session.progress_at);
            if waits && still >= u64::from(self.terms.slow_after) * 1000 {
                self.slow += 1;
                self.slowest.offer(still.max(1), holder);
            }
        } else if now.millis_since(session.lost_at) >= u64::from(self.terms.left_after) * 1000 {
            self.left += 1;
            self.left_bytes += bytes as u64;
            self.left_for_ever += u64::from(session.expires_at() == Time::NEVER);
            self.most_left.offer(bytes as u64, holder);
        }
    }
}

/// What tells one client from the next one in its slot.
fn name(client_identifier: &str) -> u32 {
    let mix = |hash: u32, &byte: &u8| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    client_identifier.as_bytes().iter().fold(0x811C_9DC5, mix)
}

impl Holding {
    fn of(session: &Session) -> Self {
        let mut snapshot = Snapshot::default();
        session.recount(&mut snapshot);
        let names = Session::fixed_bytes(&session.client_identifier, session.username.as_deref());
        let mut holding = Self {
            session_bytes: Boxed::<Session>::BLOCK_BYTES
                + names
                + snapshot.bytes(Account::Sessions)
                + snapshot.bytes(Account::Connections),
            subscriptions_bytes: snapshot.bytes(Account::Subscriptions),
            entries_bytes: snapshot.bytes(Account::Queues) + snapshot.bytes(Account::Inflight),
            will_bytes: snapshot.bytes(Account::Wills),
            output_bytes: session.unflushed as usize,
            subscriptions: session.subscriptions.len(),
            ..Self::default()
        };
        if let Some(flow) = session.flow.as_ref() {
            let (in_memory, stored) = flow.message_bytes();
            let (mut seen, mut shares, mut since) = (0, 0, None);
            for message in flow.messages().take(SHARES_LOOKED_AT) {
                seen += message.bytes();
                shares += message.bytes() / message.holders().max(1);
                since = since.or(Some(message.made_at()).filter(|at| *at > 0));
            }
            holding.messages_bytes = match seen {
                0 => in_memory,
                seen => (in_memory as u128 * shares as u128 / seen as u128) as usize,
            };
            holding.backlog = (flow.queue_len() + flow.inflight_len()) as u64;
            holding.backlog_bytes = (in_memory + stored) as u64;
            holding.backlog_stored_bytes = stored as u64;
            holding.backlog_since = since.map(Time::from_secs);
            if holding.backlog > 0 && since.is_none() && !session.is_connected() {
                holding.backlog_since = Some(session.lost_at);
            }
        }
        holding.bytes = holding.session_bytes
            + holding.subscriptions_bytes
            + holding.entries_bytes
            + holding.messages_bytes
            + holding.will_bytes
            + holding.output_bytes;
        holding
    }
}

impl Holder {
    fn of(session: &Session, holding: Holding, growth: Option<i64>) -> Self {
        let connected = session.is_connected();
        Self {
            client: session.client_identifier.clone(),
            username: session.username.clone(),
            connected,
            holding,
            growth,
            progress_at: session.progress_at,
            lost_at: if connected { Time::NEVER } else { session.lost_at },
            expires_at: if connected { Time::NEVER } else { session.expires_at() },
        }
    }
}

impl Engine {
    /// Goes on with a census, for well below a millisecond. Answers whether it is over.
    ///
    /// Sessions that come and go while it goes on may be in it or not.
    pub fn census(&self, now: Time, census: &mut Census) -> bool {
        let mut left = PIECE_STEPS;
        while census.next_slot < self.sessions.slots() {
            let slot = census.next_slot;
            census.next_slot += 1;
            let mut steps = 1;
            if let Some(session) = self.sessions.get(slot) {
                census.see(slot, session, now);
                let messages = session.flow.as_ref().map_or(0, |flow| flow.messages_in_memory());
                steps += 4 + messages.min(SHARES_LOOKED_AT);
            }
            left = left.saturating_sub(steps);
            if left == 0 {
                return census.next_slot >= self.sessions.slots();
            }
        }
        true
    }

    /// Goes on with a census of retained messages, for well below a millisecond. Answers whether it is over.
    pub fn prefix_census(&self, census: &mut PrefixCensus) -> bool {
        census.piece(&self.retained)
    }
}
