//! What the probes cost the process: what a stop costs here, measured on ourselves, times how often it is stopped.

use std::path::PathBuf;
use std::time::Instant;

use super::functions::Function;
use super::kernel::{Bounds, Kernel, Means};
use super::programs::Role;
use crate::problem::Problem;
use crate::process::{Process, maps};
use crate::system;

/// Rounds of calls; the quickest counts.
const ROUNDS: usize = 5;
/// Calls in a round.
const CALLS: u32 = 2_000;
/// The same where each is a sample. All of a round's have to fit in the ring.
const SAMPLED_CALLS: u32 = 64;

/// Seconds that a stop costs.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Cost {
    /// Of an allocation that is not sampled.
    pub(super) allocation: f64,
    /// Of one that is.
    pub(super) sample: f64,
    /// Of a free.
    pub(super) free: f64,
}

impl Cost {
    /// Measures by `means`, or by the best that this kernel has: what it takes is known only when something is attached,
    /// as kernels before 6.6 load programs for means that they do not have.
    pub(super) fn by(
        bounds: Bounds,
        means: Option<Means>,
        functions: &[Function],
    ) -> Result<(Self, Means), Problem> {
        let measure = |means| Ok((Self::measure(bounds, means, functions)?, means));
        match means {
            Some(means) => measure(means),
            None => measure(Means::Session).or_else(|_| measure(Means::PerfEvents)),
        }
    }

    /// Measures on a function of ours, with the programs and the means that the process will get.
    fn measure(bounds: Bounds, means: Means, functions: &[Function]) -> Result<Self, Problem> {
        // What is called most decides: not `valloc` and the like.
        let emulated = |name: &str| {
            functions
                .iter()
                .filter(|function| function.name.ends_with(name))
                .all(|function| function.emulated)
        };
        let bounds = Bounds { blocks: 64, ..bounds };
        let site = |role, emulated| Site::new(bounds, means, role, emulated);
        let malloc = site(Role::Malloc, emulated("malloc"))?;
        let free = site(Role::Free, emulated("free"))?;
        Ok(Self {
            allocation: malloc.cost(false)?,
            sample: malloc.cost(true)?,
            free: free.cost(false)?,
        })
    }

    /// Seconds that all this cost.
    pub(super) fn of(&self, allocations: u64, samples: u64, frees: u64) -> f64 {
        let plain = allocations.saturating_sub(samples);
        plain as f64 * self.allocation + samples as f64 * self.sample + frees as f64 * self.free
    }
}

/// A function of ours, and how it will be probed.
struct Site {
    function: Function,
    call: extern "C" fn(u64) -> u64,
    pid: u32,
    bounds: Bounds,
    means: Means,
}

impl Site {
    fn new(bounds: Bounds, means: Means, role: Role, emulated: bool) -> Result<Self, Problem> {
        let call = system::probe_site(emulated);
        let own = Process::find(std::process::id())?;
        let mappings = own.mappings()?;
        let address = call as usize as u64;
        let mapping = maps::of(address, &mappings).ok_or_else(|| {
            Problem::Failed("/proc/self/maps: our own code is not in it".to_owned())
        })?;
        let function = Function {
            role,
            name: "a function of ours".to_owned(),
            module: "plimsoll".to_owned(),
            file: PathBuf::from("/proc/self/exe"),
            offset: address - mapping.start + mapping.offset,
            emulated,
        };
        Ok(Self { function, call, pid: own.pid(), bounds, means })
    }

    /// Seconds more for a call that is probed.
    fn cost(&self, sampled: bool) -> Result<f64, Problem> {
        let calls = if sampled { SAMPLED_CALLS } else { CALLS };
        let without = self.quickest(calls, &mut || ());
        let mut kernel = Kernel::new(self.bounds, self.means)?;
        kernel.sample(sampled, 1)?;
        kernel.attach(self.pid, std::slice::from_ref(&self.function))?;
        let with = self.quickest(calls, &mut || {
            kernel.drain(|_| ());
        });
        Ok((with - without).max(0.0))
    }

    /// Seconds of a call.
    fn quickest(&self, calls: u32, between: &mut dyn FnMut()) -> f64 {
        let mut round = || {
            between();
            let started = Instant::now();
            for _ in 0..calls {
                (self.call)(64);
            }
            started.elapsed().as_secs_f64() / f64::from(calls)
        };
        (0..ROUNDS).map(|_| round()).fold(f64::INFINITY, f64::min)
    }
}
