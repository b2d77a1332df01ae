//! Space and memory: what is given back, what is used again, what a small commit writes.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::allow_attributes,
    reason = "what fails here fails the test"
)]

mod model;

use model::{Content, SMALL, content_of, leaked_ledger};
use plimsoll_ledger::Account;
use plimsoll_store::simulated::SimulatedDisk;
use plimsoll_store::{Change, Directory, Disk, Options, Store};

#[test]
fn deleting_everything_gives_everything_back() {
    let disk = SimulatedDisk::new();
    let ledger = leaked_ledger();
    let (mut store, _) = Store::open(disk.clone(), SMALL, ledger).unwrap();
    for n in 0..3000u32 {
        store.commit([Change::Put { key: &n.to_be_bytes(), value: &[1; 200] }]).unwrap();
        store.maintain();
    }
    assert!(store.space().run_bytes > 500_000, "{:?}", store.space());
    for n in 0..3000u32 {
        store.commit([Change::Delete { key: &n.to_be_bytes() }]).unwrap();
        store.maintain();
    }
    store.checkpoint().unwrap();
    while store.maintain() {}
    let space = store.space();
    assert_eq!((space.runs, space.run_bytes, space.values, space.deletes), (0, 0, 0, 0));
    assert!(disk.bytes() <= 4 * SMALL.segment_bytes + 4096, "{}", disk.bytes());
    assert!(ledger.bytes(Account::Store) < 40_000, "{}", ledger.bytes(Account::Store));
}

#[test]
fn a_queue_that_is_drained_as_it_fills_writes_no_runs() {
    let disk = SimulatedDisk::new();
    let (mut store, _) = Store::open(disk.clone(), SMALL, leaked_ledger()).unwrap();
    for n in 0..5000u32 {
        store.commit([Change::Insert { key: &n.to_be_bytes(), value: &[1; 200] }]).unwrap();
        store.maintain();
        if let Some(old) = n.checked_sub(10) {
            store.commit([Change::Delete { key: &old.to_be_bytes() }]).unwrap();
        }
    }
    while store.maintain() {}
    let space = store.space();
    assert!(space.runs <= 2 && space.deletes < 20, "{space:?}");
    assert!(disk.bytes() < 200_000, "{}", disk.bytes());
}

#[test]
fn overwriting_the_same_keys_takes_bounded_space() {
    let disk = SimulatedDisk::new();
    let (mut store, _) = Store::open(disk.clone(), SMALL, leaked_ledger()).unwrap();
    for n in 0..20_000u32 {
        let key = (n % 500).to_be_bytes();
        store.commit([Change::Put { key: &key, value: &[n as u8; 150] }]).unwrap();
        store.maintain();
        assert!(store.space().run_bytes < 5 * 500 * 180 + 100_000, "{:?}", store.space());
    }
    assert_eq!(content_of(&store).len(), 500);
}

#[test]
fn a_small_commit_writes_one_page() {
    let disk = SimulatedDisk::new();
    let options = Options { inline: true, ..Options::default() };
    let (mut store, _) = Store::open(disk.clone(), options, leaked_ledger()).unwrap();
    store.commit([Change::Put { key: b"first", value: b"" }]).unwrap();
    store.sync().unwrap();
    store.maintain();
    let before = disk.operations();
    for n in 0..1000u32 {
        store.commit([Change::Put { key: &n.to_be_bytes(), value: &[1; 146] }]).unwrap();
        store.sync().unwrap();
        store.maintain();
    }
    let after = disk.operations();
    let bytes = (after.page_bytes_synced - before.page_bytes_synced) / 1000;
    assert!((4096..4500).contains(&bytes), "{bytes}");
    assert_eq!(after.syncs - before.syncs, 1000);
}

#[test]
fn segments_are_used_again() {
    let disk = SimulatedDisk::new();
    let (mut store, _) = Store::open(disk.clone(), SMALL, leaked_ledger()).unwrap();
    let mut files_max = 0;
    for n in 0..20_000u32 {
        store.commit([Change::Put { key: b"same", value: &n.to_be_bytes() }]).unwrap();
        store.maintain();
        files_max = files_max.max(disk.list().unwrap().len());
    }
    assert!(files_max < 14, "{files_max}");
    assert_eq!(store.get(b"same").unwrap().unwrap(), 19_999u32.to_be_bytes());
}

#[test]
fn a_thread_of_its_own_does_the_same_on_a_real_directory() {
    let path = std::env::temp_dir().join(format!("plimsoll-store-{}", std::process::id()));
    let options = Options { inline: false, ..SMALL };
    let ledger = leaked_ledger();
    let mut expected = Content::new();
    for life in 0..4u32 {
        let directory = Directory::open(&path).unwrap();
        let (mut store, recovery) = Store::open(directory, options.clone(), ledger).unwrap();
        assert!(recovery.damages.is_empty() && recovery.torn.is_none(), "{recovery:?}");
        assert_eq!(content_of(&store), expected);
        for n in 0..3000u32 {
            let (key, value) = ((n * 7 % 1000).to_be_bytes(), [life as u8; 100]);
            store.commit([Change::Put { key: &key, value: &value }]).unwrap();
            expected.insert(key.to_vec(), value.to_vec());
            if n % 100 == 0 {
                store.sync().unwrap();
            }
            store.maintain();
        }
        store.sync().unwrap();
        if life == 1 {
            store.checkpoint().unwrap();
        }
        assert!(store.last_error().is_none());
        assert_eq!(content_of(&store), expected);
        drop(store);
        assert_eq!(ledger.bytes(Account::Store), 0);
    }
    std::fs::remove_dir_all(&path).unwrap();
}
