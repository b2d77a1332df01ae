//! What happens to a target.

use std::fmt::{self, Display};
use std::sync::Arc;
use std::time::SystemTime;

use plimsoll_judgement::outside::Verdict;

use crate::describe::Sentence;
use crate::procfs::Identity;

/// Something that has happened to a target.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// The time of day.
    pub time: SystemTime,
    /// On the clock of samples, seconds.
    pub t: f64,
    /// What.
    pub what: Happening,
}

/// What can happen to a target.
#[derive(Clone, Debug, PartialEq)]
pub enum Happening {
    /// It is there, for the first time since `watch` began.
    Appeared {
        /// Which process it is.
        identity: Identity,
        /// What it was found by.
        found: String,
    },
    /// Another process has taken its place.
    Restarted {
        /// The one before.
        before: Identity,
        /// The new one.
        identity: Identity,
    },
    /// It is no longer there.
    Vanished {
        /// Why, as far as it is known.
        why: String,
    },
    /// The kernel has killed processes of its cgroup for want of memory.
    OomKilled {
        /// How many, since the last look.
        count: u64,
    },
    /// It is judged differently.
    Judged {
        /// What was thought before.
        before: Verdict,
        /// What is thought now.
        now: Verdict,
    },
    /// A source of figures does not answer.
    SourceLost {
        /// Its address, without secrets.
        address: Arc<str>,
        /// Why.
        error: Arc<str>,
    },
    /// A source of figures answers again, or for the first time.
    SourceFound {
        /// Its address, without secrets.
        address: Arc<str>,
    },
}

impl Happening {
    /// Its name in JSON: `appeared`, `restarted`, `vanished`, `oom_killed`, `judged`, `source_lost`, `source_found`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Appeared { .. } => "appeared",
            Self::Restarted { .. } => "restarted",
            Self::Vanished { .. } => "vanished",
            Self::OomKilled { .. } => "oom_killed",
            Self::Judged { .. } => "judged",
            Self::SourceLost { .. } => "source_lost",
            Self::SourceFound { .. } => "source_found",
        }
    }
}

impl Display for Happening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Appeared { found, .. } => write!(f, "is there: {found}"),
            Self::Restarted { before, identity } => {
                write!(f, "was restarted: process {} instead of {}", identity.pid, before.pid)
            }
            Self::Vanished { why } => write!(f, "is not there: {why}"),
            Self::OomKilled { count } => {
                write!(f, "the kernel has killed {count} of its processes for want of memory")
            }
            Self::Judged { now, .. } => Sentence(now).fmt(f),
            Self::SourceLost { address, error } => write!(f, "{address} does not answer: {error}"),
            Self::SourceFound { address } => write!(f, "{address} answers"),
        }
    }
}
