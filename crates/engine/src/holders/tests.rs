//! Censuses of small worlds.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use plimsoll_ledger::{Account, Ledger};
use plimsoll_mqtt::{
    Connect, Packet, PropertiesBuf, Publish, QoS, Subscribe, SubscribeFilter, SubscriptionOptions,
    Version,
};
use proptest::prelude::*;

use super::{
    BacklogCensus, Bytes, Census, CensusTerms, Holder, Prefix, PrefixBytes, PrefixCensus, Top,
};
use crate::access::Admission;
use crate::{Engine, Input, Link, Loss, Outbox, Settings, Time};

struct World {
    engine: Engine,
    ledger: &'static Ledger,
    now: u32,
}

const TERMS: CensusTerms = CensusTerms { most: 10, slow_after: 10, left_after: 60 };

impl World {
    fn new() -> Self {
        let ledger: &'static Ledger = Box::leak(Box::default());
        let settings = Settings { max_queued_messages: 0, ..Settings::default() };
        let engine = Engine::new(settings, 1, 7, ledger);
        Self { engine, ledger, now: 1000 }
    }

    /// One turn; what is to be sent is taken, and what was sent to those `flushed` has gone out.
    fn tell(&mut self, input: Input<'_>) {
        self.engine.handle(Time::from_secs(self.now), &[input]);
        self.engine.take_outbox(0, &mut Outbox::new(self.ledger));
    }

    fn connect(&mut self, slot: u32, name: &str) {
        let packet = Box::new(Connect::new(Version::V311, name, false));
        let admission = Admission::AsAsked;
        self.tell(Input::Connect { link: Link::new(0, slot), listener: 0, packet, admission });
        self.flush(slot, 4);
    }

    fn flush(&mut self, slot: u32, bytes: u32) {
        self.tell(Input::Flushed { link: Link::new(0, slot), bytes });
    }

    fn subscribe(&mut self, slot: u32, filter: &str) {
        let options = SubscriptionOptions { qos: QoS::AtLeastOnce, ..Default::default() };
        let filters = [SubscribeFilter { filter, options }];
        let packet = Packet::Subscribe(Subscribe::new(1, &filters));
        self.tell(Input::Packet { link: Link::new(0, slot), packet });
        self.flush(slot, 5);
    }

    fn publish(&mut self, slot: u32, topic: &str, payload: &[u8]) {
        let properties = PropertiesBuf::new();
        let packet = Packet::Publish(Publish {
            dup: false,
            qos: QoS::AtLeastOnce,
            retain: false,
            topic,
            packet_identifier: 1,
            properties: properties.view(),
            payload,
        });
        self.tell(Input::Packet { link: Link::new(0, slot), packet });
        self.flush(slot, 4);
    }

    fn lose(&mut self, slot: u32) {
        self.tell(Input::Lost { link: Link::new(0, slot), loss: Loss::Failed });
    }

    fn census(&self, before: Option<Bytes>) -> Census {
        let now = Time::from_secs(self.now);
        let mut census = Census::new(self.ledger, now, TERMS, before);
        while !self.engine.census(now, &mut census) {}
        census
    }
}

fn names(top: Top<Holder>) -> Vec<String> {
    top.into_vec().into_iter().map(|holder| holder.client.into()).collect()
}

#[test]
fn who_lags_and_who_was_left_is_found() {
    let mut world = World::new();
    for (slot, name) in ["pub", "gone", "slow", "quick"].into_iter().enumerate() {
        world.connect(slot as u32, name);
    }
    world.subscribe(1, "a/#");
    world.subscribe(2, "a/#");
    world.lose(1);
    for _ in 0..100 {
        world.publish(0, "a/b", &[7; 5000]);
    }
    world.now += 100;
    let census = world.census(None);
    assert_eq!((census.sessions, census.slow, census.left), (4, 1, 1));
    assert_eq!(census.left_for_ever, 1);
    assert_eq!(names(census.slowest), ["slow"]);
    let left = census.most_left.into_vec();
    assert_eq!(&*left[0].client, "gone");
    assert_eq!(left[0].expires_at, Time::NEVER);
    assert_eq!(left[0].lost_at, Time::from_secs(1000));
    let holding = left[0].holding;
    assert_eq!(holding.backlog, 100);
    assert_eq!(holding.backlog_since, Some(Time::from_secs(1000)));
    // Two hold each message.
    assert!(holding.messages_bytes >= 250_000 && holding.messages_bytes < 300_000, "{holding:?}");
    assert!(holding.backlog_bytes >= 500_000);
    let mut behind = names(census.by_backlog);
    behind.sort();
    assert_eq!(behind, ["gone", "slow"]);
}

#[test]
fn the_sum_over_sessions_is_what_the_ledger_has_of_them() {
    let mut world = World::new();
    for slot in 0..50 {
        world.connect(slot, &format!("client-{slot}"));
        world.subscribe(slot, &format!("a/{}/#", slot % 5));
        if slot % 2 == 1 {
            world.lose(slot);
        }
    }
    for n in 0..40 {
        world.publish(0, &format!("a/{}/x", n % 5), &[7; 900]);
    }
    let census = world.census(None);
    let queues = census.by_bytes.into_vec();
    assert_eq!((census.sessions, queues.len()), (50, TERMS.most));
    assert!(queues.is_sorted_by(|a, b| a.holding.bytes >= b.holding.bytes));
    // Tables that find sessions belong to no session, and output not to the engine.
    let accounts = [Account::Sessions, Account::Inflight, Account::Queues];
    let charged: usize = accounts.iter().map(|account| world.ledger.bytes(*account)).sum();
    let all = {
        let now = Time::from_secs(world.now);
        let terms = CensusTerms { most: 100, ..TERMS };
        let mut census = Census::new(world.ledger, now, terms, None);
        while !world.engine.census(now, &mut census) {}
        census.by_bytes.into_vec()
    };
    let own = |holder: &Holder| {
        let holding = holder.holding;
        holding.session_bytes + holding.entries_bytes + holding.messages_bytes
    };
    let held: usize = all.iter().map(own).sum();
    assert!(held <= charged + 50 * 256 && held * 10 >= charged * 9, "{held} of {charged}");
}

#[test]
fn who_grows_is_seen_from_one_census_to_the_next() {
    let mut world = World::new();
    world.connect(0, "pub");
    for (slot, name) in [(1, "steady"), (2, "grows"), (3, "new")] {
        world.connect(slot, name);
        world.subscribe(slot, &format!("{name}/#"));
        world.lose(slot);
    }
    world.publish(0, "steady/x", &[1; 2000]);
    let before = world.census(None);
    assert_eq!(before.growth_since(), None);
    assert!(names(before.by_growth.clone()).is_empty());
    let charged = world.ledger.bytes(Account::Admin);
    assert!(charged > 0);
    let bytes = before.into_bytes();
    world.now += 60;
    for _ in 0..10 {
        world.publish(0, "grows/x", &[1; 2000]);
    }
    let census = world.census(Some(bytes));
    assert_eq!(census.growth_since(), Some(Time::from_secs(1000)));
    let grown = census.by_growth.clone().into_vec();
    assert_eq!(&*grown[0].client, "grows");
    assert!(grown[0].growth.is_some_and(|bytes| (20_000..40_000).contains(&bytes)));
    assert_eq!(grown.len(), 1);
    drop(census);
    assert_eq!(world.ledger.bytes(Account::Admin), 0);
}

#[test]
fn a_census_goes_on_where_it_was() {
    let mut world = World::new();
    for slot in 0..1500 {
        world.connect(slot, &format!("client-{slot}"));
    }
    let now = Time::from_secs(world.now);
    let mut census = Census::new(world.ledger, now, TERMS, None);
    assert!(!world.engine.census(now, &mut census), "more than one piece");
    while !world.engine.census(now, &mut census) {}
    assert_eq!(census.sessions, 1500);
}

fn prefixes(world: &World, depth: usize, before: Option<PrefixBytes>) -> PrefixCensus {
    let now = Time::from_secs(world.now);
    let mut census = PrefixCensus::new(world.ledger, now, depth, 10, before);
    while !world.engine.prefix_census(&mut census) {}
    census
}

#[test]
fn which_prefixes_grow_is_seen_from_one_census_to_the_next() {
    let mut world = World::new();
    for (topic, size) in [("a/x", 10), ("b/x", 10), ("c/x", 1000), ("c/y", 1000)] {
        world.tell(Input::Publish { topic, payload: &alloc::vec![1; size], retain: true });
    }
    let first = prefixes(&world, 1, None);
    assert_eq!((first.growth_since(), first.by_growth.clone().into_vec()), (None, Vec::new()));
    let bytes = first.into_parts().1;
    assert!(world.ledger.bytes(Account::Admin) > 0);
    world.now += 5;
    for (topic, size) in [("a/x", 30), ("b/y", 100), ("c/x", 500), ("d/x", 50)] {
        world.tell(Input::Publish { topic, payload: &alloc::vec![1; size], retain: true });
    }
    let second = prefixes(&world, 1, Some(bytes));
    assert_eq!(second.growth_since(), Some(Time::from_secs(1000)));
    let grown = second.by_growth.clone().into_vec();
    let grown: Vec<(&str, Option<i64>)> = grown.iter().map(|p| (&*p.prefix, p.growth)).collect();
    assert_eq!(grown, [("b", Some(103)), ("d", Some(53)), ("a", Some(20))]);
    let shrunk = second.by_bytes.clone().into_vec().remove(0);
    assert_eq!((&*shrunk.prefix, shrunk.growth), ("c", Some(-500)));
    // Of another depth it says nothing.
    let other = prefixes(&world, 2, Some(second.into_parts().1));
    assert_eq!((other.growth_since(), other.by_growth.clone().into_vec()), (None, Vec::new()));
    drop(other);
    assert_eq!(world.ledger.bytes(Account::Admin), 0);
}

#[test]
fn what_waits_is_summed_by_prefix_for_each_client() {
    let mut world = World::new();
    world.connect(0, "pub");
    for (slot, filter) in [(1, "a/#"), (2, "a/b/#"), (3, "z")] {
        world.connect(slot, filter);
        world.subscribe(slot, filter);
        if slot == 1 {
            world.lose(slot);
        }
    }
    for number in 0..1500 {
        world.publish(0, if number < 1000 { "a/b/c" } else { "a/x" }, &[1; 40]);
    }
    world.publish(0, "z", &[1; 40]);
    let count = |depth: usize| {
        let mut census = BacklogCensus::new(depth, 10);
        assert!(!world.engine.backlog_census(&mut census), "more than one piece");
        while !world.engine.backlog_census(&mut census) {}
        assert_eq!(census.others(), 0);
        let prefixes = census.prefixes();
        let top = census.into_top().into_vec();
        let top: Vec<_> = top.iter().map(|p| (String::from(&*p.prefix), p.count)).collect();
        (prefixes, top)
    };
    let named = |pairs: &[(&str, u64)]| -> Vec<(String, u64)> {
        pairs.iter().map(|&(prefix, count)| (prefix.into(), count)).collect()
    };
    assert_eq!(count(1), (2, named(&[("a", 2500), ("z", 1)])));
    assert_eq!(count(2), (3, named(&[("a/b", 2000), ("a/x", 500), ("z", 1)])));
}

proptest! {
    #[test]
    fn prefixes_are_summed_as_a_map_does(
        topics in prop::collection::btree_map("[ab!]{0,2}(/[ab]{0,2}){0,3}", 1usize..700, 0..60),
        depth in 1usize..4,
    ) {
        let mut world = World::new();
        let mut expected: BTreeMap<String, (u64, u64)> = BTreeMap::new();
        for (topic, size) in topics.iter().filter(|(topic, _)| !topic.is_empty()) {
            let payload = alloc::vec![1; *size];
            world.tell(Input::Publish { topic, payload: &payload, retain: true });
            let prefix: Vec<&str> = topic.split('/').take(depth).collect();
            let sum = expected.entry(prefix.join("/")).or_default();
            sum.0 += 1;
            sum.1 += (topic.len() + size) as u64;
        }
        let mut census = PrefixCensus::new(world.ledger, Time::default(), depth, 100, None);
        while !world.engine.prefix_census(&mut census) {}
        prop_assert_eq!(census.prefixes, expected.len() as u64);
        let by_count = census.by_count.into_vec();
        prop_assert!(by_count.is_sorted_by(|a, b| a.count >= b.count));
        let found: BTreeMap<String, (u64, u64)> = census.by_bytes.into_vec().into_iter()
            .map(|Prefix { prefix, count, bytes, .. }| (prefix.into(), (count, bytes))).collect();
        prop_assert_eq!(found, expected);
    }
}
