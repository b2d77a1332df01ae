//! What changes something: somebody is sent away, the configuration is read again, the books are
//! counted anew, the heap is looked at.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Extension, Path, Query, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use plimsoll_mqtt::ReasonCode;
use serde::{Deserialize, Serialize};

use crate::broker::recount::{COUNTED, Recount};
use crate::memory;

use super::books;
use super::clients::unknown;
use super::entry::User;
use super::look::asked;
use super::problem::Problem;
use super::routes::Context;

pub(super) fn by(user: &User) -> &str {
    user.0.as_deref().unwrap_or("somebody on this machine")
}

/// A client by name, in the query: browsers take a path that ends with `.` or `..` for another one.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Named {
    client_id: String,
}

/// Disconnects a client; its session stays as it asked for.
pub(super) async fn kick(
    State(context): State<Context>,
    Extension(user): Extension<User>,
    Path(identifier): Path<String>,
) -> Result<StatusCode, Problem> {
    disconnect(&context, &user, &identifier)
}

/// The same.
pub(super) async fn kick_named(
    State(context): State<Context>,
    Extension(user): Extension<User>,
    named: Result<Query<Named>, QueryRejection>,
) -> Result<StatusCode, Problem> {
    disconnect(&context, &user, &asked(named)?.client_id)
}

fn disconnect(context: &Context, user: &User, identifier: &str) -> Result<StatusCode, Problem> {
    let shared = &context.shared;
    let kicked =
        books::aside(|| shared.expel_client(identifier, ReasonCode::ADMINISTRATIVE_ACTION));
    match kicked {
        Some(true) => {
            books::aside(|| {
                shared.log.notice(&format!("Client {identifier} disconnected by {}.", by(user)));
            });
            Ok(StatusCode::NO_CONTENT)
        }
        Some(false) => {
            let detail = format!("`{identifier}` is not connected");
            Err(Problem::new(StatusCode::CONFLICT, detail))
        }
        None => Err(unknown(identifier)),
    }
}

/// Ends a session, connected or not.
pub(super) async fn end_session(
    State(context): State<Context>,
    Extension(user): Extension<User>,
    Path(identifier): Path<String>,
) -> Result<StatusCode, Problem> {
    end(&context, &user, &identifier)
}

/// The same.
pub(super) async fn end_named_session(
    State(context): State<Context>,
    Extension(user): Extension<User>,
    named: Result<Query<Named>, QueryRejection>,
) -> Result<StatusCode, Problem> {
    end(&context, &user, &asked(named)?.client_id)
}

fn end(context: &Context, user: &User, identifier: &str) -> Result<StatusCode, Problem> {
    let shared = &context.shared;
    let ended = books::aside(|| shared.end_session(identifier, ReasonCode::ADMINISTRATIVE_ACTION));
    if !ended {
        return Err(unknown(identifier));
    }
    books::aside(|| shared.log.notice(&format!("Session of {identifier} ended by {}.", by(user))));
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Serialize)]
pub(super) struct Reloaded {
    reloaded: bool,
    /// How many have taken effect since the start.
    succeeded: u64,
}

/// Reads the configuration again, as SIGHUP does. What is wrong with it is answered, a line each.
pub(super) async fn reload(
    State(context): State<Context>,
    Extension(user): Extension<User>,
) -> Result<Json<Reloaded>, Problem> {
    let shared = Arc::clone(&context.shared);
    books::aside(|| shared.log.notice(&format!("Reload asked for by {}.", by(&user))));
    let reload = move || match shared.admin.reload.get() {
        Some(reload) => reload(&shared),
        None => Err("the broker is still starting".into()),
    };
    match context.job("the reload", reload).await? {
        Ok(()) => {
            let succeeded = context.shared.reloads.succeeded.load(Ordering::Relaxed);
            Ok(Json(Reloaded { reloaded: true, succeeded }))
        }
        Err(errors) => Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, errors)),
    }
}

pub(super) fn broke_off(what: &str) -> Problem {
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, format!("{what} broke off"))
}

#[derive(Serialize)]
pub(super) struct Recounted {
    /// Every account is what its values add up to, and every budget what is there.
    agrees: bool,
    /// How long everybody stood still for it.
    held_seconds: f64,
    accounts: Vec<Counted>,
    /// Budgets whose figure is not what is there.
    budgets_differing: usize,
}

#[derive(Serialize)]
struct Counted {
    name: &'static str,
    charged_bytes: usize,
    counted_bytes: usize,
}

/// Walks over everything that the engine and the I/O threads hold, and sets it against the ledger. All of them
/// stand still meanwhile: about 50 ms for a million retained messages.
pub(super) async fn recount(State(context): State<Context>) -> Result<Json<Recounted>, Problem> {
    let shared = Arc::clone(&context.shared);
    let recount = move || {
        let recount = shared.recount()?;
        let Recount { charged, counted, budgets, held } = &recount;
        let accounts = charged
            .iter()
            .zip(counted.iter())
            .filter(|((account, _), _)| COUNTED.contains(account))
            .map(|((account, charged_bytes), (_, counted_bytes))| Counted {
                name: account.name(),
                charged_bytes,
                counted_bytes,
            });
        Some(Recounted {
            agrees: recount.agrees(),
            held_seconds: held.as_secs_f64(),
            accounts: accounts.collect(),
            budgets_differing: budgets.len(),
        })
    };
    match context.job("the recount", recount).await? {
        Some(recounted) => Ok(Json(recounted)),
        None => {
            let detail = "an I/O thread is busy; try again";
            Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail).retry())
        }
    }
}

/// The heap by call stack, for `pprof`.
pub(super) async fn heap(State(context): State<Context>) -> Result<Response, Problem> {
    match context.job("the profile", memory::heap_profile).await? {
        Ok(profile) => {
            let mut response = profile.clone().into_response();
            books::give_back(profile);
            let headers = response.headers_mut();
            headers
                .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
            headers.insert(
                header::CONTENT_DISPOSITION,
                HeaderValue::from_static("attachment; filename=\"plimsoll-heap.pb.gz\""),
            );
            Ok(response)
        }
        Err(error) => Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, error)),
    }
}
