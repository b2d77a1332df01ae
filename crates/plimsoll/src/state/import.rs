//! Taking in what Mosquitto has kept.

use std::io;
use std::ops::ControlFlow;
use std::path::Path;

use plimsoll_engine::Time;
use plimsoll_store::{Change, Disk, Store};

use crate::mosquitto_db::{First, MosquittoDb};

/// What was taken in.
pub(crate) struct Imported {
    /// In words, some lines of them.
    pub(crate) text: String,
    /// Nothing had to be left out because it could not be read.
    pub(crate) whole: bool,
}

/// Bytes of items that are committed at once.
const BATCH_BYTES: usize = 1 << 20;

/// Reads a file of Mosquitto's and puts what is in it into an empty store, durably.
pub(crate) fn import<D: Disk>(
    path: &Path,
    store: &mut Store<D>,
    now: Time,
) -> Result<Imported, String> {
    let explain = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    clear_unfinished(store).map_err(|error| explain(&error))?;
    if !is_empty(store).map_err(|error| explain(&error))? {
        return Err(
            "there is state already: import into a directory that holds none, so that nothing is mixed"
                .into(),
        );
    }
    let bytes = std::fs::read(path).map_err(|error| explain(&error))?;
    let db = MosquittoDb::read(&bytes, now).map_err(|error| explain(&error))?;
    let mut batch = Batch::default();
    batch.entries.push((UNFINISHED.to_vec(), Vec::new()));
    let put = db.items(First::default(), &mut |item| {
        batch.push(item);
        if batch.bytes < BATCH_BYTES { Ok(()) } else { batch.commit(store) }
    });
    put.and_then(|()| batch.commit(store))
        .and_then(|()| store.commit([Change::Delete { key: UNFINISHED }]))
        .and_then(|()| store.checkpoint())
        .map_err(|error| format!("cannot store what is in {}: {error}", path.display()))?;
    let summary = db.summary();
    Ok(Imported { text: summary.to_string(), whole: summary.is_whole() })
}

/// A key that is there while an import is under way.
const UNFINISHED: &[u8] = &[0];

/// Takes out what an import left that did not come to its end.
fn clear_unfinished<D: Disk>(store: &mut Store<D>) -> io::Result<()> {
    if store.get(UNFINISHED)?.is_none() {
        return Ok(());
    }
    let mut keys = Vec::new();
    store.scan(&[], |key, _| {
        keys.push(key.to_vec());
        ControlFlow::Continue(())
    })?;
    // The mark is the first key: it goes last.
    store.commit(keys.iter().rev().map(|key| Change::Delete { key }))
}

/// Whether a store is to be filled: nothing is in it, or an import that did not come to its end.
pub(crate) fn wants_import<D: Disk>(store: &Store<D>) -> io::Result<bool> {
    Ok(store.get(UNFINISHED)?.is_some() || is_empty(store)?)
}

/// Whether nothing is in a store.
fn is_empty<D: Disk>(store: &Store<D>) -> io::Result<bool> {
    let mut empty = true;
    store.scan(&[], |_, _| {
        empty = false;
        ControlFlow::Break(())
    })?;
    Ok(empty)
}

/// Items on their way.
#[derive(Default)]
struct Batch {
    entries: Vec<(Vec<u8>, Vec<u8>)>,
    bytes: usize,
}

impl Batch {
    fn push(&mut self, item: &plimsoll_engine::Item<'_>) {
        let (mut key, mut value) = (Vec::new(), Vec::new());
        item.key(&mut key);
        item.value(&mut value);
        self.bytes += key.len() + value.len();
        self.entries.push((key, value));
    }

    fn commit<D: Disk>(&mut self, store: &mut Store<D>) -> io::Result<()> {
        self.bytes = 0;
        let entries = std::mem::take(&mut self.entries);
        store.commit(entries.iter().map(|(key, value)| Change::Put { key, value }))?;
        store.maintain();
        Ok(())
    }
}
