//! What budgets of memory cost: the same messages without a budget, with one for each user, and with one for their
//! topics. `cargo run --release -p plimsoll-engine --example budget_bench`

use std::hint::black_box;
use std::time::{Duration, Instant};

use plimsoll_engine::budgets::{BudgetRules, TopicBudget};
use plimsoll_engine::{Admission, Engine, Input, Link, Outbox, Settings, Time};
use plimsoll_ledger::Ledger;
use plimsoll_mqtt::{
    Ack, Connect, Packet, Publish, QoS, Subscribe, SubscribeFilter, SubscriptionOptions, Version,
};

static LEDGER: Ledger = Ledger::new();

/// Subscribers, each of a user of its own.
const CLIENTS: u32 = 100;

/// Messages of one measurement.
const MESSAGES: u32 = 20_000;

/// Measurements of each kind; the best one counts, since others share the machine.
const ROUNDS: usize = 9;

struct World {
    engine: Engine,
    outbox: Outbox,
    /// Messages sent to each.
    sent: u32,
}

impl World {
    fn new(budgets: BudgetRules, qos: QoS) -> Self {
        let settings = Settings { budgets, ..Settings::default() };
        let engine = Engine::new(settings, 1, 7, &LEDGER);
        let mut world = Self { engine, outbox: Outbox::new(&LEDGER), sent: 0 };
        for slot in 0..=CLIENTS {
            let (name, user) = (format!("client-{slot}"), format!("user-{slot}"));
            let mut packet = Connect::new(Version::V311, &name, true);
            packet.username = Some(&user);
            let (link, packet) = (Link::new(0, slot), Box::new(packet));
            let admission = Admission::AsAsked;
            world.turn(&[Input::Connect { link, listener: 0, packet, admission }]);
            if slot > 0 {
                let options = SubscriptionOptions { qos, ..Default::default() };
                let filters = [SubscribeFilter { filter: "plant/7/#", options }];
                let packet = Packet::Subscribe(Subscribe::new(1, &filters));
                world.turn(&[Input::Packet { link, packet }]);
            }
        }
        world
    }

    fn turn(&mut self, inputs: &[Input<'_>]) {
        self.engine.handle(Time::from_secs(1000), inputs);
        self.engine.take_outbox(0, &mut self.outbox);
        black_box(self.outbox.take_events());
        self.outbox.drain(|_, piece| drop(black_box(piece)));
    }

    /// Publishes to all subscribers, who take and acknowledge everything. Answers the time per delivery.
    fn round(&mut self, qos: QoS) -> Duration {
        let began = Instant::now();
        for number in 0..MESSAGES / CLIENTS {
            let packet_identifier = (number % 60_000) as u16 + 1;
            let packet = Packet::Publish(Publish {
                dup: false,
                qos,
                retain: false,
                topic: "plant/7/line/1/temperature",
                packet_identifier,
                properties: Default::default(),
                payload: &[b'x'; 64],
            });
            self.turn(&[Input::Packet { link: Link::new(0, 0), packet }]);
            let flushed = (0..=CLIENTS)
                .map(|slot| Input::Flushed { link: Link::new(0, slot), bytes: u32::MAX });
            self.turn(&flushed.collect::<Vec<_>>());
            if qos == QoS::AtLeastOnce {
                let identifier = (self.sent % 65_535) as u16 + 1;
                self.sent += 1;
                let acks = (1..=CLIENTS).map(|slot| Input::Packet {
                    link: Link::new(0, slot),
                    packet: Packet::Puback(Ack::new(identifier)),
                });
                self.turn(&acks.collect::<Vec<_>>());
            }
        }
        began.elapsed() / MESSAGES
    }
}

fn main() {
    let each_user = BudgetRules { each_user: Some(1 << 30), ..BudgetRules::default() };
    let topics =
        (0..8).map(|n| TopicBudget { prefix: format!("plant/{n}").into(), bytes: 1 << 30 });
    let topics = BudgetRules { topics: topics.collect(), ..BudgetRules::default() };
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce] {
        let kinds = [
            ("no budget", BudgetRules::default()),
            ("each user", each_user.clone()),
            ("8 topics", topics.clone()),
        ];
        let mut worlds = kinds.map(|(name, rules)| (name, World::new(rules, qos), Duration::MAX));
        for _ in 0..ROUNDS {
            for (_, world, best) in &mut worlds {
                *best = (*best).min(world.round(qos));
            }
        }
        for (name, _, best) in &worlds {
            println!("QoS {}, 1 to {CLIENTS}, {name:10} {best:>8.0?} per delivery", qos as u8);
        }
    }
}
