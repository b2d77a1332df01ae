//! A publish is followed from its publisher to its subscribers and back.

extern crate std;

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use plimsoll_ledger::{Account, Ledger};
use plimsoll_mqtt::{
    Ack, Connect, Packet, PropertiesBuf, Publish, QoS, Subscribe, SubscribeFilter,
    SubscriptionOptions, Version,
};

use super::{FOLLOWED_SESSIONS_MAX, Follow, Stage};
use crate::access::Admission;
use crate::durable::Records;
use crate::engine::Engine;
use crate::event::Event;
use crate::input::{Input, Link};
use crate::outbox::Outbox;
use crate::settings::{Persistence, Settings};
use crate::time::Time;

struct Broker {
    engine: Engine,
    ledger: &'static Ledger,
    upto: u64,
}

impl Broker {
    /// With clients `0` (link 0), `1` …, of which all but the first subscribe to `plant/#` at QoS 1.
    fn new(settings: Settings, clients: u32) -> Self {
        let ledger: &'static Ledger = Box::leak(Box::default());
        let mut broker = Self { engine: Engine::new(settings, 1, 7, ledger), ledger, upto: 0 };
        broker.tell(&[]);
        for number in 0..clients {
            broker.connect(number);
            if number > 0 {
                broker.subscribe(number);
            }
        }
        broker.store();
        broker.stages();
        broker
    }

    fn tell(&mut self, inputs: &[Input<'_>]) {
        self.engine.handle(Time::from_secs(1), inputs);
    }

    fn connect(&mut self, number: u32) {
        let mut properties = PropertiesBuf::new();
        properties.session_expiry_interval(1000);
        let name = format!("{number}");
        let connect = Connect::new(Version::V5, &name, false);
        let packet = Box::new(Connect { properties: properties.view(), ..connect });
        let (link, admission) = (Link::new(0, number), Admission::AsAsked);
        self.tell(&[Input::Connect { link, listener: 0, packet, admission }]);
    }

    fn packet(&mut self, link: u32, packet: Packet<'_>) {
        self.tell(&[Input::Packet { link: Link::new(0, link), packet }]);
    }

    fn subscribe(&mut self, link: u32) {
        let options = SubscriptionOptions { qos: QoS::AtLeastOnce, ..Default::default() };
        let filters = [SubscribeFilter { filter: "plant/#", options }];
        self.packet(link, Packet::Subscribe(Subscribe::new(1, &filters)));
    }

    fn publish(&mut self, topic: &str, packet_identifier: u16) {
        let mut properties = PropertiesBuf::new();
        properties.user_property("traceparent", "00-1-2-01");
        let qos = if packet_identifier == 0 { QoS::AtMostOnce } else { QoS::AtLeastOnce };
        self.packet(
            0,
            Packet::Publish(Publish {
                dup: false,
                qos,
                retain: false,
                topic,
                packet_identifier,
                properties: properties.view(),
                payload: b"21.5",
            }),
        );
    }

    fn store(&mut self) {
        let mut records = Records::new(self.ledger);
        self.engine.take_records(&mut records);
        self.upto = self.upto.max(records.upto());
        self.tell(&[Input::Stored { upto: self.upto }]);
    }

    fn follow(&mut self, publishes: u32) {
        self.engine.follow(Some(Follow { filter: "plant/+".into(), publishes, first: 1 }));
    }

    /// What has happened since the last time, as `number stage`.
    fn stages(&mut self) -> Vec<String> {
        let mut outbox = Outbox::new(self.ledger);
        self.engine.take_outbox(0, &mut outbox);
        let mut stages = Vec::new();
        for (_, event) in outbox.take_events() {
            let Event::Traced(traced) = event else { continue };
            let stage = match traced.stage {
                Stage::Received(received) => {
                    format!("received from {} {:?}", received.client, received.parent)
                }
                Stage::Refused { reason } => format!("refused {reason:?}"),
                Stage::Routed { sessions, missed, holds } => {
                    format!("routed {sessions} {missed} {holds}")
                }
                Stage::Sent { client, .. } => format!("sent to {client}"),
                Stage::Queued { client, .. } => format!("queued for {client}"),
                Stage::Dropped { client, limit } => format!("dropped for {client} {limit:?}"),
                Stage::Confirmed { client } => format!("confirmed by {client}"),
                Stage::Acknowledged { stored, .. } => format!("acknowledged {}", stored > 0),
            };
            stages.push(format!("{} {stage}", traced.number));
        }
        outbox.drain(|_, _| ());
        stages
    }

    fn agree(&self) {
        let counted = self.engine.recount();
        for (account, bytes) in self.ledger.snapshot().iter() {
            assert_eq!(bytes, counted.bytes(account), "{account:?}");
        }
    }
}

fn promised() -> Settings {
    Settings { persistence: Persistence::Promised, ..Settings::default() }
}

#[test]
fn the_acknowledgement_says_that_it_has_waited_for_the_store() {
    let mut broker = Broker::new(promised(), 3);
    broker.follow(1);
    broker.publish("plant/7", 1);
    broker.agree();
    let before =
        ["1 received from 0 Some(\"00-1-2-01\")", "1 sent to 1", "1 sent to 2", "1 routed 2 0 0"];
    assert_eq!(broker.stages(), before);
    broker.packet(2, Packet::Puback(Ack::new(1)));
    assert_eq!(broker.stages(), ["1 confirmed by 2"]);
    broker.store();
    assert_eq!(broker.stages(), ["1 acknowledged true"]);
    broker.agree();
}

#[test]
fn only_so_many_are_followed_and_only_what_the_filter_matches() {
    let mut broker = Broker::new(Settings::default(), 2);
    broker.publish("plant/7", 1);
    assert_eq!(broker.stages(), Vec::<String>::new());
    broker.follow(1);
    broker.publish("plant/7/deep", 2);
    broker.publish("plant/8", 0);
    broker.publish("plant/9", 3);
    let only = ["1 received from 0 Some(\"00-1-2-01\")", "1 sent to 1", "1 routed 1 0 0"];
    assert_eq!(broker.stages(), only);
    broker.engine.follow(None);
    assert_eq!(broker.ledger.bytes(Account::Tools), 0);
}

#[test]
fn what_waits_in_a_queue_is_followed_out_of_it() {
    let settings = Settings { max_inflight_messages: 1, ..Settings::default() };
    let mut broker = Broker::new(settings, 2);
    broker.follow(5);
    broker.publish("plant/1", 1);
    broker.publish("plant/2", 2);
    broker.stages();
    broker.packet(1, Packet::Puback(Ack::new(1)));
    assert_eq!(broker.stages(), ["1 confirmed by 1", "2 sent to 1"]);
    broker.packet(1, Packet::Puback(Ack::new(2)));
    assert_eq!(broker.stages(), ["2 confirmed by 1"]);
}

#[test]
fn an_acknowledgement_that_waits_for_room_is_told_when_it_leaves() {
    let settings =
        Settings { max_inflight_messages: 1, max_queued_messages: 1, ..Settings::default() };
    let mut broker = Broker::new(settings, 2);
    broker.publish("plant/1", 1);
    broker.publish("plant/2", 2);
    broker.stages();
    broker.follow(1);
    broker.publish("plant/3", 3);
    let stages = broker.stages();
    assert_eq!(stages.get(1..).unwrap(), ["1 queued for 1", "1 routed 1 0 1"]);
    broker.packet(1, Packet::Puback(Ack::new(1)));
    assert_eq!(broker.stages(), ["1 acknowledged false"]);
}

#[test]
fn a_refused_publish_is_acknowledged_with_its_reason_or_told_as_refused() {
    let settings = Settings { message_size_limit: 1, ..Settings::default() };
    let mut broker = Broker::new(settings, 1);
    broker.follow(5);
    broker.publish("plant/1", 1);
    broker.publish("plant/1", 0);
    let stages = broker.stages();
    let told: Vec<&str> = stages.iter().map(String::as_str).collect();
    assert_eq!(
        told,
        vec![
            "1 received from 0 Some(\"00-1-2-01\")",
            "1 acknowledged false",
            "2 received from 0 Some(\"00-1-2-01\")",
            "2 refused None",
        ]
    );
}

#[test]
fn of_many_receivers_some_are_told_and_all_counted() {
    let many = FOLLOWED_SESSIONS_MAX + 10;
    let mut broker = Broker::new(Settings::default(), many + 1);
    broker.follow(1);
    broker.publish("plant/1", 1);
    let stages = broker.stages();
    let sent = stages.iter().filter(|stage| stage.contains("sent")).count();
    assert_eq!(sent, FOLLOWED_SESSIONS_MAX as usize);
    assert!(stages.contains(&format!("1 routed {many} 0 0")));
    broker.agree();
}
