//! A disk in memory that loses, tears, fails and fills up, as it is told to.
//!
//! What is synced and what is not are kept apart. A [`crash`](SimulatedDisk::crash) decides for
//! each sector of 512 bytes that is not synced which of the contents that it had since the last
//! sync it has now, and for each change of a name whether it happened. The same seed decides the
//! same.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::disk::{Disk, DiskFile};

mod file;

use file::FileState;

/// Bytes of a sector: it is written as a whole or not at all.
pub const SECTOR_BYTES: usize = 512;

/// A disk in memory. A clone is a handle to the same one.
#[derive(Clone, Debug, Default)]
pub struct SimulatedDisk {
    state: Arc<Mutex<State>>,
}

/// An open file of a [`SimulatedDisk`]. A crash makes it useless, as a reboot would.
#[derive(Clone, Debug)]
pub struct SimulatedFile {
    state: Arc<Mutex<State>>,
    inode: usize,
    /// How many crashes there had been when it was opened.
    life: u64,
}

/// A change of names that is not synced.
#[derive(Clone, Debug)]
enum NameChange {
    Create { name: String, inode: usize },
    Rename { from: String, to: String },
    Remove { name: String },
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<String, usize>) {
        match self {
            Self::Create { name, inode } => {
                names.insert(name.clone(), *inode);
            }
            Self::Rename { from, to } => {
                if let Some(inode) = names.remove(from) {
                    names.insert(to.clone(), inode);
                }
            }
            Self::Remove { name } => {
                names.remove(name);
            }
        }
    }

    fn touches(&self) -> [&str; 2] {
        match self {
            Self::Create { name, .. } | Self::Remove { name } => [name, name],
            Self::Rename { from, to } => [from, to],
        }
    }
}

/// What goes wrong.
#[derive(Debug, Default)]
struct Faults {
    /// Operations until one fails; then none.
    fail_in: Option<u64>,
    writes_fail: bool,
    syncs_fail: bool,
    bytes_max: Option<u64>,
}

/// What has been done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Operations {
    /// All of them, reads included.
    pub all: u64,
    /// Writes.
    pub writes: u64,
    /// Bytes that writes were given.
    pub bytes_written: u64,
    /// Bytes of whole 4 KiB pages that syncs wrote.
    pub page_bytes_synced: u64,
    /// Syncs of files.
    pub syncs: u64,
}

#[derive(Debug, Default)]
struct State {
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    name_changes: Vec<NameChange>,
    files: BTreeMap<usize, FileState>,
    next_inode: usize,
    life: u64,
    faults: Faults,
    operations: Operations,
}

/// How an operation is treated when faults are looked for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Operation {
    Read,
    Write,
    Sync,
}

impl State {
    /// Counts an operation, and fails it if it is its turn.
    fn begin(&mut self, operation: Operation) -> io::Result<()> {
        self.operations.all += 1;
        let counted = self.faults.fail_in.map(|left| left.saturating_sub(1));
        let is_turn = counted == Some(0);
        self.faults.fail_in = if is_turn { None } else { counted };
        let fails = match operation {
            Operation::Read => false,
            Operation::Write => self.faults.writes_fail,
            Operation::Sync => self.faults.syncs_fail,
        };
        if is_turn || fails {
            return Err(io::Error::other("a simulated disk was told to fail"));
        }
        Ok(())
    }

    /// Bytes of all files that have a name.
    fn bytes(&self) -> u64 {
        let lengths = self.names.values().filter_map(|inode| self.files.get(inode));
        lengths.map(|file| file.len() as u64).sum()
    }

    fn check_room(&self, inode: usize, end: usize) -> io::Result<()> {
        let Some(most) = self.faults.bytes_max else { return Ok(()) };
        let length = self.files.get(&inode).map_or(0, FileState::len);
        if end > length && self.bytes() + (end - length) as u64 > most {
            return Err(io::Error::new(io::ErrorKind::StorageFull, "the simulated disk is full"));
        }
        Ok(())
    }

    /// The state after a crash of names: a change happened only if all before it that touch the
    /// same names did.
    fn crash_names(&mut self, random: &mut Random) {
        let mut lost: Vec<String> = Vec::new();
        for change in std::mem::take(&mut self.name_changes) {
            let touched = change.touches();
            let depends = lost.iter().any(|name| touched.contains(&name.as_str()));
            if depends || random.below(2) == 0 {
                lost.extend(touched.map(str::to_owned));
            } else {
                change.apply(&mut self.durable_names);
            }
        }
        self.names = self.durable_names.clone();
    }

    /// Forgets files that nothing can reach any more.
    fn forget_nameless(&mut self) {
        let (names, durable) = (&self.names, &self.durable_names);
        let named: BTreeSet<_> = names.values().chain(durable.values()).copied().collect();
        self.files.retain(|inode, _| named.contains(inode));
    }
}

impl SimulatedDisk {
    /// An empty disk without faults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Everything that is not synced happened, or did not, or in parts; faults end.
    pub fn crash(&self, seed: u64) {
        let mut state = self.lock();
        let mut random = Random::new(seed);
        state.life += 1;
        state.faults = Faults { bytes_max: state.faults.bytes_max, ..Faults::default() };
        state.crash_names(&mut random);
        state.files.values_mut().for_each(|file| file.crash(&mut random));
        state.forget_nameless();
    }

    /// The operation that is the `n`-th from now on fails, once; counted from one.
    pub fn fail_nth(&self, n: u64) {
        self.lock().faults.fail_in = Some(n.max(1));
    }

    /// Whether the failure asked for with [`fail_nth`](Self::fail_nth) is still to come.
    pub fn failure_is_due(&self) -> bool {
        self.lock().faults.fail_in.is_some()
    }

    /// Whether all writes, creations, renames and removals fail.
    pub fn set_writes_fail(&self, fail: bool) {
        self.lock().faults.writes_fail = fail;
    }

    /// Whether all syncs fail. What a failed sync was to write is written or not, as the next
    /// crash decides, and no later sync of the same file makes up for it.
    pub fn set_syncs_fail(&self, fail: bool) {
        self.lock().faults.syncs_fail = fail;
    }

    /// Files may have so many bytes together; a write beyond it fails with `StorageFull`.
    pub fn set_bytes_max(&self, bytes: Option<u64>) {
        self.lock().faults.bytes_max = bytes;
    }

    /// No more faults.
    pub fn heal(&self) {
        self.lock().faults = Faults::default();
    }

    /// Changes bits of one byte, on the medium and in the cache. False if it is not there.
    pub fn flip(&self, name: &str, at: u64, bits: u8) -> bool {
        let mut state = self.lock();
        let Some(inode) = state.names.get(name).copied() else { return false };
        state.files.get_mut(&inode).is_some_and(|file| file.flip(at as usize, bits))
    }

    /// The content of a file as a reader sees it.
    pub fn content(&self, name: &str) -> Option<Vec<u8>> {
        let state = self.lock();
        let inode = state.names.get(name)?;
        state.files.get(inode).map(|file| file.content().to_vec())
    }

    /// A disk of its own with the same content, all of it synced.
    #[must_use]
    pub fn copy(&self) -> Self {
        let state = self.lock();
        let files = state.files.iter().map(|(inode, file)| (*inode, file.synced_copy()));
        let copy = State {
            names: state.names.clone(),
            durable_names: state.names.clone(),
            files: files.collect(),
            next_inode: state.next_inode,
            ..State::default()
        };
        Self { state: Arc::new(Mutex::new(copy)) }
    }

    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.lock().bytes()
    }

    /// What has been done so far.
    pub fn operations(&self) -> Operations {
        self.lock().operations
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn file(&self, inode: usize, life: u64) -> SimulatedFile {
        SimulatedFile { state: Arc::clone(&self.state), inode, life }
    }
}

fn not_found(name: &str) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("there is no {name}"))
}

impl Disk for SimulatedDisk {
    type File = SimulatedFile;

    fn list(&self) -> io::Result<Vec<String>> {
        let mut state = self.lock();
        state.begin(Operation::Read)?;
        Ok(state.names.keys().cloned().collect())
    }

    fn open(&self, name: &str) -> io::Result<SimulatedFile> {
        let mut state = self.lock();
        state.begin(Operation::Read)?;
        let inode = state.names.get(name).copied().ok_or_else(|| not_found(name))?;
        Ok(self.file(inode, state.life))
    }

    fn create(&self, name: &str) -> io::Result<SimulatedFile> {
        let mut state = self.lock();
        state.begin(Operation::Write)?;
        let inode = state.next_inode;
        state.next_inode += 1;
        state.files.insert(inode, FileState::default());
        let change = NameChange::Create { name: name.to_owned(), inode };
        change.apply(&mut state.names);
        state.name_changes.push(change);
        Ok(self.file(inode, state.life))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.lock();
        state.begin(Operation::Write)?;
        if !state.names.contains_key(from) {
            return Err(not_found(from));
        }
        let change = NameChange::Rename { from: from.to_owned(), to: to.to_owned() };
        change.apply(&mut state.names);
        state.name_changes.push(change);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.lock();
        state.begin(Operation::Write)?;
        if !state.names.contains_key(name) {
            return Err(not_found(name));
        }
        let change = NameChange::Remove { name: name.to_owned() };
        change.apply(&mut state.names);
        state.name_changes.push(change);
        Ok(())
    }

    fn sync_dir(&self) -> io::Result<()> {
        let mut state = self.lock();
        state.begin(Operation::Sync)?;
        let changes = std::mem::take(&mut state.name_changes);
        for change in &changes {
            change.apply(&mut state.durable_names);
        }
        Ok(())
    }
}

impl SimulatedFile {
    fn with<T>(
        &self,
        operation: Operation,
        work: impl FnOnce(&mut State) -> io::Result<T>,
    ) -> io::Result<T> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.life != self.life {
            return Err(io::Error::other("the simulated machine has crashed since"));
        }
        state.begin(operation)?;
        work(&mut state)
    }
}

impl SimulatedFile {
    /// A write that failed may have done a part of what it should.
    fn write_short(&self, at: usize, bytes: &[u8]) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.life == self.life
            && state.check_room(self.inode, at + bytes.len()).is_ok()
            && let Some(file) = state.files.get_mut(&self.inode)
        {
            file.write(at, bytes);
        }
    }
}

fn gone() -> io::Error {
    io::Error::other("the simulated file is gone")
}

impl DiskFile for SimulatedFile {
    fn len(&self) -> io::Result<u64> {
        self.with(Operation::Read, |state| {
            state.files.get(&self.inode).map(|file| file.len() as u64).ok_or_else(gone)
        })
    }

    fn read_at(&self, at: u64, into: &mut [u8]) -> io::Result<usize> {
        self.with(Operation::Read, |state| {
            let file = state.files.get(&self.inode).ok_or_else(gone)?;
            let rest = file.content().get(at as usize..).unwrap_or_default();
            let bytes = rest.len().min(into.len());
            into[..bytes].copy_from_slice(&rest[..bytes]);
            Ok(bytes)
        })
    }

    fn write_at(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        let written = self.with(Operation::Write, |state| {
            state.check_room(self.inode, at as usize + bytes.len())?;
            state.operations.writes += 1;
            state.operations.bytes_written += bytes.len() as u64;
            let file = state.files.get_mut(&self.inode).ok_or_else(gone)?;
            file.write(at as usize, bytes);
            Ok(())
        });
        if written.is_err() {
            self.write_short(at as usize, bytes.get(..bytes.len() / 2).unwrap_or_default());
        }
        written
    }

    fn sync(&self) -> io::Result<()> {
        let synced = self.with(Operation::Sync, |state| {
            let file = state.files.get_mut(&self.inode).ok_or_else(gone)?;
            let bytes = file.sync();
            state.operations.syncs += 1;
            state.operations.page_bytes_synced += bytes;
            Ok(())
        });
        if synced.is_err() {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(file) = state.files.get_mut(&self.inode) {
                file.fail_sync();
            }
        }
        synced
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.with(Operation::Write, |state| {
            state.check_room(self.inode, len as usize)?;
            let file = state.files.get_mut(&self.inode).ok_or_else(gone)?;
            file.set_len(len as usize);
            Ok(())
        })
    }
}

/// A sequence of numbers that a seed decides.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number (splitmix64).
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after_crash(seed: u64) -> (Option<Vec<u8>>, Option<Vec<u8>>) {
        let disk = SimulatedDisk::new();
        let file = disk.create("a").unwrap();
        file.write_at(0, &[1; 2048]).unwrap();
        file.sync().unwrap();
        disk.sync_dir().unwrap();
        file.write_at(100, &[2; 1500]).unwrap();
        disk.create("b").unwrap().write_at(0, b"x").unwrap();
        disk.crash(seed);
        assert!(file.len().is_err(), "a handle does not outlive a crash");
        (disk.content("a"), disk.content("b"))
    }

    #[test]
    fn a_crash_tears_at_sectors_and_the_seed_decides() {
        let mut outcomes = std::collections::BTreeSet::new();
        for seed in 0..200 {
            let (a, b) = after_crash(seed);
            assert_eq!((a.clone(), b.clone()), after_crash(seed));
            let a = a.expect("its name was synced");
            assert_eq!(a.len(), 2048);
            let changed: Vec<_> = (0..4).map(|sector| a[sector * 512 + 200] == 2).collect();
            assert!(a[512..1024].iter().all(|byte| *byte == a[512]), "half a sector");
            outcomes.insert((changed, b.is_some()));
        }
        assert_eq!(outcomes.len(), 16, "3 sectors and a name, each there or not");
    }

    #[test]
    fn faults_come_when_told() {
        let disk = SimulatedDisk::new();
        let file = disk.create("a").unwrap();
        disk.fail_nth(2);
        file.write_at(0, b"x").unwrap();
        assert!(file.write_at(1, b"y").is_err());
        file.write_at(1, b"z").unwrap();
        disk.set_bytes_max(Some(4));
        let error = file.write_at(2, b"abc").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        file.write_at(0, b"abcd").unwrap();
        disk.set_syncs_fail(true);
        assert!(file.sync().is_err() && disk.sync_dir().is_err());
        disk.heal();
        assert!(disk.flip("a", 3, 1) && !disk.flip("a", 4, 1));
        assert_eq!(disk.content("a").unwrap(), b"abce");
    }

    #[test]
    fn a_sync_does_not_make_up_for_a_failed_one() {
        let lost = (0..64).filter(|seed| {
            let disk = SimulatedDisk::new();
            let file = disk.create("a").unwrap();
            file.write_at(0, &[0; 512]).unwrap();
            file.sync().unwrap();
            disk.sync_dir().unwrap();
            file.write_at(0, &[1; 512]).unwrap();
            disk.set_syncs_fail(true);
            assert!(file.sync().is_err());
            disk.heal();
            file.sync().unwrap();
            disk.crash(*seed);
            disk.content("a").unwrap() == [0; 512]
        });
        assert!((10..54).contains(&lost.count()));
    }
}
