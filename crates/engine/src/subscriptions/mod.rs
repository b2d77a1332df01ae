//! The subscription index: from topic names to those whose filters match.
//!
//! **Shape hash.** A filter's *shape* is its number of levels, which of them are `+`, and whether
//! it ends in `#`. All filters lie in one hash table, hashed with their wildcards in place; a topic
//! is looked up once for each shape that could match it. A fleet of a million filters has a dozen
//! shapes, so a match costs a dozen probes, whatever the number of filters.
//!
//! The number of shapes is bounded. Filters beyond it (an attacker can make thousands of shapes)
//! and filters of more than 32 levels lie in a trie (`odd`), whose cost depends on the topic's
//! depth and not on their number.

mod filters;
mod levels;
mod odd;
mod options;
mod shape;
#[cfg(test)]
mod tests;

use core::ops::ControlFlow;

use plimsoll_ledger::{Account, Charged, Ledger, Measure, usable_size};

use filters::Filters;
use hashbrown::HashTable;
use levels::{Levels, Seed};
use odd::OddFilters;
pub use options::{Subscriber, SubscriptionOptions};
use shape::{Shape, Shapes};

/// Number of a filter, stable while somebody subscribes to it. Less than 2³¹.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FilterKey(pub u32);

/// A subscriber with the options of its subscription.
pub type Entry = (Subscriber, SubscriptionOptions);

/// What [`Subscriptions::insert`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inserted {
    /// The filter's key.
    pub key: FilterKey,
    /// The options that the subscriber had with this filter before, if it had any.
    pub replaced: Option<SubscriptionOptions>,
}

/// Tables that the filters are spread over, so that one growing is a short pause.
const TABLES: usize = 64;

/// All filters with their subscribers.
#[derive(Debug)]
pub struct Subscriptions {
    filters: Charged<Filters>,
    tables: [Charged<Table>; TABLES],
    shapes: Charged<Shapes>,
    odd: Charged<OddFilters>,
    seed: Seed,
}

/// Keys of filters by the hash of their text.
#[derive(Debug, Default)]
struct Table(HashTable<u32>);

impl Measure for Table {
    fn heap_bytes(&self) -> usize {
        usable_size(self.0.allocation_size(), 16)
    }
}

impl Subscriptions {
    /// An empty index, charged to [`Account::Subscriptions`]. Peers that do not know `seed` cannot
    /// choose filters that collide.
    pub fn new(ledger: &'static Ledger, seed: u64) -> Self {
        let account = Account::Subscriptions;
        Self {
            filters: ledger.own(account, Filters::default()),
            tables: core::array::from_fn(|_| ledger.own(account, Table::default())),
            shapes: ledger.own(account, Shapes::default()),
            odd: ledger.own(account, OddFilters::new(seed)),
            seed: Seed::new(seed),
        }
    }

    /// Subscribes, or replaces the options of an existing subscription (MQTT-3.8.4-3).
    pub fn insert(
        &mut self,
        filter: &str,
        subscriber: Subscriber,
        options: SubscriptionOptions,
    ) -> Inserted {
        let key = match self.find(filter) {
            Some(key) => key,
            None => self.add(filter),
        };
        let replaced = self.filters.edit().subscribe(key, subscriber, options);
        Inserted { key, replaced }
    }

    /// Makes an entry for a filter that is not there.
    fn add(&mut self, filter: &str) -> FilterKey {
        let key = self.filters.edit().add(filter);
        let shape = Shape::of(filter);
        match shape.filter(|&shape| self.shapes.edit().admit(shape)) {
            Some(shape) => {
                let hash = shape.hash_filter(filter, &self.seed);
                let (filters, seed) = (&self.filters, &self.seed);
                let rehash = |&key: &u32| hash_of(filters.text(FilterKey(key)), seed);
                table(&mut self.tables, hash).edit().0.insert_unique(hash, key.0, rehash);
            }
            None => self.odd.edit().insert(filter, key),
        }
        key
    }

    /// The key of a filter that somebody subscribes to.
    pub fn find(&self, filter: &str) -> Option<FilterKey> {
        let by_shape = Shape::of(filter).filter(|&shape| self.shapes.contains(shape));
        let known = by_shape.and_then(|shape| {
            let hash = shape.hash_filter(filter, &self.seed);
            let same = |&key: &u32| self.filters.text(FilterKey(key)) == filter;
            self.tables.get(table_index(hash))?.0.find(hash, same).map(|&key| FilterKey(key))
        });
        known.or_else(|| self.odd.find(filter))
    }

    /// Ends a subscription. A filter without subscribers goes, with all that it needed.
    pub fn remove(&mut self, key: FilterKey, subscriber: Subscriber) -> bool {
        let (removed, empty) = self.filters.edit().unsubscribe(key, subscriber);
        if empty {
            self.drop_filter(key);
        }
        removed
    }

    /// A mistake made on purpose: the filter stays, with nobody.
    #[cfg(feature = "leaks")]
    pub(crate) fn remove_and_keep_filter(&mut self, key: FilterKey, subscriber: Subscriber) {
        self.filters.edit().unsubscribe(key, subscriber);
    }

    fn drop_filter(&mut self, key: FilterKey) {
        let text = self.filters.text(key);
        let shape = Shape::of(text).filter(|&shape| self.shapes.contains(shape));
        let mut in_table = false;
        if let Some(shape) = shape {
            let hash = shape.hash_filter(text, &self.seed);
            let mut table = table(&mut self.tables, hash).edit();
            if let Ok(entry) = table.0.find_entry(hash, |&other| other == key.0) {
                entry.remove();
                in_table = true;
            }
            if table.0.is_empty() {
                table.0 = HashTable::new();
            } else if table.0.len() * 8 < table.0.capacity() {
                let (filters, seed) = (&self.filters, &self.seed);
                let keep = table.0.len() * 2;
                table.0.shrink_to(keep, |&key| hash_of(filters.text(FilterKey(key)), seed));
            }
            drop(table);
            if in_table {
                self.shapes.edit().release(shape);
            }
        }
        if !in_table {
            self.odd.edit().remove(text);
        }
        self.filters.edit().remove(key);
    }

    /// The text of a filter.
    pub fn filter(&self, key: FilterKey) -> Option<&str> {
        Some(self.filters.text(key)).filter(|text| !text.is_empty())
    }

    /// The options that a subscriber has with a filter.
    pub fn options(&self, key: FilterKey, subscriber: Subscriber) -> Option<SubscriptionOptions> {
        let entries = self.filters.entries(key);
        let at = entries.binary_search_by_key(&subscriber, |&(known, _)| known).ok()?;
        entries.get(at).map(|&(_, options)| options)
    }

    /// Everybody who subscribes to a filter.
    pub fn subscribers(&self, key: FilterKey) -> &[Entry] {
        self.filters.entries(key)
    }

    /// Calls `each` with the subscribers of every filter that matches `topic`.
    pub fn matches(&self, topic: &str, mut each: impl FnMut(&[Entry])) {
        let levels = Levels::of(topic, &self.seed);
        if let Some(levels) = &levels {
            for shape in self.shapes.candidates(levels.len(), topic.starts_with('$')) {
                let hash = shape.hash_topic(levels, &self.seed);
                let Some(table) = self.tables.get(table_index(hash)) else { continue };
                // The text decides, not the hash.
                let same = |&key: &u32| shape.matches(self.filters.text(FilterKey(key)), topic);
                if let Some(&key) = table.0.find(hash, same) {
                    each(self.filters.entries(FilterKey(key)));
                }
            }
        }
        // More levels than a shape can say: only `#` filters of the table can match.
        if levels.is_none() {
            self.matches_deep(topic, &mut each);
        }
        if !self.odd.is_empty() {
            self.odd.matches(topic, |key| each(self.filters.entries(key)));
        }
    }

    /// Matches a topic that is deeper than shapes go against the `#` filters of the table.
    fn matches_deep(&self, topic: &str, each: &mut impl FnMut(&[Entry])) {
        let levels = Levels::front_of(topic, &self.seed);
        for shape in self.shapes.candidates(levels.len(), topic.starts_with('$')) {
            if !shape.is_open() {
                continue;
            }
            let hash = shape.hash_topic(&levels, &self.seed);
            let Some(table) = self.tables.get(table_index(hash)) else { continue };
            let same = |&key: &u32| shape.matches(self.filters.text(FilterKey(key)), topic);
            if let Some(&key) = table.0.find(hash, same) {
                each(self.filters.entries(FilterKey(key)));
            }
        }
    }

    /// How many filters there are.
    pub fn filters_len(&self) -> usize {
        self.filters.len()
    }

    /// Calls `each` with filters, from place `from` on, until it breaks or `steps_max` places have been
    /// looked at. Answers where to go on; `None` is the end.
    pub fn page(
        &self,
        from: u32,
        steps_max: u32,
        each: impl FnMut(&str, &[Entry]) -> ControlFlow<()>,
    ) -> Option<u32> {
        self.filters.page(from, steps_max, each)
    }

    /// Bytes that the index holds, by walking it: equal to what is charged.
    pub fn recount(&self) -> usize {
        let tables: usize = self.tables.iter().map(|table| table.heap_bytes()).sum();
        tables + self.filters.recount() + self.shapes.heap_bytes() + self.odd.recount()
    }
}

/// The table that a hash belongs to. hashbrown takes its own bits from both ends of the hash.
fn table_index(hash: u64) -> usize {
    (hash >> 40) as usize % TABLES
}

fn table(tables: &mut [Charged<Table>; TABLES], hash: u64) -> &mut Charged<Table> {
    // In range by the remainder above.
    &mut tables[table_index(hash)]
}

fn hash_of(filter: &str, seed: &Seed) -> u64 {
    Shape::of(filter).map_or(0, |shape| shape.hash_filter(filter, seed))
}
