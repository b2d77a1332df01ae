//! Random work, crashes and faults against a model: after each start the content is that after
//! some whole number of batches, and all that were promised to be durable are among them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::allow_attributes,
    reason = "what fails here fails the test"
)]

mod model;

use std::ops::ControlFlow;

use model::{Content, Random, SMALL, leaked_ledger};
use plimsoll_ledger::{Account, Ledger};
use plimsoll_store::simulated::SimulatedDisk;
use plimsoll_store::{Change, Options, Store};

/// A change that owns its bytes.
#[derive(Clone, Debug)]
enum Owned {
    Put(Vec<u8>, Vec<u8>),
    Insert(Vec<u8>, Vec<u8>),
    Delete(Vec<u8>),
}

impl Owned {
    fn change(&self) -> Change<'_> {
        match self {
            Self::Put(key, value) => Change::Put { key, value },
            Self::Insert(key, value) => Change::Insert { key, value },
            Self::Delete(key) => Change::Delete { key },
        }
    }

    fn apply(&self, content: &mut Content) {
        match self {
            Self::Put(key, value) | Self::Insert(key, value) => {
                content.insert(key.clone(), value.clone());
            }
            Self::Delete(key) => {
                content.remove(key);
            }
        }
    }
}

/// What the store must hold.
struct Model {
    /// The content when all was last known to be durable.
    durable: Content,
    /// Batches since then.
    pending: Vec<Vec<Owned>>,
    /// Commits that failed since the last that did not: a crash may show one of them after all.
    in_doubt: Vec<Vec<Owned>>,
    next_queue_entry: u64,
    queue: Vec<u64>,
}

impl Model {
    fn now(&self) -> Content {
        let mut content = self.durable.clone();
        self.pending.iter().flatten().for_each(|change| change.apply(&mut content));
        content
    }

    fn all_durable(&mut self) {
        self.durable = self.now();
        self.pending.clear();
    }

    /// The content must be that after a prefix of the batches: goes on from there.
    fn adopt(&mut self, found: &Content, what: &str) {
        let mut content = self.durable.clone();
        let mut matched = *found == content;
        for batch in self.pending.drain(..) {
            for change in &batch {
                change.apply(&mut content);
            }
            matched |= *found == content;
        }
        for batch in self.in_doubt.drain(..) {
            let mut content = content.clone();
            for change in &batch {
                change.apply(&mut content);
            }
            matched |= *found == content;
        }
        assert!(matched, "{what}: the content is that of no prefix of the batches");
        self.durable = found.clone();
        self.queue.retain(|entry| found.contains_key(&queue_key(*entry)));
    }
}

fn queue_key(entry: u64) -> Vec<u8> {
    format!("queue/{entry:08}").into_bytes()
}

fn random_batch(random: &mut Random, model: &mut Model) -> Vec<Owned> {
    let changes = 1 + random.below(6);
    let mut batch = Vec::new();
    for _ in 0..changes {
        let retained = format!("retained/{}", random.below(60)).into_bytes();
        batch.push(match random.below(8) {
            0..=2 => Owned::Put(retained, random.bytes(300)),
            3 => Owned::Delete(retained),
            4..=6 => {
                model.next_queue_entry += 1;
                model.queue.push(model.next_queue_entry);
                Owned::Insert(queue_key(model.next_queue_entry), random.bytes(200))
            }
            _ if model.queue.is_empty() => Owned::Put(retained, random.bytes(5000)),
            _ => {
                let at = random.below(model.queue.len().min(20));
                Owned::Delete(queue_key(model.queue.remove(at)))
            }
        });
    }
    batch
}

fn content_of(store: &Store<SimulatedDisk>) -> Content {
    let mut content = Content::new();
    let scanned = store.scan(&[], |key, value| {
        assert!(content.last_key_value().is_none_or(|(last, _)| last.as_slice() < key));
        content.insert(key.to_vec(), value.to_vec());
        ControlFlow::Continue(())
    });
    scanned.unwrap();
    content
}

struct World {
    inline: bool,
    disk: SimulatedDisk,
    ledger: &'static Ledger,
    random: Random,
    model: Model,
    seed: u64,
}

impl World {
    fn open(&mut self) -> Store<SimulatedDisk> {
        let options = Options { inline: self.inline, ..SMALL };
        let (store, recovery) = Store::open(self.disk.clone(), options, self.ledger).unwrap();
        assert_eq!(recovery.damages, [], "seed {}", self.seed);
        let found = content_of(&store);
        self.model.adopt(&found, &format!("seed {}", self.seed));
        store
    }

    /// One life of the process: some work, perhaps with faults.
    fn live(&mut self, steps: usize) {
        let mut store = self.open();
        for _ in 0..steps {
            self.step(&mut store);
        }
        if self.random.below(4) == 0 {
            self.disk.heal();
            assert_eq!(content_of(&store), self.model.now(), "seed {}", self.seed);
        }
        drop(store);
        assert_eq!(self.ledger.bytes(Account::Store), 0, "seed {}", self.seed);
    }

    fn step(&mut self, store: &mut Store<SimulatedDisk>) {
        match self.random.below(40) {
            0..=19 => {
                let batch = random_batch(&mut self.random, &mut self.model);
                match store.commit(batch.iter().map(Owned::change)) {
                    Ok(()) => {
                        self.model.in_doubt.clear();
                        self.model.pending.push(batch);
                    }
                    Err(_) => self.model.in_doubt.push(batch),
                }
            }
            20..=25 => {
                if store.sync().is_ok() {
                    assert_eq!(store.durable(), store.committed());
                    self.model.all_durable();
                }
            }
            26 => {
                if store.checkpoint().is_ok() {
                    self.model.all_durable();
                }
            }
            27..=34 => {
                store.maintain();
            }
            35 => self.look(store),
            36 => self.disk.fail_nth(1 + self.random.below(20) as u64),
            37 => self.disk.set_syncs_fail(self.random.below(3) == 0),
            38 => self.disk.set_writes_fail(self.random.below(3) == 0),
            _ => self.disk.heal(),
        }
    }

    /// Reads in the middle of it.
    fn look(&mut self, store: &Store<SimulatedDisk>) {
        self.disk.heal();
        let now = self.model.now();
        let key = format!("retained/{}", self.random.below(60)).into_bytes();
        assert_eq!(store.get(&key).unwrap().as_ref(), now.get(&key), "seed {}", self.seed);
        let mut few = Vec::new();
        let scanned = store.scan(&key, |key, value| {
            few.push((key.to_vec(), value.to_vec()));
            if few.len() == 7 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        scanned.unwrap();
        let expected = now.range(key..).take(7).map(|(key, value)| (key.clone(), value.clone()));
        assert!(few.into_iter().eq(expected), "seed {}", self.seed);
    }
}

fn run(seed: u64, inline: bool) {
    let mut random = Random::new(seed);
    let lives = 2 + random.below(5);
    let model = Model {
        durable: Content::new(),
        pending: Vec::new(),
        in_doubt: Vec::new(),
        next_queue_entry: 0,
        queue: Vec::new(),
    };
    let ledger = leaked_ledger();
    let mut world = World { inline, disk: SimulatedDisk::new(), ledger, random, model, seed };
    for _ in 0..lives {
        let steps = world.random.below(400);
        world.live(steps);
        world.disk.heal();
        if world.random.below(4) > 0 {
            world.disk.crash(world.random.next());
        }
    }
    drop(world.open());
}

#[test]
fn every_start_finds_a_prefix_of_the_batches() {
    // STORE_SEEDS=1000..9000 for others.
    let given = std::env::var("STORE_SEEDS").ok();
    let given = given.as_deref().and_then(|seeds| seeds.split_once(".."));
    let bound = |text: &str| text.parse::<u64>().unwrap();
    let seeds = given.map_or(0..150, |(from, to)| bound(from)..bound(to));
    // 4114: batches that had been cut came back at the second start.
    seeds.chain([4114]).for_each(|seed| run(seed, true));
}

#[test]
fn every_start_does_so_after_work_on_a_thread() {
    (0..40).for_each(|seed| run(seed, false));
}

#[test]
fn a_store_can_be_given_to_a_thread() {
    fn is_send<T: Send>() {}
    is_send::<Store<SimulatedDisk>>();
    is_send::<Store<plimsoll_store::Directory>>();
}
