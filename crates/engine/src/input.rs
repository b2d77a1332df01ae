//! What the engine is told.

use alloc::boxed::Box;

use plimsoll_mqtt::{Connect, DecodeError, Packet, ReasonCode};

use crate::access::Admission;
use crate::durable::Loaded;
use crate::load::LoadLine;

/// A network connection, as the shell that owns it numbers it: the shard (I/O thread) and a slot
/// in it.
///
/// The shell may use a slot again only after it told the engine that the link is
/// [`Lost`](Input::Lost), or after it was told to [`Close`](crate::Piece::Close) it, and in both
/// cases after it drained the [`Outbox`](crate::Outbox) taken with or after that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Link(u32);

impl Link {
    const SLOT_BITS: u32 = 24;

    /// Most slots of a shard.
    pub const SLOTS_MAX: u32 = (1 << Self::SLOT_BITS) - 1;

    /// The link in `slot` of `shard`.
    pub const fn new(shard: u8, slot: u32) -> Self {
        Self((shard as u32) << Self::SLOT_BITS | slot & Self::SLOTS_MAX)
    }

    /// The shard (I/O thread) that owns the connection.
    pub const fn shard(self) -> usize {
        (self.0 >> Self::SLOT_BITS) as usize
    }

    /// The slot within its shard.
    pub const fn slot(self) -> u32 {
        self.0 & Self::SLOTS_MAX
    }
}

/// Why a connection ended without a DISCONNECT packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// The peer closed its side.
    ClosedByPeer,
    /// Reading or writing failed.
    Failed,
    /// No CONNECT came in time.
    HandshakeTimeout,
    /// The broker is going down.
    ShuttingDown,
}

/// One thing that happened. Inputs of one link are given in the order in which they happened.
#[derive(Debug)]
pub enum Input<'a> {
    /// The first packet of a link, received on listener number `listener` of the settings.
    Connect {
        /// Where it came from.
        link: Link,
        /// Index into [`Settings::listeners`](crate::Settings::listeners).
        listener: u16,
        /// The packet.
        packet: Box<Connect<'a>>,
        /// Whether and as whom the client is let in.
        admission: Admission,
    },
    /// A later packet of a link.
    Packet {
        /// Where it came from.
        link: Link,
        /// The packet.
        packet: Packet<'a>,
    },
    /// Bytes that are not a packet. The link hears why, and is closed.
    Malformed {
        /// Where it came from.
        link: Link,
        /// What is wrong with it.
        error: DecodeError,
    },
    /// An operator, or a rule that changed, ends the connection (MQTT 5.0: DISCONNECT with `reason`).
    Expel {
        /// Which one.
        link: Link,
        /// Why.
        reason: ReasonCode,
    },
    /// An operator ends a session: its client is disconnected, and everything kept for it goes.
    EndSession {
        /// Its client identifier.
        client: &'a str,
        /// Why, for the client.
        reason: ReasonCode,
    },
    /// The connection is gone. Nothing is sent to this link any more.
    Lost {
        /// Which one.
        link: Link,
        /// Why.
        loss: Loss,
    },
    /// So many of the bytes that were sent to the link have been handed to the network.
    ///
    /// Owed for every byte of [`Piece::Bytes`](crate::Piece::Bytes) and
    /// [`Piece::Body`](crate::Piece::Body), in any portions: it is how the engine knows that a
    /// consumer is slow.
    Flushed {
        /// Which link.
        link: Link,
        /// How many bytes since the last time.
        bytes: u32,
    },
    /// Every record up to this position ([`Records::upto`](crate::Records::upto)) is stored.
    Stored {
        /// That position.
        upto: u64,
    },
    /// The store cannot write at present, for instance because the disk is full. It is over with
    /// the next [`Input::Stored`].
    StoreFailing,
    /// A piece of a queue was read from the store.
    Loaded(Loaded),
    /// Rules have an answer about a client for which something waits.
    Answered {
        /// Its client identifier.
        client: &'a str,
    },
    /// Clients of these users (`None`: without user name) are disconnected, and their wills are not
    /// published: somebody has changed what they may do.
    ExpelUsers {
        /// User names, sorted.
        users: &'a [Option<&'a str>],
    },
    /// The broker answers one client, if it subscribes to the topic: what became of a command.
    Respond {
        /// Its client identifier.
        client: &'a str,
        /// Topic name.
        topic: &'a str,
        /// Payload.
        payload: &'a [u8],
    },
    /// How much memory there may be, and how much is used beside the ledger; `None` is no limit.
    LoadLine(Option<LoadLine>),
    /// The broker itself publishes, for instance a `$SYS` figure.
    Publish {
        /// Topic name.
        topic: &'a str,
        /// Payload; a retained empty one deletes.
        payload: &'a [u8],
        /// Whether it replaces the retained message.
        retain: bool,
    },
}
