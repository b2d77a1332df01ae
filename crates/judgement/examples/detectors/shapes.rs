//! Series of brokers' shapes, made up: another generator, other shapes and other seeds than those that are labelled.
//!
//! A broker's state swings with the day and the week; what it holds follows from its state; an allocator or a
//! collector makes resident memory of that; and something else happens, or leaks.

use plimsoll_judgement::outside::Sample;

use super::collectors::{Carriers, Heap, Regions};
use super::random::Random;
pub(crate) use super::script::CLASSES;
use super::script::{HOUR, Known, MIB, Memory, Per, Script};

const DAY: f64 = 24.0 * HOUR;
const TURN: f64 = std::f64::consts::TAU;
/// Seconds between samples, and how many there are.
const PACE: f64 = 60.0;
const SAMPLES: u32 = 7 * 24 * 60;

/// A series and what it is.
pub(crate) struct Made {
    /// Onset in seconds and bytes an hour, if it leaks.
    pub(crate) leak: Option<(f64, f64)>,
    /// A week of samples.
    pub(crate) samples: Vec<Sample>,
}

/// Makes a series of a class.
pub(crate) fn make(class: &str, seed: u64) -> Made {
    let name = class.bytes().fold(7u64, |hash, byte| hash.wrapping_mul(31) ^ u64::from(byte));
    let mut random = Random::new(seed.wrapping_mul(1_000_003) ^ name);
    let script = Script::new(class, &mut random);
    let mut broker = Broker::new(script, random);
    let samples = (0..SAMPLES).filter_map(|step| broker.at(f64::from(step) * PACE)).collect();
    let leak = broker
        .script
        .leak
        .map(|leak| (leak.onset, broker.leaked_in_all / ((7.0 * DAY - leak.onset) / HOUR)));
    Made { leak, samples }
}

/// What differs from broker to broker.
struct Size {
    connections: f64,
    retained: f64,
    per_session: f64,
    per_retained: f64,
    per_queued: f64,
    /// Bytes of memory for each byte asked for.
    overhead: f64,
    base: f64,
    /// What is held at the begin.
    held: f64,
    phase: f64,
    weekend_at: f64,
    weekend: f64,
    publishes_a_minute: f64,
    trims_a_day: f64,
    floor_to_top: f64,
    cycle: f64,
}

/// A broker under load.
struct Broker {
    script: Script,
    random: Random,
    size: Size,
    start: f64,
    leaked: f64,
    leaked_in_all: f64,
    drift: f64,
    wander: f64,
    published: f64,
    connected: f64,
    storm_until: f64,
    storm_kept: f64,
    gap_until: f64,
    stale: Option<(f64, f64)>,
    /// Of the allocator, or what the heap asked for.
    kept: f64,
    /// Within a collector's cycle.
    filled: f64,
    /// Of the present life.
    regions: Option<Regions>,
    carriers: Option<Carriers>,
    file: f64,
}

/// State at one instant.
struct State {
    online: f64,
    sessions: f64,
    retained: f64,
    queued: f64,
    updates: f64,
    arrivals: f64,
    /// Hour of the day.
    hour: f64,
}

impl Broker {
    fn new(script: Script, mut random: Random) -> Self {
        let r = &mut random;
        let (connections, retained) = (r.spread(200.0, 12_000.0), r.spread(300.0, 40_000.0));
        let (per_session, per_retained) = (r.spread(600.0, 9_000.0), r.spread(120.0, 3_000.0));
        let base = r.between(4.0, 12.0) * MIB;
        let size = Size {
            connections,
            retained,
            per_session,
            per_retained,
            per_queued: r.between(100.0, 600.0),
            overhead: r.between(1.03, 1.28),
            base,
            held: connections * per_session + retained * per_retained + base,
            phase: r.between(0.0, TURN),
            weekend_at: r.between(0.0, 7.0),
            weekend: script.weekend.unwrap_or(r.between(0.6, 1.0)),
            publishes_a_minute: r.between(0.5, 4.0),
            trims_a_day: r.between(0.3, 1.0),
            floor_to_top: r.between(1.6, 3.0),
            cycle: script.cycle.unwrap_or(r.spread(0.1, 6.0) * HOUR),
        };
        let (filled, file) = (r.unit(), r.between(4.0, 12.0) * MIB);
        Self {
            start: -script.start_before,
            script,
            random,
            size,
            leaked: 0.0,
            leaked_in_all: 0.0,
            drift: 0.0,
            wander: 0.0,
            published: 0.0,
            connected: 0.0,
            storm_until: -1.0,
            storm_kept: 0.0,
            gap_until: -1.0,
            stale: None,
            kept: 0.0,
            filled,
            regions: None,
            carriers: None,
            file,
        }
    }

    /// What a watcher sees.
    fn at(&mut self, t: f64) -> Option<Sample> {
        let killed = self.size.held + self.leaked > self.script.killed_at;
        if killed || t - self.start >= self.script.restart_every {
            (self.start, self.leaked, self.kept, self.storm_kept) = (t, 0.0, 0.0, 0.0);
            (self.published, self.connected) = (0.0, 0.0);
            (self.regions, self.carriers) = (None, None);
        }
        let state = self.state(t);
        self.published += state.updates;
        self.connected += state.arrivals;
        self.leak(t, &state);
        let account = self.size.base * 0.4
            + state.sessions * self.size.per_session
            + state.retained * self.size.per_retained
            + state.queued * self.size.per_queued;
        let others = self.others(t, &state);
        let (anon, managed) = if self.script.memory == Memory::Collected {
            let managed = self.collected(t, &state, account);
            (managed.resident, Some(managed))
        } else if matches!(self.script.memory, Memory::Regions | Memory::Carriers) {
            let managed = self.managed(t, &state, account);
            (managed.resident, Some(managed))
        } else {
            (self.allocated(account + self.leaked + others.max(-0.2 * self.size.held)), None)
        };
        let anon =
            anon + self.size.base + self.script.noise * self.size.held * self.random.normal().abs();
        if self.random.chance(2.0 * PACE / DAY) {
            self.file = self.random.between(4.0, 12.0) * MIB;
        }
        if self.script.gaps && t > self.gap_until && self.random.chance(1.5 * PACE / DAY) {
            self.gap_until = t + self.random.spread(0.2, 8.0) * HOUR;
        }
        let told = self.told(t, account);
        if self.script.gaps && t < self.gap_until {
            return None;
        }
        let counted = matches!(self.script.known, Known::Account | Known::Counts);
        let count = |value: f64| counted.then_some(value);
        let split = self.script.known != Known::RssWithFiles;
        let managed_or =
            |of: fn(&Managed) -> Option<f64>| managed.as_ref().and_then(of).filter(|_| counted);
        Some(Sample {
            t,
            start: self.start,
            rss: anon + self.file,
            anon: split.then_some(anon),
            file: split.then_some(self.file),
            account: told.filter(|_| managed.is_none() && self.script.known == Known::Account),
            heap_used: managed_or(|managed| Some(managed.used)),
            heap_committed: managed_or(|managed| managed.committed),
            direct: managed_or(|managed| managed.direct),
            retained: count(state.retained),
            connections: count(state.online),
            sessions: count(state.sessions),
            subscriptions: count(state.sessions * 2.0),
            queued: count(state.queued),
            published_total: count(self.published),
            connected_total: count(self.connected),
            limit: Some(self.script.killed_at).filter(|limit| limit.is_finite()),
            heap_limit: None,
            direct_limit: None,
        })
    }

    fn state(&mut self, t: f64) -> State {
        let (script, size, random) = (&self.script, &self.size, &mut self.random);
        let memory = PACE / (2.0 * HOUR);
        self.wander += -self.wander * memory + 0.02 * (2.0 * memory).sqrt() * random.normal();
        let later = if t > 3.5 * DAY { script.later_h * HOUR } else { 0.0 };
        let turn = TURN * (t - later) / DAY;
        let day = (turn + size.phase).sin() + 0.25 * (2.0 * turn + size.phase).sin();
        let weekend = (t / DAY + size.weekend_at).rem_euclid(7.0) > 5.0;
        let mut fleet = 1.0 + script.swing * day + self.wander;
        fleet *= if weekend { size.weekend } else { 1.0 };
        fleet *= 1.0 + script.fleet_growth * t / (7.0 * DAY);
        let storm = t < self.storm_until;
        let after_storm = !storm && self.storm_until > 0.0 && t < self.storm_until + 600.0;
        if !storm && random.chance(script.storms * PACE / DAY) {
            self.storm_until = t + random.between(3.0, 30.0) * 60.0;
            self.storm_kept = script.storm_bytes;
            if let Some(leak) = script.leak.filter(|leak| leak.per == Per::Storm && t > leak.onset)
            {
                let part = leak.rate * 24.0 / script.storms * random.between(0.6, 1.4);
                self.leaked += part;
                self.leaked_in_all += part;
            }
        }
        self.storm_kept *= 1.0 - PACE / (2.0 * HOUR);
        let back = ((t - self.start) / script.cold).clamp(0.3, 1.0);
        let refilled = 1.0 + script.refill * (t / script.refill_every).fract();
        let online = size.connections * fleet * back * if storm { 0.55 } else { 1.0 };
        let grown = 1.0 + script.retained_growth * t / (7.0 * DAY);
        let left = if t > script.mass_delete_at { 0.4 } else { 1.0 };
        let full = ((t - script.queue_at) / (script.queue_hours * HOUR)).clamp(0.0, 1.0);
        let hour = (t / HOUR + size.phase * 24.0 / TURN).rem_euclid(24.0);
        let working = !script.day_shift || hour < 9.0;
        let updates = online * size.publishes_a_minute * (1.0 + 0.05 * random.normal());
        State {
            online: online.max(1.0).round(),
            sessions: (size.connections * (fleet * back + 0.02)).max(1.0).round(),
            retained: (size.retained * grown * left * refilled).round(),
            queued: (script.queue * size.held / size.per_queued * full + 8.0 * random.unit())
                .round(),
            updates: if working { updates.max(0.0).round() } else { 0.0 },
            arrivals: (online * if after_storm { 0.09 } else { 0.01 }).round(),
            hour,
        }
    }

    fn leak(&mut self, t: f64, state: &State) {
        let Some(leak) = self.script.leak.filter(|leak| t >= leak.onset) else { return };
        let shift = if self.script.day_shift { 24.0 / 9.0 } else { 1.0 };
        let size = &self.size;
        let events = match leak.per {
            Per::Hour => 1.0,
            Per::Publish => shift * state.updates / (size.connections * size.publishes_a_minute),
            Per::Connect => state.arrivals / (size.connections * 0.01),
            Per::Storm => 0.0,
        };
        let part = leak.rate * PACE / HOUR * events;
        self.leaked += part;
        self.leaked_in_all += part;
    }

    /// What nobody accounts for and is no leak.
    fn others(&mut self, t: f64, state: &State) -> f64 {
        let (script, held) = (&self.script, self.size.held);
        let age = t - self.start + 1.0;
        let memory = PACE / (4.0 * HOUR);
        let push = 0.5 * script.drift * held * (2.0 * memory).sqrt() * self.random.normal();
        self.drift += -self.drift * memory + push;
        let fills = |age: f64, slow: f64| 1.0 - (-age.max(0.0) / slow).exp();
        let straight = |age: f64, slow: f64| (age / slow).clamp(0.0, 1.0);
        let cache = if t >= script.cache_at {
            let fills = if script.cache_straight { straight } else { fills };
            script.cache * fills(t - script.cache_at.max(self.start), script.cache_slow)
        } else {
            0.0
        };
        let backup = if (3.0..3.5).contains(&state.hour) { script.backup } else { 0.0 };
        let step = script.step * (t / script.step_at).floor().min(script.steps);
        let shares = script.warm * fills(age, script.warm_slow)
            + cache
            + script.logarithm * (1.0 + age / 600.0).ln()
            + script.purge * (t / script.purge_every).fract()
            + step
            + backup
            + self.storm_kept;
        shares * held + self.drift
    }

    /// What an allocator makes of it.
    fn allocated(&mut self, live: f64) -> f64 {
        match self.script.memory {
            Memory::Decays if self.kept > live => {
                self.kept += (live - self.kept) * PACE / (1.5 * HOUR);
            }
            Memory::Keeps if self.kept > live => {
                if self.random.chance(self.size.trims_a_day * PACE / DAY) {
                    self.kept = live + 0.3 * (self.kept - live) * self.random.unit();
                }
            }
            _ => self.kept = live,
        }
        self.size.overhead * self.kept
    }

    /// What a collector makes of it.
    fn collected(&mut self, t: f64, state: &State, account: f64) -> Managed {
        let (script, size, random) = (&self.script, &self.size, &mut self.random);
        let leaked = self.leaked;
        let warm = script.warm * size.held * (1.0 - (-(t - self.start) / script.warm_slow).exp());
        let floor = 60.0 * MIB
            + 1.5 * (warm + 0.3 * account)
            + if script.leak_accounted { leaked } else { 0.0 }
            + 0.01 * size.held * random.normal().abs();
        self.filled += PACE / size.cycle * (1.0 + 0.2 * random.normal());
        if self.filled >= 1.0 {
            self.filled = 0.0;
        }
        let above = (floor * (size.floor_to_top - 1.0)).min(150.0 * MIB);
        let used = floor + above * self.filled;
        self.kept = self.kept.max((floor + above) * 1.2);
        let chunk = 4.0 * MIB;
        let buffers = 24.0 * MIB
            + (state.sessions * 900.0 / chunk).ceil() * chunk
            + if script.leak_direct { (leaked / chunk).floor() * chunk } else { 0.0 };
        let native = if script.leak_accounted || script.leak_direct { 0.0 } else { leaked };
        let committed = script.committed.then_some(self.kept);
        Managed {
            used,
            committed,
            direct: script.committed.then_some(buffers),
            resident: 80.0 * MIB + 0.5 * warm + native + buffers + committed.unwrap_or(used * 1.1),
        }
    }

    /// What a collector of a kind of its own makes of it.
    fn managed(&mut self, t: f64, state: &State, account: f64) -> Managed {
        let (script, held) = (self.script.clone(), self.size.held);
        let leaked = self.leaked;
        let warm = script.warm * held * (1.0 - (-(t - self.start) / script.warm_slow).exp());
        let accounted = if script.leak_accounted { leaked } else { 0.0 };
        let live = 40.0 * MIB + 1.5 * (warm + 0.5 * account) + accounted;
        let (Heap { used, committed, touched }, other) = if script.memory == Memory::Carriers {
            let carriers = self.carriers.get_or_insert_with(|| Carriers::new(&mut self.random));
            (carriers.minute(live, &mut self.random), 30.0 * MIB)
        } else {
            let regions = self.regions.get_or_insert_with(|| Regions::new(live, &mut self.random));
            (regions.minute(live, &mut self.random), 90.0 * MIB + 0.2 * warm)
        };
        let chunk = 4.0 * MIB;
        let direct = (self.script.memory == Memory::Regions).then(|| {
            24.0 * MIB
                + (state.sessions * 900.0 / chunk).ceil() * chunk
                + if self.script.leak_direct { (leaked / chunk).floor() * chunk } else { 0.0 }
        });
        let native = if accounted > 0.0 || self.script.leak_direct { 0.0 } else { leaked };
        Managed {
            used,
            committed: script.committed.then_some(committed),
            direct,
            resident: other + native + direct.unwrap_or(0.0) + touched,
        }
    }

    /// What the process says of itself.
    fn told(&mut self, t: f64, account: f64) -> Option<f64> {
        if self.script.away && (2.0 * DAY..3.0 * DAY).contains(&t) {
            return None;
        }
        if !self.script.lies {
            return Some(account + if self.script.leak_accounted { self.leaked } else { 0.0 });
        }
        if self.stale.is_none_or(|(_, until)| t >= until) {
            self.stale = Some((account, t + 6.0 * HOUR));
        }
        let (account, until) = self.stale?;
        ((until / HOUR).rem_euclid(5.0) >= 1.0).then_some(account)
    }
}

/// A managed heap and what is beside it.
struct Managed {
    used: f64,
    committed: Option<f64>,
    direct: Option<f64>,
    resident: f64,
}
