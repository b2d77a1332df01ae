//! The store of a simulated broker: the real one, on a disk that tears and loses.

use std::collections::VecDeque;
use std::io;
use std::ops::ControlFlow;

use plimsoll_engine::{
    Each, Engine, Input, Item, Load, Record, Records, Restoration, StateReader, Time,
};
use plimsoll_ledger::Ledger;
use plimsoll_store::simulated::SimulatedDisk;
use plimsoll_store::{Change, Options, Store};

use crate::oracle::Violation;
use crate::rng::Rng;

/// Steps of tidying up in one turn.
const MAINTAIN_MAX: u32 = 100;

/// A change that owns its bytes: the engine's lists go back at once.
#[derive(Debug)]
enum Kept {
    Put(Vec<u8>, Vec<u8>),
    Insert(Vec<u8>, Vec<u8>),
    Delete(Vec<u8>),
}

/// What the storage thread is to a real broker.
pub(crate) struct Storage {
    disk: SimulatedDisk,
    store: Option<Store<SimulatedDisk>>,
    ledger: &'static Ledger,
    waiting: VecDeque<(Vec<Kept>, u64)>,
    /// Written, and not yet synced: up to this position.
    unsynced: Option<u64>,
    /// The engine has been told that the disk fails.
    told: bool,
    /// The disk fails.
    fails: bool,
    /// It has failed before.
    has_failed: bool,
    loads: VecDeque<Load>,
    /// The broker does not wait for the disk (`durability snapshot`).
    relaxed: bool,
}

impl std::fmt::Debug for Storage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Storage: {} batches wait", self.waiting.len())
    }
}

fn violation(error: impl std::fmt::Display) -> Violation {
    Violation(format!("the store: {error}"))
}

impl Storage {
    pub(crate) fn new(relaxed: bool) -> Result<Self, Violation> {
        // Its own book: the engine's is compared with the engine to the byte.
        let ledger: &'static Ledger = Box::leak(Box::default());
        let disk = SimulatedDisk::new();
        let mut storage = Self {
            disk,
            store: None,
            ledger,
            waiting: VecDeque::new(),
            unsynced: None,
            told: false,
            fails: false,
            has_failed: false,
            loads: VecDeque::new(),
            relaxed,
        };
        storage.open()?;
        Ok(storage)
    }

    fn open(&mut self) -> Result<(), Violation> {
        // Small, so that everything that can happen does.
        let options = Options {
            segment_bytes: 16 << 10,
            memtable_bytes: 16 << 10,
            block_bytes: 512,
            journal_bytes_max: 64 << 10,
            inline: true,
            ..Options::default()
        };
        let opened = Store::open(self.disk.clone(), options, self.ledger).map_err(violation)?;
        self.store = Some(opened.0);
        Ok(())
    }

    /// Takes what the engine has made.
    pub(crate) fn collect(&mut self, engine: &mut Engine, trace: bool) {
        let mut records = Records::new(engine.ledger());
        engine.take_records(&mut records);
        if !records.is_empty() {
            if trace {
                records.iter().for_each(print_record);
            }
            let kept = records.iter().map(|record| match record {
                Record::Put { key, value } => Kept::Put(key.into(), value.into()),
                Record::Insert { key, value } => Kept::Insert(key.into(), value.into()),
                Record::Delete { key } => Kept::Delete(key.into()),
            });
            self.waiting.push_back((kept.collect(), records.upto()));
        }
        self.loads.extend(engine.take_loads());
    }

    /// The storage thread's turn: stores what waits as one group, then reads. Answers what the
    /// engine is to be told.
    pub(crate) fn turn(
        &mut self,
        ledger: &'static Ledger,
    ) -> Result<Vec<Input<'static>>, Violation> {
        let Some(store) = self.store.as_mut() else { return Ok(Vec::new()) };
        let mut answers = Vec::new();
        while let Some((batch, position)) = self.waiting.front() {
            let changes = batch.iter().map(|kept| match kept {
                Kept::Put(key, value) => Change::Put { key, value },
                Kept::Insert(key, value) => Change::Insert { key, value },
                Kept::Delete(key) => Change::Delete { key },
            });
            if let Err(error) = store.commit(changes) {
                return self.failed(&error);
            }
            self.unsynced = Some(*position);
            self.waiting.pop_front();
        }
        if let Some(upto) = self.unsynced {
            if !self.relaxed
                && let Err(error) = store.sync()
            {
                return self.failed(&error);
            }
            self.unsynced = None;
            self.told = false;
            answers.push(Input::Stored { upto });
        }
        while let Some(load) = self.loads.pop_front() {
            let loaded = load.read(ledger, &mut Reader(store)).map_err(violation)?;
            answers.push(Input::Loaded(loaded));
        }
        for _ in 0..MAINTAIN_MAX {
            if !store.maintain() {
                break;
            }
        }
        Ok(answers)
    }

    /// The disk does not take it: the engine hears of it once, and it is tried again.
    fn failed(&mut self, error: &io::Error) -> Result<Vec<Input<'static>>, Violation> {
        // The store may say later what it met.
        if !self.has_failed {
            return Err(violation(error));
        }
        let told = std::mem::replace(&mut self.told, true);
        Ok(if told { Vec::new() } else { vec![Input::StoreFailing] })
    }

    /// The disk begins to fail, one way or the other, or works again.
    pub(crate) fn set_failing(&mut self, failing: bool, rng: &mut Rng) {
        self.fails = failing;
        self.has_failed |= failing;
        match (failing, rng.below(3)) {
            (false, _) => self.disk.heal(),
            (true, 0) => self.disk.set_writes_fail(true),
            (true, 1) => self.disk.set_syncs_fail(true),
            (true, _) => self.disk.set_bytes_max(Some(self.disk.bytes())),
        }
    }

    /// Whether the disk fails.
    pub(crate) fn is_failing(&self) -> bool {
        self.fails
    }

    /// The power fails: what was not synced is lost, or not, or in parts.
    pub(crate) fn crash(&mut self, seed: u64) -> Result<(), Violation> {
        self.store = None;
        self.waiting.clear();
        self.loads.clear();
        self.unsynced = None;
        (self.told, self.fails) = (false, false);
        self.disk.crash(seed);
        self.disk.heal();
        self.open()
    }

    /// Puts the state back into a new engine.
    pub(crate) fn restore(&self, engine: &mut Engine, now: Time) -> Result<Restoration, Violation> {
        let mut restoring = engine.restore(now);
        let mut unreadable = None;
        if let Some(store) = &self.store {
            let each = |key: &[u8], value: &[u8]| {
                if restoring.item(key, value).is_err() {
                    unreadable = Some(format!("{:?}", Item::decode(key, value)));
                }
                ControlFlow::Continue(())
            };
            store.scan(&[], each).map_err(violation)?;
        }
        match unreadable {
            Some(item) => {
                Err(Violation(format!("after a crash, an item that means nothing: {item}")))
            }
            None => Ok(restoring.finish()),
        }
    }

    /// Whether nothing waits.
    pub(crate) fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.unsynced.is_none() && self.loads.is_empty()
    }

    /// With everybody gone, only the broker's sign of life may be left.
    pub(crate) fn check_empty(&self) -> Result<(), Violation> {
        let mut left = Vec::new();
        if let Some(store) = &self.store {
            store
                .scan(&[], |key, value| {
                    match Item::decode(key, value) {
                        Ok(Item::Alive { .. }) => {}
                        other => left.push(format!("{other:?}")),
                    }
                    ControlFlow::Continue(())
                })
                .map_err(violation)?;
        }
        match left.first() {
            Some(first) => Err(Violation(format!("{} items left, for one {first}", left.len()))),
            None => Ok(()),
        }
    }
}

fn print_record(record: Record<'_>) {
    match record {
        Record::Put { key, value } | Record::Insert { key, value } => {
            println!("  + {:?}", Item::decode(key, value));
        }
        Record::Delete { key } => println!("  - {key:?}"),
    }
}

struct Reader<'s>(&'s Store<SimulatedDisk>);

impl StateReader for Reader<'_> {
    type Error = io::Error;

    fn scan(&mut self, from: &[u8], each: &mut Each<'_>) -> io::Result<()> {
        self.0.scan(from, each)
    }

    fn get(&mut self, key: &[u8]) -> io::Result<Option<Vec<u8>>> {
        self.0.get(key)
    }
}
