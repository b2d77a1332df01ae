//! The report: one self-contained HTML file with the judgement, the plots that show why, and the reasons in words.

mod charts;
mod explain;
mod page;
mod swing;

use plimsoll_judgement::outside::{Leak, Sample, Verdict};

pub(crate) use page::{Head, page, report, style};

use crate::plot::Mark;

/// What a report is about.
#[derive(Clone, Debug)]
pub(crate) struct Subject<'a> {
    /// What it is called.
    pub(crate) name: &'a str,
    /// What was seen of it, in the order of time.
    pub(crate) samples: &'a [Sample],
    /// How many samples were seen, of which these are a part.
    pub(crate) samples_seen: u64,
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

/// A time during which it was said that it leaks.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Alarm {
    /// When it was first said.
    pub(crate) from: f64,
    /// When it was no longer said; `None` if it still stood at the end.
    pub(crate) to: Option<f64>,
    /// What was said last.
    pub(crate) leak: Leak,
}

#[cfg(test)]
mod tests;
