//! The filters themselves: text and subscribers, in blocks that come and go.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::ops::ControlFlow;

use plimsoll_ledger::Measure;

use super::options::{Subscriber, SubscriptionOptions};
use super::{Entry, FilterKey};

/// Filters of a block, as a power of two.
const BLOCK_BITS: u32 = 8;
const BLOCK_LEN: usize = 1 << BLOCK_BITS;

/// In place of a subscriber: the options are the number of a list.
const LIST: Subscriber = Subscriber(u32::MAX);

/// In place of a subscriber: there is none (yet).
const NOBODY: Subscriber = Subscriber(u32::MAX - 1);

/// One filter. Most have one subscriber, which costs nothing beside this.
#[derive(Debug)]
struct Filter {
    /// Empty while the place is free.
    text: Box<str>,
    sole: Entry,
}

#[derive(Debug, Default)]
struct Block {
    filters: Vec<Filter>,
    used: usize,
}

/// Filters by key.
#[derive(Debug, Default)]
pub(super) struct Filters {
    blocks: Vec<Block>,
    /// Blocks with a free place (some may be stale).
    open: Vec<u32>,
    lists: Vec<Vec<Entry>>,
    free_lists: Vec<u32>,
    len: usize,
    /// Bytes of blocks, texts and lists.
    inner_bytes: usize,
}

impl Measure for Filters {
    fn heap_bytes(&self) -> usize {
        self.blocks.heap_bytes()
            + self.open.heap_bytes()
            + self.lists.heap_bytes()
            + self.free_lists.heap_bytes()
            + self.inner_bytes
    }
}

fn nobody() -> Entry {
    (NOBODY, SubscriptionOptions::default())
}

impl Filters {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    fn get(&self, key: FilterKey) -> Option<&Filter> {
        let block = self.blocks.get((key.0 >> BLOCK_BITS) as usize)?;
        block.filters.get(key.0 as usize % BLOCK_LEN)
    }

    fn get_mut(&mut self, key: FilterKey) -> Option<&mut Filter> {
        let block = self.blocks.get_mut((key.0 >> BLOCK_BITS) as usize)?;
        block.filters.get_mut(key.0 as usize % BLOCK_LEN)
    }

    /// The text of a filter; empty if there is none.
    #[inline]
    pub(super) fn text(&self, key: FilterKey) -> &str {
        self.get(key).map_or("", |filter| &filter.text)
    }

    /// Its subscribers, sorted.
    #[inline]
    pub(super) fn entries(&self, key: FilterKey) -> &[Entry] {
        let Some(filter) = self.get(key) else { return &[] };
        match filter.sole {
            (LIST, SubscriptionOptions(number)) => {
                self.lists.get(number as usize).map_or(&[], Vec::as_slice)
            }
            (NOBODY, _) => &[],
            _ => core::slice::from_ref(&filter.sole),
        }
    }

    /// A place for a filter without subscribers.
    pub(super) fn add(&mut self, text: &str) -> FilterKey {
        let number = self.open_block();
        let filter = Filter { text: Box::from(text), sole: nobody() };
        self.inner_bytes += filter.text.heap_bytes();
        self.len += 1;
        let Some(block) = self.blocks.get_mut(number) else { return FilterKey(0) };
        block.used += 1;
        if block.filters.capacity() == 0 {
            block.filters.reserve_exact(BLOCK_LEN);
            self.inner_bytes += block.filters.heap_bytes();
        }
        let at = if block.filters.len() < BLOCK_LEN {
            block.filters.push(filter);
            block.filters.len() - 1
        } else {
            let at = block.filters.iter().position(|known| known.text.is_empty()).unwrap_or(0);
            if let Some(place) = block.filters.get_mut(at) {
                *place = filter;
            }
            at
        };
        FilterKey((number << BLOCK_BITS | at) as u32)
    }

    /// A block with a free place.
    fn open_block(&mut self) -> usize {
        while let Some(&number) = self.open.last() {
            match self.blocks.get(number as usize) {
                Some(block) if block.used < BLOCK_LEN => return number as usize,
                _ => self.open.pop(),
            };
        }
        self.blocks.push(Block::default());
        self.open.push(self.blocks.len() as u32 - 1);
        self.blocks.len() - 1
    }

    /// Gives a filter's place back.
    pub(super) fn remove(&mut self, key: FilterKey) {
        let Some(filter) = self.get_mut(key) else { return };
        let text = core::mem::take(&mut filter.text);
        filter.sole = nobody();
        self.inner_bytes -= text.heap_bytes();
        self.len -= 1;
        let number = key.0 >> BLOCK_BITS;
        let Some(block) = self.blocks.get_mut(number as usize) else { return };
        if block.used == BLOCK_LEN {
            self.open.push(number);
        }
        block.used -= 1;
        if block.used == 0 {
            self.inner_bytes -= block.filters.heap_bytes();
            block.filters = Vec::new();
        }
        if self.len == 0 {
            *self = Self::default();
        }
    }

    /// Adds a subscriber or replaces its options. Answers what these were.
    pub(super) fn subscribe(
        &mut self,
        key: FilterKey,
        subscriber: Subscriber,
        options: SubscriptionOptions,
    ) -> Option<SubscriptionOptions> {
        let filter = self.get_mut(key)?;
        match filter.sole {
            (NOBODY, _) => {
                filter.sole = (subscriber, options);
                None
            }
            (LIST, SubscriptionOptions(number)) => self.join(number, subscriber, options),
            (known, before) if known == subscriber => {
                filter.sole.1 = options;
                Some(before)
            }
            first => {
                let number = self.new_list(first);
                if let Some(filter) = self.get_mut(key) {
                    filter.sole = (LIST, SubscriptionOptions(number));
                }
                self.join(number, subscriber, options)
            }
        }
    }

    fn new_list(&mut self, first: Entry) -> u32 {
        let list = alloc::vec![first];
        self.inner_bytes += list.heap_bytes();
        match self.free_lists.pop() {
            Some(number) => {
                if let Some(place) = self.lists.get_mut(number as usize) {
                    *place = list;
                }
                number
            }
            None => {
                self.lists.push(list);
                self.lists.len() as u32 - 1
            }
        }
    }

    fn join(
        &mut self,
        number: u32,
        subscriber: Subscriber,
        options: SubscriptionOptions,
    ) -> Option<SubscriptionOptions> {
        let list = self.lists.get_mut(number as usize)?;
        match list.binary_search_by_key(&subscriber, |&(known, _)| known) {
            Ok(at) => list.get_mut(at).map(|entry| core::mem::replace(&mut entry.1, options)),
            Err(at) => {
                self.inner_bytes -= list.heap_bytes();
                list.insert(at, (subscriber, options));
                self.inner_bytes += list.heap_bytes();
                None
            }
        }
    }

    /// Takes a subscriber out. Answers whether it was there, and whether nobody is left.
    pub(super) fn unsubscribe(&mut self, key: FilterKey, subscriber: Subscriber) -> (bool, bool) {
        let Some(filter) = self.get_mut(key) else { return (false, false) };
        match filter.sole {
            (LIST, SubscriptionOptions(number)) => self.leave(key, number, subscriber),
            (known, _) if known == subscriber => {
                filter.sole = nobody();
                (true, true)
            }
            _ => (false, false),
        }
    }

    fn leave(&mut self, key: FilterKey, number: u32, subscriber: Subscriber) -> (bool, bool) {
        let Some(list) = self.lists.get_mut(number as usize) else { return (false, false) };
        let Ok(at) = list.binary_search_by_key(&subscriber, |&(known, _)| known) else {
            return (false, false);
        };
        self.inner_bytes -= list.heap_bytes();
        list.remove(at);
        if list.len() < list.capacity() / 4 {
            list.shrink_to(list.len() * 2);
        }
        let last = if let [last] = list.as_slice() { Some(*last) } else { None };
        if last.is_some() {
            *list = Vec::new();
        }
        self.inner_bytes += list.heap_bytes();
        if let Some(last) = last {
            self.free_lists.push(number);
            if self.free_lists.len() == self.lists.len() {
                self.lists = Vec::new();
                self.free_lists = Vec::new();
            }
            if let Some(filter) = self.get_mut(key) {
                filter.sole = last;
            }
        }
        (true, false)
    }

    /// Calls `each` with filters, from place `from` on, until it breaks or `steps_max` places have been
    /// looked at. Answers where to go on; `None` is the end.
    pub(super) fn page(
        &self,
        from: u32,
        steps_max: u32,
        mut each: impl FnMut(&str, &[Entry]) -> ControlFlow<()>,
    ) -> Option<u32> {
        let end = (self.blocks.len() << BLOCK_BITS) as u32;
        let stop = from.saturating_add(steps_max).min(end);
        for number in from..stop {
            let key = FilterKey(number);
            let Some(filter) = self.get(key).filter(|filter| !filter.text.is_empty()) else {
                continue;
            };
            if each(&filter.text, self.entries(key)).is_break() {
                return (number + 1 < end).then_some(number + 1);
            }
        }
        (stop < end).then_some(stop)
    }

    /// The same as [`Measure::heap_bytes`], by walking.
    pub(super) fn recount(&self) -> usize {
        let outer = self.blocks.heap_bytes()
            + self.open.heap_bytes()
            + self.lists.heap_bytes()
            + self.free_lists.heap_bytes();
        let lists: usize = self.lists.iter().map(Measure::heap_bytes).sum();
        let blocks = self.blocks.iter().map(|block| {
            let texts = block.filters.iter().map(|filter| filter.text.heap_bytes());
            block.filters.heap_bytes() + texts.sum::<usize>()
        });
        outer + lists + blocks.sum::<usize>()
    }
}
