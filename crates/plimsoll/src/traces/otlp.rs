//! Ways as OpenTelemetry's spans: OTLP as JSON, version 1 of `ExportTraceServiceRequest`.
//!
//! Names are those of the semantic conventions for messaging
//! (<https://opentelemetry.io/docs/specs/semconv/messaging/>); what they have no name for begins with
//! `mqtt.`. The root span `publish TOPIC` is the broker's whole work for a message; below it lie `read`,
//! `route`, `store`, `acknowledge`, and a `deliver` for each client.

use std::borrow::Cow;
use std::time::Instant;

use plimsoll_ledger::Measure;
use plimsoll_mqtt::ReasonCode;
use serde::Serialize;

use super::parent::{Identifiers, Parent};
use super::way::{Delivery, Refused, Way};
use super::{Collected, WallClock};
use crate::broker::events::limit_text;

/// Bytes of spans in one document that is sent on.
const DOCUMENT_BYTES: usize = 256 * 1024;

/// Kinds of spans (`SpanKind`).
const INTERNAL: u8 = 1;
const SERVER: u8 = 2;
const PRODUCER: u8 = 4;

/// `STATUS_CODE_ERROR`
const ERROR: u8 = 2;

/// Spans, ready to be sent.
#[derive(Debug, Default)]
pub(crate) struct Document {
    /// As JSON, with commas between.
    spans: Vec<u8>,
    pub(crate) count: usize,
}

impl Document {
    /// All of it: resource and scope around the spans.
    pub(crate) fn json(documents: &[Self]) -> Vec<u8> {
        let version = env!("CARGO_PKG_VERSION");
        let head = format!(
            r#"{{"resourceSpans":[{{"resource":{{"attributes":[{{"key":"service.name","value":{{"stringValue":"plimsoll"}}}},{{"key":"service.version","value":{{"stringValue":"{version}"}}}},{{"key":"process.pid","value":{{"intValue":"{}"}}}}]}},"scopeSpans":[{{"scope":{{"name":"plimsoll","version":"{version}"}},"spans":["#,
            std::process::id(),
        );
        let tail = b"]}]}]}";
        let bytes: usize = documents.iter().map(|document| document.spans.len() + 1).sum();
        let mut json = Vec::with_capacity(head.len() + bytes + tail.len());
        json.extend_from_slice(head.as_bytes());
        for (number, document) in documents.iter().enumerate() {
            if number > 0 {
                json.push(b',');
            }
            json.extend_from_slice(&document.spans);
        }
        json.extend_from_slice(tail);
        json
    }

    /// What it owns on the heap.
    pub(super) fn heap_bytes(&self) -> usize {
        self.spans.heap_bytes()
    }

    fn push(&mut self, span: &Span<'_>) -> Result<(), String> {
        if self.count > 0 {
            self.spans.push(b',');
        }
        self.count += 1;
        serde_json::to_writer(&mut self.spans, span).map_err(|error| error.to_string())
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Span<'a> {
    trace_id: &'a str,
    span_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent_span_id: Option<&'a str>,
    name: Cow<'a, str>,
    kind: u8,
    /// 64-bit numbers are strings in the JSON form of protocol buffers.
    start_time_unix_nano: String,
    end_time_unix_nano: String,
    attributes: Vec<Attribute<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    events: Vec<Event>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Status>,
}

#[derive(Serialize)]
struct Attribute<'a> {
    key: &'static str,
    value: Value<'a>,
}

#[derive(Serialize)]
enum Value<'a> {
    #[serde(rename = "stringValue")]
    Text(Cow<'a, str>),
    #[serde(rename = "intValue")]
    Whole(String),
    #[serde(rename = "boolValue")]
    Flag(bool),
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    time_unix_nano: String,
    name: &'static str,
}

#[derive(Serialize)]
struct Status {
    code: u8,
    message: String,
}

fn text<'a>(key: &'static str, value: impl Into<Cow<'a, str>>) -> Attribute<'a> {
    Attribute { key, value: Value::Text(value.into()) }
}

fn number<'a>(key: &'static str, value: impl Into<u64>) -> Attribute<'a> {
    Attribute { key, value: Value::Whole(value.into().to_string()) }
}

fn flag<'a>(key: &'static str, value: bool) -> Attribute<'a> {
    Attribute { key, value: Value::Flag(value) }
}

fn error(message: impl Into<String>) -> Status {
    Status { code: ERROR, message: message.into() }
}

fn refusal(reason: ReasonCode) -> Option<Status> {
    reason.is_error().then(|| error(reason.to_string()))
}

/// Writes what was collected. Fails if the system has no randomness for identifiers.
pub(crate) fn write(collected: &Collected) -> Result<Vec<Document>, String> {
    let writer = Writer { clock: collected.clock, new: Identifiers::new() };
    let mut documents = vec![Document::default()];
    for way in &collected.ways {
        match documents.last_mut() {
            Some(last) if last.spans.len() < DOCUMENT_BYTES => writer.way(way, last)?,
            _ => {
                let mut next = Document::default();
                writer.way(way, &mut next)?;
                documents.push(next);
            }
        }
    }
    Ok(documents)
}

struct Writer {
    clock: WallClock,
    new: Identifiers,
}

/// A span of which only times and a few more things are to be said.
struct Part<'a> {
    name: &'static str,
    kind: u8,
    from: Instant,
    to: Instant,
    attributes: Vec<Attribute<'a>>,
    events: Vec<(Instant, &'static str)>,
    status: Option<Status>,
}

impl<'a> Part<'a> {
    fn new(name: &'static str, from: Instant, to: Instant) -> Self {
        Self {
            name,
            kind: INTERNAL,
            from,
            to,
            attributes: Vec::new(),
            events: Vec::new(),
            status: None,
        }
    }

    fn with(self, attributes: Vec<Attribute<'a>>, status: Option<Status>) -> Self {
        Self { attributes, status, ..self }
    }
}

impl Writer {
    fn at(&self, instant: Instant) -> String {
        self.clock.nanos(instant).to_string()
    }

    /// The spans of a publish: the root first.
    fn way(&self, way: &Way, into: &mut Document) -> Result<(), String> {
        // Of one that had begun before anybody asked, or of which the rest is missing, there is no root.
        let Some((received, turn, peer)) = &way.received else { return Ok(()) };
        let parent = received.parent.as_deref().and_then(Parent::parse);
        let trace = match &parent {
            Some(parent) => parent.trace.clone(),
            None => self.new.trace()?,
        };
        let root = self.new.span()?;
        let mut attributes = vec![
            text("messaging.system", "mqtt"),
            text("messaging.operation.name", "publish"),
            text("messaging.destination.name", &*received.topic),
            text("messaging.client.id", &*received.client),
            number("messaging.message.body.size", received.payload_bytes),
            text("network.protocol.name", "mqtt"),
            number("mqtt.qos", received.qos as u8),
            flag("mqtt.retain", received.retain),
        ];
        if let Some(peer) = peer {
            attributes.push(text("network.peer.address", peer.ip().to_canonical().to_string()));
            attributes.push(number("network.peer.port", peer.port()));
        }
        if let Some(routed) = way.routed {
            attributes.push(number("mqtt.sessions", routed.sessions));
            attributes.push(number("mqtt.sessions.missed", routed.missed));
        }
        let status = match (way.refused, way.acknowledged) {
            (Some(Refused { reason: Some(reason) }), _) => refusal(reason),
            (Some(Refused { reason: None }), _) => {
                Some(error("refused; a QoS 0 publisher is not told"))
            }
            (None, Some(acknowledged)) => refusal(acknowledged.reason),
            (None, None) => None,
        };
        let span = Span {
            trace_id: &trace,
            span_id: root.clone(),
            parent_span_id: parent.as_ref().map(|parent| parent.span.as_str()),
            name: format!("publish {}", received.topic).into(),
            kind: SERVER,
            start_time_unix_nano: self.at(turn.read),
            end_time_unix_nano: self.at(way.end().unwrap_or(turn.left)),
            attributes,
            events: Vec::new(),
            status,
        };
        into.push(&span)?;
        for part in parts(way) {
            let span = Span {
                trace_id: &trace,
                span_id: self.new.span()?,
                parent_span_id: Some(&root),
                name: part.name.into(),
                kind: part.kind,
                start_time_unix_nano: self.at(part.from),
                end_time_unix_nano: self.at(part.to.max(part.from)),
                attributes: part.attributes,
                events: part
                    .events
                    .into_iter()
                    .map(|(at, name)| Event { time_unix_nano: self.at(at), name })
                    .collect(),
                status: part.status,
            };
            into.push(&span)?;
        }
        Ok(())
    }
}

/// What lies below the root.
fn parts(way: &Way) -> Vec<Part<'_>> {
    let Some((_, turn, _)) = &way.received else { return Vec::new() };
    let mut parts = vec![Part::new("read", turn.read, turn.entered)];
    let routed = way.routed.map_or_else(Vec::new, |routed| {
        vec![
            number("mqtt.sessions", routed.sessions),
            number("mqtt.acknowledgement.holds", routed.holds),
        ]
    });
    parts.push(Part::new("route", turn.entered, turn.left).with(routed, None));
    let mut answered_from = turn.left;
    if let Some(stored) = way.acknowledged.and_then(|acknowledged| acknowledged.stored) {
        parts.push(Part::new("store", turn.left, stored));
        answered_from = answered_from.max(stored);
    }
    parts.extend(way.deliveries.iter().map(|delivery| deliver(delivery, turn.left)));
    if let Some(acknowledged) = way.acknowledged {
        let attributes = vec![
            number("mqtt.reason_code", acknowledged.reason.byte()),
            flag("mqtt.stored", acknowledged.stored.is_some()),
        ];
        let to = acknowledged.written.unwrap_or(answered_from);
        let part = Part::new("acknowledge", answered_from, to);
        parts.push(part.with(attributes, refusal(acknowledged.reason)));
    }
    parts
}

/// From when the message was routed until the client has answered, or the network has it.
fn deliver(delivery: &Delivery, routed: Instant) -> Part<'_> {
    let mut events = Vec::new();
    if let Some((at, _)) = delivery.queued {
        events.push((at, "queued"));
    }
    if let Some(at) = delivery.sent.filter(|_| delivery.queued.is_some()) {
        events.push((at, "taken out of the queue"));
    }
    if let Some(at) = delivery.written {
        events.push((at, "written"));
    }
    if let Some(at) = delivery.confirmed {
        events.push((at, "confirmed"));
    }
    let to = events.iter().map(|(at, _)| *at).max().unwrap_or(routed);
    let attributes = vec![
        text("messaging.client.id", &*delivery.client),
        number("mqtt.qos", delivery.qos as u8),
    ];
    let status = delivery.dropped.map(|limit| error(limit_text(limit)));
    let part = Part::new("deliver", routed, to).with(attributes, status);
    Part { kind: PRODUCER, events, ..part }
}

#[cfg(test)]
mod tests;
