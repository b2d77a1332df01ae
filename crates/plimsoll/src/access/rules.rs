//! The rules in force, as the engine asks them.

use std::sync::Arc;

use plimsoll_engine::{Access, Action, Decision, Who};

/// One source of rules.
pub(crate) trait Judge: std::fmt::Debug + Send + Sync {
    /// What it says; nothing if it does not know the client or the topic.
    fn judge(&self, who: &Who<'_>, action: Action, topic: &str) -> Option<Decision>;
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
        if rules.0.is_empty() || action == Action::Subscribe && !self.subscribe_deny {
            return Decision::Allow;
        }
        let said = rules.0.iter().find_map(|judge| judge.judge(who, action, topic));
        said.unwrap_or(Decision::Deny)
    }
}
