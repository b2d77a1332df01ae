//! Who holds the memory of a running process: allocations that were not freed, by the calls that asked for them.
//!
//! Programs in the kernel (eBPF) are called whenever the process enters one of its allocator's functions. They sample
//! by bytes, keep the addresses of sampled blocks, and send each sample's stack here. Nothing of the process is
//! changed but for a breakpoint at the functions' first instructions, in its own view of the file alone, as long as
//! this runs; when this ends, however it ends, the kernel takes them out.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use crate::problem::Problem;
use crate::process::Process;
use crate::program;
use crate::scan::{self, Pace};

mod allocators;
mod assembler;
mod cost;
mod functions;
mod instructions;
mod kernel;
mod module;
mod names;
mod outstanding;
mod programs;
mod report;
mod sampling;
mod tables;
#[cfg(test)]
mod tests;
mod unwind;

use cost::Cost;
use kernel::{Bounds, Counters, Kernel, Means};
pub use names::Frame;
use outstanding::{Outstanding, Tally};
pub use report::{Holder, Load, Report};
use unwind::Unwinder;

/// How a trace is done. Everything that can grow has its bound here.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// How long.
    pub duration: Duration,
    /// Between reports on the way; none if it is zero.
    pub every: Duration,
    /// Mean bytes between samples; 0 is so many that there are about 500 samples a second.
    pub sample_bytes: u64,
    /// Sampled blocks that are kept account of, not freed yet.
    pub blocks_max: usize,
    /// Bytes of each sample's stack that are looked at.
    pub stack_bytes: usize,
    /// Of one processor, what the probes may cost the process. Beyond it they are taken off.
    pub load_max: f64,
    /// Stacks in a report.
    pub top: usize,
    /// At the end the heap is scanned, and the last report is of blocks alone that nothing points to any more.
    pub lost: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            duration: Duration::from_secs(60),
            every: Duration::from_secs(10),
            sample_bytes: 0,
            blocks_max: 65_536,
            stack_bytes: 16 << 10,
            load_max: 0.5,
            top: 10,
            lost: false,
        }
    }
}

/// Why a trace is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Its time was up.
    Done,
    /// Somebody asked for it.
    Asked,
    /// The probes cost more than they may.
    Load,
    /// The process has ended.
    Gone,
}

/// How often samples are fetched.
const TURN: Duration = Duration::from_millis(50);
/// How long allocations are only counted, to choose a distance of samples.
const COUNTING: Duration = Duration::from_secs(1);
/// Room for samples on their way.
const RING_BYTES: usize = 8 << 20;
/// Room for those of a round of measuring, whatever the stack.
const SMALL_RING_BYTES: usize = 8 << 20;
/// How long the scan at the end may take.
const SCAN_MAX: Duration = Duration::from_secs(300);
/// Samples that may have been freed are looked through at the latest when there are so many.
const KEPT_MAX: usize = 2;

/// A trace that goes on.
pub struct Trace {
    process: Process,
    settings: Settings,
    kernel: Kernel,
    unwinder: Unwinder,
    outstanding: Outstanding,
    cost: Cost,
    functions: Vec<String>,
    heaps_not_seen: Vec<&'static str>,
    mean: u64,
    started: Instant,
    sampling_since: Option<Instant>,
    cpu_before: f64,
    cpu_started: f64,
    second: (Instant, Counters, u64),
    load_peak: f64,
    before: Vec<Tally>,
}

impl Trace {
    /// Finds the allocator, measures what probes cost here, and attaches.
    pub fn start(process: &Process, settings: Settings) -> Result<Self, Problem> {
        Self::start_by(process, settings, None)
    }

    /// The same by certain means.
    fn start_by(
        process: &Process,
        settings: Settings,
        means: Option<Means>,
    ) -> Result<Self, Problem> {
        let functions = functions::of(process)?;
        let stack_bytes = settings
            .stack_bytes
            .clamp(programs::STACK_PIECE, 64 << 10)
            .next_multiple_of(programs::STACK_PIECE);
        let bounds =
            Bounds { blocks: settings.blocks_max.max(64), stack_bytes, ring_bytes: RING_BYTES };
        let small = Bounds { ring_bytes: SMALL_RING_BYTES, ..bounds };
        let (cost, means) = Cost::by(small, means, &functions)?;
        let mut kernel = Kernel::new(bounds, means)?;
        let unwinder = Unwinder::new(process)?;
        // What the process uses without us.
        let (cpu, since) = (cpu_seconds(process)?, Instant::now());
        std::thread::sleep(COUNTING);
        let cpu_started = cpu_seconds(process)?;
        let cpu_before = (cpu_started - cpu) / since.elapsed().as_secs_f64();
        kernel.sample(settings.sample_bytes > 0, settings.sample_bytes)?;
        kernel.attach(process.pid(), &functions)?;
        let now = Instant::now();
        Ok(Self {
            process: process.clone(),
            settings,
            kernel,
            unwinder,
            outstanding: Outstanding::default(),
            cost,
            functions: functions
                .iter()
                .map(|function| format!("{} of {}", function.name, function.module))
                .collect(),
            heaps_not_seen: program::heaps_without_malloc(process, &process.mappings()?),
            mean: settings.sample_bytes,
            started: now,
            sampling_since: (settings.sample_bytes > 0).then_some(now),
            cpu_before,
            cpu_started,
            second: (now, Counters::default(), 0),
            load_peak: 0.0,
            before: Vec::new(),
        })
    }

    /// What it is attached to.
    pub fn functions(&self) -> &[String] {
        &self.functions
    }

    /// Goes on until time is up, `asked` says so, or the probes cost too much. `interim` gets each report on the way;
    /// its error ends the trace.
    pub fn run(
        &mut self,
        asked: &dyn Fn() -> bool,
        interim: &mut dyn FnMut(&Report) -> Result<(), Problem>,
    ) -> Result<(Report, End), Problem> {
        let mut next = self.settings.every;
        let end = loop {
            std::thread::sleep(TURN);
            self.fetch()?;
            if !self.process.lives() {
                break End::Gone;
            }
            if asked() {
                break End::Asked;
            }
            let counted_enough = self.started.elapsed() >= COUNTING.min(self.settings.duration / 4);
            if self.sampling_since.is_none() && counted_enough {
                self.choose_distance()?;
            }
            if self.second.0.elapsed() >= Duration::from_secs(1)
                && self.load()? > self.settings.load_max
            {
                break End::Load;
            }
            if self.started.elapsed() >= self.settings.duration {
                break End::Done;
            }
            if !self.settings.every.is_zero() && self.started.elapsed() >= next {
                next += self.settings.every;
                let report = self.report(None)?;
                interim(&report)?;
            }
        };
        let lost =
            if self.settings.lost && end != End::Gone { Some(self.lost_blocks()?) } else { None };
        let report = self.report(lost.as_ref())?;
        self.kernel.detach();
        Ok((report, end))
    }

    /// The blocks that nothing points to. No samples are taken meanwhile, but frees are seen.
    fn lost_blocks(&mut self) -> Result<HashSet<u64>, Problem> {
        self.kernel.sample(false, self.mean)?;
        self.fetch()?;
        let mut silent = |_: &str| ();
        let mut pace = Pace::new(SCAN_MAX, &mut silent);
        scan::lost_blocks(&self.process, &scan::Settings::default(), &mut pace)
    }

    /// Takes up the samples that have come.
    fn fetch(&mut self) -> Result<(), Problem> {
        let (outstanding, unwinder) = (&mut self.outstanding, &mut self.unwinder);
        self.kernel.drain(|record| outstanding.take(record, unwinder));
        if self.outstanding.held() > KEPT_MAX * self.settings.blocks_max {
            self.outstanding.keep(&self.kernel.blocks()?);
        }
        Ok(())
    }

    fn choose_distance(&mut self) -> Result<(), Problem> {
        let counters = self.kernel.counters()?;
        self.mean = sampling::mean_for(counters.bytes, self.started.elapsed().as_secs_f64());
        self.sampling_since = Some(Instant::now());
        self.second = (Instant::now(), counters, 0);
        self.kernel.sample(true, self.mean)
    }

    /// What the probes have cost since the last time, of one processor. Widens the distance of samples if there are
    /// too many.
    fn load(&mut self) -> Result<f64, Problem> {
        let counters = self.kernel.counters()?;
        let (since, before, samples) = self.second;
        let seconds = since.elapsed().as_secs_f64();
        let lost = counters.lost.saturating_sub(before.lost);
        let taken = self.outstanding.samples() - samples + lost;
        let allocations = counters.allocations.saturating_sub(before.allocations);
        let frees = counters.frees.saturating_sub(before.frees);
        let load = self.cost.of(allocations, taken, frees) / seconds;
        self.load_peak = self.load_peak.max(load);
        if self.settings.sample_bytes == 0
            && let Some(mean) = sampling::widened(self.mean, taken, seconds)
        {
            self.mean = mean;
            self.kernel.sample(true, mean)?;
        }
        self.second = (Instant::now(), counters, self.outstanding.samples());
        Ok(load)
    }

    /// What is held now, and what has come since the report before.
    fn report(&mut self, only: Option<&HashSet<u64>>) -> Result<Report, Problem> {
        // In this order: what the kernel does not have of the samples that are here was freed.
        self.fetch()?;
        let blocks = self.kernel.blocks()?;
        self.outstanding.keep(&blocks);
        let tallies = self.outstanding.tallies(only);
        let before = std::mem::replace(&mut self.before, tallies.clone());
        let counters = self.kernel.counters()?;
        let seconds = self.started.elapsed().as_secs_f64();
        let cpu =
            cpu_seconds(&self.process).map_or(f64::NAN, |cpu| (cpu - self.cpu_started) / seconds);
        let samples = self.outstanding.samples() + counters.lost;
        let spent = self.cost.of(counters.allocations, samples, counters.frees);
        let load = Load {
            allocations_per_second: counters.allocations as f64 / seconds,
            frees_per_second: counters.frees as f64 / seconds,
            allocation_nanoseconds: self.cost.allocation * 1e9,
            sample_nanoseconds: self.cost.sample * 1e9,
            free_nanoseconds: self.cost.free * 1e9,
            probes: spent / seconds,
            probes_peak: self.load_peak,
            cpu_before: self.cpu_before,
            cpu_traced: cpu,
        };
        let sampled = self.sampling_since.map_or(0.0, |since| since.elapsed().as_secs_f64());
        let mut report = Report::new(
            &self.process,
            load,
            counters,
            self.outstanding.samples(),
            self.mean,
            sampled,
        );
        report.lost = only.is_some();
        report.heaps_not_seen.clone_from(&self.heaps_not_seen);
        report.fill(&tallies, &before, self.settings.top, &self.outstanding, &mut self.unwinder);
        Ok(report)
    }
}

/// Seconds of processor time that a process has used.
fn cpu_seconds(process: &Process) -> Result<f64, Problem> {
    let text = process.text("stat")?;
    let after = text.rsplit_once(')').map_or("", |(_, after)| after);
    let mut fields = after.split_ascii_whitespace().skip(11);
    let mut field = || fields.next().and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
    Ok((field() + field()) / rustix::param::clock_ticks_per_second() as f64)
}
