//! The report as one HTML file that needs nothing else: no script to read it, no network.

use std::fmt::Write as _;

use plimsoll_watch::plot::escaped;
use plimsoll_watch::{PageHead, page};

use super::charts::charts;
use super::compare::{self, Row};
use super::outcome::{Judgement, Outcome, Standing};
use super::text;
use crate::quantity::{count, size};

/// The incident's table: what was measured there, for the version that leaked and for the one that did not.
const INCIDENT: [(&str, &str, &str); 6] = [
    ("Memory leak (72 h, retained updates)", "12.4 MB", "0.1 MB"),
    ("Restarts", "2 a day", "0 a month"),
    ("p99 MQTT publish latency (QoS 1)", "142 ms", "89 ms"),
    ("Retained messages before out of memory (4 GB)", "~85,000", "~420,000"),
    ("Monthly SLA penalties (12,000 sensors)", "$3,916", "$0"),
    ("Time to detect the leak", "72 h", "n/a"),
];

/// Cells of at most so many characters stay on one line.
const UNBROKEN: usize = 18;

/// The report of one broker, or of two with their comparison.
pub(super) fn report(outcomes: &[&Outcome]) -> String {
    let names: Vec<&str> = outcomes.iter().map(|outcome| outcome.name.as_str()).collect();
    let title = format!("{} · plimsoll soak", names.join(" and "));
    let mut body = String::new();
    if let [first, second] = outcomes {
        let _ = write!(body, "<h1>{}</h1>", escaped(&names.join(" and ")));
        comparison(&compare::rows(first, second), &names, &mut body);
        for line in compare::differences(first, second) {
            let _ = write!(body, "<p>{}</p>", escaped(&line));
        }
    }
    for outcome in outcomes {
        one(outcome, &mut body);
    }
    if let Some(outcome) = outcomes.first() {
        let environment = &outcome.environment;
        let _ = write!(
            body,
            "<footer>{}. Sizes in text are in powers of 1,000, those of plots in powers of 1,024.</footer>",
            escaped(&environment.tool)
        );
    }
    page(&PageHead { title: &title, refresh: None }, &body)
}

fn one(outcome: &Outcome, body: &mut String) {
    let version = outcome.broker.version.as_deref().unwrap_or("version unknown");
    let _ = write!(
        body,
        "<h1>{}</h1><p class=\"about\">{}</p>",
        escaped(&outcome.name),
        escaped(version)
    );
    let (class, word) = match outcome.verdict {
        Judgement::Pass => ("stable", "Pass: no limit missed"),
        Judgement::Fail => ("leaking", "Fail"),
        Judgement::Partial => ("warming_up", "Cut short; nothing was found until then"),
        Judgement::Unjudged => ("warming_up", "Whether it leaks could not be judged"),
    };
    let failed: Vec<&str> = outcome
        .criteria
        .iter()
        .filter(|criterion| criterion.standing == Standing::Fail)
        .map(|criterion| criterion.name.as_str())
        .collect();
    let unjudged =
        outcome.criteria.iter().filter(|criterion| criterion.standing == Standing::Skipped).count();
    let mut why =
        if failed.is_empty() { String::new() } else { format!(": {}", failed.join("; ")) };
    if unjudged > 0 {
        let _ = write!(why, " ({unjudged} of {} could not be judged)", outcome.criteria.len());
    }
    let _ = write!(
        body,
        "<section class=\"card verdict {class}\">{word}{}.<small>{}<br>{}</small></section>",
        escaped(&why),
        escaped(&text::reached(outcome)),
        escaped(&text::tool(outcome))
    );
    criteria(outcome, body);
    for chart in charts(outcome) {
        let _ = write!(body, "<section class=\"card\">{}</section>", chart.figure());
    }
    incident(outcome, body);
    cycles(outcome, body);
    facts(outcome, body);
}

fn table(head: &[&str], rows: &[Vec<String>], body: &mut String) {
    body.push_str("<div class=\"wide\"><table class=\"figures\"><thead><tr>");
    for name in head {
        let _ = write!(body, "<th scope=\"col\">{}</th>", escaped(name));
    }
    body.push_str("</tr></thead><tbody>");
    for row in rows {
        body.push_str("<tr>");
        for (index, cell) in row.iter().enumerate() {
            let style =
                if cell.chars().count() <= UNBROKEN { " style=\"white-space:nowrap\"" } else { "" };
            let cell = escaped(cell);
            let _ = if index == 0 {
                write!(body, "<th scope=\"row\">{cell}</th>")
            } else {
                write!(body, "<td{style}>{cell}</td>")
            };
        }
        body.push_str("</tr>");
    }
    body.push_str("</tbody></table></div>");
}

fn criteria(outcome: &Outcome, body: &mut String) {
    body.push_str("<section class=\"card\"><h2>Limits</h2>");
    let rows: Vec<Vec<String>> = outcome
        .criteria
        .iter()
        .map(|c| {
            vec![
                c.name.clone(),
                c.standing.word().into(),
                c.measured.clone(),
                c.limit.clone(),
                c.note.clone(),
            ]
        })
        .collect();
    table(&["", "", "measured", "limit", ""], &rows, body);
    body.push_str("</section>");
}

/// The incident's table with a column of what was measured here.
fn incident(outcome: &Outcome, body: &mut String) {
    let limits =
        |name: &str| outcome.criteria.iter().find(|criterion| criterion.name.starts_with(name));
    let measured =
        |name: &str| limits(name).map_or("–".into(), |criterion| criterion.measured.clone());
    let hours = outcome.scenario.production.hours;
    let leak = match outcome.leaks.first() {
        Some(leak) if leak.growth.grows => format!("{} in {hours} h", size(leak.per_hour * hours)),
        Some(leak) => {
            format!("none seen; {} would have been", size(leak.resolution_per_hour * hours))
        }
        None => "–".into(),
    };
    let found = outcome.leaks.iter().any(|leak| leak.growth.grows);
    let detected =
        if found { format!("{:.1} min", outcome.environment.took_s / 60.0) } else { "–".into() };
    let here = [
        leak,
        format!("{} in the run, {:.1} h of events", outcome.loss.restarts, outcome.hours),
        measured("p99"),
        format!("{} (projected)", measured("retained")),
        "a test cannot know".into(),
        detected,
    ];
    body.push_str("<section class=\"card\"><h2>The incident’s table, measured here</h2>");
    let rows: Vec<Vec<String>> = INCIDENT
        .iter()
        .zip(here)
        .map(|((name, leaky, fixed), here)| {
            vec![(*name).into(), (*leaky).into(), (*fixed).into(), here]
        })
        .collect();
    table(&["", "leaking, as reported", "fixed, as reported", &outcome.name], &rows, body);
    body.push_str("</section>");
}

fn cycles(outcome: &Outcome, body: &mut String) {
    body.push_str("<section class=\"card\"><h2>Cycles</h2><p>Memory in quiet, after each kind of phase. The first are for warming up.</p>");
    let rows: Vec<Vec<String>> = (1..)
        .zip(&outcome.cycles)
        .map(|(number, cycle)| {
            let [before, updates, connects, subscriptions, offline] = cycle.quiet.map(size);
            vec![
                format!("{number}{}", if cycle.judged { "" } else { " (warm-up)" }),
                count(cycle.events.updates),
                before,
                updates,
                connects,
                subscriptions,
                offline,
                size(cycle.peak),
                format!("{:.0}", cycle.updates_per_s),
                format!("{:.1}", cycle.p99_ms),
                format!("{:.2}", cycle.cpu_us_per_update),
            ]
        })
        .collect();
    let head = [
        "",
        "updates",
        "before",
        "after updates",
        "connects",
        "subscriptions",
        "absent",
        "peak",
        "updates/s",
        "p99 ms",
        "broker’s µs per update",
    ];
    table(&head, &rows, body);
    body.push_str("</section>");
}

fn facts(outcome: &Outcome, body: &mut String) {
    let (broker, place, memory) = (&outcome.broker, &outcome.environment, &outcome.memory);
    let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "–".into());
    let account = memory.account.map_or("–".into(), size);
    let rows = [
        ("broker", text(&broker.program)),
        ("command", text(&broker.command)),
        ("process, address", format!("{}, {}", broker.pid, broker.address)),
        (
            "began (UTC), took",
            format!(
                "{}, {:.0} s of {:.0} s planned: {}",
                place.started, place.took_s, place.duration_s, outcome.ending
            ),
        ),
        (
            "machine",
            format!("{}, {} processors, {}", place.system, place.processors, size(place.memory)),
        ),
        ("seed", place.seed.to_string()),
        (
            "memory",
            format!(
                "{} started, {} with idle clients, {} filled, {} after the cycles, {} after clearing, {} peak",
                size(memory.started),
                size(memory.connected),
                size(memory.filled),
                text::reached_size(memory.cycled),
                text::reached_size(memory.cleared),
                size(memory.peak)
            ),
        ),
        ("its own account after the cycles", account),
        (
            "each retained message, connection",
            format!("{}, {}", size(memory.per_retained), size(memory.per_connection)),
        ),
        ("publish → PUBACK, steady", quantiles(&outcome.steady)),
        ("publish → listener, steady", quantiles(&outcome.end_to_end)),
        ("publish → PUBACK, updates as fast as possible", quantiles(&outcome.flood)),
        ("this tool was late by", quantiles(&outcome.tool.late)),
    ];
    body.push_str("<section class=\"card\"><h2>Facts</h2>");
    let rows: Vec<Vec<String>> =
        rows.into_iter().map(|(name, value)| vec![name.into(), value]).collect();
    table(&["", ""], &rows, body);
    body.push_str("</section>");
}

fn quantiles(quantiles: &super::outcome::Quantiles) -> String {
    format!(
        "p50 {:.2}, p90 {:.2}, p99 {:.2}, p99.9 {:.2}, max {:.1} ms of {}",
        quantiles.p50,
        quantiles.p90,
        quantiles.p99,
        quantiles.p999,
        quantiles.max,
        count(quantiles.count)
    )
}

fn comparison(rows: &[Row], names: &[&str], body: &mut String) {
    body.push_str("<section class=\"card\"><h2>Compared</h2>");
    let rows: Vec<Vec<String>> = rows
        .iter()
        .map(|row| vec![row.name.into(), row.first.clone(), row.second.clone(), row.ratio_text()])
        .collect();
    let head: Vec<&str> =
        std::iter::once("").chain(names.iter().copied()).chain(["ratio"]).collect();
    table(&head, &rows, body);
    body.push_str("</section>");
}

#[cfg(test)]
mod tests {
    use super::super::outcome::tests::sample;
    use super::*;

    #[test]
    fn a_report_is_one_page_with_everything_escaped() {
        let mut outcome = sample();
        outcome.name = "<b>roker".into();
        let html = report(&[&outcome]);
        assert!(html.contains("&lt;b&gt;roker") && !html.contains("<b>roker"));
        assert!(
            html.starts_with("<!doctype html>")
                && html.contains("<svg")
                && html.contains("12.4 MB")
        );
        assert!(!html.contains("http://") || html.contains("http://www.w3.org"), "no network");
        let both = report(&[&outcome, &sample()]);
        assert!(both.contains("Compared"));
    }
}
