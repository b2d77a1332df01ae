//! `POST /api/v1/trace`: the next publishes on some topics are followed through the broker.

use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::extract::{Extension, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use plimsoll_engine::FOLLOWED_MAX;
use serde::Deserialize;
use tokio::time::sleep;

use super::books;
use super::changes::by;
use super::entry::User;
use super::problem::Problem;
use super::retained::check;
use super::routes::Context;
use crate::traces::otlp::{self, Document};
use crate::traces::{Exporter, Running, Traces};

/// Publishes, if nothing is said.
const PUBLISHES: u32 = 10;

/// How long they are waited for, if nothing is said, and at most.
const SECONDS: u64 = 10;
const SECONDS_MAX: u64 = 60;

/// How often somebody looks whether all is known.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What is to be followed.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    /// Topic filter.
    filter: String,
    #[serde(default = "publishes")]
    publishes: u32,
    #[serde(default = "seconds")]
    seconds: u64,
}

fn publishes() -> u32 {
    PUBLISHES
}

fn seconds() -> u64 {
    SECONDS
}

impl Wanted {
    fn read(body: &[u8]) -> Result<Self, Problem> {
        let wanted: Self = serde_json::from_slice(body).map_err(|error| {
            Problem::bad_request(format!(
                "the body has to be such as {{\"filter\": \"plant/#\", \"publishes\": 10, \"seconds\": 10}}: {error}"
            ))
        })?;
        check(&wanted.filter)?;
        if !(1..=FOLLOWED_MAX).contains(&wanted.publishes) {
            let detail = format!("publishes has to be from 1 to {FOLLOWED_MAX}");
            return Err(Problem::bad_request(detail));
        }
        if !(1..=SECONDS_MAX).contains(&wanted.seconds) {
            return Err(Problem::bad_request(format!("seconds has to be from 1 to {SECONDS_MAX}")));
        }
        Ok(wanted)
    }
}

/// A request that runs. Whoever asked may hang up: what the I/O threads have told by then is theirs, and not
/// in the books of this one.
struct Following(Option<Running>);

impl Following {
    fn is_complete(&self) -> bool {
        self.0.as_ref().is_some_and(Running::is_complete)
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        books::give_back(self.0.take());
    }
}

/// Answers when all of them have gone their way, or the time is over: whatever is known by then.
pub(super) async fn trace(
    State(context): State<Context>,
    Extension(user): Extension<User>,
    body: Bytes,
) -> Result<Response, Problem> {
    let Wanted { filter, publishes, seconds } = Wanted::read(&body)?;
    let shared = &context.shared;
    let begun = books::aside(|| {
        let running = Traces::begin(shared, &filter, publishes)?;
        shared.log.notice(&format!(
            "{publishes} publishes on {filter} are traced for {}, for {seconds} s at most.",
            by(&user)
        ));
        Some(running)
    });
    let mut following = Following(begun);
    if following.0.is_none() {
        let detail =
            "publishes are traced for somebody else at present; try again when that is over";
        return Err(Problem::new(StatusCode::CONFLICT, detail));
    }
    let until = Instant::now() + Duration::from_secs(seconds);
    while !following.is_complete() && Instant::now() < until && !shared.stopping() {
        sleep(LOOK_EVERY).await;
    }
    let documents = books::aside(|| {
        let found = following.0.take().map(Running::finish);
        found.as_ref().map_or(Ok(Vec::new()), otlp::write)
    });
    let documents =
        documents.map_err(|error| Problem::new(StatusCode::SERVICE_UNAVAILABLE, error))?;
    let json = Document::json(&documents);
    books::aside(|| Exporter::send(shared, documents));
    let kind = HeaderValue::from_static("application/json");
    Ok(([(header::CONTENT_TYPE, kind)], json).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_has_bounds() {
        let wanted = Wanted::read(br#"{"filter": "plant/#"}"#).unwrap();
        assert_eq!((wanted.publishes, wanted.seconds), (10, 10));
        for wrong in [
            "",
            "{}",
            r#"{"filter": "plant/#/x"}"#,
            r#"{"filter": "+", "publishes": 0}"#,
            r#"{"filter": "+", "publishes": 1001}"#,
            r#"{"filter": "+", "seconds": 61}"#,
            r#"{"filter": "+", "count": 1}"#,
        ] {
            assert!(Wanted::read(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }
}
