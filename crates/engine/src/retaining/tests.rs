//! Life and death of retained messages, by the engine's own inputs.

use alloc::boxed::Box;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use plimsoll_ledger::Ledger;

use crate::{Engine, Input, Settings, Time};

fn broker(settings: Settings) -> Engine {
    let ledger: &'static Ledger = Box::leak(Box::default());
    Engine::new(settings, 1, 7, ledger)
}

fn publish(engine: &mut Engine, second: u32, topic: &str, payload: &[u8]) {
    engine.handle(Time::from_secs(second), &[Input::Publish { topic, payload, retain: true }]);
}

/// All topics that match, by pages of `limit`.
fn topics(engine: &Engine, filter: &str, limit: usize) -> Vec<String> {
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let before = found.len();
        after = engine.retained_page(filter, after.as_deref(), limit, |topic, _| {
            found.push(topic.to_string());
        });
        assert!(found.len() - before <= limit);
        if after.is_none() {
            return found;
        }
    }
}

#[test]
fn pages_list_everything_once_and_in_order() {
    let mut engine = broker(Settings::default());
    for n in 0..2500 {
        publish(&mut engine, 10 + n / 100, &alloc::format!("plant/{}/s{n:04}", n % 3), b"value");
    }
    publish(&mut engine, 40, "$SYS/x", b"1");
    assert_eq!(topics(&engine, "#", 100).len(), 2500);
    let one = topics(&engine, "plant/1/+", 7);
    assert_eq!(one.len(), 833);
    assert!(one.is_sorted());
    // Nothing matches, and it takes more than one call to know.
    assert!(engine.retained_page("+/+/+/none", None, 10, |_, _| panic!("found")).is_some());
    assert!(topics(&engine, "+/+/+/none", 10).is_empty());
    assert_eq!(topics(&engine, "$SYS/#", 10), ["$SYS/x"]);
}

#[test]
fn a_page_goes_on_behind_a_topic_that_is_gone() {
    let mut engine = broker(Settings::default());
    for topic in ["a", "b", "c"] {
        publish(&mut engine, 5, topic, b"value");
    }
    let mut seen = None;
    let after = engine.retained_page("#", None, 2, |topic, message| {
        seen = Some((topic.to_string(), message.written_at, message.size(topic)));
    });
    assert_eq!(seen, Some(("b".to_string(), Some(5), 6)));
    publish(&mut engine, 6, "b", b"");
    let mut rest = Vec::new();
    let end =
        engine.retained_page("#", after.as_deref(), 2, |topic, _| rest.push(topic.to_string()));
    assert_eq!((rest, end), (alloc::vec!["c".to_string()], None));
}
