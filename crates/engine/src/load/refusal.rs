//! What is refused for want of memory, and how that is said.
//!
//! Only what would make the broker hold more is refused: a topic's deletion, UNSUBSCRIBE, DISCONNECT and
//! messages that go straight through always work.

use plimsoll_ledger::Account;
use plimsoll_mqtt::{Publish, QoS, ReasonCode};

use super::{LoadCounts, Step};
use crate::engine::Engine;
use crate::publish::{Admission, refusal};
use crate::session::{GROUP, Session};

/// A retained message may grow up to this size while new topics are refused: what changes by a digit is
/// not new. From [`Step::RefuseConnections`] on it may not grow at all.
const RETAINED_GROWTH_BYTES: usize = 64;

/// What is refused of the publishes on one topic.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Overload {
    /// Largest payload that is retained.
    retained_max: usize,
    /// A session would have to queue it in memory.
    queues: bool,
    /// The publisher can be told.
    told: bool,
    /// It is for want of room below the topic alone that nothing new is retained.
    pub(crate) by_topic: bool,
}

/// How many publishes of a run were refused.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Refusals {
    /// They would have been retained.
    pub(crate) retained: u64,
    /// They would have been queued in memory.
    pub(crate) publishes: u64,
}

/// How a publish that is refused is answered.
enum Refused {
    /// By its acknowledgement.
    Said,
    /// There is no way to say so in 3.x, and an acknowledgement would be a lie: the connection ends.
    Closed,
}

impl Overload {
    const NONE: Self =
        Self { retained_max: usize::MAX, queues: false, told: false, by_topic: false };

    /// Whether a publish would be retained that must not be.
    pub(crate) fn keeps_from_retaining(self, payload: &[u8]) -> bool {
        payload.len() > self.retained_max
    }

    /// Whether, and how, a publish is refused. What must not be retained is delivered all the same if
    /// its publisher cannot be told.
    fn refuses(self, publish: &Publish<'_>, counts: &mut Refusals) -> Option<Refused> {
        let told = self.told && publish.qos != QoS::AtMostOnce;
        let unretained = publish.retain && self.keeps_from_retaining(publish.payload);
        counts.retained += u64::from(unretained);
        if unretained && told {
            return Some(Refused::Said);
        }
        if !self.queues || publish.qos == QoS::AtMostOnce {
            return None;
        }
        counts.publishes += 1;
        Some(if told { Refused::Said } else { Refused::Closed })
    }

    /// What becomes of a publish that would be routed if there were room.
    pub(crate) fn admit(self, publish: &Publish<'_>, counts: &mut Refusals) -> Admission {
        match self.refuses(publish, counts) {
            None => Admission::Route,
            Some(Refused::Said) => refusal(publish, ReasonCode::QUOTA_EXCEEDED),
            Some(Refused::Closed) => Admission::Violation(ReasonCode::QUOTA_EXCEEDED),
        }
    }
}

impl Engine {
    /// Which publishes on a topic are refused, whose own budget is at `topic_step`.
    pub(crate) fn overload(
        &self,
        slot: u32,
        topic: &str,
        retains: bool,
        topic_step: Step,
    ) -> Overload {
        let step = self.load.step;
        let tight = step >= Step::RefuseNew;
        let (retained, queues) =
            (tight || self.is_full(Account::Retained), tight || self.is_full(Account::Queues));
        let by_topic = !retained && topic_step >= Step::RefuseNew;
        if !retained && !queues && !by_topic {
            return Overload::NONE;
        }
        let furthest = step.max(topic_step);
        let grows = if furthest >= Step::RefuseConnections { 0 } else { RETAINED_GROWTH_BYTES };
        let retained_max = match retains && (retained || by_topic) {
            false => usize::MAX,
            true => self.retained.get(topic).map_or(0, |old| old.payload.len().max(grows)),
        };
        Overload {
            retained_max,
            queues: queues && self.queues_in_memory(topic),
            told: self.sessions.get(slot).is_some_and(|session| session.version.is_v5()),
            by_topic,
        }
    }

    /// Counts publishes that were refused: by the load line, or by the budget of their topic.
    pub(crate) fn count_refused(
        &mut self,
        topic: &str,
        topic_step: Step,
        overload: Overload,
        refused: Refusals,
    ) {
        let counts = &mut self.dispatch.counters.load;
        counts.publishes_refused += refused.publishes;
        if !overload.by_topic {
            counts.retained_refused += refused.retained;
        } else if refused.retained > 0 {
            let retained_refused = refused.retained;
            let left_out = LoadCounts { retained_refused, ..LoadCounts::default() };
            self.count_topic(topic, topic_step, &left_out);
        }
    }

    /// Whether an account's budget is used up.
    fn is_full(&self, account: Account) -> bool {
        self.ledger().admits(account, 0).is_err()
    }

    /// Whether a session that is away, and not in the store, would queue a message on a topic.
    fn queues_in_memory(&self, topic: &str) -> bool {
        let away = |slot: u32| {
            let session = self.sessions.get(slot);
            session.is_some_and(|session| session.number == 0 && !session.is_connected())
        };
        let mut queues = false;
        self.subscriptions.matches(topic, |entries| {
            queues |= entries.iter().any(|(subscriber, options)| {
                options.qos() != QoS::AtMostOnce
                    && match subscriber.0 & GROUP {
                        0 => away(subscriber.0),
                        _ => self.groups.get(subscriber.0 & !GROUP).is_some_and(|group| {
                            group.members.iter().all(|member| away(member.slot))
                        }),
                    }
            });
        });
        queues
    }

    /// Whether a client's new subscriptions are refused; then this was one.
    pub(crate) fn refuses_subscription(&mut self, slot: u32) -> bool {
        let refuses = self.load.step >= Step::RefuseNew || self.is_full(Account::Subscriptions);
        self.dispatch.counters.load.subscriptions_refused += u64::from(refuses);
        let Some(session) = self.sessions.get(slot) else { return refuses };
        let short = Step::RefuseNew;
        let budgets = &mut self.dispatch.budgets;
        if refuses || budgets.step(session) < short {
            return refuses;
        }
        budgets.count(session, short, |counts| counts.subscriptions_refused += 1);
        true
    }

    /// Why a client is not let in, if it is not. `known`: it has a session. Such a one is not
    /// kept out by a budget, whose queues become empty when their clients come back.
    pub(crate) fn refuses_connection(
        &mut self,
        listener: u16,
        username: Option<&str>,
        known: bool,
    ) -> Option<ReasonCode> {
        const ACCOUNTS: [Account; 5] = [
            Account::Sessions,
            Account::Connections,
            Account::Tls,
            Account::WebSocket,
            Account::Wills,
        ];
        let reason = match self.load.step {
            step if step >= Step::DropQos0 => ReasonCode::SERVER_BUSY,
            Step::RefuseConnections if !known => ReasonCode::QUOTA_EXCEEDED,
            _ if !known && ACCOUNTS.into_iter().any(|account| self.is_full(account)) => {
                ReasonCode::QUOTA_EXCEEDED
            }
            _ if known => return None,
            _ => return self.budget_refuses_connection(listener, username),
        };
        self.dispatch.counters.load.connections_refused += 1;
        Some(reason)
    }
}

impl Engine {
    fn budget_refuses_connection(
        &mut self,
        listener: u16,
        username: Option<&str>,
    ) -> Option<ReasonCode> {
        const SHORT: Step = Step::RefuseConnections;
        let budgets = &mut self.dispatch.budgets;
        if budgets.step_of_newcomer(listener, username) < SHORT {
            return None;
        }
        budgets.count_newcomer(listener, username, SHORT, |counts| counts.connections_refused += 1);
        Some(ReasonCode::QUOTA_EXCEEDED)
    }
}

impl Session {
    /// Bytes that go if its connection ends: its unsent output, and what waits for it, if that is in the
    /// store or ends with the connection.
    pub(super) fn freed_by_its_end(&self) -> usize {
        let flow = self.flow.as_ref().map_or(0, |flow| flow.bytes());
        let held = match self.expiry_interval {
            0 => flow + self.subscriptions.charged(),
            _ if self.number != 0 => flow,
            _ => 0,
        };
        self.unflushed as usize + held
    }

    /// Whether QoS 0 messages are not for it at [`Step::DropQos0`].
    pub(crate) fn is_behind(&self) -> bool {
        self.unflushed >= QOS0_UNFLUSHED
    }
}

/// A client with less unsent output than this still gets QoS 0 at [`Step::DropQos0`].
const QOS0_UNFLUSHED: u32 = 4096;
