//! Rules, what is counted for them, and memory that comes back: against a plain model.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use plimsoll_mqtt::topic::matches;
use proptest::prelude::*;

use super::{ledger, topic_filter, topic_name};
use crate::retained::{
    RetainExpiry, RetainLimit, RetainRules, RetainedMessage, RetainedStore, Scan, ScanCursor,
};
use crate::time::Time;

#[derive(Clone, Debug)]
struct Kept {
    payload: Vec<u8>,
    own: Option<u32>,
    written_at: Option<u32>,
}

impl Kept {
    fn size(&self, topic: &str) -> u64 {
        (topic.len() + self.payload.len()) as u64
    }

    /// The definition: the first age limit that matches, or the publisher's wish if that is sooner.
    fn expires_at(&self, topic: &str, rules: &RetainRules) -> u32 {
        let rule = rules.expiries.iter().find(|rule| matches(&rule.filter, topic));
        let default = (rules.age > 0 && !topic.starts_with('$')).then_some(rules.age);
        let age = rule.map_or(default, |rule| rule.age);
        let by_age = self.written_at.zip(age).map(|(at, age)| at + age);
        self.own.unwrap_or(u32::MAX).min(by_age.unwrap_or(u32::MAX))
    }
}

type Model = BTreeMap<String, Kept>;

#[derive(Clone, Debug)]
enum Step {
    Publish { topic: String, size: usize, own: Option<u32>, dated: bool },
    Remove(String),
    Pass(u32),
    Rules(RetainRules),
    Count(usize),
    Delete(String),
}

fn rules() -> impl Strategy<Value = RetainRules> {
    let expiry = (topic_filter(), prop::option::of(1u32..60));
    let expiry = expiry.prop_map(|(filter, age)| RetainExpiry { filter: filter.into(), age });
    let bound = || prop::option::of(0u64..30);
    let limit = (topic_filter(), bound(), bound()).prop_map(|(filter, count, bytes)| RetainLimit {
        filter: filter.into(),
        count,
        bytes: bytes.map(|bytes| bytes * 20),
    });
    let age = prop_oneof![Just(0u32), 1u32..80];
    (prop::collection::vec(expiry, 0..4), age, prop::collection::vec(limit, 0..4))
        .prop_map(|(expiries, age, limits)| RetainRules { expiries, age, limits })
}

fn step() -> impl Strategy<Value = Step> {
    let size = prop_oneof![8 => 1usize..40, 1 => 500usize..600];
    let own = prop::option::weighted(0.2, 1u32..100);
    prop_oneof![
        8 => (topic_name(), size, own, prop::bool::weighted(0.9)).prop_map(
            |(topic, size, own, dated)| Step::Publish { topic, size, own, dated }),
        3 => topic_name().prop_map(Step::Remove),
        2 => (1u32..15).prop_map(Step::Pass),
        1 => rules().prop_map(Step::Rules),
        2 => (1usize..20).prop_map(Step::Count),
        1 => topic_filter().prop_map(Step::Delete),
    ]
}

struct World {
    store: RetainedStore,
    model: Model,
    now: u32,
}

impl World {
    /// What there is under a limit.
    fn walk(&self, limit: &RetainLimit) -> (u64, u64) {
        let under = self.model.iter().filter(|(topic, _)| matches(&limit.filter, topic));
        under.fold((0, 0), |(count, bytes), (topic, kept)| (count + 1, bytes + kept.size(topic)))
    }

    fn admits(&self, topic: &str, kept: &Kept) -> bool {
        let old = self.model.get(topic).map(|old| old.size(topic));
        let size = kept.size(topic);
        let limits = &self.store.rules().limits;
        limits.iter().filter(|limit| matches(&limit.filter, topic)).all(|limit| {
            let (count, bytes) = self.walk(limit);
            let few = limit.count.is_none_or(|most| old.is_some() || count < most);
            let grows = size > old.unwrap_or(0);
            let small =
                limit.bytes.is_none_or(|most| !grows || bytes - old.unwrap_or(0) + size <= most);
            few && small
        })
    }

    fn publish(&mut self, topic: String, kept: Kept) {
        let admitted = self.store.admits(&topic, kept.size(&topic) as usize).is_ok();
        if !self.store.is_counting() {
            assert_eq!(admitted, self.admits(&topic, &kept), "{topic}");
        }
        if admitted {
            let message = RetainedMessage {
                qos: 1,
                properties: &[],
                payload: &kept.payload,
                expires_at: kept.own,
                written_at: kept.written_at,
            };
            let (_, expires_at) = self.store.set(&topic, message);
            let expected = kept.expires_at(&topic, self.store.rules());
            assert_eq!(expires_at.unwrap_or(u32::MAX), expected);
            self.model.insert(topic, kept);
        }
    }

    fn sweep(&mut self) {
        let now = Time::from_secs(self.now);
        let mut gone = Vec::new();
        let mut next = now;
        for _ in 0..1000 {
            next = self.store.sweep(now, 2, |topic| gone.push(topic.to_string()));
            if next > now {
                break;
            }
        }
        let rules = self.store.rules();
        let over = |topic: &String, kept: &Kept| kept.expires_at(topic, rules) <= self.now;
        let mut expected: Vec<String> = self
            .model
            .iter()
            .filter(|(topic, kept)| over(topic, kept))
            .map(|(topic, _)| topic.clone())
            .collect();
        expected.sort();
        gone.sort();
        assert_eq!(gone, expected);
        self.model.retain(|topic, kept| !over(topic, kept));
        // It need not be looked for before the next one expires, and not be late.
        let first = self.model.iter().map(|(topic, kept)| kept.expires_at(topic, rules)).min();
        match first {
            None | Some(u32::MAX) => {}
            Some(first) => assert!(next <= Time::from_secs(first), "{next:?} {first}"),
        }
    }

    fn delete(&mut self, filter: &str) {
        let mut cursor = ScanCursor::default();
        let mut gone = Vec::new();
        while self.store.delete(filter, &mut cursor, 7, 3, |topic, _| gone.push(topic.to_string()))
            == Scan::More
        {}
        gone.sort();
        let mut expected: Vec<String> =
            self.model.keys().filter(|topic| matches(filter, topic)).cloned().collect();
        expected.sort();
        assert_eq!(gone, expected, "{filter}");
        self.model.retain(|topic, _| !matches(filter, topic));
    }

    fn step(&mut self, step: Step, number: usize) {
        match step {
            Step::Publish { topic, size, own, dated } => {
                let own = own.map(|after| self.now + after);
                let written_at = dated.then_some(self.now);
                let kept = Kept { payload: alloc::vec![number as u8; size], own, written_at };
                self.publish(topic, kept);
            }
            Step::Remove(topic) => {
                assert_eq!(self.store.remove(&topic), self.model.remove(&topic).is_some());
            }
            Step::Pass(secs) => {
                self.now += secs;
                self.sweep();
            }
            Step::Rules(rules) => self.store.set_rules(rules),
            Step::Count(steps) => {
                if self.store.has_undated() && !self.store.is_counting() {
                    self.store.begin_counting();
                }
                let mut dated = Vec::new();
                self.store.go_on_counting(Time::from_secs(self.now), steps, |topic| {
                    dated.push(topic.to_string());
                });
                for topic in dated {
                    let kept = self.model.get_mut(&topic).unwrap();
                    assert_eq!(kept.written_at.replace(self.now), None);
                }
            }
            Step::Delete(filter) => self.delete(&filter),
        }
        assert_eq!(self.store.len(), self.model.len());
        let bytes: u64 = self.model.iter().map(|(topic, kept)| kept.size(topic)).sum();
        assert_eq!(self.store.bytes(), bytes);
        if !self.store.is_counting() {
            self.check_tallies();
        }
    }

    fn check_tallies(&self) {
        for (limit, tally) in self.store.rules().limits.iter().zip(self.store.tallies()) {
            assert_eq!((tally.count, tally.bytes), self.walk(limit), "{limit:?}");
        }
    }
}

proptest! {
    #[test]
    fn counts_equal_a_walk_and_ages_are_kept(
        first in rules(),
        steps in prop::collection::vec(step(), 0..150),
        page in 64usize..256,
    ) {
        let ledger = ledger();
        let store = RetainedStore::with_page_bytes(ledger, first, page);
        let mut world = World { store, model: Model::new(), now: 1000 };
        for (number, step) in steps.into_iter().enumerate() {
            world.step(step, number);
            prop_assert_eq!(world.store.recount(), ledger.total());
        }
        while !world.store.go_on_counting(Time::from_secs(world.now), 3, |topic| {
            world.model.get_mut(topic).unwrap().written_at = Some(world.now);
        }) {}
        world.check_tallies();
        for (topic, kept) in &world.model {
            let message = world.store.get(topic).unwrap();
            let expected = kept.expires_at(topic, world.store.rules());
            prop_assert_eq!(message.expires_at.unwrap_or(u32::MAX), expected);
            prop_assert_eq!(message.written_at, kept.written_at);
        }
        world.delete("#");
        world.delete("$x/#");
        prop_assert!(world.store.is_empty());
        prop_assert!(world.store.tallies().iter().all(|tally| (tally.count, tally.bytes) == (0, 0)));
        prop_assert_eq!((world.store.bytes(), world.store.payload_bytes()), (0, 0));
        prop_assert_eq!(ledger.total(), 0);
    }

    /// Filled, drained and filled again in random order: memory is that of what is there.
    #[test]
    fn what_is_left_pays_only_for_itself(seed in any::<u64>(), keep in 0usize..40) {
        let ledger = ledger();
        let mut store = RetainedStore::new(ledger, RetainRules::default());
        let topic = |n: usize| alloc::format!("plant/{}/line/{}/sensor/{n:05}", n % 13, n % 7);
        let mut order: Vec<usize> = (0..4000).collect();
        let mut random = seed | 1;
        for at in (1..order.len()).rev() {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            order.swap(at, (random % (at as u64 + 1)) as usize);
        }
        let payload = Box::<[u8]>::from(&[7; 700][..]);
        for &n in &order {
            let size = if n % 10 == 0 { 700 } else { 64 };
            let payload = &payload[..size];
            let message = RetainedMessage {
                qos: 0, properties: &[], payload, expires_at: None, written_at: Some(1),
            };
            store.set(&topic(n), message);
        }
        let full = ledger.total();
        let (gone, left) = order.split_at(order.len() - keep);
        for &n in gone {
            store.remove(&topic(n));
        }
        prop_assert_eq!(store.recount(), ledger.total());
        // What a store costs that never had anything else: pages may be three quarters empty.
        let fresh_ledger = super::ledger();
        let mut fresh = RetainedStore::new(fresh_ledger, RetainRules::default());
        for &n in left {
            let topic = topic(n);
            fresh.set(&topic, store.stored(&topic).unwrap());
        }
        prop_assert!(ledger.total() <= 4 * fresh_ledger.total() + 4096,
            "{} of {full} are left, {} are needed", ledger.total(), fresh_ledger.total());
        for &n in left {
            store.remove(&topic(n));
        }
        prop_assert_eq!(ledger.total(), 0);
    }
}
