//! Going over entries in the order of their keys: of a memtable, of a run, of several together.

use std::io;

use crate::entries::{Entry, Kind};
use crate::memtable::{Memtable, Position};

/// A place in an ordered sequence of entries with different keys.
pub(crate) trait Cursor {
    /// The entry here; none at the end.
    fn entry(&self) -> Option<Entry<'_>>;

    /// Goes to the next one.
    fn advance(&mut self) -> io::Result<()>;
}

impl<C: Cursor + ?Sized> Cursor for Box<C> {
    fn entry(&self) -> Option<Entry<'_>> {
        (**self).entry()
    }

    fn advance(&mut self) -> io::Result<()> {
        (**self).advance()
    }
}

/// Goes over a memtable.
#[derive(Debug)]
pub(crate) struct MemtableCursor<'a> {
    memtable: &'a Memtable,
    at: Position,
}

impl<'a> MemtableCursor<'a> {
    /// The first entry whose key is not less than `key`.
    pub(crate) fn new(memtable: &'a Memtable, key: &[u8]) -> Self {
        Self { memtable, at: memtable.first_from(key) }
    }
}

impl Cursor for MemtableCursor<'_> {
    fn entry(&self) -> Option<Entry<'_>> {
        self.memtable.entry(self.at)
    }

    fn advance(&mut self) -> io::Result<()> {
        self.at = self.memtable.next(self.at);
        Ok(())
    }
}

/// Goes over several sequences as if they were one, in which a newer entry stands for all older
/// ones of its key.
///
/// An entry and a delete that annihilate each other do not appear. Other deletes do, unless
/// nothing older exists (`is_oldest`).
#[derive(Debug)]
pub(crate) struct Merging<C> {
    /// Newest first.
    sources: Vec<C>,
    is_oldest: bool,
    /// The source whose entry is next, and what that entry amounts to.
    winner: Option<(usize, Kind)>,
    /// All sources that stand at the winner's key.
    equal: Vec<usize>,
}

impl<C: Cursor> Merging<C> {
    pub(crate) fn new(sources: Vec<C>, is_oldest: bool) -> io::Result<Self> {
        let mut merging = Self { sources, is_oldest, winner: None, equal: Vec::new() };
        merging.settle()?;
        Ok(merging)
    }

    /// Finds the next entry that remains.
    fn settle(&mut self) -> io::Result<()> {
        loop {
            let kind = self.find_least();
            let vanishes = kind.is_none() || (self.is_oldest && kind == Some(Kind::Delete));
            self.winner = self.equal.first().copied().zip(kind).filter(|_| !vanishes);
            if self.winner.is_some() || self.equal.is_empty() {
                return Ok(());
            }
            self.step_over()?;
        }
    }

    /// Finds the sources with the least key, and what their entries amount to together: nothing,
    /// if they annihilate each other. There is no such source at the end.
    fn find_least(&mut self) -> Option<Kind> {
        self.equal.clear();
        let mut least: Option<Entry<'_>> = None;
        let mut is_inserted = false;
        for (at, source) in self.sources.iter().enumerate() {
            let Some(entry) = source.entry() else { continue };
            match least.map(|least| entry.key.cmp(least.key)) {
                Some(std::cmp::Ordering::Greater) => continue,
                Some(std::cmp::Ordering::Equal) => {}
                Some(std::cmp::Ordering::Less) | None => {
                    self.equal.clear();
                    least = Some(entry);
                }
            }
            // The oldest one decides: a key that was deleted may have been inserted again.
            is_inserted = entry.kind == Kind::Insert;
            self.equal.push(at);
        }
        match least?.kind {
            Kind::Delete if is_inserted => None,
            Kind::Delete => Some(Kind::Delete),
            _ if is_inserted => Some(Kind::Insert),
            // An insertion on top of a deletion: that must stay undone by a later one.
            _ => Some(Kind::Put),
        }
    }

    fn step_over(&mut self) -> io::Result<()> {
        for &at in &self.equal {
            if let Some(source) = self.sources.get_mut(at) {
                source.advance()?;
            }
        }
        Ok(())
    }
}

impl<C: Cursor> Cursor for Merging<C> {
    fn entry(&self) -> Option<Entry<'_>> {
        let (at, kind) = self.winner?;
        let entry = self.sources.get(at)?.entry()?;
        Some(Entry { kind, ..entry })
    }

    fn advance(&mut self) -> io::Result<()> {
        self.step_over()?;
        self.settle()
    }
}

#[cfg(test)]
mod tests {
    use plimsoll_ledger::Ledger;

    use super::*;

    fn table(entries: &[(Kind, &str, &str)]) -> Memtable {
        let ledger: &'static Ledger = Box::leak(Box::default());
        let mut memtable = Memtable::new(ledger, 1 << 20);
        for (kind, key, value) in entries {
            let (key, value) = (key.as_bytes(), value.as_bytes());
            memtable.apply(Entry { kind: *kind, key, value });
        }
        memtable
    }

    fn merged(tables: &[Memtable], is_oldest: bool) -> Vec<(Kind, String, String)> {
        let sources = tables.iter().map(|table| MemtableCursor::new(table, b"")).collect();
        let mut merging = Merging::new(sources, is_oldest).unwrap();
        let mut all = Vec::new();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        while let Some(entry) = merging.entry() {
            all.push((entry.kind, text(entry.key), text(entry.value)));
            merging.advance().unwrap();
        }
        all
    }

    #[test]
    fn the_newest_wins_and_inserts_are_annihilated() {
        use Kind::{Delete, Insert, Put};
        let tables = [
            table(&[(Put, "a", "3"), (Delete, "b", ""), (Delete, "c", ""), (Put, "e", "3")]),
            table(&[(Put, "a", "2"), (Insert, "b", "2"), (Put, "c", "2"), (Insert, "e", "2")]),
            table(&[(Put, "a", "1"), (Put, "d", "1")]),
        ];
        let own = |kind, key: &str, value: &str| (kind, key.to_owned(), value.to_owned());
        let kept = [own(Put, "a", "3"), own(Insert, "e", "3")];
        let mut expected = vec![kept[0].clone(), own(Delete, "c", ""), own(Put, "d", "1")];
        expected.push(kept[1].clone());
        assert_eq!(merged(&tables, false), expected);
        expected.remove(1);
        assert_eq!(merged(&tables, true), expected);
    }
}
