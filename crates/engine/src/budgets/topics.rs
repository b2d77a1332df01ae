//! Budgets of what is held below a topic: retained messages, and those that sessions hold.
//!
//! Retained ones are summed as those of a `retain_limit` are. Those that sessions hold are charged to a part of the
//! account of queues, one for each budget, so they are counted by the charges that their blocks carry.
//! Nothing is kept of how far a budget has come: that is asked at each run of publishes.

use alloc::boxed::Box;
use alloc::vec::Vec;

use plimsoll_ledger::{Ledger, PARTS_MAX};

use super::{BudgetDifference, BudgetOf, BudgetView, TopicBudget};
use crate::dispatch::Outgoing;
use crate::engine::Engine;
use crate::event::Event;
use crate::load::{LoadCounts, Step};
use crate::message::Block;
use crate::retained::RetainLimit;
use crate::settings::Settings;

/// One budget.
#[derive(Debug)]
struct Topic {
    prefix: Box<str>,
    of: BudgetOf,
    limit: usize,
    /// Part of the account that its messages are charged to. `None` if all were taken, by messages of budgets
    /// that are no more: then retained ones alone count.
    part: Option<u8>,
    /// Parts of the budgets below it, and its own.
    parts: Vec<u8>,
    counts: LoadCounts,
}

/// All budgets of topics. There are as many as the configuration has lines.
#[derive(Debug, Default)]
pub(crate) struct Topics {
    topics: Vec<Topic>,
}

/// Whether a topic begins with the levels of a prefix.
fn is_below(prefix: &str, topic: &str) -> bool {
    topic.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

impl Topics {
    /// Whether these are the rules in force.
    fn obeys(&self, rules: &[TopicBudget]) -> bool {
        let rules = rules.iter().map(|rule| (&rule.prefix, rule.bytes));
        rules.eq(self.topics.iter().map(|topic| (&topic.prefix, topic.limit)))
    }

    /// Takes other rules. What a budget that stays has done so far is kept; messages that are
    /// there already count where they did.
    fn set_rules(&mut self, ledger: &'static Ledger, rules: &[TopicBudget]) {
        let mut before = core::mem::take(&mut self.topics);
        let kept = |before: &[Topic], part: u8| before.iter().any(|topic| topic.part == Some(part));
        for TopicBudget { prefix, bytes } in rules {
            let known = before.iter().position(|topic| topic.prefix == *prefix);
            let topic = match known.map(|at| before.swap_remove(at)) {
                Some(topic) => Topic { limit: *bytes, ..topic },
                None => Topic {
                    prefix: prefix.clone(),
                    of: BudgetOf::Topic(prefix.clone()),
                    limit: *bytes,
                    part: None,
                    parts: Vec::new(),
                    counts: LoadCounts::default(),
                },
            };
            self.topics.push(topic);
        }
        for at in 0..self.topics.len() {
            let vacant = |part: &u8| {
                !kept(&self.topics, *part) && !kept(&before, *part) && ledger.part_bytes(*part) == 0
            };
            let part = (0..PARTS_MAX as u8).find(vacant);
            if let Some(topic) = self.topics.get_mut(at).filter(|topic| topic.part.is_none()) {
                topic.part = part;
                if let Some(part) = part {
                    ledger.use_part(part);
                }
            }
        }
        let parts: Vec<(Box<str>, Option<u8>)> =
            self.topics.iter().map(|topic| (topic.prefix.clone(), topic.part)).collect();
        for topic in &mut self.topics {
            let below = parts.iter().filter(|(prefix, _)| is_below(&topic.prefix, prefix));
            topic.parts = below.filter_map(|(_, part)| *part).collect();
        }
    }

    /// The part that a message on a topic is charged to: that of the longest prefix.
    pub(crate) fn part(&self, topic: &str) -> Option<u8> {
        let below = self.topics.iter().filter(|budget| is_below(&budget.prefix, topic));
        below.max_by_key(|budget| budget.prefix.len())?.part
    }

    fn below(&self, topic: &str) -> impl Iterator<Item = usize> {
        let budgets = self.topics.iter().enumerate();
        budgets.filter(move |(_, budget)| is_below(&budget.prefix, topic)).map(|(at, _)| at)
    }
}

impl Settings {
    /// What is to be counted of retained messages for budgets of topics: limits that limit nothing.
    pub(crate) fn retained_tallies(&self) -> impl Iterator<Item = RetainLimit> {
        self.budgets.topics.iter().map(|topic| {
            let filter = alloc::format!("{}/#", topic.prefix).into_boxed_str();
            RetainLimit { filter, count: None, bytes: None }
        })
    }
}

impl Engine {
    /// Takes the budgets of topics that the settings have.
    pub(super) fn set_topic_budgets(&mut self) {
        let (ledger, rules) = (self.ledger(), &self.dispatch.settings.budgets.topics);
        if !self.dispatch.topics.obeys(rules) {
            self.dispatch.topics.set_rules(ledger, rules);
        }
    }

    /// Bytes below the prefix of the budget number `at`.
    fn topic_used(&self, at: usize) -> usize {
        let parts = self.dispatch.topics.topics.get(at).map_or(&[][..], |topic| &topic.parts);
        let queued: usize = parts.iter().map(|&part| self.ledger().part_bytes(part)).sum();
        // Behind those of the rules.
        let rules = self.dispatch.settings.retain_rules.limits.len();
        let retained = self.retained.tallies().get(rules + at).map_or(0, |tally| tally.bytes);
        queued.saturating_add(retained as usize)
    }

    /// The step that holds for messages on a topic.
    pub(crate) fn topic_step(&self, topic: &str) -> Step {
        let topics = &self.dispatch.topics;
        if topics.topics.is_empty() {
            return Step::Clear;
        }
        let step = |at: usize| {
            let limit = topics.topics.get(at).map_or(usize::MAX, |budget| budget.limit);
            Step::Clear.after(self.topic_used(at), limit)
        };
        topics.below(topic).map(step).max().unwrap_or_default()
    }

    /// Counts what a run of publishes was not delivered for want of room below its topic.
    pub(crate) fn count_left_out(
        &mut self,
        topic: &str,
        topic_step: Step,
        run: &[Outgoing<'_>],
        slowed: bool,
    ) {
        let sum = |each: fn(&Outgoing<'_>) -> u32| run.iter().map(|o| u64::from(each(o))).sum();
        let left_out = LoadCounts {
            publishes_refused: sum(|outgoing| outgoing.unqueued),
            qos0_dropped: sum(|outgoing| outgoing.qos0_dropped),
            publishers_slowed: u64::from(slowed),
            ..LoadCounts::default()
        };
        self.count_topic(topic, topic_step, &left_out);
    }

    /// Adds to what the budgets of a topic have done that are at its step. That something is refused is said of each at
    /// the first time, and then at each doubling.
    pub(crate) fn count_topic(&mut self, topic: &str, topic_step: Step, left_out: &LoadCounts) {
        let below: Vec<usize> = self.dispatch.topics.below(topic).collect();
        for at in below {
            let used = self.topic_used(at);
            let Some(budget) = self.dispatch.topics.topics.get_mut(at) else { continue };
            let step = Step::Clear.after(used, budget.limit);
            if step < topic_step.min(Step::RefuseNew) {
                continue;
            }
            let counts = &mut budget.counts;
            let before = counts.publishes_refused + counts.retained_refused;
            counts.publishes_refused += left_out.publishes_refused;
            counts.retained_refused += left_out.retained_refused;
            counts.qos0_dropped += left_out.qos0_dropped;
            counts.publishers_slowed += left_out.publishers_slowed;
            let total = counts.publishes_refused + counts.retained_refused;
            if total.checked_ilog2() != before.checked_ilog2() {
                let (of, limit) = (budget.of.clone(), budget.limit);
                self.dispatch.event(None, Event::Budget { of, step, used, limit, total });
            }
        }
    }

    /// Budgets of topics, as operators see them.
    pub(super) fn topic_budgets(&self) -> impl Iterator<Item = BudgetView<'_>> {
        self.dispatch.topics.topics.iter().enumerate().map(|(at, topic)| {
            let used = self.topic_used(at);
            BudgetView {
                of: &topic.of,
                named: true,
                limit: topic.limit,
                used,
                step: Step::Clear.after(used, topic.limit),
                sessions: 0,
                counts: Some(&topic.counts),
            }
        })
    }

    /// Walks over all messages that sessions hold and that are on their way out, and over what is retained, and adds
    /// up what counts to each budget of topics. Answers those that differ. Nothing is said while retained ones are
    /// still being counted after a reload.
    pub(super) fn differing_topics(&self, outside: &[Block]) -> Vec<BudgetDifference> {
        let topics = &self.dispatch.topics.topics;
        if topics.is_empty() || self.retain_limits().1 {
            return Vec::new();
        }
        let blocks = self.blocks(outside);
        let found =
            topics.iter().zip(self.retained_bytes_below(topics)).map(|(topic, retained)| {
                let counts =
                    |block: &&Block| block.part.is_some_and(|part| topic.parts.contains(&part));
                retained + blocks.iter().filter(counts).map(|block| block.bytes).sum::<usize>()
            });
        let differing =
            self.topic_budgets().zip(found).filter(|(budget, found)| budget.used != *found);
        let differing = differing.map(|(budget, found)| BudgetDifference {
            of: budget.of.clone(),
            used: budget.used,
            found,
        });
        differing.collect()
    }

    /// Bytes of retained messages below each prefix, by a walk.
    fn retained_bytes_below(&self, topics: &[Topic]) -> Vec<usize> {
        let mut below = alloc::vec![0; topics.len()];
        let mut topic: Vec<u8> = Vec::new();
        self.retained.walk(&[], usize::MAX, |key, size| {
            topic.clear();
            topic.extend(key.iter().map(|&byte| if byte == 0 { b'/' } else { byte }));
            let Ok(topic) = core::str::from_utf8(&topic) else { return };
            for (budget, bytes) in topics.iter().zip(&mut below) {
                *bytes += if is_below(&budget.prefix, topic) { size } else { 0 };
            }
        });
        below
    }
}
