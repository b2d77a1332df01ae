//! Deliberate leaks, which the alarm is tested with. A release build cannot have them.
//!
//! Without the feature `leaks` every hook here is empty.

#[cfg(all(feature = "leaks", not(debug_assertions)))]
compile_error!("deliberate leaks are for tests: build them with debug assertions");

#[cfg(feature = "leaks")]
use alloc::{boxed::Box, collections::BTreeMap, vec};

use crate::subscriptions::{FilterKey, Subscriber, Subscriptions};
use crate::time::Time;

/// A class of leak.
#[cfg(feature = "leaks")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leak {
    /// A copy of the topic at each update of a retained message.
    TopicString,
    /// Twenty bytes of a read buffer of 8 KiB, at every 16th update.
    PinnedSlice,
    /// An entry for each retained update of a session, in a map that nothing is taken out of.
    Map,
    /// A timer that each packet sets anew, while nobody cancels the one before.
    Timer,
    /// Sessions whose time is over.
    Sessions,
    /// Topic filters that nobody is subscribed to any more.
    Filters,
}

#[cfg(feature = "leaks")]
impl Leak {
    /// All classes with their names.
    pub const ALL: [(&'static str, Self); 6] = [
        ("topic_string", Self::TopicString),
        ("pinned_slice", Self::PinnedSlice),
        ("map", Self::Map),
        ("timer", Self::Timer),
        ("sessions", Self::Sessions),
        ("filters", Self::Filters),
    ];
}

/// A timer as it is written where each packet makes one: when, for whom, and what is to be called.
#[cfg(feature = "leaks")]
#[expect(dead_code, reason = "nobody looks at it: that is the mistake")]
struct Timer {
    at: Time,
    slot: u32,
    _call: [usize; 6],
}

/// What leaks at present.
#[derive(Debug, Default)]
pub(crate) struct Leaking {
    #[cfg(feature = "leaks")]
    leak: Option<Leak>,
    #[cfg(feature = "leaks")]
    updates: u64,
    #[cfg(feature = "leaks")]
    map: BTreeMap<(u64, Box<str>), u64>,
}

#[cfg(not(feature = "leaks"))]
#[expect(clippy::unused_self, reason = "with leaks they have something to do")]
impl Leaking {
    #[inline]
    pub(crate) fn retained_updated(&mut self, _topic: &str) {}

    #[inline]
    pub(crate) fn heard_of(&mut self, _slot: u32, _at: Time) {}

    #[inline]
    pub(crate) fn keeps_sessions(&self) -> bool {
        false
    }

    #[inline]
    pub(crate) fn keeps_filter(&self, _: &mut Subscriptions, _: FilterKey, _: Subscriber) -> bool {
        false
    }
}

#[cfg(feature = "leaks")]
impl Leaking {
    #[inline(never)]
    pub(crate) fn retained_updated(&mut self, topic: &str) {
        self.updates += 1;
        match self.leak {
            Some(Leak::TopicString) => {
                Box::leak(Box::<str>::from(topic));
            }
            Some(Leak::PinnedSlice) if self.updates.is_multiple_of(16) => {
                vec![0u8; 8192].leak();
            }
            Some(Leak::Map) => {
                self.map.insert((self.updates, Box::from(topic)), self.updates);
            }
            _ => {}
        }
    }

    #[inline(never)]
    pub(crate) fn heard_of(&mut self, slot: u32, at: Time) {
        if self.leak == Some(Leak::Timer) {
            // A block that nobody looks at would not be asked for at all.
            core::hint::black_box(Box::leak(Box::new(Timer { at, slot, _call: [0; 6] })));
        }
    }

    pub(crate) fn keeps_sessions(&self) -> bool {
        self.leak == Some(Leak::Sessions)
    }

    pub(crate) fn keeps_filter(
        &self,
        subscriptions: &mut Subscriptions,
        key: FilterKey,
        subscriber: Subscriber,
    ) -> bool {
        let keeps = self.leak == Some(Leak::Filters);
        if keeps {
            subscriptions.remove_and_keep_filter(key, subscriber);
        }
        keeps
    }
}

#[cfg(feature = "leaks")]
impl crate::Engine {
    /// Leaks, or stops to. What has leaked stays.
    pub fn leak(&mut self, leak: Option<Leak>) {
        self.leaking.leak = leak;
    }
}
