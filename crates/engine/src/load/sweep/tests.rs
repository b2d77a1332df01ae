//! More sessions than fit into one piece.

use alloc::boxed::Box;
use alloc::format;
use alloc::vec::Vec;

use plimsoll_ledger::Ledger;
use plimsoll_mqtt::{Connect, Packet, Publish, QoS, Version};

use super::{PIECE, Step};
use crate::access::Admission;
use crate::{Cause, Engine, Event, Input, Link, LoadLine, Outbox, Settings, Time};

struct World {
    engine: Engine,
    ledger: &'static Ledger,
}

impl World {
    fn with(sessions: u32) -> Self {
        let ledger: &'static Ledger = Box::leak(Box::default());
        let settings = Settings { offender_bytes_min: 100, ..Settings::default() };
        let mut world = Self { engine: Engine::new(settings, 1, 7, ledger), ledger };
        for slot in 0..sessions {
            let name = format!("client-{slot}");
            let packet = Box::new(Connect::new(Version::V5, &name, true));
            let (link, admission) = (Link::new(0, slot), Admission::AsAsked);
            world.tell(Input::Connect { link, listener: 0, packet, admission });
            world.tell(Input::Flushed { link, bytes: u32::MAX });
        }
        world
    }

    /// Answers who was disconnected.
    fn tell(&mut self, input: Input<'_>) -> Vec<u32> {
        self.engine.handle(Time::from_secs(1000), &[input]);
        let mut outbox = Outbox::new(self.ledger);
        self.engine.take_outbox(0, &mut outbox);
        let events = outbox.take_events();
        outbox.drain(|_, _| {});
        let ended = events.into_iter().filter_map(|(link, event)| match event {
            Event::Disconnected { cause: Cause::Broker(_), .. } => Some(link.slot()),
            _ => None,
        });
        ended.collect()
    }

    /// A client has so many bytes waiting for the network.
    fn fill(&mut self, slot: u32, bytes: usize) {
        let session = self.engine.sessions.get_mut(slot).unwrap();
        let link = session.link.unwrap();
        let payload = alloc::vec![0; bytes];
        let packet = Packet::Publish(Publish {
            dup: false,
            qos: QoS::AtMostOnce,
            retain: false,
            topic: "t",
            packet_identifier: 0,
            properties: Default::default(),
            payload: &payload,
        });
        self.engine.dispatch.packet(self.engine.sessions.get_mut(slot).unwrap(), &packet);
        self.engine.take_outbox(0, &mut Outbox::new(self.ledger));
        assert_eq!(link.slot(), slot);
    }

    /// A reading: memory is all but used up.
    fn reading(&mut self) -> Vec<u32> {
        let limit = 1 << 40;
        let beside = limit / 100 * 98 - self.ledger.total();
        self.tell(Input::LoadLine(Some(LoadLine { limit, beside })))
    }
}

#[test]
fn each_reading_looks_at_one_piece_and_small_ones_wait_for_large_ones() {
    let mut world = World::with(2 * PIECE + 10);
    world.fill(5, 1000);
    world.fill(PIECE + 3, 100_000);
    world.fill(PIECE + 4, 90_000);
    world.fill(2 * PIECE + 1, 3000);
    // The first round knows nothing yet of what comes.
    assert_eq!(world.reading(), [5]);
    assert_eq!(world.engine.step(), Step::Disconnect);
    assert_eq!(world.reading(), [PIECE + 3]);
    assert_eq!(world.reading(), [2 * PIECE + 1]);
    // The second round has 90,000 bytes to look forward to.
    world.fill(6, 2000);
    assert_eq!(world.reading(), []);
    assert_eq!(world.reading(), [PIECE + 4]);
    assert_eq!(world.reading(), []);
    // The third one, too, since it is measured by the second; after that nothing is larger.
    assert_eq!(
        (world.reading(), world.reading(), world.reading()),
        ([].into(), [].into(), [].into())
    );
    assert_eq!(world.reading(), [6]);
}

#[test]
fn among_few_the_largest_goes_at_each_reading() {
    let mut world = World::with(20);
    for (slot, bytes) in [(3, 500), (9, 100_000), (12, 700), (15, 40)] {
        world.fill(slot, bytes);
    }
    assert_eq!(world.reading(), [9]);
    assert_eq!(world.reading(), [12]);
    assert_eq!(world.reading(), [3]);
    assert_eq!(world.reading(), [], "too little to be worth it");
}
