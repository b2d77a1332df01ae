//! Any sequence of operations on the engine, with a store that may fail and a broker that may die: it
//! never panics, the ledger always agrees with a walk over the state, and what was stored is understood.
#![no_main]

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::ops::ControlFlow;

use libfuzzer_sys::fuzz_target;
use plimsoll_engine::{
    Admission, Each, Engine, Input, Link, Load, Loss, Outbox, Persistence, Piece, Record, Records, Settings, StateReader, Time,
};
use plimsoll_ledger::Ledger;
use plimsoll_mqtt::encode::{self, AckKind};
use plimsoll_mqtt::{
    Connect, DecodeLimits, Decoded, Disconnect, Packet, PropertiesBuf, Publish, QoS, ReasonCode, Subscribe,
    SubscribeFilter, SubscriptionOptions, Unsubscribe, Version, Will, decode, decode_first,
};

/// Links that the operations are spread over.
const LINKS: u8 = 6;

/// One engine at a time charges it, and leaves it as it was.
static LEDGER: Ledger = Ledger::new();

const TOPICS: [&str; 6] = ["a", "a/b", "b", "a//", "$x", "a/b/c"];
const FILTERS: [&str; 8] = ["#", "a/+", "a/#", "b", "$share/g/a/#", "+/b", "$x", "$share/h/+"];

/// A packet that a client may well send, chosen by a few bytes: random ones rarely make a session.
fn sensible(kind: u8, which: u8, bytes: &[u8], version: Version) -> Vec<u8> {
    let byte = |at: usize| bytes.get(at).copied().unwrap_or(0);
    let qos = QoS::try_from(byte(0) % 3).unwrap_or_default();
    let identifier = u16::from(byte(1) % 8) + 1;
    let mut out = Vec::new();
    let topic = TOPICS[usize::from(byte(2)) % TOPICS.len()];
    let filter = FILTERS[usize::from(byte(2)) % FILTERS.len()];
    let payload = vec![b'x'; usize::from(byte(3)) * usize::from(byte(4) % 16)];
    match kind % 4 {
        0 => {
            let mut properties = PropertiesBuf::new();
            if version.is_v5() {
                properties.session_expiry_interval(u32::from(byte(4) % 4) * 2);
                properties.receive_maximum(u16::from(byte(5) % 4) + 1);
            }
            let will = (byte(6) % 2 == 1).then(|| Will {
                topic,
                payload: &payload,
                qos,
                retain: byte(7) % 2 == 1,
                properties: Default::default(),
            });
            let client_identifier = ["c", "d", "e"][usize::from(which) % 3];
            let connect = Connect {
                version,
                bridge: false,
                clean_start: byte(1) % 3 == 0,
                keep_alive: u16::from(byte(8)),
                client_identifier,
                username: None,
                password: None,
                will,
                properties: properties.view(),
            };
            encode::packet(&Packet::Connect(Box::new(connect)), version, &mut out);
        }
        1 if byte(5) % 4 == 0 => {
            let filters = [filter];
            encode::packet(&Packet::Unsubscribe(Unsubscribe::new(identifier, &filters)), version, &mut out);
        }
        1 => {
            let options = SubscriptionOptions { qos, ..Default::default() };
            let filters = [SubscribeFilter { filter, options }];
            encode::packet(&Packet::Subscribe(Subscribe::new(identifier, &filters)), version, &mut out);
        }
        2 => {
            let mut properties = PropertiesBuf::new();
            if version.is_v5() && byte(5) % 3 == 0 {
                properties.message_expiry_interval(u32::from(byte(6) % 4));
            }
            let publish = Publish {
                dup: false,
                qos,
                retain: byte(7) % 2 == 1,
                topic,
                packet_identifier: if qos == QoS::AtMostOnce { 0 } else { identifier },
                properties: properties.view(),
                payload: &payload,
            };
            encode::packet(&Packet::Publish(publish), version, &mut out);
        }
        _ if byte(0) % 8 == 7 => {
            encode::packet(&Packet::Disconnect(Disconnect::new(ReasonCode::SUCCESS)), version, &mut out);
        }
        _ => {
            let kinds = [AckKind::Puback, AckKind::Pubrec, AckKind::Pubrel, AckKind::Pubcomp];
            let ack = kinds[usize::from(byte(0)) % 4];
            encode::ack(&mut out, version, ack, identifier, ReasonCode::SUCCESS);
        }
    }
    out
}

/// A store that forgets nothing but what was not handed to it yet.
#[derive(Default)]
struct Store {
    entries: BTreeMap<Vec<u8>, Vec<u8>>,
    waiting: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    upto: u64,
    loads: Vec<Load>,
}

impl Store {
    fn collect(&mut self, engine: &mut Engine) {
        let mut records = Records::new(&LEDGER);
        engine.take_records(&mut records);
        for record in &records {
            self.waiting.push(match record {
                Record::Put { key, value } | Record::Insert { key, value } => (key.into(), Some(value.into())),
                Record::Delete { key } => (key.into(), None),
            });
        }
        if !records.is_empty() {
            self.upto = records.upto();
        }
        self.loads.extend(engine.take_loads());
    }

    /// Stores what waits and reads what is asked for.
    fn turn(&mut self) -> Vec<Input<'static>> {
        for (key, value) in self.waiting.drain(..) {
            match value {
                Some(value) => drop(self.entries.insert(key, value)),
                None => drop(self.entries.remove(&key)),
            }
        }
        let mut answers = vec![Input::Stored { upto: self.upto }];
        for load in std::mem::take(&mut self.loads) {
            let Ok(loaded) = load.read(&LEDGER, self);
            answers.push(Input::Loaded(loaded));
        }
        answers
    }
}

impl StateReader for Store {
    type Error = Infallible;

    fn scan(&mut self, from: &[u8], each: &mut Each<'_>) -> Result<(), Infallible> {
        for (key, value) in self.entries.range(from.to_vec()..) {
            if each(key, value) == ControlFlow::Break(()) {
                break;
            }
        }
        Ok(())
    }

    fn get(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>, Infallible> {
        Ok(self.entries.get(key).cloned())
    }
}

fuzz_target!(|operations: Vec<(u8, u8, Vec<u8>)>| {
    let ledger = &LEDGER;
    let settings = Settings {
        max_inflight_messages: 3,
        max_queued_messages: 5,
        slow_consumer_timeout: 2,
        output_bytes_max: 4096,
        retained_scan_entries: 3,
        persistence: match operations.first() {
            Some((kind, ..)) if kind & 0x80 != 0 => Persistence::Promised,
            _ => Persistence::Off,
        },
        ..Settings::default()
    };
    let mut store = Store::default();
    let mut engine = Engine::new(settings.clone(), 1, 1, ledger);
    let mut versions: [Option<Version>; LINKS as usize] = [None; LINKS as usize];
    let mut now = Time::from_secs(1_000_000);
    let limits = DecodeLimits::of_clients();
    for (kind, which, bytes) in &operations {
        let slot = which % LINKS;
        let link = Link::new(0, u32::from(slot));
        let version = &mut versions[usize::from(slot)];
        let mut inputs = Vec::new();
        let chosen = match kind % 16 {
            8.. => {
                let wanted = version.unwrap_or(if which & 64 == 0 { Version::V5 } else { Version::V311 });
                // The first packet of a connection is CONNECT.
                let kind = if version.is_none() { 0 } else { *kind };
                sensible(kind, *which, bytes, wanted)
            }
            _ => bytes.clone(),
        };
        let bytes = &chosen;
        match if kind % 16 >= 8 { 5 } else { kind % 8 } {
            0 => now = now.plus_millis(u64::from(*which) * 500),
            1 if version.is_some() => {
                *version = None;
                inputs.push(Input::Lost { link, loss: Loss::Failed });
            }
            3 => inputs = store.turn(),
            4 if *which < 32 => inputs.push(Input::StoreFailing),
            4 if *which < 64 => {
                // The broker dies with what was not stored, and comes back.
                drop(engine);
                assert_eq!(ledger.total(), 0);
                store = Store { entries: std::mem::take(&mut store.entries), ..Store::default() };
                versions = Default::default();
                engine = Engine::new(settings.clone(), 1, 2, ledger);
                let mut restoring = engine.restore(now);
                for (key, value) in &store.entries {
                    restoring.item(key, value).expect("its own items are understood");
                }
                restoring.finish();
            }
            2 if version.is_some() => inputs.push(Input::Flushed { link, bytes: u32::from(*which) * 64 }),
            _ => {
                let mut used = 0;
                while used < bytes.len() {
                    let decoded = match *version {
                        None => decode_first(&bytes[used..], &limits),
                        Some(version) => decode(&bytes[used..], version, &limits),
                    };
                    match decoded {
                        Ok(Decoded::Packet { packet, length }) => {
                            used += length;
                            inputs.push(match packet {
                                Packet::Connect(packet) if version.is_none() => {
                                    *version = Some(packet.version);
                                    Input::Connect { link, listener: 0, packet, admission: Admission::AsAsked }
                                }
                                packet => Input::Packet { link, packet },
                            });
                        }
                        Ok(Decoded::Incomplete { .. }) => break,
                        Err(error) => {
                            inputs.push(Input::Malformed { link, error });
                            break;
                        }
                    }
                }
            }
        }
        engine.handle(now, &inputs);
        drop(inputs);
        store.collect(&mut engine);
        assert_eq!(engine.recount(), ledger.snapshot());
        let mut outbox = Outbox::new(ledger);
        engine.take_outbox(0, &mut outbox);
        outbox.drain(|slot, piece| {
            if matches!(piece, Piece::Close) {
                versions[slot as usize] = None;
            }
        });
        drop(outbox);
        assert_eq!(engine.recount(), ledger.snapshot());
    }
    drop(engine);
    assert_eq!(ledger.total(), 0);
});
