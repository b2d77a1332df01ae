//! What a million retained messages take, how long the engine is held by what goes over them, and
//! whether everything comes back:
//!
//!     cargo run --release -p plimsoll-engine --example retained_bench [MESSAGES]

use std::hint::black_box;
use std::time::{Duration, Instant};

use plimsoll_engine::holders::PrefixCensus;
use plimsoll_engine::retained::{RetainExpiry, RetainLimit, RetainRules, Scan, ScanCursor};
use plimsoll_engine::{Engine, Input, Settings, Time};
use plimsoll_ledger::{Account, Ledger};

const NOW: u32 = 1_700_000_000;

fn topic(number: usize) -> String {
    // 31 bytes, as in a fleet: plant, line, device, figure.
    format!("plant/{:02}/line/{:03}/dev/{:06}/t", number % 40, number / 40 % 250, number)
}

static LEDGER: Ledger = Ledger::new();

fn engine(rules: RetainRules) -> Engine {
    let settings = Settings { retain_rules: rules, ..Settings::default() };
    Engine::new(settings, 1, 7, &LEDGER)
}

fn fill(engine: &mut Engine, count: usize) -> Duration {
    let payload = [b'x'; 64];
    let topics: Vec<String> = (0..count).map(topic).collect();
    let begun = Instant::now();
    for batch in topics.chunks(64) {
        let inputs: Vec<Input<'_>> = batch
            .iter()
            .map(|topic| Input::Publish { topic, payload: &payload, retain: true })
            .collect();
        engine.handle(Time::from_secs(NOW), &inputs);
    }
    begun.elapsed()
}

/// Calls `piece` until it says that it was the last; prints how long they took. The longest ones are those
/// during which something else had the processor.
fn pieces(what: &str, mut piece: impl FnMut() -> bool) {
    let (mut took, begun) = (Vec::new(), Instant::now());
    loop {
        let began = Instant::now();
        let last = piece();
        took.push(began.elapsed());
        if last {
            break;
        }
    }
    let all = begun.elapsed();
    took.sort_unstable();
    let (count, at) = (took.len(), |part: usize| took[(took.len() - 1) * part / 100]);
    let (half, most) = (at(50), at(99));
    println!("{what:34} {all:>9.3?} in {count} pieces: median {half:.3?}, 99 % within {most:.3?}");
}

/// Says what every account has that has something.
fn left(full: usize) {
    let accounts = Account::ALL.iter().map(|account| (account.name(), LEDGER.bytes(*account)));
    let held: Vec<_> = accounts.filter(|(_, bytes)| *bytes > 0).collect();
    println!("left of {full} bytes: {held:?}");
}

fn main() {
    let count = std::env::args().nth(1).and_then(|arg| arg.parse().ok()).unwrap_or(1_000_000);
    let raw = topic(0).len() + 64;
    for rules in [0, 1, 8, 64] {
        let limits = (0..rules).map(|n| RetainLimit {
            filter: format!("plant/{n:02}/#").into(),
            count: Some(u64::MAX),
            bytes: None,
        });
        let mut engine = engine(RetainRules { limits: limits.collect(), ..RetainRules::default() });
        let took = fill(&mut engine, count / 10);
        let each = took / (count / 10) as u32;
        println!("publish, {rules:2} limits                   {each:>9.3?} each");
    }
    let mut engine = engine(RetainRules::default());
    fill(&mut engine, count);
    let full = LEDGER.bytes(Account::Retained);
    println!(
        "{count} messages of {raw} bytes (topic and payload): {full} bytes, {:.1} each",
        full as f64 / count as f64
    );
    let mut census = PrefixCensus::new(&LEDGER, Time::default(), 2, 10, None);
    pieces("census of prefixes", || engine.prefix_census(&mut census));
    black_box(census.by_bytes.into_vec());

    let now = Time::from_secs(NOW);
    let mut cursor = ScanCursor::default();
    pieces("deletion of `plant/+/line/001/#`", || {
        engine.delete_retained(now, "plant/+/line/001/#", &mut cursor, false, |_, _| {})
            == Scan::Done
    });
    let mut cursor = ScanCursor::default();
    pieces("deletion of `#`", || {
        engine.delete_retained(now, "#", &mut cursor, false, |_, _| {}) == Scan::Done
    });
    left(full);

    fill(&mut engine, count);
    let expiry = RetainExpiry { filter: "#".into(), age: Some(60) };
    let limit = RetainLimit { filter: "plant/#".into(), count: Some(1), bytes: None };
    let rules =
        RetainRules { expiries: vec![expiry], limits: vec![limit], ..RetainRules::default() };
    let settings = Settings { retain_rules: rules, ..Settings::default() };
    let began = Instant::now();
    engine.configure(now, settings);
    println!("other rules put in force           {:>9.3?}", began.elapsed());
    pieces("counting for other rules", || {
        engine.handle(now, &[]);
        engine.next_deadline().is_none_or(|at| at > now)
    });
    let later = Time::from_secs(NOW + 60);
    pieces("expiry of all of them", || {
        engine.handle(later, &[]);
        engine.next_deadline().is_none_or(|at| at > later)
    });
    left(full);

    engine.configure(later, Settings::default());
    fill(&mut engine, count);
    let mut order: Vec<usize> = (0..count).collect();
    let mut random = 88_172_645_463_325_252u64;
    for at in (1..count).rev() {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        order.swap(at, (random % (at as u64 + 1)) as usize);
    }
    let begun = Instant::now();
    for (done, &number) in order.iter().enumerate() {
        let topic = topic(number);
        let input = Input::Publish { topic: &topic, payload: b"", retain: true };
        engine.handle(now, &[input]);
        let left = count - done - 1;
        if [count / 2, count / 10, count / 100, count / 1000].contains(&left) {
            let bytes = LEDGER.bytes(Account::Retained);
            println!(
                "{left:8} left in random order: {bytes} bytes, {:.1} each",
                bytes as f64 / left as f64
            );
        }
    }
    println!("deletes in random order            {:>9.3?} each", begun.elapsed() / count as u32);
    left(full);
}
