//! The report as it stands, as a page.

use std::fmt::Write as _;
use std::sync::LazyLock;
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest::{SHA256, digest};
use axum::http::header;
use axum::response::{Html, IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use plimsoll_judgement::outside::{ChangeKind, Verdict};

use super::board::Standing;
use crate::describe::{Bytes, Sentence};
use crate::event::Happening;
use crate::plot::{self, Mark, escaped};
use crate::replay::Alarm;
use crate::report::{self, Head, Subject};

/// Seconds after which a browser asks again.
const REFRESH_S: u32 = 30;

/// What a page may do: run our script, look as it says, and nothing else.
static POLICY: LazyLock<String> = LazyLock::new(|| {
    let hash = |text: &str| STANDARD.encode(digest(&SHA256, text.as_bytes()));
    format!(
        "default-src 'none'; script-src 'sha256-{}'; style-src 'sha256-{}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        hash(plot::SCRIPT),
        hash(&report::style())
    )
});

/// A page with its policy.
pub(super) fn answer(html: String) -> Response {
    let headers = [
        (header::CONTENT_SECURITY_POLICY, POLICY.as_str()),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    (headers, Html(html)).into_response()
}

/// The report of one target.
pub(super) fn report(one: &Standing) -> String {
    let samples = one.trail.samples();
    let subject = Subject {
        name: &one.name,
        samples,
        left: &one.left,
        samples_seen: one.recorded + one.readings,
        verdict: &one.verdict,
        reasons: &one.reasons,
        alarms: alarms(one),
        marks: marks(one),
        facts: facts(one),
    };
    report::report(&subject, Some(REFRESH_S))
}

fn alarms(one: &Standing) -> Vec<Alarm> {
    let Verdict::Leaking(leak) = &one.verdict else { return Vec::new() };
    // The judge knows it also of a leak that was said before this watch began.
    let seen = one.changes.iter().rev().find(|change| change.kind == ChangeKind::LeakSeen);
    let now = one.verdict_since.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    let since = seen.map_or(now, |change| change.t);
    vec![Alarm { from_s: since, to_s: None, leak: leak.clone() }]
}

fn marks(one: &Standing) -> Vec<Mark> {
    // Sources come and go with their target; restarts are told by the judge too.
    let told = |what: &Happening| {
        !matches!(
            what,
            Happening::SourceLost { .. }
                | Happening::SourceFound { .. }
                | Happening::Restarted { .. }
        )
    };
    let events = one.events.iter().filter(|event| told(&event.what));
    let mut marks: Vec<Mark> =
        events.map(|event| Mark { at: event.t, text: event.what.to_string() }).collect();
    marks.extend(report::steps(&one.changes));
    marks.sort_by(|one, other| one.at.total_cmp(&other.at));
    marks
}

fn facts(one: &Standing) -> Vec<(String, String)> {
    let mut facts = vec![
        ("Target".to_owned(), one.selector.clone()),
        ("Watched by".to_owned(), format!("plimsoll watch {}", env!("CARGO_PKG_VERSION"))),
    ];
    let Some(last) = &one.last else { return facts };
    let mut fact = |name: &str, value: String| facts.push((name.to_owned(), value));
    match (&last.process, &last.absent) {
        (Some(read), _) => fact("Process", format!("{} (pid {})", read.name, read.identity.pid)),
        (None, Some(absent)) => fact("Process", absent.clone()),
        (None, None) => {}
    }
    if let Some(group) = &last.cgroup {
        let limit = group
            .limit
            .map_or_else(|| "no limit".to_owned(), |limit| format!("limit {}", Bytes(limit)));
        fact("Cgroup", format!("{}, {limit}", group.directory.display()));
    }
    for source in &last.accounts.sources {
        let state = match &source.error {
            Some(error) => error.to_string(),
            None if source.up => "answers".to_owned(),
            None => "has not answered yet".to_owned(),
        };
        fact("Source", format!("{}: {state}", source.address));
    }
    facts
}

/// All targets, each with what is thought of it.
pub(super) fn list(all: &[Standing]) -> String {
    let mut body = String::from("<h1>plimsoll watch</h1>");
    // Writing to a String cannot fail.
    let _ = write!(
        body,
        "<p class=\"about\">{} targets, {}</p>",
        all.len(),
        crate::json::time(SystemTime::now())
    );
    body.push_str("<section class=\"card wide\"><table class=\"figures\"><thead><tr><th scope=\"col\">Target</th><th scope=\"col\">Judgement</th><th scope=\"col\">Resident</th><th scope=\"col\">In words</th></tr></thead><tbody>");
    for one in all {
        let resident = one.last.as_ref().and_then(|last| Some(last.process.as_ref()?.rss));
        let _ = write!(
            body,
            "<tr><th scope=\"row\"><a href=\"/targets/{}\">{}</a></th><td><span class=\"pill {}\">{}</span></td><td>{}</td><td>{}</td></tr>",
            in_path(&one.name),
            escaped(&one.name),
            one.verdict.name(),
            one.verdict.name().replace('_', " "),
            resident.map_or_else(|| "not there".to_owned(), |bytes| Bytes(bytes).to_string()),
            escaped(&Sentence(&one.verdict).to_string()),
        );
    }
    body.push_str("</tbody></table></section>");
    report::page(&Head { title: "plimsoll watch", refresh: Some(REFRESH_S) }, &body)
}

/// A name as a part of a path.
fn in_path(name: &str) -> String {
    let mut path = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                path.push(char::from(byte));
            }
            other => drop(write!(path, "%{other:02X}")),
        }
    }
    path
}
