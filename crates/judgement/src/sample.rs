//! What is observed of a process at one instant.

/// One observation. Only [`Sample::t`] and one of the three sizes of the process are needed; `None` is a
/// source that does not exist. Sizes are in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sample {
    /// Time of the observation, seconds on any clock that does not go back.
    pub t: f64,
    /// When the process started, seconds on the same clock. A change is a restart.
    pub start: Option<f64>,
    /// Resident set (`VmRSS`).
    pub rss: Option<f64>,
    /// Its anonymous part (`RssAnon`), which is preferred: pages of files come and go.
    pub anon: Option<f64>,
    /// Its part that is mapped from files (`RssFile`).
    pub file: Option<f64>,
    /// Live bytes by the process's own account: a sum of owners, an allocator's in-use bytes, `$SYS` heap.
    pub account: Option<f64>,
    /// Used bytes of a garbage-collected heap.
    pub heap_used: Option<f64>,
    /// Committed bytes of a garbage-collected heap.
    pub heap_committed: Option<f64>,
    /// Off-heap buffers by the runtime's counter (Netty's direct memory, buffer pools).
    pub direct: Option<f64>,
    /// Retained messages.
    pub retained: Option<f64>,
    /// Connected clients.
    pub connections: Option<f64>,
    /// Sessions, connected or not.
    pub sessions: Option<f64>,
    /// Subscriptions.
    pub subscriptions: Option<f64>,
    /// Queued messages.
    pub queued: Option<f64>,
    /// PUBLISH packets received since the process started.
    pub published_total: Option<f64>,
    /// CONNECT packets accepted since the process started.
    pub connects_total: Option<f64>,
}

impl Sample {
    /// The bytes that the process holds for itself: anonymous pages if known, else what is resident without
    /// files, else what is resident.
    pub fn memory(&self) -> Option<f64> {
        let without_files = || Some(self.rss? - self.file?);
        finite(self.anon).or_else(|| finite(without_files())).or(finite(self.rss))
    }

    /// The columns that are kept in history, in the order of [`Column`]. `NaN` is an empty one.
    pub(crate) fn columns(&self) -> [f64; COLUMNS] {
        [
            self.memory(),
            self.account,
            self.heap_used,
            self.heap_committed,
            self.direct,
            self.retained,
            self.connections,
            self.sessions,
            self.subscriptions,
            self.queued,
            self.published_total,
            self.connects_total,
        ]
        .map(|value| finite(value).unwrap_or(f64::NAN))
    }
}

fn finite(value: Option<f64>) -> Option<f64> {
    value.filter(|value| value.is_finite() && *value >= 0.0)
}

/// How many columns history keeps.
pub(crate) const COLUMNS: usize = 12;

/// A column of history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Column {
    Memory,
    Account,
    Heap,
    Committed,
    Direct,
    Retained,
    Connections,
    Sessions,
    Subscriptions,
    Queued,
    Published,
    Connects,
}

impl Column {
    /// The counts of state, each with the most bytes that one of them may explain.
    ///
    /// They are generous: a connection with TLS takes 10 to 40 KiB in the brokers measured, a retained message
    /// of telemetry 84 B to 1.4 KiB.
    pub(crate) const STATE: [(Column, f64); 5] = [
        (Column::Retained, 65_536.0),
        (Column::Connections, 262_144.0),
        (Column::Sessions, 65_536.0),
        (Column::Subscriptions, 4_096.0),
        (Column::Queued, 8_192.0),
    ];
}
