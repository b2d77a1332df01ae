//! The disk fails for a while; the broker dies, with everything that was not on disk, and starts
//! again.

use plimsoll_engine::{Engine, Time};

use crate::oracle::Violation;
use crate::world::World;

impl World {
    /// The disk begins to fail, or works again.
    pub(crate) fn disk_moods(&mut self) {
        let Some(storage) = self.storage.as_mut() else { return };
        let change = match storage.is_failing() {
            true => self.rng.chance(3),
            false => self.rng.below(1000) < self.plan.failures,
        };
        if change {
            let failing = !storage.is_failing();
            storage.set_failing(failing, &mut self.rng);
            self.oracle.refusals_expected |= failing;
            self.say(|| format!("-- the disk fails: {failing}"));
        }
    }

    /// Power fails and comes back.
    pub(crate) fn crash(&mut self) -> Result<(), Violation> {
        self.say(|| "-- the broker dies".into());
        self.summary.crashes += 1;
        self.notice_step();
        self.last_words()?;
        let seed = self.rng.draw();
        let Some(storage) = self.storage.as_mut() else { return Ok(()) };
        let settings = self.plan.with_budget(self.budget);
        let fresh = Engine::new(settings, self.plan.shards, seed, self.ledger);
        self.engine = fresh;
        storage.crash(seed)?;
        self.now = self.now.plus_millis(self.rng.within(1, 3000));
        let restored = storage.restore(&mut self.engine, self.now)?;
        self.say(|| format!("-- the broker is back: {restored:?}"));
        self.oracle.crashed();
        self.handle(&[])?;
        self.check_ledger()?;
        self.bring_watcher_back()
    }

    /// What was on its way to clients may still reach them; what they sent does not arrive.
    fn last_words(&mut self) -> Result<(), Violation> {
        let all_arrive = self.rng.chance(50);
        for (slot, mut wire) in std::mem::take(&mut self.wires) {
            let client = &mut self.clients[wire.client as usize];
            for (_, bytes) in wire.to_client.drain(..).take_while(|_| all_arrive) {
                client.inbox.extend_from_slice(&bytes);
            }
            client.take_inbox(&mut self.oracle, self.now)?;
            if let Some(number) = client.will.take()
                && client.will_is_stored()
            {
                self.oracle.will_outlives(number);
            }
            client.connection_lost(&mut self.oracle, self.now);
            self.free_slots.push_back(slot);
        }
        Ok(())
    }

    /// The watcher saw the broker die, and wants to see all wills again.
    pub(crate) fn bring_watcher_back(&mut self) -> Result<(), Violation> {
        self.dial(self.watcher(), true);
        for _ in 0..WATCHER_STEPS_MAX {
            self.step()?;
            if self.clients[self.watcher() as usize].connected {
                break;
            }
        }
        self.watch_wills();
        for _ in 0..WATCHER_STEPS_MAX {
            self.step()?;
            if self.clients[self.watcher() as usize].is_idle() {
                return Ok(());
            }
        }
        Err(Violation(format!("the watcher is not back at {}", Time::as_millis(self.now))))
    }
}

/// Steps after which a client must have been answered.
const WATCHER_STEPS_MAX: u32 = 500;
