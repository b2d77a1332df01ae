//! Who may do what: the question that the engine asks, and whoever answers it.

use core::fmt::Debug;

use plimsoll_mqtt::QoS;

use crate::time::Time;

/// A client as rules see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Who<'a> {
    /// Client identifier.
    pub client_identifier: &'a str,
    /// User name in force: that of CONNECT, or the one that a certificate gave. `None` is anonymous.
    pub username: Option<&'a str>,
    /// Index into [`Settings::listeners`](crate::Settings::listeners).
    pub listener: u16,
}

/// What a client wants to do with a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Publish to a topic name.
    Publish {
        /// QoS of the message.
        qos: QoS,
        /// Whether it would become the retained message.
        retain: bool,
    },
    /// Be sent a message of a topic name.
    Receive,
    /// Subscribe to a topic filter.
    Subscribe,
    /// Unsubscribe from a topic filter.
    Unsubscribe,
}

/// An answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Yes.
    Allow,
    /// No.
    Deny,
    /// Somebody else has been asked. Until the answer is there the packet waits.
    Pending,
}

/// The rules. They are pure as seen from here: an answer depends on the question and on the rules in
/// force, and takes no time worth counting. Topics are whole, with the mount point of the listener.
pub trait Access: Debug + Send + Sync {
    /// Whether `who` may do `action` with `topic`, a topic name or (to subscribe) a topic filter.
    fn decide(&self, who: &Who<'_>, action: Action, topic: &str) -> Decision;

    /// Whether some answers are [`Decision::Pending`].
    fn may_wait(&self) -> bool {
        false
    }

    /// A turn of the engine begins, at this time. What is allowed at its beginning stays allowed to
    /// its end.
    fn turn(&self, _now: Time) {}
}
