//! Budgets in small worlds: what counts, what is left off for whom, and what is not.

mod topics;

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use plimsoll_ledger::Ledger;
use plimsoll_mqtt::{
    Ack, Connect, DecodeLimits, Decoded, Packet, PropertiesBuf, Publish, QoS, ReasonCode,
    Subscribe, SubscribeFilter, SubscriptionOptions, Version, decode,
};
use proptest::prelude::*;

use super::{BudgetOf, BudgetRules, TopicBudget, UserBudget};
use crate::access::Admission;
use crate::load::{LoadCounts, Step};
use crate::{Engine, Input, Link, ListenerSettings, Loss, Outbox, Piece, Settings, Time};

struct World {
    engine: Engine,
    ledger: &'static Ledger,
    now: Time,
    /// Links that are not read from.
    paused: Vec<u32>,
    closed: Vec<u32>,
    /// The network takes what is sent.
    flushes: bool,
}

/// What a test looks at of a budget.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    used: usize,
    step: Step,
    sessions: u32,
    counts: LoadCounts,
}

fn settings(budgets: BudgetRules) -> Settings {
    Settings { budgets, max_queued_messages: 0, ..Settings::default() }
}

fn user(name: &str, bytes: usize) -> BudgetRules {
    let user = UserBudget { username: Some(name.into()), bytes };
    BudgetRules { users: [user].into(), ..BudgetRules::default() }
}

fn topics(topics: &[(&str, usize)]) -> BudgetRules {
    let topics = topics.iter().map(|&(prefix, bytes)| TopicBudget { prefix: prefix.into(), bytes });
    BudgetRules { topics: topics.collect(), ..BudgetRules::default() }
}

impl World {
    fn new(settings: Settings) -> Self {
        let ledger: &'static Ledger = Box::leak(Box::default());
        let engine = Engine::new(settings, 1, 7, ledger);
        let (paused, closed, now) = (Vec::new(), Vec::new(), Time::from_secs(1000));
        Self { engine, ledger, now, paused, closed, flushes: true }
    }

    /// One turn: answers what each link was sent, which the network takes at once.
    fn turn(&mut self, inputs: &[Input<'_>]) -> Vec<String> {
        self.turn_and_flush(inputs, self.flushes)
    }

    fn turn_and_flush(&mut self, inputs: &[Input<'_>], flush: bool) -> Vec<String> {
        self.engine.handle(self.now, inputs);
        let mut outbox = Outbox::new(self.ledger);
        self.engine.take_outbox(0, &mut outbox);
        let mut bytes: BTreeMap<u32, Vec<u8>> = BTreeMap::new();
        let (paused, closed) = (&mut self.paused, &mut self.closed);
        outbox.drain(|slot, piece| match piece {
            Piece::Bytes(part) => bytes.entry(slot).or_default().extend_from_slice(part),
            Piece::Body(body) => bytes.entry(slot).or_default().extend_from_slice(body.bytes()),
            Piece::Close => closed.push(slot),
            Piece::PauseReading => paused.push(slot),
            Piece::ResumeReading => paused.retain(|&other| other != slot),
            Piece::Retry => {}
        });
        drop(outbox);
        let mut said = Vec::new();
        for (&slot, bytes) in &bytes {
            let mut rest = &bytes[..];
            let limits = DecodeLimits { from_client: false, ..DecodeLimits::default() };
            while let Ok(Decoded::Packet { packet, length }) = decode(rest, Version::V5, &limits) {
                said.push(match packet {
                    Packet::Publish(publish) => format!("{slot} gets {}", publish.topic),
                    Packet::Puback(ack) => format!("{slot} PUBACK {:02x}", ack.reason.byte()),
                    Packet::Suback(suback) => {
                        let reasons: Vec<u8> =
                            suback.reasons.iter().map(ReasonCode::byte).collect();
                        format!("{slot} SUBACK {reasons:02x?}")
                    }
                    Packet::Connack(ack) => format!("{slot} CONNACK {:02x}", ack.reason.byte()),
                    Packet::Disconnect(end) => {
                        format!("{slot} DISCONNECT {:02x}", end.reason.byte())
                    }
                    other => format!("{slot} {other:?}"),
                });
                rest = &rest[length..];
            }
        }
        let flushed: Vec<_> = bytes
            .iter()
            .filter(|_| flush)
            .map(|(&slot, bytes)| (Link::new(0, slot), bytes.len() as u32))
            .collect();
        for (link, bytes) in flushed {
            said.extend(self.turn(&[Input::Flushed { link, bytes }]));
        }
        assert_eq!(self.engine.recount_budgets(&[]), [], "{said:?}");
        assert_eq!(self.engine.recount(), self.ledger.snapshot(), "{said:?}");
        said
    }

    fn pass(&mut self, millis: u64) -> Vec<String> {
        self.now = self.now.plus_millis(millis);
        self.turn(&[])
    }

    fn connect(&mut self, slot: u32, name: &str, username: Option<&str>) -> Vec<String> {
        self.connect_through(slot, name, username, 0, u32::MAX)
    }

    fn connect_through(
        &mut self,
        slot: u32,
        name: &str,
        username: Option<&str>,
        listener: u16,
        expiry: u32,
    ) -> Vec<String> {
        let mut properties = PropertiesBuf::new();
        properties.session_expiry_interval(expiry);
        let packet = Box::new(Connect {
            version: Version::V5,
            bridge: false,
            clean_start: false,
            keep_alive: 0,
            client_identifier: name,
            username,
            password: None,
            will: None,
            properties: properties.view(),
        });
        let (link, admission) = (Link::new(0, slot), Admission::AsAsked);
        self.turn(&[Input::Connect { link, listener, packet, admission }])
    }

    fn subscribe(&mut self, slot: u32, filter: &str, qos: QoS) -> Vec<String> {
        let options = SubscriptionOptions { qos, ..Default::default() };
        let filters = [SubscribeFilter { filter, options }];
        let packet = Packet::Subscribe(Subscribe::new(1, &filters));
        self.turn(&[Input::Packet { link: Link::new(0, slot), packet }])
    }

    fn publish(&mut self, slot: u32, topic: &str, bytes: usize, qos: QoS) -> Vec<String> {
        self.publish_and_flush(slot, topic, bytes, qos, self.flushes)
    }

    fn retain(&mut self, slot: u32, topic: &str, bytes: usize) -> Vec<String> {
        let payload = alloc::vec![b'x'; bytes];
        let properties = PropertiesBuf::new();
        let packet = Packet::Publish(Publish {
            dup: false,
            qos: QoS::AtLeastOnce,
            retain: true,
            topic,
            packet_identifier: 1,
            properties: properties.view(),
            payload: &payload,
        });
        self.turn(&[Input::Packet { link: Link::new(0, slot), packet }])
    }

    fn publish_and_flush(
        &mut self,
        slot: u32,
        topic: &str,
        bytes: usize,
        qos: QoS,
        flush: bool,
    ) -> Vec<String> {
        let payload = alloc::vec![b'x'; bytes];
        let properties = PropertiesBuf::new();
        let packet = Packet::Publish(Publish {
            dup: false,
            qos,
            retain: false,
            topic,
            packet_identifier: u16::from(qos != QoS::AtMostOnce),
            properties: properties.view(),
            payload: &payload,
        });
        self.turn_and_flush(&[Input::Packet { link: Link::new(0, slot), packet }], flush)
    }

    fn acknowledge(&mut self, slot: u32, packet_identifier: u16) -> Vec<String> {
        let packet = Packet::Puback(Ack::new(packet_identifier));
        self.turn(&[Input::Packet { link: Link::new(0, slot), packet }])
    }

    fn lose(&mut self, slot: u32) {
        self.turn(&[Input::Lost { link: Link::new(0, slot), loss: Loss::Failed }]);
    }

    fn seen(&self) -> BTreeMap<String, Seen> {
        let mut all = BTreeMap::new();
        let end = self.engine.budgets(0, u32::MAX, |view| {
            let name = match view.of {
                BudgetOf::Listener(number) => format!("listener {number}"),
                BudgetOf::User(name) => format!("user {}", name.as_deref().unwrap_or("-")),
                BudgetOf::Topic(prefix) => format!("topic {prefix}"),
            };
            let counts = view.counts.cloned().unwrap_or_default();
            let (used, step, sessions) = (view.used, view.step, view.sessions);
            all.insert(name, Seen { used, step, sessions, counts });
            core::ops::ControlFlow::Continue(())
        });
        assert_eq!(end, None);
        all
    }

    fn budget(&self, name: &str) -> Seen {
        self.seen().remove(name).unwrap()
    }
}

#[test]
fn a_queue_ends_where_the_budget_does_and_others_are_served() {
    let mut world = World::new(settings(user("small", 20_000)));
    for (slot, username) in [(0, Some("small")), (1, Some("other")), (2, None)] {
        world.connect(slot, &format!("client-{slot}"), username);
        world.subscribe(slot, "a", QoS::AtLeastOnce);
    }
    world.lose(0);
    world.lose(1);
    world.connect(3, "publisher", Some("other"));
    for number in 1..=40 {
        let said = world.publish(3, "a", 1000, QoS::AtLeastOnce);
        assert!(said.contains(&"3 PUBACK 00".into()), "{said:?}");
        assert!(said.contains(&"2 gets a".into()), "{said:?}");
        world.acknowledge(2, number);
    }
    let small = world.budget("user small");
    assert_eq!(small.step, Step::RefuseNew);
    assert!(small.used > 17_000 && small.used < 18_500, "{small:?}");
    let queued = 40 - small.counts.publishes_refused;
    assert!((10..17).contains(&queued), "{small:?}");
    // What was taken is there; what came later than there was room for is not.
    assert_eq!(world.engine.client("client-0").unwrap().queued as u64, queued);
    assert_eq!(world.engine.client("client-0").unwrap().dropped, 40 - queued);
    assert_eq!(world.engine.client("client-1").unwrap().queued, 40);
    // Nobody but this user has it on this topic: then the publisher hears of it.
    world.lose(2);
    world.engine.handle(world.now, &[]);
    let said = world.publish(3, "a", 1000, QoS::AtLeastOnce);
    assert_eq!(said, ["3 PUBACK 00"], "client-1 has room for it");
    // The client comes back, whatever the budget says, and takes it all.
    world.connect(0, "client-0", Some("small"));
    for number in 1..=queued as u16 {
        world.acknowledge(0, number);
    }
    assert_eq!(world.engine.client("client-0").unwrap().queued, 0);
    let small = world.budget("user small");
    assert!(small.used < 2000, "{small:?}");
    for _ in Step::ALL {
        world.pass(100);
    }
    assert_eq!(world.budget("user small").step, Step::Clear);
}

#[test]
fn a_publisher_hears_that_nobody_took_it() {
    let mut world = World::new(settings(user("small", 20_000)));
    world.connect(0, "away", Some("small"));
    world.subscribe(0, "a", QoS::AtLeastOnce);
    world.lose(0);
    world.connect(1, "publisher", None);
    let answers: Vec<String> =
        (0..30).flat_map(|_| world.publish(1, "a", 1000, QoS::AtLeastOnce)).collect();
    let taken = answers.iter().filter(|said| *said == "1 PUBACK 00").count();
    let refused = answers.iter().filter(|said| *said == "1 PUBACK 97").count();
    assert_eq!(taken, world.engine.client("away").unwrap().queued, "{answers:?}");
    assert_eq!((taken + refused, refused > 10), (30, true), "{answers:?}");
    // Neither new subscriptions nor new clients of this user; of others, as ever.
    world.connect(0, "away", Some("small"));
    assert_eq!(world.subscribe(0, "b", QoS::AtMostOnce), ["0 SUBACK [97]"]);
    assert_eq!(world.subscribe(0, "a", QoS::AtLeastOnce), ["0 SUBACK [01]"], "not a new one");
    assert_eq!(world.subscribe(1, "b", QoS::AtMostOnce), ["1 SUBACK [00]"]);
    let counts = world.budget("user small").counts;
    assert_eq!(counts.subscriptions_refused, 1);
    assert_eq!(world.engine.load_line().counts, LoadCounts::default());
}

#[test]
fn who_comes_back_for_its_queue_is_not_put_out_for_that() {
    let mut world = World::new(settings(user("small", 1 << 16)));
    world.connect(0, "away", Some("small"));
    world.subscribe(0, "a", QoS::AtLeastOnce);
    world.lose(0);
    world.connect(1, "publisher", None);
    while world.publish(1, "a", 1000, QoS::AtLeastOnce) != ["1 PUBACK 97"] {}
    let queued = world.engine.client("away").unwrap().queued;
    // Its network takes nothing for a while.
    world.flushes = false;
    let said = world.connect(0, "away", Some("small"));
    assert_eq!(said.len(), 6, "CONNACK, and a sixteenth of the budget: {said:?}");
    assert!(world.budget("user small").step < Step::Disconnect);
    assert!(world.pass(500).is_empty());
    assert!(world.closed.is_empty());
    world.flushes = true;
    let mut got = said.len() - 1;
    let flushed = Input::Flushed { link: Link::new(0, 0), bytes: u32::MAX };
    got += world.turn(&[flushed]).len();
    for number in 1..=queued as u16 {
        got += world.acknowledge(0, number).len();
    }
    assert_eq!((got, world.engine.client("away").unwrap().queued), (queued, 0));
}

#[test]
fn new_clients_are_refused_and_known_ones_let_in() {
    let mut world = World::new(settings(user("small", 8000)));
    let mut said = Vec::new();
    let mut slot = 0;
    while said != [format!("{slot} CONNACK 97")] {
        slot += 1;
        assert!(slot < 40, "all are let in: {:?}", world.budget("user small"));
        said = world.connect(slot, &format!("client-{slot}"), Some("small"));
    }
    let small = world.budget("user small");
    assert_eq!((small.step, small.sessions), (Step::RefuseConnections, slot - 1));
    assert_eq!(small.counts.connections_refused, 1);
    assert_eq!(world.connect(50, "other", Some("large")), ["50 CONNACK 00"]);
    world.lose(1);
    assert_eq!(world.connect(51, "client-1", Some("small")), ["51 CONNACK 00"]);
}

#[test]
fn a_connected_client_gets_all_and_its_publisher_waits() {
    let mut world = World::new(settings(user("small", 100_000)));
    world.connect(0, "reader", Some("small"));
    world.subscribe(0, "a", QoS::AtLeastOnce);
    world.connect(1, "writer", None);
    let mut sent = 0;
    while world.paused.is_empty() {
        world.publish(1, "a", 1000, QoS::AtLeastOnce);
        sent += 1;
        assert!(sent < 200, "nobody is held back: {:?}", world.budget("user small"));
    }
    let small = world.budget("user small");
    assert!(small.step >= Step::SlowPublishers && small.used < 100_000, "{small:?}");
    assert_eq!(world.paused, [1]);
    let mut got = 20; // Its window was open.
    for number in 1..=sent {
        let said = world.acknowledge(0, number);
        got += said.iter().filter(|said| *said == "0 gets a").count();
    }
    assert_eq!(got, usize::from(sent));
    assert_eq!(world.paused, [0u32; 0], "it is read from again");
    assert_eq!(world.engine.client("reader").unwrap().dropped, 0);
}

#[test]
fn qos_0_is_dropped_and_the_largest_of_the_budget_disconnected() {
    let mut world = World::new(settings(user("small", 60_000)));
    for (slot, username, filter) in [
        (0, "small", "much"),
        (1, "small", "little"),
        (2, "small", "burst"),
        (3, "small", "more"),
        (4, "large", "much"),
    ] {
        world.connect(slot, &format!("client-{slot}"), Some(username));
        world.subscribe(slot, filter, QoS::AtMostOnce);
    }
    world.connect(5, "writer", None);
    world.flushes = false;
    world.publish(5, "little", 6000, QoS::AtMostOnce);
    for _ in 0..100 {
        world.publish(5, "much", 1000, QoS::AtMostOnce);
    }
    // From slow_publishers on little more may be unsent for one client; whoever has no budget gets all.
    let small = world.budget("user small");
    assert_eq!((small.step, small.counts.qos0_dropped), (Step::SlowPublishers, 0), "{small:?}");
    assert!(world.engine.client("client-0").unwrap().dropped > 40);
    assert_eq!(world.engine.client("client-4").unwrap().dropped, 0);
    let to_drop = 56_500 - small.used;
    world.publish(5, "burst", to_drop, QoS::AtMostOnce);
    assert_eq!(world.budget("user small").step, Step::DropQos0);
    world.publish(5, "little", 100, QoS::AtMostOnce);
    assert_eq!(world.budget("user small").counts.qos0_dropped, 1);
    assert!(world.pass(100).is_empty());
    world.publish(5, "more", 2000, QoS::AtMostOnce);
    assert_eq!(world.budget("user small").step, Step::Disconnect);
    let said = world.pass(100);
    assert_eq!(
        said,
        ["0 DISCONNECT 97"],
        "the others of the user hold less, and client-4 is no other"
    );
    assert_eq!(world.closed, [0]);
    assert_eq!(world.budget("user small").counts.disconnected, 1);
    for _ in Step::ALL {
        assert!(world.pass(100).is_empty());
    }
    assert_eq!(world.budget("user small").step, Step::Clear);
}

#[test]
fn each_user_has_a_budget_while_it_has_sessions() {
    let named = UserBudget { username: None, bytes: 5000 };
    let budgets =
        BudgetRules { users: [named].into(), each_user: Some(10_000), topics: Vec::new() };
    let mut world = World::new(settings(budgets.clone()));
    assert_eq!(world.seen().len(), 1);
    for slot in 0..6 {
        let username = ["a", "b", "c"][slot as usize / 2];
        world.connect_through(slot, &format!("client-{slot}"), Some(username), 0, 0);
    }
    world.connect_through(6, "nobody", None, 0, 0);
    let sessions: Vec<_> =
        world.seen().into_iter().map(|(name, seen)| (name, seen.sessions)).collect();
    let expected = [("user -", 1), ("user a", 2), ("user b", 2), ("user c", 2)];
    assert_eq!(sessions, expected.map(|(name, sessions)| (name.into(), sessions)));
    world.lose(0);
    assert_eq!(world.budget("user a").sessions, 1);
    // A client may come back as another user.
    world.connect_through(7, "client-2", Some("d"), 0, 0);
    assert_eq!((world.budget("user a").sessions, world.budget("user b").sessions), (1, 1));
    for slot in 1..8 {
        world.lose(slot);
    }
    let seen = world.seen();
    assert_eq!((seen.len(), seen["user -"].used, seen["user -"].sessions), (1, 0, 0));
    world.engine.configure(world.now, settings(BudgetRules::default()));
    assert_eq!(world.seen().len(), 0);
    assert_eq!(world.engine.recount(), world.ledger.snapshot());
}

#[test]
fn a_reload_counts_anew_and_keeps_what_was_done() {
    let mut with_listeners = settings(BudgetRules::default());
    with_listeners.listeners = alloc::vec![
        ListenerSettings { memory_budget: Some(3000), ..ListenerSettings::default() },
        ListenerSettings::default(),
    ];
    let mut world = World::new(with_listeners.clone());
    world.connect_through(0, "a", Some("u"), 0, u32::MAX);
    world.connect_through(1, "b", Some("u"), 1, u32::MAX);
    for number in 0..100 {
        world.subscribe(0, &format!("filter/{number}"), QoS::AtMostOnce);
    }
    let listener = world.budget("listener 0");
    assert_eq!(listener.sessions, 1);
    assert!(listener.counts.subscriptions_refused == 0 || listener.step >= Step::RefuseNew);
    let mut tighter = with_listeners.clone();
    tighter.listeners[0].memory_budget = Some(listener.used + 10);
    tighter.listeners[1].memory_budget = Some(1 << 20);
    tighter.budgets.each_user = Some(1 << 20);
    world.engine.configure(world.now, tighter);
    world.turn(&[]);
    let [of_0, of_1, of_user] = ["listener 0", "listener 1", "user u"].map(|of| world.budget(of));
    assert_eq!((of_0.used, of_0.step), (listener.used, Step::Disconnect));
    assert_eq!(of_user.used, of_0.used + of_1.used);
    assert_eq!((of_1.sessions, of_user.sessions), (1, 2));
    assert_eq!(world.subscribe(0, "one/more", QoS::AtMostOnce), ["0 SUBACK [97]"]);
    let refused = world.budget("listener 0").counts.subscriptions_refused;
    assert_eq!(refused, listener.counts.subscriptions_refused + 1);
    world.engine.configure(world.now, settings(BudgetRules::default()));
    world.turn(&[]);
    assert_eq!(world.seen(), BTreeMap::new());
    assert_eq!(world.subscribe(0, "one/more", QoS::AtMostOnce), ["0 SUBACK [00]"]);
}

#[derive(Clone, Debug)]
enum Act {
    Connect { slot: u32, client: u32, user: usize, listener: u16, expiry: bool },
    Subscribe { slot: u32, filter: usize, qos: u8 },
    Publish { slot: u32, topic: usize, bytes: usize, qos: u8, flush: bool },
    Acknowledge { slot: u32, identifier: u16 },
    Lose { slot: u32 },
    Pass { millis: u64 },
    Reload { rules: usize },
}

fn act() -> impl Strategy<Value = Act> {
    let slot = 0u32..6;
    prop_oneof![
        2 => (slot.clone(), 0u32..6, 0usize..4, 0u16..2, any::<bool>()).prop_map(
            |(slot, client, user, listener, expiry)| Act::Connect { slot, client, user, listener, expiry }
        ),
        3 => (slot.clone(), 0usize..4, 0u8..2).prop_map(|(slot, filter, qos)| Act::Subscribe { slot, filter, qos }),
        8 => (slot.clone(), 0usize..3, 0usize..3000, 0u8..2, any::<bool>()).prop_map(
            |(slot, topic, bytes, qos, flush)| Act::Publish { slot, topic, bytes, qos, flush }
        ),
        3 => (slot.clone(), 1u16..30).prop_map(|(slot, identifier)| Act::Acknowledge { slot, identifier }),
        2 => slot.prop_map(|slot| Act::Lose { slot }),
        1 => (1u64..20_000).prop_map(|millis| Act::Pass { millis }),
        1 => (0usize..4).prop_map(|rules| Act::Reload { rules }),
    ]
}

fn drawn(rules: usize) -> Settings {
    let each_user = [None, Some(4000), Some(20_000), None][rules];
    let topics = topics(&[("b", 3000), ("a", 20_000)]).topics;
    let mut drawn = settings(BudgetRules { each_user, topics, ..user("a", 3000 * (rules + 1)) });
    drawn.queue_qos0_messages = rules == 1;
    drawn.listeners = alloc::vec![ListenerSettings::default(); 2];
    drawn.listeners[1].memory_budget = [Some(8000), None, Some(30_000), None][rules];
    if rules == 3 {
        drawn.budgets = BudgetRules { topics: drawn.budgets.topics, ..BudgetRules::default() };
    }
    drawn
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// `turn` compares with a walk over the state each time.
    #[test]
    fn every_figure_is_what_a_walk_finds(rules in 0usize..4, acts in prop::collection::vec(act(), 1..120)) {
        let mut world = World::new(drawn(rules));
        let users = [None, Some("a"), Some("b"), Some("c")];
        let mut taken: BTreeMap<u32, u32> = BTreeMap::new();
        for act in acts {
            match act {
                Act::Connect { slot, client, user, listener, expiry } => {
                    if taken.contains_key(&slot) {
                        continue;
                    }
                    taken.retain(|_, other| *other != client);
                    let expiry = if expiry { 10 } else { 0 };
                    world.closed.clear();
                    world.connect_through(slot, &format!("client-{client}"), users[user], listener, expiry);
                    if !world.closed.contains(&slot) {
                        taken.insert(slot, client);
                    }
                }
                Act::Subscribe { slot, filter, qos } => {
                    let filter = ["a", "b/#", "+", "$share/g/a"][filter];
                    world.subscribe(slot, filter, QoS::try_from(qos).unwrap());
                }
                Act::Publish { slot, topic, bytes, qos, flush } => {
                    if !world.paused.contains(&slot) {
                        let topic = ["a", "b/c", "d"][topic];
                        world.publish_and_flush(slot, topic, bytes, QoS::try_from(qos).unwrap(), flush);
                    }
                }
                Act::Acknowledge { slot, identifier } => {
                    world.acknowledge(slot, identifier);
                }
                Act::Lose { slot } => {
                    world.lose(slot);
                    world.paused.retain(|&other| other != slot);
                    taken.remove(&slot);
                }
                Act::Pass { millis } => {
                    world.pass(millis);
                }
                Act::Reload { rules } => world.engine.configure(world.now, drawn(rules)),
            }
            world.closed.iter().for_each(|slot| { taken.remove(slot); });
        }
        for slot in 0..6 {
            world.lose(slot);
        }
        world.pass(3_600_000);
        for (name, seen) in world.seen() {
            prop_assert_eq!((seen.used, seen.sessions), (0, 0), "{}", name);
        }
        for _ in Step::ALL {
            world.pass(100);
        }
        prop_assert!(world.seen().values().all(|seen| seen.step == Step::Clear));
    }
}
