//! Whether the broker is alive, and whether clients should be sent to it.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;

use super::routes::Context;

#[derive(Serialize)]
pub(super) struct Health {
    status: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    reasons: Vec<String>,
}

/// Alive: the engine can be entered. If it never can be, this does not answer.
pub(super) async fn healthz(State(context): State<Context>) -> Json<Health> {
    context.look(|_| ());
    Json(Health { status: "ok", reasons: Vec::new() })
}

/// Ready: it takes clients and can keep what they send.
pub(super) async fn readyz(State(context): State<Context>) -> (StatusCode, Json<Health>) {
    let shared = &context.shared;
    let mut reasons = Vec::new();
    if shared.stopping() {
        reasons.push("the broker is going down".to_owned());
    }
    if let Some(trouble) = shared.store_health() {
        reasons.push(format!("the store cannot write: {trouble}"));
    }
    match reasons.is_empty() {
        true => (StatusCode::OK, Json(Health { status: "ok", reasons })),
        false => (StatusCode::SERVICE_UNAVAILABLE, Json(Health { status: "unavailable", reasons })),
    }
}
