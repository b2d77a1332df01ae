//! Walks over the whole store, a bounded piece at a time: what has expired, what is to be deleted,
//! and counting for other rules.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::ops::ControlFlow;

use super::key::{Key, write_topic};
use super::policy::{RetainRules, Tally};
use super::record::Record;
use super::{RetainedStore, Scan, ScanCursor, Stop};
use crate::time::Time;

/// Bytes of topics that are taken together to be deleted, at most.
const TOPICS_BYTES_MAX: usize = 256 * 1024;

/// What a deletion by filter has found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Deleted {
    /// Messages.
    pub count: u64,
    /// Their bytes ([`RetainedMessage::size`](super::RetainedMessage::size)).
    pub bytes: u64,
}

impl RetainedStore {
    /// Rules in force.
    pub fn rules(&self) -> &RetainRules {
        self.policy.rules()
    }

    /// What there is under each of [`RetainRules::limits`], in their order.
    pub fn tallies(&self) -> &[Tally] {
        self.policy.tallies()
    }

    /// Whether everything is being counted anew for other rules ([`RetainedStore::go_on_counting`]).
    pub fn is_counting(&self) -> bool {
        self.policy.counted_upto().is_some()
    }

    /// Takes other rules. Age limits hold at once for who reads; the next sweeps free what is too old.
    pub fn set_rules(&mut self, rules: RetainRules) {
        if rules == *self.policy.rules() {
            return;
        }
        self.policy.replace(rules);
        self.inner.edit().directory.doubt_expiries();
    }

    /// Counts `steps` more messages, and says the topic of each that was not known to be written, and from
    /// now on counts as written at `now`. Answers whether that was all.
    pub fn go_on_counting(&mut self, now: Time, steps: usize, mut each: impl FnMut(&str)) -> bool {
        let Some(upto) = self.policy.counted_upto() else { return true };
        let (mut bytes, mut topic) = (Vec::new(), String::new());
        let mut found: Vec<(Box<[u8]>, u64, bool)> = Vec::new();
        let inner = &self.inner;
        let end = inner.directory.walk(upto, steps, |key, record| {
            let size = key.len() + inner.content_bytes(record);
            found.push((Box::from(key), size as u64, Record::of(record).written_at.is_none()));
        });
        let last = found.last().map(|(key, ..)| key.to_vec());
        for (key, size, undated) in found {
            write_topic(&key, &mut bytes, &mut topic);
            self.policy.count(&topic, None, Some(size));
            if undated {
                self.date(&topic, now);
                each(&topic);
            }
        }
        self.policy.set_counted_upto(if end { None } else { last });
        end
    }

    /// Whether there are messages of which it is not known when they were written. Counting dates them.
    pub fn has_undated(&self) -> bool {
        self.inner.undated > 0
    }

    /// Begins to count everything anew.
    pub fn begin_counting(&mut self) {
        self.policy.begin();
    }

    /// Lets a message count as written at `now`.
    fn date(&mut self, topic: &str, now: Time) {
        let key = Key::of(topic);
        let mut inner = self.inner.edit();
        let place = inner.directory.find(key.bytes());
        let Some(message) = inner.message(inner.directory.record(&place)) else { return };
        let message = super::RetainedMessage { written_at: Some(now.as_secs()), ..message };
        let blob = Record::of(inner.directory.record(&place)).blob;
        let record = super::record::encode(&message, blob);
        let expires_at = self.policy.expires_at(topic, &message);
        inner.directory.put(&place, key.bytes(), &record, expires_at);
        inner.undated -= 1;
    }

    /// Frees messages that have expired, looking through at most `pages_max` pages, and says the topic
    /// of `each`. Answers when to look again: at once if there is more to look through, else at the
    /// next expiry.
    pub fn sweep(&mut self, now: Time, pages_max: usize, mut each: impl FnMut(&str)) -> Time {
        let mut inner = self.inner.edit();
        let policy = &mut self.policy;
        let mut expired: Vec<Box<[u8]>> = Vec::new();
        let mut scratch = (Vec::new(), String::new());
        let (mut next, mut looked, mut more) = (u32::MAX, 0, false);
        for page in inner.directory.pages_mut() {
            if page.expires_at() <= now.as_secs() {
                more = looked == pages_max;
                if more {
                    break;
                }
                looked += 1;
                let mut first = u32::MAX;
                page.for_each(|key, record| {
                    let Record { expires_at, written_at, .. } = Record::of(record);
                    let at = policy.key_expires_at(key, expires_at, written_at, &mut scratch);
                    match at {
                        Some(at) if at <= now.as_secs() => expired.push(Box::from(key)),
                        at => first = first.min(at.unwrap_or(u32::MAX)),
                    }
                });
                page.set_expires_at(first);
            }
            next = next.min(page.expires_at());
        }
        let (mut bytes, mut topic) = scratch;
        for key in expired {
            let place = inner.directory.find(&key);
            write_topic(&key, &mut bytes, &mut topic);
            let old = inner.remove(&place, &key);
            policy.moved(&topic, &key, Some(old), None);
            each(&topic);
        }
        match next {
            _ if more => now,
            u32::MAX => Time::NEVER,
            next => Time::from_secs(next),
        }
    }

    /// Calls `each` with the keys (topics with 0 in the place of `/`) behind `after` and the sizes of
    /// their messages, `steps` at most. Answers whether those were the last.
    pub(crate) fn walk(
        &self,
        after: &[u8],
        steps: usize,
        mut each: impl FnMut(&[u8], usize),
    ) -> bool {
        let inner = &self.inner;
        inner.directory.walk(after, steps, |key, record| {
            each(key, key.len() + inner.content_bytes(record));
        })
    }

    /// Deletes messages whose topics match `filter`, looking at `steps_max` and deleting
    /// `count_max` of them at most, from where `cursor` stands on. Calls `each` with topic and size.
    pub fn delete(
        &mut self,
        filter: &str,
        cursor: &mut ScanCursor,
        steps_max: usize,
        count_max: usize,
        mut each: impl FnMut(&str, usize),
    ) -> Scan {
        let mut topics: Vec<(Box<str>, usize)> = Vec::new();
        let mut bytes = 0;
        let scan = self.scan(filter, cursor, steps_max, |topic, message| {
            topics.push((Box::from(topic), message.size(topic)));
            bytes += topic.len();
            if topics.len() >= count_max || bytes >= TOPICS_BYTES_MAX {
                return ControlFlow::Break(Stop::Behind);
            }
            ControlFlow::Continue(())
        });
        for (topic, size) in topics {
            self.remove(&topic);
            each(&topic, size);
        }
        scan
    }
}
