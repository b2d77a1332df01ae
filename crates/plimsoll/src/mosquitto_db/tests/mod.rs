//! Files that Mosquitto wrote, and files of old versions that it read: `fixtures/mosquitto_db`.

mod delivery;

use std::collections::BTreeMap;
use std::convert::Infallible;

use plimsoll_engine::{Engine, Item, Persistence, Settings, Time};
use plimsoll_ledger::Ledger;
use proptest::prelude::*;

use super::chunks::Chunks;
use super::summary::{Flaw, Skipped, Summary};
use super::{Error, First, MosquittoDb};
use crate::state::Export;

const CONNECTED: &[u8] = include_bytes!("../../../fixtures/mosquitto_db/connected.db");
const STOPPED: &[u8] = include_bytes!("../../../fixtures/mosquitto_db/stopped.db");
const EXPIRING: &[u8] = include_bytes!("../../../fixtures/mosquitto_db/expiring.db");
const EMPTY: &[u8] = include_bytes!("../../../fixtures/mosquitto_db/empty.db");

/// Files of old versions, and what mosquitto 2.0.11 made of each.
const OLD: [(u32, &[u8], &[u8]); 4] = [
    (
        2,
        include_bytes!("../../../fixtures/mosquitto_db/version-2.db"),
        include_bytes!("../../../fixtures/mosquitto_db/version-2-as-6.db"),
    ),
    (
        3,
        include_bytes!("../../../fixtures/mosquitto_db/version-3.db"),
        include_bytes!("../../../fixtures/mosquitto_db/version-3-as-6.db"),
    ),
    (
        4,
        include_bytes!("../../../fixtures/mosquitto_db/version-4.db"),
        include_bytes!("../../../fixtures/mosquitto_db/version-4-as-6.db"),
    ),
    (
        5,
        include_bytes!("../../../fixtures/mosquitto_db/version-5.db"),
        include_bytes!("../../../fixtures/mosquitto_db/version-5-as-6.db"),
    ),
];

/// Shortly after the files were written.
const NOW: Time = Time::from_secs(1_795_654_880);

type Store = BTreeMap<Vec<u8>, Vec<u8>>;

/// Items as entries of a store. They come in the order of their keys, each once.
fn store(db: &MosquittoDb<'_>) -> Store {
    let mut store = Store::new();
    let taken = db.items(First::default(), &mut |item| {
        let (mut key, mut value) = (Vec::new(), Vec::new());
        item.key(&mut key);
        item.value(&mut value);
        assert_eq!(Item::decode(&key, &value).as_ref(), Ok(item));
        assert!(store.last_key_value().is_none_or(|(last, _)| *last < key), "{item:?}");
        store.insert(key, value);
        Ok::<_, Infallible>(())
    });
    assert_eq!(taken, Ok(()));
    store
}

fn exported(store: &Store) -> String {
    let mut out = Vec::new();
    let mut export = Export::new(&mut out, |key: &[u8]| Ok(store.get(key).cloned()));
    for (key, value) in store {
        export.entry(key, value).unwrap();
    }
    String::from_utf8(out).unwrap()
}

/// Everything in a file that is whole, as JSON lines.
fn lines(bytes: &[u8], now: Time) -> String {
    let db = MosquittoDb::read(bytes, now).unwrap();
    assert!(db.summary().is_whole(), "{}", db.summary());
    exported(&store(&db))
}

/// The same without what is numbered in the order of the file.
fn unnumbered(lines: &str) -> Vec<String> {
    let without = |line: &str| match line.split_once("\"body\":") {
        Some((before, behind)) => {
            before.to_owned() + behind.trim_start_matches(|c: char| c.is_ascii_digit() || c == ',')
        }
        None => line.to_owned(),
    };
    lines.lines().map(without).collect()
}

/// Lets no session end: mosquitto gives no life to those that it reads from old versions.
fn immortal(bytes: &[u8]) -> Vec<u8> {
    let (mut bytes, mut places) = (bytes.to_vec(), Vec::new());
    let mut chunks = Chunks::open(&bytes).unwrap();
    while let Some(Ok(chunk)) = chunks.next() {
        if chunk.kind == 6 {
            places.push(chunk.offset + 16);
        }
    }
    for place in places {
        bytes[place..place + 4].fill(0xFF);
    }
    bytes
}

/// A file of version 5 or 6 with its chunks changed.
fn rewritten(bytes: &[u8], change: impl Fn(u32, &mut Vec<u8>)) -> Vec<u8> {
    let mut out = bytes[..23].to_vec();
    let mut chunks = Chunks::open(bytes).unwrap();
    while let Some(chunk) = chunks.next() {
        let chunk = chunk.unwrap();
        let mut body = chunk.body.to_vec();
        change(chunk.kind, &mut body);
        out.extend_from_slice(&chunk.kind.to_be_bytes());
        out.extend_from_slice(&(body.len() as u32).to_be_bytes());
        out.extend_from_slice(&body);
    }
    out
}

#[test]
fn files_of_big_endian_hosts_are_read() {
    let other_order = |kind, body: &mut Vec<u8>| {
        if kind != 5 {
            body[..8].reverse();
        }
        if kind == 2 {
            body[8..16].reverse();
        }
    };
    for bytes in [STOPPED, EXPIRING, OLD[3].1] {
        assert_eq!(lines(&rewritten(bytes, other_order), NOW), lines(bytes, NOW));
    }
}

#[test]
fn files_of_32_bit_x86_are_read() {
    // A 64-bit number is aligned to four bytes there.
    let less_padding = |kind, body: &mut Vec<u8>| match kind {
        1 => body.truncate(12),
        6 => drop(body.drain(20..24)),
        _ => {}
    };
    for bytes in [STOPPED, EXPIRING] {
        assert_eq!(lines(&rewritten(bytes, less_padding), NOW), lines(bytes, NOW));
    }
}

#[test]
fn a_stopped_brokers_file_is_read_whole() {
    let expected = include_str!("../../../fixtures/mosquitto_db/stopped.jsonl");
    assert_eq!(lines(STOPPED, NOW), expected);
    let db = MosquittoDb::read(STOPPED, NOW).unwrap();
    let expected = Summary {
        version: 6,
        retained: 6,
        sessions: 4,
        subscriptions: 6,
        queued: 14,
        in_flight: 6,
        received: 2,
        published: 2,
        unknown_usernames: 3,
        ..Summary::default()
    };
    assert_eq!(db.summary(), &expected);
}

#[test]
fn a_running_brokers_file_differs_in_when_sessions_were_lost() {
    let (stopped, connected) = (lines(STOPPED, NOW), lines(CONNECTED, NOW));
    let differing: Vec<_> =
        stopped.lines().zip(connected.lines()).filter(|(a, b)| a != b).map(|(_, b)| b).collect();
    let lost_now = concat!(
        r#"{"type":"session","session":4,"client_identifier":"flight-5","version":"5.0","#,
        r#""expiry_interval":7200,"lost_at":"2026-11-26T01:01:20Z","#,
        r#""expires_at":"2026-11-26T03:01:20Z"}"#
    );
    assert_eq!(differing, [lost_now]);
    assert_eq!(stopped.lines().count(), connected.lines().count());
}

#[test]
fn sessions_and_messages_that_have_expired_are_left_out() {
    let later = NOW.plus_secs(3600);
    let summary = MosquittoDb::read(STOPPED, later).unwrap().summary().clone();
    assert_eq!((summary.sessions, summary.expired_sessions, summary.expired_messages), (3, 1, 0));
    let later = NOW.plus_secs(2 * 86_400);
    let summary = MosquittoDb::read(STOPPED, later).unwrap().summary().clone();
    assert_eq!((summary.sessions, summary.expired_sessions), (2, 2));
    // One that is retained, and one that waits: another one with an expiry is in flight.
    assert_eq!((summary.retained, summary.expired_messages, summary.in_flight), (4, 2, 2));
    assert!(summary.is_whole());
}

#[test]
fn persistent_client_expiration_and_queued_qos_0_are_kept() {
    let expected = concat!(
        r#"{"type":"session","session":1,"client_identifier":"plant-311","version":"3.1.1","#,
        r#""expiry_interval":7191,"lost_at":"2026-11-26T01:01:20Z","expires_at":"2026-11-26T03:01:11Z"}"#,
        "\n",
        r#"{"type":"subscription","session":1,"client_identifier":"plant-311","filter":"plant/#","#,
        r#""qos":0,"no_local":false,"retain_as_published":false}"#,
        "\n",
        r#"{"type":"queued","session":1,"client_identifier":"plant-311","sequence":1,"#,
        r#""state":"waiting","qos":0,"retain":false,"#,
        r#""message":{"topic":"plant/1","payload":"qos 0","qos":0,"retain":false}}"#,
        "\n"
    );
    assert_eq!(lines(EXPIRING, NOW), expected);
    assert_eq!(lines(EMPTY, NOW), "");
}

#[test]
fn old_versions_hold_what_mosquitto_finds_in_them() {
    for (version, old, as_6) in OLD {
        let db = MosquittoDb::read(old, NOW).unwrap();
        assert_eq!(db.summary().version, version);
        let as_6 = if version < 5 { immortal(as_6) } else { as_6.to_vec() };
        let (ours, theirs) = (unnumbered(&lines(old, NOW)), unnumbered(&lines(&as_6, NOW)));
        assert_eq!(ours.len(), theirs.len());
        for (ours, theirs) in ours.iter().zip(&theirs) {
            // Versions 3 and 4 say when the connection was lost, and mosquitto does not keep it.
            let lost = ours.replace("2026-11-18T11:06:40Z", "2026-11-26T01:01:20Z");
            assert_eq!(&lost, theirs, "version {version}");
        }
        let (retained, queued, in_flight) =
            (db.summary().retained, db.summary().queued, db.summary().in_flight);
        assert_eq!((retained, queued, in_flight, db.summary().received), (2, 4, 3, 1));
    }
}

#[test]
fn messages_in_flight_keep_their_packet_identifiers() {
    let (_, old, _) = OLD[1];
    let lines = lines(old, NOW);
    let of_old_1 = |line: &&str| line.contains(r#""queued","session":1,"#);
    let places: Vec<_> = lines.lines().filter(of_old_1).map(|line| &line[57..]).collect();
    let starts = [
        r#""sequence":65535,"packet_identifier":65535,"state":"sent","qos":1"#,
        r#""sequence":65536,"packet_identifier":1,"state":"sent","qos":2"#,
        r#""sequence":65538,"packet_identifier":3,"state":"released"}"#,
        r#""sequence":65539,"packet_identifier":4,"state":"waiting","qos":1"#,
    ];
    assert_eq!(places.len(), starts.len());
    for (place, start) in places.iter().zip(starts) {
        assert!(place.starts_with(start), "{place}");
    }
}

#[test]
fn the_engine_takes_every_item() {
    for bytes in [STOPPED, CONNECTED, EXPIRING, OLD[0].1, OLD[3].1] {
        let db = MosquittoDb::read(bytes, NOW).unwrap();
        let settings = Settings { persistence: Persistence::Promised, ..Settings::default() };
        let ledger: &'static Ledger = Box::leak(Box::default());
        let mut engine = Engine::new(settings, 1, 7, ledger);
        let mut restoring = engine.restore(NOW);
        for (key, value) in store(&db) {
            restoring.item(&key, &value).unwrap();
        }
        let (restored, summary) = (restoring.finish(), db.summary());
        assert_eq!((restored.unreadable, restored.expired), (0, 0));
        assert_eq!(restored.sessions, summary.sessions);
        assert_eq!(restored.subscriptions, summary.subscriptions);
        assert_eq!(restored.queued, summary.queued + summary.in_flight);
        assert_eq!(restored.retained, summary.retained);
    }
}

#[test]
fn numbers_go_on_from_those_that_are_used() {
    let db = MosquittoDb::read(STOPPED, NOW).unwrap();
    let (mut sessions, mut bodies) = (Vec::new(), Vec::new());
    let first = First { session: 70, body: 500 };
    let taken = db.items(first, &mut |item| {
        match item {
            Item::Session(session) => sessions.push(session.number),
            Item::Body { number, .. } => bodies.push(*number),
            Item::Subscription { session, .. }
            | Item::Received { session, .. }
            | Item::Queued { session, .. } => assert!(sessions.contains(session)),
            _ => {}
        }
        Ok::<_, Infallible>(())
    });
    assert_eq!(taken, Ok(()));
    assert_eq!(sessions, [70, 71, 72, 73]);
    assert_eq!(bodies, (500..506).collect::<Vec<_>>());
}

#[test]
fn a_sink_that_fails_ends_it() {
    let db = MosquittoDb::read(STOPPED, NOW).unwrap();
    let mut count = 0;
    let taken = db.items(First::default(), &mut |_| {
        count += 1;
        if count == 5 { Err("full") } else { Ok(()) }
    });
    assert_eq!((taken, count), (Err("full"), 5));
}

#[test]
fn other_files_are_refused() {
    let read = |bytes: &[u8]| MosquittoDb::read(bytes, NOW).map(|_| ()).unwrap_err();
    assert_eq!(read(b""), Error::Empty);
    assert_eq!(read(b"SQLite format 3\0"), Error::NotMosquitto);
    assert_eq!(read(&EMPTY[..14]), Error::NotMosquitto);
    assert_eq!(read(&EMPTY[..22]), Error::CutShort);
    for version in [0, 1, 7, 255] {
        let mut bytes = EMPTY.to_vec();
        bytes[22] = version;
        assert_eq!(read(&bytes), Error::Version(version.into()));
    }
    let mut bytes = EMPTY.to_vec();
    bytes[40] = 4;
    assert_eq!(read(&bytes), Error::NumberSize(4));
    assert_eq!(lines(&EMPTY[..23], NOW), "");
}

#[test]
fn the_readable_part_of_a_file_that_is_cut_short_is_taken() {
    let cut = &STOPPED[..STOPPED.len() - 5];
    let db = MosquittoDb::read(cut, NOW).unwrap();
    let offset = STOPPED.len() - 16;
    assert_eq!(db.summary().skipped, [Skipped { offset, flaw: Flaw::CutShort(11) }]);
    assert_eq!(db.summary().retained, 5);
    assert!(db.summary().to_string().contains("left out at byte 6637: the last 11 bytes"));
}

#[test]
fn damaged_chunks_are_left_out_and_named() {
    let mut bytes = STOPPED.to_vec();
    bytes[23 + 8 + 16 + 8 + 32 + 11] = b'#'; // A topic name: `#light/6`.
    let db = MosquittoDb::read(&bytes, NOW).unwrap();
    let [topic, reference] = &db.summary().skipped[..] else { panic!("{}", db.summary()) };
    assert_eq!(topic, &Skipped { offset: 47, flaw: Flaw::Topic });
    assert_eq!(reference.flaw, Flaw::NoMessage);
    assert_eq!(db.summary().queued, 13);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn no_damage_makes_it_panic(
        file in 0..12usize,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        end in any::<prop::sample::Index>(),
        cut in any::<bool>(),
    ) {
        let old = OLD.iter().flat_map(|(_, old, as_6)| [*old, *as_6]);
        let files: Vec<_> = [CONNECTED, STOPPED, EXPIRING, EMPTY].into_iter().chain(old).collect();
        let mut bytes = files[file].to_vec();
        for (place, byte) in changes {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        if cut {
            bytes.truncate(end.index(bytes.len()));
        }
        if let Ok(db) = MosquittoDb::read(&bytes, NOW) {
            let _ = db.summary().to_string();
            let store = store(&db);
            let lines = exported(&store);
            prop_assert!(!lines.contains("unreadable") && !lines.contains("\"message\":null"));
        }
    }

    #[test]
    fn any_bytes_behind_a_head_are_read(
        version in 2..7u8,
        kind in 1..8u8,
        body in prop::collection::vec(any::<u8>(), 0..120),
    ) {
        let mut bytes = EMPTY[..22].to_vec();
        bytes.push(version);
        bytes.extend_from_slice(if version < 5 { &[0] } else { &[0, 0, 0] });
        bytes.push(kind);
        bytes.extend_from_slice(&(body.len() as u32).to_be_bytes());
        bytes.extend_from_slice(&body);
        if let Ok(db) = MosquittoDb::read(&bytes, NOW) {
            let _ = exported(&store(&db));
        }
    }
}
