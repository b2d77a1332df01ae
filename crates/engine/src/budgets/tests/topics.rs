//! Budgets of topics.

use super::*;

#[test]
fn what_is_held_below_a_topic_ends_where_its_budget_does() {
    let mut world = World::new(settings(topics(&[("plant/7", 20_000), ("plant", 1 << 20)])));
    for (slot, filter) in [(0, "plant/#"), (1, "plant/#"), (2, "other")] {
        world.connect(slot, &format!("client-{slot}"), None);
        world.subscribe(slot, filter, QoS::AtLeastOnce);
    }
    world.lose(0);
    world.lose(2);
    world.connect(3, "publisher", None);
    for number in 1..=40 {
        let said = world.publish(3, "plant/7/x", 1000, QoS::AtLeastOnce);
        assert!(said.contains(&"3 PUBACK 00".into()), "client-1 has it: {said:?}");
        world.acknowledge(1, number);
    }
    let seven = world.budget("topic plant/7");
    let queued = world.engine.client("client-0").unwrap().queued;
    assert_eq!(seven.step, Step::RefuseNew);
    assert!((10..20).contains(&queued) && seven.used < 18_500, "{queued}: {seven:?}");
    assert_eq!(seven.counts.publishes_refused, 40 - queued as u64);
    assert!(seven.counts.publishers_slowed > 0);
    // What is next to it has room, and what is above counts all of it.
    assert_eq!(world.budget("topic plant").used, seven.used);
    world.publish(3, "plant/70", 1000, QoS::AtLeastOnce);
    world.publish(3, "other", 1000, QoS::AtLeastOnce);
    assert_eq!(world.engine.client("client-0").unwrap().queued, queued + 1);
    assert!(world.budget("topic plant").used > seven.used + 1000);
    assert_eq!(world.budget("topic plant/7").used, seven.used);
    // Nobody takes it any more: the publisher hears that.
    world.lose(1);
    assert_eq!(world.publish(3, "plant/7", 1000, QoS::AtLeastOnce), ["3 PUBACK 97"]);
    // Nothing new is retained; what is there may change a little, and be deleted.
    assert_eq!(world.retain(3, "plant/7/new", 10), ["3 PUBACK 97"]);
    assert_eq!(world.budget("topic plant/7").counts.retained_refused, 1);
    assert_eq!(world.engine.retained_message("plant/7/new"), None);
    assert_eq!(world.retain(3, "plant/8/new", 1000), ["3 PUBACK 00"]);
    // The client comes back, and there is room.
    world.connect(0, "client-0", None);
    for number in 1..=queued as u16 + 1 {
        world.acknowledge(0, number);
    }
    assert_eq!(world.budget("topic plant/7").used, 0);
    assert_eq!(world.retain(3, "plant/7/new", 1000), ["0 gets plant/7/new", "3 PUBACK 00"]);
    let used = world.budget("topic plant/7").used;
    assert!((1000..3000).contains(&used), "retained, and in flight: {used}");
}

#[test]
fn retained_messages_count_to_the_budget_of_their_topic() {
    let mut world = World::new(settings(topics(&[("a", 20_000)])));
    world.connect(0, "publisher", None);
    let answers: Vec<_> = (0..30).flat_map(|n| world.retain(0, &format!("a/{n}"), 1000)).collect();
    let kept = answers.iter().filter(|said| *said == "0 PUBACK 10").count();
    assert_eq!(kept, 17, "85 %: {answers:?}");
    assert_eq!(answers.iter().filter(|said| *said == "0 PUBACK 97").count(), 13);
    let budget = world.budget("topic a");
    assert_eq!(budget.used as u64, world.engine.counters().retained_bytes);
    assert_eq!((budget.step, budget.counts.retained_refused), (Step::RefuseNew, 13));
    assert_eq!(world.retain(0, "a/0", 999), ["0 PUBACK 10"], "it takes the place of another");
    assert_eq!(world.retain(0, "a/0", 0), ["0 PUBACK 10"]);
    assert_eq!(world.retain(0, "a/new", 900), ["0 PUBACK 10"]);
    assert_eq!(world.engine.load_line().counts, LoadCounts::default());
    // Rules of the operator's own are not mixed up with what is counted for budgets.
    assert_eq!(world.engine.retain_limits().0.count(), 0);
}

#[test]
fn a_connected_client_is_not_cut_off_by_the_budget_of_a_topic() {
    let mut world = World::new(settings(topics(&[("a", 40_000)])));
    world.connect(0, "reader", None);
    world.subscribe(0, "a", QoS::AtLeastOnce);
    world.connect(1, "writer", None);
    let mut sent = 0u16;
    while world.paused.is_empty() || world.budget("topic a").step < Step::RefuseNew {
        world.publish(1, "a", 1000, QoS::AtLeastOnce);
        world.now = world.now.plus_millis(200);
        sent += 1;
        assert!(sent < 60, "nobody is held back: {:?}", world.budget("topic a"));
        if !world.paused.is_empty() {
            break;
        }
    }
    let mut got = 20.min(sent);
    for number in 1..=sent {
        let said = world.acknowledge(0, number);
        got += said.iter().filter(|said| *said == "0 gets a").count() as u16;
    }
    assert_eq!(got, sent);
    world.pass(1000);
    assert_eq!((world.paused.len(), world.budget("topic a").used), (0, 0));
}

#[test]
fn a_budget_of_a_topic_that_comes_later_counts_what_comes_later() {
    let mut world = World::new(settings(BudgetRules::default()));
    world.connect(0, "away", None);
    world.subscribe(0, "#", QoS::AtLeastOnce);
    world.lose(0);
    world.connect(1, "writer", None);
    world.retain(1, "a/kept", 500);
    world.publish(1, "a/x", 1000, QoS::AtLeastOnce);
    world.engine.configure(world.now, settings(topics(&[("a", 20_000)])));
    world.turn(&[]);
    let before = world.budget("topic a").used;
    assert_eq!(before, 506, "retained messages are counted anew, queued ones are not");
    world.publish(1, "a/x", 1000, QoS::AtLeastOnce);
    let after = world.budget("topic a").used;
    assert!(after > 1506, "{after}");
    // Another size is the same budget; one that goes leaves no figure behind, and its part is taken
    // by nobody while something is charged to it.
    world.engine.configure(world.now, settings(topics(&[("b", 20_000), ("a", 30_000)])));
    world.turn(&[]);
    assert_eq!((world.budget("topic a").used, world.budget("topic b").used), (after, 0));
    world.engine.configure(world.now, settings(topics(&[("c", 20_000)])));
    world.turn(&[]);
    assert_eq!(world.budget("topic c").used, 0);
    world.connect_through(0, "away", None, 0, 0);
    world.lose(0);
    world.retain(1, "a/kept", 0);
    assert_eq!(world.ledger.bytes(plimsoll_ledger::Account::Queues), 0);
}
