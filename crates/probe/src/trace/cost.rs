//! What the probes cost the process: what a stop costs here, measured on ourselves, times how often it is stopped.

use std::path::PathBuf;
use std::time::Instant;

use super::functions::Function;
use super::kernel::{Bounds, Kernel, Means};
use super::programs::Role;
use crate::problem::Problem;
use crate::process::{Process, maps};
use crate::system;

/// Calls in a round, and rounds; the quickest round counts.
const CALLS: u32 = 2_000;
const ROUNDS: usize = 5;

/// Seconds that a stop costs.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Cost {
    /// Of an allocation that is not sampled.
    pub(super) allocation: f64,
    /// Of a free.
    pub(super) free: f64,
}

impl Cost {
    /// Measures on a function of ours, with the programs and the means that the process will get.
    pub(super) fn measure(
        bounds: Bounds,
        means: Means,
        functions: &[Function],
    ) -> Result<Self, Problem> {
        // What is called most decides: not `valloc` and the like.
        let emulated = |name: &str| {
            functions
                .iter()
                .filter(|function| function.name.ends_with(name))
                .all(|function| function.emulated)
        };
        let bounds = Bounds { blocks: 64, ..bounds };
        Ok(Self {
            allocation: measure_one(bounds, means, Role::Malloc, emulated("malloc"))?,
            free: measure_one(bounds, means, Role::Free, emulated("free"))?,
        })
    }
}

fn measure_one(bounds: Bounds, means: Means, role: Role, emulated: bool) -> Result<f64, Problem> {
    let site = system::probe_site(emulated);
    let own = Process::find(std::process::id())?;
    let mappings = own.mappings()?;
    let address = site as usize as u64;
    let mapping = maps::of(address, &mappings)
        .ok_or_else(|| Problem::Failed("/proc/self/maps: our own code is not in it".to_owned()))?;
    let function = Function {
        role,
        name: "a function of ours".to_owned(),
        module: "plimsoll".to_owned(),
        file: PathBuf::from("/proc/self/exe"),
        offset: address - mapping.start + mapping.offset,
        emulated,
    };
    let without = quickest(site);
    let mut kernel = Kernel::new(bounds, Some(means))?;
    kernel.attach(own.pid(), &[function])?;
    let with = quickest(site);
    Ok((with - without).max(0.0))
}

/// Seconds of a call.
fn quickest(site: extern "C" fn(u64)) -> f64 {
    let round = |_| {
        let started = Instant::now();
        for _ in 0..CALLS {
            site(64);
        }
        started.elapsed().as_secs_f64() / f64::from(CALLS)
    };
    (0..ROUNDS).map(round).fold(f64::INFINITY, f64::min)
}
