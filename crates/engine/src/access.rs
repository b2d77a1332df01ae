//! Who may do what: the question that the engine asks, and whoever answers it.

use alloc::boxed::Box;
use alloc::string::String;
use core::fmt::Debug;

use plimsoll_mqtt::{QoS, ReasonCode, TopicFilter};

use crate::dispatch::Dispatch;
use crate::session::Session;

use crate::time::Time;

/// A client as rules see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Who<'a> {
    /// Client identifier.
    pub client_identifier: &'a str,
    /// User name in force: that of CONNECT, or the one that a certificate gave. `None` is anonymous.
    pub username: Option<&'a str>,
    /// Index into [`Settings::listeners`](crate::Settings::listeners), or [`Self::NO_LISTENER`].
    pub listener: u16,
}

impl Who<'_> {
    /// A client that has not been connected since the broker was started: nothing keeps which
    /// listener it came through.
    pub const NO_LISTENER: u16 = u16::MAX;
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

/// What whoever checks identities found out about a CONNECT.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Admission {
    /// The client is who its CONNECT says.
    #[default]
    AsAsked,
    /// The client is let in as somebody else.
    As {
        /// User name in force; `None` is anonymous.
        username: Option<Box<str>>,
        /// Client identifier in force; `None` is the one of CONNECT.
        client_identifier: Option<Box<str>>,
    },
    /// The client is not let in.
    Refused(ReasonCode),
}

impl Admission {
    /// The user name that holds, with `asked` in CONNECT.
    pub(crate) fn username<'a>(&'a self, asked: Option<&'a str>) -> Option<&'a str> {
        match self {
            Self::As { username, .. } => username.as_deref(),
            _ => asked,
        }
    }

    /// The client identifier that holds, with `asked` in CONNECT.
    pub(crate) fn client_identifier<'a>(&'a self, asked: &'a str) -> &'a str {
        match self {
            Self::As { client_identifier: Some(identifier), .. } => identifier,
            _ => asked,
        }
    }
}

impl Dispatch {
    /// Asks the rules, if there are any.
    pub(crate) fn decide(&self, session: &Session, action: Action, topic: &str) -> Decision {
        let Some(access) = &self.access else { return Decision::Allow };
        access.decide(&session.who(), action, topic)
    }

    /// Whether a session may be sent messages of a topic.
    pub(crate) fn may_receive(&self, session: &Session, topic: &str) -> bool {
        self.access.is_none() || self.decide(session, Action::Receive, topic) == Decision::Allow
    }
}

/// A topic name or filter as it is behind the mount point of its listener. What a shared
/// subscription matches is behind it, not its name.
pub(crate) fn mounted(mount_point: &str, topic: &str) -> String {
    let filter = TopicFilter::parse(topic);
    let whole = match filter.group() {
        Some(_) => topic.len() - filter.filter().len(),
        None => 0,
    };
    let (share, topic) = topic.split_at(whole);
    let mut mounted = String::with_capacity(share.len() + mount_point.len() + topic.len());
    mounted.push_str(share);
    mounted.push_str(mount_point);
    mounted.push_str(topic);
    mounted
}

#[cfg(test)]
mod tests;
