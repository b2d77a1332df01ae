//! Failing disks, full disks, and other processes.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::allow_attributes,
    reason = "what fails here fails the test"
)]

mod model;

use model::{Content, Random, SMALL, content_of, leaked_ledger};
use plimsoll_ledger::Account;
use plimsoll_store::simulated::SimulatedDisk;
use plimsoll_store::{Change, Options, Store};

/// How often a call is repeated until it must have succeeded.
const TRIES: usize = 3;

fn again<T, E: std::fmt::Debug>(mut call: impl FnMut() -> Result<T, E>) -> T {
    let mut last = call();
    for _ in 1..TRIES {
        if last.is_ok() {
            break;
        }
        last = call();
    }
    last.unwrap()
}

/// Some work of everything, in which each call is repeated when it fails.
fn script(disk: &SimulatedDisk, expected: &mut Content) {
    let ledger = leaked_ledger();
    let mut store = again(|| Store::open(disk.clone(), SMALL, ledger)).0;
    let mut random = Random::new(7);
    for round in 0..90u32 {
        let key = format!("key/{}", random.below(50)).into_bytes();
        let entry = format!("queue/{round}").into_bytes();
        let before = round.checked_sub(15).map(|old| format!("queue/{old}").into_bytes());
        let value = random.bytes(1500);
        let mut batch = vec![
            Change::Put { key: &key, value: &value },
            Change::Insert { key: &entry, value: &value },
        ];
        batch.extend(before.as_ref().map(|key| Change::Delete { key }));
        again(|| store.commit(batch.iter().copied()));
        again(|| store.sync());
        store.maintain();
        if round % 20 == 19 {
            again(|| store.checkpoint());
        }
        expected.insert(key.clone(), value.clone());
        expected.insert(entry.clone(), value.clone());
        before.map(|key| expected.remove(&key));
    }
    assert_eq!(again(|| store.get(b"key/1")), expected.get(b"key/1".as_slice()).cloned());
    drop(store);
    assert_eq!(ledger.bytes(Account::Store), 0);
}

#[test]
fn any_operation_may_fail_once() {
    let disk = SimulatedDisk::new();
    script(&disk, &mut Content::new());
    let operations = disk.operations().all;
    assert!(operations > 400, "{operations}");
    for n in 1..=operations {
        let disk = SimulatedDisk::new();
        let mut expected = Content::new();
        disk.fail_nth(n);
        script(&disk, &mut expected);
        assert!(!disk.failure_is_due() || n > operations - 30);
        disk.heal();
        disk.crash(n);
        let (store, recovery) = Store::open(disk, SMALL, leaked_ledger()).unwrap();
        assert_eq!(recovery.damages, [], "operation {n}");
        assert_eq!(content_of(&store), expected, "operation {n}");
    }
}

#[test]
fn a_full_disk_refuses_and_goes_on_when_there_is_room() {
    let disk = SimulatedDisk::new();
    disk.set_bytes_max(Some(300 * 1024));
    let (mut store, _) = Store::open(disk.clone(), SMALL, leaked_ledger()).unwrap();
    let mut expected = Content::new();
    let mut refused = 0;
    for n in 0..2000u32 {
        let (key, value) = (n.to_be_bytes(), vec![n as u8; 500]);
        match store.commit([Change::Insert { key: &key, value: &value }]) {
            Ok(()) => {
                expected.insert(key.to_vec(), value);
            }
            Err(error) => {
                assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
                refused += 1;
            }
        }
        let _ = store.sync();
        store.maintain();
    }
    assert!(refused > 1000 && expected.len() > 100, "{refused} {}", expected.len());
    assert_eq!(content_of(&store), expected);
    disk.set_bytes_max(None);
    let change = Change::Insert { key: b"later", value: b"there is room" };
    // Whether there is room again is not looked at each time.
    (0..64).find(|_| store.commit([change]).is_ok()).unwrap();
    store.sync().unwrap();
    expected.insert(b"later".to_vec(), b"there is room".to_vec());
    drop(store);
    disk.crash(1);
    let (store, _) = Store::open(disk, SMALL, leaked_ledger()).unwrap();
    assert_eq!(content_of(&store), expected);
}

#[test]
fn a_full_disk_is_emptied_by_deleting() {
    let disk = SimulatedDisk::new();
    disk.set_bytes_max(Some(600 * 1024));
    // As by default, a segment has room for several memtables.
    let options = Options { segment_bytes: 64 * 1024, memtable_bytes: 16 * 1024, ..SMALL };
    let (mut store, _) = Store::open(disk.clone(), options, leaked_ledger()).unwrap();
    let mut keys = Vec::new();
    for n in 0..2000u32 {
        let key = n.to_be_bytes();
        if store.commit([Change::Insert { key: &key, value: &[7; 500] }]).is_ok() {
            keys.push(key);
        }
        let _ = store.sync();
        store.maintain();
    }
    let full = disk.bytes();
    for key in &keys {
        let mut tries = 0;
        while store.commit([Change::Delete { key }]).and_then(|()| store.sync()).is_err() {
            tries += 1;
            assert!(tries < 3000, "deleting does not get on: {:?}", store.space());
            store.maintain();
        }
        store.maintain();
    }
    store.checkpoint().unwrap();
    while store.maintain() {}
    assert_eq!(content_of(&store), Content::new());
    assert!(disk.bytes() < full / 2, "{} of {full}", disk.bytes());
    assert_eq!(store.space().run_bytes, 0, "{:?}", store.space());
}

#[test]
fn a_disk_that_does_not_sync_promises_nothing_and_loses_nothing() {
    let disk = SimulatedDisk::new();
    let (mut store, _) = Store::open(disk.clone(), SMALL, leaked_ledger()).unwrap();
    store.commit([Change::Put { key: b"a", value: b"1" }]).unwrap();
    store.sync().unwrap();
    disk.set_syncs_fail(true);
    for n in 0..20u8 {
        let change = [Change::Put { key: &[n], value: b"2" }];
        if store.commit(change).is_err() {
            disk.set_syncs_fail(false);
            store.commit(change).unwrap();
            disk.set_syncs_fail(true);
        }
        assert!(store.sync().is_err());
        assert_eq!(store.durable(), 1);
    }
    disk.set_syncs_fail(false);
    store.sync().unwrap();
    assert_eq!(store.durable(), 21);
    disk.crash(3);
    let (store, _) = Store::open(disk, SMALL, leaked_ledger()).unwrap();
    assert_eq!(content_of(&store).len(), 21);
}

#[test]
fn what_is_not_logged_is_durable_with_the_next_checkpoint() {
    let disk = SimulatedDisk::new();
    let (mut store, _) = Store::open(disk.clone(), SMALL, leaked_ledger()).unwrap();
    store.apply_unlogged([Change::Put { key: b"a", value: b"1" }]).unwrap();
    store.checkpoint().unwrap();
    store.apply_unlogged([Change::Put { key: b"a", value: b"2" }]).unwrap();
    assert_eq!(store.get(b"a").unwrap().unwrap(), b"2");
    drop(store);
    disk.crash(3);
    let (store, _) = Store::open(disk, SMALL, leaked_ledger()).unwrap();
    assert_eq!(store.get(b"a").unwrap().unwrap(), b"1");
}

#[test]
fn values_larger_than_a_segment_are_taken() {
    let disk = SimulatedDisk::new();
    let (mut store, _) = Store::open(disk.clone(), SMALL, leaked_ledger()).unwrap();
    let value = vec![5; 200_000];
    store.commit([Change::Put { key: b"large", value: &value }]).unwrap();
    store.commit([Change::Put { key: b"small", value: b"x" }]).unwrap();
    store.sync().unwrap();
    drop(store);
    disk.crash(9);
    let (mut store, _) = Store::open(disk.clone(), SMALL, leaked_ledger()).unwrap();
    assert_eq!(store.get(b"large").unwrap().unwrap(), value);
    store.commit([Change::Delete { key: b"large" }]).unwrap();
    store.checkpoint().unwrap();
    while store.maintain() {}
    assert_eq!(content_of(&store).len(), 1);
    assert!(disk.bytes() < 100_000, "{}", disk.bytes());
}
