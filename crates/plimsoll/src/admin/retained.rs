//! Retained messages by topic filter.

use std::ops::ControlFlow;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use plimsoll_engine::retained::{RetainedMessage, Scan, ScanCursor, Stop};
use plimsoll_mqtt::topic::{TopicLimits, validate_topic_filter};
use serde::{Deserialize, Serialize};

use super::look::{Copied, STEPS, asked, limit};
use super::problem::Problem;
use super::routes::Context;

/// Bytes of a payload that are shown, if nothing is said, and at most.
const PREVIEW: usize = 256;
const PREVIEW_MAX: usize = 64 * 1024;

/// Bytes of all payloads that one answer shows: what is beyond that is cut.
const PREVIEWS_MAX: usize = 1024 * 1024;

/// Which ones are wanted.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    limit: Option<usize>,
    cursor: Option<String>,
    /// A topic filter; `#` if nothing is said.
    filter: Option<String>,
    /// Bytes of payload that are shown.
    preview: Option<usize>,
}

/// A retained message.
#[derive(Debug, Serialize)]
struct Message {
    topic: String,
    qos: u8,
    size_bytes: usize,
    /// The payload, or its beginning, if that is text.
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<String>,
    /// The same in base64, if it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_base64: Option<String>,
    /// More of it is there.
    truncated: bool,
    /// When it was published, seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    written_at: Option<u32>,
    /// Seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<u32>,
}

impl Message {
    fn of(topic: &str, message: &RetainedMessage<'_>, preview: usize) -> Self {
        let size = message.payload.len();
        let shown = message.payload.get(..preview).unwrap_or(message.payload);
        let text = as_text(shown, shown.len() < size);
        Self {
            topic: topic.to_owned(),
            qos: message.qos,
            size_bytes: size,
            payload: text.map(str::to_owned),
            payload_base64: text.is_none().then(|| STANDARD.encode(shown)),
            truncated: shown.len() < size,
            written_at: message.written_at,
            expires_at: message.expires_at,
        }
    }
}

/// Bytes as text, if they are. Where they were cut off, the last letter may be half a one.
fn as_text(bytes: &[u8], cut: bool) -> Option<&str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Some(text),
        Err(error) if cut && error.error_len().is_none() => {
            std::str::from_utf8(bytes.get(..error.valid_up_to())?).ok()
        }
        Err(_) => None,
    }
}

#[derive(Serialize)]
pub(super) struct Page {
    retained: Vec<Message>,
    cursor: Option<String>,
    total: u64,
}

pub(super) async fn retained(
    State(context): State<Context>,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Result<Json<Page>, Problem> {
    let wanted = asked(wanted)?;
    let limit = limit(wanted.limit)?;
    let filter = wanted.filter.unwrap_or_else(|| "#".to_owned());
    check(&filter)?;
    let preview = wanted.preview.unwrap_or(PREVIEW);
    if preview > PREVIEW_MAX {
        let detail = format!("preview has to be from 0 to {PREVIEW_MAX}");
        return Err(Problem::bad_request(detail));
    }
    let mut messages: Vec<Message> = Vec::new();
    let mut left = PREVIEWS_MAX;
    let mut copied = Copied::default();
    let from = wanted.cursor.as_deref().map(decode).transpose()?;
    let cursor = context
        .leaf(from, |engine, from: Option<String>| {
            let mut cursor =
                from.map_or_else(ScanCursor::default, |topic| ScanCursor::behind(&topic));
            copied.look();
            let scan =
                engine.retained_below(&filter, &mut cursor, STEPS as usize, |topic, found| {
                    let message = Message::of(topic, &found, preview.min(left));
                    let shown = found.payload.len().min(preview).min(left);
                    left -= shown;
                    let room = copied.take(topic.len() + shown);
                    messages.push(message);
                    match messages.len() < limit && room {
                        true => ControlFlow::Continue(()),
                        false => ControlFlow::Break(Stop::Behind),
                    }
                });
            let next = (scan == Scan::More).then(|| cursor.topic()).flatten();
            (next.map(Some), messages.len() < limit && !copied.is_full())
        })
        .await;
    let total = context.look(|engine| engine.quick_counters().retained);
    let cursor = cursor.flatten().map(|topic| URL_SAFE_NO_PAD.encode(topic));
    Ok(Json(Page { retained: messages, cursor, total }))
}

/// Whether it is a filter.
pub(super) fn check(filter: &str) -> Result<(), Problem> {
    validate_topic_filter(filter, TopicLimits::DEFAULT)
        .map_err(|_| Problem::bad_request(format!("`{filter}` is not a topic filter")))
}

fn decode(cursor: &str) -> Result<String, Problem> {
    let bytes = URL_SAFE_NO_PAD.decode(cursor).ok();
    let topic = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
    topic.ok_or_else(|| Problem::bad_request("cursor has to be one that an answer gave"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_is_text_or_base64_and_is_cut_between_letters() {
        let message = |payload| RetainedMessage {
            qos: 1,
            properties: &[],
            payload,
            expires_at: None,
            written_at: None,
        };
        let whole = Message::of("a", &message("grün".as_bytes()), 100);
        assert_eq!((whole.payload.as_deref(), whole.truncated), (Some("grün"), false));
        let cut = Message::of("a", &message("grün".as_bytes()), 3);
        assert_eq!((cut.payload.as_deref(), cut.truncated), (Some("gr"), true));
        let binary = Message::of("a", &message(&[0xFF, 0xC3]), 100);
        assert_eq!((binary.payload, binary.payload_base64.as_deref()), (None, Some("/8M=")));
        let half = Message::of("a", &message(&[0x67, 0xC3]), 100);
        assert_eq!(half.payload, None, "not cut by us: not text");
    }
}
