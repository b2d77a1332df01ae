//! Who holds the most, lags behind, grows or was left; and deletion of retained messages by filter.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Extension, Query, State};
use axum::http::StatusCode;
use plimsoll_engine::holders::HOLDERS_MAX;
use serde::{Deserialize, Serialize};

use super::books;
use super::changes::by;
use super::entry::User;
use super::look::asked;
use super::problem::Problem;
use super::retained::check;
use super::routes::Context;
use crate::broker::census::{
    Asked, Client, Clients, Deletion, Prefix, Prefixes, PrefixesBy, delete_retained,
};

/// Places of a list, if nothing is said.
const LIMIT: usize = 10;

/// Levels of a prefix, if nothing is said, and at most.
const DEPTH: usize = 2;
const DEPTH_MAX: usize = 200;

/// Seconds without progress that make a client slow, if nothing is said.
const SLOW_AFTER: u32 = 10;

/// Seconds without a connection after which a session has been left, if nothing is said: a day.
const LEFT_AFTER: u32 = 86_400;

/// Topics that the answer to a deletion shows.
const TOPICS_SHOWN: usize = 20;

/// Of what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
enum Of {
    /// Sessions.
    #[default]
    Clients,
    /// Retained messages, or those that wait, by the first levels of their topics.
    Prefixes,
}

/// By what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
enum By {
    #[default]
    Bytes,
    Backlog,
    Growth,
    /// Connected, something waits, and nothing is taken.
    Slow,
    /// Without a connection, for long.
    Left,
    /// Of prefixes: number of messages.
    Count,
}

impl By {
    /// What that is of prefixes, if it is anything.
    fn of_prefixes(self) -> Option<PrefixesBy> {
        match self {
            Self::Bytes => Some(PrefixesBy::Bytes),
            Self::Count => Some(PrefixesBy::Count),
            Self::Growth => Some(PrefixesBy::Growth),
            Self::Backlog => Some(PrefixesBy::Backlog),
            Self::Slow | Self::Left => None,
        }
    }
}

/// What is wanted.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    #[serde(default)]
    of: Of,
    #[serde(default)]
    by: By,
    limit: Option<usize>,
    depth: Option<usize>,
    slow_after: Option<u32>,
    left_after: Option<u32>,
}

/// The first ones.
#[derive(Debug, Serialize)]
pub(super) struct Ranking {
    of: Of,
    by: By,
    #[serde(flatten)]
    found: Found,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Found {
    Clients {
        sessions: u64,
        bytes: u64,
        growth_window_seconds: Option<f64>,
        slow: u64,
        left: u64,
        left_bytes: u64,
        left_for_ever: u64,
        top: Vec<Client>,
    },
    Prefixes {
        prefixes: u64,
        growth_window_seconds: Option<f64>,
        top: Vec<Prefix>,
    },
}

pub(super) async fn top(
    State(context): State<Context>,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Result<Json<Ranking>, Problem> {
    let wanted = asked(wanted)?;
    let limit = wanted.limit.unwrap_or(LIMIT);
    if !(1..=HOLDERS_MAX).contains(&limit) {
        return Err(Problem::bad_request(format!("limit has to be from 1 to {HOLDERS_MAX}")));
    }
    let depth = wanted.depth.unwrap_or(DEPTH);
    if !(1..=DEPTH_MAX).contains(&depth) {
        return Err(Problem::bad_request(format!("depth has to be from 1 to {DEPTH_MAX}")));
    }
    let (of, by) = (wanted.of, wanted.by);
    let prefixes_by = by.of_prefixes();
    let fits = match of {
        Of::Clients => by != By::Count,
        Of::Prefixes => prefixes_by.is_some(),
    };
    if !fits {
        let detail = "by is bytes, backlog, growth, slow or left of clients; bytes, count, growth or backlog of prefixes";
        return Err(Problem::bad_request(detail));
    }
    let prefixes_by = prefixes_by.unwrap_or(PrefixesBy::Bytes);
    let terms = Asked {
        limit,
        growth: by == By::Growth,
        slow_after: wanted.slow_after.unwrap_or(SLOW_AFTER),
        left_after: wanted.left_after.unwrap_or(LEFT_AFTER),
    };
    let shared = Arc::clone(&context.shared);
    let census = move || match of {
        Of::Clients => of_clients(shared.censuses.clients(&shared, &terms), by),
        Of::Prefixes => of_prefixes(shared.censuses.prefixes(&shared, depth, limit, prefixes_by)),
    };
    let found = context.job("the census", census).await?;
    Ok(Json(Ranking { of, by, found }))
}

fn of_clients(clients: Clients, by: By) -> Found {
    Found::Clients {
        sessions: clients.sessions,
        bytes: clients.bytes,
        growth_window_seconds: clients.growth_window_seconds,
        slow: clients.slow,
        left: clients.left,
        left_bytes: clients.left_bytes,
        left_for_ever: clients.left_for_ever,
        top: match by {
            By::Bytes | By::Count => clients.by_bytes,
            By::Backlog => clients.by_backlog,
            By::Growth => clients.by_growth,
            By::Slow => clients.slowest,
            By::Left => clients.most_left,
        },
    }
}

fn of_prefixes(found: Prefixes) -> Found {
    let Prefixes { prefixes, growth_window_seconds, top } = found;
    Found::Prefixes { prefixes, growth_window_seconds, top }
}

/// What is to be deleted.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Doomed {
    filter: String,
    #[serde(default)]
    dry_run: bool,
}

/// Deletes retained messages whose topics match, or counts them.
pub(super) async fn delete(
    State(context): State<Context>,
    Extension(user): Extension<User>,
    doomed: Result<Query<Doomed>, QueryRejection>,
) -> Result<Json<Deletion>, Problem> {
    let Doomed { filter, dry_run } = asked(doomed)?;
    check(&filter)?;
    let shared = Arc::clone(&context.shared);
    let named = filter.clone();
    let delete = move || delete_retained(&shared, &named, dry_run, TOPICS_SHOWN);
    let deletion = context.job("the deletion", delete).await?;
    if !dry_run {
        let count = deletion.messages;
        let line = format!("{count} retained messages below {filter} deleted by {}.", by(&user));
        books::aside(|| context.shared.log.notice(&line));
    }
    if !deletion.complete {
        let detail = format!(
            "{} messages were deleted; the store cannot take more at present",
            deletion.messages
        );
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail));
    }
    Ok(Json(deletion))
}
