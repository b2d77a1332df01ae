//! Two runs side by side: before and after an upgrade, or one broker and another.

use std::path::{Path, PathBuf};

use clap::Args;

use super::growth::{median, quantile};
use super::outcome::{CycleRecord, FORMAT, Outcome};
use super::text::reached_size;
use crate::quantity::{count, size};

/// Compare two runs by what --json has written
#[derive(Args, Clone, Debug)]
#[command(after_help = "Example:
  plimsoll soak compare mosquitto-2.0.11.json mosquitto-2.0.18.json --report upgrade.html

A ratio is that of B to A; its spread is that of single cycles (first to third quartile).
Exit code: 0 B keeps its limits, 1 it does not, 2 a file could not be read.")]
pub(super) struct Options {
    /// What --json has written for A
    pub(super) first: PathBuf,
    /// What --json has written for B
    pub(super) second: PathBuf,
    /// Writes a report with plots of both
    #[arg(long, value_name = "FILE")]
    pub(super) report: Option<PathBuf>,
}

/// One line of a comparison.
pub(super) struct Row {
    pub(super) name: &'static str,
    pub(super) first: String,
    pub(super) second: String,
    /// B to A: the middle, and its quartiles, over cycles in pairs; one figure for what there is once.
    pub(super) ratio: Option<(f64, Option<(f64, f64)>)>,
}

impl Row {
    /// The ratio for people.
    pub(super) fn ratio_text(&self) -> String {
        match self.ratio {
            None => "–".into(),
            Some((ratio, None)) => format!("× {ratio:.2}"),
            Some((ratio, Some((low, high)))) => format!("× {ratio:.2} ({low:.2} to {high:.2})"),
        }
    }
}

/// Reads what `--json` has written.
pub(super) fn read(path: &Path) -> Result<Outcome, String> {
    let name = path.display();
    let text = std::fs::read_to_string(path).map_err(|error| format!("{name}: {error}"))?;
    let outcome: Outcome = serde_json::from_str(&text)
        .map_err(|error| format!("{name} is not what `plimsoll soak --json` writes: {error}"))?;
    match outcome.format {
        FORMAT => Ok(outcome),
        other => Err(format!("{name} has form {other}; this program reads form {FORMAT}")),
    }
}

/// All lines.
pub(super) fn rows(first: &Outcome, second: &Outcome) -> Vec<Row> {
    let leak = |outcome: &Outcome| match outcome.leaks.first() {
        Some(leak) if leak.growth.grows => format!("{:.3} MB/h", leak.per_hour / 1e6),
        Some(leak) => format!("none above {:.3} MB/h", leak.resolution_per_hour / 1e6),
        None => "not judged".into(),
    };
    let plain = |name, figure: fn(&Outcome) -> f64, show: fn(f64) -> String| Row {
        name,
        first: show(figure(first)),
        second: show(figure(second)),
        ratio: (figure(first) > 0.0 && figure(second) > 0.0)
            .then(|| (figure(second) / figure(first), None)),
    };
    vec![
        Row { name: "leak", first: leak(first), second: leak(second), ratio: None },
        plain("lost, stale, doubled", |o| o.loss.total() as f64, |n| format!("{n:.0}")),
        per_cycle("updates a second", first, second, |c| c.updates_per_s, |n| format!("{n:.0}")),
        per_cycle(
            "broker’s µs per update",
            first,
            second,
            |c| c.cpu_us_per_update,
            |n| format!("{n:.2}"),
        ),
        per_cycle("p50 publish → PUBACK, ms", first, second, |c| c.p50_ms, |n| format!("{n:.2}")),
        per_cycle("p99 publish → PUBACK, ms", first, second, |c| c.p99_ms, |n| format!("{n:.2}")),
        per_cycle("memory in quiet", first, second, |c| c.quiet[4], size),
        plain("peak memory", |o| o.memory.peak, reached_size),
        plain("each retained message", |o| o.memory.per_retained, reached_size),
        plain("each idle connection", |o| o.memory.per_connection, reached_size),
        plain("memory after clearing", |o| o.memory.cleared, reached_size),
        plain(
            "updates in all",
            |o| o.events.updates as f64,
            |n| {
                #[expect(clippy::cast_sign_loss, reason = "it is a count")]
                count(n as u64)
            },
        ),
    ]
}

/// A figure that each cycle has: the middle ones, and the spread of the ratios of cycles in pairs.
fn per_cycle(
    name: &'static str,
    first: &Outcome,
    second: &Outcome,
    figure: fn(&CycleRecord) -> f64,
    show: fn(f64) -> String,
) -> Row {
    let of = |outcome: &Outcome| -> Vec<f64> {
        outcome.cycles.iter().filter(|cycle| cycle.judged).map(figure).collect()
    };
    let (a, b) = (of(first), of(second));
    let ratios: Vec<f64> =
        a.iter().zip(&b).filter(|(a, _)| **a > 0.0).map(|(a, b)| b / a).collect();
    let spread = (quantile(&ratios, 0.25), quantile(&ratios, 0.75));
    Row {
        name,
        first: show(median(&a)),
        second: show(median(&b)),
        ratio: (!ratios.is_empty()).then(|| (median(&ratios), Some(spread))),
    }
}

/// The lines for people.
pub(super) fn text(first: &Outcome, second: &Outcome) -> String {
    let mut lines = vec![format!("{:<28}{:>24}{:>24}   B to A", "", first.name, second.name)];
    for row in rows(first, second) {
        // Formatting pads by characters.
        lines.push(format!(
            "{:<28}{:>24}{:>24}   {}",
            row.name,
            row.first,
            row.second,
            row.ratio_text()
        ));
    }
    lines.extend(differences(first, second));
    lines.join("\n") + "\n"
}

/// What makes the two runs hard to compare.
pub(super) fn differences(first: &Outcome, second: &Outcome) -> Vec<String> {
    let mut lines = Vec::new();
    if first.scenario != second.scenario {
        lines.push(
            "The two runs had different scenarios: loads and limits are not the same.".into(),
        );
    }
    let (a, b) = (first.environment.duration_s, second.environment.duration_s);
    if (a - b).abs() > 0.1 * a.max(b) {
        lines.push(format!("The two runs were planned for {a:.0} s and {b:.0} s."));
    }
    for outcome in [first, second] {
        if outcome.ending != "as planned" {
            lines.push(format!("{} did not run to its end: {}.", outcome.name, outcome.ending));
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::super::outcome::tests::sample;
    use super::*;

    #[test]
    fn ratios_have_a_spread() {
        let (first, mut second) = (sample(), sample());
        for (index, cycle) in (0u8..).zip(&mut second.cycles) {
            cycle.updates_per_s *= 2.0 + 0.1 * f64::from(index);
        }
        let rows = rows(&first, &second);
        let rate = rows.iter().find(|row| row.name == "updates a second").expect("a row");
        let (middle, spread) = rate.ratio.expect("a ratio");
        let (low, high) = spread.expect("a spread");
        assert!(low < middle && middle < high && low >= 2.0, "{middle} {low} {high}");
        assert!(text(&first, &second).contains("× 2."));
        assert!(differences(&first, &second).is_empty());
        second.ending = "interrupted".into();
        second.scenario.load.window += 1;
        second.environment.duration_s = 99.0;
        assert_eq!(differences(&first, &second).len(), 3);
    }

    #[test]
    fn files_that_are_something_else_are_named() {
        let place = std::env::temp_dir().join(format!("compare-{}.json", std::process::id()));
        let written = serde_json::to_string(&sample()).expect("JSON");
        std::fs::write(&place, &written).expect("a file");
        assert_eq!(read(&place).expect("readable").events, sample().events);
        std::fs::write(&place, written.replacen("\"format\":1", "\"format\":9", 1))
            .expect("a file");
        assert!(read(&place).expect_err("another form").contains("form 9"));
        std::fs::write(&place, "{}").expect("a file");
        assert!(read(&place).expect_err("no outcome").contains("soak --json"));
        std::fs::remove_file(&place).expect("removed");
    }
}
