//! Looks see what is there, each thing once, and stop where they are told.

use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::ops::ControlFlow;

use plimsoll_ledger::Ledger;
use plimsoll_mqtt::{
    Connect, Packet, ReasonCode, Subscribe, SubscribeFilter, SubscriptionOptions, Version,
};

use crate::access::Admission;
use crate::engine::Engine;
use crate::input::{Input, Link};
use crate::retained::{Scan, ScanCursor};
use crate::settings::Settings;
use crate::time::Time;

const NOW: Time = Time::from_secs(1000);

fn engine() -> Engine {
    let ledger: &'static Ledger = Box::leak(Box::new(Ledger::new()));
    Engine::new(Settings::default(), 1, 7, ledger)
}

/// Connects clients, each with a subscription of its own and a shared one.
fn with_clients(numbers: core::ops::Range<u32>, engine: &mut Engine) {
    for number in numbers {
        let (name, link) = (format!("client-{number}"), Link::new(0, number));
        let packet = Box::new(Connect {
            version: Version::V5,
            bridge: false,
            clean_start: true,
            keep_alive: 30,
            client_identifier: &name,
            username: Some("joe"),
            password: None,
            will: None,
            properties: Default::default(),
        });
        let admission = Admission::AsAsked;
        engine.handle(NOW, &[Input::Connect { link, listener: 0, packet, admission }]);
        let own = format!("own/{number}");
        let options = SubscriptionOptions::default();
        let filters = [own.as_str(), "$share/g/all/#"];
        let filters = filters.map(|filter| SubscribeFilter { filter, options });
        let packet = Packet::Subscribe(Subscribe::new(1, &filters));
        engine.handle(NOW, &[Input::Packet { link, packet }]);
    }
}

fn names(engine: &Engine, steps: u32, most: usize) -> Vec<String> {
    let (mut found, mut from) = (Vec::new(), Some(0));
    while let Some(at) = from {
        let mut here = 0;
        from = engine.clients(at, steps, |client| {
            found.push(client.who.client_identifier.to_string());
            here += 1;
            if here < most { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        assert!(here <= most.min(steps as usize));
    }
    found
}

#[test]
fn pages_of_clients_have_each_once() {
    let mut engine = engine();
    with_clients(0..10, &mut engine);
    let reason = ReasonCode::ADMINISTRATIVE_ACTION;
    engine.handle(NOW, &[Input::EndSession { client: "client-4", reason }]);
    let whole = names(&engine, 1000, 1000);
    assert_eq!(whole.len(), 9);
    assert!(!whole.contains(&"client-4".to_string()));
    for (steps, most) in [(1, 1), (3, 1000), (1000, 2), (4, 3)] {
        assert_eq!(names(&engine, steps, most), whole, "{steps} {most}");
    }
    assert!(names(&self::engine(), 1, 1).is_empty());
}

#[test]
fn a_client_is_seen_as_it_is() {
    let mut engine = engine();
    with_clients(0..2, &mut engine);
    let client = engine.client("client-1").unwrap();
    assert_eq!(
        (client.who.username, client.keep_alive, client.subscriptions),
        (Some("joe"), 30, 2)
    );
    assert!(client.link.is_some() && client.lost_at == Time::NEVER);
    assert!(engine.client("client-2").is_none());
    let mut filters = Vec::new();
    let visit = |filters: &mut Vec<String>, from| {
        engine.subscriptions_of("client-1", from, 1, |one| {
            filters.push(one.filter.to_string());
            true
        })
    };
    let next = visit(&mut filters, 0);
    assert_eq!(next, Some(1));
    assert_eq!(visit(&mut filters, 1), None);
    filters.sort();
    assert_eq!(filters, ["$share/g/all/#", "own/1"]);
}

#[test]
fn pages_of_filters_have_each_once_with_their_subscribers() {
    let mut engine = engine();
    with_clients(0..600, &mut engine);
    let (mut found, mut from) = (BTreeSet::new(), Some(0));
    while let Some(at) = from {
        from = engine.filters(at, 100, |view| {
            let mut clients = Vec::new();
            view.each(3, |one| {
                clients.push((one.client_identifier.to_string(), one.filter.to_string()));
            });
            match view.filter {
                "all/#" => {
                    assert_eq!((view.subscribers(), clients.len()), (1, 3));
                    assert!(clients.iter().all(|(_, filter)| filter == "$share/g/all/#"));
                }
                own => assert_eq!(clients, [(own.replace("own/", "client-"), own.to_string())]),
            }
            assert!(found.insert(view.filter.to_string()), "twice");
            ControlFlow::Continue(())
        });
    }
    assert_eq!(found.len(), 601);
    assert_eq!(engine.filters_len(), 601);
}

#[test]
fn retained_pages_go_on_behind_a_topic_that_may_be_gone() {
    let mut engine = engine();
    let publish = |engine: &mut Engine, topic: &str, payload: &[u8]| {
        engine.handle(NOW, &[Input::Publish { topic, payload, retain: true }]);
    };
    for topic in ["a/1", "a/2", "a/3", "b"] {
        publish(&mut engine, topic, b"x");
    }
    let mut cursor = ScanCursor::default();
    let mut found = Vec::new();
    let scan = engine.retained_below("a/#", &mut cursor, 100, |topic, _| {
        found.push(topic.to_string());
        ControlFlow::Break(crate::retained::Stop::Behind)
    });
    assert_eq!((scan, cursor.topic().as_deref()), (Scan::More, Some("a/1")));
    publish(&mut engine, "a/1", b"");
    let mut cursor = ScanCursor::behind("a/1");
    let scan = engine.retained_below("a/#", &mut cursor, 100, |topic, _| {
        found.push(topic.to_string());
        ControlFlow::Continue(())
    });
    assert_eq!((scan, cursor.topic()), (Scan::Done, None));
    assert_eq!(found, ["a/1", "a/2", "a/3"]);
}

#[test]
fn a_session_that_an_operator_ends_leaves_nothing_behind() {
    let mut engine = engine();
    let before = engine.ledger().snapshot();
    with_clients(0..3, &mut engine);
    let reason = ReasonCode::ADMINISTRATIVE_ACTION;
    for client in ["client-0", "client-1", "client-2", "nobody"] {
        engine.handle(NOW, &[Input::EndSession { client, reason }]);
    }
    let counters = engine.quick_counters();
    assert_eq!((counters.clients_total, counters.clients_connected), (0, 0));
    assert_eq!((counters.subscriptions, counters.shared_subscriptions), (0, 0));
    let mut outbox = crate::outbox::Outbox::new(engine.ledger());
    engine.take_outbox(0, &mut outbox);
    drop(outbox);
    for ((account, bytes), (_, was)) in engine.ledger().snapshot().iter().zip(before.iter()) {
        assert!(bytes <= was + 4096, "{account:?}: {bytes} after {was}");
    }
}
