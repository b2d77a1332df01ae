//! What a world is like: everything is drawn from its seed.

use plimsoll_engine::budgets::{BudgetRules, TopicBudget, UserBudget};
use plimsoll_engine::{Persistence, Settings};

use crate::rng::Rng;

/// The watcher's user name.
pub(crate) const WATCHER: &str = "watcher";

/// Clients of one user name, roughly.
const CLIENTS_PER_USER: u32 = 3;

/// The user name of a client that is not the watcher.
pub(crate) fn username(who: u32) -> String {
    format!("user-{}", who / CLIENTS_PER_USER)
}

/// The parameters of a world.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Clients beside the watcher.
    pub clients: u32,
    /// I/O threads that links are spread over.
    pub shards: usize,
    /// Steps of the safety phase.
    pub steps: u32,
    /// Percent of steps in which a client's connection breaks.
    pub losses: u64,
    /// Percent of steps in which a client does not read.
    pub stalls: u64,
    /// Largest delay of a network, ms.
    pub delay_max: u64,
    /// Percent of steps in which the storage thread has its turn; 0 is a broker without one.
    pub storage: u64,
    /// How many of a thousand steps the broker dies in.
    pub crashes: u64,
    /// How many of a thousand steps the disk begins to fail in.
    pub failures: u64,
    /// How many of a thousand steps memory becomes short, or there is room again.
    pub loads: u64,
    /// Most bytes that the broker may hold: little enough for it to reach by itself, or a lot.
    pub memory_limit: usize,
    /// Bytes that the clients of one user may hold together while that is little; 0 is a world without
    /// budgets.
    pub budget: usize,
    /// Largest payload, roughly.
    pub payload_max: u64,
    /// Percent of messages of 5.0 clients that expire.
    pub expiring: u64,
    /// The engine's limits.
    pub settings: Settings,
}

impl Plan {
    /// Draws a plan.
    pub fn new(rng: &mut Rng) -> Self {
        let mut settings = Settings {
            max_inflight_messages: rng.within(1, 20) as u16,
            max_queued_messages: *rng.pick(&[0, 1, 3, 10, 1000, 1000]),
            max_queued_bytes: *rng.pick(&[0, 0, 0, 2000]),
            queue_qos0_messages: rng.chance(30),
            allow_duplicate_messages: rng.chance(50),
            upgrade_outgoing_qos: rng.chance(5),
            slow_consumer_timeout: *rng.pick(&[1, 10, 600, 600]),
            output_bytes_max: *rng.pick(&[200, 1000, 1 << 20]),
            retained_scan_entries: rng.within(1, 20) as usize,
            stored_queue_entries: *rng.pick(&[1, 4, 20, 512]),
            offender_bytes_min: *rng.pick(&[1, 1000, 4096]),
            trace: rng.chance(10),
            ..Settings::default()
        };
        let storage = *rng.pick(&[0, 5, 30, 100]);
        let crashes = if storage > 0 { *rng.pick(&[0, 2, 10]) } else { 0 };
        let failures = if storage > 0 { *rng.pick(&[0, 0, 5, 20]) } else { 0 };
        // What is not waited for may be lost with the broker.
        let relaxed = crashes == 0 && failures == 0 && rng.chance(30);
        if storage > 0 {
            settings.persistence =
                if relaxed { Persistence::Relaxed } else { Persistence::Promised };
        }
        Self {
            clients: rng.within(2, 8) as u32,
            shards: rng.within(1, 3) as usize,
            steps: rng.within(200, 800) as u32,
            losses: *rng.pick(&[0, 0, 1, 3]),
            stalls: *rng.pick(&[0, 0, 5, 30]),
            delay_max: *rng.pick(&[0, 5, 100]),
            storage,
            crashes,
            failures,
            payload_max: *rng.pick(&[90, 90, 400]),
            expiring: *rng.pick(&[0, 0, 30]),
            loads: *rng.pick(&[0, 0, 5, 50]),
            memory_limit: *rng.pick(&[1 << 20, 1 << 30]),
            budget: *rng.pick(&[0, 0, 4000, 10_000, 40_000]),
            settings,
        }
    }

    /// Settings in which each user may hold so many bytes, the watcher a lot; and what the listener's
    /// clients hold is counted.
    pub fn with_budget(&self, each_user: usize) -> Settings {
        let mut settings = self.settings.clone();
        if self.budget > 0 {
            // The watcher has to see all wills, so there is no budget for those.
            let part = |(prefix, part): (&str, usize)| TopicBudget {
                prefix: prefix.into(),
                bytes: each_user / part,
            };
            let topics = [("c/1", 4), ("c", 1), ("s", 8)].map(part).into();
            let watcher = UserBudget { username: Some(WATCHER.into()), bytes: 1 << 30 };
            settings.budgets =
                BudgetRules { users: vec![watcher], each_user: Some(each_user), topics };
            for listener in &mut settings.listeners {
                listener.memory_budget = Some(1 << 30);
            }
        }
        settings
    }
}
