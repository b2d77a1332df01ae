//! What somebody should look at.

use axum::Json;
use axum::extract::State;
use serde::Serialize;

use super::routes::Context;
use crate::broker::shared::Shared;

/// One thing that is wrong, or soon will be.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Alarm {
    pub(super) name: &'static str,
    /// `critical` or `warning`.
    pub(super) severity: &'static str,
    pub(super) text: String,
}

#[derive(Serialize)]
pub(super) struct Alarms {
    alarms: Vec<Alarm>,
}

pub(super) async fn alarms(State(context): State<Context>) -> Json<Alarms> {
    Json(Alarms { alarms: current(&context.shared) })
}

/// All of them at present.
pub(super) fn current(shared: &Shared) -> Vec<Alarm> {
    let mut alarms = Vec::new();
    if let Some(trouble) = shared.store_health() {
        let text = format!("The store cannot write: {trouble}");
        alarms.push(Alarm { name: "store", severity: "critical", text });
    }
    if let Some(trouble) = shared.reloads.trouble() {
        let text = format!("The last reload changed nothing: {trouble}");
        alarms.push(Alarm { name: "reload", severity: "warning", text });
    }
    let limits = shared.limits();
    for text in limits.tls().flat_map(|tls| tls.endings()) {
        alarms.push(Alarm { name: "certificate", severity: "warning", text });
    }
    alarms
}
