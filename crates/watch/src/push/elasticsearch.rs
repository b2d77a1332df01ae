//! Readings and events as documents of Elasticsearch or `OpenSearch` (`POST /INDEX/_bulk`).

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};

use super::door::{Door, Refusal};
use super::mailbox::{Counts, Mailbox};
use super::sender::Courier;
use crate::event::Event;
use crate::json;
use crate::output::Output;
use crate::reading::Reading;
use crate::watched::Watched;

/// Sends documents, many at once.
pub(super) struct Bulk {
    /// `/INDEX/_bulk?…`
    path: String,
}

impl Bulk {
    /// For an index or a data stream.
    ///
    /// # Errors
    ///
    /// It is no name of one.
    pub(super) fn new(index: &str) -> Result<Self, String> {
        let allowed =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.".contains(&byte);
        if index.is_empty() || index.starts_with(['-', '_', '.']) || !index.bytes().all(allowed) {
            return Err(format!("{index}: an index is named by small letters, digits, -, _ and ."));
        }
        // Only what is wrong is of interest in the answer.
        Ok(Self {
            path: format!("/{index}/_bulk?filter_path=errors,items.*.status,items.*.error.reason"),
        })
    }
}

impl Courier for Bulk {
    type Item = String;
    const BATCH_MAX: usize = 500;
    const IDLE: Duration = Duration::from_secs(3600);
    const PAUSES: &'static [Duration] = &[
        Duration::from_secs(1),
        Duration::from_secs(5),
        Duration::from_secs(15),
        Duration::from_secs(60),
    ];
    const FOR_EVER: bool = true;

    fn send(
        &mut self,
        door: &Door,
        items: &mut Vec<String>,
        counts: &Counts,
    ) -> Result<(), Refusal> {
        let body: String =
            items.iter().flat_map(|document| ["{\"create\":{}}\n", document, "\n"]).collect();
        let answer = door.post(&self.path, "application/x-ndjson", body.as_bytes())?;
        let answer: Value = serde_json::from_slice(&answer).map_err(|error| Refusal {
            again: false,
            text: format!("the answer to _bulk is no JSON: {error}"),
        })?;
        sort(&answer, items, counts)
    }
}

/// Leaves those documents in `items` that shall be tried again, and counts the others.
fn sort(answer: &Value, items: &mut Vec<String>, counts: &Counts) -> Result<(), Refusal> {
    let results = answer.get("items").and_then(Value::as_array);
    let (Some(Value::Bool(true)), Some(results)) = (answer.get("errors"), results) else {
        Counts::add(&counts.sent, items.len());
        items.clear();
        return Ok(());
    };
    let mut why = None;
    let mut number = 0;
    items.retain(|_| {
        let result = results.get(number).and_then(|result| result.as_object()?.values().next());
        number += 1;
        let status = result.and_then(|result| result.get("status")?.as_u64()).unwrap_or(0);
        let reason = result.and_then(|result| result.get("error")?.get("reason")?.as_str());
        match status {
            200..=299 => Counts::add(&counts.sent, 1),
            429 | 500.. => {}
            _ => Counts::add(&counts.dropped, 1),
        }
        if !(200..=299).contains(&status) {
            why.get_or_insert_with(|| {
                format!("a document: {status} {}", reason.unwrap_or_default())
            });
        }
        matches!(status, 429 | 500..)
    });
    match why {
        Some(text) => Err(Refusal { again: !items.is_empty(), text }),
        None => Ok(()),
    }
}

/// Puts documents into the mailbox.
#[derive(Debug)]
pub(super) struct Elasticsearch {
    pub(super) mailbox: Arc<Mailbox<String>>,
    pub(super) every_s: f64,
    /// By target: when a reading was put last.
    pub(super) last: HashMap<String, f64>,
    pub(super) farewell: Duration,
}

impl Output for Elasticsearch {
    fn reading(&mut self, watched: &Watched, reading: &Reading) {
        let name = &watched.target.name;
        if self.last.get(name).is_some_and(|last| reading.t < last + self.every_s) {
            return;
        }
        self.last.insert(name.clone(), reading.t);
        let mut document = json::reading(name, reading);
        document.extend(json::verdict(&watched.verdict));
        self.mailbox.put(stamped("reading", document));
    }

    fn event(&mut self, watched: &Watched, event: &Event) {
        self.mailbox.put(stamped("event", json::event(&watched.target.name, event)));
    }

    fn round(&mut self, all: &[Watched]) {
        // Targets come and go with the configuration.
        if self.last.len() > all.len() {
            self.last.retain(|name, _| all.iter().any(|one| one.target.name == *name));
        }
    }

    fn end(&mut self) {
        self.mailbox.close(self.farewell);
    }
}

/// With the time under the name that Elasticsearch expects.
fn stamped(kind: &str, mut document: Map<String, Value>) -> String {
    if let Some(time) = document.remove("time") {
        document.insert("@timestamp".into(), time);
    }
    document.insert("kind".into(), kind.into());
    Value::from(document).to_string()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_overloaded_is_tried_again_and_what_is_wrong_is_not() {
        let counts = Counts::new("x".into());
        let mut items = vec!["a".to_owned(), "b".to_owned(), "c".to_owned()];
        let answer = json!({"errors": true, "items": [
            {"create": {"status": 201}},
            {"create": {"status": 429, "error": {"reason": "queue is full"}}},
            {"create": {"status": 400, "error": {"reason": "no such field"}}},
        ]});
        let refusal = sort(&answer, &mut items, &counts).unwrap_err();
        assert!(refusal.again && refusal.text == "a document: 429 queue is full", "{refusal:?}");
        assert_eq!(items, ["b"]);
        let both = (counts.sent.load(Ordering::Relaxed), counts.dropped.load(Ordering::Relaxed));
        assert_eq!(both, (1, 1));
        sort(&json!({"errors": false}), &mut items, &counts).unwrap();
        assert!(items.is_empty() && counts.sent.load(Ordering::Relaxed) == 2);
    }

    #[test]
    fn names_of_indexes_are_checked() {
        for wrong in ["", "A", "a/b", "_a", "a b", "a?x"] {
            assert!(Bulk::new(wrong).is_err(), "{wrong}");
        }
        assert!(Bulk::new("plimsoll-watch.7").is_ok());
    }
}
