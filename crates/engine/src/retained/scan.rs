//! Wildcards over retained topics: in order, a bounded piece at a time.

use alloc::string::String;
use alloc::vec::Vec;
use core::ops::ControlFlow;

use plimsoll_ledger::Measure;

use super::key::{Key, write_topic};
use super::{RetainedMessage, RetainedStore};

/// How far a scan has come. It stays valid whatever is changed in between: a message that is
/// there the whole time is visited exactly once.
#[derive(Debug, Default)]
pub struct ScanCursor {
    /// The key looked at last.
    after: Option<Vec<u8>>,
    /// It is to be looked at again.
    again: bool,
}

impl ScanCursor {
    /// Goes on behind a topic, whether it has a message or not.
    pub fn behind(topic: &str) -> Self {
        Self { after: Some(Key::of(topic).bytes().to_vec()), again: false }
    }

    /// The topic looked at last, if the scan was broken off.
    pub fn topic(&self) -> Option<String> {
        let (mut bytes, mut topic) = (Vec::new(), String::new());
        write_topic(self.after.as_ref()?, &mut bytes, &mut topic);
        Some(topic)
    }
}

/// Where a scan that is broken off goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// With this message.
    Before,
    /// With the next one.
    Behind,
}

impl Measure for ScanCursor {
    fn heap_bytes(&self) -> usize {
        self.after.heap_bytes()
    }
}

/// What is left of a scan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scan {
    /// There may be more to visit.
    More,
    /// Everything that matches has been visited.
    Done,
}

/// What is known of a key: it matches, or where the next match could be.
enum Verdict {
    Match,
    /// Look at the next key.
    Next,
    /// No key before this one matches.
    Seek(Vec<u8>),
    /// No key behind this one matches.
    End,
}

impl RetainedStore {
    /// Calls `visit` with the messages whose topics match `filter`, in order, from where `cursor`
    /// stands on; until `visit` breaks, or `steps_max` keys have been looked at.
    pub fn scan(
        &self,
        filter: &str,
        cursor: &mut ScanCursor,
        steps_max: usize,
        mut visit: impl FnMut(&str, RetainedMessage<'_>) -> ControlFlow<Stop>,
    ) -> Scan {
        let pattern = Pattern::of(filter);
        let directory = &self.inner.directory;
        // The first key that may be looked at; `beyond` if the one that is equal may not.
        let (mut from, mut beyond) = match cursor.after.take() {
            Some(after) => (after, !core::mem::take(&mut cursor.again)),
            None => (pattern.prefix.clone(), false),
        };
        let (mut topic_bytes, mut topic) = (Vec::new(), String::new());
        let mut key: Vec<u8> = Vec::new();
        let mut steps = 0;
        let (mut group, mut page) = directory.page_of(&from);
        while let Some(here) = directory.page(group, page) {
            let mut entry = here.entry(0);
            let mut jump = false;
            key.clear();
            while let Some(found) = entry {
                key.truncate(found.shared);
                key.extend_from_slice(found.rest);
                entry = here.after(&found);
                if key < from || beyond && key == from {
                    continue;
                }
                steps += 1;
                match pattern.judge(&key) {
                    Verdict::End => return Scan::Done,
                    Verdict::Next => {}
                    Verdict::Seek(to) => {
                        (from, beyond, jump) = (to, false, true);
                    }
                    Verdict::Match => {
                        write_topic(&key, &mut topic_bytes, &mut topic);
                        let message = self.inner.message(found.record);
                        let flow = message.map(|mut message| {
                            message.expires_at = self.policy.expires_at(&topic, &message);
                            visit(&topic, message)
                        });
                        if let Some(ControlFlow::Break(stop)) = flow {
                            cursor.again = stop == Stop::Before;
                            cursor.after = Some(key);
                            return Scan::More;
                        }
                    }
                }
                if steps >= steps_max {
                    cursor.after = Some(key);
                    return Scan::More;
                }
            }
            // A seek that leads beyond this page goes there at once.
            let next = directory.next(group, page);
            (group, page) = if jump { directory.page_of(&from).max(next) } else { next };
        }
        Scan::Done
    }
}

/// A filter, prepared.
struct Pattern<'a> {
    levels: Vec<&'a [u8]>,
    /// Ends in `#`.
    open: bool,
    /// Begins with a wildcard: does not match `$` topics (MQTT-4.7.2-1).
    wild: bool,
    /// The literal levels before the first wildcard, as a key.
    prefix: Vec<u8>,
}

impl<'a> Pattern<'a> {
    fn of(filter: &'a str) -> Self {
        let mut levels: Vec<&[u8]> = filter.as_bytes().split(|&byte| byte == b'/').collect();
        let open = levels.last() == Some(&&b"#"[..]);
        if open {
            levels.pop();
        }
        let literal = levels.iter().take_while(|level| **level != b"+").count();
        let prefix = levels.get(..literal).unwrap_or_default().join(&0);
        let wild = literal == 0;
        Self { levels, open, wild, prefix }
    }

    fn judge(&self, key: &[u8]) -> Verdict {
        if self.wild && key.first() == Some(&b'$') {
            // `%` is the byte behind `$`: the next key that does not begin with it.
            return Verdict::Seek(alloc::vec![b'$' + 1]);
        }
        if !key.starts_with(&self.prefix) {
            return if *key > *self.prefix { Verdict::End } else { Verdict::Next };
        }
        let mut start = 0; // of the present level in the key
        let mut last_plus = None; // where the key's level for the last `+` ends
        let mut rest = Some(key);
        for level in &self.levels {
            let Some(bytes) = rest else { return Verdict::Next }; // shorter than the filter
            let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
            let name = bytes.get(..end).unwrap_or_default();
            if *level == b"+" {
                last_plus = Some(start + end);
            } else if *level != name {
                return seek(key, start, level, name, last_plus);
            }
            rest = if end < bytes.len() { bytes.get(end + 1..) } else { None };
            start += end + 1;
        }
        match rest {
            None => Verdict::Match,
            Some(_) if self.open => Verdict::Match,
            // Deeper than the filter: over the rest of this subtree.
            Some(_) => Verdict::Seek(behind(key, start - 1)),
        }
    }
}

/// Where to go from a key whose level at `start` is `name` and not `level`.
fn seek(key: &[u8], start: usize, level: &[u8], name: &[u8], last_plus: Option<usize>) -> Verdict {
    if name < level {
        let mut to = Vec::from(key.get(..start).unwrap_or_default());
        to.extend_from_slice(level);
        // A name that `level` continues sorts before it, but so may what is below the name.
        return if to.as_slice() > key { Verdict::Seek(to) } else { Verdict::Next };
    }
    match last_plus {
        Some(end) => Verdict::Seek(behind(key, end)),
        // The literal prefix itself was passed.
        None if level.starts_with(name) || name.starts_with(level) => Verdict::Next,
        None => Verdict::End,
    }
}

/// The first key that is neither the first `end` bytes of `key` nor below them.
fn behind(key: &[u8], end: usize) -> Vec<u8> {
    let mut to = Vec::from(key.get(..end).unwrap_or_default());
    to.push(1);
    to
}
