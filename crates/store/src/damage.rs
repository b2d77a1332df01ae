//! Damage: what was found, where, and where it is kept for people to look at.

use std::fmt;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::disk::{Disk, DiskFile, read_into};
use crate::names;

/// What kind of bytes is damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DamagedPart {
    /// The header of a file; what it says was found elsewhere.
    Header,
    /// The list of runs; it was made anew from the runs' own headers.
    Manifest,
    /// A part of a frame of the journal: entries or their table.
    Frame,
    /// A whole stretch of the journal.
    Journal,
    /// A part of a block of a run: entries or their table.
    Block,
    /// The index or the end of a run; it was made anew from the blocks.
    Index,
    /// A run that the manifest names and that is not there.
    MissingRun,
}

/// Damaged bytes of one file. Everything around them is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The file's name.
    pub file: String,
    /// Where in it, in bytes.
    pub offset: u64,
    /// How many bytes.
    pub bytes: u64,
    /// What they were.
    pub what: DamagedPart,
    /// The file that they were copied to; none if that failed or was not asked for.
    pub quarantined_to: Option<String>,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, offset, bytes, what, .. } = self;
        write!(f, "{file}: {bytes} bytes at {offset} are damaged ({what:?})")?;
        match &self.quarantined_to {
            Some(name) => write!(f, ", kept in {name}"),
            None => Ok(()),
        }
    }
}

impl Damage {
    pub(crate) fn new(file: String, offset: u64, bytes: u64, what: DamagedPart) -> Self {
        Self { file, offset, bytes, what, quarantined_to: None }
    }
}

/// Damage that readers of runs came across, each place once.
#[derive(Debug, Default)]
pub(crate) struct DamageLog(Mutex<Vec<Damage>>);

/// The most places that a log names.
const LOGGED_MAX: usize = 4096;

impl DamageLog {
    pub(crate) fn report(&self, damage: Damage) {
        let mut known = self.lock();
        let same = |one: &Damage| one.file == damage.file && one.offset == damage.offset;
        if known.len() < LOGGED_MAX && !known.iter().any(same) {
            known.push(damage);
        }
    }

    /// All places so far.
    pub(crate) fn all(&self) -> Vec<Damage> {
        self.lock().clone()
    }

    /// Copies what is not yet in quarantine.
    pub(crate) fn quarantine<D: Disk>(&self, disk: &D) {
        let waits = |damage: &Damage| damage.quarantined_to.is_none();
        if !self.lock().iter().any(waits) {
            return;
        }
        for mut damage in self.all().into_iter().filter(waits) {
            quarantine(disk, &mut damage);
            let mut known = self.lock();
            let same = |one: &&mut Damage| one.file == damage.file && one.offset == damage.offset;
            if let Some(place) = known.iter_mut().find(same) {
                place.quarantined_to = damage.quarantined_to;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Damage>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The most bytes of one damage that are copied.
const QUARANTINE_BYTES_MAX: u64 = 16 << 20;
/// The most quarantine files in a directory.
const QUARANTINE_FILES_MAX: usize = 256;

/// Copies damaged bytes into a file of their own and notes its name. That this fails changes
/// nothing but the note.
pub(crate) fn quarantine<D: Disk>(disk: &D, damage: &mut Damage) {
    let name = names::damaged(&damage.file, damage.offset);
    if damage.quarantined_to.is_none() && copy(disk, damage, &name).is_ok() {
        damage.quarantined_to = Some(name);
    }
}

fn copy<D: Disk>(disk: &D, damage: &Damage, name: &str) -> io::Result<()> {
    let kept = disk.list()?;
    if kept.iter().any(|kept| kept == name) {
        return Ok(());
    }
    let quarantined = kept.iter().filter(|name| names::parse(name) == names::Name::Damaged);
    if quarantined.count() >= QUARANTINE_FILES_MAX {
        return Err(io::Error::other("enough is kept already"));
    }
    let mut bytes = Vec::new();
    let length = damage.bytes.min(QUARANTINE_BYTES_MAX) as usize;
    read_into(&disk.open(&damage.file)?, damage.offset, length, &mut bytes)?;
    let file = disk.create(name)?;
    let written = file.write_at(0, &bytes).and_then(|()| file.sync());
    if written.is_err() {
        // Half a copy would be taken for the whole one next time.
        let _ = disk.remove(name);
    }
    written
}
