//! The index against the plain definition of matching, and the ledger against a recount.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use plimsoll_ledger::{Account, Ledger};
use plimsoll_mqtt::{QoS, topic};
use proptest::prelude::*;

use super::{Subscriber, SubscriptionOptions, Subscriptions};

fn options(identifier: u32) -> SubscriptionOptions {
    SubscriptionOptions::new(identifier, QoS::AtLeastOnce, false, true)
}

fn ledger() -> &'static Ledger {
    Box::leak(Box::default())
}

fn level() -> impl Strategy<Value = String> {
    prop::sample::select(alloc::vec!["", "a", "b", "$x", "longer level"])
        .prop_map(alloc::string::ToString::to_string)
}

fn topic_name() -> impl Strategy<Value = String> {
    let deep = prop::collection::vec(level(), 30..36);
    let usual = prop::collection::vec(level(), 1..6);
    prop_oneof![9 => usual, 1 => deep]
        .prop_map(|levels| levels.join("/"))
        .prop_filter("not empty", |topic| !topic.is_empty())
}

fn topic_filter() -> impl Strategy<Value = String> {
    (topic_name(), any::<u64>(), any::<bool>())
        .prop_map(|(name, plus, open)| {
            let mut levels: Vec<&str> = name.split('/').collect();
            for (at, level) in levels.iter_mut().enumerate() {
                if plus >> (at % 64) & 1 != 0 && plus % 3 != 0 {
                    *level = "+";
                }
            }
            if open {
                levels.push("#");
            }
            levels.join("/")
        })
        .prop_filter("valid", |filter| {
            topic::validate_topic_filter(filter, topic::TopicLimits::DEFAULT).is_ok()
        })
}

#[derive(Clone, Debug)]
enum Step {
    Subscribe(String, u32),
    Unsubscribe(prop::sample::Index),
    Match(String),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (topic_filter(), 0u32..4).prop_map(|(filter, who)| Step::Subscribe(filter, who)),
        2 => any::<prop::sample::Index>().prop_map(Step::Unsubscribe),
        3 => topic_name().prop_map(Step::Match),
    ]
}

fn matching(index: &Subscriptions, name: &str) -> Vec<(u32, u32)> {
    let mut found = Vec::new();
    index.matches(name, |entries| {
        found.extend(entries.iter().map(|(who, options)| (who.0, options.identifier())));
    });
    found.sort_unstable();
    found
}

proptest! {
    #[test]
    fn v5_mqtt_4_7_the_index_matches_as_the_plain_definition_does(steps in prop::collection::vec(step(), 0..120)) {
        let ledger = ledger();
        let mut index = Subscriptions::new(ledger, 7);
        let mut model: BTreeMap<(String, u32), u32> = BTreeMap::new();
        for (number, step) in steps.into_iter().enumerate() {
            let number = number as u32;
            match step {
                Step::Subscribe(filter, who) => {
                    let inserted = index.insert(&filter, Subscriber(who), options(number));
                    let before = model.insert((filter.clone(), who), number);
                    prop_assert_eq!(inserted.replaced.map(SubscriptionOptions::identifier), before);
                    prop_assert_eq!(index.find(&filter), Some(inserted.key));
                    prop_assert_eq!(index.filter(inserted.key), Some(filter.as_str()));
                }
                Step::Unsubscribe(which) if !model.is_empty() => {
                    let held: Vec<(String, u32)> = model.keys().cloned().collect();
                    let (filter, who) = which.get(&held).clone();
                    let key = index.find(&filter);
                    prop_assert!(key.is_some_and(|key| index.remove(key, Subscriber(who))));
                    model.remove(&(filter, who));
                }
                Step::Unsubscribe(_) => {}
                Step::Match(name) => {
                    let mut expected: Vec<(u32, u32)> = model
                        .iter()
                        .filter(|((filter, _), _)| topic::matches(filter, &name))
                        .map(|((_, who), &number)| (*who, number))
                        .collect();
                    expected.sort_unstable();
                    prop_assert_eq!(matching(&index, &name), expected, "{}", name);
                }
            }
            prop_assert_eq!(index.recount(), ledger.bytes(Account::Subscriptions));
        }
        for (filter, who) in model.into_keys() {
            if let Some(key) = index.find(&filter) {
                index.remove(key, Subscriber(who));
            }
        }
        prop_assert_eq!(ledger.total(), 0);
    }
}

#[test]
fn thousands_of_odd_shapes_go_to_the_trie_and_still_match() {
    let ledger = ledger();
    let mut index = Subscriptions::new(ledger, 1);
    let levels = ["a"; 12];
    let mut keys = Vec::new();
    for mask in 0u32..4096 {
        let mut filter = levels;
        for (at, level) in filter.iter_mut().enumerate() {
            if mask >> at & 1 != 0 {
                *level = "+";
            }
        }
        keys.push(index.insert(&filter.join("/"), Subscriber(mask), options(0)).key);
    }
    assert_eq!(matching(&index, &levels.join("/")).len(), 4096);
    assert_eq!(index.recount(), ledger.bytes(Account::Subscriptions));
    for (mask, key) in keys.into_iter().enumerate() {
        assert!(index.remove(key, Subscriber(mask as u32)));
    }
    assert_eq!(ledger.total(), 0);
}

#[test]
fn many_subscribers_of_one_filter_come_and_go() {
    let ledger = ledger();
    let mut index = Subscriptions::new(ledger, 1);
    for who in (0..20_000).rev() {
        index.insert("broadcast", Subscriber(who), options(who));
    }
    assert_eq!(matching(&index, "broadcast").len(), 20_000);
    let key = index.find("broadcast").expect("it was just subscribed to");
    for who in 0..20_000 {
        assert!(index.remove(key, Subscriber(who)));
    }
    assert_eq!(ledger.total(), 0);
}
