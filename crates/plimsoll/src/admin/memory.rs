//! `/api/v1/memory`: who holds how much.

use axum::Json;
use axum::extract::State;
use serde::Serialize;

use super::routes::Context;
use crate::broker::memory;
use crate::broker::shared::Shared;

/// From what the system sees to who holds it.
#[derive(Debug, Serialize)]
pub(super) struct Waterline {
    pub(super) rss_bytes: Option<usize>,
    pub(super) resident_bytes: Option<usize>,
    pub(super) active_bytes: Option<usize>,
    pub(super) allocated_bytes: Option<usize>,
    pub(super) accounted_bytes: usize,
    pub(super) accounts: Vec<AccountLine>,
}

/// One account.
#[derive(Debug, Serialize)]
pub(super) struct AccountLine {
    pub(super) name: &'static str,
    pub(super) bytes: usize,
    pub(super) budget_bytes: Option<usize>,
}

impl Waterline {
    pub(super) fn now(shared: &Shared) -> Self {
        let reading = memory::read();
        let book = shared.ledger.snapshot();
        let line = |(account, bytes): (plimsoll_ledger::Account, usize)| AccountLine {
            name: account.name(),
            bytes,
            budget_bytes: None,
        };
        Self {
            rss_bytes: reading.rss,
            resident_bytes: reading.resident,
            active_bytes: reading.active,
            allocated_bytes: reading.allocated,
            accounted_bytes: book.total(),
            accounts: book.iter().map(line).collect(),
        }
    }
}

pub(super) async fn memory(State(context): State<Context>) -> Json<Waterline> {
    Json(Waterline::now(&context.shared))
}
