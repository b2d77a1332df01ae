//! Memory becomes short, and there is room again: the engine goes up and down its load line.

use std::ops::ControlFlow;

use plimsoll_engine::{Input, LoadLine, Step};

use crate::oracle::Violation;
use crate::world::World;

/// A budget that is not reached.
const ROOMY: usize = 1 << 30;

/// How many of a thousand steps the operator changes budgets in.
const BUDGET_CHANGES: u64 = 5;

impl World {
    /// Another reading of the process.
    pub(crate) fn load_moods(&mut self) -> Result<(), Violation> {
        self.notice_step();
        if self.rng.below(1000) < self.plan.loads {
            let step = *self.rng.pick(&Step::ALL);
            let held = self.plan.memory_limit / 100 * step.percent();
            self.load(held.saturating_sub(self.ledger.total()))?;
        }
        if self.plan.budget > 0 && self.rng.below(1000) < BUDGET_CHANGES {
            let budget = *self.rng.pick(&[self.plan.budget, self.plan.budget * 2, ROOMY]);
            self.set_budget(budget);
        }
        self.notice_step();
        self.watcher_may_be_gone()
    }

    /// What the world itself holds takes the engine further up; down it goes by readings alone.
    pub(crate) fn notice_step(&mut self) {
        let step = self.engine.load_line().step;
        self.summary.steps |= 1 << step as u8;
        let (budgets, refusals) = self.furthest_budget();
        self.summary.budget_steps |= 1 << budgets as u8;
        // A topic's budget may have refused something and have room again already.
        let refused = std::mem::replace(&mut self.refusals, refusals) != refusals;
        if step.max(budgets) >= Step::RefuseNew || refused {
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
        self.set_budget(ROOMY);
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

    /// A reload gives users more room or less.
    fn set_budget(&mut self, budget: usize) {
        self.budget = budget;
        self.say(|| format!("-- {budget} bytes for each user"));
        self.engine.configure(self.now, self.plan.with_budget(budget));
    }

    /// The furthest step that is in force for anybody, and how much budgets have left off so far.
    fn furthest_budget(&self) -> (Step, u64) {
        let (mut furthest, mut refusals) = (Step::Clear, 0);
        self.engine.budgets(0, u32::MAX, |budget| {
            furthest = furthest.max(budget.step);
            refusals += budget.counts.map_or(0, |counts| {
                counts.named().into_iter().map(|(_, count)| count).sum::<u64>()
            });
            ControlFlow::Continue(())
        });
        (furthest, refusals)
    }

    fn load(&mut self, beside: usize) -> Result<(), Violation> {
        let limit = self.plan.memory_limit;
        self.handle(&[Input::LoadLine(Some(LoadLine { limit, beside }))])?;
        self.say(|| format!("-- load line: {}", self.engine.load_line().step.name()));
        Ok(())
    }
}
