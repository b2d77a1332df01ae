//! Budgets of memory for those who belong together: the clients of a listener, of a user name,
//! and the messages below a topic.
//!
//! A budget is a load line of its own: its limit takes the place of the process's, and the steps
//! ([`Step`]) that begin as it comes near hold for those alone who belong to it. What they hold
//! is one running figure per session (`Session::weight`): whoever changes a session has it from
//! `Sessions::get_mut`, which notes it, and before the next input what it holds now is counted in
//! place of what it held before. So there is no count to forget. Without any budget nothing is noted and
//! nothing is counted.

mod bounds;
mod table;
#[cfg(test)]
mod tests;
mod topics;
mod weight;

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::ops::ControlFlow;

use crate::engine::Engine;
use crate::event::Event;
use crate::load::{LoadCounts, Step};
use crate::message::Block;
use crate::time::Time;

pub(crate) use bounds::queues_nothing;
pub(crate) use table::{Budgets, Counted};
pub(crate) use topics::Topics;

/// Lines for users, and for topics, at most.
pub const BUDGET_LINES_MAX: usize = 64;

/// How often budgets with a step in force are looked at, milliseconds: as often as the load line.
const TEND_MILLIS: u64 = 100;

/// Which users may hold how much, and what may be held below topics. Budgets of listeners are in
/// [`ListenerSettings`](crate::ListenerSettings).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BudgetRules {
    /// Users that are named.
    pub users: Vec<UserBudget>,
    /// Bytes for each user that is not named; `None` is no limit. Clients without a user name are
    /// one user.
    pub each_user: Option<usize>,
    /// What may be held below topics.
    pub topics: Vec<TopicBudget>,
}

/// What may be held below a topic: retained messages, and those that sessions hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicBudget {
    /// Whole levels that topics begin with, without wildcards: `plant/7` is for `plant/7` and `plant/7/…`.
    pub prefix: Box<str>,
    /// Bytes.
    pub bytes: usize,
}

/// What the clients of one user may hold together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserBudget {
    /// `None` are the clients without a user name.
    pub username: Option<Box<str>>,
    /// Bytes.
    pub bytes: usize,
}

impl BudgetRules {
    /// The limit of a user, and whether a line names it.
    fn of_user(&self, username: Option<&str>) -> Option<(usize, bool)> {
        let named = self.users.iter().find(|user| user.username.as_deref() == username);
        let named = named.map(|user| (user.bytes, true));
        named.or(self.each_user.map(|bytes| (bytes, false)))
    }
}

/// Whose budget it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BudgetOf {
    /// The clients that came through a listener, by its number in
    /// [`Settings::listeners`](crate::Settings::listeners). A session that was read from the store belongs to none until its
    /// client is back.
    Listener(u16),
    /// The clients of a user name; `None` are those without one.
    User(Option<Box<str>>),
    /// The messages whose topics begin with these levels.
    Topic(Box<str>),
}

/// A budget, as operators see it.
#[derive(Clone, Copy, Debug)]
pub struct BudgetView<'a> {
    /// Whose it is.
    pub of: &'a BudgetOf,
    /// It has a line of its own; otherwise it is that of a user for whom what holds is
    /// [`BudgetRules::each_user`].
    pub named: bool,
    /// Most bytes that they may hold.
    pub limit: usize,
    /// Bytes that they hold.
    pub used: usize,
    /// The step in force for them.
    pub step: Step,
    /// Sessions that count to it.
    pub sessions: u32,
    /// What was done so that it holds; `None` is nothing yet.
    pub counts: Option<&'a LoadCounts>,
}

/// A budget whose figure is not what a walk over the state finds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BudgetDifference {
    /// Whose it is.
    pub of: BudgetOf,
    /// Bytes that were counted as they came and went.
    pub used: usize,
    /// Bytes that are there.
    pub found: usize,
}

impl Engine {
    /// Takes the budgets that the settings have. Other ones than before cost a walk over all sessions.
    pub(crate) fn set_budgets(&mut self) {
        self.set_topic_budgets();
        let settings = &self.dispatch.settings;
        let mut listeners: Vec<Option<usize>> =
            settings.listeners.iter().map(|listener| listener.memory_budget).collect();
        while let Some(None) = listeners.last() {
            listeners.pop(); // So another listener without a budget is nothing new.
        }
        if self.dispatch.budgets.obeys(&settings.budgets, &listeners) {
            return;
        }
        self.dispatch.budgets.set_rules(settings.budgets.clone(), listeners);
        self.sessions.note_changes(self.dispatch.budgets.is_on());
        for slot in 0..self.sessions.slots() {
            if let Some(session) = self.sessions.get_unnoted(slot) {
                session.counted = Counted::NOWHERE;
                self.dispatch.budgets.join(session);
            }
        }
        self.dispatch.budgets.prune();
        self.settle_budgets();
    }

    /// Counts what the sessions hold that were changed since the last time.
    pub(crate) fn settle_budgets(&mut self) {
        if !self.dispatch.budgets.is_on() {
            return;
        }
        let mut changed = self.sessions.take_changed();
        for slot in changed.drain(..) {
            if let Some(session) = self.sessions.get_unnoted(slot) {
                self.dispatch.budgets.settle(session);
            }
        }
        self.sessions.give_changed_back(changed);
        self.tend_again();
        self.say_risen();
    }

    /// As long as a step is in force somewhere it is looked at again.
    fn tend_again(&mut self) {
        let budgets = &mut self.dispatch.budgets;
        if budgets.is_raised() && budgets.tend_at == Time::NEVER {
            budgets.tend_at = self.dispatch.now.plus_millis(TEND_MILLIS);
        }
    }

    /// Says which steps have begun: of each budget and step the first time, and then at each doubling.
    fn say_risen(&mut self) {
        for risen in core::mem::take(&mut self.dispatch.budgets.risen) {
            let Some(budget) = self.dispatch.budgets.get(risen.budget) else { continue };
            let counts = budget.counts.as_ref();
            let total = counts.and_then(|counts| counts.entered.get(risen.step as usize).copied());
            let total = total.unwrap_or_default();
            if risen.step >= Step::SlowPublishers && total.is_power_of_two() {
                let of = budget.of.clone();
                let (step, used, limit) = (risen.step, budget.used, budget.limit);
                self.dispatch.event(None, Event::Budget { of, step, used, limit, total });
            }
        }
    }

    /// Looks at the budgets that have a step in force: it ends, if there is room again, and what a
    /// step does by itself is done.
    pub(crate) fn tend_budgets(&mut self) {
        if self.dispatch.budgets.tend_at > self.dispatch.now {
            return;
        }
        self.dispatch.budgets.tend_at = Time::NEVER;
        if self.dispatch.budgets.fall() >= Step::Spill {
            self.sweep();
        }
        self.tend_again();
    }

    /// Calls `visit` with the budgets of topics, if `from` is 0, and then with those of listeners and users, from
    /// place `from` on, until it breaks or `steps_max` places have been looked at. Answers where to go
    /// on; `None` is the end.
    pub fn budgets(
        &self,
        from: u32,
        steps_max: u32,
        mut visit: impl FnMut(BudgetView<'_>) -> ControlFlow<()>,
    ) -> Option<u32> {
        let end = self.dispatch.budgets.places();
        let stop = from.saturating_add(steps_max).min(end);
        if from == 0 {
            for view in self.topic_budgets() {
                if visit(view).is_break() {
                    return None;
                }
            }
        }
        for number in from..stop {
            let Some(budget) = self.dispatch.budgets.get(number) else { continue };
            let view = BudgetView {
                of: &budget.of,
                named: budget.lasting,
                limit: budget.limit,
                used: budget.used,
                step: budget.step,
                sessions: budget.sessions,
                counts: budget.counts.as_deref(),
            };
            if visit(view).is_break() {
                return (number + 1 < end).then_some(number + 1);
            }
        }
        (stop < end).then_some(stop)
    }

    /// Walks all sessions and messages and adds up what counts to each budget, without looking at what has been
    /// counted. Answers those that differ: none, unless something is wrong. `outside` are messages that
    /// were taken out and are not sent yet ([`Body::block`](crate::Body::block)).
    pub fn recount_budgets(&self, outside: &[Block]) -> Vec<BudgetDifference> {
        let mut found = alloc::vec![0usize; self.dispatch.budgets.places() as usize];
        for (_, session) in self.sessions.iter() {
            for number in Budgets::of(session).0 {
                if let Some(sum) = found.get_mut(number as usize) {
                    *sum += session.weight_by_walk();
                }
            }
        }
        let budgets = self.dispatch.budgets.iter();
        let differing = budgets.filter_map(|(number, budget)| {
            let found = found.get(number as usize).copied().unwrap_or_default();
            let (of, used) = (budget.of.clone(), budget.used);
            (used != found).then_some(BudgetDifference { of, used, found })
        });
        differing.chain(self.differing_topics(outside)).collect()
    }
}
