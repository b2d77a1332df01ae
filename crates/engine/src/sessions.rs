//! All sessions: by slot, by client identifier, and by the link that they are connected with.

use alloc::boxed::Box;
use alloc::vec::Vec;
use hashbrown::HashTable;
use plimsoll_ledger::{Account, Boxed, Charged, Ledger, Measure, Snapshot, usable_size};

use crate::hash::Seeded;
use crate::input::Link;
use crate::session::Session;

/// No session.
const NONE: u32 = u32::MAX;

/// The table of sessions. A session keeps its slot for life.
#[derive(Debug)]
pub(crate) struct Sessions {
    slots: Charged<Vec<Option<Boxed<Session>>>>,
    free: Charged<Vec<u32>>,
    index: Charged<Index>,
    links: Charged<Links>,
    seeded: Seeded,
    ledger: &'static Ledger,
    len: usize,
    /// Whether `changed` is kept.
    notes_changes: bool,
    /// Slots of sessions that were given for changing. Working space, not charged: it is emptied
    /// at each input.
    changed: Vec<u32>,
}

/// Working space for changed slots that is kept between inputs.
const CHANGED_KEEP: usize = 16 * 1024;

/// Slots by client identifier.
#[derive(Debug, Default)]
struct Index(HashTable<u32>);

impl Measure for Index {
    fn heap_bytes(&self) -> usize {
        usable_size(self.0.allocation_size(), 16)
    }
}

/// Session slots by shard and link slot.
#[derive(Debug)]
struct Links(Vec<Vec<u32>>);

impl Measure for Links {
    fn heap_bytes(&self) -> usize {
        self.0.heap_bytes() + self.0.iter().map(Measure::heap_bytes).sum::<usize>()
    }
}

impl Sessions {
    pub(crate) fn new(ledger: &'static Ledger, shards: usize, seeded: Seeded) -> Self {
        let links = Links(alloc::vec![Vec::new(); shards]);
        Self {
            slots: ledger.own(Account::Sessions, Vec::new()),
            free: ledger.own(Account::Sessions, Vec::new()),
            index: ledger.own(Account::Sessions, Index::default()),
            links: ledger.own(Account::Connections, links),
            seeded,
            ledger,
            len: 0,
            notes_changes: false,
            changed: Vec::new(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Slots so far: all sessions lie below.
    pub(crate) fn slots(&self) -> u32 {
        self.slots.len() as u32
    }

    pub(crate) fn get(&self, slot: u32) -> Option<&Session> {
        self.slots.get(slot as usize)?.as_deref()
    }

    /// A session for changing. Its growing parts are charged by themselves, so this needs no guard;
    /// where budgets are to know what it holds, it is noted.
    pub(crate) fn get_mut(&mut self, slot: u32) -> Option<&mut Session> {
        if self.notes_changes && self.changed.last() != Some(&slot) {
            self.changed.push(slot);
        }
        self.get_unnoted(slot)
    }

    /// A session for changing what no budget counts.
    pub(crate) fn get_unnoted(&mut self, slot: u32) -> Option<&mut Session> {
        self.slots.elements_mut().get_mut(slot as usize)?.as_deref_mut()
    }

    /// Whether sessions that are given for changing are noted from now on.
    pub(crate) fn note_changes(&mut self, notes: bool) {
        self.notes_changes = notes;
        self.changed = Vec::new();
    }

    /// Sessions that were given for changing since the last time, some of them more than once, and
    /// some of them gone since.
    pub(crate) fn take_changed(&mut self) -> Vec<u32> {
        core::mem::take(&mut self.changed)
    }

    /// The list, empty, to be used again.
    pub(crate) fn give_changed_back(&mut self, changed: Vec<u32>) {
        if changed.capacity() <= CHANGED_KEEP {
            self.changed = changed;
        }
    }

    /// Places in the table, free ones too.
    pub(crate) fn places(&self) -> u32 {
        self.slots.len() as u32
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &Session)> {
        let slots = self.slots.iter().enumerate();
        slots.filter_map(|(slot, session)| Some((slot as u32, session.as_deref()?)))
    }

    /// The session of a client.
    pub(crate) fn find(&self, client_identifier: &str) -> Option<u32> {
        let fits = |&slot: &u32| {
            self.get(slot).is_some_and(|session| *session.client_identifier == *client_identifier)
        };
        self.index.0.find(self.hash(client_identifier), fits).copied()
    }

    /// Adds a session whose client identifier is not in the table yet.
    pub(crate) fn insert(&mut self, mut session: Session) -> u32 {
        let hash = self.hash(&session.client_identifier);
        let extra = Session::fixed_bytes(&session.client_identifier, session.username.as_deref());
        let slot = self.vacant_slot();
        session.slot = slot;
        let boxed = Boxed::new(self.ledger, Account::Sessions, session, extra);
        if let Some(place) = self.slots.edit().get_mut(slot as usize) {
            *place = Some(boxed);
        }
        let (slots, seeded) = (&self.slots, &self.seeded);
        let rehash = |&slot: &u32| {
            let session = slots.get(slot as usize).and_then(Option::as_ref);
            session.map_or(0, |session| seeded.hash(&session.client_identifier))
        };
        self.index.edit().0.insert_unique(hash, slot, rehash);
        self.len += 1;
        slot
    }

    /// Who the client of a session is from now on.
    pub(crate) fn set_username(&mut self, slot: u32, username: Option<&str>) {
        let place = self.slots.elements_mut().get_mut(slot as usize);
        let Some(session) = place.and_then(Option::as_mut) else { return };
        if session.username.as_deref() != username {
            session.username = username.map(Box::from);
            let extra =
                Session::fixed_bytes(&session.client_identifier, session.username.as_deref());
            session.set_extra(extra);
        }
    }

    fn vacant_slot(&mut self) -> u32 {
        while !self.free.is_empty() {
            let Some(slot) = self.free.edit().pop() else { break };
            if self.slots.get(slot as usize).is_some_and(Option::is_none) {
                return slot;
            }
        }
        self.slots.edit().push(None);
        self.slots.len() as u32 - 1
    }

    /// Takes a session out.
    pub(crate) fn remove(&mut self, slot: u32) -> Option<Boxed<Session>> {
        let session = self.slots.get(slot as usize)?.as_deref()?;
        let hash = self.hash(&session.client_identifier);
        if let Ok(entry) = self.index.edit().0.find_entry(hash, |&other| other == slot) {
            entry.remove();
        }
        let session = self.slots.edit().get_mut(slot as usize)?.take();
        self.len -= 1;
        self.free.edit().push(slot);
        self.give_back();
        session
    }

    /// Returns memory that the table has outgrown.
    fn give_back(&mut self) {
        if self.len == 0 {
            *self.slots.edit() = Vec::new();
            *self.free.edit() = Vec::new();
            *self.index.edit() = Index::default();
            return;
        }
        if self.index.0.len() * 8 < self.index.0.capacity() {
            let (slots, seeded) = (&self.slots, &self.seeded);
            let rehash = |&slot: &u32| {
                let session = slots.get(slot as usize).and_then(Option::as_ref);
                session.map_or(0, |session| seeded.hash(&session.client_identifier))
            };
            self.index.edit().0.shrink_to(self.len * 2, rehash);
        }
        if matches!(self.slots.last(), Some(None)) {
            let mut slots = self.slots.edit();
            while let Some(None) = slots.last() {
                slots.pop();
            }
            if slots.len() < slots.capacity() / 4 {
                let keep = slots.capacity() / 2;
                slots.shrink_to(keep);
            }
        }
    }

    /// The session that `link` is connected to.
    pub(crate) fn linked(&self, link: Link) -> Option<u32> {
        let &slot = self.links.0.get(link.shard())?.get(link.slot() as usize)?;
        (slot != NONE).then_some(slot)
    }

    /// Connects `link` with the session in `slot`.
    pub(crate) fn connect(&mut self, link: Link, slot: u32) {
        let mut links = self.links.edit();
        let Some(shard) = links.0.get_mut(link.shard()) else { return };
        let at = link.slot() as usize;
        if shard.len() <= at {
            shard.resize(at + 1, NONE);
        }
        if let Some(place) = shard.get_mut(at) {
            *place = slot;
        }
    }

    /// Forgets `link`: nothing that still comes from it counts.
    pub(crate) fn disconnect(&mut self, link: Link) {
        if self.linked(link).is_none() {
            return;
        }
        let mut links = self.links.edit();
        let Some(shard) = links.0.get_mut(link.shard()) else { return };
        if let Some(place) = shard.get_mut(link.slot() as usize) {
            *place = NONE;
        }
        while let Some(&NONE) = shard.last() {
            shard.pop();
        }
        if shard.len() < shard.capacity() / 4 {
            shard.shrink_to(shard.len() * 2);
        }
    }

    fn hash(&self, client_identifier: &str) -> u64 {
        self.seeded.hash(client_identifier)
    }

    /// Walks the table and the sessions.
    pub(crate) fn recount(&self, into: &mut Snapshot) {
        into.add(
            Account::Sessions,
            self.slots.heap_bytes() + self.free.heap_bytes() + self.index.heap_bytes(),
        );
        into.add(Account::Connections, self.links.heap_bytes());
        for (_, session) in self.iter() {
            let fixed =
                Session::fixed_bytes(&session.client_identifier, session.username.as_deref());
            into.add(Account::Sessions, Boxed::<Session>::BLOCK_BYTES + fixed);
            session.recount(into);
        }
    }
}
