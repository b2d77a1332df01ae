//! Everything that is counted, against a walk over the state.

use std::ops::ControlFlow;

use crate::oracle::Violation;
use crate::world::World;

impl World {
    /// The ledger against a walk over the state.
    pub(crate) fn check_ledger(&self) -> Result<(), Violation> {
        if let Some(differing) = self.engine.recount_budgets(&[]).first() {
            return Err(Violation(format!("{differing:?}")));
        }
        let (charged, counted) = (self.ledger.snapshot(), self.engine.recount());
        if charged == counted {
            return Ok(());
        }
        let differing: Vec<String> = charged
            .iter()
            .zip(counted.iter())
            .filter(|(charged, counted)| charged != counted)
            .map(|((account, charged), (_, counted))| {
                format!("{}: {charged} charged, {counted} counted", account.name())
            })
            .collect();
        Err(Violation(differing.join("; ")))
    }

    /// Everybody has left: nothing counts to any budget.
    pub(crate) fn check_budgets_are_empty(&mut self) -> Result<(), Violation> {
        let mut left = None;
        self.engine.budgets(0, u32::MAX, |budget| {
            if budget.used > 0 || budget.sessions > 0 {
                left = Some(format!("{:?} still has {} bytes", budget.of, budget.used));
            }
            ControlFlow::Continue(())
        });
        self.engine.configure(self.now, self.plan.settings.clone());
        left.map_or(Ok(()), |left| Err(Violation(left)))
    }
}
