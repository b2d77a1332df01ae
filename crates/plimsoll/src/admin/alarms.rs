//! What somebody should look at.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use plimsoll_engine::Step;
use serde::Serialize;

use super::budgets::Budgets;
use super::routes::Context;
use crate::broker::shared::Shared;
use crate::broker::transport::tls_files::TlsSettings;
use crate::memory::Alarm as Leak;

/// One thing that is wrong, or soon will be.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Alarm {
    pub(super) name: &'static str,
    /// `critical` or `warning`.
    pub(super) severity: &'static str,
    pub(super) text: String,
    /// Since when, seconds since 1970, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) since: Option<f64>,
    /// A leak, with its figures and call stacks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) leak: Option<Arc<Leak>>,
}

impl Alarm {
    fn new(name: &'static str, severity: &'static str, text: String) -> Self {
        Self { name, severity, text, since: None, leak: None }
    }
}

#[derive(Serialize)]
pub(super) struct Alarms {
    /// What holds at present.
    alarms: Vec<Alarm>,
    /// Leaks that were seen to stop, the latest first.
    past: Vec<Arc<Leak>>,
}

pub(super) async fn alarms(State(context): State<Context>) -> Json<Alarms> {
    let leaks = context.shared.memory.alarms();
    let past = leaks.into_iter().filter(|leak| leak.cleared.is_some()).collect();
    let alarms = current(&context.shared, &context.budgets().await);
    Json(Alarms { alarms, past })
}

/// All of them at present.
pub(super) fn current(shared: &Shared, budgets: &Budgets) -> Vec<Alarm> {
    let mut alarms = Vec::new();
    let load = shared.engine().load_line();
    if load.step > Step::Clear {
        let text = format!(
            "The limit of memory is near: step {} is in force (docs/load-line.md)",
            load.step.name()
        );
        let severity = if load.step < Step::RefuseNew { "warning" } else { "critical" };
        alarms.push(Alarm::new("load_line", severity, text));
    }
    alarms.extend(budgets.alarms().map(|text| Alarm::new("budget", "warning", text)));
    if let Some(trouble) = shared.store_health() {
        let text = format!("The store cannot write: {trouble}");
        alarms.push(Alarm::new("store", "critical", text));
    }
    if let Some(trouble) = shared.reloads.trouble() {
        let text = format!("The last reload changed nothing: {trouble}");
        alarms.push(Alarm::new("reload", "warning", text));
    }
    for leak in shared.memory.alarms().into_iter().filter(|leak| leak.cleared.is_none()) {
        let (text, since) = (leak.line(), Some(leak.since));
        alarms.push(Alarm { name: "leak", severity: "critical", text, since, leak: Some(leak) });
    }
    let limits = shared.limits();
    for text in limits.tls().flat_map(TlsSettings::endings) {
        alarms.push(Alarm::new("certificate", "warning", text));
    }
    alarms
}
