//! The last minutes, a line for each second: for the page, which then needs not have been open.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use plimsoll_engine::Engine;
use serde::{Deserialize, Serialize};

use super::books;
use super::look::asked;
use super::problem::Problem;
use super::routes::Context;

/// Seconds that are remembered.
const SECONDS: usize = 900;

/// What is remembered of each second, in this order; behind it the accounts.
const COLUMNS: [&str; 18] = [
    "time",
    "rss_bytes",
    "rss_file_bytes",
    "resident_bytes",
    "allocated_bytes",
    "baseline_bytes",
    "accounted_bytes",
    "residue_bytes",
    "slack_bytes",
    "clients_connected",
    "clients_total",
    "publishes_received",
    "publishes_sent",
    "publishes_dropped",
    "network_bytes_received",
    "network_bytes_sent",
    "retained_messages",
    "engine_wait_seconds",
];

type Row = Box<[f64]>;

/// The lines.
#[derive(Debug, Default)]
pub(super) struct History(Mutex<VecDeque<Row>>);

impl History {
    /// A second has passed.
    pub(super) fn note(&self, context: &Context) {
        let row = row(context);
        let mut rows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if rows.len() >= SECONDS {
            rows.pop_front();
        }
        rows.push_back(row);
    }
}

fn row(context: &Context) -> Row {
    let (counters, waited) = context.timed_look(Engine::quick_counters);
    let shared = &context.shared;
    let water = shared.memory.waterfall();
    let traffic = &shared.traffic;
    let figures = [
        water.time,
        water.rss_bytes as f64,
        water.rss_file_bytes as f64,
        water.resident_bytes as f64,
        water.allocated_bytes as f64,
        water.baseline_bytes as f64,
        water.accounted_bytes as f64,
        water.residue_bytes as f64,
        water.slack_bytes as f64,
        counters.clients_connected as f64,
        counters.clients_total as f64,
        counters.publishes_received as f64,
        counters.publishes_sent as f64,
        counters.publishes_dropped as f64,
        traffic.received.load(Ordering::Relaxed) as f64,
        traffic.sent.load(Ordering::Relaxed) as f64,
        counters.retained as f64,
        waited.as_secs_f64(),
    ];
    let accounts = water.accounts.iter().map(|account| account.bytes as f64);
    let row = figures.into_iter().chain(accounts).collect();
    books::give_back(water);
    row
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    /// Lines of later than this, seconds since 1970.
    since: Option<f64>,
}

#[derive(Serialize)]
pub(super) struct Lines {
    columns: Vec<&'static str>,
    rows: Vec<Row>,
}

pub(super) async fn history(
    State(context): State<Context>,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Result<Json<Lines>, Problem> {
    let since = asked(wanted)?.since.unwrap_or(0.0);
    let accounts = plimsoll_ledger::Account::ALL.iter().map(|account| account.name());
    let columns = COLUMNS.into_iter().chain(accounts).collect();
    let rows = context.history.0.lock().unwrap_or_else(PoisonError::into_inner);
    let late = |row: &&Row| row.first().is_some_and(|time| *time > since);
    let rows = rows.iter().filter(late).cloned().collect();
    Ok(Json(Lines { columns, rows }))
}
