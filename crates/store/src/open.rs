//! Opening a store: the manifest, the runs, the journal, in this order.

use std::io;
use std::sync::Arc;

use plimsoll_ledger::Ledger;

use crate::background::Background;
use crate::damage::{Damage, DamageLog, DamagedPart, quarantine};
use crate::disk::{Disk, DiskFile};
use crate::entries::Kind;
use crate::errors::OpenError;
use crate::journal::Journal;
use crate::manifest::{self, Manifest};
use crate::memtable::Memtable;
use crate::names::{self, Name};
use crate::numbers::FileNumbers;
use crate::options::Options;
use crate::replay::{Replayed, TornTail, replay, scrub};
use crate::run::{Run, RunContext};
use crate::store::{Parts, Store};
use crate::worker::{Runs, Worker};

/// What was found when a store was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Whether there was no store before.
    pub is_new: bool,
    /// Batches that were replayed from the journal.
    pub batches: u64,
    /// Entries in those.
    pub entries: u64,
    /// Runs.
    pub runs: usize,
    /// Entries in the runs, those that are overwritten or deleted included.
    pub run_entries: u64,
    /// Where a crash tore the journal, if it did.
    pub torn: Option<TornTail>,
    /// What is damaged. The blocks of runs are checked when they are read: see
    /// [`Store::damages`].
    pub damages: Vec<Damage>,
}

impl<D: Disk> Store<D> {
    /// Opens a store, or makes a new one.
    ///
    /// # Errors
    /// A file of a newer format, or a failure of the system. Damage is none: what it touches is
    /// named in the [`Recovery`], and everything else is served.
    pub fn open(
        disk: D,
        options: Options,
        ledger: &'static Ledger,
    ) -> Result<(Self, Recovery), OpenError> {
        let disk = Arc::new(disk);
        let options = options.sane();
        let log = Arc::new(DamageLog::default());
        let context = RunContext { log: Arc::clone(&log), ledger };
        let mut found = Catalog::read(&*disk, &context)?;
        // Before the next manifest is written over a damaged one.
        log.quarantine(&*disk);
        let numbers = Arc::new(FileNumbers::starting_at(found.next_number));
        let mut worker = Worker::new(
            Arc::clone(&disk),
            Arc::clone(&numbers),
            options.clone(),
            context,
            &found.manifest,
            std::mem::take(&mut found.runs),
        );
        let (memtable, mut replayed) = recover(&*disk, &found, &options, ledger, &mut worker)?;
        scrub(&*disk, &mut replayed).map_err(|error| io_error("cutting the journal", error))?;
        let next = replayed.last_sequence.max(found.manifest.flushed) + 1;
        let mut journal =
            Journal::new(Arc::clone(&disk), Arc::clone(&numbers), &options, ledger, next);
        adopt(&mut journal, &*disk, &replayed, &options)?;
        let recovery = report(&*disk, &log, &found, &replayed, &worker.runs());
        // Only a manifest makes sure that files without a name in it are not needed.
        found.leftovers.iter().for_each(|name| worker.leave(name.clone()));
        let memtable =
            settle(memtable, replayed.last_sequence, &mut worker, &mut journal, &options, ledger);
        let (runs, run_bytes_written) = (worker.runs(), worker.bytes_written());
        let background = if options.inline {
            Background::inline(worker, Arc::clone(&disk))
        } else {
            let started = Background::thread(worker, Arc::clone(&disk));
            started.map_err(|error| io_error("starting a thread", error))?
        };
        let store = Self::assemble(Parts {
            journal,
            memtable,
            runs,
            background,
            disk,
            numbers,
            log,
            options,
            ledger,
            run_bytes_written,
        });
        Ok((store, recovery))
    }
}

fn io_error(what: &str, error: io::Error) -> OpenError {
    OpenError::Io { what: what.to_owned(), error }
}

/// What a directory holds besides the journal.
pub(crate) struct Catalog<D: Disk> {
    pub(crate) manifest: Manifest,
    pub(crate) runs: Runs<D>,
    pub(crate) next_number: u64,
    is_new: bool,
    /// A run of the manifest is not there, so all of the journal is of use.
    run_is_missing: bool,
    leftovers: Vec<String>,
}

impl<D: Disk> Catalog<D> {
    pub(crate) fn read(disk: &D, context: &RunContext) -> Result<Self, OpenError> {
        let names = disk.list()?;
        let next_number =
            names.iter().filter_map(|name| names::number(name)).max().unwrap_or(0) + 1;
        let found = Manifest::read(disk)?;
        let is_new = matches!(found, manifest::Found::None)
            && !names
                .iter()
                .any(|name| matches!(names::parse(name), Name::Run(_) | Name::Journal(_)));
        let mut catalog = Self {
            manifest: Manifest::default(),
            runs: Vec::new(),
            next_number,
            is_new,
            run_is_missing: false,
            leftovers: Vec::new(),
        };
        match found {
            manifest::Found::Sound(manifest) => {
                catalog.next_number = next_number.max(manifest.next_number);
                catalog.open_named(disk, &manifest, &names, context)?;
                catalog.manifest = manifest;
            }
            // A store has runs before it has a manifest only if the manifest was lost.
            manifest::Found::None => catalog.open_all(disk, &names, context)?,
            manifest::Found::Damaged(bytes) => {
                let name = names::MANIFEST.to_owned();
                context.log.report(Damage::new(name, 0, bytes, DamagedPart::Manifest));
                catalog.open_all(disk, &names, context)?;
            }
        }
        let unfinished =
            |name: &&String| matches!(names::parse(name), Name::Building(_) | Name::ManifestNew);
        catalog.leftovers.extend(names.iter().filter(unfinished).cloned());
        Ok(catalog)
    }

    /// The batch behind which the journal is of use.
    pub(crate) fn replay_from(&self) -> u64 {
        if self.run_is_missing { 0 } else { self.manifest.flushed }
    }

    fn open_named(
        &mut self,
        disk: &D,
        manifest: &Manifest,
        names: &[String],
        context: &RunContext,
    ) -> Result<(), OpenError> {
        for facts in &manifest.runs {
            let name = names::run(facts.number);
            if names.contains(&name) {
                let run = Run::open(disk, facts.number, Some(*facts), context)?;
                self.runs.push(Arc::new(run));
            } else {
                self.run_is_missing = true;
                context.log.report(Damage::new(name, 0, 0, DamagedPart::MissingRun));
            }
        }
        for name in names {
            if let Name::Run(number) = names::parse(name)
                && !manifest.runs.iter().any(|run| run.number == number)
            {
                self.leftovers.push(name.clone());
            }
        }
        Ok(())
    }

    /// Finds out from the runs themselves which of them are the store.
    fn open_all(
        &mut self,
        disk: &D,
        names: &[String],
        context: &RunContext,
    ) -> Result<(), OpenError> {
        let mut all = Vec::new();
        for name in names {
            if let Name::Run(number) = names::parse(name) {
                all.push(Run::open(disk, number, None, context)?);
            }
        }
        // The newest file first, so that a merged run stands before what it was made from.
        all.sort_unstable_by_key(|run| std::cmp::Reverse(run.facts.number));
        let mut kept: Vec<Run<D>> = Vec::new();
        for run in all {
            let is_within = |other: &Run<D>| {
                other.facts.first_age <= run.facts.first_age
                    && run.facts.last_age <= other.facts.last_age
            };
            if kept.iter().any(is_within) {
                self.leftovers.push(run.name());
            } else {
                kept.push(run);
            }
        }
        kept.sort_unstable_by_key(|run| std::cmp::Reverse(run.facts.last_age));
        self.manifest.flushed = kept.iter().map(|run| run.facts.through).max().unwrap_or(0);
        self.runs = kept.into_iter().map(Arc::new).collect();
        Ok(())
    }
}

/// Replays the journal, writing runs in between if it is longer than memory should be.
fn recover<D: Disk>(
    disk: &D,
    found: &Catalog<D>,
    options: &Options,
    ledger: &'static Ledger,
    worker: &mut Worker<D>,
) -> Result<(Memtable, Replayed), OpenError> {
    let mut memtable = Memtable::new(ledger, options.memtable_bytes);
    let flushed = found.replay_from();
    let mut before = flushed;
    let mut last = flushed;
    let mut is_stuck = false;
    let replayed = replay(disk, flushed, &mut |sequence, entry| {
        if sequence != last {
            (before, last) = (last, sequence);
            let is_full = memtable.bytes() >= options.memtable_bytes;
            if is_full && !is_stuck && before > found.manifest.flushed {
                // A full disk is no reason not to start: then it takes memory.
                is_stuck = worker.flush(&memtable, before).is_err();
                if !is_stuck {
                    memtable = Memtable::new(ledger, options.memtable_bytes);
                }
            }
        }
        let mut entry = entry;
        if sequence <= found.manifest.flushed && entry.kind == Kind::Insert {
            // It may be in a run already, so it must not vanish together with its delete.
            entry.kind = Kind::Put;
        }
        memtable.apply(entry);
    })?;
    Ok((memtable, replayed))
}

/// Gives the journal the segments that are there.
fn adopt<D: Disk>(
    journal: &mut Journal<D>,
    disk: &D,
    replayed: &Replayed,
    options: &Options,
) -> Result<(), OpenError> {
    for segment in &replayed.segments {
        journal.adopt(*segment);
    }
    for name in disk.list()? {
        if let Name::Spare(number) = names::parse(&name) {
            if disk.open(&name)?.len()? == options.segment_bytes {
                journal.adopt_spare(number);
            } else {
                disk.remove(&name)?;
            }
        }
    }
    Ok(())
}

/// Puts what was replayed into a run, so that the old segments can be used again. If that fails
/// it stays in the memtable, and the segments stay.
fn settle<D: Disk>(
    memtable: Memtable,
    last_sequence: u64,
    worker: &mut Worker<D>,
    journal: &mut Journal<D>,
    options: &Options,
    ledger: &'static Ledger,
) -> Memtable {
    if journal.files().1 == 0 && memtable.is_empty() {
        return memtable;
    }
    match worker.flush(&memtable, last_sequence) {
        Ok(()) => {
            journal.release(last_sequence);
            Memtable::new(ledger, options.memtable_bytes)
        }
        Err(_) => memtable,
    }
}

fn report<D: Disk>(
    disk: &D,
    log: &DamageLog,
    found: &Catalog<D>,
    replayed: &Replayed,
    runs: &Runs<D>,
) -> Recovery {
    let mut damages = log.news(disk);
    for damage in &replayed.damages {
        let mut damage = damage.clone();
        quarantine(disk, &mut damage);
        damages.push(damage);
    }
    Recovery {
        is_new: found.is_new,
        batches: replayed.batches,
        entries: replayed.entries,
        runs: runs.len(),
        run_entries: runs.iter().map(|run| run.counts.total()).sum(),
        torn: replayed.torn.clone(),
        damages,
    }
}
