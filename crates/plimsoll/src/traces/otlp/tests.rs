//! What a collector reads.

use std::time::Duration;

use plimsoll_engine::{Received, Stage};
use plimsoll_ledger::{Account, Ledger};
use plimsoll_mqtt::QoS;
use serde_json::Value as Json;

use super::*;
use crate::traces::Turn;

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// Read at 0, in the engine from 1 to 2 ms, stored at 5 ms, confirmed at 6 ms, acknowledged at 7 ms.
fn collected(parent: Option<&str>) -> Collected {
    let ledger: &'static Ledger = Box::leak(Box::default());
    let clock = WallClock::now();
    let after = |millis| clock.at + Duration::from_millis(millis);
    let turn = Turn { read: after(0), entered: after(1), left: after(2) };
    let mut way = Way::default();
    let received = Received {
        client: "sensor".into(),
        topic: "plant/7".into(),
        qos: QoS::AtLeastOnce,
        retain: false,
        payload_bytes: 4,
        parent: parent.map(Box::from),
    };
    let peer = Some("[::ffff:192.0.2.7]:4321".parse().unwrap());
    way.note(Stage::Received(received), turn, None, peer);
    let stage = Stage::Sent { client: "a".into(), qos: QoS::AtLeastOnce };
    let sent = way.note(stage, turn, None, None).unwrap();
    way.note(Stage::Routed { sessions: 1, missed: 0, holds: 0 }, turn, None, None);
    way.written(sent, after(3));
    let confirmed = Turn { read: after(6), ..turn };
    way.note(Stage::Confirmed { client: "a".into() }, confirmed, None, None);
    let stage = Stage::Acknowledged { reason: ReasonCode::SUCCESS, stored: 9 };
    let told = way.note(stage, turn, Some(after(5)), None).unwrap();
    way.written(told, after(7));
    Collected { ways: vec![way], clock, _charge: ledger.charge(Account::Tools, 0) }
}

fn spans(documents: &[Document]) -> Vec<Json> {
    let json: Json = serde_json::from_slice(&Document::json(documents)).unwrap();
    let resource = &json["resourceSpans"][0];
    assert_eq!(resource["resource"]["attributes"][0]["value"]["stringValue"], "plimsoll");
    resource["scopeSpans"][0]["spans"].as_array().unwrap().clone()
}

fn attribute<'a>(span: &'a Json, key: &str) -> &'a Json {
    let attributes = span["attributes"].as_array().unwrap();
    let found = attributes.iter().find(|attribute| attribute["key"] == key).unwrap();
    found["value"].as_object().unwrap().values().next().unwrap()
}

#[test]
fn a_publish_is_a_root_with_its_steps_below() {
    let found = collected(None);
    let spans = spans(&write(&found).unwrap());
    let nanos = |span: &Json, key: &str| span[key].as_str().unwrap().parse::<u64>().unwrap();
    let begin = nanos(&spans[0], "startTimeUnixNano");
    let told: Vec<_> = spans
        .iter()
        .map(|span| {
            let millis = |key| (nanos(span, key) - begin) / 1_000_000;
            let name = span["name"].as_str().unwrap();
            (name, millis("startTimeUnixNano"), millis("endTimeUnixNano"))
        })
        .collect();
    let expected = [
        ("publish plant/7", 0, 7),
        ("read", 0, 1),
        ("route", 1, 2),
        ("store", 2, 5),
        ("deliver", 2, 6),
        ("acknowledge", 5, 7),
    ];
    assert_eq!(told, expected);
    let root = &spans[0];
    assert_eq!(root.get("parentSpanId"), None);
    assert_eq!(attribute(root, "network.peer.address"), "192.0.2.7");
    assert_eq!(attribute(root, "messaging.message.body.size"), "4");
    for span in &spans[1..] {
        assert_eq!((&span["traceId"], &span["parentSpanId"]), (&root["traceId"], &root["spanId"]));
    }
}

#[test]
fn the_publishers_trace_goes_on() {
    let found = collected(Some(PARENT));
    let spans = spans(&write(&found).unwrap());
    assert_eq!(spans[0]["traceId"], "0af7651916cd43dd8448eb211c80319c");
    assert_eq!(spans[0]["parentSpanId"], "b7ad6b7169203331");
    let found = collected(Some("00-nonsense"));
    let spans = self::spans(&write(&found).unwrap());
    assert_eq!(spans[0].get("parentSpanId"), None);
}

#[test]
fn many_spans_are_cut_into_documents_and_put_together_again() {
    let mut found = collected(None);
    while found.ways.len() < 300 {
        found.ways.append(&mut collected(None).ways);
    }
    let documents = write(&found).unwrap();
    assert!(documents.len() > 1);
    let count: usize = documents.iter().map(|document| document.count).sum();
    assert_eq!((count, spans(&documents).len()), (300 * 6, 300 * 6));
    for document in &documents {
        assert!(document.spans.len() < DOCUMENT_BYTES + 8192);
        assert_eq!(spans(std::slice::from_ref(document)).len(), document.count);
    }
}

#[test]
fn nothing_collected_is_a_document_without_spans() {
    let found = Collected { ways: Vec::new(), ..collected(None) };
    assert_eq!(spans(&write(&found).unwrap()), Vec::<Json>::new());
}
