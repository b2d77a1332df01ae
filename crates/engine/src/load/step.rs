//! The steps, where each begins, and the limits that hold in it.

use crate::settings::Settings;

/// What is done as the limit comes near. Each step goes on with those before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Step {
    /// There is room.
    #[default]
    Clear,
    /// Caches and buffers are made small, and so is what may wait unsent for a connection.
    ShrinkCaches,
    /// Queues of stored sessions are left to the store.
    Spill,
    /// Publishers are read from less often, and not at all while a queue has no room for what they sent.
    SlowPublishers,
    /// New retained topics, new subscriptions, and messages that would have to be queued in memory for
    /// somebody who is away are refused (0x97).
    RefuseNew,
    /// New sessions are refused (0x97); one step further, all connections (0x89).
    RefuseConnections,
    /// QoS 0 messages to clients that have output waiting are dropped.
    DropQos0,
    /// The client whose end frees most is disconnected (0x97), one after the other.
    Disconnect,
}

impl Step {
    /// All steps, in their order.
    pub const ALL: [Self; 8] = [
        Self::Clear,
        Self::ShrinkCaches,
        Self::Spill,
        Self::SlowPublishers,
        Self::RefuseNew,
        Self::RefuseConnections,
        Self::DropQos0,
        Self::Disconnect,
    ];

    /// The name in metrics and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Clear => "clear",
            Self::ShrinkCaches => "shrink_caches",
            Self::Spill => "spill_queues",
            Self::SlowPublishers => "slow_publishers",
            Self::RefuseNew => "refuse_new",
            Self::RefuseConnections => "refuse_connections",
            Self::DropQos0 => "drop_qos0",
            Self::Disconnect => "disconnect_largest",
        }
    }

    /// Where it begins, in percent of the limit.
    pub const fn percent(self) -> usize {
        match self {
            Self::Clear => 0,
            Self::ShrinkCaches => 70,
            Self::Spill => 76,
            Self::SlowPublishers => 80,
            Self::RefuseNew => 85,
            Self::RefuseConnections => 90,
            Self::DropQos0 => 93,
            Self::Disconnect => 96,
        }
    }

    /// The step that follows from what is held: up at once; down by one, once it is well below where
    /// this step begins.
    #[must_use]
    pub fn after(self, used: usize, limit: usize) -> Self {
        let begins = |step: Self| limit / 100 * step.percent();
        let reached = Self::ALL.into_iter().rev().find(|&step| used >= begins(step));
        let reached = reached.unwrap_or_default();
        if reached >= self || used + limit / 100 * HYSTERESIS_PERCENT >= begins(self) {
            return reached.max(self);
        }
        Self::ALL.get((self as usize).saturating_sub(1)).copied().unwrap_or_default()
    }

    /// The limits of this step.
    pub(crate) fn tightened(self, settings: &Settings) -> Settings {
        let mut tight = settings.clone();
        tight.output_bytes_max = settings.output_bytes_max.min(self.output_bytes_max());
        tight.stored_queue_entries = self.stored_queue_entries(settings.stored_queue_entries);
        if let Some(queued) = self.connected_queued_max() {
            let most = settings.max_queued_messages;
            tight.connected_queued_messages = if most == 0 { queued } else { most.min(queued) };
        }
        tight
    }

    /// Bytes that may be unsent for a connection.
    pub(crate) const fn output_bytes_max(self) -> u32 {
        match self {
            Self::Clear => u32::MAX,
            Self::ShrinkCaches | Self::Spill => 256 * 1024,
            Self::SlowPublishers | Self::RefuseNew | Self::RefuseConnections => 64 * 1024,
            Self::DropQos0 | Self::Disconnect => 16 * 1024,
        }
    }

    /// Messages that may wait for a connected client; `None` is as many as without this step.
    pub(crate) const fn connected_queued_max(self) -> Option<u32> {
        match self {
            Self::Clear | Self::ShrinkCaches | Self::Spill => None,
            Self::SlowPublishers => Some(CONNECTED_QUEUE_TIGHT),
            Self::RefuseNew | Self::RefuseConnections | Self::DropQos0 | Self::Disconnect => {
                Some(1)
            }
        }
    }

    /// Entries of a stored session's queue that are kept in memory, of `configured` ones.
    pub(crate) fn stored_queue_entries(self, configured: usize) -> usize {
        if self >= Self::Spill { configured.min(STORED_QUEUE_TIGHT) } else { configured }
    }
}

/// A step is left when so much less is held than where it begins.
const HYSTERESIS_PERCENT: usize = 3;

/// Messages of a stored session's queue that are kept in memory from [`Step::Spill`] on.
const STORED_QUEUE_TIGHT: usize = 16;

/// Messages that may wait for a connected client at [`Step::SlowPublishers`], before acknowledgements
/// are held back for it.
const CONNECTED_QUEUE_TIGHT: u32 = 50;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_go_up_at_once_and_down_late_and_one_by_one() {
        let limit = 1000;
        assert_eq!(Step::Clear.after(699, limit), Step::Clear);
        assert_eq!(Step::Clear.after(700, limit), Step::ShrinkCaches);
        assert_eq!(Step::Clear.after(960, limit), Step::Disconnect);
        assert_eq!(Step::Disconnect.after(931, limit), Step::Disconnect);
        assert_eq!(Step::Disconnect.after(929, limit), Step::DropQos0);
        assert_eq!(Step::Disconnect.after(100, limit), Step::DropQos0);
        assert_eq!(Step::ShrinkCaches.after(671, limit), Step::ShrinkCaches);
        assert_eq!(Step::ShrinkCaches.after(669, limit), Step::Clear);
        let mut step = Step::Disconnect;
        for _ in 1..Step::ALL.len() {
            step = step.after(0, limit);
        }
        assert_eq!(step, Step::Clear);
    }

    #[test]
    fn steps_stand_in_the_order_of_their_beginnings() {
        for (at, step) in Step::ALL.iter().enumerate() {
            assert_eq!(*step as usize, at);
        }
        assert!(Step::ALL.windows(2).all(|two| two[0].percent() < two[1].percent()));
    }

    #[test]
    fn no_step_makes_a_limit_wider() {
        let settings = Settings {
            output_bytes_max: 1000,
            stored_queue_entries: 4,
            max_queued_messages: 1,
            ..Settings::default()
        };
        for step in Step::ALL {
            let tight = step.tightened(&settings);
            assert_eq!((tight.output_bytes_max, tight.stored_queue_entries), (1000, 4));
            assert_eq!(tight.queued_max(true), 1);
        }
    }
}
