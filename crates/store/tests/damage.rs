//! Flipped bits, cut files, lost files: the store opens, says so, and serves the rest.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::allow_attributes,
    reason = "what fails here fails the test"
)]

mod model;

use model::{Content, Random, SMALL, content_of, leaked_ledger};
use plimsoll_store::simulated::SimulatedDisk;
use plimsoll_store::{Change, DamagedPart, Disk, OpenError, Store, check};

/// A store with runs, overwritten and deleted entries, and a journal with some batches that are
/// in no run.
fn sample() -> (SimulatedDisk, Content) {
    let disk = SimulatedDisk::new();
    let (mut store, _) = Store::open(disk.clone(), SMALL, leaked_ledger()).unwrap();
    let mut expected = Content::new();
    let mut random = Random::new(3);
    for round in 0..60u32 {
        let mut batch = Vec::new();
        for entry in 0..4u32 {
            let key = format!("topic/{:03}", (round * 4 + entry) % 150).into_bytes();
            batch.push((key, random.bytes(120)));
        }
        store.commit(batch.iter().map(|(key, value)| Change::Put { key, value })).unwrap();
        store.sync().unwrap();
        expected.extend(batch);
        if round == 20 || round == 40 {
            store.checkpoint().unwrap();
        }
    }
    drop(store);
    (disk, expected)
}

/// How many keys differ.
fn differences(found: &Content, expected: &Content) -> usize {
    let missing = expected.iter().filter(|(key, value)| found.get(*key) != Some(value));
    missing.count() + found.keys().filter(|key| !expected.contains_key(*key)).count()
}

/// Opens a damaged disk: how many keys differ, and what is reported.
fn outcome(disk: SimulatedDisk, expected: &Content) -> (usize, usize) {
    let (store, recovery) = Store::open(disk, SMALL, leaked_ledger()).unwrap();
    let found = content_of(&store);
    let reports = recovery.damages.len() + usize::from(recovery.torn.is_some());
    (differences(&found, expected), reports + store.damages().len())
}

#[test]
fn a_flipped_bit_anywhere_costs_one_entry_at_most_and_is_reported() {
    let (disk, expected) = sample();
    assert_eq!(outcome(disk.copy(), &expected), (0, 0));
    let mut random = Random::new(11);
    let (mut flips, mut losses) = (0, 0);
    for name in disk.list().unwrap() {
        let length = disk.content(&name).unwrap().len();
        let step = (length / 2500).max(1);
        for at in (0..length).step_by(step) {
            let disk = disk.copy();
            let at = (at + random.below(step)).min(length - 1);
            disk.flip(&name, at as u64, 1 << random.below(8));
            let (lost, reports) = outcome(disk, &expected);
            assert!(lost <= 1, "{name} at {at}: {lost} lost");
            assert!(lost == 0 || reports > 0, "{name} at {at}: nothing reported");
            flips += 1;
            losses += lost;
        }
    }
    assert!(flips > 5000 && losses > 500, "{flips} flips, {losses} entries");
}

#[test]
fn a_check_finds_what_is_flipped_and_repairs_it() {
    let (disk, expected) = sample();
    let sound = check(&disk, true).unwrap();
    assert_eq!((sound.damages.len(), sound.is_repaired, sound.torn), (0, false, None));
    assert!(sound.entries > 100 && sound.batches > 5 && sound.blocks > 10);
    let mut random = Random::new(5);
    let mut found = 0;
    for name in disk.list().unwrap() {
        let length = disk.content(&name).unwrap().len();
        for _ in 0..40 {
            let disk = disk.copy();
            disk.flip(&name, random.below(length) as u64, 1 << random.below(8));
            let before = disk.list().unwrap();
            let report = check(&disk, false).unwrap();
            assert_eq!(disk.list().unwrap(), before, "a check alone writes nothing");
            if report.damages.is_empty() {
                continue;
            }
            found += 1;
            let repaired = check(&disk, true).unwrap();
            assert!(repaired.is_repaired && repaired.damages[0].quarantined_to.is_some());
            assert_eq!(check(&disk, false).unwrap().damages, []);
            let (lost, reports) = outcome(disk, &expected);
            assert!(lost <= 1 && reports == 0, "{lost} lost, {reports} reports");
        }
    }
    assert!(found > 50, "{found}");
}

#[test]
fn damaged_bytes_are_kept_in_quarantine() {
    let (disk, _) = sample();
    let run = disk.list().unwrap().into_iter().find(|name| name.starts_with("run-")).unwrap();
    disk.flip(&run, 150, 0xff);
    let (mut store, _) = Store::open(disk.clone(), SMALL, leaked_ledger()).unwrap();
    content_of(&store);
    store.maintain();
    let damages = store.damages();
    let quarantine = damages[0].quarantined_to.clone().unwrap();
    assert_eq!(disk.content(&quarantine).unwrap().len() as u64, damages[0].bytes);
}

#[test]
fn each_damage_is_told_once_with_the_file_that_keeps_it() {
    let (disk, _) = sample();
    let run = disk.list().unwrap().into_iter().find(|name| name.starts_with("run-")).unwrap();
    disk.flip(&run, 150, 0xff);
    let (mut store, recovery) = Store::open(disk.clone(), SMALL, leaked_ledger()).unwrap();
    assert_eq!(recovery.damages, [], "blocks are checked when they are read");
    content_of(&store);
    let told = store.new_damages();
    assert!(told.len() == 1 && told[0].quarantined_to.is_some(), "{told:?}");
    content_of(&store);
    assert_eq!(store.new_damages(), []);
    let length = disk.content(&run).unwrap().len();
    disk.flip(&run, length as u64 - 64, 0xff);
    drop(store);
    let (mut store, recovery) = Store::open(disk, SMALL, leaked_ledger()).unwrap();
    assert!(
        recovery.damages.iter().any(|damage| damage.what == DamagedPart::Index),
        "{recovery:?}"
    );
    assert_eq!(store.new_damages(), [], "the recovery has told them");
}

#[test]
fn cut_and_lost_files_do_not_keep_a_store_from_opening() {
    let (disk, expected) = sample();
    for name in disk.list().unwrap() {
        let content = disk.content(&name).unwrap();
        for part in 0..10 {
            let copy = disk.copy();
            let file = copy.create(&name).unwrap();
            let cut = &content[..content.len() * part / 10];
            plimsoll_store::DiskFile::write_at(&file, 0, cut).unwrap();
            outcome(copy, &expected);
        }
        let copy = disk.copy();
        copy.remove(&name).unwrap();
        let (lost, reports) = outcome(copy, &expected);
        assert!(lost == 0 || reports > 0 || name.starts_with("journal"), "{name}: {lost}");
    }
}

#[test]
fn many_flips_are_survived() {
    let (disk, expected) = sample();
    for seed in 0..200 {
        let mut random = Random::new(seed);
        let copy = disk.copy();
        for name in disk.list().unwrap() {
            let length = disk.content(&name).unwrap().len();
            for _ in 0..random.below(30) {
                copy.flip(&name, random.below(length) as u64, random.next() as u8);
            }
        }
        outcome(copy, &expected);
    }
}

#[test]
fn a_store_without_its_manifest_is_whole() {
    let (disk, expected) = sample();
    disk.remove("manifest").unwrap();
    let (store, _) = Store::open(disk, SMALL, leaked_ledger()).unwrap();
    assert_eq!(content_of(&store), expected);
}

#[test]
fn a_newer_format_is_refused_by_name() {
    let (disk, _) = sample();
    for name in disk.list().unwrap().iter().filter(|name| !name.starts_with("spare")) {
        let copy = disk.copy();
        let mut header = disk.content(name).unwrap()[..64].to_vec();
        header[12] = 9;
        let crc = crc32c::crc32c(&header[12..]);
        header[8..12].copy_from_slice(&crc.to_le_bytes());
        plimsoll_store::DiskFile::write_at(&copy.open(name).unwrap(), 0, &header).unwrap();
        match Store::open(copy, SMALL, leaked_ledger()) {
            Err(OpenError::UnknownVersion { file, version: 9 }) => assert_eq!(file, *name),
            other => panic!("{name}: {:?}", other.map(|(_, recovery)| recovery)),
        }
    }
}
