//! Verifying a store that nobody uses: every record of every file.

use std::io;
use std::sync::Arc;

use plimsoll_ledger::Ledger;

use crate::cursor::{Cursor, MemtableCursor, Merging};
use crate::damage::{Damage, DamageLog, quarantine};
use crate::disk::Disk;
use crate::entries::{Body, Kind};
use crate::errors::OpenError;
use crate::manifest::Manifest;
use crate::memtable::Memtable;
use crate::names::{self, Name};
use crate::open::Catalog;
use crate::options::Options;
use crate::replay::{TornTail, replay};
use crate::run::{Run, RunContext, RunCursor, RunFacts};
use crate::run_writer::RunWriter;

/// What a check found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckReport {
    /// Files that were read.
    pub files: usize,
    /// Blocks of runs that were read.
    pub blocks: u64,
    /// Sound entries in them.
    pub entries: u64,
    /// Batches of the journal that are in no run yet.
    pub batches: u64,
    /// The end of the journal, if a crash tore it. That is no damage.
    pub torn: Option<TornTail>,
    /// Everything that is damaged.
    pub damages: Vec<Damage>,
    /// Whether what is sound was written anew, so that the next check finds no damage.
    pub is_repaired: bool,
}

/// The ledger of checks: what a tool holds is no part of the broker's accounts.
static LEDGER: Ledger = Ledger::new();

/// Verifies every record of a store that is not open. With `repair`, copies what is damaged into
/// quarantine files and writes everything sound anew; without, nothing is written.
///
/// # Errors
/// A failure of the system, or a file of a newer format (`Unsupported`).
pub fn check<D: Disk>(disk: &D, repair: bool) -> io::Result<CheckReport> {
    let log = Arc::new(DamageLog::default());
    let context = RunContext { log: Arc::clone(&log), ledger: &LEDGER };
    let catalog = Catalog::read(disk, &context).map_err(as_io)?;
    let mut report = CheckReport::default();
    for run in &catalog.runs {
        check_run(run, &mut report)?;
    }
    let (memtable, last_sequence) = check_journal(disk, &catalog, &log, &mut report)?;
    let counted = |name: &&String| !matches!(names::parse(name), Name::Foreign | Name::Lock);
    report.files = disk.list()?.iter().filter(counted).count();
    report.damages = log.all();
    if repair && !report.damages.is_empty() {
        for damage in &mut report.damages {
            quarantine(disk, damage);
        }
        rewrite(disk, &catalog, &memtable, last_sequence, &context)?;
        report.is_repaired = true;
    }
    Ok(report)
}

fn as_io(error: OpenError) -> io::Error {
    match error {
        OpenError::Io { what, error } => io::Error::new(error.kind(), format!("{what}: {error}")),
        other => io::Error::new(io::ErrorKind::Unsupported, other.to_string()),
    }
}

fn check_run<D: Disk>(run: &Run<D>, report: &mut CheckReport) -> io::Result<()> {
    let (mut content, mut body) = (Vec::new(), Body::default());
    let mut block = 0;
    while run.read_block(block, &mut content, &mut body)? {
        block += 1;
        report.blocks += 1;
        report.entries += body.entries.len() as u64;
    }
    Ok(())
}

/// Replays the journal into memory.
fn check_journal<D: Disk>(
    disk: &D,
    catalog: &Catalog<D>,
    log: &DamageLog,
    report: &mut CheckReport,
) -> io::Result<(Memtable, u64)> {
    let mut memtable = Memtable::new(&LEDGER, Options::default().memtable_bytes);
    let known = catalog.manifest.flushed;
    let replayed = replay(disk, catalog.replay_from(), &mut |sequence, mut entry| {
        if sequence <= known && entry.kind == Kind::Insert {
            entry.kind = Kind::Put;
        }
        memtable.apply(entry);
    });
    let replayed = replayed.map_err(as_io)?;
    report.batches = replayed.batches;
    report.torn = replayed.torn;
    for damage in replayed.damages {
        log.report(damage);
    }
    Ok((memtable, replayed.last_sequence.max(known)))
}

/// Writes all that is sound into one new run, and then removes the rest.
fn rewrite<D: Disk>(
    disk: &D,
    catalog: &Catalog<D>,
    memtable: &Memtable,
    last_sequence: u64,
    context: &RunContext,
) -> io::Result<()> {
    let number = catalog.next_number;
    let facts = RunFacts { number, first_age: 0, last_age: number, through: last_sequence };
    let mut writer = RunWriter::create(disk, facts, Options::default().block_bytes, context)?;
    let mut sources: Vec<Box<dyn Cursor + '_>> = vec![Box::new(MemtableCursor::new(memtable, &[]))];
    for run in &catalog.runs {
        sources.push(Box::new(RunCursor::new(Arc::clone(run), &[], &LEDGER)?));
    }
    let mut merging = Merging::new(sources, true)?;
    while let Some(entry) = merging.entry() {
        writer.push(entry)?;
        merging.advance()?;
    }
    writer.finish(disk)?;
    let manifest = Manifest {
        generation: catalog.manifest.generation + 1,
        flushed: last_sequence,
        next_number: number + 1,
        runs: vec![facts],
    };
    manifest.write(disk)?;
    for name in disk.list()? {
        let is_old = match names::parse(&name) {
            Name::Run(other) => other != number,
            Name::Journal(_) | Name::Building(_) | Name::ManifestNew => true,
            _ => false,
        };
        if is_old {
            disk.remove(&name)?;
        }
    }
    disk.sync_dir()
}
