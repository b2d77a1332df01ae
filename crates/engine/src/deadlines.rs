//! What has to happen when: one deadline for each session, in one structure.

use alloc::vec::Vec;

use plimsoll_ledger::{Account, Charged, Ledger, Measure};

use crate::time::Time;

/// Children of a node: a flat heap has fewer cache misses than a binary one.
const ARITY: usize = 4;

/// Not in the heap.
const ABSENT: u32 = u32::MAX;

/// An indexed heap of deadlines by session slot. Setting, moving and removing one costs
/// O(log n), so a deadline that no longer holds is never kept.
#[derive(Debug)]
pub(crate) struct Deadlines {
    heap: Charged<Heap>,
}

#[derive(Debug, Default)]
struct Heap {
    entries: Vec<(Time, u32)>,
    /// Where each slot stands in `entries`.
    positions: Vec<u32>,
}

impl Measure for Heap {
    fn heap_bytes(&self) -> usize {
        self.entries.heap_bytes() + self.positions.heap_bytes()
    }
}

impl Deadlines {
    pub(crate) fn new(ledger: &'static Ledger) -> Self {
        Self { heap: ledger.own(Account::Sessions, Heap::default()) }
    }

    /// Sets, moves or (at [`Time::NEVER`]) removes the deadline of `slot`.
    pub(crate) fn set(&mut self, slot: u32, at: Time) {
        if self.heap.current(slot) != at {
            self.heap.edit().set(slot, at);
        }
    }

    /// When that of `slot` is.
    pub(crate) fn get(&self, slot: u32) -> Time {
        self.heap.current(slot)
    }

    /// When the first deadline is.
    pub(crate) fn first(&self) -> Option<Time> {
        self.heap.entries.first().map(|&(at, _)| at)
    }

    /// Takes a deadline that has been reached.
    pub(crate) fn pop_reached(&mut self, now: Time) -> Option<u32> {
        let &(at, slot) = self.heap.entries.first()?;
        if at > now {
            return None;
        }
        self.heap.edit().set(slot, Time::NEVER);
        Some(slot)
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        self.heap.heap_bytes()
    }
}

impl Heap {
    fn position(&self, slot: u32) -> Option<usize> {
        let &position = self.positions.get(slot as usize)?;
        (position != ABSENT).then_some(position as usize)
    }

    fn current(&self, slot: u32) -> Time {
        self.position(slot)
            .and_then(|position| self.entries.get(position))
            .map_or(Time::NEVER, |&(at, _)| at)
    }

    fn set(&mut self, slot: u32, at: Time) {
        match (self.position(slot), at == Time::NEVER) {
            (None, true) => {}
            (None, false) => self.insert(slot, at),
            (Some(position), true) => self.remove(slot, position),
            (Some(position), false) => {
                self.entries[position].0 = at;
                let position = self.sift_up(position);
                self.sift_down(position);
            }
        }
    }

    fn insert(&mut self, slot: u32, at: Time) {
        if self.positions.len() <= slot as usize {
            self.positions.resize(slot as usize + 1, ABSENT);
        }
        self.entries.push((at, slot));
        self.positions[slot as usize] = self.entries.len() as u32 - 1;
        self.sift_up(self.entries.len() - 1);
    }

    fn remove(&mut self, slot: u32, position: usize) {
        self.entries.swap_remove(position);
        self.positions[slot as usize] = ABSENT;
        if let Some(&(_, moved)) = self.entries.get(position) {
            self.positions[moved as usize] = position as u32;
            let position = self.sift_up(position);
            self.sift_down(position);
        }
        self.give_back();
    }

    /// Returns memory that the heap has outgrown: all of it when empty, half when a quarter is used.
    fn give_back(&mut self) {
        if self.entries.is_empty() {
            *self = Self::default();
        } else if self.entries.len() < self.entries.capacity() / 4 {
            self.entries.shrink_to(self.entries.capacity() / 2);
        }
    }

    fn sift_up(&mut self, mut position: usize) -> usize {
        while position > 0 {
            let parent = (position - 1) / ARITY;
            if self.entries[parent].0 <= self.entries[position].0 {
                break;
            }
            self.swap(parent, position);
            position = parent;
        }
        position
    }

    fn sift_down(&mut self, mut position: usize) {
        loop {
            let children =
                position * ARITY + 1..(position * ARITY + 1 + ARITY).min(self.entries.len());
            let Some(least) = children.min_by_key(|&child| self.entries[child].0) else { return };
            if self.entries[position].0 <= self.entries[least].0 {
                return;
            }
            self.swap(position, least);
            position = least;
        }
    }

    fn swap(&mut self, a: usize, b: usize) {
        self.entries.swap(a, b);
        self.positions[self.entries[a].1 as usize] = a as u32;
        self.positions[self.entries[b].1 as usize] = b as u32;
    }
}

#[cfg(test)]
mod tests {
    use alloc::boxed::Box;
    use alloc::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn behaves_as_a_sorted_map(steps in prop::collection::vec((0u32..50, prop::option::of(0u64..1000)), 0..300)) {
            let ledger: &'static Ledger = Box::leak(Box::default());
            let mut deadlines = Deadlines::new(ledger);
            let mut model = BTreeMap::new();
            for (slot, at) in steps {
                match at {
                    Some(at) => {
                        deadlines.set(slot, Time::from_millis(at));
                        model.insert(slot, at);
                    }
                    None => {
                        deadlines.set(slot, Time::NEVER);
                        model.remove(&slot);
                    }
                }
                prop_assert_eq!(deadlines.first().map(Time::as_millis), model.values().min().copied());
                prop_assert_eq!(ledger.total(), deadlines.heap_bytes());
            }
            let mut last = 0;
            while let Some(slot) = deadlines.pop_reached(Time::from_millis(1000)) {
                let at = model.remove(&slot).unwrap_or(0);
                prop_assert!(at >= last);
                last = at;
            }
            prop_assert!(model.is_empty());
            prop_assert_eq!(ledger.total(), 0);
        }
    }
}
