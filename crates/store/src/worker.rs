//! The heavy work: memtables into runs, runs into fewer runs, and the manifest that names them.
//!
//! It is done in steps, on the store's background thread or within `maintain`.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::cursor::{Cursor, MemtableCursor, Merging};
use crate::disk::Disk;
use crate::manifest::Manifest;
use crate::memtable::Memtable;
use crate::names;
use crate::numbers::FileNumbers;
use crate::options::Options;
use crate::run::{Run, RunContext, RunCursor, RunFacts};
use crate::run_writer::RunWriter;
use crate::tiers::{self, Tier};

/// The runs of a store, newest first.
pub(crate) type Runs<D> = Vec<Arc<Run<D>>>;

/// Entries of a merge between two looks at what else is to be done.
const STEP_ENTRIES: usize = 4096;

/// A merge under way.
struct Merge<D: Disk> {
    /// The numbers of the runs that become one, newest first.
    inputs: Vec<u64>,
    merging: Merging<RunCursor<D>>,
    writer: RunWriter<D>,
}

/// What a step did.
#[derive(Debug)]
pub(crate) enum Step {
    /// There is nothing to do.
    Idle,
    /// There is more to do.
    Working,
    /// The runs are others now.
    Merged,
    /// It failed; nothing has changed.
    Failed(io::Error),
}

/// Owns the list of runs, and changes it.
pub(crate) struct Worker<D: Disk> {
    disk: Arc<D>,
    numbers: Arc<FileNumbers>,
    options: Options,
    context: RunContext,
    runs: Runs<D>,
    generation: u64,
    flushed: u64,
    merge: Option<Merge<D>>,
    /// After a failed merge: none until asked again.
    rests: bool,
    /// Files that no manifest names any more, or never did.
    leftovers: Vec<String>,
    bytes_written: Arc<AtomicU64>,
}

impl<D: Disk> Worker<D> {
    pub(crate) fn new(
        disk: Arc<D>,
        numbers: Arc<FileNumbers>,
        options: Options,
        context: RunContext,
        manifest: &Manifest,
        runs: Runs<D>,
    ) -> Self {
        Self {
            disk,
            numbers,
            options,
            context,
            runs,
            generation: manifest.generation,
            flushed: manifest.flushed,
            merge: None,
            rests: false,
            leftovers: Vec::new(),
            bytes_written: Arc::default(),
        }
    }

    pub(crate) fn runs(&self) -> Runs<D> {
        self.runs.clone()
    }

    pub(crate) fn bytes_written(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.bytes_written)
    }

    /// A file that can go with the next manifest.
    pub(crate) fn leave(&mut self, name: String) {
        self.leftovers.push(name);
    }

    /// Lets merging be tried again.
    pub(crate) fn retry(&mut self) {
        self.rests = false;
    }

    /// Writes a memtable into a run, durably. `through` is the last batch of the journal in it.
    pub(crate) fn flush(&mut self, memtable: &Memtable, through: u64) -> io::Result<()> {
        let number = self.numbers.take();
        let facts = RunFacts { number, first_age: number, last_age: number, through };
        let written = self.write_memtable(memtable, facts);
        let run = self.keep_or_remove(number, written)?;
        let mut runs = self.runs.clone();
        let name = run.as_ref().map(Run::name);
        runs.splice(0..0, run.map(Arc::new));
        let published = self.publish(runs, through);
        if published.is_err() {
            // The manifest that names it may be the one on the disk: it stays until the next.
            self.leftovers.extend(name);
        }
        self.rests &= published.is_err();
        published
    }

    fn write_memtable(&self, memtable: &Memtable, facts: RunFacts) -> io::Result<Option<Run<D>>> {
        let sources = vec![MemtableCursor::new(memtable, &[])];
        let mut merging = Merging::new(sources, self.runs.is_empty())?;
        if merging.entry().is_none() {
            return Ok(None);
        }
        let block_bytes = self.options.block_bytes;
        let mut writer = RunWriter::create(&*self.disk, facts, block_bytes, &self.context)?;
        while let Some(entry) = merging.entry() {
            writer.push(entry)?;
            merging.advance()?;
        }
        self.finish(writer).map(Some)
    }

    fn finish(&self, writer: RunWriter<D>) -> io::Result<Run<D>> {
        let run = writer.finish(&*self.disk)?;
        self.bytes_written.fetch_add(run.bytes, Ordering::Relaxed);
        Ok(run)
    }

    /// After a failure, removes what was written of a run.
    fn keep_or_remove<T>(&mut self, number: u64, written: io::Result<T>) -> io::Result<T> {
        if written.is_err() {
            for name in [names::building(number), names::run(number)] {
                match self.disk.remove(&name) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => self.leave(name),
                    _ => {}
                }
            }
        }
        written
    }

    /// Makes these the runs, durably.
    fn publish(&mut self, runs: Runs<D>, flushed: u64) -> io::Result<()> {
        // Even a manifest that could not be written may be there, so its number is used up.
        self.generation += 1;
        let manifest = Manifest {
            generation: self.generation,
            flushed,
            next_number: self.numbers.next(),
            runs: runs.iter().map(|run| run.facts).collect(),
        };
        let bytes = manifest.write(&*self.disk)?;
        self.bytes_written.fetch_add(bytes, Ordering::Relaxed);
        self.runs = runs;
        self.flushed = flushed;
        let disk = &self.disk;
        self.leftovers.retain(|name| match disk.remove(name) {
            Ok(()) => false,
            Err(error) => error.kind() != io::ErrorKind::NotFound,
        });
        Ok(())
    }

    /// Does a piece of merging.
    pub(crate) fn step(&mut self) -> Step {
        let done = match self.merge.take() {
            Some(merge) => self.go_on(merge),
            None if self.rests => Ok(Step::Idle),
            None => self.begin(),
        };
        done.unwrap_or_else(|error| {
            self.rests = true;
            Step::Failed(error)
        })
    }

    /// Whether a step would do something.
    pub(crate) fn is_busy(&self) -> bool {
        self.merge.is_some() || (!self.rests && self.choose().is_some())
    }

    fn choose(&self) -> Option<std::ops::Range<usize>> {
        let tier = |run: &Arc<Run<D>>| Tier { bytes: run.bytes, counts: run.counts };
        let tiers: Vec<_> = self.runs.iter().map(tier).collect();
        tiers::choose(&tiers, self.options.merge_runs, self.options.memtable_bytes as u64)
    }

    fn begin(&mut self) -> io::Result<Step> {
        let Some(range) = self.choose() else { return Ok(Step::Idle) };
        let is_oldest = range.end == self.runs.len();
        let runs = self.runs.get(range).unwrap_or_default().to_vec();
        let (Some(newest), Some(oldest)) = (runs.first(), runs.last()) else {
            return Ok(Step::Idle);
        };
        let facts = RunFacts {
            number: self.numbers.take(),
            first_age: oldest.facts.first_age,
            last_age: newest.facts.last_age,
            through: newest.facts.through,
        };
        let inputs = runs.iter().map(|run| run.facts.number).collect();
        let cursor = |run| RunCursor::new(run, &[], self.context.ledger);
        let cursors = runs.into_iter().map(cursor).collect::<io::Result<Vec<_>>>()?;
        let merging = Merging::new(cursors, is_oldest)?;
        let block_bytes = self.options.block_bytes;
        let created = RunWriter::create(&*self.disk, facts, block_bytes, &self.context);
        let writer = self.keep_or_remove(facts.number, created)?;
        self.merge = Some(Merge { inputs, merging, writer });
        Ok(Step::Working)
    }

    fn go_on(&mut self, mut merge: Merge<D>) -> io::Result<Step> {
        let number = merge.writer.facts().number;
        let stepped = merge_some(&mut merge);
        if self.keep_or_remove(number, stepped)? {
            self.merge = Some(merge);
            return Ok(Step::Working);
        }
        // What was damaged in the inputs is in quarantine before they go.
        self.context.log.quarantine(&*self.disk);
        let Merge { inputs, writer, .. } = merge;
        let finished = if writer.counts().total() == 0 {
            self.leave(names::building(number));
            Ok(None)
        } else {
            self.finish(writer).map(Some)
        };
        let run = self.keep_or_remove(number, finished)?;
        self.replace(&inputs, run)?;
        Ok(Step::Merged)
    }

    /// Puts a merged run in the place of its inputs.
    fn replace(&mut self, inputs: &[u64], run: Option<Run<D>>) -> io::Result<()> {
        let name = run.as_ref().map(Run::name);
        let is_input = |run: &Arc<Run<D>>| inputs.contains(&run.facts.number);
        let place = self.runs.iter().position(is_input).unwrap_or(0);
        let mut runs: Runs<D> = self.runs.iter().filter(|run| !is_input(run)).cloned().collect();
        runs.splice(place..place, run.map(Arc::new));
        // These must go only once the manifest is there, and not with one that fails.
        let gone: Vec<_> = inputs.iter().map(|number| names::run(*number)).collect();
        match self.publish(runs, self.flushed) {
            Ok(()) => {
                for name in gone {
                    if self.disk.remove(&name).is_err() {
                        self.leave(name);
                    }
                }
                Ok(())
            }
            Err(error) => {
                self.leftovers.extend(name);
                Err(error)
            }
        }
    }

    /// Ends without finishing a merge.
    pub(crate) fn abandon(&mut self) {
        if let Some(merge) = self.merge.take() {
            let _ = self.disk.remove(&names::building(merge.writer.facts().number));
        }
    }
}

/// Merges some entries; says whether there are more.
fn merge_some<D: Disk>(merge: &mut Merge<D>) -> io::Result<bool> {
    for _ in 0..STEP_ENTRIES {
        let Some(entry) = merge.merging.entry() else { return Ok(false) };
        merge.writer.push(entry)?;
        merge.merging.advance()?;
    }
    Ok(true)
}
