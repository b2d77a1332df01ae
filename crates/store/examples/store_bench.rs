//! What the store costs, on the disk that it runs on:
//! `cargo run --release -p plimsoll-store --example store_bench [DIRECTORY [queue]]`.
//!
//! All messages are 150 bytes; "durable" is commit and sync.

use std::error::Error;
use std::fs::OpenOptions;
use std::ops::ControlFlow;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use plimsoll_ledger::{Account, Ledger};
use plimsoll_store::{Change, Directory, Options, Store};

static LEDGER: Ledger = Ledger::new();

type Outcome = Result<(), Box<dyn Error>>;

const MESSAGE: [u8; 150] = [0x5a; 150];

/// Bytes that this process had the system write to disks.
fn bytes_written() -> u64 {
    let text = std::fs::read_to_string("/proc/self/io").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("write_bytes: "));
    line.and_then(|bytes| bytes.parse().ok()).unwrap_or(0)
}

fn open(path: &Path) -> Result<Store<Directory>, Box<dyn Error>> {
    Ok(Store::open(Directory::open(path)?, Options::default(), &LEDGER)?.0)
}

/// The floor: `fdatasync` of a page in a file of zeros.
fn plain_sync(path: &Path) -> Outcome {
    let path = path.join("plain");
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&path)?;
    file.write_all_at(&vec![0; 4 << 20], 0)?;
    file.sync_all()?;
    let mut times = Vec::new();
    for n in 0..1000u64 {
        let started = Instant::now();
        file.write_all_at(&MESSAGE, n * 150)?;
        file.sync_data()?;
        times.push(started.elapsed());
    }
    println!("plain write and fdatasync        {}", spread(&mut times));
    std::fs::remove_file(path)?;
    Ok(())
}

fn spread(times: &mut [Duration]) -> String {
    times.sort_unstable();
    let at = |part: usize| times[(times.len() - 1) * part / 100].as_micros();
    format!("median {} us, 99 % {} us, most {} us", at(50), at(99), at(100))
}

fn once_a_second(path: &Path, seconds: u32) -> Outcome {
    let mut store = open(path)?;
    for n in 0..5u32 {
        store.commit([Change::Put { key: &n.to_be_bytes(), value: &MESSAGE }])?;
        store.sync()?;
        store.maintain();
    }
    std::thread::sleep(Duration::from_secs(1));
    let before = bytes_written();
    for n in 0..seconds {
        store.commit([Change::Put { key: &n.to_be_bytes(), value: &MESSAGE }])?;
        store.sync()?;
        store.maintain();
        std::thread::sleep(Duration::from_secs(1));
    }
    let each = (bytes_written() - before) / u64::from(seconds);
    println!("1 message/s for {seconds} s               {each} bytes written per message");
    Ok(())
}

/// A store that has its spare segments.
fn open_warm(path: &Path) -> Result<Store<Directory>, Box<dyn Error>> {
    let mut store = open(path)?;
    store.commit([Change::Put { key: b"warm", value: &MESSAGE }])?;
    store.sync()?;
    store.maintain();
    std::thread::sleep(Duration::from_secs(2));
    store.maintain();
    Ok(store)
}

fn durable_batches(path: &Path, batch: usize) -> Outcome {
    let mut store = open_warm(path)?;
    let before = bytes_written();
    let (mut times, mut number) = (Vec::new(), 0u64);
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(3) {
        let keys: Vec<_> = (0..batch as u64).map(|at| (number + at).to_be_bytes()).collect();
        let began = Instant::now();
        store.commit(keys.iter().map(|key| Change::Insert { key, value: &MESSAGE }))?;
        store.sync()?;
        times.push(began.elapsed());
        number += batch as u64;
        store.maintain();
    }
    let rate = number as f64 / started.elapsed().as_secs_f64();
    let each = (bytes_written() - before) / number;
    println!(
        "batches of {batch:<5} {rate:>9.0} durable messages/s, {each} bytes written each, sync {}",
        spread(&mut times)
    );
    Ok(())
}

fn key(n: u32) -> [u8; 31] {
    let mut key = [0x2f; 31];
    key[..4].copy_from_slice(&n.wrapping_mul(2_654_435_761).to_be_bytes());
    key
}

fn store_bytes(path: &Path) -> u64 {
    let files = std::fs::read_dir(path).into_iter().flatten().flatten();
    files.filter_map(|file| file.metadata().ok()).map(|file| file.len()).sum()
}

fn report(what: &str, store: &Store<Directory>, path: &Path) {
    let space = store.space();
    println!(
        "{what}: memory {} KiB, disk {} MiB (runs {} MiB in {}, journal {} MiB)",
        LEDGER.bytes(Account::Store) / 1024,
        store_bytes(path) >> 20,
        space.run_bytes >> 20,
        space.runs,
        space.journal_bytes >> 20,
    );
}

/// Changes all of a million entries, 1000 at a time, synced.
fn million(store: &mut Store<Directory>, what: &str, change: fn(&[u8]) -> Change<'_>) -> Outcome {
    let (before, started) = (bytes_written(), Instant::now());
    let mut times = Vec::new();
    for batch in 0..1000u32 {
        let keys: Vec<_> = (0..1000).map(|n| key(batch * 1000 + n)).collect();
        let began = Instant::now();
        store.commit(keys.iter().map(|key| change(key)))?;
        store.sync()?;
        store.maintain();
        times.push(began.elapsed());
    }
    let (seconds, bytes) = (started.elapsed().as_secs_f64(), bytes_written() - before);
    println!(
        "{what} 1 M: {seconds:.1} s, {} MiB written, batch {}",
        bytes >> 20,
        spread(&mut times)
    );
    Ok(())
}

fn settle(store: &mut Store<Directory>) -> Outcome {
    store.checkpoint()?;
    let mut last = store.space();
    for _ in 0..100 {
        std::thread::sleep(Duration::from_millis(200));
        store.maintain();
        let now = store.space();
        if now == last {
            break;
        }
        last = now;
    }
    Ok(())
}

fn a_million(path: &Path) -> Outcome {
    let mut store = open(path)?;
    million(&mut store, "put", |key| Change::Put { key, value: &MESSAGE[..64] })?;
    report("  at once", &store, path);
    settle(&mut store)?;
    report("  settled", &store, path);
    million(&mut store, "overwrite", |key| Change::Put { key, value: &MESSAGE[..64] })?;
    settle(&mut store)?;
    report("  settled", &store, path);
    drop(store);
    let started = Instant::now();
    let mut store = open(path)?;
    let opened = started.elapsed();
    let (mut entries, mut bytes) = (0u64, 0);
    store.scan(&[], |key, value| {
        entries += 1;
        bytes += key.len() + value.len();
        ControlFlow::Continue(())
    })?;
    println!(
        "open {} ms, open and scan of {entries} entries ({} MiB) {} ms",
        opened.as_millis(),
        bytes >> 20,
        started.elapsed().as_millis()
    );
    let started = Instant::now();
    for n in 0..1000 {
        let from = key(n * 997);
        let mut left = 100;
        store.scan(&from, |_, _| {
            left -= 1;
            if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
    }
    println!("range scan of 100 entries {} us", started.elapsed().as_micros() / 1000);
    million(&mut store, "delete", |key| Change::Delete { key })?;
    settle(&mut store)?;
    report("  settled", &store, path);
    drop(store);
    println!("memory after drop {} bytes", LEDGER.bytes(Account::Store));
    Ok(())
}

/// A queue of 10,000 entries through which a million go.
fn a_queue(path: &Path) -> Outcome {
    let mut store = open(path)?;
    let (before, started) = (bytes_written(), Instant::now());
    for batch in 0..10_000u64 {
        let new: Vec<_> = (0..100).map(|n| (batch * 100 + n + 10_000).to_be_bytes()).collect();
        let old: Vec<_> = (0..100).map(|n| (batch * 100 + n).to_be_bytes()).collect();
        let inserts = new.iter().map(|key| Change::Insert { key, value: &MESSAGE });
        let deletes = old.iter().filter(|_| batch >= 100).map(|key| Change::Delete { key });
        store.commit(inserts.chain(deletes))?;
        store.sync()?;
        store.maintain();
    }
    let (seconds, bytes) = (started.elapsed().as_secs_f64(), bytes_written() - before);
    println!("1 M entries through a queue of 10,000: {seconds:.1} s, {} MiB written", bytes >> 20);
    settle(&mut store)?;
    report("  settled", &store, path);
    Ok(())
}

fn main() -> Outcome {
    let given = std::env::args().nth(1).unwrap_or_else(|| "store-bench".to_owned());
    let path = Path::new(&given);
    std::fs::create_dir_all(path)?;
    if std::env::args().nth(2).as_deref() == Some("queue") {
        return a_queue(&path.join("queue"));
    }
    plain_sync(path)?;
    once_a_second(&path.join("second"), 20)?;
    for batch in [1, 10, 100, 1000] {
        durable_batches(&path.join(format!("batch-{batch}")), batch)?;
    }
    plain_sync(path)?;
    a_million(&path.join("million"))?;
    a_queue(&path.join("queue"))?;
    std::fs::remove_dir_all(path)?;
    Ok(())
}
