//! Answers over HTTP: metrics for Prometheus, JSON, and the report as it stands.
//!
//! | path | answer |
//! |---|---|
//! | `/metrics` | all figures, as Prometheus' text or as `OpenMetrics` |
//! | `/` | the report of one target; of several, a list with their reports behind it |
//! | `/targets/NAME` | the report of one of several targets |
//! | `/api/v1/targets` | all targets with reading, judgement, reasons and last events, as JSON |
//! | `/healthz` | `ok` while targets are looked at, and whether histories are still being read; status 503 if they have not been for 30 seconds |
//!
//! There is no login: who may connect may read. So it listens on an address of this machine, unless told otherwise.

mod board;
mod metrics;
mod page;
mod serve;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use clap::Args;
use serde_json::{Value, json};

use crate::event::Event;
use crate::exposition::Form;
use crate::output::Output;
use crate::push::Counts;
use crate::watched::Watched;
use board::{Board, Standing};

/// After so long without a look at any target something is wrong with watch itself.
const STALLED: Duration = Duration::from_secs(30);

/// Where the exporter listens.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub struct ExportOptions {
    /// Serve /metrics for Prometheus, the report as a page and JSON on this address, such as 127.0.0.1:9977.
    /// There is no login, so keep it on this machine or behind a proxy
    #[arg(long, value_name = "ADDRESS:PORT", help_heading = "Outputs")]
    pub listen: Option<SocketAddr>,
}

impl ExportOptions {
    /// Listens, if it was told where.
    ///
    /// # Errors
    ///
    /// The address cannot be listened on.
    pub(crate) fn start(
        &self,
        pushes: Vec<Arc<Counts>>,
        history: Option<&std::path::Path>,
    ) -> Result<Option<Exporter>, String> {
        let Some(address) = self.listen else { return Ok(None) };
        let board = Board::new(pushes, history);
        let address = serve::start(address, router(board.clone()))?;
        Ok(Some(Exporter { address, board }))
    }
}

/// Answers over HTTP, from a thread of its own, until the process ends.
#[derive(Debug)]
pub(crate) struct Exporter {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    board: Board,
}

impl Output for Exporter {
    fn event(&mut self, watched: &Watched, event: &Event) {
        self.board.event(watched, event);
    }

    fn round(&mut self, all: &[Watched]) {
        self.board.round(all);
    }
}

fn router(board: Board) -> Router {
    Router::new()
        .route("/", get(front))
        .route("/targets/{name}", get(target))
        .route("/metrics", get(metrics))
        .route("/api/v1/targets", get(targets))
        .route("/healthz", get(health))
        .with_state(board)
}

async fn metrics(State(board): State<Board>, headers: HeaderMap) -> Response {
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    let form = Form::of(accept.unwrap_or_default());
    let text = metrics::metrics(form, &board.copy(), board.pushes());
    ([(header::CONTENT_TYPE, form.content_type())], text).into_response()
}

async fn health(State(board): State<Board>) -> Response {
    let now = SystemTime::now();
    let looks = board.look();
    let last = looks.iter().filter_map(|one| Some(one.last.as_ref()?.time)).max();
    let age = last.and_then(|last| now.duration_since(last).ok());
    match age {
        Some(age) if age > STALLED => {
            let text = format!("no target was looked at for {} s\n", age.as_secs());
            (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
        }
        _ => match looks.iter().filter(|one| one.recalling).count() {
            0 => "ok\n".into_response(),
            count => {
                let all = looks.len();
                format!("ok, but what was recorded of {count} of {all} targets is still being read, and they are not judged\n")
                    .into_response()
            }
        },
    }
}

async fn targets(State(board): State<Board>) -> Response {
    let all: Vec<Value> = board.copy().iter().map(described).collect();
    let text = json!({ "version": env!("CARGO_PKG_VERSION"), "targets": all }).to_string();
    ([(header::CONTENT_TYPE, "application/json")], text).into_response()
}

fn described(one: &Standing) -> Value {
    json!({
        "name": one.name,
        "selector": one.selector,
        "verdict": crate::json::verdict(&one.verdict),
        "verdict_since": crate::json::time(one.verdict_since),
        "reasons": one.reasons,
        "readings": one.readings,
        "restarts": one.restarts,
        "last": one.last.as_ref().map(|last| crate::json::reading(&one.name, last)),
        "sources": one.last.iter().flat_map(|last| &last.accounts.sources).map(|source| json!({
            "address": *source.address, "up": source.up, "failures": source.failures, "error": source.error.as_deref(),
        })).collect::<Vec<_>>(),
        "events": one.events.iter().map(|event| crate::json::event(&one.name, event)).collect::<Vec<_>>(),
    })
}

async fn front(State(board): State<Board>) -> Response {
    match board.copy().as_slice() {
        [one] => page::answer(page::report(one)),
        all => page::answer(page::list(all)),
    }
}

async fn target(State(board): State<Board>, Path(name): Path<String>) -> Response {
    let one = board.look().iter().find(|one| one.name == name).cloned();
    match one {
        Some(one) => page::answer(page::report(&one)),
        None => (StatusCode::NOT_FOUND, "There is no such target.\n").into_response(),
    }
}

#[cfg(test)]
mod tests;
