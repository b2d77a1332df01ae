//! A shell in small: what is put back is kept, and given again.

extern crate std;

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use std::sync::Mutex;

use plimsoll_ledger::{Account, Ledger};
use plimsoll_mqtt::{
    Connect, DecodeLimits, Decoded, Packet, Publish, QoS, Subscribe, SubscribeFilter,
    SubscriptionOptions, Version, Will, decode,
};

use super::RETRY_MILLIS;
use crate::access::{Access, Action, Admission, Decision, Who};
use crate::engine::Engine;
use crate::input::{Input, Link, Loss};
use crate::outbox::{Outbox, Piece};
use crate::settings::Settings;
use crate::time::Time;

/// Rules that have to ask: what was answered, and what was asked.
#[derive(Debug, Default)]
struct Asking {
    answers: Mutex<BTreeMap<String, bool>>,
    asked: Mutex<Vec<String>>,
}

impl Asking {
    fn answer(&self, question: &str, allowed: bool) {
        self.answers.lock().unwrap().insert(question.into(), allowed);
    }

    fn asked(&self) -> Vec<String> {
        core::mem::take(&mut self.asked.lock().unwrap())
    }
}

impl Access for Asking {
    fn decide(&self, who: &Who<'_>, action: Action, topic: &str) -> Decision {
        let verb = match action {
            Action::Publish { .. } => "writes",
            Action::Receive => "reads",
            Action::Subscribe => "subscribes",
            Action::Unsubscribe => return Decision::Allow,
        };
        let question = std::format!("{} {verb} {topic}", who.client_identifier);
        match self.answers.lock().unwrap().get(&question) {
            Some(true) => Decision::Allow,
            Some(false) => Decision::Deny,
            None => {
                let mut asked = self.asked.lock().unwrap();
                if !asked.contains(&question) {
                    asked.push(question);
                }
                Decision::Pending
            }
        }
    }

    fn may_wait(&self) -> bool {
        true
    }
}

struct Broker {
    engine: Engine,
    ledger: &'static Ledger,
    rules: Arc<Asking>,
    now: Time,
    /// Links that were told to give again what was put back.
    retried: Vec<u32>,
}

impl Broker {
    fn new() -> Self {
        let ledger: &'static Ledger = Box::leak(Box::default());
        let mut engine = Engine::new(Settings::default(), 1, 7, ledger);
        let rules = Arc::new(Asking::default());
        engine.set_access(Some(Arc::clone(&rules) as Arc<dyn Access>));
        Self { engine, ledger, rules, now: Time::from_secs(1000), retried: Vec::new() }
    }

    /// One turn: answers what was put back, and what each link was sent.
    fn turn(&mut self, inputs: &[Input<'_>]) -> (Vec<u32>, Vec<String>) {
        self.engine.handle(self.now, inputs);
        let put_back = self.engine.take_put_back();
        let mut outbox = Outbox::new(self.ledger);
        self.engine.take_outbox(0, &mut outbox);
        let mut bytes: BTreeMap<u32, Vec<u8>> = BTreeMap::new();
        outbox.drain(|slot, piece| match piece {
            Piece::Bytes(part) => bytes.entry(slot).or_default().extend_from_slice(part),
            Piece::Retry => self.retried.push(slot),
            _ => {}
        });
        let mut said = Vec::new();
        for (slot, bytes) in bytes {
            let mut rest = &bytes[..];
            let limits = DecodeLimits { from_client: false, ..DecodeLimits::default() };
            while let Ok(Decoded::Packet { packet, length }) = decode(rest, Version::V5, &limits) {
                said.push(match packet {
                    Packet::Publish(publish) => std::format!("{slot} gets {}", publish.topic),
                    Packet::Puback(ack) => std::format!("{slot} PUBACK {:02x}", ack.reason.byte()),
                    Packet::Suback(_) => std::format!("{slot} SUBACK"),
                    Packet::Connack(_) => std::format!("{slot} CONNACK"),
                    other => std::format!("{slot} {other:?}"),
                });
                rest = &rest[length..];
            }
        }
        (put_back, said)
    }

    fn connect(&mut self, slot: u32, name: &str, will: Option<Will<'_>>) {
        let packet = Box::new(Connect {
            version: Version::V5,
            bridge: false,
            clean_start: true,
            keep_alive: 2,
            client_identifier: name,
            username: None,
            password: None,
            will,
            properties: Default::default(),
        });
        let (link, admission) = (Link::new(0, slot), Admission::AsAsked);
        let (_, said) = self.turn(&[Input::Connect { link, listener: 0, packet, admission }]);
        assert_eq!(said.len(), 1);
    }

    fn subscribe(&mut self, slot: u32, name: &str, filter: &str) {
        self.rules.answer(&std::format!("{name} subscribes {filter}"), true);
        let filters = [SubscribeFilter { filter, options: SubscriptionOptions::default() }];
        let packet = Packet::Subscribe(Subscribe::new(1, &filters));
        let (put_back, _) = self.turn(&[Input::Packet { link: Link::new(0, slot), packet }]);
        assert_eq!(put_back, []);
    }

    fn answered(&mut self, question: &str, allowed: bool) -> Vec<u32> {
        self.rules.answer(question, allowed);
        let client = question.split(' ').next().unwrap();
        self.turn(&[Input::Answered { client }]);
        core::mem::take(&mut self.retried)
    }
}

fn publish(slot: u32, topic: &str) -> Input<'_> {
    let publish = Publish {
        dup: false,
        qos: QoS::AtLeastOnce,
        retain: false,
        topic,
        packet_identifier: 7,
        properties: Default::default(),
        payload: b"x",
    };
    Input::Packet { link: Link::new(0, slot), packet: Packet::Publish(publish) }
}

fn ping(slot: u32) -> Input<'static> {
    Input::Packet { link: Link::new(0, slot), packet: Packet::Pingreq }
}

#[test]
fn a_packet_waits_whole_with_what_stands_behind_it_and_others_go_on() {
    let mut broker = Broker::new();
    broker.connect(1, "a", None);
    broker.connect(2, "b", None);
    broker.rules.answer("b writes t", true);
    let lost = Input::Lost { link: Link::new(0, 1), loss: Loss::ClosedByPeer };
    let (put_back, said) =
        broker.turn(&[ping(1), publish(1, "t"), publish(2, "t"), ping(1), lost, ping(2)]);
    assert_eq!(put_back, [1, 3, 4]);
    assert_eq!(said, ["1 Pingresp", "2 PUBACK 10", "2 Pingresp"]);
    assert_eq!(broker.answered("b writes u", true), [0; 0], "it does not wait for b");
    assert_eq!(broker.answered("a writes t", true), [1]);
    let (put_back, said) = broker.turn(&[publish(1, "t"), ping(1)]);
    assert_eq!((put_back, said.len()), (Vec::new(), 2));
    assert_eq!(broker.rules.asked(), ["a writes t"]);
}

#[test]
fn a_refusal_and_an_acceptance_end_the_waiting_alike() {
    let mut broker = Broker::new();
    broker.connect(1, "a", None);
    assert_eq!(broker.turn(&[publish(1, "t")]).0, [0]);
    assert_eq!(broker.answered("a writes t", false), [1]);
    assert_eq!(broker.turn(&[publish(1, "t")]), (Vec::new(), ["1 PUBACK 87".into()].into()));
}

#[test]
fn receivers_are_all_asked_before_anybody_gets_anything() {
    let mut broker = Broker::new();
    for (slot, name) in [(1, "a"), (2, "b"), (3, "c")] {
        broker.connect(slot, name, None);
        broker.subscribe(slot, name, "t");
    }
    broker.rules.answer("a writes t", true);
    assert_eq!(broker.turn(&[publish(1, "t")]), (Vec::from([0]), Vec::new()));
    let mut asked = broker.rules.asked();
    asked.sort_unstable();
    assert_eq!(asked, ["a reads t", "b reads t", "c reads t"]);
    let mut retried = Vec::new();
    for (question, allowed) in [("a reads t", false), ("b reads t", true), ("c reads t", true)] {
        retried.extend(broker.answered(question, allowed));
    }
    assert_eq!(retried, [1], "once the last is there");
    let (put_back, mut said) = broker.turn(&[publish(1, "t")]);
    said.sort_unstable();
    assert_eq!(
        (put_back, &said[..]),
        (Vec::new(), &["1 PUBACK 00", "2 gets t", "3 gets t"].map(String::from)[..])
    );
}

#[test]
fn who_was_not_told_looks_again_by_himself_and_is_not_taken_for_dead() {
    let mut broker = Broker::new();
    broker.connect(1, "a", None);
    broker.turn(&[publish(1, "t")]);
    assert!(broker.ledger.bytes(Account::Sessions) > 0);
    for _ in 0..10 {
        broker.now = broker.now.plus_millis(RETRY_MILLIS);
        assert!(broker.engine.next_deadline().is_some_and(|at| at <= broker.now));
        let (_, said) = broker.turn(&[]);
        assert_eq!(said, [""; 0], "its keep alive of 2 s does not count meanwhile");
        assert_eq!(core::mem::take(&mut broker.retried), [1]);
        assert_eq!(broker.turn(&[publish(1, "t")]).0, [0]);
    }
}

#[test]
fn nothing_is_left_of_those_who_are_gone() {
    let mut broker = Broker::new();
    broker.connect(9, "stays", None);
    let before = broker.ledger.bytes(Account::Sessions);
    for slot in 1..9 {
        let name = std::format!("c{slot}");
        broker.connect(slot, &name, None);
        broker.turn(&[publish(slot, "t")]);
        broker.turn(&[Input::Lost { link: Link::new(0, slot), loss: Loss::Failed }]);
    }
    broker.now = broker.now.plus_millis(RETRY_MILLIS);
    broker.turn(&[]);
    assert_eq!(broker.retried, [0; 0]);
    assert_eq!(broker.engine.waiting.heap_bytes(), 0);
    assert!(broker.ledger.bytes(Account::Sessions) <= before + 1024);
}

#[test]
fn a_will_waits_for_its_answer() {
    let will = |topic| Will {
        topic,
        payload: b"gone",
        qos: QoS::AtMostOnce,
        retain: false,
        properties: Default::default(),
    };
    for allowed in [true, false] {
        let mut broker = Broker::new();
        broker.connect(1, "watcher", None);
        broker.subscribe(1, "watcher", "will");
        broker.rules.answer("watcher reads will", true);
        broker.connect(2, "w", Some(will("will")));
        let lost = Input::Lost { link: Link::new(0, 2), loss: Loss::ClosedByPeer };
        assert_eq!(broker.turn(&[lost]).1, [""; 0]);
        broker.answered("w writes will", allowed);
        broker.now = broker.now.plus_secs(1);
        let expected: &[&str] = if allowed { &["1 gets will"] } else { &[] };
        assert_eq!(broker.turn(&[]).1, expected);
        assert_eq!(broker.engine.counters().clients_total, 1);
    }
}
