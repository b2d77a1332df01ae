//! What a trace says.

use std::fmt;

use serde::Serialize;

use super::kernel::Counters;
use super::names::{Frame, Names};
use super::outstanding::{Outstanding, Tally};
use super::unwind::Unwinder;
use crate::process::Process;
use crate::quantity::{bytes, count};

/// What is held, by stack, and what finding it out costs.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The process.
    pub pid: u32,
    /// Its name.
    pub process: String,
    /// Seconds that samples were taken for.
    pub seconds: f64,
    /// Bytes between samples in the mean.
    pub sample_bytes: u64,
    /// Samples taken.
    pub samples: u64,
    /// Samples that were lost on their way: more were taken than we could look at.
    pub samples_lost: u64,
    /// Samples for which there was no room among those not freed yet.
    pub samples_without_room: u64,
    /// Of blocks alone that nothing points to any more.
    pub lost: bool,
    /// Heaps that no `malloc` leads to: what they hold is not seen.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub heaps_not_seen: Vec<&'static str>,
    /// Bytes allocated since the start and not freed, estimated.
    pub held_bytes: f64,
    /// Blocks of them, estimated.
    pub held_blocks: f64,
    /// What the probes cost.
    pub load: Load,
    /// The stacks that hold most.
    pub holders: Vec<Holder>,
}

/// What the probes cost.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Load {
    /// Allocations a second.
    pub allocations_per_second: f64,
    /// Frees a second.
    pub frees_per_second: f64,
    /// What stopping at an allocation costs on this machine; measured before, on a function of ours.
    pub allocation_nanoseconds: f64,
    /// The same of one that is sampled.
    pub sample_nanoseconds: f64,
    /// The same of a free.
    pub free_nanoseconds: f64,
    /// The share of one processor that the probes take from the process.
    pub probes: f64,
    /// The same, in its worst second.
    pub probes_peak: f64,
    /// The share of one processor that the process used in the second before.
    pub cpu_before: f64,
    /// The same, since.
    pub cpu_traced: f64,
}

/// Calls that led to allocations which are not freed.
#[derive(Clone, Debug, Serialize)]
pub struct Holder {
    /// Bytes, estimated.
    pub held_bytes: f64,
    /// Blocks, estimated.
    pub held_blocks: f64,
    /// Bytes more than in the report before, estimated.
    pub grown_bytes: f64,
    /// Samples that are not freed.
    pub held_samples: u64,
    /// All samples of these calls.
    pub samples: u64,
    /// Bytes allocated by them in all, estimated.
    pub allocated_bytes: f64,
    /// The calls, innermost first; the allocator's own function is left out.
    pub calls: Vec<Frame>,
}

/// Stacks that names are looked up for: those that hold most. Calls of the same functions from several places are one
/// then.
const NAMED_MAX: usize = 1000;

impl Holder {
    fn new(tally: &Tally, before: Option<&Tally>, calls: Vec<Frame>) -> Self {
        Self {
            held_bytes: tally.held_bytes,
            held_blocks: tally.held_blocks,
            grown_bytes: tally.held_bytes - before.map_or(0.0, |before| before.held_bytes),
            held_samples: tally.held_samples,
            samples: tally.samples,
            allocated_bytes: tally.allocated_bytes,
            calls,
        }
    }

    /// Whether its calls are of the same functions.
    fn is_alike(&self, other: &Self) -> bool {
        self.calls.len() == other.calls.len()
            && self
                .calls
                .iter()
                .zip(&other.calls)
                .all(|(a, b)| (&a.function, &a.module) == (&b.function, &b.module))
    }

    fn add(&mut self, other: &Self) {
        self.held_bytes += other.held_bytes;
        self.held_blocks += other.held_blocks;
        self.grown_bytes += other.grown_bytes;
        self.held_samples += other.held_samples;
        self.samples += other.samples;
        self.allocated_bytes += other.allocated_bytes;
    }
}

impl Report {
    /// One without holders.
    pub(super) fn new(
        process: &Process,
        load: Load,
        counters: Counters,
        samples: u64,
        sample_bytes: u64,
        seconds: f64,
    ) -> Self {
        Self {
            pid: process.pid(),
            process: process.name().to_owned(),
            seconds,
            sample_bytes,
            samples,
            samples_lost: counters.lost,
            samples_without_room: counters.full,
            lost: false,
            heaps_not_seen: Vec::new(),
            held_bytes: 0.0,
            held_blocks: 0.0,
            load,
            holders: Vec::new(),
        }
    }

    /// Takes up the `top` stacks.
    pub(super) fn fill(
        &mut self,
        tallies: &[Tally],
        before: &[Tally],
        top: usize,
        outstanding: &Outstanding,
        unwinder: &mut Unwinder,
    ) {
        self.held_bytes = tallies.iter().map(|tally| tally.held_bytes).sum();
        self.held_blocks = tallies.iter().map(|tally| tally.held_blocks).sum();
        let mut order: Vec<usize> =
            (0..tallies.len()).filter(|stack| tallies[*stack].held_samples > 0).collect();
        order.sort_by(|a, b| tallies[*b].held_bytes.total_cmp(&tallies[*a].held_bytes));
        let mut names = Names::default();
        let mut holders: Vec<Holder> = Vec::new();
        for stack in order.into_iter().take(NAMED_MAX.max(top)) {
            let calls = outstanding
                .calls(stack)
                .iter()
                .flat_map(|call| names.of(*call, unwinder))
                .collect();
            let holder = Holder::new(&tallies[stack], before.get(stack), calls);
            match holders.iter_mut().find(|other| other.is_alike(&holder)) {
                Some(other) => other.add(&holder),
                None => holders.push(holder),
            }
        }
        holders.sort_by(|a, b| b.held_bytes.total_cmp(&a.held_bytes));
        holders.truncate(top);
        self.holders = holders;
    }

    fn write_load(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let load = &self.load;
        writeln!(
            f,
            "Probes: {} allocations/s at {:.0} ns ({:.1} µs if sampled), {} frees/s at {:.0} ns: {:.1} % of a processor, \
             {:.1} % in the worst second. The process used {:.1} % before, {:.1} % since.",
            count(load.allocations_per_second as u64),
            load.allocation_nanoseconds,
            load.sample_nanoseconds / 1000.0,
            count(load.frees_per_second as u64),
            load.free_nanoseconds,
            load.probes * 100.0,
            load.probes_peak * 100.0,
            load.cpu_before * 100.0,
            load.cpu_traced * 100.0,
        )?;
        if self.samples_lost + self.samples_without_room > 0 {
            writeln!(
                f,
                "{} samples were lost (read too slowly), {} had no room (--samples-max): the figures are low by as much.",
                count(self.samples_lost),
                count(self.samples_without_room)
            )?;
        }
        Ok(())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} (pid {}): in {:.0} s {} in {} blocks were allocated and {} (estimated from {} samples, one in {}).",
            self.process,
            self.pid,
            self.seconds,
            bytes(self.held_bytes as u64),
            count(self.held_blocks as u64),
            if self.lost { "lost: not freed, and nothing points to them" } else { "not freed" },
            count(self.samples),
            bytes(self.sample_bytes),
        )?;
        self.write_load(f)?;
        if !self.heaps_not_seen.is_empty() {
            writeln!(f, "Not seen, as no malloc leads there: {}.", self.heaps_not_seen.join(", "))?;
        } else if self.load.allocations_per_second == 0.0 {
            f.write_str(
                "Not one allocation was seen: it was idle, or its memory comes from elsewhere.\n",
            )?;
        }
        for (number, holder) in self.holders.iter().enumerate() {
            writeln!(
                f,
                "\n#{} {} in {} blocks, {}{} since the last report; {} of {} samples are {}",
                number + 1,
                bytes(holder.held_bytes as u64),
                count(holder.held_blocks.round() as u64),
                if holder.grown_bytes < 0.0 { "−" } else { "+" },
                bytes(holder.grown_bytes.abs() as u64),
                count(holder.held_samples),
                count(holder.samples),
                if self.lost { "lost" } else { "not freed" },
            )?;
            for call in &holder.calls {
                let guess = if call.guessed { "? " } else { "  " };
                let source = call
                    .source
                    .as_deref()
                    .map(|source| format!(" at {source}"))
                    .unwrap_or_default();
                let module = if call.module.is_empty() {
                    String::new()
                } else {
                    format!(" ({})", call.module)
                };
                writeln!(f, "    {guess}{}{module}{source}", call.function)?;
            }
        }
        Ok(())
    }
}
