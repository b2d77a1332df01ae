//! The few that have the most of something.

use alloc::collections::BinaryHeap;
use alloc::vec::Vec;
use core::cmp::{Ordering, Reverse};

/// The first `most` of all that are offered, by a number.
#[derive(Clone, Debug)]
pub struct Top<T> {
    most: usize,
    heap: BinaryHeap<Reverse<Ranked<T>>>,
    offered: u64,
}

#[derive(Clone, Debug)]
struct Ranked<T> {
    rank: u64,
    /// How many were offered before: of equal ones, those come first that were there first.
    order: Reverse<u64>,
    value: T,
}

impl<T> PartialEq for Ranked<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<T> Eq for Ranked<T> {}

impl<T> PartialOrd for Ranked<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Ranked<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.rank, self.order).cmp(&(other.rank, other.order))
    }
}

impl<T> Top<T> {
    /// Nobody yet.
    pub fn new(most: usize) -> Self {
        Self { most, heap: BinaryHeap::new(), offered: 0 }
    }

    /// Takes one that is among the first; only then it is made.
    pub fn offer(&mut self, rank: u64, value: impl FnOnce() -> T) {
        self.offered += 1;
        if self.heap.len() >= self.most {
            match self.heap.peek() {
                Some(Reverse(last)) if rank > last.rank => self.heap.pop(),
                _ => return,
            };
        }
        self.heap.push(Reverse(Ranked { rank, order: Reverse(self.offered), value: value() }));
    }

    /// Those that are kept, the first one first.
    pub fn into_vec(self) -> Vec<T> {
        self.heap.into_sorted_vec().into_iter().map(|Reverse(ranked)| ranked.value).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_first_are_kept_in_their_order(ranks in prop::collection::vec(0u64..20, 0..50), most in 0usize..10) {
            let mut top = Top::new(most);
            for (number, &rank) in ranks.iter().enumerate() {
                top.offer(rank, || (rank, number));
            }
            let mut expected: Vec<(u64, usize)> =
                ranks.iter().copied().enumerate().map(|(number, rank)| (rank, number)).collect();
            expected.sort_by_key(|&(rank, number)| (Reverse(rank), number));
            expected.truncate(most);
            prop_assert_eq!(top.into_vec(), expected);
        }
    }
}
