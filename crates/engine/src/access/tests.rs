//! Rules at work: who is asked, about what, and what follows.

extern crate std;

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use plimsoll_ledger::Ledger;
use plimsoll_mqtt::{
    Connect, DecodeLimits, Decoded, Disconnect, Packet, PropertiesBuf, Publish, QoS, ReasonCode,
    Subscribe, SubscribeFilter, SubscriptionOptions, Unsubscribe, Version, Will, decode,
};

use super::{Access, Action, Admission, Decision, Who};
use crate::engine::Engine;
use crate::input::{Input, Link};
use crate::outbox::{Outbox, Piece};
use crate::settings::{ListenerSettings, Settings};
use crate::time::Time;

use self::std::sync::Mutex;

/// Forbids every topic that has a word in it, and remembers what it was asked.
#[derive(Debug, Default)]
struct Forbid {
    write: &'static str,
    read: &'static str,
    subscribe: &'static str,
    asked: Mutex<Vec<String>>,
}

impl Access for Forbid {
    fn decide(&self, who: &Who<'_>, action: Action, topic: &str) -> Decision {
        let (word, forbidden) = match action {
            Action::Publish { .. } => ("write", self.write),
            Action::Receive => ("read", self.read),
            Action::Subscribe => ("subscribe", self.subscribe),
            Action::Unsubscribe => ("unsubscribe", self.subscribe),
        };
        let name = who.username.unwrap_or("-");
        let asked = format!("{name} {} {word} {topic}", who.client_identifier);
        self.asked.lock().unwrap().push(asked);
        let denied = !forbidden.is_empty() && topic.contains(forbidden);
        if denied { Decision::Deny } else { Decision::Allow }
    }
}

struct Broker {
    engine: Engine,
    version: Version,
}

impl Broker {
    fn new(version: Version, access: Forbid) -> (Self, Arc<Forbid>) {
        let ledger: &'static Ledger = Box::leak(Box::default());
        let mounted =
            ListenerSettings { mount_point: "plant/7/".into(), ..ListenerSettings::default() };
        let settings = Settings {
            listeners: alloc::vec![ListenerSettings::default(), mounted],
            ..Settings::default()
        };
        let access = Arc::new(access);
        let mut engine = Engine::new(settings, 1, 7, ledger);
        engine.set_access(Some(Arc::clone(&access) as Arc<dyn Access>));
        (Self { engine, version }, access)
    }

    fn tell(&mut self, input: Input<'_>) {
        self.engine.handle(Time::from_secs(1), &[input]);
    }

    fn connect(&mut self, slot: u32, listener: u16, name: &str, will: Option<&str>) {
        let will = will.map(|topic| Will {
            topic,
            payload: b"gone",
            qos: QoS::AtMostOnce,
            retain: false,
            properties: Default::default(),
        });
        let packet = Box::new(Connect {
            username: Some("asked"),
            will,
            ..Connect::new(self.version, name, true)
        });
        let username = Some(Box::from("u"));
        let admission = Admission::As { username, client_identifier: None };
        self.tell(Input::Connect { link: Link::new(0, slot), listener, packet, admission });
    }

    fn packet(&mut self, slot: u32, packet: Packet<'_>) {
        self.tell(Input::Packet { link: Link::new(0, slot), packet });
    }

    fn subscribe(&mut self, slot: u32, filter: &str) {
        let options = SubscriptionOptions { qos: QoS::AtLeastOnce, ..Default::default() };
        let filters = [SubscribeFilter { filter, options }];
        self.packet(slot, Packet::Subscribe(Subscribe::new(1, &filters)));
    }

    fn publish(&mut self, slot: u32, topic: &str, qos: QoS, retain: bool) {
        let packet_identifier = u16::from(qos != QoS::AtMostOnce);
        let properties = PropertiesBuf::new();
        self.packet(
            slot,
            Packet::Publish(Publish {
                dup: false,
                qos,
                retain,
                topic,
                packet_identifier,
                properties: properties.view(),
                payload: b"x",
            }),
        );
    }

    /// What has been sent since the last time, a word for each packet: its name, and reason or topic.
    fn sent(&mut self) -> Vec<String> {
        let mut outbox = Outbox::new(self.engine.ledger());
        self.engine.take_outbox(0, &mut outbox);
        let mut bytes: Vec<(u32, Vec<u8>)> = Vec::new();
        outbox.drain(|slot, piece| {
            let at = bytes.iter().position(|(of, _)| *of == slot).unwrap_or_else(|| {
                bytes.push((slot, Vec::new()));
                bytes.len() - 1
            });
            match piece {
                Piece::Bytes(new) => bytes[at].1.extend_from_slice(new),
                Piece::Body(body) => bytes[at].1.extend_from_slice(body.bytes()),
                _ => {}
            }
        });
        let limits = DecodeLimits { from_client: false, ..DecodeLimits::default() };
        let mut words = Vec::new();
        for (slot, bytes) in &bytes {
            let mut rest = &bytes[..];
            while let Ok(Decoded::Packet { packet, length }) = decode(rest, self.version, &limits) {
                rest = &rest[length..];
                words.push(match packet {
                    Packet::Publish(publish) => format!("{slot} {}", publish.topic),
                    Packet::Puback(ack) => format!("{slot} puback {:02x}", ack.reason.byte()),
                    Packet::Pubrec(ack) => format!("{slot} pubrec {:02x}", ack.reason.byte()),
                    Packet::Suback(suback) => {
                        let reasons: Vec<u8> =
                            suback.reasons.iter().map(ReasonCode::byte).collect();
                        format!("{slot} suback {reasons:02x?}")
                    }
                    Packet::Unsuback(unsuback) => {
                        let reasons: Vec<u8> =
                            unsuback.reasons.iter().map(ReasonCode::byte).collect();
                        format!("{slot} unsuback {reasons:02x?}")
                    }
                    Packet::Disconnect(disconnect) => {
                        format!("{slot} disconnect {:02x}", disconnect.reason.byte())
                    }
                    Packet::Connack(connack) => {
                        format!("{slot} connack {:02x}", connack.reason.byte())
                    }
                    _ => format!("{slot} other"),
                });
            }
            assert!(rest.is_empty(), "{rest:?}");
        }
        words
    }
}

#[test]
fn a_forbidden_publish_is_not_routed_and_5_0_hears_why() {
    let (mut broker, access) =
        Broker::new(Version::V5, Forbid { write: "secret", ..Forbid::default() });
    broker.connect(1, 0, "a", None);
    broker.subscribe(1, "#");
    broker.sent();
    broker.publish(1, "secret/1", QoS::AtLeastOnce, true);
    broker.publish(1, "secret/1", QoS::ExactlyOnce, true);
    broker.publish(1, "secret/1", QoS::AtMostOnce, true);
    assert_eq!(broker.sent(), ["1 puback 87", "1 pubrec 87"]);
    assert_eq!(broker.engine.counters().retained, 0);
    broker.publish(1, "open", QoS::AtLeastOnce, false);
    assert_eq!(broker.sent(), ["1 open", "1 puback 00"]);
    let asked = access.asked.lock().unwrap();
    assert!(
        asked.contains(&"u a write secret/1".into()),
        "the name that admission gave: {asked:?}"
    );
}

#[test]
fn to_3_1_1_a_forbidden_publish_looks_like_any_other() {
    let forbid = Forbid { write: "secret", ..Forbid::default() };
    let (mut broker, _) = Broker::new(Version::V311, forbid);
    broker.connect(1, 0, "a", None);
    broker.subscribe(1, "#");
    broker.sent();
    broker.publish(1, "secret/1", QoS::AtLeastOnce, false);
    assert_eq!(broker.sent(), ["1 puback 00"]);
}

#[test]
fn a_forbidden_filter_is_refused_in_its_place() {
    let forbid = || Forbid { subscribe: "secret", ..Forbid::default() };
    let (mut broker, _) = Broker::new(Version::V5, forbid());
    broker.connect(1, 0, "a", None);
    broker.sent();
    broker.subscribe(1, "secret/#");
    broker.subscribe(1, "$share/secret/open");
    broker.subscribe(1, "$share/g/secret");
    assert_eq!(broker.sent(), ["1 suback [87]", "1 suback [01]", "1 suback [87]"]);
    broker.packet(1, Packet::Unsubscribe(Unsubscribe::new(2, &["secret/#", "open"])));
    assert_eq!(broker.sent(), ["1 unsuback [87, 11]"]);
    let (mut broker, _) = Broker::new(Version::V311, forbid());
    broker.connect(1, 0, "a", None);
    broker.sent();
    broker.subscribe(1, "secret/#");
    assert_eq!(broker.sent(), ["1 suback [80]"]);
}

#[test]
fn what_may_not_be_read_is_not_sent() {
    let (mut broker, access) =
        Broker::new(Version::V5, Forbid { read: "secret", ..Forbid::default() });
    broker.connect(1, 0, "a", None);
    broker.subscribe(1, "#");
    broker.subscribe(1, "$share/g/#");
    broker.connect(2, 0, "b", None);
    broker.sent();
    broker.publish(2, "secret", QoS::AtLeastOnce, true);
    assert_eq!(broker.sent(), ["2 puback 10"], "as if nobody had subscribed");
    broker.publish(2, "open", QoS::AtLeastOnce, true);
    assert_eq!(broker.sent(), ["1 open", "1 open", "2 puback 00"]);
    // A retained one neither; until the rules change.
    broker.connect(3, 0, "c", None);
    broker.sent();
    broker.subscribe(3, "secret");
    assert_eq!(broker.sent(), ["3 suback [01]"]);
    broker.engine.set_access(None);
    let before = access.asked.lock().unwrap().len();
    broker.subscribe(3, "secret");
    assert_eq!(broker.sent(), ["3 suback [01]", "3 secret"]);
    assert_eq!(access.asked.lock().unwrap().len(), before);
}

#[test]
fn a_will_is_no_way_around_the_rules() {
    let (mut broker, _) =
        Broker::new(Version::V311, Forbid { write: "secret", ..Forbid::default() });
    broker.connect(1, 0, "a", None);
    broker.subscribe(1, "#");
    for (slot, topic) in [(2, "secret/will"), (3, "open/will")] {
        broker.connect(slot, 0, topic, Some(topic));
        broker.sent();
        let link = Link::new(0, slot);
        broker.tell(Input::Lost { link, loss: crate::input::Loss::Failed });
    }
    assert_eq!(broker.sent(), ["1 open/will"]);
}

#[test]
fn clients_behind_a_mount_point_do_not_see_it_and_rules_do() {
    let (mut broker, access) = Broker::new(Version::V5, Forbid::default());
    broker.connect(1, 0, "outside", None);
    broker.subscribe(1, "#");
    broker.connect(2, 1, "inside", Some("will"));
    broker.subscribe(2, "a/+");
    broker.subscribe(2, "$share/g/s");
    broker.sent();
    broker.publish(2, "a/b", QoS::AtMostOnce, true);
    assert_eq!(broker.sent(), ["1 plant/7/a/b", "2 a/b"]);
    broker.publish(1, "a/b", QoS::AtMostOnce, false);
    assert_eq!(broker.sent(), ["1 a/b"]);
    broker.publish(1, "plant/7/s", QoS::AtMostOnce, false);
    assert_eq!(broker.sent(), ["1 plant/7/s", "2 s"]);
    broker.subscribe(2, "#");
    assert_eq!(broker.sent(), ["2 suback [01]", "2 a/b"]);
    broker.packet(2, Packet::Unsubscribe(Unsubscribe::new(2, &["a/+", "$share/g/s"])));
    assert_eq!(broker.sent(), ["2 unsuback [00, 00]"]);
    assert!(access.asked.lock().unwrap().contains(&"u inside subscribe plant/7/s".into()));
    let disconnect = Disconnect::new(ReasonCode::DISCONNECT_WITH_WILL);
    broker.packet(2, Packet::Disconnect(disconnect));
    assert_eq!(broker.sent(), ["1 plant/7/will"]);
}

#[test]
fn who_is_expelled_hears_why_and_is_gone() {
    let (mut broker, _) = Broker::new(Version::V5, Forbid::default());
    broker.connect(1, 0, "a", None);
    broker.sent();
    let reason = ReasonCode::ADMINISTRATIVE_ACTION;
    broker.tell(Input::Expel { link: Link::new(0, 1), reason });
    assert_eq!(broker.sent(), ["1 disconnect 98"]);
    assert_eq!(broker.engine.counters().clients_connected, 0);
}

#[test]
fn a_session_belongs_to_whoever_resumed_it_last_and_the_ledger_agrees() {
    let (mut broker, access) = Broker::new(Version::V311, Forbid::default());
    for name in ["first", "a much longer user name than the first one", "x"] {
        let packet = Box::new(Connect::new(Version::V311, "a", false));
        let admission =
            Admission::As { username: Some(name.into()), client_identifier: Some("other".into()) };
        broker.tell(Input::Connect { link: Link::new(0, 1), listener: 0, packet, admission });
        broker.subscribe(1, "t");
        let asked = access.asked.lock().unwrap().pop();
        assert_eq!(asked.unwrap(), format!("{name} other subscribe t"));
        let recount = broker.engine.recount();
        assert_eq!(broker.engine.ledger().snapshot(), recount);
        broker.tell(Input::Lost { link: Link::new(0, 1), loss: crate::input::Loss::Failed });
        broker.sent();
    }
}

#[test]
fn what_has_waited_is_asked_about_again() {
    let (mut broker, _) = Broker::new(Version::V311, Forbid::default());
    let connect = |broker: &mut Broker| {
        let packet = Box::new(Connect::new(Version::V311, "a", false));
        let link = Link::new(0, 1);
        broker.tell(Input::Connect { link, listener: 0, packet, admission: Admission::AsAsked });
    };
    connect(&mut broker);
    broker.subscribe(1, "#");
    broker.tell(Input::Lost { link: Link::new(0, 1), loss: crate::input::Loss::Failed });
    broker.connect(2, 0, "b", None);
    broker.sent();
    for topic in ["open/1", "secret/1", "open/2"] {
        broker.publish(2, topic, QoS::AtLeastOnce, false);
    }
    assert_eq!(broker.sent(), ["2 puback 00", "2 puback 00", "2 puback 00"]);
    let forbid = Forbid { read: "secret", ..Forbid::default() };
    broker.engine.set_access(Some(Arc::new(forbid)));
    connect(&mut broker);
    assert_eq!(broker.sent(), ["1 connack 00", "1 open/1", "1 open/2"]);
    assert_eq!(broker.engine.ledger().snapshot(), broker.engine.recount());
}
