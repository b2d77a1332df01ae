//! Items in their stored form, there and back.

use proptest::prelude::*;

use super::*;

fn parts(payload: &'static [u8]) -> Parts<'static> {
    Parts {
        topic: "plant/1",
        properties: &[1, 1],
        payload,
        qos: QoS::ExactlyOnce,
        retain: true,
        expires_at: Some(77),
    }
}

fn round_trip(item: &Item<'_>) {
    let (mut key, mut value) = (Vec::new(), Vec::new());
    item.key(&mut key);
    item.value(&mut value);
    assert_eq!(Item::decode(&key, &value).as_ref(), Ok(item));
    for len in 0..value.len() {
        // Shorter values are other items or none, and never a panic.
        let _ = Item::decode(&key, &value[..len]);
    }
}

#[test]
fn every_item_comes_back() {
    let will = WillItem {
        topic: "will".into(),
        payload: b"gone"[..].into(),
        properties: Cow::Borrowed(&[]),
        qos: QoS::AtLeastOnce,
        retain: true,
        delay: 30,
        message_expiry: Some(0),
    };
    let session = SessionItem {
        number: 7,
        client_identifier: "sensor-7".into(),
        username: None,
        version: Version::V5,
        expiry_interval: u32::MAX,
        lost_at: Some(Time::from_millis(1_700_000_000_123)),
        window: 20,
        sent_before: 300,
        maybe_sent_before: 0,
        ended: false,
        will: Some(will),
    };
    round_trip(&Item::Session(SessionItem {
        will: None,
        lost_at: None,
        username: Some("u".into()),
        ..session.clone()
    }));
    round_trip(&Item::Session(session));
    round_trip(&Item::Alive { at: Time::from_millis(5) });
    round_trip(&Item::Subscription {
        session: 7,
        filter: "$share/g/a/+".into(),
        options: SubscriptionItem {
            qos: QoS::ExactlyOnce,
            identifier: 268_435_455,
            no_local: false,
            retain_as_published: true,
        },
    });
    round_trip(&Item::Received { session: u64::MAX, packet_identifier: 65_535 });
    round_trip(&Item::Queued { session: 1, sequence: 2, entry: QueuedItem::Released });
    for content in [Content::Inline(parts(b"payload")), Content::Body(9)] {
        let entry = QueuedItem::Publish {
            qos: QoS::AtLeastOnce,
            retain: false,
            identifiers: alloc::vec![1, 300],
            group: Some("$share/g/a"),
            content,
        };
        round_trip(&Item::Queued { session: 1, sequence: u64::MAX, entry });
    }
    round_trip(&Item::Body { number: 3, message: parts(b"") });
    round_trip(&Item::Retained {
        topic: "/a//b/".into(),
        message: RetainedMessage {
            qos: 1,
            properties: &[1, 0],
            payload: b"x",
            expires_at: None,
            written_at: Some(1_700_000_000),
        },
    });
}

#[test]
fn retained_messages_of_the_first_layout_are_read() {
    let value = [&[1, 1, 78, 2, 1, 0][..], b"old"].concat();
    let message = RetainedMessage {
        qos: 1,
        properties: &[1, 0],
        payload: b"old",
        expires_at: Some(77),
        written_at: None,
    };
    let item = Item::Retained { topic: "a/b".into(), message };
    assert_eq!(Item::decode(b"\x07a\0b", &value), Ok(item));
}

#[test]
fn queued_items_sort_in_their_order_behind_their_session() {
    let mut keys: Vec<Vec<u8>> = Vec::new();
    for (session, sequence) in [(1, 1), (1, 255), (1, 256), (1, 70_000), (2, 1)] {
        let mut key = Vec::new();
        queued_key(session, sequence, &mut key);
        keys.push(key);
    }
    assert!(keys.is_sorted());
    let mut session = Vec::new();
    session_key(u64::MAX, &mut session);
    assert!(keys.iter().all(|key| *key > session));
}

proptest! {
    #[test]
    fn any_bytes_are_an_item_or_none(key in prop::collection::vec(any::<u8>(), 0..40), value in prop::collection::vec(any::<u8>(), 0..80)) {
        let _ = Item::decode(&key, &value);
    }
}
