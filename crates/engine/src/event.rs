//! What is worth a log line. The shell formats it; the engine never does.

use alloc::boxed::Box;

use plimsoll_mqtt::{QoS, ReasonCode, Version};

use crate::budgets::BudgetOf;
use crate::follow::Traced;
use crate::input::Loss;
use crate::load::Step;

/// Something that an operator may want to read about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A client connected. Mosquitto: `New client connected from … as ID (p2, c1, k60).`
    Connected {
        /// Client identifier.
        client: Box<str>,
        /// Protocol version.
        version: Version,
        /// Clean Start (clean session).
        clean_start: bool,
        /// Keep alive in force, seconds.
        keep_alive: u16,
        /// User name, if one was given.
        username: Option<Box<str>>,
    },
    /// A connection was refused.
    Refused {
        /// Client identifier; empty if it was not read.
        client: Box<str>,
        /// Why.
        reason: ReasonCode,
    },
    /// A connection ended.
    Disconnected {
        /// Client identifier; empty before CONNECT.
        client: Box<str>,
        /// Why.
        cause: Cause,
    },
    /// A session reached the end of its life while nobody was connected.
    SessionExpired {
        /// Client identifier.
        client: Box<str>,
    },
    /// Messages were dropped because a limit forced it: said at the first, and then at each
    /// doubling of the count.
    Dropped {
        /// Client that did not get them.
        client: Box<str>,
        /// How many so far in the life of the session.
        total: u64,
        /// Which limit.
        limit: Limit,
    },
    /// Retained messages were not stored because of a limit: said at the first, and then at each
    /// doubling of the count.
    RetainRefused {
        /// Filter of the limit.
        filter: Box<str>,
        /// Topic of the last one.
        topic: Box<str>,
        /// How many so far.
        total: u64,
    },
    /// A subscription was made.
    Subscribed {
        /// Client identifier.
        client: Box<str>,
        /// Topic filter.
        filter: Box<str>,
        /// Granted QoS.
        qos: QoS,
    },
    /// A subscription was ended.
    Unsubscribed {
        /// Client identifier.
        client: Box<str>,
        /// Topic filter.
        filter: Box<str>,
    },
    /// A client has published to a topic of `$CONTROL`. It is a command to the broker, and went to
    /// nobody else.
    Control {
        /// Client identifier.
        client: Box<str>,
        /// Its user name.
        username: Option<Box<str>>,
        /// The listener that it came through.
        listener: u16,
        /// Topic name.
        topic: Box<str>,
        /// Payload.
        payload: Box<[u8]>,
    },
    /// A step of the load line begins or ends.
    LoadLine {
        /// Which one.
        step: Step,
        /// It begins.
        entered: bool,
        /// Bytes that are held.
        used: usize,
        /// Most bytes that may be held.
        limit: usize,
    },
    /// Something has happened to a publish that is followed ([`Engine::follow`](crate::Engine::follow)).
    Traced(Box<Traced>),
    /// A budget has come to a step, from [`Step::SlowPublishers`] on: said at the first time, and
    /// then at each doubling.
    Budget {
        /// Whose budget.
        of: BudgetOf,
        /// Which step.
        step: Step,
        /// Bytes that are held.
        used: usize,
        /// Most bytes that may be held.
        limit: usize,
        /// How often so far.
        total: u64,
    },
    /// A packet, when [`Settings::trace`](crate::Settings::trace) is on.
    Packet {
        /// The whole line, in Mosquitto's wording.
        line: Box<str>,
    },
}

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The client sent DISCONNECT with this reason.
    Client(ReasonCode),
    /// The broker ended it with this reason.
    Broker(ReasonCode),
    /// The network ended it.
    Network(Loss),
}

/// The limit that made the broker drop a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// `max_queued_messages` or `max_queued_bytes`, of a session without a connection.
    QueueFull,
    /// The same of a connected client that made no progress for `slow_consumer_timeout`.
    SlowConsumer,
    /// A QoS 0 message met a client whose output is held up.
    OutputFull,
    /// Memory is short ([`Step::DropQos0`]), and the client has output waiting.
    Memory,
    /// A budget of the client's listener or user is short: nothing more is queued in memory while it
    /// is away ([`Step::RefuseNew`]), and QoS 0 meets output that waits ([`Step::DropQos0`]).
    Budget,
    /// The message is larger than the client's Maximum Packet Size (MQTT-3.1.2-24).
    PacketTooLarge,
}
