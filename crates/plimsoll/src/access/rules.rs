//! The rules in force, as the engine asks them.

use std::sync::Arc;

use plimsoll_engine::{Access, Action, Decision, Time, Who};

/// One source of rules.
pub(crate) trait Judge: std::fmt::Debug + Send + Sync {
    /// What it says; nothing if it does not know the client or the topic.
    fn judge(&self, who: &Who<'_>, action: Action, topic: &str) -> Option<Decision>;

    /// Whether `acl_subscribe_deny false` is nothing to it: plugins refuse filters in any case.
    fn refuses_filters(&self) -> bool {
        false
    }

    /// As [`Access::may_wait`].
    fn may_wait(&self) -> bool {
        false
    }

    /// As [`Access::turn`].
    fn turn(&self, _now: Time) {}
}

/// Rules by which nobody may do anything: those of a closed listener's file that nobody else has.
#[derive(Debug)]
pub(crate) struct Nothing;

impl Judge for Nothing {
    fn judge(&self, _: &Who<'_>, _: Action, _: &str) -> Option<Decision> {
        Some(Decision::Deny)
    }
}

/// All rules, by listener.
#[derive(Debug, Default)]
pub(crate) struct Rules {
    pub(crate) listeners: Vec<ListenerRules>,
    /// `acl_subscribe_deny`: a forbidden filter is refused; otherwise it is granted, and brings nothing.
    pub(crate) subscribe_deny: bool,
}

/// The sources that a listener's clients are judged by, in order. With none everything is allowed.
#[derive(Clone, Debug, Default)]
pub(crate) struct ListenerRules(pub(crate) Vec<Arc<dyn Judge>>);

impl Rules {
    fn judges(&self) -> impl Iterator<Item = &dyn Judge> {
        self.listeners.iter().flat_map(|rules| rules.0.iter().map(|judge| &**judge))
    }

    /// Whether nobody is kept from anything.
    pub(crate) fn is_empty(&self) -> bool {
        self.listeners.iter().all(|rules| rules.0.is_empty())
    }
}

impl Access for Rules {
    fn decide(&self, who: &Who<'_>, action: Action, topic: &str) -> Decision {
        let Some(rules) = self.listeners.get(usize::from(who.listener)) else {
            return Decision::Deny;
        };
        if rules.0.is_empty() {
            return Decision::Allow;
        }
        let granted = action == Action::Subscribe && !self.subscribe_deny;
        let said = rules.0.iter().find_map(|judge| match granted && !judge.refuses_filters() {
            true => Some(Decision::Allow),
            false => judge.judge(who, action, topic),
        });
        said.unwrap_or(Decision::Deny)
    }

    fn may_wait(&self) -> bool {
        self.judges().any(Judge::may_wait)
    }

    fn turn(&self, now: Time) {
        self.judges().for_each(|judge| judge.turn(now));
    }
}
