//! A report as one HTML file.

use std::fmt::Write as _;

use plimsoll_judgement::outside::{Leak, Verdict};

use super::Subject;
use super::charts::{axis, charts, memory_now, rate};
use crate::describe::{self, Sentence};
use crate::plot::{self, Chart, TimeAxis, Unit, escaped};
use crate::replay::Alarm;

const STYLE: &str = include_str!("page.css");

/// Alarms that are listed, the latest ones.
const ALARMS_LISTED_MAX: usize = 50;

/// What stands at the head of a page.
pub struct Head<'a> {
    /// Its title, not escaped.
    pub title: &'a str,
    /// Seconds after which a browser shall ask again.
    pub refresh: Option<u32>,
}

/// What stands in every page's `<style>`.
pub(crate) fn style() -> String {
    format!("{}{STYLE}", plot::STYLE)
}

/// A whole page around what is in it.
pub fn page(head: &Head<'_>, body: &str) -> String {
    let refresh = head.refresh.map_or_else(String::new, |seconds| {
        format!("<meta http-equiv=\"refresh\" content=\"{seconds}\">")
    });
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<meta name=\"color-scheme\" content=\"light dark\">{refresh}\n<title>{}</title>\n<style>{}</style>\n</head>\n<body>\n<main>{body}</main>\n<script>{}</script>\n</body>\n</html>\n",
        escaped(head.title),
        style(),
        plot::SCRIPT
    )
}

/// The report of one target.
pub(crate) fn report(subject: &Subject<'_>, refresh: Option<u32>) -> String {
    let title = format!("{} · plimsoll watch", subject.name);
    let mut body = format!("<h1>{}</h1>", escaped(subject.name));
    // Writing to a String cannot fail.
    let _ = write!(body, "<p class=\"about\">{}</p>", escaped(&about(subject)));
    verdict(subject, &mut body);
    let mut rest = charts(subject).into_iter();
    for chart in rest.by_ref().take(2) {
        let _ = write!(body, "<section class=\"card\">{}</section>", chart.figure());
    }
    reasons(subject, &mut body);
    leaks(subject, &mut body);
    for (class, list) in by_size(rest) {
        let _ = write!(body, "<div class=\"{class}\">");
        for chart in list {
            let _ = write!(body, "<section class=\"card\">{}</section>", chart.figure());
        }
        body.push_str("</div>");
    }
    facts(subject, &mut body);
    let _ = write!(
        body,
        "<footer>plimsoll watch {}. All times are {}.</footer>",
        env!("CARGO_PKG_VERSION"),
        match axis(subject.samples) {
            TimeAxis::Utc => "UTC",
            TimeAxis::Elapsed => "since the recording began",
        }
    );
    page(&Head { title: &title, refresh }, &body)
}

/// Large charts below each other, then small ones beside each other.
fn by_size(charts: impl Iterator<Item = Chart>) -> [(&'static str, Vec<Chart>); 2] {
    let (small, large) = charts.partition(|chart| chart.height < 150);
    [("large", large), ("small", small)]
}

fn about(subject: &Subject<'_>) -> String {
    let Some((first, last)) = subject.samples.first().zip(subject.samples.last()) else {
        return "Nothing was seen yet.".to_owned();
    };
    let (axis, span) = (axis(subject.samples), describe::Span(last.t - first.t));
    let text = format!("{} samples over {span}", subject.samples_seen);
    match axis {
        TimeAxis::Elapsed => text,
        TimeAxis::Utc => format!("{text}: {} to {}", axis.instant(first.t), axis.instant(last.t)),
    }
}

fn verdict(subject: &Subject<'_>, body: &mut String) {
    let sentence = Sentence(subject.verdict).to_string();
    let mut letters = sentence.chars();
    let capital: String = letters.next().into_iter().flat_map(char::to_uppercase).collect();
    let _ = write!(
        body,
        "<section class=\"card verdict {}\">{}{}.",
        subject.verdict.name(),
        escaped(&capital),
        escaped(letters.as_str())
    );
    if let Some(now) = memory_now(subject.samples, subject.verdict) {
        let _ = write!(body, "<small>{} at the end.</small>", escaped(&now));
    }
    body.push_str("</section>");
}

fn reasons(subject: &Subject<'_>, body: &mut String) {
    if subject.reasons.is_empty() {
        return;
    }
    body.push_str("<section class=\"card\"><h2>Why</h2><ul class=\"reasons\">");
    for reason in subject.reasons {
        let _ = write!(body, "<li>{}</li>", escaped(reason));
    }
    body.push_str("</ul></section>");
}

fn leaks(subject: &Subject<'_>, body: &mut String) {
    if subject.alarms.is_empty() {
        return;
    }
    let axis = axis(subject.samples);
    body.push_str("<section class=\"card\"><h2>Leaks</h2>");
    let passed_over = subject.alarms.len().saturating_sub(ALARMS_LISTED_MAX);
    if passed_over > 0 {
        let _ = write!(
            body,
            "<p>The last {ALARMS_LISTED_MAX}; {passed_over} before them are left out.</p>"
        );
    }
    for alarm in subject.alarms.iter().skip(passed_over) {
        body.push_str("<div class=\"wide\"><table class=\"figures\"><tbody>");
        for (name, figure) in figures(alarm, axis, matches!(subject.verdict, Verdict::Leaking(_))) {
            let _ =
                write!(body, "<tr><th scope=\"row\">{name}</th><td>{}</td></tr>", escaped(&figure));
        }
        body.push_str("</tbody></table></div>");
    }
    body.push_str("</section>");
}

/// Everything that is known of a leak.
fn figures(alarm: &Alarm, axis: TimeAxis, stands: bool) -> Vec<(&'static str, String)> {
    let Leak { bytes_per_hour, error, since, view, driver, bytes_per_event, limit_in_s } =
        alarm.leak;
    let mut figures = vec![
        ("Rate", format!("{} (95 % interval)", rate(bytes_per_hour, error))),
        ("In a month", Unit::Bytes.text(bytes_per_hour * 24.0 * 30.0)),
        ("Began", axis.instant(since)),
        ("Said first", axis.instant(alarm.from_s)),
    ];
    figures.push(match alarm.to_s {
        Some(to) => ("Said until", axis.instant(to)),
        None if stands => ("Said until", "it still stands".to_owned()),
        None => ("Said until", "the end".to_owned()),
    });
    figures.push(("Seen in", describe::view(view).to_owned()));
    figures.push(("Grows", describe::driver(driver).to_owned()));
    figures.extend(bytes_per_event.map(|bytes| ("Each time", format!("{bytes:.1} bytes"))));
    figures.extend(
        limit_in_s.map(|seconds| ("Limit reached in", describe::Span(seconds).to_string())),
    );
    figures
}

fn facts(subject: &Subject<'_>, body: &mut String) {
    if subject.facts.is_empty() {
        return;
    }
    body.push_str("<section class=\"card\"><h2>Where this comes from</h2><div class=\"wide\"><table class=\"figures\"><tbody>");
    for (name, fact) in &subject.facts {
        let _ = write!(
            body,
            "<tr><th scope=\"row\">{}</th><td>{}</td></tr>",
            escaped(name),
            escaped(fact)
        );
    }
    body.push_str("</tbody></table></div></section>");
}
