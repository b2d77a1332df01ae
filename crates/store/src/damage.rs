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
pub(crate) struct DamageLog(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    places: Vec<Damage>,
    /// So many were tried to be copied.
    tried: usize,
    /// So many were told.
    told: usize,
}

/// The most places that a log names.
const LOGGED_MAX: usize = 4096;

impl DamageLog {
    pub(crate) fn report(&self, damage: Damage) {
        let places = &mut self.lock().places;
        let same = |one: &Damage| one.file == damage.file && one.offset == damage.offset;
        if places.len() < LOGGED_MAX && !places.iter().any(same) {
            places.push(damage);
        }
    }

    /// All places so far.
    pub(crate) fn all(&self) -> Vec<Damage> {
        self.lock().places.clone()
    }

    /// The places that were found since this was last asked, after they were copied.
    pub(crate) fn news<D: Disk>(&self, disk: &D) -> Vec<Damage> {
        self.quarantine_new(disk);
        let known = &mut *self.lock();
        let from = std::mem::replace(&mut known.told, known.tried);
        known.places.get(from..known.tried).unwrap_or_default().to_vec()
    }

    /// Copies what was not tried before: what cannot be copied is not tried at every commit.
    pub(crate) fn quarantine_new<D: Disk>(&self, disk: &D) {
        let known = &mut *self.lock();
        let from = std::mem::replace(&mut known.tried, known.places.len());
        for damage in known.places.iter_mut().skip(from) {
            quarantine(disk, damage);
        }
    }

    /// Copies everything that is not yet in quarantine.
    pub(crate) fn quarantine<D: Disk>(&self, disk: &D) {
        self.lock().tried = 0;
        self.quarantine_new(disk);
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
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
