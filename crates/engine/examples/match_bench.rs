//! Matching one topic against a million filters, a fifth of them with wildcards:
//! `cargo run --release -p plimsoll-engine --example match_bench [FILTERS]`.

use std::hint::black_box;
use std::time::{Duration, Instant};

use plimsoll_engine::subscriptions::{Subscriber, SubscriptionOptions, Subscriptions};
use plimsoll_ledger::{Account, Ledger};
use plimsoll_mqtt::QoS;

static LEDGER: Ledger = Ledger::new();

/// Steele, Lea and Flood (2014).
struct Rng(u64);

impl Rng {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (word ^ (word >> 31)) % bound
    }
}

fn topic(rng: &mut Rng, sensors: u64) -> String {
    let sensor = rng.below(sensors);
    let metric = ["temperature", "humidity", "vibration"][sensor as usize % 3];
    format!("plant/{}/line/{}/sensor/{sensor}/{metric}", sensor % 14, sensor / 100)
}

fn filter(rng: &mut Rng, number: u64, sensors: u64) -> String {
    let sensor = number;
    let (plant, line) = (sensor % 14, sensor / 100);
    if rng.below(5) > 0 {
        let metric = ["temperature", "humidity", "vibration"][sensor as usize % 3];
        return format!("plant/{plant}/line/{line}/sensor/{sensor}/{metric}");
    }
    let _ = sensors;
    match rng.below(6) {
        0 => format!("plant/{plant}/line/{line}/sensor/{sensor}/+"),
        1 => format!("plant/+/line/{line}/sensor/{sensor}/+"),
        2 => format!("plant/{plant}/line/{line}/sensor/{sensor}/#"),
        3 => format!("plant/{plant}/+/{line}/sensor/{sensor}/+"),
        4 => format!("+/{plant}/line/{line}/sensor/{sensor}/vibration"),
        _ => format!("plant/{plant}/line/+/sensor/{sensor}/+"),
    }
}

/// Nanoseconds per match, and filters that matched per topic.
fn measure(index: &Subscriptions, topics: &[String]) -> (f64, f64) {
    let begin = Instant::now();
    let mut found = 0;
    for topic in topics {
        index.matches(topic, |entries| found += black_box(entries).len());
    }
    let count = topics.len() as f64;
    (begin.elapsed().as_nanos() as f64 / count, found as f64 / count)
}

fn main() {
    let count: u64 =
        std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(1_000_000);
    let ledger = &LEDGER;
    let mut index = Subscriptions::new(ledger, 42);
    let mut rng = Rng(7);
    let options = SubscriptionOptions::new(0, QoS::AtLeastOnce, false, false);
    let filters: Vec<String> = (0..count).map(|number| filter(&mut rng, number, count)).collect();
    let mut longest = Duration::ZERO;
    let begin = Instant::now();
    let mut before = begin;
    let mut keys = Vec::with_capacity(filters.len());
    for (number, filter) in filters.iter().enumerate() {
        keys.push(index.insert(filter, Subscriber(number as u32), options).key);
        let now = Instant::now();
        longest = longest.max(now - before);
        before = now;
    }
    let per_insert = begin.elapsed().as_nanos() as f64 / count as f64;
    let bytes = ledger.bytes(Account::Subscriptions) as f64 / count as f64;
    let text = filters.iter().map(String::len).sum::<usize>() as f64 / count as f64;
    println!("{count} filters: {per_insert:.0} ns per insert, longest pause {longest:?}");
    println!("{bytes:.1} B per filter in all, of which {text:.1} B are its text");
    let topics: Vec<String> = (0..1_000_000).map(|_| topic(&mut rng, count)).collect();
    for _ in 0..3 {
        let (nanos, found) = measure(&index, &topics);
        println!("{nanos:.0} ns per topic, {found:.2} filters match");
    }
    // One client makes thousands of odd filters.
    let mut odd = Vec::new();
    for mask in 0..5000u32 {
        let level = |at: u32, text: &str| {
            if mask >> at & 1 != 0 { "+".to_owned() } else { text.to_owned() }
        };
        let names =
            ["plant", "1", "line", "1", "sensor", "1", "humidity", "x", "y", "z", "u", "v", "w"];
        let filter: Vec<String> =
            names.iter().enumerate().map(|(at, name)| level(at as u32, name)).collect();
        odd.push(index.insert(&filter.join("/"), Subscriber(u32::MAX >> 2), options).key);
        let seven: Vec<String> = filter.iter().take(7).cloned().collect();
        odd.push(index.insert(&seven.join("/"), Subscriber(u32::MAX >> 2), options).key);
    }
    let (nanos, _) = measure(&index, &topics);
    println!("{nanos:.0} ns per topic beside 5,000 odd filters of one client");
    for key in odd {
        index.remove(key, Subscriber(u32::MAX >> 2));
    }
    let begin = Instant::now();
    for (number, key) in keys.into_iter().enumerate() {
        index.remove(key, Subscriber(number as u32));
    }
    let per_remove = begin.elapsed().as_nanos() as f64 / count as f64;
    println!("{per_remove:.0} ns per removal, {} B left", ledger.bytes(Account::Subscriptions));
}
