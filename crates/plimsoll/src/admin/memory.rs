//! `/api/v1/memory`: who holds how much, and how much there may be.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use plimsoll_engine::{Engine, LoadState};
use serde::Serialize;

use super::books;
use super::budgets::Budgets;
use super::routes::Context;
use crate::memory::Waterfall;

#[derive(Serialize)]
pub(super) struct Memory {
    #[serde(flatten)]
    waterfall: Waterfall,
    /// `memory_limit`, if there is one.
    memory_limit_bytes: Option<usize>,
    load_line: LoadLine,
    #[serde(flatten)]
    budgets: Budgets,
}

/// What is done as the limit comes near.
#[derive(Serialize)]
struct LoadLine {
    /// The step in force, by name.
    step: &'static str,
    /// How often each thing was done.
    actions: BTreeMap<&'static str, u64>,
}

impl LoadLine {
    fn of(state: &LoadState) -> Self {
        Self { step: state.step.name(), actions: state.counts().into_iter().collect() }
    }
}

/// The waterfall of the last second.
pub(super) async fn memory(State(context): State<Context>) -> Json<Memory> {
    let state = context.look(Engine::load_line);
    let budgets = context.budgets().await;
    let latest = context.shared.memory.waterfall();
    let waterfall = Waterfall::clone(&latest);
    books::give_back(latest);
    let (memory_limit_bytes, load_line) = (state.limit, LoadLine::of(&state));
    Json(Memory { waterfall, memory_limit_bytes, load_line, budgets })
}
