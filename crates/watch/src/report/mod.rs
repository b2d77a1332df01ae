//! The report: one self-contained HTML file with the judgement, the plots that show why, and the reasons in words.

mod charts;
mod options;
mod page;
mod swing;

use plimsoll_judgement::outside::{Change, ChangeKind, Sample, Verdict};

pub(crate) use options::Options;
pub use page::{Head, page};
pub(crate) use page::{report, style};

use crate::describe::Bytes;
use crate::plot::Mark;
use crate::replay::Alarm;

/// What a report is about.
#[derive(Clone, Debug)]
pub(crate) struct Subject<'a> {
    /// What it is called.
    pub(crate) name: &'a str,
    /// What was seen of it, in the order of time.
    pub(crate) samples: &'a [Sample],
    /// How many samples were seen, of which these are a part.
    pub(crate) samples_seen: u64,
    /// What the judge looked at, less what explains it: times and bytes.
    pub(crate) left: &'a [(f64, f64)],
    /// What is thought of it at the end.
    pub(crate) verdict: &'a Verdict,
    /// Why, in sentences.
    pub(crate) reasons: &'a [String],
    /// When it was said that it leaks.
    pub(crate) alarms: Vec<Alarm>,
    /// What happened to it.
    pub(crate) marks: Vec<Mark>,
    /// Where all this comes from: names and values.
    pub(crate) facts: Vec<(String, String)>,
}

/// What the judge has found to have changed; changes of its judgement are said elsewhere.
pub(crate) fn steps(changes: &[Change]) -> impl Iterator<Item = Mark> {
    changes.iter().filter_map(|change| {
        let text = match change.kind {
            ChangeKind::Restarted => "restarted: another process".to_owned(),
            ChangeKind::Step(bytes) if bytes < 0.0 => format!("a step of {} down", Bytes(-bytes)),
            ChangeKind::Step(bytes) => format!("a step of {} up", Bytes(bytes)),
            ChangeKind::Began | ChangeKind::LeakSeen | ChangeKind::LeakOver => return None,
        };
        Some(Mark { at: change.t, text })
    })
}

#[cfg(test)]
mod tests;
