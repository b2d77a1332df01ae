//! What clients get whose sessions come from a file of Mosquitto: the engine with the imported
//! items, and a client that comes back.

use plimsoll_engine::{Admission, Each, Input, Link, Outbox, Piece, StateReader};
use plimsoll_mqtt::{
    Ack, Connect, DecodeLimits, Decoded, Packet, Properties, PropertiesBuf, Version, decode,
};

use super::*;

const LINK: Link = Link::new(0, 0);

/// A store, as the engine's loads read it.
struct Reader<'s>(&'s Store);

impl StateReader for Reader<'_> {
    type Error = Infallible;

    fn scan(&mut self, from: &[u8], each: &mut Each<'_>) -> Result<(), Infallible> {
        for (key, value) in self.0.range(from.to_vec()..) {
            if each(key, value).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn get(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>, Infallible> {
        Ok(self.0.get(key).cloned())
    }
}

/// An engine with what `stopped.db` holds, and the bytes for one client.
struct Broker {
    engine: Engine,
    ledger: &'static Ledger,
    store: Store,
    sent: Vec<u8>,
    version: Version,
}

impl Broker {
    fn with_session(client_identifier: &str, version: Version) -> Self {
        let store = store(&MosquittoDb::read(STOPPED, NOW).unwrap());
        let settings = Settings { persistence: Persistence::Relaxed, ..Settings::default() };
        let ledger: &'static Ledger = Box::leak(Box::default());
        let mut engine = Engine::new(settings, 1, 7, ledger);
        let mut restoring = engine.restore(NOW);
        for (key, value) in &store {
            restoring.item(key, value).unwrap();
        }
        restoring.finish();
        let mut broker = Self { engine, ledger, store, sent: Vec::new(), version };
        let mut properties = PropertiesBuf::new();
        properties.session_expiry_interval(7200);
        let of_v5 = if version.is_v5() { properties.view() } else { Properties::default() };
        broker.turn(&Input::Connect {
            link: LINK,
            listener: 0,
            packet: Box::new(Connect {
                version,
                bridge: false,
                clean_start: false,
                keep_alive: 60,
                client_identifier,
                username: None,
                password: None,
                will: None,
                properties: of_v5,
            }),
            admission: Admission::AsAsked,
        });
        broker
    }

    /// One input, and what the store answers to it.
    fn turn(&mut self, input: &Input<'_>) {
        self.engine.handle(NOW, core::slice::from_ref(input));
        loop {
            let loads = self.engine.take_loads();
            if loads.is_empty() {
                break;
            }
            for load in loads {
                let loaded = load.read(self.ledger, &mut Reader(&self.store)).unwrap();
                self.engine.handle(NOW, &[Input::Loaded(loaded)]);
            }
        }
        let mut outbox = Outbox::new(self.ledger);
        self.engine.take_outbox(0, &mut outbox);
        outbox.drain(|_, piece| match piece {
            Piece::Bytes(bytes) => self.sent.extend_from_slice(bytes),
            Piece::Body(body) => self.sent.extend_from_slice(body.bytes()),
            _ => {}
        });
    }

    /// What was sent, a line for each packet.
    fn packets(&mut self) -> Vec<String> {
        let limits = DecodeLimits { from_client: false, ..DecodeLimits::of_clients() };
        let (mut rest, mut lines) = (&self.sent[..], Vec::new());
        while let Ok(Decoded::Packet { packet, length }) = decode(rest, self.version, &limits) {
            lines.push(line(&packet));
            rest = &rest[length..];
        }
        assert!(rest.is_empty());
        self.sent.clear();
        lines
    }
}

fn line(packet: &Packet<'_>) -> String {
    match packet {
        Packet::Connack(connack) => format!("CONNACK {}", connack.session_present),
        Packet::Publish(publish) => format!(
            "PUBLISH {} {} qos {} retain {} dup {} {:?} {}",
            publish.packet_identifier,
            publish.topic,
            publish.qos as u8,
            publish.retain,
            publish.dup,
            publish.properties.subscription_identifiers().collect::<Vec<_>>(),
            String::from_utf8_lossy(publish.payload),
        ),
        Packet::Pubrel(ack) => format!("PUBREL {}", ack.packet_identifier),
        Packet::Pubcomp(ack) => format!("PUBCOMP {} {:?}", ack.packet_identifier, ack.reason),
        other => format!("{other:?}"),
    }
}

/// mosquitto 2.0.11, started with the same file, sends the same with the same identifiers, but for
/// one: it sends `flight/3` once more, though PUBREC had come for it.
#[test]
fn a_client_takes_up_where_it_was() {
    let mut broker = Broker::with_session("flight-5", Version::V5);
    let expected = [
        "CONNACK true",
        "PUBLISH 2 flight/1 qos 1 retain false dup true [5] awaits PUBACK",
        "PUBLISH 3 flight/2 qos 2 retain false dup true [5] awaits PUBREC",
        "PUBREL 4",
        "PUBLISH 5 flight/4 qos 1 retain false dup true [5] awaits PUBACK too",
        "PUBLISH 6 flight/5 qos 1 retain false dup false [5] no room",
        "PUBLISH 7 flight/6 qos 2 retain false dup false [5] no room",
    ];
    assert_eq!(broker.packets(), expected);
    broker.turn(&Input::Packet { link: LINK, packet: Packet::Pubrel(Ack::new(77)) });
    broker.turn(&Input::Packet { link: LINK, packet: Packet::Pubrel(Ack::new(9)) });
    let expected = ["PUBCOMP 77 ReasonCode(0)", "PUBCOMP 9 ReasonCode(146)"];
    assert_eq!(broker.packets(), expected);
}

#[test]
fn queued_messages_come_in_their_order_and_received_ones_behind_them() {
    let mut broker = Broker::with_session("monitor-5", Version::V5);
    let expected = [
        "CONNACK true",
        "PUBLISH 1 plant/1/alarm qos 1 retain false dup false [7] qos 1",
        "PUBLISH 2 plant/2/alarm qos 2 retain false dup false [7] qos 2",
        "PUBLISH 3 plant/3/alarm qos 2 retain false dup false [7] with properties",
        "PUBLISH 4 plant/4/alarm qos 1 retain true dup false [7] retained too",
        "PUBLISH 5 orders/1 qos 1 retain false dup false [8] \u{FFFD}\u{FFFD}\u{FFFD}\u{FFFD}\u{FFFD}",
        "PUBLISH 6 orders/1 qos 1 retain false dup false [300] \u{FFFD}\u{FFFD}\u{FFFD}\u{FFFD}\u{FFFD}",
        "PUBLISH 7 plant/9/alarm qos 2 retain false dup false [7] received, not released",
    ];
    assert_eq!(broker.packets(), expected);
    let mut broker = Broker::with_session("plant-311", Version::V311);
    let expected = [
        "CONNACK true",
        "PUBLISH 1 plant/2/state qos 1 retain true dup true [] off",
        "PUBLISH 2 plant/4/state qos 1 retain true dup true [] 20 °C",
        "PUBLISH 3 plant/1/alarm qos 1 retain false dup false [] qos 1",
        "PUBLISH 4 plant/2/alarm qos 1 retain false dup false [] qos 2",
        "PUBLISH 5 plant/3/alarm qos 1 retain false dup false [] with properties",
        "PUBLISH 6 plant/4/alarm qos 1 retain false dup false [] retained too",
        "PUBLISH 7 plant/9/alarm qos 2 retain false dup false [] received, not released",
    ];
    assert_eq!(broker.packets(), expected);
}
