//! Life and death of retained messages, by the engine's own inputs.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use plimsoll_ledger::Ledger;

use crate::retained::{RetainExpiry, RetainLimit, RetainRules, Scan, ScanCursor};
use crate::{Engine, Input, Item, Persistence, Record, Records, Settings, Time};

struct World {
    engine: Engine,
    ledger: &'static Ledger,
    /// Retained topics that the store has.
    stored: Vec<Vec<u8>>,
    now: u32,
}

impl World {
    fn new(retain_rules: RetainRules) -> Self {
        let ledger: &'static Ledger = Box::leak(Box::default());
        let persistence = Persistence::Relaxed;
        let settings = Settings { retain_rules, persistence, ..Settings::default() };
        let engine = Engine::new(settings, 1, 7, ledger);
        Self { engine, ledger, stored: Vec::new(), now: 1000 }
    }

    fn store(&mut self) {
        let mut records = Records::new(self.ledger);
        self.engine.take_records(&mut records);
        for record in &records {
            match record {
                Record::Put { key, value } | Record::Insert { key, value } => {
                    let Ok(Item::Retained { .. }) = Item::decode(key, value) else { continue };
                    self.stored.retain(|stored| stored != key);
                    self.stored.push(key.into());
                }
                Record::Delete { key } => self.stored.retain(|stored| stored != key),
            }
        }
    }

    fn pass(&mut self, secs: u32) {
        self.now += secs;
        for _ in 0..1000 {
            let now = Time::from_secs(self.now);
            self.engine.handle(now, &[]);
            if self.engine.next_deadline().is_none_or(|at| at > now) {
                break;
            }
        }
        self.store();
    }

    fn publish(&mut self, topic: &str, payload: &[u8]) {
        let now = Time::from_secs(self.now);
        self.engine.handle(now, &[Input::Publish { topic, payload, retain: true }]);
        self.store();
    }

    fn topics(&self) -> Vec<String> {
        let mut found = Vec::new();
        for filter in ["#", "$x/#", "$SYS/#"] {
            self.engine.retained.scan(
                filter,
                &mut ScanCursor::default(),
                usize::MAX,
                |topic, _| {
                    found.push(topic.to_string());
                    core::ops::ControlFlow::Continue(())
                },
            );
        }
        found
    }
}

fn expiry(filter: &str, age: Option<u32>) -> RetainExpiry {
    RetainExpiry { filter: filter.into(), age }
}

fn limit(filter: &str, count: u64) -> RetainLimit {
    RetainLimit { filter: filter.into(), count: Some(count), bytes: None }
}

#[test]
fn messages_go_by_the_first_rule_that_matches_here_and_in_the_store() {
    let expiries =
        alloc::vec![expiry("keep/#", None), expiry("a/+", Some(60)), expiry("#", Some(600))];
    let mut world = World::new(RetainRules { expiries, ..RetainRules::default() });
    for topic in ["keep/1", "a/1", "a/b/2", "$x/3"] {
        world.publish(topic, b"value");
    }
    world.pass(59);
    assert_eq!(world.topics().len(), 4);
    world.publish("a/1", b"again");
    world.pass(59);
    assert_eq!(world.topics().len(), 4);
    world.pass(1);
    assert_eq!(world.topics(), ["a/b/2", "keep/1", "$x/3"]);
    world.pass(600);
    assert_eq!(world.topics(), ["keep/1", "$x/3"]);
    assert_eq!(world.stored.len(), 2);
    assert_eq!(world.engine.counters().retained_expired, 2);
}

#[test]
fn other_rules_hold_at_once_and_are_counted_for() {
    let mut world = World::new(RetainRules::default());
    for n in 0..3000 {
        world.publish(&format!("a/{}/{n}", n % 3), b"value");
    }
    world.now += 100;
    let retain_rules = RetainRules {
        expiries: alloc::vec![expiry("a/0/#", Some(50))],
        limits: alloc::vec![limit("a/#", 2000), limit("a/1/#", 5000)],
        ..RetainRules::default()
    };
    let settings =
        Settings { retain_rules, persistence: Persistence::Relaxed, ..Settings::default() };
    world.engine.configure(Time::from_secs(world.now), settings);
    world.pass(0);
    let (limits, counting) = world.engine.retain_limits();
    let counts: Vec<u64> = limits.map(|(_, tally)| tally.count).collect();
    assert_eq!((counts, counting), (alloc::vec![2000, 1000], false));
    world.publish("a/1/new", b"value");
    world.publish("b/new", b"value");
    assert_eq!(world.engine.counters().retained_refused, 1);
    assert_eq!(world.engine.counters().retained, 2001);
    world.publish("a/1/1", b"known, and larger");
    world.publish("a/1/1", b"");
    world.publish("a/1/new", b"value");
    assert_eq!(world.engine.counters().retained_refused, 1);
    assert_eq!(world.stored.len(), world.engine.counters().retained as usize);
}

#[test]
fn a_filter_deletes_in_pieces_what_a_dry_run_counts() {
    let mut world = World::new(RetainRules::default());
    for n in 0..3000 {
        world.publish(&format!("plant/{}/s{n}", n % 2), b"value");
    }
    world.publish("$SYS/x", b"1");
    world.publish("$x/y", b"1");
    let now = Time::from_secs(world.now);
    let mut run = |filter: &str, dry_run: bool| {
        let (mut cursor, mut calls, mut sum) = (ScanCursor::default(), 0, (0u64, 0usize));
        loop {
            calls += 1;
            let mut here = 0;
            let engine = &mut world.engine;
            let scan = engine.delete_retained(now, filter, &mut cursor, dry_run, |_, size| {
                here += 1;
                sum = (sum.0 + 1, sum.1 + size);
            });
            assert!(here <= 1000);
            if scan == Scan::Done {
                return (sum, calls);
            }
        }
    };
    let (counted, _) = run("plant/1/#", true);
    assert_eq!(counted.0, 1500);
    let (deleted, calls) = run("plant/1/#", false);
    assert_eq!(deleted, counted);
    assert!(calls >= 3, "{calls}");
    assert_eq!(run("plant/1/#", false).0, (0, 0));
    assert_eq!(run("#", false).0.0, 1500);
    world.store();
    assert_eq!(world.topics(), ["$x/y", "$SYS/x"]);
    assert_eq!(world.stored.len(), 1);
    assert_eq!(world.engine.counters().retained_deleted, 3000);
}

#[test]
fn what_an_earlier_release_stored_is_dated_when_it_is_read() {
    let mut world = World::new(RetainRules {
        expiries: alloc::vec![expiry("#", Some(100))],
        ..RetainRules::default()
    });
    let now = Time::from_secs(world.now);
    let mut restoring = world.engine.restore(now);
    // Layout 1: QoS 0, no expiry, no properties.
    restoring.item(b"\x07a\0b", &[1, 0, 0, 0, b'x']).unwrap();
    // Layout 2: written at 950.
    restoring.item(b"\x07a\0c", &[2, 0, 0xB7, 7, 0, 0, b'x']).unwrap();
    assert_eq!(restoring.finish().retained, 2);
    world.pass(0);
    assert_eq!(world.stored, [b"\x07a\0b"], "it is stored with its time");
    world.pass(51);
    assert_eq!(world.topics(), ["a/b"]);
    world.pass(49);
    assert!(world.topics().is_empty());
    assert!(world.stored.is_empty());
}
