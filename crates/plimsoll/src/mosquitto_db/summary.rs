//! What was taken from a file, and what was not.

use std::fmt;

/// Parts that were left out are named up to this many; more are counted.
const NAMED_MAX: usize = 100;

/// What was taken from a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Summary {
    /// Version of the file's format.
    pub(crate) version: u32,
    /// Retained messages.
    pub(crate) retained: u64,
    /// Sessions.
    pub(crate) sessions: u64,
    /// Subscriptions.
    pub(crate) subscriptions: u64,
    /// Messages that wait for their sessions.
    pub(crate) queued: u64,
    /// Messages that had been sent, or released, and were not acknowledged.
    pub(crate) in_flight: u64,
    /// Packet identifiers of QoS 2 messages that clients have sent and not released.
    pub(crate) received: u64,
    /// Those messages, published now: Mosquitto waits for PUBREL with that, Plimsoll does not.
    pub(crate) published: u64,
    /// Those messages that were not published, because the ones before them went to too many.
    pub(crate) unpublished: u64,
    /// Sessions that had come to their end, left out with all that they held.
    pub(crate) expired_sessions: u64,
    /// Messages whose life was over, left out.
    pub(crate) expired_messages: u64,
    /// User names that Mosquitto wrote wrongly, left out.
    pub(crate) unknown_usernames: u64,
    /// Parts that could not be taken, the first [`NAMED_MAX`] of them.
    pub(crate) skipped: Vec<Skipped>,
    /// How many more.
    pub(crate) skipped_more: u64,
}

/// A part of the file that could not be taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Skipped {
    /// Where in the file it begins.
    pub(crate) offset: usize,
    /// Why.
    pub(crate) flaw: Flaw,
}

/// Why a part of a file could not be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// The file ends within a chunk; so many bytes are left.
    CutShort(usize),
    /// A chunk of a kind that there is not.
    Kind(u32),
    /// A chunk is shorter than what must be in it.
    TooShort,
    /// A string is not UTF-8, or has U+0000 in it.
    Text,
    /// A session without client identifier.
    NoClientIdentifier,
    /// Not a topic name.
    Topic,
    /// Not a topic filter.
    Filter,
    /// Not a QoS.
    QoS(u8),
    /// Not a Subscription Identifier.
    Identifier,
    /// Properties that a message cannot have.
    Properties,
    /// The message is not in the file.
    NoMessage,
    /// The session is not in the file.
    NoSession,
    /// Another session has this client identifier.
    Twice,
    /// A message of a session is in a state that it cannot be in.
    State(u8),
    /// A message is retained, but has no payload.
    EmptyRetained,
}

impl Summary {
    /// A part could not be taken.
    pub(super) fn skip(&mut self, offset: usize, flaw: Flaw) {
        if self.skipped.len() < NAMED_MAX {
            self.skipped.push(Skipped { offset, flaw });
        } else {
            self.skipped_more += 1;
        }
    }

    /// Whether everything in the file was understood.
    pub(crate) fn is_whole(&self) -> bool {
        self.skipped.is_empty() && self.unpublished == 0
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "mosquitto.db, version {}:", self.version)?;
        let counts = [
            (self.retained, "retained messages"),
            (self.sessions, "sessions"),
            (self.subscriptions, "subscriptions"),
            (self.queued, "messages queued"),
            (self.in_flight, "messages in flight"),
            (self.received, "QoS 2 messages received and not released"),
        ];
        for (count, what) in counts {
            writeln!(f, "  {count} {what}")?;
        }
        let rare = [
            (self.published, "of the latter published now, as their PUBREC promised it"),
            (self.unpublished, "not published: those before went to too many sessions"),
            (self.expired_sessions, "sessions left out: they had expired"),
            (self.expired_messages, "messages left out: they had expired"),
            (self.unknown_usernames, "user names left out: Mosquitto had written another's"),
        ];
        for (count, what) in rare.into_iter().filter(|(count, _)| *count > 0) {
            writeln!(f, "  {count} {what}")?;
        }
        for skipped in &self.skipped {
            writeln!(f, "  left out at byte {}: {}", skipped.offset, skipped.flaw)?;
        }
        if self.skipped_more > 0 {
            writeln!(f, "  left out besides: {} more parts", self.skipped_more)?;
        }
        Ok(())
    }
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CutShort(bytes) => write!(f, "the last {bytes} bytes, the file ends too early"),
            Self::Kind(kind) => write!(f, "a chunk of unknown kind {kind}"),
            Self::TooShort => write!(f, "a chunk that is too short for what is in it"),
            Self::Text => write!(f, "a text that is not UTF-8"),
            Self::NoClientIdentifier => write!(f, "a session without client identifier"),
            Self::Topic => write!(f, "a message, its topic name is not valid"),
            Self::Filter => write!(f, "a subscription, its topic filter is not valid"),
            Self::QoS(qos) => write!(f, "something of QoS {qos}"),
            Self::Identifier => write!(f, "a subscription, its identifier is not valid"),
            Self::Properties => write!(f, "a message, its properties are not valid"),
            Self::NoMessage => write!(f, "a reference to a message that is not in the file"),
            Self::NoSession => write!(f, "something of a session that is not in the file"),
            Self::Twice => write!(f, "a session that is in the file already"),
            Self::State(state) => write!(f, "a message in the unknown state {state}"),
            Self::EmptyRetained => write!(f, "a retained message without payload"),
        }
    }
}
