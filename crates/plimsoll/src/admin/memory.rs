//! `/api/v1/memory`: who holds how much.

use axum::Json;
use axum::extract::State;

use super::routes::Context;
use crate::memory::Waterfall;

/// The waterfall of the last second.
pub(super) async fn memory(State(context): State<Context>) -> Json<Waterfall> {
    Json(Waterfall::clone(&context.shared.memory.waterfall()))
}
