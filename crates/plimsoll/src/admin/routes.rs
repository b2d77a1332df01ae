//! Every path that is answered.

use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::Response;
use axum::routing::{get, post};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::entry::{self, Remembered};
use super::history::{self, History};
use super::jobs::Jobs;
use super::look::{Held, Looks};
use super::problem::Problem;
use super::{
    alarms, changes, clients, health, memory, metrics, openapi, page, retained, subscriptions,
    system, top, trace,
};
use crate::broker::shared::Shared;

/// What every answer is made from.
#[derive(Clone)]
pub(super) struct Context {
    pub(super) shared: Arc<Shared>,
    pub(super) remembered: Option<Arc<Remembered>>,
    /// A connection has ended.
    pub(super) left: Arc<Notify>,
    /// Tasks of connections. Who checks a password may still hold one that is over; it has to be freed by
    /// the thread that has made it.
    pub(super) tasks: Arc<Mutex<Vec<JoinHandle<()>>>>,
    pub(super) looks: Arc<Looks>,
    pub(super) jobs: Jobs,
    pub(super) held: Held,
    pub(super) history: Arc<History>,
}

impl Context {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let remembered = Remembered::new().map(Arc::new);
        Self {
            shared,
            remembered,
            left: Arc::new(Notify::new()),
            tasks: Arc::default(),
            looks: Arc::default(),
            jobs: Jobs::default(),
            held: Held::default(),
            history: Arc::default(),
        }
    }
}

/// Tasks that are kept, over or not, until those that are over are let go.
const TASKS_MAX: usize = 256;

impl Context {
    pub(super) fn keep(&self, task: JoinHandle<()>) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.push(task);
        if tasks.len() > TASKS_MAX {
            tasks.retain(|task| !task.is_finished());
        }
    }

    /// Lets go those that are over.
    pub(super) fn tidy(&self) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.retain(|task| !task.is_finished());
        if tasks.is_empty() {
            *tasks = Vec::new();
        }
    }
}

/// All of it.
pub(super) fn router(context: &Context) -> Router {
    Router::new()
        .route("/", get(page::page))
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(health::readyz))
        .route("/metrics", get(metrics::metrics))
        .route("/api/v1/openapi.json", get(openapi::openapi))
        .route("/api/v1/version", get(system::version))
        .route("/api/v1/listeners", get(system::listeners))
        .route("/api/v1/systree", get(system::systree))
        .route("/api/v1/memory", get(memory::memory))
        .route("/api/v1/history", get(history::history))
        .route("/api/v1/alarms", get(alarms::alarms))
        .route("/api/v1/clients", get(clients::clients).delete(changes::kick_named))
        .route("/api/v1/clients/{id}", get(clients::client).delete(changes::kick))
        .route("/api/v1/sessions", get(clients::sessions).delete(changes::end_named_session))
        .route("/api/v1/sessions/{id}", get(clients::client).delete(changes::end_session))
        .route("/api/v1/subscriptions", get(subscriptions::subscriptions))
        .route("/api/v1/retained", get(retained::retained).delete(top::delete))
        .route("/api/v1/top", get(top::top))
        .route("/api/v1/heap", get(changes::heap))
        .route("/api/v1/reload", post(changes::reload))
        .route("/api/v1/recount", post(changes::recount))
        .route("/api/v1/trace", post(trace::trace))
        .fallback(missing)
        .method_not_allowed_fallback(wrong_method)
        .layer(from_fn_with_state(context.clone(), entry::guard))
        .layer(from_fn_with_state(context.clone(), count))
        .layer(from_fn(dress))
        .with_state(context.clone())
}

async fn missing(request: Request) -> Problem {
    Problem::not_found(format!(
        "nothing is at {}: /api/v1/openapi.json says what there is",
        request.uri().path()
    ))
}

async fn wrong_method(request: Request) -> Problem {
    let detail = format!("{} is not for {}", request.method(), request.uri().path());
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, detail)
}

async fn count(State(context): State<Context>, request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    context.shared.admin.answered(response.status().as_u16());
    response
}

/// Headers that keep browsers from doing with an answer what it is not for.
async fn dress(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    for (name, value) in [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers
        .entry(header::CONTENT_SECURITY_POLICY)
        .or_insert(HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}
