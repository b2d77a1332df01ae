//! The thread that keeps lasting state: it takes the engine's records, stores them in one group,
//! and tells the engine when they are on disk.

use std::fs::File;
use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle, Thread};
use std::time::{Duration, Instant};

use plimsoll_engine::{
    Each, Engine, Input, Load, Record, Records, Restoration, StateReader, Step, Time,
};
use plimsoll_store::{Change, Damage, Directory, OpenError, Options, Recovery, Store};

use super::events::EventLog;
use super::shared::Shared;
use crate::config::{Durability, Persistence};
use crate::state;
use plimsoll_ledger::Ledger;

/// How long to wait for a directory that another process has, for instance a broker that is just
/// going down.
const LOCK_PATIENCE: Duration = Duration::from_secs(3);

/// How long to wait before a write that failed is tried again.
const RETRY: Duration = Duration::from_millis(250);

/// How often the store is given a chance to tidy up while nothing is written.
const IDLE: Duration = Duration::from_millis(500);

/// How often a failure that goes on is named in the log.
const REMIND: Duration = Duration::from_secs(60);

/// Bytes of the newest entries that are kept in memory, and while that is short.
const MEMTABLE: usize = 4 << 20;
const MEMTABLE_TIGHT: usize = 1 << 20;

/// How urgent the thread is: everybody waits for it.
const NICE: i32 = -10;

/// An opened store, on its way to the thread that keeps it.
pub(crate) struct Opened {
    store: Store<Directory>,
    persistence: Persistence,
}

/// What other threads have of the storage thread.
#[derive(Debug)]
pub(crate) struct Handle {
    thread: Thread,
    /// It sleeps, or is about to.
    parked: AtomicBool,
    /// Write everything out to runs.
    checkpoint: AtomicBool,
    /// Nothing more will come.
    finish: AtomicBool,
}

/// Opens the store of a configuration and puts the engine's state back from it.
pub(crate) fn open(
    directory: &File,
    persistence: &Persistence,
    engine: &mut Engine,
    now: Time,
    ledger: &'static Ledger,
    log: &EventLog,
) -> Result<Opened, String> {
    let path = &persistence.location;
    let started = Instant::now();
    let directory = lock(directory, persistence)?;
    let options = Options {
        syncs: persistence.durability == Durability::Fsync,
        memtable_bytes: MEMTABLE,
        ..Options::default()
    };
    let (mut store, recovery) = Store::open(directory, options, ledger)
        .map_err(|error| format!("cannot open the store in {}: {error}", path.display()))?;
    tell_recovery(log, &recovery);
    move_in(persistence, &mut store, now, log)?;
    let restored = restore(&store, engine, now)
        .map_err(|error| format!("cannot read the store in {}: {error}", path.display()))?;
    tell_damages(log, &store.new_damages());
    tell_restored(log, persistence, &restored, started.elapsed());
    Ok(Opened { store, persistence: persistence.clone() })
}

fn lock(handle: &File, persistence: &Persistence) -> Result<Directory, String> {
    let path = &persistence.location;
    let deadline = Instant::now() + LOCK_PATIENCE;
    loop {
        let handle = handle.try_clone().map_err(|error| format!("{}: {error}", path.display()))?;
        match Directory::at(handle, path) {
            Ok(directory) => return Ok(directory),
            Err(OpenError::Locked { .. }) if Instant::now() < deadline => {
                thread::sleep(Duration::from_millis(50));
            }
            Err(error @ OpenError::Locked { .. }) => {
                return Err(format!(
                    "{error}: give this broker a directory of its own (persistence_location), or persistence false"
                ));
            }
            Err(error) => {
                return Err(format!(
                    "cannot keep state in {}: {error}; set persistence_location to a directory that the broker's user may write, or persistence false",
                    path.display(),
                ));
            }
        }
    }
}

/// Takes in what Mosquitto has kept in the same directory, if nothing else is there.
fn move_in(
    persistence: &Persistence,
    store: &mut Store<Directory>,
    now: Time,
    log: &EventLog,
) -> Result<(), String> {
    let file = persistence.location.join(&persistence.import_file);
    let wanted = state::wants_import(store).map_err(|error| format!("the store: {error}"))?;
    if !wanted || !file.exists() {
        return Ok(());
    }
    let imported = state::import(&file, store, now)?;
    log.notice(&format!("Took in {}, which is left as it is:", file.display()));
    for line in imported.text.lines() {
        log.notice(line);
    }
    if !imported.whole {
        log.warning(&format!("Parts of {} could not be read.", file.display()));
    }
    Ok(())
}

fn restore(store: &Store<Directory>, engine: &mut Engine, now: Time) -> io::Result<Restoration> {
    let mut restoring = engine.restore(now);
    store.scan(&[], |key, value| {
        // What cannot be read is counted, and stays where it is.
        let _ = restoring.item(key, value);
        ControlFlow::Continue(())
    })?;
    Ok(restoring.finish())
}

fn tell_recovery(log: &EventLog, recovery: &Recovery) {
    if let Some(torn) = &recovery.torn {
        log.warning(&format!(
            "Store: the last write before the end was not complete; {} bytes at {} of {} are cut. Nothing in them had been acknowledged.",
            torn.bytes, torn.offset, torn.file
        ));
    }
    tell_damages(log, &recovery.damages);
}

fn tell_damages(log: &EventLog, damages: &[Damage]) {
    for damage in damages {
        log.warning(&format!("Store: {damage}."));
    }
}

fn tell_restored(
    log: &EventLog,
    persistence: &Persistence,
    restored: &Restoration,
    took: Duration,
) {
    let promise = match persistence.durability {
        Durability::Fsync => "what is acknowledged is on disk (durability fsync)",
        Durability::Os => {
            "what is acknowledged survives the broker, not the machine (durability os)"
        }
        Durability::Snapshot => "state is saved now and then (durability snapshot)",
    };
    log.notice(&format!("Keeping state in {}: {promise}.", persistence.location.display()));
    log.notice(&format!(
        "Restored {} retained messages, {} sessions ({} more had expired), {} subscriptions and {} queued messages in {:.1} s.",
        restored.retained,
        restored.sessions - restored.expired,
        restored.expired,
        restored.subscriptions,
        restored.queued,
        took.as_secs_f64(),
    ));
    if restored.unreadable > 0 {
        log.warning(&format!(
            "{} stored items cannot be understood, or belong to a session that is not there; they were left alone.",
            restored.unreadable
        ));
    }
}

impl Opened {
    /// Starts the thread.
    pub(crate) fn serve(self, shared: &Arc<Shared>) -> Result<JoinHandle<()>, String> {
        let shared = Arc::clone(shared);
        let thread = thread::Builder::new().name("storage".into());
        let keeper = move || {
            let _ = rustix::process::setpriority_process(None, NICE);
            let handle = Handle {
                thread: thread::current(),
                parked: AtomicBool::new(false),
                checkpoint: AtomicBool::new(false),
                finish: AtomicBool::new(false),
            };
            let handle = shared.set_storage(handle);
            Keeper::new(self, Arc::clone(&shared), handle).run();
        };
        thread.spawn(keeper).map_err(|error| format!("cannot start the storage thread: {error}"))
    }
}

impl Handle {
    /// There is work.
    pub(crate) fn wake(&self) {
        if self.parked.swap(false, Ordering::SeqCst) {
            self.thread.unpark();
        }
    }

    /// Writes everything out.
    pub(crate) fn checkpoint(&self) {
        self.checkpoint.store(true, Ordering::SeqCst);
        self.thread.unpark();
    }

    /// Stores what is left and ends.
    pub(crate) fn finish(&self) {
        self.finish.store(true, Ordering::SeqCst);
        self.thread.unpark();
    }
}

/// The storage thread.
struct Keeper {
    store: Store<Directory>,
    persistence: Persistence,
    shared: Arc<Shared>,
    handle: Arc<Handle>,
    records: Records,
    loads: Vec<Load>,
    saved_at: Instant,
    changes: u64,
    /// Writing, reading, saving and tidying up: each may work while another does not.
    writing: Trouble,
    reading: Trouble,
    saving: Trouble,
    tidying: Trouble,
}

/// Something that does not work at present, and when that was last named in the log.
#[derive(Default)]
struct Trouble(Option<Instant>);

impl Trouble {
    fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// It does not work. Answers whether that is to be named in the log now.
    fn met(&mut self) -> bool {
        let due = self.0.is_none_or(|at| at.elapsed() >= REMIND);
        if due {
            self.0 = Some(Instant::now());
        }
        due
    }
}

impl Keeper {
    fn new(opened: Opened, shared: Arc<Shared>, handle: Arc<Handle>) -> Self {
        let Opened { store, persistence } = opened;
        Self {
            store,
            persistence,
            records: Records::new(shared.ledger),
            loads: Vec::new(),
            saved_at: Instant::now(),
            changes: 0,
            writing: Trouble::default(),
            reading: Trouble::default(),
            saving: Trouble::default(),
            tidying: Trouble::default(),
            handle,
            shared,
        }
    }

    fn run(mut self) {
        let mut answers = Vec::new();
        loop {
            self.handle.parked.store(true, Ordering::SeqCst);
            // Asked before the exchange: what comes before the end is in what it brings.
            let finish = self.handle.finish.load(Ordering::SeqCst);
            let shrinks = self.shared.step() >= Step::ShrinkCaches;
            self.store.set_memtable_bytes(if shrinks { MEMTABLE_TIGHT } else { MEMTABLE });
            self.shared.exchange(&answers, &mut self.records, &mut self.loads);
            answers.clear();
            if self.records.is_empty() && self.loads.is_empty() {
                if finish {
                    return self.leave();
                }
                self.save_if_due();
                let more = self.store.maintain();
                self.report_trouble();
                if !more {
                    thread::park_timeout(IDLE);
                }
                continue;
            }
            self.handle.parked.store(false, Ordering::SeqCst);
            if !self.records.is_empty() {
                if !self.keep() {
                    return; // The broker ends, and the disk will not have it.
                }
                self.shared.traces.stored(self.records.upto());
                answers.push(Input::Stored { upto: self.records.upto() });
                self.records.clear();
            }
            self.answer_loads(&mut answers, finish);
            self.save_if_due();
            self.store.maintain();
            tell_damages(&self.shared.log, &self.store.new_damages());
        }
    }

    /// Stores the records, however often that has to be tried. Answers whether it was done.
    fn keep(&mut self) -> bool {
        self.changes += self.records.len() as u64;
        let mut committed = false;
        loop {
            let result = match (self.persistence.durability, committed) {
                (Durability::Snapshot, _) => self.store.apply_unlogged(changes(&self.records)),
                (_, false) => self.store.commit(changes(&self.records)),
                (_, true) => Ok(()),
            };
            committed |= result.is_ok();
            let result = result.and_then(|()| match self.persistence.durability {
                Durability::Fsync | Durability::Os => self.store.sync(),
                Durability::Snapshot => Ok(()),
            });
            let Err(error) = result else {
                self.works_again(|keeper| &mut keeper.writing);
                return true;
            };
            self.cannot_write(&error);
            if self.handle.finish.load(Ordering::SeqCst) {
                self.shared
                    .log
                    .error("The last changes could not be stored: they were not acknowledged.");
                return false;
            }
            thread::park_timeout(RETRY);
            self.store.maintain();
        }
    }

    /// Only this is told to the engine, since only what is stored next tells it that it is over.
    fn cannot_write(&mut self, error: &io::Error) {
        self.shared.set_store_health(Some(error.to_string()));
        if !self.writing.is_on() {
            self.shared.tell(&[Input::StoreFailing]);
        }
        if self.writing.met() {
            self.shared.log.error(&format!(
                "Unable to store in {}: {error}. Until that works, messages that would have to be stored are refused (0x97) or not acknowledged.",
                self.persistence.location.display()
            ));
        }
    }

    fn works_again(&mut self, what: impl FnOnce(&mut Self) -> &mut Trouble) {
        if what(self).0.take().is_none() {
            return;
        }
        if ![&self.writing, &self.reading, &self.saving].into_iter().any(Trouble::is_on) {
            self.shared.set_store_health(None);
        }
        self.shared.log.notice("Storing works again.");
    }

    fn report_trouble(&mut self) {
        tell_damages(&self.shared.log, &self.store.new_damages());
        if let Some(error) = self.store.last_error()
            && self.tidying.met()
        {
            self.shared
                .log
                .warning(&format!("Store: tidying up failed and is tried again: {error}."));
        }
    }

    fn answer_loads(&mut self, answers: &mut Vec<Input<'static>>, finish: bool) {
        let mut failed = Vec::new();
        for load in std::mem::take(&mut self.loads) {
            match load.read(self.shared.ledger, &mut Reader(&self.store)) {
                Ok(loaded) => answers.push(Input::Loaded(loaded)),
                Err(error) => {
                    self.cannot_read(&error);
                    failed.push(load);
                }
            }
        }
        if failed.is_empty() {
            self.works_again(|keeper| &mut keeper.reading);
        } else if !finish {
            // They are tried again with the next turn. At the end they are left to the next start.
            self.loads = failed;
            thread::park_timeout(RETRY);
        }
    }

    fn cannot_read(&mut self, error: &io::Error) {
        self.shared.set_store_health(Some(error.to_string()));
        if self.reading.met() {
            self.shared.log.error(&format!(
                "Unable to read in {}: {error}. Until that works, some queued messages wait.",
                self.persistence.location.display()
            ));
        }
    }

    /// Saves on request, and in snapshot mode when it is time.
    fn save_if_due(&mut self) {
        let asked = self.handle.checkpoint.swap(false, Ordering::SeqCst);
        let due = self.persistence.durability == Durability::Snapshot
            && match (self.persistence.autosave_interval, self.persistence.autosave_on_changes) {
                (0, _) => false,
                (changes, true) => self.changes >= u64::from(changes),
                (secs, false) => {
                    self.changes > 0 && self.saved_at.elapsed().as_secs() >= u64::from(secs)
                }
            };
        if !asked && !due {
            return;
        }
        self.saved_at = Instant::now();
        match self.store.checkpoint() {
            Ok(()) => {
                self.changes = 0;
                self.works_again(|keeper| &mut keeper.saving);
                let space = self.store.space();
                self.shared.log.information(&format!(
                    "Saved: {} entries in {} bytes, after {:.2} s.",
                    space.values,
                    space.run_bytes,
                    self.saved_at.elapsed().as_secs_f64()
                ));
            }
            Err(error) => {
                self.shared.set_store_health(Some(error.to_string()));
                if self.saving.met() || asked {
                    self.shared.log.error(&format!("The save failed: {error}."));
                }
            }
        }
    }

    /// The broker ends: what is in the journal becomes a run, so that the next start is quick.
    fn leave(mut self) {
        if let Err(error) = self.store.checkpoint() {
            // Except in snapshot mode nothing is lost by it: the journal has it.
            self.shared.log.error(&format!("The last save failed: {error}."));
        }
    }
}

fn changes(records: &Records) -> impl Iterator<Item = Change<'_>> {
    records.iter().map(|record| match record {
        Record::Put { key, value } => Change::Put { key, value },
        Record::Insert { key, value } => Change::Insert { key, value },
        Record::Delete { key } => Change::Delete { key },
    })
}

/// The store as the engine's loads read it.
struct Reader<'s>(&'s Store<Directory>);

impl StateReader for Reader<'_> {
    type Error = io::Error;

    fn scan(&mut self, from: &[u8], each: &mut Each<'_>) -> io::Result<()> {
        self.0.scan(from, each)
    }

    fn get(&mut self, key: &[u8]) -> io::Result<Option<Vec<u8>>> {
        self.0.get(key)
    }
}
