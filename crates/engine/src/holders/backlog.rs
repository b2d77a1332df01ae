//! Messages that wait for clients, by the first levels of their topics.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;

use super::{HOLDERS_MAX, Prefix, Top};
use crate::engine::Engine;

/// Messages and sessions looked at in one piece.
const PIECE_STEPS: usize = 1000;

/// Prefixes that are told apart, at most; the rest is one sum.
pub const BACKLOG_PREFIXES_MAX: usize = 10_000;

/// A census of what is in flight and waiting in memory. A message that waits for several clients counts for
/// each of them. What lies in the store alone is not in it: its topics are not known without
/// reading it.
#[derive(Debug)]
pub struct BacklogCensus {
    depth: usize,
    most: usize,
    next_slot: u32,
    /// Where to go on in the queue of that session.
    next_place: usize,
    sums: BTreeMap<Box<str>, Sum>,
    others: Sum,
}

#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    count: u64,
    bytes: u64,
}

impl Sum {
    fn add(&mut self, bytes: usize) {
        self.count += 1;
        self.bytes += bytes as u64;
    }
}

/// The levels of a topic before the `depth`th separator.
fn prefix(topic: &str, depth: usize) -> &str {
    let end = topic.match_indices('/').nth(depth.saturating_sub(1)).map(|(at, _)| at);
    end.and_then(|end| topic.get(..end)).unwrap_or(topic)
}

impl BacklogCensus {
    /// One that has seen nothing yet: topics by their first `depth` levels, the first `most` of them.
    pub fn new(depth: usize, most: usize) -> Self {
        Self {
            depth: depth.max(1),
            most: most.min(HOLDERS_MAX),
            next_slot: 0,
            next_place: 0,
            sums: BTreeMap::new(),
            others: Sum::default(),
        }
    }

    fn see(&mut self, topic: &str, bytes: usize) {
        let prefix = prefix(topic, self.depth);
        if let Some(sum) = self.sums.get_mut(prefix) {
            return sum.add(bytes);
        }
        if self.sums.len() >= BACKLOG_PREFIXES_MAX {
            return self.others.add(bytes);
        }
        self.sums.entry(prefix.into()).or_default().add(bytes);
    }

    /// Different prefixes seen.
    pub fn prefixes(&self) -> u64 {
        self.sums.len() as u64
    }

    /// Messages below prefixes that came when [`BACKLOG_PREFIXES_MAX`] were told apart.
    pub fn others(&self) -> u64 {
        self.others.count
    }

    /// Those with the most bytes.
    pub fn into_top(self) -> Top<Prefix> {
        let mut top = Top::new(self.most);
        for (prefix, Sum { count, bytes }) in self.sums {
            top.offer(bytes, || Prefix { prefix, count, bytes, growth: None });
        }
        top
    }
}

impl Engine {
    /// Goes on with a census of what waits, for well below a millisecond. Answers whether it is over.
    ///
    /// What comes and goes while it goes on may be in it or not.
    pub fn backlog_census(&self, census: &mut BacklogCensus) -> bool {
        let mut left = PIECE_STEPS;
        while census.next_slot < self.sessions.slots() {
            if left == 0 {
                return false;
            }
            left -= 1;
            let flow = self.sessions.get(census.next_slot).and_then(|s| s.flow.as_ref());
            let place = census.next_place;
            let next = flow.and_then(|flow| {
                let steps = left.min(flow.messages_in_memory().saturating_sub(place));
                left -= steps;
                flow.walk_messages(place, steps, |message| {
                    let topic = core::str::from_utf8(message.topic_bytes()).unwrap_or_default();
                    census.see(topic, message.bytes());
                })
            });
            match next {
                Some(place) => census.next_place = place,
                None => (census.next_slot, census.next_place) = (census.next_slot + 1, 0),
            }
        }
        true
    }
}
