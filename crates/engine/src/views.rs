//! Looks into the state from outside: paged, and bounded in what one call does.

use core::ops::ControlFlow;

use crate::engine::Engine;
use crate::retained::{RetainedMessage, Scan, ScanCursor, Stop};

impl Engine {
    /// Calls `visit` with retained messages whose topics match `filter`, in order, from where `cursor`
    /// stands on, until it breaks or `steps_max` messages have been looked at.
    pub fn retained_below(
        &self,
        filter: &str,
        cursor: &mut ScanCursor,
        steps_max: usize,
        visit: impl FnMut(&str, RetainedMessage<'_>) -> ControlFlow<Stop>,
    ) -> Scan {
        self.retained.scan(filter, cursor, steps_max, visit)
    }
}
