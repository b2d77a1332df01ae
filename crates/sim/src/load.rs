//! Memory becomes short, and there is room again: the engine goes up and down its load line.

use plimsoll_engine::{Input, LoadLine, Step};

use crate::oracle::Violation;
use crate::world::World;

impl World {
    /// Another reading of the process.
    pub(crate) fn load_moods(&mut self) -> Result<(), Violation> {
        self.notice_step();
        if self.rng.below(1000) < self.plan.loads {
            let step = *self.rng.pick(&Step::ALL);
            let held = self.plan.memory_limit / 100 * step.percent();
            self.load(held.saturating_sub(self.ledger.total()))?;
        }
        self.notice_step();
        self.watcher_may_be_gone()
    }

    /// What the world itself holds takes the engine further up; down it goes by readings alone.
    pub(crate) fn notice_step(&mut self) {
        let step = self.engine.load_line().step;
        self.summary.steps |= 1 << step as u8;
        if step >= Step::RefuseNew {
            // Clients may be refused, or disconnected.
            self.oracle.memory_is_short(self.now);
        }
    }

    /// The watcher is a client as others are, and may have been the largest.
    fn watcher_may_be_gone(&mut self) -> Result<(), Violation> {
        let watcher = &mut self.clients[self.plan.clients as usize];
        let gone = match watcher.slot {
            Some(slot) => self.wires.get(&slot).is_none_or(|wire| wire.closing),
            None => true,
        };
        if !gone {
            return Ok(());
        }
        if let Some(slot) = watcher.slot {
            watcher.connection_lost(&mut self.oracle, self.now);
            self.wires.remove(&slot);
        }
        self.relieve()?;
        // It has to be let in, and that waits for the disk.
        if let Some(storage) = self.storage.as_mut() {
            storage.set_failing(false, &mut self.rng);
        }
        self.storage_turn()?;
        self.storage_turn()?;
        self.bring_watcher_back()
    }

    /// Step by step there is room again.
    pub(crate) fn relieve(&mut self) -> Result<(), Violation> {
        self.notice_step();
        for _ in Step::ALL {
            self.engine.handle(
                self.now,
                &[Input::LoadLine(Some(LoadLine { limit: usize::MAX, beside: 0 }))],
            );
        }
        self.handle(&[])?;
        match self.engine.load_line().step {
            Step::Clear => Ok(()),
            step => Err(Violation(format!("still {} though there is room", step.name()))),
        }
    }

    fn load(&mut self, beside: usize) -> Result<(), Violation> {
        let limit = self.plan.memory_limit;
        self.handle(&[Input::LoadLine(Some(LoadLine { limit, beside }))])?;
        self.say(|| format!("-- load line: {}", self.engine.load_line().step.name()));
        Ok(())
    }
}
