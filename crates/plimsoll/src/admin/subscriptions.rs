//! Subscriptions: by filter, or those of one client.

use std::ops::ControlFlow;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use plimsoll_engine::SubscriptionView;
use serde::{Deserialize, Serialize};

use super::clients::unknown;
use super::look::{Copied, STEPS, asked, limit, place};
use super::problem::Problem;
use super::routes::Context;

/// Clients that are named with a filter.
const NAMED_MAX: usize = 10;

/// Bytes of their names.
const NAMED_BYTES: usize = 4096;

/// Which ones are wanted.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    limit: Option<usize>,
    cursor: Option<String>,
    /// Those of one client.
    client: Option<String>,
    /// What is part of the filter.
    search: Option<String>,
}

/// One subscription of one client.
#[derive(Debug, Serialize)]
pub(super) struct Subscription {
    client_id: String,
    filter: String,
    qos: u8,
    no_local: bool,
    retain_as_published: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    identifier: Option<u32>,
}

impl Subscription {
    pub(super) fn of(view: &SubscriptionView<'_>) -> Self {
        Self {
            client_id: view.client_identifier.to_owned(),
            filter: view.filter.to_owned(),
            qos: view.qos as u8,
            no_local: view.no_local,
            retain_as_published: view.retain_as_published,
            identifier: Some(view.identifier).filter(|identifier| *identifier > 0),
        }
    }
}

/// A filter, with the first of those who subscribe to it.
#[derive(Debug, Serialize)]
struct Filter {
    filter: String,
    /// A shared group counts as one.
    subscribers: usize,
    clients: Vec<String>,
}

#[derive(Serialize)]
struct Filters {
    filters: Vec<Filter>,
    cursor: Option<String>,
    total: u64,
}

#[derive(Serialize)]
struct OfClient {
    subscriptions: Vec<Subscription>,
    cursor: Option<String>,
    total: u64,
}

pub(super) async fn subscriptions(
    State(context): State<Context>,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Result<Response, Problem> {
    let wanted = asked(wanted)?;
    let limit = limit(wanted.limit)?;
    let from = place(wanted.cursor.as_deref())?;
    match wanted.client {
        Some(client) => of_client(&context, &client, from, limit).map(IntoResponse::into_response),
        None => {
            let search = wanted.search.unwrap_or_default();
            Ok(by_filter(&context, &search, from, limit).await.into_response())
        }
    }
}

fn of_client(
    context: &Context,
    client: &str,
    from: u32,
    limit: usize,
) -> Result<Json<OfClient>, Problem> {
    let mut subscriptions = Vec::new();
    let mut copied = Copied::default();
    let (total, next) = context.look(|engine| {
        let total = engine.client(client).map(|client| client.subscriptions as u64);
        let next = engine.subscriptions_of(client, from as usize, limit, |subscription| {
            let room = copied.take(subscription.filter.len());
            subscriptions.push(Subscription::of(&subscription));
            room
        });
        (total, next)
    });
    let total = total.ok_or_else(|| unknown(client))?;
    Ok(Json(OfClient { subscriptions, cursor: next.map(|next| next.to_string()), total }))
}

async fn by_filter(context: &Context, search: &str, from: u32, limit: usize) -> Json<Filters> {
    let mut filters = Vec::new();
    let mut copied = Copied::default();
    let cursor = context
        .leaf(from, |engine, from| {
            copied.look();
            let next = engine.filters(from, STEPS, |view| {
                let mut room = true;
                if view.filter.contains(search) {
                    let mut clients = Vec::new();
                    let mut named = 0;
                    view.each(NAMED_MAX, |one| {
                        named += one.client_identifier.len();
                        if named <= NAMED_BYTES {
                            clients.push(one.client_identifier.to_owned());
                        }
                    });
                    let filter = view.filter.to_owned();
                    room = copied.take(filter.len() + named.min(NAMED_BYTES));
                    filters.push(Filter { filter, subscribers: view.subscribers(), clients });
                }
                if filters.len() < limit && room {
                    ControlFlow::Continue(())
                } else {
                    ControlFlow::Break(())
                }
            });
            (next, filters.len() < limit && !copied.is_full())
        })
        .await;
    let total = context.look(plimsoll_engine::Engine::filters_len) as u64;
    Json(Filters { filters, cursor: cursor.map(|place| place.to_string()), total })
}
