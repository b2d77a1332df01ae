//! `plimsoll ctl top` and `plimsoll ctl delete-retained`.

use std::fmt::Write as _;

use clap::{Args, ValueEnum};
use serde_json::Value;

use super::Said;
use super::client::{Client, Failure};
use super::commands::{list, pretty};
use super::table::{Table, cell, size};

/// Who holds what.
#[derive(Args, Debug)]
pub(super) struct Top {
    /// Of what
    #[arg(value_enum, default_value_t = Of::Clients)]
    of: Of,
    /// By what: of clients bytes, backlog, growth, slow (something waits and they take nothing) or left
    /// (nobody came back for the session); of prefixes bytes, count, growth or backlog (what waits for
    /// clients in memory)
    #[arg(long, value_enum, default_value_t = By::Bytes)]
    by: By,
    /// Places
    #[arg(long, default_value_t = 10)]
    limit: usize,
    /// Levels of a prefix
    #[arg(long, default_value_t = 2)]
    depth: usize,
    /// Seconds without progress that make a client slow
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    slow_after: u32,
    /// Seconds without a connection after which a session has been left
    #[arg(long, value_name = "SECONDS", default_value_t = 86_400)]
    left_after: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Of {
    Clients,
    Prefixes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum By {
    Bytes,
    Backlog,
    Growth,
    Slow,
    Left,
    Count,
}

/// Which retained messages are to go.
#[derive(Args, Debug)]
pub(super) struct DeleteRetained {
    /// Topic filter; one that begins with a wildcard does not match topics that begin with $
    filter: String,
    /// Only count them, and show the first ones
    #[arg(long)]
    dry_run: bool,
}

fn name(value: &impl ValueEnum) -> String {
    value.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

pub(super) fn top(client: &Client, wanted: &Top, json: bool) -> Result<Said, Failure> {
    let figures = [wanted.limit.to_string(), wanted.depth.to_string()];
    let after = [wanted.slow_after.to_string(), wanted.left_after.to_string()];
    let (of, by) = (name(&wanted.of), name(&wanted.by));
    let query = [
        ("of", of.as_str()),
        ("by", &by),
        ("limit", &figures[0]),
        ("depth", &figures[1]),
        ("slow_after", &after[0]),
        ("left_after", &after[1]),
    ];
    let answer = client.get("/api/v1/top", &query)?;
    if json {
        return Ok(Said::yes(pretty(&answer)));
    }
    Ok(Said::yes(if wanted.of == Of::Clients { clients(&answer) } else { prefixes(&answer) }))
}

/// A field that is a span, in the unit that fits.
fn span(value: &Value, name: &str) -> String {
    let Some(secs) = value.get(name).and_then(Value::as_u64) else { return "-".into() };
    match secs {
        0..120 => format!("{secs} s"),
        120..7200 => format!("{} min", secs / 60),
        7200..172_800 => format!("{} h", secs / 3600),
        _ => format!("{} d", secs / 86_400),
    }
}

fn clients(answer: &Value) -> String {
    let mut table = Table::new(&[
        "client",
        ">bytes",
        ">growth",
        ">backlog",
        ">its bytes",
        ">oldest",
        ">unsent",
        ">still",
        ">away",
        ">expires in",
    ]);
    for one in list(answer, "top") {
        let expires = match one.get("away_seconds") {
            Some(_) if one.get("expires_in_seconds").is_none_or(Value::is_null) => "never".into(),
            _ => span(one, "expires_in_seconds"),
        };
        table.row([
            cell(one, "client_id"),
            size(one, "bytes"),
            size(one, "growth_bytes"),
            cell(one, "backlog_messages"),
            size(one, "backlog_bytes"),
            span(one, "backlog_seconds"),
            size(one, "output_bytes"),
            span(one, "still_seconds"),
            span(one, "away_seconds"),
            expires,
        ]);
    }
    let mut text = table.text();
    let _ = writeln!(
        text,
        "{} sessions hold {}; {} are slow; {} were left with {}, {} of them for ever.",
        cell(answer, "sessions"),
        size(answer, "bytes"),
        cell(answer, "slow"),
        cell(answer, "left"),
        size(answer, "left_bytes"),
        cell(answer, "left_for_ever"),
    );
    if let Some(secs) = answer.get("growth_window_seconds").and_then(Value::as_f64) {
        let _ = writeln!(text, "Growth is that of the last {secs:.1} s.");
    }
    text
}

fn prefixes(answer: &Value) -> String {
    let mut table = Table::new(&["prefix", ">messages", ">bytes", ">growth"]);
    for one in list(answer, "top") {
        table.row([
            cell(one, "prefix"),
            cell(one, "messages"),
            size(one, "bytes"),
            size(one, "growth_bytes"),
        ]);
    }
    let mut text = format!("{}{} prefixes.\n", table.text(), cell(answer, "prefixes"));
    if let Some(secs) = answer.get("growth_window_seconds").and_then(Value::as_f64) {
        let _ = writeln!(text, "Growth is that of the last {secs:.1} s.");
    }
    text
}

pub(super) fn delete_retained(
    client: &Client,
    wanted: &DeleteRetained,
    json: bool,
) -> Result<Said, Failure> {
    let dry_run = if wanted.dry_run { "true" } else { "false" };
    let query = [("filter", wanted.filter.as_str()), ("dry_run", dry_run)];
    let answer = client.json("DELETE", "/api/v1/retained", &query)?;
    if json {
        return Ok(Said::yes(pretty(&answer)));
    }
    let done = if wanted.dry_run { "would be deleted" } else { "were deleted" };
    let mut table = Table::new(&["topic"]);
    let topics = list(&answer, "topics");
    for topic in topics {
        table.row([topic.as_str().unwrap_or_default().to_owned()]);
    }
    let mut text = if topics.is_empty() { String::new() } else { table.text() };
    let count = answer.get("messages").and_then(Value::as_u64).unwrap_or(0);
    if count > topics.len() as u64 {
        text.push_str("…\n");
    }
    let _ = writeln!(text, "{count} messages with {} {done}.", size(&answer, "bytes"));
    Ok(Said::yes(text))
}
