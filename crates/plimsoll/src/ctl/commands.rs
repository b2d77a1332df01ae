//! What can be asked, and how the answers look.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::client::{Client, Failure, escaped};
use super::table::{Table, ago, bytes, cell, printable, size};
use super::{Command, Said};

/// Entries of one request.
const PAGE: usize = 500;

/// Which clients.
#[derive(Args, Debug)]
pub(super) struct Clients {
    /// All about this one
    #[arg(conflicts_with_all = ["search", "prefix", "sort"])]
    client: Option<String>,
    /// Client identifier or user name contains this
    #[arg(long, value_name = "TEXT")]
    search: Option<String>,
    /// Client identifier begins with this
    #[arg(long, value_name = "TEXT")]
    prefix: Option<String>,
    /// Those that are not connected
    #[arg(long)]
    away: bool,
    /// What the table is sorted by; numbers with the largest first
    #[arg(long, value_enum, default_value_t = Sort::Client)]
    sort: Sort,
    /// Entries at most; 0 is all
    #[arg(long, default_value_t = 1000)]
    limit: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Sort {
    Client,
    User,
    Queued,
    Inflight,
    Dropped,
    Subscriptions,
    Unsent,
    Seen,
}

impl Sort {
    /// The field, and whether it is a number.
    fn field(self) -> (&'static str, bool) {
        match self {
            Self::Client => ("client_id", false),
            Self::User => ("username", false),
            Self::Queued => ("queued", true),
            Self::Inflight => ("inflight", true),
            Self::Dropped => ("dropped", true),
            Self::Subscriptions => ("subscriptions", true),
            Self::Unsent => ("unsent_bytes", true),
            Self::Seen => ("seen_at", true),
        }
    }
}

/// Whom to disconnect.
#[derive(Args, Debug)]
pub(super) struct Kick {
    /// Client identifiers
    #[arg(required = true)]
    clients: Vec<String>,
    /// End their sessions too: subscriptions and queued messages are deleted
    #[arg(long)]
    end_session: bool,
}

/// Which subscriptions.
#[derive(Args, Debug)]
pub(super) struct Subscriptions {
    /// Those of this client
    #[arg(long, value_name = "CLIENT")]
    client: Option<String>,
    /// The filter contains this
    #[arg(long, value_name = "TEXT", conflicts_with = "client")]
    search: Option<String>,
    /// Entries at most; 0 is all
    #[arg(long, default_value_t = 1000)]
    limit: usize,
}

/// Which retained messages.
#[derive(Args, Debug)]
pub(super) struct Retained {
    /// Topic filter
    #[arg(default_value = "#")]
    filter: String,
    /// Bytes of payload that are shown
    #[arg(long, value_name = "BYTES", default_value_t = 60)]
    preview: usize,
    /// Entries at most; 0 is all
    #[arg(long, default_value_t = 1000)]
    limit: usize,
}

/// In which form.
#[derive(Args, Debug)]
pub(super) struct Metrics {
    /// `OpenMetrics` in place of Prometheus' older form
    #[arg(long)]
    openmetrics: bool,
}

/// Where to.
#[derive(Args, Debug)]
pub(super) struct Heap {
    /// File
    #[arg(short, long, value_name = "FILE", default_value = "plimsoll-heap.pb.gz")]
    output: PathBuf,
}

/// Does one command.
pub(super) fn run(command: &Command, client: &Client, json: bool) -> Result<Said, Failure> {
    let table = |answer: Value, table: fn(&Value) -> String| {
        let text = if json { pretty(&answer) } else { table(&answer) };
        Ok(Said::yes(text))
    };
    match command {
        Command::Health => health(client, json),
        Command::Memory => table(client.get("/api/v1/memory", &[])?, super::memory::memory),
        Command::Clients(wanted) => {
            let connected = if wanted.away { "false" } else { "true" };
            clients(client, wanted, Some(connected), json)
        }
        Command::Sessions(wanted) => clients(client, wanted, wanted.away.then_some("false"), json),
        Command::Kick(wanted) => kick(client, wanted, json),
        Command::Subscriptions(wanted) => subscriptions(client, wanted, json),
        Command::Retained(wanted) => retained(client, wanted, json),
        Command::DeleteRetained(wanted) => super::top::delete_retained(client, wanted, json),
        Command::Top(wanted) => super::top::top(client, wanted, json),
        Command::Alarms => {
            let answer = client.get("/api/v1/alarms", &[])?;
            let none = list(&answer, "alarms").is_empty();
            let text = if json { pretty(&answer) } else { alarms(&answer) };
            Ok(Said { text, yes: none })
        }
        Command::Listeners => table(client.get("/api/v1/listeners", &[])?, listeners),
        Command::Systree => table(client.get("/api/v1/systree", &[])?, systree),
        Command::Metrics(wanted) => {
            let accept =
                if wanted.openmetrics { "application/openmetrics-text" } else { "text/plain" };
            let text = client.bytes("/metrics", accept)?;
            Ok(Said::yes(String::from_utf8_lossy(&text).into_owned()))
        }
        Command::Reload => table(client.json("POST", "/api/v1/reload", &[])?, |_| {
            "The configuration was read again and is in force.\n".into()
        }),
        Command::Recount => {
            let answer = client.json("POST", "/api/v1/recount", &[])?;
            let agrees = answer.get("agrees").and_then(Value::as_bool).unwrap_or(false);
            let text = if json { pretty(&answer) } else { recount(&answer) };
            Ok(Said { text, yes: agrees })
        }
        Command::Heap(wanted) => heap(client, wanted, json),
        Command::Trace(wanted) => super::trace::trace(client, wanted, json),
    }
}

pub(super) fn pretty(answer: &Value) -> String {
    let mut text = serde_json::to_string_pretty(answer).unwrap_or_default();
    text.push('\n');
    text
}

pub(super) fn list<'a>(answer: &'a Value, name: &str) -> &'a [Value] {
    answer.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

/// Gathers pages until there are enough entries. Answers the last page with all entries in it.
fn pages(
    client: &Client,
    path: &str,
    query: &[(&str, &str)],
    name: &str,
    limit: usize,
) -> Result<Value, Failure> {
    let most = if limit == 0 { usize::MAX } else { limit };
    let mut found: Vec<Value> = Vec::new();
    let mut cursor: Option<String> = None;
    loop {
        let page = PAGE.min(most - found.len()).to_string();
        let mut query = query.to_vec();
        query.push(("limit", &page));
        if let Some(cursor) = &cursor {
            query.push(("cursor", cursor));
        }
        let mut answer = client.get(path, &query)?;
        if let Some(Value::Array(entries)) = answer.get_mut(name).map(Value::take) {
            found.extend(entries);
        }
        cursor = answer.get("cursor").and_then(Value::as_str).map(str::to_owned);
        if cursor.is_none() || found.len() >= most {
            if let (Value::Object(answer), true) = (&mut answer, true) {
                answer.insert(name.to_owned(), Value::Array(found));
            }
            return Ok(answer);
        }
    }
}

/// That there are more, for people.
fn more(text: &mut String, answer: &Value, shown: usize) {
    if answer.get("cursor").is_some_and(Value::is_string) {
        let _ = writeln!(text, "… {shown} shown, there are more: --limit 0 shows all");
    }
}

fn health(client: &Client, json: bool) -> Result<Said, Failure> {
    let answer = client.get("/readyz", &[])?;
    Ok(Said::yes(if json { pretty(&answer) } else { "ok: alive and ready\n".into() }))
}

fn clients(
    client: &Client,
    wanted: &Clients,
    connected: Option<&str>,
    json: bool,
) -> Result<Said, Failure> {
    if let Some(identifier) = &wanted.client {
        let one = client.get(&format!("/api/v1/clients/{}", escaped(identifier)), &[])?;
        return Ok(Said::yes(if json { pretty(&one) } else { detail(&one) }));
    }
    let mut query = Vec::new();
    if let Some(connected) = connected {
        query.push(("connected", connected));
    }
    if let Some(search) = &wanted.search {
        query.push(("search", search.as_str()));
    }
    if let Some(prefix) = &wanted.prefix {
        query.push(("prefix", prefix.as_str()));
    }
    let mut answer = pages(client, "/api/v1/sessions", &query, "clients", wanted.limit)?;
    if let Some(Value::Array(clients)) = answer.get_mut("clients") {
        let (field, number) = wanted.sort.field();
        clients.sort_by(|a, b| match number {
            true => {
                let figure = |one: &Value| one.get(field).and_then(Value::as_f64).unwrap_or(0.0);
                figure(b).total_cmp(&figure(a))
            }
            false => cell(a, field).cmp(&cell(b, field)),
        });
    }
    if json {
        return Ok(Said::yes(pretty(&answer)));
    }
    let mut table = Table::new(&[
        "client",
        "user",
        "state",
        "MQTT",
        "listener",
        ">subscr.",
        ">queued",
        ">inflight",
        ">unsent",
        ">dropped",
        ">seen",
    ]);
    let now = now();
    let found = list(&answer, "clients");
    for one in found {
        let connected = one.get("connected").and_then(Value::as_bool).unwrap_or(false);
        table.row([
            cell(one, "client_id"),
            cell(one, "username"),
            if connected { "connected" } else { "away" }.to_owned(),
            cell(one, "version"),
            cell(one, "listener"),
            cell(one, "subscriptions"),
            cell(one, "queued"),
            cell(one, "inflight"),
            size(one, "unsent_bytes"),
            cell(one, "dropped"),
            ago(one, "seen_at", now),
        ]);
    }
    let mut text = table.text();
    more(&mut text, &answer, found.len());
    Ok(Said::yes(text))
}

fn detail(one: &Value) -> String {
    let mut table = Table::new(&["", ""]);
    let now = now();
    for name in [
        "client_id",
        "username",
        "connected",
        "version",
        "listener",
        "keep_alive_seconds",
        "session_expiry_seconds",
        "subscriptions",
        "queued",
        "inflight",
        "unsent_bytes",
        "dropped",
        "will",
    ] {
        table.row([name.to_owned(), cell(one, name)]);
    }
    for name in ["seen_at", "lost_at"] {
        if one.get(name).is_some_and(Value::is_number) {
            table.row([name.to_owned(), format!("{} ago", ago(one, name, now))]);
        }
    }
    let mut text = table.text().trim_start().to_owned();
    for subscription in list(one, "subscription_list") {
        let _ = writeln!(
            text,
            "subscribes to {} (QoS {})",
            printable(&cell(subscription, "filter")),
            cell(subscription, "qos")
        );
    }
    text
}

fn kick(client: &Client, wanted: &Kick, json: bool) -> Result<Said, Failure> {
    let (kind, done) = match wanted.end_session {
        true => ("sessions", "is gone with its session"),
        false => ("clients", "was disconnected"),
    };
    let mut said = Said::yes(String::new());
    let mut kicked = Vec::new();
    for identifier in &wanted.clients {
        match client.json("DELETE", &format!("/api/v1/{kind}/{}", escaped(identifier)), &[]) {
            Ok(_) => {
                let _ = writeln!(said.text, "{identifier} {done}.");
                kicked.push(identifier);
            }
            Err(Failure::No(why)) => {
                eprintln!("Error: {}", printable(&why));
                said.yes = false;
            }
            Err(failure) => return Err(failure),
        }
    }
    if json {
        said.text = pretty(&json!({ "kicked": kicked }));
    }
    Ok(said)
}

fn subscriptions(client: &Client, wanted: &Subscriptions, json: bool) -> Result<Said, Failure> {
    let mut query = Vec::new();
    let name = match (&wanted.client, &wanted.search) {
        (Some(identifier), _) => {
            query.push(("client", identifier.as_str()));
            "subscriptions"
        }
        (None, search) => {
            query.extend(search.as_ref().map(|search| ("search", search.as_str())));
            "filters"
        }
    };
    let answer = pages(client, "/api/v1/subscriptions", &query, name, wanted.limit)?;
    if json {
        return Ok(Said::yes(pretty(&answer)));
    }
    let found = list(&answer, name);
    let table = if wanted.client.is_some() {
        let mut table = Table::new(&["filter", ">QoS", "no local", "as published", ">identifier"]);
        for one in found {
            table.row(
                ["filter", "qos", "no_local", "retain_as_published", "identifier"]
                    .map(|name| cell(one, name)),
            );
        }
        table
    } else {
        let mut table = Table::new(&["filter", ">subscribers", "clients"]);
        for one in found {
            let named: Vec<&str> = list(one, "clients").iter().filter_map(Value::as_str).collect();
            let subscribers = one.get("subscribers").and_then(Value::as_u64).unwrap_or(0);
            let rest = if subscribers > named.len() as u64 { ", …" } else { "" };
            table.row([
                cell(one, "filter"),
                cell(one, "subscribers"),
                format!("{}{rest}", named.join(", ")),
            ]);
        }
        table
    };
    let mut text = table.text();
    more(&mut text, &answer, found.len());
    Ok(Said::yes(text))
}

fn retained(client: &Client, wanted: &Retained, json: bool) -> Result<Said, Failure> {
    let preview = wanted.preview.to_string();
    let query = [("filter", wanted.filter.as_str()), ("preview", preview.as_str())];
    let answer = pages(client, "/api/v1/retained", &query, "retained", wanted.limit)?;
    if json {
        return Ok(Said::yes(pretty(&answer)));
    }
    let mut table = Table::new(&["topic", ">QoS", ">size", "payload"]);
    let found = list(&answer, "retained");
    for one in found {
        let binary = one.get("payload_base64").is_some();
        let shown = cell(one, if binary { "payload_base64" } else { "payload" });
        let cut = one.get("truncated").and_then(Value::as_bool).unwrap_or(false);
        let note = if binary { " (base64)" } else { "" };
        let payload = format!("{shown}{}{note}", if cut { "…" } else { "" });
        table.row([cell(one, "topic"), cell(one, "qos"), size(one, "size_bytes"), payload]);
    }
    let mut text = table.text();
    more(&mut text, &answer, found.len());
    Ok(Said::yes(text))
}

fn alarms(answer: &Value) -> String {
    let found = list(answer, "alarms");
    if found.is_empty() {
        return "No alarm stands.\n".into();
    }
    let mut text = String::new();
    for alarm in found {
        let (severity, words) = (cell(alarm, "severity"), cell(alarm, "text"));
        let _ = writeln!(text, "{severity}: {}: {words}", cell(alarm, "name"));
        let owners = alarm.get("leak").map(|leak| list(leak, "owners")).unwrap_or_default();
        for owner in owners.iter().take(3) {
            let _ = writeln!(text, "  {} more, by:", size(owner, "grown_bytes"));
            for call in list(owner, "calls").iter().filter_map(Value::as_str) {
                let _ = writeln!(text, "    {call}");
            }
        }
    }
    text
}

fn listeners(answer: &Value) -> String {
    let names = ["port", "path", "protocol", "tls", "mtls", "allow_anonymous", "connections"];
    let mut table =
        Table::new(&[">port", "path", "protocol", "TLS", "mTLS", "anonymous", ">connections"]);
    for one in list(answer, "listeners") {
        table.row(names.map(|name| cell(one, name)));
    }
    table.text()
}

fn systree(answer: &Value) -> String {
    let mut table = Table::new(&["topic", ">figure"]);
    for topic in answer.as_object().into_iter().flat_map(serde_json::Map::keys) {
        table.row([topic.clone(), cell(answer, topic)]);
    }
    table.text()
}

fn recount(answer: &Value) -> String {
    let mut table = Table::new(&["account", ">charged", ">counted", ">difference"]);
    for one in list(answer, "accounts") {
        let figure = |name: &str| one.get(name).and_then(Value::as_i64).unwrap_or(0);
        let (charged, counted) = (figure("charged_bytes"), figure("counted_bytes"));
        let difference = (charged - counted).to_string();
        table.row([cell(one, "name"), charged.to_string(), counted.to_string(), difference]);
    }
    let agrees = answer.get("agrees").and_then(Value::as_bool).unwrap_or(false);
    let words = match agrees {
        true => "The ledger and the recount agree to the byte.",
        false => "The ledger and the recount DIFFER.",
    };
    let budgets = match answer.get("budgets_differing").and_then(Value::as_u64) {
        Some(differing @ 1..) => format!("{differing} budgets DIFFER.\n"),
        _ => String::new(),
    };
    format!("{}{words}\n{budgets}", table.text())
}

fn heap(client: &Client, wanted: &Heap, json: bool) -> Result<Said, Failure> {
    let profile = client.bytes("/api/v1/heap", "application/octet-stream")?;
    let path = wanted.output.display();
    fs::write(&wanted.output, &profile)
        .map_err(|error| Failure::Mistake(format!("{path}: {error}")))?;
    let size = bytes(profile.len() as f64);
    Ok(Said::yes(match json {
        true => pretty(&json!({ "file": wanted.output, "bytes": profile.len() })),
        false => format!("{size} written to {path}; look at it with `pprof -top {path}`.\n"),
    }))
}
