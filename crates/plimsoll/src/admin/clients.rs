//! Clients and sessions: a page of them, or one.

use std::ops::ControlFlow;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use plimsoll_engine::{ClientView, Time, Who};
use plimsoll_mqtt::Version;
use serde::{Deserialize, Serialize};

use super::Settings;
use super::look::{Copied, STEPS, asked, limit, place};
use super::problem::Problem;
use super::routes::Context;
use super::subscriptions::Subscription;

/// Subscriptions that are told with a client.
const SUBSCRIPTIONS_MAX: usize = 100;

/// Which ones are wanted.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    limit: Option<usize>,
    cursor: Option<String>,
    /// What the identifier begins with.
    prefix: Option<String>,
    /// What is part of the identifier or the user name.
    search: Option<String>,
    connected: Option<bool>,
}

impl Wanted {
    fn wants(&self, client: &ClientView<'_>, connected: Option<bool>) -> bool {
        let identifier = client.who.client_identifier;
        connected.is_none_or(|connected| connected == client.link.is_some())
            && self.prefix.as_ref().is_none_or(|prefix| identifier.starts_with(prefix.as_str()))
            && self.search.as_ref().is_none_or(|part| {
                let username = client.who.username.unwrap_or_default();
                identifier.contains(part.as_str()) || username.contains(part.as_str())
            })
    }
}

/// A client.
#[derive(Debug, Serialize)]
pub(super) struct Client {
    client_id: String,
    username: Option<String>,
    connected: bool,
    /// 3.1, 3.1.1 or 5.0.
    version: &'static str,
    /// Port or path; none for one that has not been back since the broker was started.
    listener: Option<String>,
    keep_alive_seconds: u16,
    /// `None` is for ever.
    session_expiry_seconds: Option<u32>,
    subscriptions: usize,
    queued: usize,
    inflight: usize,
    unsent_bytes: u32,
    dropped: u64,
    will: bool,
    /// Seconds since 1970.
    seen_at: f64,
    lost_at: Option<f64>,
    expires_at: Option<f64>,
}

fn secs(time: Time) -> f64 {
    time.as_millis() as f64 / 1000.0
}

fn known(time: Time) -> Option<f64> {
    (time != Time::NEVER).then(|| secs(time))
}

fn version(version: Version) -> &'static str {
    match version {
        Version::V31 => "3.1",
        Version::V311 => "3.1.1",
        Version::V5 => "5.0",
    }
}

impl Client {
    fn of(client: &ClientView<'_>, settings: &Settings) -> Self {
        let Who { client_identifier, username, listener } = client.who;
        let listener = settings.listeners.get(usize::from(listener));
        Self {
            client_id: client_identifier.to_owned(),
            username: username.map(str::to_owned),
            connected: client.link.is_some(),
            version: version(client.version),
            listener: listener.map(super::ListenerSettings::place),
            keep_alive_seconds: client.keep_alive,
            session_expiry_seconds: Some(client.expiry_interval).filter(|secs| *secs != u32::MAX),
            subscriptions: client.subscriptions,
            queued: client.queued,
            inflight: client.inflight,
            unsent_bytes: client.unsent_bytes,
            dropped: client.dropped,
            will: client.will,
            seen_at: secs(client.seen_at),
            lost_at: known(client.lost_at),
            expires_at: known(client.expires_at),
        }
    }
}

/// A page of clients.
#[derive(Serialize)]
pub(super) struct Clients {
    clients: Vec<Client>,
    /// Where to go on; none is the end.
    cursor: Option<String>,
    total: u64,
}

/// Those that are connected, unless something else is said.
pub(super) async fn clients(
    State(context): State<Context>,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Result<Json<Clients>, Problem> {
    let wanted = asked(wanted)?;
    let connected = Some(wanted.connected.unwrap_or(true));
    page(&context, &wanted, connected).await
}

/// All of them, connected or not.
pub(super) async fn sessions(
    State(context): State<Context>,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Result<Json<Clients>, Problem> {
    let wanted = asked(wanted)?;
    let connected = wanted.connected;
    page(&context, &wanted, connected).await
}

async fn page(
    context: &Context,
    wanted: &Wanted,
    connected: Option<bool>,
) -> Result<Json<Clients>, Problem> {
    let limit = limit(wanted.limit)?;
    let from = place(wanted.cursor.as_deref())?;
    let settings = context.shared.admin.settings();
    let mut clients = Vec::new();
    let mut copied = Copied::default();
    let cursor = context
        .leaf(from, |engine, from| {
            copied.look();
            let next = engine.clients(from, STEPS, |client| {
                let mut room = true;
                if wanted.wants(&client, connected) {
                    let username = client.who.username.map_or(0, str::len);
                    room = copied.take(client.who.client_identifier.len() + username);
                    clients.push(Client::of(&client, &settings));
                }
                if clients.len() < limit && room {
                    ControlFlow::Continue(())
                } else {
                    ControlFlow::Break(())
                }
            });
            (next, clients.len() < limit && !copied.is_full())
        })
        .await;
    let counters = context.look(plimsoll_engine::Engine::quick_counters);
    let total = match connected {
        Some(true) => counters.clients_connected,
        Some(false) => counters.clients_total.saturating_sub(counters.clients_connected),
        None => counters.clients_total,
    };
    Ok(Json(Clients { clients, cursor: cursor.map(|place| place.to_string()), total }))
}

/// A client with its subscriptions, the first hundred of them.
#[derive(Serialize)]
pub(super) struct Detail {
    #[serde(flatten)]
    client: Client,
    subscription_list: Vec<Subscription>,
}

pub(super) async fn client(
    State(context): State<Context>,
    Path(identifier): Path<String>,
) -> Result<Json<Detail>, Problem> {
    let settings = context.shared.admin.settings();
    let mut list = Vec::new();
    let mut copied = Copied::default();
    let client = context.look(|engine| {
        let client = engine.client(&identifier)?;
        engine.subscriptions_of(&identifier, 0, SUBSCRIPTIONS_MAX, |subscription| {
            list.push(Subscription::of(&subscription));
            copied.take(subscription.filter.len())
        });
        Some(Client::of(&client, &settings))
    });
    match client {
        Some(client) => Ok(Json(Detail { client, subscription_list: list })),
        None => Err(unknown(&identifier)),
    }
}

pub(super) fn unknown(identifier: &str) -> Problem {
    Problem::not_found(format!("there is no client with the identifier `{identifier}`"))
}
