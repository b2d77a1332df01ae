//! What is hard to show by simulation: delays, order, and what damage leaves.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use plimsoll_ledger::Ledger;
use plimsoll_mqtt::{
    Connect, DecodeLimits, Decoded, Packet, PropertiesBuf, Publish, QoS, Subscribe,
    SubscribeFilter, SubscriptionOptions, Version, decode,
};

use super::{Each, Item, Record, Records, StateReader};
use crate::access::Admission;
use crate::engine::Engine;
use crate::input::{Input, Link, Loss};
use crate::outbox::{Outbox, Piece};
use crate::settings::{Persistence, Settings};
use crate::time::Time;

/// An engine, and what its store would hold.
struct Broker {
    engine: Engine,
    ledger: &'static Ledger,
    state: BTreeMap<Vec<u8>, Vec<u8>>,
    upto: u64,
    now: Time,
}

impl Broker {
    fn new(state: BTreeMap<Vec<u8>, Vec<u8>>) -> Self {
        let ledger: &'static Ledger = Box::leak(Box::default());
        let settings = Settings { persistence: Persistence::Promised, ..Settings::default() };
        let mut engine = Engine::new(settings, 1, 7, ledger);
        let mut restoring = engine.restore(Time::from_secs(1000));
        for (key, value) in &state {
            let _ = restoring.item(key, value);
        }
        restoring.finish();
        let now = Time::from_secs(1000);
        let mut broker = Self { engine, ledger, state, upto: 0, now };
        broker.tell(&[]);
        broker
    }

    fn tell(&mut self, inputs: &[Input<'_>]) {
        self.engine.handle(self.now, inputs);
    }

    /// Takes the records made so far; answers their last position.
    fn commit(&mut self) -> u64 {
        let mut records = Records::new(self.ledger);
        self.engine.take_records(&mut records);
        for record in &records {
            match record {
                Record::Put { key, value } => drop(self.state.insert(key.into(), value.into())),
                Record::Insert { key, value } => {
                    let before = self.state.insert(key.into(), value.into());
                    assert_eq!(before, None, "{:?}", Item::decode(key, value));
                }
                Record::Delete { key } => drop(self.state.remove(key)),
            }
        }
        self.upto = self.upto.max(records.upto());
        self.upto
    }

    fn store(&mut self) {
        let upto = self.commit();
        self.tell(&[Input::Stored { upto }]);
    }

    fn connect(&mut self, slot: u32, name: &str, packet_size_max: u32) {
        let mut properties = PropertiesBuf::new();
        properties.session_expiry_interval(1000);
        properties.maximum_packet_size(packet_size_max);
        let packet = Box::new(Connect {
            version: Version::V5,
            bridge: false,
            clean_start: false,
            keep_alive: 0,
            client_identifier: name,
            username: None,
            password: None,
            will: None,
            properties: properties.view(),
        });
        self.tell(&[Input::Connect {
            link: Link::new(0, slot),
            listener: 0,
            packet,
            admission: Admission::AsAsked,
        }]);
    }

    fn subscribe(&mut self, slot: u32, filter: &str) {
        let options = SubscriptionOptions { qos: QoS::AtLeastOnce, ..Default::default() };
        let filters = [SubscribeFilter { filter, options }];
        let packet = Packet::Subscribe(Subscribe::new(1, &filters));
        self.tell(&[Input::Packet { link: Link::new(0, slot), packet }]);
    }

    fn publish(&mut self, slot: u32, topic: &str, packet_identifier: u16, payload: &[u8]) {
        self.publish_expiring(slot, topic, packet_identifier, payload, u32::MAX);
    }

    fn publish_expiring(
        &mut self,
        slot: u32,
        topic: &str,
        packet_identifier: u16,
        payload: &[u8],
        expiry: u32,
    ) {
        let mut properties = PropertiesBuf::new();
        if expiry < u32::MAX {
            properties.message_expiry_interval(expiry);
        }
        let packet = Packet::Publish(Publish {
            dup: false,
            qos: QoS::AtLeastOnce,
            retain: false,
            topic,
            packet_identifier,
            properties: properties.view(),
            payload,
        });
        self.tell(&[Input::Packet { link: Link::new(0, slot), packet }]);
    }

    /// What `slot` has been sent since the last time, as (packet type, identifier).
    fn sent(&mut self, slot: u32) -> Vec<(u8, u16)> {
        let mut outbox = Outbox::new(self.ledger);
        self.engine.take_outbox(0, &mut outbox);
        let mut bytes = Vec::new();
        outbox.drain(|other, piece| {
            if let (Piece::Bytes(piece), true) = (piece, slot == other) {
                bytes.extend_from_slice(piece);
            }
        });
        let (mut rest, mut sent) = (&bytes[..], Vec::new());
        while let Ok(Decoded::Packet { packet, length }) =
            decode(rest, Version::V5, &DecodeLimits::default())
        {
            let identifier = match &packet {
                Packet::Publish(publish) => publish.packet_identifier,
                Packet::Puback(ack) => ack.packet_identifier,
                _ => 0,
            };
            sent.push((rest[0] >> 4, identifier));
            rest = &rest[length..];
        }
        sent
    }
}

const CONNACK: u8 = 2;
const PUBLISH: u8 = 3;
const PUBACK: u8 = 4;

#[test]
fn who_publishes_without_a_pause_is_sent_messages_once_connack_has_left() {
    let mut broker = Broker::new(BTreeMap::new());
    broker.connect(1, "busy", u32::MAX);
    broker.subscribe(1, "in/#");
    broker.store();
    broker.sent(1);
    broker.tell(&[Input::Lost { link: Link::new(0, 1), loss: Loss::ClosedByPeer }]);
    broker.store();
    broker.connect(1, "busy", u32::MAX);
    let upto = broker.commit();
    // There is always something that waits for the next group.
    broker.publish(1, "in/1", 1, b"1");
    broker.tell(&[Input::Stored { upto }]);
    assert!(broker.sent(1).starts_with(&[(CONNACK, 0)]));
    let upto = broker.commit();
    broker.publish(1, "in/1", 2, b"2");
    broker.tell(&[Input::Stored { upto }]);
    assert!(broker.sent(1).iter().any(|&(kind, _)| kind == PUBLISH));
}

#[test]
fn v5_mqtt_4_6_0_2_promises_stay_in_order_behind_those_of_others() {
    let mut broker = Broker::new(BTreeMap::new());
    for (slot, name) in [(1, "a"), (2, "b")] {
        broker.connect(slot, name, u32::MAX);
        broker.subscribe(slot, "in/#");
    }
    broker.store();
    broker.sent(1);
    broker.publish(1, "in/1", 1, b"1");
    let upto = broker.commit();
    broker.publish(2, "in/2", 1, b"2");
    // Depends on nothing new, but stands behind the other's in the list of what waits.
    broker.publish(1, "nobody", 2, b"3");
    broker.tell(&[Input::Stored { upto }]);
    broker.publish(1, "nobody", 3, b"4");
    broker.store();
    let mut sent = broker.sent(1);
    sent.retain(|&(kind, _)| kind == PUBACK);
    assert_eq!(sent, [(PUBACK, 1), (PUBACK, 2), (PUBACK, 3)]);
}

#[test]
fn a_body_that_everybody_let_go_of_is_stored_again_for_who_comes_next() {
    let mut broker = Broker::new(BTreeMap::new());
    // The first cannot take it: too large.
    for (slot, name, limit) in [(1, "a", 100), (2, "b", u32::MAX)] {
        broker.connect(slot, name, limit);
        broker.subscribe(slot, "in/#");
    }
    broker.connect(3, "publisher", u32::MAX);
    broker.store();
    broker.publish(3, "in/1", 1, &[b'x'; 300]);
    broker.store();
    let mut wanted = None;
    let mut found = None;
    for (key, value) in &broker.state {
        match Item::decode(key, value) {
            Ok(Item::Queued { entry: super::QueuedItem::Publish { content, .. }, .. }) => {
                wanted = Some(content);
            }
            Ok(Item::Body { number, .. }) => found = Some(super::Content::Body(number)),
            _ => {}
        }
    }
    assert!(wanted.is_some());
    assert!(matches!(wanted, Some(super::Content::Inline(_))) || wanted == found, "{wanted:?}");
}

#[test]
fn the_number_of_a_session_that_cannot_be_read_is_not_given_to_another() {
    let mut broker = Broker::new(BTreeMap::new());
    broker.connect(1, "a", u32::MAX);
    broker.subscribe(1, "secret/#");
    broker.store();
    let mut state = broker.state;
    for (key, value) in &mut state {
        if matches!(Item::decode(key, value), Ok(Item::Session(_))) {
            value[0] = 0xFF;
        }
    }
    let mut broker = Broker::new(state);
    broker.connect(1, "b", u32::MAX);
    broker.store();
    let broker = Broker::new(broker.state);
    assert_eq!(broker.engine.counters().subscriptions, 0);
}

#[test]
fn a_queue_is_looked_through_for_expired_messages_once_at_a_time() {
    let mut broker = Broker::new(BTreeMap::new());
    broker.connect(1, "away", u32::MAX);
    broker.subscribe(1, "in/#");
    broker.connect(2, "publisher", u32::MAX);
    broker.tell(&[Input::Lost { link: Link::new(0, 1), loss: Loss::ClosedByPeer }]);
    broker.publish_expiring(2, "in/1", 1, b"first", 2);
    broker.now = Time::from_secs(1003);
    broker.tell(&[]);
    let first = broker.engine.take_loads();
    assert_eq!(first.len(), 1);
    // The store is slow, and meanwhile another one comes and expires.
    broker.publish_expiring(2, "in/1", 2, b"second", 1);
    broker.now = Time::from_secs(1005);
    broker.tell(&[]);
    assert_eq!(broker.engine.take_loads().len(), 0);
    broker.store();
    let loaded = first[0].read(broker.ledger, &mut Reader(&broker.state)).unwrap();
    broker.tell(&[Input::Loaded(loaded)]);
    let second = broker.engine.take_loads();
    assert_eq!(second.len(), 1);
    let loaded = second[0].read(broker.ledger, &mut Reader(&broker.state)).unwrap();
    broker.tell(&[Input::Loaded(loaded)]);
    assert_eq!(broker.engine.counters().messages_stored, 0);
}

struct Reader<'s>(&'s BTreeMap<Vec<u8>, Vec<u8>>);

impl StateReader for Reader<'_> {
    type Error = core::convert::Infallible;

    fn scan(&mut self, from: &[u8], each: &mut Each<'_>) -> Result<(), Self::Error> {
        for (key, value) in self.0.range(from.to_vec()..) {
            if each(key, value).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn get(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>, Self::Error> {
        Ok(self.0.get(key).cloned())
    }
}
