//! What a flow is made of: messages for one session, and what stands for them.

use plimsoll_mqtt::QoS;

use crate::message::Message;

/// A message on its way to one session.
#[derive(Clone, Debug)]
pub(crate) struct Delivery {
    pub(crate) message: Message,
    /// Its place in the session's order: what its packet identifier follows from, and what it is
    /// called in the store. 0 for a QoS 0 message that is not in the store.
    pub(crate) sequence: u64,
    pub(crate) origin: Origin,
    /// QoS towards this session.
    pub(crate) qos: QoS,
    /// RETAIN flag towards this session.
    pub(crate) retain: bool,
}

/// Which subscription a delivery comes from: decides its Subscription Identifiers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Origin(u32);

impl Origin {
    const LIST: u32 = 1 << 31;
    const SHARED: u32 = 1 << 30;

    /// No subscription identifier.
    pub(crate) const PLAIN: Self = Self(0);

    /// One subscription identifier (28 bits); 0 is none.
    pub(crate) fn identifier(identifier: u32) -> Self {
        Self(identifier)
    }

    /// Several identifiers: entry `index` of the session's lists.
    pub(crate) fn list(index: u32) -> Self {
        Self(Self::LIST | index)
    }

    /// A shared subscription: its group says the identifier, and who else could be sent it.
    pub(crate) fn shared(group: u32) -> Self {
        Self(Self::SHARED | group)
    }

    /// What it stands for.
    pub(crate) fn resolve(self) -> OriginKind {
        if self.0 & Self::LIST != 0 {
            OriginKind::List(self.0 & !Self::LIST)
        } else if self.0 & Self::SHARED != 0 {
            OriginKind::Shared(self.0 & !Self::SHARED)
        } else {
            OriginKind::Identifier(self.0)
        }
    }
}

/// The meaning of an [`Origin`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OriginKind {
    Identifier(u32),
    List(u32),
    Shared(u32),
}

/// Something that waits to be sent.
#[derive(Debug)]
pub(crate) enum Waiting {
    Publish(Delivery),
    /// PUBREL of a message with this sequence number, that an earlier connection left owing.
    Release(u64),
}

impl Waiting {
    pub(super) fn sequence(&self) -> u64 {
        match self {
            Self::Publish(delivery) => delivery.sequence,
            Self::Release(sequence) => *sequence,
        }
    }

    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Publish(delivery) => delivery.message.bytes(),
            Self::Release(_) => 0,
        }
    }

    pub(super) fn is_qos0(&self) -> bool {
        matches!(self, Self::Publish(delivery) if delivery.qos == QoS::AtMostOnce)
    }

    pub(super) fn expires_at(&self) -> u32 {
        match self {
            Self::Publish(delivery) => delivery.message.expires_at().unwrap_or(u32::MAX),
            Self::Release(_) => u32::MAX,
        }
    }
}

/// The part of a queue that lies in the store alone, behind what is in memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stored {
    /// Sequence number to read on from.
    pub(crate) from: u64,
    /// Entries.
    pub(crate) count: u32,
    /// What their messages would take in memory.
    pub(super) bytes: usize,
    /// Earliest expiry among them, seconds; `u32::MAX` is none.
    pub(super) expires_at: u32,
    /// They are being read.
    pub(crate) loading: bool,
    /// They are being looked through for what has expired.
    pub(crate) purging: bool,
    /// Some of them refer to something shared: a body, or a shared subscription.
    pub(crate) entangled: bool,
    /// Some of them may be QoS 0.
    pub(crate) qos0: bool,
}

/// An acknowledgement that a publisher is owed when the queue has room again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Owed {
    /// Session of the publisher.
    pub(crate) slot: u32,
    /// Its connection at that time.
    pub(crate) epoch: u32,
    /// The acknowledgement's number on that connection.
    pub(crate) sequence: u32,
}

/// What the store has of a session's queue, as counted after a restart.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Restored {
    pub(crate) first: u64,
    pub(crate) next: u64,
    pub(crate) sent_before: u64,
    pub(crate) maybe_sent_before: u64,
    pub(crate) count: u32,
    pub(crate) returned: u32,
    pub(crate) bytes: usize,
    pub(crate) expires_at: u32,
    pub(crate) entangled: bool,
    pub(crate) qos0: bool,
}
