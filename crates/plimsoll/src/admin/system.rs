//! What Mosquitto's own `http_api` has: version, listeners and `$SYS`, in its forms.

use std::ops::ControlFlow;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use plimsoll_engine::retained::ScanCursor;
use serde::Serialize;
use serde_json::{Map, Value};

use super::routes::Context;

/// `$SYS` topics that are answered, at most: the broker's own are a tenth of that.
const TOPICS_MAX: usize = 2000;

#[derive(Serialize)]
struct Version {
    name: &'static str,
    version: &'static str,
    uptime_seconds: u64,
}

/// Plain text, as Mosquitto answers; JSON for who asks for it.
pub(super) async fn version(State(context): State<Context>, headers: HeaderMap) -> Response {
    let accepts = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    match accepts.is_some_and(|accept| accept.contains("application/json")) {
        true => Json(Version {
            name: "plimsoll",
            version: env!("CARGO_PKG_VERSION"),
            uptime_seconds: context.shared.clock.uptime().as_secs(),
        })
        .into_response(),
        false => env!("CARGO_PKG_VERSION").into_response(),
    }
}

#[derive(Serialize)]
pub(super) struct Listeners {
    listeners: Vec<Listener>,
}

#[derive(Serialize)]
struct Listener {
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
    protocol: &'static str,
    tls: bool,
    mtls: bool,
    allow_anonymous: bool,
    connections: usize,
}

pub(super) async fn listeners(State(context): State<Context>) -> Json<Listeners> {
    let settings = context.shared.admin.settings();
    let listeners = settings.listeners.iter().enumerate().filter(|(_, listener)| !listener.closed);
    let listeners = listeners.map(|(number, listener)| Listener {
        path: listener.path.clone(),
        port: listener.path.is_none().then_some(listener.port),
        protocol: listener.protocol,
        tls: listener.tls,
        mtls: listener.mtls,
        allow_anonymous: listener.allow_anonymous,
        connections: context.shared.listener_connections(number),
    });
    Json(Listeners { listeners: listeners.collect() })
}

/// Every figure of `$SYS` by its topic: numbers where they are numbers.
pub(super) async fn systree(State(context): State<Context>) -> Json<Map<String, Value>> {
    let mut tree = Map::new();
    let mut cursor = ScanCursor::default();
    context.look(|engine| {
        engine.retained_below("$SYS/#", &mut cursor, TOPICS_MAX, |topic, message| {
            if let Ok(text) = std::str::from_utf8(message.payload) {
                tree.insert(topic.to_owned(), figure(text));
            }
            ControlFlow::Continue(())
        })
    });
    Json(tree)
}

fn figure(text: &str) -> Value {
    let number = text.strip_suffix(" seconds").unwrap_or(text);
    if let Ok(whole) = number.parse::<i64>() {
        return whole.into();
    }
    number.parse::<f64>().map_or_else(|_| text.into(), Value::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_numbers_where_they_can_be() {
        assert_eq!(figure("12"), Value::from(12));
        assert_eq!(figure("12 seconds"), Value::from(12));
        assert_eq!(figure("0.25"), Value::from(0.25));
        assert_eq!(figure("plimsoll version 1"), Value::from("plimsoll version 1"));
    }
}
