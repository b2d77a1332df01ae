//! Everything that an operator can set and the engine obeys.

use alloc::string::String;
use alloc::vec::Vec;

use plimsoll_mqtt::QoS;

use crate::budgets::BudgetRules;
use crate::retained::RetainRules;

/// Limits and choices. The names are those of the directives where there is one.
#[derive(Clone, Debug)]
pub struct Settings {
    /// One entry for each listener, by [`Input::Connect::listener`](crate::Input::Connect).
    pub listeners: Vec<ListenerSettings>,
    /// Most QoS 1 and 2 messages in flight to a client; also the broker's own Receive Maximum.
    /// 0 is 65,535.
    pub max_inflight_messages: u16,
    /// Most bytes in flight to a client; 0 is no limit.
    pub max_inflight_bytes: usize,
    /// Most messages waiting for a client beyond those in flight; 0 is no limit.
    pub max_queued_messages: u32,
    /// The same for a connected client, if that is less; 0 is the same. Set by the load line.
    pub connected_queued_messages: u32,
    /// Most bytes waiting for a client beyond those in flight; 0 is no limit.
    pub max_queued_bytes: usize,
    /// Largest packet taken and announced; 0 is the protocol's own limit.
    pub max_packet_size: u32,
    /// Largest payload taken (`message_size_limit`); 0 is no limit.
    pub message_size_limit: u32,
    /// Longest keep alive, seconds; a longer one is lowered (5.0) or refused (3.1.1).
    pub max_keepalive: u16,
    /// Whether QoS 0 messages are queued for sessions without a connection.
    pub queue_qos0_messages: bool,
    /// Longest life of a session without a connection, seconds.
    pub persistent_client_expiration: Option<u32>,
    /// Whether retained messages are supported.
    pub retain_available: bool,
    /// Age limit of retained messages for which `retain_rules` has none, seconds; 0 is none.
    pub retain_expiry_interval: u32,
    /// Age limits and quotas of retained messages.
    pub retain_rules: RetainRules,
    /// What users may hold.
    pub budgets: BudgetRules,
    /// Whether overlapping subscriptions of a 3.x client each get their copy.
    pub allow_duplicate_messages: bool,
    /// Deliver at the subscription's QoS even if the message was published at a lower one.
    pub upgrade_outgoing_qos: bool,
    /// Seconds that a connected client with a full queue may go without progress before messages
    /// for it are dropped.
    pub slow_consumer_timeout: u32,
    /// Bytes sent to a connection and not yet taken by the network, above which nothing more is
    /// sent to it.
    pub output_bytes_max: u32,
    /// Most subscriptions of a client.
    pub subscriptions_max: u32,
    /// Most sessions, connected or not; 0 is no limit.
    pub global_max_clients: u32,
    /// Entries of the retained store looked at in one turn for one new subscription.
    pub retained_scan_entries: usize,
    /// A client is not disconnected for want of memory if that frees less.
    pub offender_bytes_min: usize,
    /// Entries of a connected client's queue that are kept in memory if the store has them too; the
    /// rest is read back in pieces of half as many.
    pub stored_queue_entries: usize,
    /// Whether and how lasting state is stored. Set once, at the start.
    pub persistence: Persistence,
    /// What is published to `$CONTROL/…` is a command ([`Event::Control`](crate::Event::Control)), and
    /// not routed.
    pub control: bool,
    /// Report every packet as an [`Event`](crate::Event).
    pub trace: bool,
}

/// Whether lasting state becomes records for a store, and what waits for them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Persistence {
    /// Nothing is stored.
    #[default]
    Off,
    /// Records are made, and nothing waits for them.
    Relaxed,
    /// Packets that promise something wait until it is stored.
    Promised,
}

/// Settings of one listener.
#[derive(Clone, Debug)]
pub struct ListenerSettings {
    /// Highest QoS a publisher may use.
    pub max_qos: QoS,
    /// Topic aliases that a publisher may use.
    pub max_topic_alias: u16,
    /// Topic aliases that the broker uses towards a client, at most.
    pub max_topic_alias_broker: u16,
    /// Whether an empty client identifier is given one.
    pub allow_zero_length_clientid: bool,
    /// What identifiers given by the broker begin with.
    pub auto_id_prefix: String,
    /// What all topics of the listener's clients begin with, unseen by them.
    pub mount_point: String,
    /// Bytes that the listener's clients may hold together; `None` is no limit.
    pub memory_budget: Option<usize>,
}

impl Default for ListenerSettings {
    fn default() -> Self {
        Self {
            max_qos: QoS::ExactlyOnce,
            max_topic_alias: 10,
            max_topic_alias_broker: 10,
            allow_zero_length_clientid: true,
            auto_id_prefix: String::from("auto-"),
            mount_point: String::new(),
            memory_budget: None,
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listeners: alloc::vec![ListenerSettings::default()],
            max_inflight_messages: 20,
            max_inflight_bytes: 0,
            max_queued_messages: 1000,
            connected_queued_messages: 0,
            max_queued_bytes: 0,
            max_packet_size: 2_000_000,
            message_size_limit: 0,
            max_keepalive: u16::MAX,
            queue_qos0_messages: false,
            persistent_client_expiration: None,
            retain_available: true,
            retain_expiry_interval: 0,
            retain_rules: RetainRules::default(),
            budgets: BudgetRules::default(),
            allow_duplicate_messages: true,
            upgrade_outgoing_qos: false,
            slow_consumer_timeout: 10,
            output_bytes_max: 1024 * 1024,
            subscriptions_max: 100_000,
            global_max_clients: 0,
            retained_scan_entries: 1000,
            offender_bytes_min: 4096,
            stored_queue_entries: 512,
            persistence: Persistence::Off,
            control: false,
            trace: false,
        }
    }
}

impl Settings {
    /// The settings of a listener; those of the first for one that does not exist any more.
    pub(crate) fn listener(&self, number: u16) -> &ListenerSettings {
        self.listeners.get(usize::from(number)).or(self.listeners.first()).unwrap_or(&FALLBACK)
    }

    /// Most messages waiting for a client; 0 is no limit.
    pub(crate) fn queued_max(&self, connected: bool) -> usize {
        match self.connected_queued_messages {
            0 => self.max_queued_messages as usize,
            tight if connected => tight as usize,
            _ => self.max_queued_messages as usize,
        }
    }

    /// All rules for retained messages, and behind them what is counted for budgets of topics.
    pub(crate) fn all_retain_rules(&self) -> RetainRules {
        let age = match self.retain_rules.age {
            0 => self.retain_expiry_interval,
            age => age,
        };
        let mut rules = RetainRules { age, ..self.retain_rules.clone() };
        rules.limits.extend(self.retained_tallies());
        rules
    }

    /// Entries of a queue that are read from the store at once.
    pub(crate) fn load_entries(&self) -> usize {
        load_entries(self.stored_queue_entries)
    }

    /// QoS 1 and 2 publishes that a client may have unacknowledged: the broker's Receive Maximum.
    pub(crate) fn receive_maximum(&self) -> usize {
        match self.max_inflight_messages {
            0 => usize::from(u16::MAX),
            most => usize::from(most),
        }
    }
}

/// Entries of a queue that are read from the store at once, if `kept` of them may be in memory.
pub(crate) fn load_entries(kept: usize) -> usize {
    (kept / 2).max(1)
}

/// Settings of a listener when there is none at all: nobody is let in.
static FALLBACK: ListenerSettings = ListenerSettings {
    max_qos: QoS::AtMostOnce,
    max_topic_alias: 0,
    max_topic_alias_broker: 0,
    allow_zero_length_clientid: false,
    auto_id_prefix: String::new(),
    mount_point: String::new(),
    memory_budget: None,
};
