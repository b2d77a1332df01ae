//! Rules for retained messages: how old they may become, how many there may be, and how many there are.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use plimsoll_mqtt::topic::matches;

use super::RetainedMessage;
use super::key::write_topic;

/// Rules of each kind, at most (`retain_expiry`, `retain_limit`): each is compared with the topic of
/// each retained message that is published.
pub const RETAIN_RULES_MAX: usize = 64;

/// An age limit for the topics that a filter matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetainExpiry {
    /// Topic filter. One that begins with a wildcard does not match `$` topics (MQTT-4.7.2-1).
    pub filter: Box<str>,
    /// Seconds from the last publication; `None` is no limit, whatever later rules say.
    pub age: Option<u32>,
}

/// A limit on how much the topics that a filter matches may hold together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetainLimit {
    /// Topic filter. One that begins with a wildcard does not match `$` topics (MQTT-4.7.2-1).
    pub filter: Box<str>,
    /// Messages; `None` is no limit.
    pub count: Option<u64>,
    /// Bytes of topics, properties and payloads ([`RetainedMessage::size`]); `None` is no limit.
    pub bytes: Option<u64>,
}

/// All rules. Of the age limits, the first one whose filter matches holds; of the others, all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RetainRules {
    /// Age limits.
    pub expiries: Vec<RetainExpiry>,
    /// Age limit where none of them matches, seconds; 0 is none. Not for `$` topics.
    pub age: u32,
    /// Limits on number and size.
    pub limits: Vec<RetainLimit>,
}

/// What there is under one [`RetainLimit`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Messages.
    pub count: u64,
    /// Their bytes ([`RetainedMessage::size`]).
    pub bytes: u64,
    /// Messages that were refused because of it.
    pub refused: u64,
}

/// Rules in force, and what is counted for them.
#[derive(Debug, Default)]
pub(super) struct Policy {
    rules: RetainRules,
    tallies: Vec<Tally>,
    /// While everything is counted anew: the key up to which that is done, itself included.
    upto: Option<Vec<u8>>,
}

impl Policy {
    pub(super) fn new(rules: RetainRules) -> Self {
        let tallies = rules.limits.iter().map(|_| Tally::default()).collect();
        Self { rules, tallies, upto: None }
    }

    pub(super) fn rules(&self) -> &RetainRules {
        &self.rules
    }

    pub(super) fn tallies(&self) -> &[Tally] {
        &self.tallies
    }

    pub(super) fn refused(&mut self, rule: usize) -> Option<(&RetainLimit, u64)> {
        let tally = self.tallies.get_mut(rule)?;
        tally.refused += 1;
        Some((self.rules.limits.get(rule)?, tally.refused))
    }

    /// Takes other rules; counts are 0 until everything has been counted anew.
    pub(super) fn replace(&mut self, rules: RetainRules) {
        let filters = |rules: &RetainRules| -> Vec<Box<str>> {
            rules.limits.iter().map(|limit| limit.filter.clone()).collect()
        };
        let same = filters(&rules) == filters(&self.rules);
        self.rules = rules;
        if !same {
            self.tallies = self.rules.limits.iter().map(|_| Tally::default()).collect();
            self.upto = (!self.tallies.is_empty()).then(Vec::new);
        }
    }

    /// Begins to count, if it has not.
    pub(super) fn begin(&mut self) {
        for tally in &mut self.tallies {
            (tally.count, tally.bytes) = (0, 0);
        }
        self.upto = Some(Vec::new());
    }

    /// Up to which key everything has been counted; `None` if it is all.
    pub(super) fn counted_upto(&self) -> Option<&[u8]> {
        self.upto.as_deref()
    }

    pub(super) fn set_counted_upto(&mut self, key: Option<Vec<u8>>) {
        self.upto = key;
    }

    /// The second at which a message expires: by its publisher, or by its age.
    pub(super) fn expires_at(&self, topic: &str, message: &RetainedMessage<'_>) -> Option<u32> {
        self.expiry(message.expires_at, message.written_at, || self.age_of(topic))
    }

    /// The same, of a key.
    pub(super) fn key_expires_at(
        &self,
        key: &[u8],
        own: Option<u32>,
        written_at: Option<u32>,
        scratch: &mut (Vec<u8>, String),
    ) -> Option<u32> {
        self.expiry(own, written_at, || {
            if self.rules.expiries.is_empty() {
                // `$` says it all, and needs no topic.
                return self.default_age(key.first() == Some(&b'$'));
            }
            write_topic(key, &mut scratch.0, &mut scratch.1);
            self.age_of(&scratch.1)
        })
    }

    fn expiry(
        &self,
        own: Option<u32>,
        written_at: Option<u32>,
        age: impl FnOnce() -> Option<u32>,
    ) -> Option<u32> {
        if self.rules.age == 0 && self.rules.expiries.is_empty() {
            return own;
        }
        let by_age = written_at.and_then(|at| Some(at.saturating_add(age()?)));
        match (own, by_age) {
            (Some(own), Some(age)) => Some(own.min(age)),
            (own, age) => own.or(age),
        }
    }

    /// The age limit of a topic, by the first rule that matches.
    fn age_of(&self, topic: &str) -> Option<u32> {
        let rule = self.rules.expiries.iter().find(|rule| matches(&rule.filter, topic));
        rule.map_or_else(|| self.default_age(topic.starts_with('$')), |rule| rule.age)
    }

    fn default_age(&self, own: bool) -> Option<u32> {
        Some(self.rules.age).filter(|age| *age > 0 && !own)
    }

    /// Whether a message of `size` may take the place of one of `old` bytes. If not, the number of the
    /// limit that is in the way.
    pub(super) fn admits(&self, topic: &str, old: Option<u64>, size: u64) -> Result<(), usize> {
        for (number, (limit, tally)) in self.rules.limits.iter().zip(&self.tallies).enumerate() {
            let grows = size > old.unwrap_or(0);
            let count = limit.count.is_some_and(|most| old.is_none() && tally.count >= most);
            let after = (tally.bytes + size).saturating_sub(old.unwrap_or(0));
            let bytes = limit.bytes.is_some_and(|most| grows && after > most);
            if (count || bytes) && matches(&limit.filter, topic) {
                return Err(number);
            }
        }
        Ok(())
    }

    /// A message of `old` bytes has given way to one of `new` bytes; `None` is no message.
    pub(super) fn moved(&mut self, topic: &str, key: &[u8], old: Option<u64>, new: Option<u64>) {
        if self.tallies.is_empty() || self.upto.as_ref().is_some_and(|upto| key > &upto[..]) {
            return;
        }
        self.count(topic, old, new);
    }

    /// The same, wherever counting has come.
    pub(super) fn count(&mut self, topic: &str, old: Option<u64>, new: Option<u64>) {
        for (limit, tally) in self.rules.limits.iter().zip(&mut self.tallies) {
            if matches(&limit.filter, topic) {
                tally.count += u64::from(new.is_some());
                tally.count -= u64::from(old.is_some());
                tally.bytes += new.unwrap_or(0);
                tally.bytes -= old.unwrap_or(0);
            }
        }
    }
}
