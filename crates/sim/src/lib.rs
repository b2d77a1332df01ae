//! Deterministic simulation: the engine, simulated clients, clock and network, and an oracle.
//!
//! A [`World`] comes from one seed: who is there, which limits hold, what happens when. It drives
//! the engine exactly as the I/O shell does, over bytes, and tells the [`Oracle`] only what clients
//! sent and received. A run has three phases: *safety* (connections break, networks stall,
//! the broker dies and comes back with what its disk kept),
//! *liveness* (faults off; everything must arrive and drain) and *the end* (everybody leaves; the
//! ledger must be where it was). A failure replays from its seed.

mod books;
mod client;
mod crash;
mod fault;
mod load;
mod oracle;
mod plan;
mod rng;
mod storage;
mod topics;
mod world;

pub use fault::Fault;
pub use oracle::{Oracle, Violation};
pub use plan::Plan;
pub use rng::Rng;
pub use world::World;

/// Runs the world of `seed`. Answers what the oracle found wrong first.
pub fn run(seed: u64, trace: bool) -> Result<Summary, Violation> {
    World::new(seed, None, trace).run()
}

/// What a run came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Messages that clients published.
    pub published: u64,
    /// Messages that clients received.
    pub received: u64,
    /// Connections that were made.
    pub connections: u64,
    /// Messages that limits dropped.
    pub dropped: u64,
    /// Times that the broker died and came back.
    pub crashes: u64,
    /// Steps of the load line that were taken, a bit each.
    pub steps: u8,
    /// The same of budgets.
    pub budget_steps: u8,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn worlds_keep_their_promises() {
        for seed in 0..100 {
            if let Err(violation) = run(seed, false) {
                panic!("seed {seed}: {violation}; replay: plimsoll-sim --seed {seed} --trace");
            }
        }
    }

    #[test]
    fn a_world_replays_from_its_seed() {
        assert_eq!(run(7, false), run(7, false));
    }

    #[test]
    fn the_oracle_notices_what_is_lost_or_repeated() {
        for fault in [Fault::Lose, Fault::Repeat] {
            let noticed =
                (0..30).filter(|&seed| World::new(seed, Some(fault), false).run().is_err());
            assert!(noticed.count() > 15, "{fault:?}");
        }
    }
}
