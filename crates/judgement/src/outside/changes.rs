//! Points at which a process changed: for reports.

use std::collections::VecDeque;

use super::columns::Columns;
use super::window::median;

/// Changes that are remembered at the most; older ones go.
const CHANGES: usize = 64;
/// Steps of less than this are none, bytes, and as a share of resident memory.
const STEP: (f64, f64) = (4.0 * 1024.0 * 1024.0, 0.05);

/// A point at which something changed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Change {
    /// When, seconds on the clock of the samples.
    pub t: f64,
    /// What.
    pub kind: ChangeKind,
}

/// What changed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ChangeKind {
    /// The first sample.
    Began,
    /// Another process than before.
    Restarted,
    /// Resident memory is at another level, bytes more (or less, if negative), within an hour or so.
    Step(f64),
    /// The verdict became `leaking`.
    LeakSeen,
    /// A leak has long ceased to grow.
    LeakOver,
}

/// The last of them.
#[derive(Clone, Debug, Default)]
pub(super) struct Changes(VecDeque<Change>);

impl Changes {
    pub(super) fn add(&mut self, t: f64, kind: ChangeKind) {
        if self.0.len() >= CHANGES {
            self.0.pop_front();
        }
        self.0.push_back(Change { t, kind });
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Change> {
        self.0.iter()
    }

    /// Looks for a step an hour or so ago (`hour` seconds): level before, level after, and little way between.
    pub(super) fn look_for_step(&mut self, columns: &Columns, hour: f64) {
        let Some(&now) = columns.t.last() else { return };
        let part = |from: f64, to: f64| {
            let begin = columns.t.partition_point(|t| *t < now - from);
            let end = columns.t.partition_point(|t| *t <= now - to);
            median(columns.resident.get(begin..end).unwrap_or_default())
        };
        let (older, before, after, newer) = (
            part(3.0 * hour, 2.25 * hour),
            part(2.25 * hour, 1.5 * hour),
            part(1.2 * hour, 0.6 * hour),
            part(0.6 * hour, 0.0),
        );
        let step = after - before;
        let least = STEP.0.max(STEP.1 * before);
        let told = self.0.iter().rev().take(4).any(|change| {
            matches!(change.kind, ChangeKind::Step(_)) && now - change.t < 3.0 * hour
        });
        let level =
            (before - older).abs() < 0.25 * step.abs() && (newer - after).abs() < 0.25 * step.abs();
        if step.abs() > least && level && !told {
            self.add(now - 1.35 * hour, ChangeKind::Step(step));
        }
    }
}
