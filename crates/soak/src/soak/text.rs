//! What came of a run, in lines for people.

use super::outcome::{Judgement, Outcome, Standing};
use crate::quantity::{clock, count, size};
use std::time::Duration;

impl Judgement {
    /// In capitals, for the last line.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Pass => "PASS",
            Self::Fail => "FAIL",
            Self::Partial => "PARTIAL",
            Self::Unjudged => "NOT JUDGED",
        }
    }
}

impl Standing {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "FAIL",
            Self::Skipped => "–",
        }
    }
}

/// The whole report.
pub(super) fn text(outcome: &Outcome) -> String {
    let mut lines = vec![
        format!(
            "{}: {}",
            outcome.name,
            outcome.broker.version.as_deref().unwrap_or("version unknown")
        ),
        reached(outcome),
        format!(
            "memory    {} started, {} filled, {} after {} cycles, {} after clearing, peak {}",
            size(outcome.memory.started),
            size(outcome.memory.filled),
            reached_size(outcome.memory.cycled),
            outcome.cycles.len(),
            reached_size(outcome.memory.cleared),
            size(outcome.memory.peak)
        ),
        tool(outcome),
        String::new(),
    ];
    let width =
        outcome.criteria.iter().map(|criterion| criterion.name.chars().count()).max().unwrap_or(0);
    for criterion in &outcome.criteria {
        let pad = " ".repeat(width - criterion.name.chars().count());
        lines.push(format!(
            "{:<5} {}{pad}  {} ({})",
            criterion.standing.word(),
            criterion.name,
            criterion.measured,
            criterion.limit
        ));
        if !criterion.note.is_empty() {
            lines.push(format!("      {}", criterion.note));
        }
    }
    lines.push(String::new());
    if outcome.ending != "as planned" {
        lines.push(format!("It did not run to its end: {}.", outcome.ending));
    }
    lines.push(last_word(outcome));
    lines.join("\n") + "\n"
}

/// The verdict, and how much of it could not be given.
pub(super) fn last_word(outcome: &Outcome) -> String {
    let unjudged = |c: &&super::outcome::Criterion| c.standing == Standing::Skipped;
    let word = outcome.verdict.word();
    match outcome.criteria.iter().filter(unjudged).count() {
        0 => word.to_owned(),
        number => {
            format!("{word} ({number} of {} limits could not be judged)", outcome.criteria.len())
        }
    }
}

/// Memory at a moment that the run may not have come to.
pub(super) fn reached_size(bytes: f64) -> String {
    if bytes > 0.0 { size(bytes) } else { "–".into() }
}

/// How much of production's time was put into the run.
pub(super) fn reached(outcome: &Outcome) -> String {
    let production = &outcome.scenario.production;
    let goal = production.hours * production.updates_per_hour;
    format!(
        "reached   {} of {:.1} million updates in {}: {:.1} of {} hours at production's rate; {} connections, {} subscriptions, {} queued messages",
        count(outcome.events.updates),
        goal / 1e6,
        clock(Duration::from_secs_f64(outcome.environment.took_s)),
        outcome.hours,
        production.hours,
        count(outcome.events.connects),
        count(outcome.events.subscriptions),
        count(outcome.events.queued)
    )
}

/// What the tool itself was like.
pub(super) fn tool(outcome: &Outcome) -> String {
    let tool = &outcome.tool;
    let rates: Vec<f64> = outcome.cycles.iter().map(|cycle| cycle.updates_per_s).collect();
    let verdict = if tool.bottleneck { "; THIS TOOL was the bottleneck" } else { "" };
    let rate = super::growth::median(&rates);
    #[expect(clippy::cast_sign_loss, reason = "rates are not negative")]
    let whole = |number: f64| count(number as u64);
    format!(
        "driven    {} updates a second while updating; this tool used {:.0} % of a core for that ({} updates for a second of its own) and waited for one {:.0} % of the time{verdict}",
        whole(rate),
        100.0 * tool.cpu,
        whole(rate / tool.cpu.max(0.001)),
        100.0 * tool.waited
    )
}
