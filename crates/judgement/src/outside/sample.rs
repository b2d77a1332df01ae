//! What is known of a process at one instant.

/// A look at a process and at what it says of itself. Sizes are in bytes, times in seconds.
///
/// `None` is a source that this process does not have, or that did not answer this time.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sample {
    /// Time, on a clock that does not go back.
    pub t: f64,
    /// When the process began, on the same clock. Another value is another process.
    pub start: f64,
    /// Resident set (`VmRSS`), or memory of a cgroup.
    pub rss: f64,
    /// Anonymous part of it (`RssAnon`).
    pub anon: Option<f64>,
    /// File-backed part of it (`RssFile`).
    pub file: Option<f64>,
    /// What the process itself says that it holds (`$SYS/broker/heap/current`, a ledger's sum).
    pub account: Option<f64>,
    /// Managed heap in use (JVM, BEAM, Go).
    pub heap_used: Option<f64>,
    /// Managed heap that was asked of the system.
    pub heap_committed: Option<f64>,
    /// Memory beside the managed heap that a counter knows (Netty's direct memory, buffer pools).
    pub direct: Option<f64>,
    /// Retained messages.
    pub retained: Option<f64>,
    /// Connected clients.
    pub connections: Option<f64>,
    /// Sessions, connected or not.
    pub sessions: Option<f64>,
    /// Subscriptions.
    pub subscriptions: Option<f64>,
    /// Messages in queues.
    pub queued: Option<f64>,
    /// PUBLISH packets received since the process began.
    pub published_total: Option<f64>,
    /// Connections accepted since the process began.
    pub connected_total: Option<f64>,
    /// What `rss` must not reach: a cgroup's limit, the host's memory.
    pub limit: Option<f64>,
    /// What `heap_used` must not reach.
    pub heap_limit: Option<f64>,
    /// What `direct` must not reach.
    pub direct_limit: Option<f64>,
}
