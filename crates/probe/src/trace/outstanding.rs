//! Sampled blocks that are not freed, by the calls that asked for them.

use std::collections::{HashMap, HashSet};

use super::programs::sample;
use super::sampling;
use super::unwind::{Call, Snapshot, Unwinder};
use crate::process::memory::words_of;

/// Stacks that are told apart; further ones are one.
const STACKS_MAX: usize = 65_536;

/// What became of the samples of one stack.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Tally {
    /// Samples taken.
    pub(super) samples: u64,
    /// Bytes that they stand for.
    pub(super) allocated_bytes: f64,
    /// Samples that are not freed.
    pub(super) held_samples: u64,
    /// Blocks that these stand for.
    pub(super) held_blocks: f64,
    /// Bytes that they stand for.
    pub(super) held_bytes: f64,
}

struct Held {
    time: u64,
    stack: usize,
    size: u64,
    weight: f64,
}

/// All samples so far.
#[derive(Default)]
pub(super) struct Outstanding {
    stacks: Vec<Vec<Call>>,
    numbers: HashMap<Vec<Call>, usize>,
    tallies: Vec<Tally>,
    held: HashMap<u64, Held>,
    samples: u64,
}

impl Outstanding {
    /// Takes a sample up.
    pub(super) fn take(&mut self, record: &[u8], unwinder: &mut Unwinder) {
        let mut words = [0; sample::WORDS];
        for (word, value) in words.iter_mut().zip(words_of(record)) {
            *word = value;
        }
        let mut registers = [0; 8];
        registers.copy_from_slice(&words[sample::REGISTERS..sample::STACK]);
        let stack = record.get(sample::WORDS * 8..).unwrap_or_default();
        let stack = &stack[..stack.len().min(words[sample::STACK_BYTES] as usize)];
        if unwinder.module(registers[0]).is_none() {
            unwinder.refresh();
        }
        let calls =
            unwinder.calls(&Snapshot { registers, stack_start: words[sample::STACK], stack });
        let weight = sampling::weight(words[sample::SIZE], words[sample::MEAN]);
        self.add(words[sample::ADDRESS], words[sample::TIME], words[sample::SIZE], weight, calls);
    }

    fn add(&mut self, address: u64, time: u64, size: u64, weight: f64, calls: Vec<Call>) {
        let calls = if self.stacks.len() < STACKS_MAX || self.numbers.contains_key(&calls) {
            calls
        } else {
            Vec::new()
        };
        let stack = match self.numbers.get(&calls) {
            Some(stack) => *stack,
            None => {
                self.stacks.push(calls.clone());
                self.tallies.push(Tally::default());
                self.numbers.insert(calls, self.stacks.len() - 1);
                self.stacks.len() - 1
            }
        };
        self.samples += 1;
        self.tallies[stack].samples += 1;
        self.tallies[stack].allocated_bytes += weight * size as f64;
        self.held.insert(address, Held { time, stack, size, weight });
    }

    /// Forgets all but the blocks that the kernel still has: address, and time of the sample. It must have been asked
    /// after the last sample was taken up, so that what it does not have is freed.
    pub(super) fn keep(&mut self, blocks: &[(u64, u64)]) {
        let blocks: HashMap<u64, u64> = blocks.iter().copied().collect();
        self.held.retain(|address, held| blocks.get(address) == Some(&held.time));
    }

    /// How many samples were taken.
    pub(super) fn samples(&self) -> u64 {
        self.samples
    }

    /// How many are kept account of.
    pub(super) fn held(&self) -> usize {
        self.held.len()
    }

    /// The calls of a stack, innermost first.
    pub(super) fn calls(&self, stack: usize) -> &[Call] {
        &self.stacks[stack]
    }

    /// What each stack holds now: of all blocks, or of some only.
    pub(super) fn tallies(&self, only: Option<&HashSet<u64>>) -> Vec<Tally> {
        let mut tallies = self.tallies.clone();
        for (_, held) in
            self.held.iter().filter(|(address, _)| only.is_none_or(|only| only.contains(address)))
        {
            let tally = &mut tallies[held.stack];
            tally.held_samples += 1;
            tally.held_blocks += held.weight;
            tally.held_bytes += held.weight * held.size as f64;
        }
        tallies
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calls(address: u64) -> Vec<Call> {
        vec![Call { address, guessed: false }]
    }

    #[test]
    fn what_is_freed_is_no_longer_held() {
        let mut outstanding = Outstanding::default();
        outstanding.add(0x10, 1, 100, 2.0, calls(7));
        outstanding.add(0x20, 2, 50, 4.0, calls(7));
        outstanding.add(0x30, 3, 10, 1.0, calls(8));
        // The second was freed, and its address taken anew, of which we have not heard.
        outstanding.keep(&[(0x10, 1), (0x20, 9), (0x30, 3)]);
        let tallies = outstanding.tallies(None);
        assert_eq!(outstanding.calls(0), calls(7));
        let first = Tally {
            samples: 2,
            allocated_bytes: 400.0,
            held_samples: 1,
            held_blocks: 2.0,
            held_bytes: 200.0,
        };
        assert_eq!(tallies[0], first);
        assert_eq!(tallies[1].held_samples, 1);
        let only = outstanding.tallies(Some(&HashSet::from([0x30])));
        assert_eq!((only[0].held_samples, only[1].held_samples), (0, 1));
        outstanding.keep(&[]);
        assert_eq!(outstanding.held(), 0);
        assert_eq!(outstanding.samples(), 3);
    }
}
