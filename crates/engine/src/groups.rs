//! Shared subscriptions: groups of sessions that take turns (MQTT-4.8.2).

use alloc::boxed::Box;
use alloc::vec::Vec;

use hashbrown::HashTable;
use plimsoll_ledger::{Account, Boxed, Charged, Ledger, Measure, Snapshot, usable_size};

use crate::hash::Seeded;
use crate::subscriptions::{FilterKey, SubscriptionOptions};

/// A member of a group.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Member {
    pub(crate) slot: u32,
    pub(crate) options: SubscriptionOptions,
}

/// One `$share/NAME/FILTER`.
#[derive(Debug)]
pub(crate) struct Group {
    /// The whole filter, with `$share/`.
    pub(crate) filter: Box<str>,
    /// Key of the filter behind the name in the subscription index.
    pub(crate) key: FilterKey,
    pub(crate) members: Charged<Vec<Member>>,
    /// Whose turn it is.
    turn: usize,
}

/// How well a member could take a message now; better ones first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Readiness {
    /// Connected, and it would be sent at once.
    Ready,
    /// Connected, and it would have to wait.
    Busy,
    /// Not connected, with room in its queue.
    Away,
    /// It cannot take any.
    Full,
}

impl Group {
    /// Whose turn it is: round robin among those who are readiest (connected ones first).
    pub(crate) fn choose(
        &mut self,
        mut readiness: impl FnMut(&Member) -> Readiness,
    ) -> Option<Member> {
        let count = self.members.len();
        let mut best: Option<(Readiness, usize)> = None;
        for step in 0..count {
            let at = (self.turn + step) % count;
            let ready = readiness(self.members.get(at)?);
            if best.is_none_or(|(least, _)| ready < least) {
                best = Some((ready, at));
            }
            let enough = match best {
                Some((Readiness::Ready, _)) => true,
                Some((Readiness::Busy, _)) => step >= LOOK_AT_MAX,
                _ => false,
            };
            if enough {
                break;
            }
        }
        let (readiness, at) = best?;
        if readiness == Readiness::Full {
            return None;
        }
        self.turn = at + 1;
        self.members.get(at).copied()
    }

    pub(crate) fn member(&self, slot: u32) -> Option<&Member> {
        self.members.iter().find(|member| member.slot == slot)
    }
}

/// Members looked at for one that is idle, before a connected one is taken as it is.
const LOOK_AT_MAX: usize = 64;

/// All groups.
#[derive(Debug)]
pub(crate) struct Groups {
    slots: Charged<Vec<Option<Boxed<Group>>>>,
    free: Charged<Vec<u32>>,
    index: Charged<Index>,
    seeded: Seeded,
    ledger: &'static Ledger,
    len: usize,
}

#[derive(Debug, Default)]
struct Index(HashTable<u32>);

impl Measure for Index {
    fn heap_bytes(&self) -> usize {
        usable_size(self.0.allocation_size(), 16)
    }
}

impl Groups {
    pub(crate) fn new(ledger: &'static Ledger, seeded: Seeded) -> Self {
        Self {
            slots: ledger.own(Account::Subscriptions, Vec::new()),
            free: ledger.own(Account::Subscriptions, Vec::new()),
            index: ledger.own(Account::Subscriptions, Index::default()),
            seeded,
            ledger,
            len: 0,
        }
    }

    pub(crate) fn get(&self, group: u32) -> Option<&Group> {
        self.slots.get(group as usize)?.as_deref()
    }

    pub(crate) fn get_mut(&mut self, group: u32) -> Option<&mut Group> {
        self.slots.elements_mut().get_mut(group as usize)?.as_deref_mut()
    }

    /// The group of a whole filter.
    pub(crate) fn find(&self, filter: &str) -> Option<u32> {
        let fits = |&group: &u32| self.get(group).is_some_and(|group| *group.filter == *filter);
        self.index.0.find(self.seeded.hash(filter), fits).copied()
    }

    /// The number that the next new group will have.
    pub(crate) fn vacant(&mut self) -> u32 {
        let free = if self.free.is_empty() { None } else { self.free.edit().pop() };
        free.unwrap_or_else(|| {
            self.slots.edit().push(None);
            self.slots.len() as u32 - 1
        })
    }

    /// Founds the group `number` (from [`Groups::vacant`]).
    pub(crate) fn insert(&mut self, number: u32, filter: &str, key: FilterKey) {
        let members = self.ledger.own(Account::Subscriptions, Vec::new());
        let group = Group { filter: Box::from(filter), key, members, turn: 0 };
        let extra = usable_size(filter.len(), 1);
        let boxed = Boxed::new(self.ledger, Account::Subscriptions, group, extra);
        if let Some(place) = self.slots.edit().get_mut(number as usize) {
            *place = Some(boxed);
        }
        let (slots, seeded) = (&self.slots, &self.seeded);
        let rehash = |&group: &u32| {
            let group = slots.get(group as usize).and_then(Option::as_ref);
            group.map_or(0, |group| seeded.hash(&group.filter))
        };
        self.index.edit().0.insert_unique(self.seeded.hash(filter), number, rehash);
        self.len += 1;
    }

    /// Sets a member's options. Answers what they were before, if it was a member.
    pub(crate) fn join(&mut self, group: u32, member: Member) -> Option<SubscriptionOptions> {
        let group = self.get_mut(group)?;
        let mut members = group.members.edit();
        if let Some(known) = members.iter_mut().find(|known| known.slot == member.slot) {
            return Some(core::mem::replace(&mut known.options, member.options));
        }
        members.push(member);
        None
    }

    /// Takes a member out; the group goes with its last one. Answers the filter's key then.
    pub(crate) fn leave(&mut self, number: u32, slot: u32) -> Option<FilterKey> {
        let group = self.get_mut(number)?;
        let mut members = group.members.edit();
        members.retain(|member| member.slot != slot);
        if members.len() < members.capacity() / 4 {
            members.shrink_to_fit();
        }
        drop(members);
        if !group.members.is_empty() {
            return None;
        }
        let key = group.key;
        let filter = core::mem::take(&mut group.filter);
        let hash = self.seeded.hash(&filter);
        if let Ok(entry) = self.index.edit().0.find_entry(hash, |&other| other == number) {
            entry.remove();
        }
        if let Some(place) = self.slots.edit().get_mut(number as usize) {
            *place = None;
        }
        self.free.edit().push(number);
        self.len -= 1;
        if self.len == 0 {
            *self.slots.edit() = Vec::new();
            *self.free.edit() = Vec::new();
            *self.index.edit() = Index::default();
        }
        Some(key)
    }

    /// Walks what the groups hold.
    pub(crate) fn recount(&self, into: &mut Snapshot) {
        let tables = self.slots.heap_bytes() + self.free.heap_bytes() + self.index.heap_bytes();
        into.add(Account::Subscriptions, tables);
        for group in self.slots.iter().flatten() {
            let parts = group.filter.heap_bytes() + group.members.heap_bytes();
            into.add(Account::Subscriptions, Boxed::<Group>::BLOCK_BYTES + parts);
        }
    }
}
