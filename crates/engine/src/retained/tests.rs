//! The store against a sorted map and the plain definition of matching.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::ops::ControlFlow;

use plimsoll_ledger::Ledger;
use plimsoll_mqtt::topic;
use proptest::prelude::*;

use super::{RetainRules, RetainedMessage, RetainedStore, Scan, ScanCursor, Set, Stop};
use crate::time::Time;

mod rules;

type Model = BTreeMap<String, (Vec<u8>, Option<u32>)>;

fn ledger() -> &'static Ledger {
    Box::leak(Box::default())
}

fn message(payload: &[u8], expires_at: Option<u32>) -> RetainedMessage<'_> {
    let properties = &payload[..payload.len() / 3];
    let written_at = payload.first().map(|&byte| u32::from(byte) + 1);
    RetainedMessage { qos: 1, properties, payload, expires_at, written_at }
}

fn level() -> impl Strategy<Value = String> {
    let names = alloc::vec!["", "a", "b", "ab", "a b", "a-", "$x", "\u{1}", "ü", "level"];
    prop::sample::select(names).prop_map(alloc::string::ToString::to_string)
}

fn topic_name() -> impl Strategy<Value = String> {
    prop::collection::vec(level(), 1..6)
        .prop_map(|levels| levels.join("/"))
        .prop_filter("not empty", |topic| !topic.is_empty())
}

fn topic_filter() -> impl Strategy<Value = String> {
    (topic_name(), any::<u8>(), any::<bool>()).prop_map(|(name, plus, open)| {
        let mut levels: Vec<&str> = name.split('/').collect();
        for (at, level) in levels.iter_mut().enumerate() {
            if plus >> at & 1 != 0 {
                *level = "+";
            }
        }
        if open {
            levels.push("#");
        }
        levels.join("/")
    })
}

#[derive(Clone, Debug)]
enum Step {
    Set(String, usize, Option<u32>),
    Remove(String),
    Get(String),
    Scan(String, usize),
    Sweep(u32),
}

fn step() -> impl Strategy<Value = Step> {
    let size = prop_oneof![8 => 1usize..40, 1 => 500usize..600];
    let expiry = prop::option::weighted(0.2, 1u32..100);
    prop_oneof![
        6 => (topic_name(), size, expiry).prop_map(|(topic, size, at)| Step::Set(topic, size, at)),
        3 => topic_name().prop_map(Step::Remove),
        2 => topic_name().prop_map(Step::Get),
        2 => (topic_filter(), 1usize..10).prop_map(|(filter, steps)| Step::Scan(filter, steps)),
        1 => (0u32..100).prop_map(Step::Sweep),
    ]
}

fn scan_all(store: &RetainedStore, filter: &str, steps: usize) -> Vec<String> {
    let mut found = Vec::new();
    let mut cursor = ScanCursor::default();
    for turn in 0.. {
        let scan = store.scan(filter, &mut cursor, steps, |topic, _| {
            found.push(topic.to_string());
            if turn % 2 == 0 { ControlFlow::Break(Stop::Behind) } else { ControlFlow::Continue(()) }
        });
        if scan == Scan::Done {
            break;
        }
    }
    found.sort();
    found
}

fn check_step(store: &mut RetainedStore, model: &mut Model, step: Step, number: usize) {
    match step {
        Step::Set(topic, size, at) => {
            let payload = alloc::vec![number as u8; size];
            let before = model.insert(topic.clone(), (payload.clone(), at));
            let expected = if before.is_some() { Set::Replaced } else { Set::New };
            assert_eq!(store.set(&topic, message(&payload, at)).0, expected);
        }
        Step::Remove(topic) => assert_eq!(store.remove(&topic), model.remove(&topic).is_some()),
        Step::Get(topic) => {
            let expected = model.get(&topic).map(|(payload, at)| message(payload, *at));
            assert_eq!(store.get(&topic), expected);
        }
        Step::Scan(filter, steps) => {
            let mut expected: Vec<String> =
                model.keys().filter(|topic| topic::matches(&filter, topic)).cloned().collect();
            expected.sort();
            assert_eq!(scan_all(store, &filter, steps), expected, "{filter}");
        }
        Step::Sweep(now) => {
            let now = Time::from_secs(now);
            for _ in 0..1000 {
                if store.sweep(now, 2, |_| {}) > now {
                    break;
                }
            }
            model.retain(|_, (_, at)| at.is_none_or(|at| at > now.as_secs()));
        }
    }
    assert_eq!(store.len(), model.len());
}

proptest! {
    #[test]
    fn behaves_as_a_sorted_map(steps in prop::collection::vec(step(), 0..250), page in 64usize..256) {
        let ledger = ledger();
        let mut store = RetainedStore::with_page_bytes(ledger, RetainRules::default(), page);
        let mut model = Model::new();
        for (number, step) in steps.into_iter().enumerate() {
            check_step(&mut store, &mut model, step, number);
            prop_assert_eq!(store.recount(), ledger.total());
        }
        for (topic, (payload, at)) in &model {
            prop_assert_eq!(store.get(topic), Some(message(payload, *at)));
        }
        for topic in model.keys() {
            store.remove(topic);
        }
        prop_assert_eq!(ledger.total(), 0);
        prop_assert_eq!(store.payload_bytes(), 0);
    }
}

#[test]
fn a_scan_survives_changes_between_its_pieces() {
    let mut store = RetainedStore::with_page_bytes(ledger(), RetainRules::default(), 128);
    let topic = |n: usize| alloc::format!("plant/{}/sensor/{n:05}", n % 7);
    for n in 0..1000 {
        store.set(&topic(n), message(b"x", None));
    }
    let mut seen = BTreeMap::new();
    let mut cursor = ScanCursor::default();
    let mut turn = 0;
    while store.scan("plant/+/sensor/#", &mut cursor, 7, |topic, _| {
        *seen.entry(topic.to_string()).or_insert(0) += 1;
        ControlFlow::Continue(())
    }) == Scan::More
    {
        store.remove(&topic(turn * 2 % 1000));
        store.set(&alloc::format!("plant/{}/sensor/new{turn}", turn % 7), message(b"y", None));
        turn += 1;
    }
    for n in (1..1000).step_by(2) {
        assert_eq!(seen.get(&topic(n)), Some(&1), "{n}");
    }
    assert!(seen.values().all(|&count| count == 1));
}

#[test]
fn long_topics_and_large_payloads_fit() {
    let ledger = ledger();
    let mut store = RetainedStore::new(ledger, RetainRules::default());
    let long = "t".repeat(65_535);
    let large = alloc::vec![7; 1 << 20];
    for n in 0..50 {
        store.set(&alloc::format!("a/{n}"), message(b"small", None));
    }
    store.set(&long, message(&large, None));
    store.set(&long[1..], message(b"x", None));
    assert_eq!(store.get(&long).map(|m| m.payload.len()), Some(large.len()));
    assert_eq!(scan_all(&store, "#", 10).len(), 52);
    assert_eq!(store.recount(), ledger.total());
    for n in 0..50 {
        assert!(store.remove(&alloc::format!("a/{n}")));
    }
    assert!(store.remove(&long[1..]) && store.remove(&long));
    assert_eq!(ledger.total(), 0);
}
