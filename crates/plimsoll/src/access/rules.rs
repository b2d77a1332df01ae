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

    /// About a client of which nobody knows which listener it came through, since the broker has been
    /// started anew. What it may read through one of them is kept for it, and asked about again when it
    /// is back; it writes (its will) only what it may through all of them.
    fn decide_anywhere(&self, who: &Who<'_>, action: Action, topic: &str) -> Decision {
        let writes = matches!(action, Action::Publish { .. });
        let decisive = if writes { Decision::Deny } else { Decision::Allow };
        let mut answer = if writes { Decision::Allow } else { Decision::Deny };
        for listener in 0..self.listeners.len() as u16 {
            let decision = self.decide(&Who { listener, ..*who }, action, topic);
            if decision == decisive {
                return decisive;
            }
            if decision == Decision::Pending {
                answer = Decision::Pending;
            }
        }
        answer
    }

    /// Whether nobody is kept from anything.
    pub(crate) fn is_empty(&self) -> bool {
        self.listeners.iter().all(|rules| rules.0.is_empty())
    }
}

impl Access for Rules {
    fn decide(&self, who: &Who<'_>, action: Action, topic: &str) -> Decision {
        if who.listener == Who::NO_LISTENER {
            return self.decide_anywhere(who, action, topic);
        }
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

#[cfg(test)]
mod tests {
    use plimsoll_mqtt::QoS;

    use super::*;

    /// Allows what is about one topic.
    #[derive(Debug)]
    struct Only(&'static str);

    impl Judge for Only {
        fn judge(&self, _: &Who<'_>, _: Action, topic: &str) -> Option<Decision> {
            Some(if topic == self.0 { Decision::Allow } else { Decision::Deny })
        }
    }

    #[test]
    fn a_client_that_has_not_been_back_reads_what_it_may_somewhere_and_writes_what_it_may_everywhere()
     {
        let listener = |topic| ListenerRules(vec![Arc::new(Only(topic)) as Arc<dyn Judge>]);
        let rules = Rules { listeners: vec![listener("a"), listener("b")], subscribe_deny: true };
        let write = Action::Publish { qos: QoS::AtMostOnce, retain: false };
        let decide = |listener, action, topic| {
            let who = Who { client_identifier: "c", username: None, listener };
            rules.decide(&who, action, topic) == Decision::Allow
        };
        assert!(decide(0, write, "a") && decide(1, write, "b") && !decide(0, write, "b"));
        let nowhere = Who::NO_LISTENER;
        assert!(decide(nowhere, Action::Receive, "a") && decide(nowhere, Action::Receive, "b"));
        assert!(!decide(nowhere, Action::Receive, "c") && !decide(nowhere, write, "a"));
    }
}
