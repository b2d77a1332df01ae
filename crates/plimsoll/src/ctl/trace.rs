//! `plimsoll ctl trace`: the way of the next publishes, step by step.

use std::fmt::Write as _;
use std::io::IsTerminal;

use clap::Args;
use serde_json::{Value, json};

use super::Said;
use super::client::{Client, Failure};
use super::commands::{list, pretty};
use super::table::{Table, printable};

/// Which publishes.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  plimsoll ctl trace 'plant/7/#'                the next 10 publishes there, for 10 s at most
  plimsoll ctl trace '#' --count 1 --seconds 60
  plimsoll ctl trace '#' --json                 OpenTelemetry's spans (OTLP)

A publish is read (with the wait for the engine), routed, stored if it has to outlive a crash,
delivered to each client (until it is written, or confirmed at QoS 1 and 2), and acknowledged.
Times are microseconds; `at` counts from when the broker began to read.")]
pub(super) struct Trace {
    /// Topic filter
    filter: String,
    /// Publishes, up to 1000
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1000))]
    count: u32,
    /// Seconds to wait for them, up to 60
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=60))]
    seconds: u32,
}

pub(super) fn trace(client: &Client, wanted: &Trace, json: bool) -> Result<Said, Failure> {
    let Trace { filter, count, seconds } = wanted;
    if std::io::stderr().is_terminal() {
        let filter = printable(filter);
        eprintln!("Waiting for {count} publishes on {filter}, for {seconds} s at most …");
    }
    let body = json!({ "filter": filter, "publishes": count, "seconds": seconds });
    let answer = client.post("/api/v1/trace", &body)?;
    let spans = spans(&answer);
    let yes = !spans.is_empty();
    let text = match (json, yes) {
        (true, _) => pretty(&answer),
        (false, true) => ways(spans),
        (false, false) => format!("No publish came on {} in {seconds} s.\n", printable(filter)),
    };
    Ok(Said { text, yes })
}

fn spans(answer: &Value) -> &[Value] {
    let resource = list(answer, "resourceSpans").first();
    let scope = resource.and_then(|resource| list(resource, "scopeSpans").first());
    scope.map(|scope| list(scope, "spans")).unwrap_or_default()
}

/// A table for each publish: its root is followed by its steps.
fn ways(spans: &[Value]) -> String {
    let mut text = String::new();
    let mut rest = spans;
    while let Some((root, behind)) = rest.split_first() {
        let is_step = |span: &&Value| span.get("parentSpanId") == root.get("spanId");
        let steps = behind.iter().take_while(is_step).count();
        let (steps, next) = behind.split_at(steps);
        if !text.is_empty() {
            text.push('\n');
        }
        way(&mut text, root, steps);
        rest = next;
    }
    text
}

fn way(text: &mut String, root: &Value, steps: &[Value]) {
    let begin = nanos(root, "startTimeUnixNano");
    let _ = writeln!(
        text,
        "{} from {}, QoS {}, {} bytes: {} µs{}",
        printable(root.get("name").and_then(Value::as_str).unwrap_or_default()),
        printable(&attribute(root, "messaging.client.id")),
        attribute(root, "mqtt.qos"),
        attribute(root, "messaging.message.body.size"),
        micros(begin, nanos(root, "endTimeUnixNano")),
        status(root).map(|status| format!(", {}", printable(status))).unwrap_or_default(),
    );
    let mut table = Table::new(&["step", ">at", ">took", "client", ""]);
    for step in steps {
        let from = nanos(step, "startTimeUnixNano");
        table.row([
            step.get("name").and_then(Value::as_str).unwrap_or_default().to_owned(),
            micros(begin, from),
            micros(from, nanos(step, "endTimeUnixNano")),
            attribute(step, "messaging.client.id"),
            remarks(step, begin),
        ]);
    }
    text.push_str(&table.text());
}

/// What there is to say of a step: how many it was for, what came when, and what went wrong.
fn remarks(step: &Value, begin: u64) -> String {
    let mut remarks = Vec::new();
    if step.get("name").is_some_and(|name| name == "route") {
        remarks.push(format!("{} sessions", attribute(step, "mqtt.sessions")));
    }
    for event in list(step, "events") {
        let name = event.get("name").and_then(Value::as_str).unwrap_or_default();
        remarks.push(format!("{name} {}", micros(begin, nanos(event, "timeUnixNano"))));
    }
    remarks.extend(status(step).map(str::to_owned));
    remarks.join(", ")
}

fn status(span: &Value) -> Option<&str> {
    span.get("status")?.get("message")?.as_str()
}

fn nanos(value: &Value, name: &str) -> u64 {
    value.get(name).and_then(Value::as_str).and_then(|text| text.parse().ok()).unwrap_or(0)
}

fn micros(from: u64, to: u64) -> String {
    (to.saturating_sub(from) / 1000).to_string()
}

fn attribute(span: &Value, key: &str) -> String {
    let found = list(span, "attributes")
        .iter()
        .find(|attribute| attribute.get("key").is_some_and(|known| known == key));
    let value = found.and_then(|found| found.get("value")?.as_object()?.values().next());
    match value {
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
        None => "-".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_way_is_a_table_with_microseconds() {
        let answer = json!({"resourceSpans": [{"scopeSpans": [{"spans": [
            {
                "name": "publish plant/7", "spanId": "1",
                "startTimeUnixNano": "1000000", "endTimeUnixNano": "1900000",
                "attributes": [
                    {"key": "messaging.client.id", "value": {"stringValue": "sensor\u{1b}[2J"}},
                    {"key": "messaging.message.body.size", "value": {"intValue": "4"}},
                    {"key": "mqtt.qos", "value": {"intValue": "1"}},
                ],
            },
            {
                "name": "route", "spanId": "2", "parentSpanId": "1",
                "startTimeUnixNano": "1010000", "endTimeUnixNano": "1030000",
                "attributes": [{"key": "mqtt.sessions", "value": {"intValue": "1"}}],
            },
            {
                "name": "deliver", "spanId": "3", "parentSpanId": "1",
                "startTimeUnixNano": "1030000", "endTimeUnixNano": "1900000",
                "attributes": [{"key": "messaging.client.id", "value": {"stringValue": "a"}}],
                "events": [{"name": "written", "timeUnixNano": "1050000"}],
            },
            {
                "name": "publish plant/8", "spanId": "4", "attributes": [],
                "startTimeUnixNano": "1", "endTimeUnixNano": "1",
                "status": {"code": 2, "message": "Not authorized"},
            },
        ]}]}]});
        let expected = "\
publish plant/7 from sensor\u{FFFD}[2J, QoS 1, 4 bytes: 900 µs
step     at  took  client
route    10    20  -       1 sessions
deliver  30   870  a       written 50

publish plant/8 from -, QoS -, - bytes: 0 µs, Not authorized
step  at  took  client
";
        assert_eq!(ways(spans(&answer)), expected);
    }
}
