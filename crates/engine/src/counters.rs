//! What has happened so far: the figures behind `$SYS`.

use crate::load::LoadCounts;

/// Counts since the engine was made, and gauges of the present.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// MQTT packets of all kinds received.
    pub packets_received: u64,
    /// MQTT packets of all kinds sent.
    pub packets_sent: u64,
    /// PUBLISH packets received.
    pub publishes_received: u64,
    /// PUBLISH packets sent.
    pub publishes_sent: u64,
    /// Payload bytes of PUBLISH packets received.
    pub publish_bytes_received: u64,
    /// Payload bytes of PUBLISH packets sent.
    pub publish_bytes_sent: u64,
    /// Messages dropped by a limit, over all clients.
    pub publishes_dropped: u64,
    /// Bytes of MQTT packets sent.
    pub bytes_sent: u64,
    /// Sessions that expired.
    pub sessions_expired: u64,
    /// CONNECT packets accepted.
    pub connects: u64,
    /// Connected clients.
    pub clients_connected: u64,
    /// Sessions, connected or not.
    pub clients_total: u64,
    /// The most sessions at one time.
    pub clients_maximum: u64,
    /// Subscriptions, without shared ones.
    pub subscriptions: u64,
    /// Shared subscriptions.
    pub shared_subscriptions: u64,
    /// Retained messages.
    pub retained: u64,
    /// Bytes of retained messages: topics, properties and payloads.
    pub retained_bytes: u64,
    /// Retained messages that were not stored because of a limit.
    pub retained_refused: u64,
    /// Retained messages that expired.
    pub retained_expired: u64,
    /// Retained messages that an operator deleted by a filter.
    pub retained_deleted: u64,
    /// Messages queued or in flight, summed over sessions.
    pub messages_stored: u64,
    /// Payload bytes of retained messages.
    pub stored_payload_bytes: u64,
    /// What the load line has done.
    pub load: LoadCounts,
}

/// How much of what is there: gauges that cost next to nothing to read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Presence {
    /// Sessions, connected or not.
    pub sessions: u64,
    /// Connected clients.
    pub connected: u64,
    /// Subscriptions, shared ones included.
    pub subscriptions: u64,
    /// Retained messages.
    pub retained: u64,
    /// Their payload bytes.
    pub retained_payload_bytes: u64,
}
