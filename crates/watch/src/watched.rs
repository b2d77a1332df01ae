//! A target while it is watched.

use std::collections::VecDeque;

use plimsoll_judgement::outside::{Judge, Verdict};

use crate::event::Event;
use crate::procfs::Identity;
use crate::reading::Reading;
use crate::target::Target;

/// Events that are kept of a target.
pub const EVENTS_MAX: usize = 256;

/// A target while it is watched: what outputs show.
#[derive(Debug)]
pub struct Watched {
    /// As it was configured.
    pub target: Target,
    /// The last process that was seen of it, perhaps by a `watch` before this one.
    pub identity: Option<Identity>,
    /// What was seen last.
    pub last: Option<Reading>,
    /// What is thought of it.
    pub judge: Judge,
    /// The judgement as it stands: `judge.verdict()` of a few seconds ago.
    pub verdict: Verdict,
    /// What was recorded of it is still being read: nothing is judged yet.
    pub recalling: bool,
    /// What has happened, oldest first, at most [`EVENTS_MAX`].
    pub events: VecDeque<Event>,
    /// Looks at it since `watch` began.
    pub readings: u64,
}

impl Watched {
    /// Nothing was seen of it yet.
    pub fn new(target: Target) -> Self {
        let judge = Judge::new(target.judgement);
        let verdict = judge.verdict();
        Self {
            target,
            identity: None,
            last: None,
            judge,
            verdict,
            recalling: false,
            events: VecDeque::new(),
            readings: 0,
        }
    }

    /// Adds an event, and lets go of the oldest.
    pub fn happened(&mut self, event: Event) {
        if self.events.len() == EVENTS_MAX {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }
}
