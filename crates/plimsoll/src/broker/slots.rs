//! A shard's connections by slot.

use plimsoll_engine::Block;
use plimsoll_ledger::{Account, Charged, Ledger, Measure, Snapshot};

use super::connection::{Connection, Pending};

/// Connections of a shard. A slot is used again only after [`Slots::release`].
#[derive(Debug)]
pub(crate) struct Slots {
    slots: Charged<Vec<Option<Connection>>>,
    free: Charged<Vec<u32>>,
    len: usize,
}

impl Slots {
    pub(crate) fn new(ledger: &'static Ledger) -> Self {
        Self {
            slots: ledger.own(Account::Connections, Vec::new()),
            free: ledger.own(Account::Connections, Vec::new()),
            len: 0,
        }
    }

    /// Counts what the connections hold, and the tables that they are in.
    pub(crate) fn recount(&self, counted: &mut Snapshot) {
        counted.add(Account::Connections, self.slots.heap_bytes() + self.free.heap_bytes());
        self.slots.iter().flatten().for_each(|connection| connection.recount(counted));
    }

    /// Messages that wait for the network.
    pub(crate) fn blocks(&self) -> impl Iterator<Item = Block> {
        let pending = self.slots.iter().flatten().filter_map(|slot| slot.pending.as_deref());
        pending.flat_map(Pending::blocks)
    }

    /// One more than the highest slot there is.
    pub(crate) fn end(&self) -> u32 {
        self.slots.len() as u32
    }

    pub(crate) fn get_mut(&mut self, slot: u32) -> Option<&mut Connection> {
        self.slots.elements_mut().get_mut(slot as usize)?.as_mut()
    }

    /// The slot that the next connection will have.
    pub(crate) fn vacant(&mut self) -> u32 {
        while !self.free.is_empty() {
            let Some(slot) = self.free.edit().pop() else { break };
            if self.slots.get(slot as usize).is_some_and(Option::is_none) {
                return slot;
            }
        }
        self.slots.edit().push(None);
        self.slots.len() as u32 - 1
    }

    pub(crate) fn insert(&mut self, slot: u32, connection: Connection) {
        if let Some(place) = self.slots.elements_mut().get_mut(slot as usize) {
            *place = Some(connection);
            self.len += 1;
        }
    }

    /// Takes a connection out; its slot may be used again.
    pub(crate) fn release(&mut self, slot: u32) -> Option<Connection> {
        let connection = self.slots.elements_mut().get_mut(slot as usize)?.take()?;
        self.len -= 1;
        self.free.edit().push(slot);
        self.give_back();
        Some(connection)
    }

    fn give_back(&mut self) {
        if self.len == 0 {
            *self.slots.edit() = Vec::new();
            *self.free.edit() = Vec::new();
        } else if matches!(self.slots.last(), Some(None)) && self.slots.len() > 1024 {
            let mut slots = self.slots.edit();
            while matches!(slots.last(), Some(None)) {
                slots.pop();
            }
            if slots.len() < slots.capacity() / 4 {
                let keep = slots.capacity() / 2;
                slots.shrink_to(keep);
            }
        }
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (u32, &mut Connection)> {
        let slots = self.slots.elements_mut().iter_mut().enumerate();
        slots.filter_map(|(slot, connection)| Some((slot as u32, connection.as_mut()?)))
    }
}
