//! Synthetic processes: memory, accounts and load of many kinds of broker, with and without leaks.
//!
//! Deterministic: the same seed gives the same series.

use plimsoll_judgement::Sample;

use crate::random::Random;

mod classes;
pub(crate) use classes::{CLASSES, LEAKS, shape};

/// Memory that no account knows and that stops growing by itself.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Unseen {
    /// Exponential approach: bytes, seconds.
    Saturating(f64, f64),
    /// Logarithm of age: bytes per e-fold, seconds to the first.
    Logarithm(f64, f64),
    /// Straight to a limit: bytes, seconds.
    Linear(f64, f64),
}

/// What a leak grows with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Drive {
    Clock,
    Updates,
    Connects,
    /// Updates in the first half of each day only.
    Shift,
}

/// Where leaked bytes are counted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Where {
    Nowhere,
    Account,
    Direct,
    Heap,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Leaky {
    pub(crate) bytes_per_hour: f64,
    pub(crate) onset: f64,
    pub(crate) drive: Drive,
    pub(crate) counted: Where,
}

/// Which sources the watcher has.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Sources {
    All,
    /// Counts of state and memory, no account of bytes.
    Counts,
    /// Memory alone, split into anonymous and file.
    Memory,
    /// `VmRSS` alone.
    Rss,
}

/// A process to simulate. See [`Process::run`].
#[derive(Clone, Debug)]
pub(crate) struct Process {
    pub(crate) seed: u64,
    pub(crate) days: f64,
    pub(crate) step_s: f64,
    /// Updates per second, connects per second.
    pub(crate) updates: f64,
    pub(crate) connects: f64,
    /// Daily swing of load and of connections, as a share; lower load at weekends, as a factor.
    pub(crate) swing: f64,
    pub(crate) weekend: f64,
    pub(crate) base: f64,
    pub(crate) connections: f64,
    pub(crate) per_connection: f64,
    pub(crate) retained: f64,
    pub(crate) per_retained: f64,
    /// New retained messages in a day, and connections in a day, as shares; in steps of so many days if not 0.
    pub(crate) retained_growth: f64,
    pub(crate) connection_growth: f64,
    pub(crate) growth_steps: f64,
    /// Memory per accounted byte, share of freed memory that goes back at once, and in an hour.
    pub(crate) overhead: f64,
    pub(crate) returned: f64,
    pub(crate) decay: f64,
    pub(crate) unseen: Vec<Unseen>,
    /// Times between reconnect storms, seconds, 0 for none.
    pub(crate) storms: f64,
    /// An outage of a consumer: begin, length, queue's limit, bytes a message.
    pub(crate) outage: Option<(f64, f64, f64, f64)>,
    /// Collected heap: floor, height of the saw, seconds of a tooth; whether committed is known.
    pub(crate) heap: Option<(f64, f64, f64, bool)>,
    /// Direct buffers: pool's limit, seconds to fill, chunk.
    pub(crate) direct: Option<(f64, f64, f64)>,
    /// Seconds between restarts, 0 for none; age at the first sample.
    pub(crate) restarts: f64,
    pub(crate) age: f64,
    /// Noise of memory, bytes, its memory in seconds.
    pub(crate) noise: f64,
    pub(crate) noise_s: f64,
    /// Age of the account when it is read, seconds.
    pub(crate) lag: f64,
    /// Share of samples lost, in runs of hours.
    pub(crate) gaps: f64,
    pub(crate) sources: Sources,
    pub(crate) leak: Option<Leaky>,
}

const DAY: f64 = 86_400.0;

impl Process {
    /// Runs it.
    pub(crate) fn run(&self) -> Vec<Sample> {
        let mut random = Random::new(self.seed);
        let phase = random.range(0.0, 1.0);
        let (mut start, mut held, mut noise, mut file) =
            (-self.age, 0.0, 0.0, random.range(3e6, 14e6));
        let (mut published, mut connected, mut leaked) = (0.0, 0.0, 0.0);
        let (mut queue, mut saw, mut lost_until, mut load_noise) = (0.0, 0.0, -1.0, 0.0);
        let mut storm_at =
            if self.storms > 0.0 { self.storms * random.range(0.2, 1.5) } else { f64::INFINITY };
        let mut storm: f64 = 0.0;
        let mut accounts = std::collections::VecDeque::new();
        let mut samples = Vec::new();
        let count = (self.days * DAY / self.step_s) as u32;
        for index in 0..count {
            let t = f64::from(index) * self.step_s;
            if self.restarts > 0.0 && t - start >= self.restarts {
                (start, held, published, connected, leaked) = (t, 0.0, 0.0, 0.0, 0.0);
                (queue, saw) = (0.0, 0.0);
            }
            let age = t - start;
            let hours = self.step_s / 3600.0;
            let day = (t / DAY + phase).fract();
            let weekday =
                if ((t / DAY + phase) as u64 + self.seed) % 7 >= 5 { self.weekend } else { 1.0 };
            load_noise = 0.98 * load_noise + 0.02 * random.normal();
            let load = ((1.0 + self.swing * (day * std::f64::consts::TAU).sin())
                * weekday
                * (1.0 + 0.3 * load_noise))
                .max(0.02);
            let grown = |per_day: f64| {
                let days = if self.growth_steps > 0.0 {
                    (t / DAY / self.growth_steps).floor() * self.growth_steps
                } else {
                    t / DAY
                };
                1.0 + per_day * days
            };
            if t >= storm_at {
                storm = random.range(0.3, 1.5);
                storm_at = t + self.storms * random.range(0.4, 1.6);
            }
            storm *= (-self.step_s / 900.0).exp();
            let connections = (self.connections * load * grown(self.connection_growth)
                + random.normal() * self.connections.sqrt() * 0.5)
                .max(0.0)
                .round();
            let retained = (self.retained * grown(self.retained_growth)).round();
            let updates = self.updates * load * self.step_s;
            let connects = (self.connects * load + storm * self.connections / 900.0) * self.step_s;
            published += updates;
            connected += connects;
            if let Some((begin, length, limit, _)) = self.outage {
                queue = if t >= begin && t < begin + length {
                    f64::min(queue + updates * 0.2, limit)
                } else if t >= begin + length {
                    queue * 0.9
                } else {
                    queue
                };
            }
            let queued = (queue + random.range(0.0, 0.01) * self.connections).round();
            if let Some(leak) = &self.leak
                && t >= leak.onset
            {
                let driven = match leak.drive {
                    Drive::Clock => 1.0,
                    Drive::Updates | Drive::Connects => load,
                    Drive::Shift => {
                        if day < 0.5 {
                            2.0 * load
                        } else {
                            0.0
                        }
                    }
                };
                leaked += leak.bytes_per_hour * hours * driven;
            }
            let counted = |place: Where| {
                if self.leak.is_some_and(|leak| leak.counted == place) { leaked } else { 0.0 }
            };
            let message = self.outage.map_or(200.0, |(.., message)| message);
            let storming = storm * self.connections * self.per_connection * 0.7;
            let account = self.base
                + connections * self.per_connection
                + retained * self.per_retained
                + queued * message
                + counted(Where::Account);
            let unseen: f64 = self
                .unseen
                .iter()
                .map(|unseen| match *unseen {
                    Unseen::Saturating(bytes, s) => bytes * (1.0 - (-age / s).exp()),
                    Unseen::Logarithm(bytes, s) => bytes * (1.0 + age / s).ln(),
                    Unseen::Linear(bytes, s) => bytes * (age / s).min(1.0),
                })
                .sum();
            let live = (account + storming) * self.overhead + counted(Where::Nowhere);
            // What was freed goes back in part, the rest is slack that later growth fills.
            held = if live >= held {
                live
            } else {
                let free = held - live;
                held - free
                    * (1.0 - (1.0 - self.returned) * (1.0 - self.decay).powf(hours))
                        .min(1.0)
                        .max(0.0)
                    * if self.returned >= 1.0 { 1.0 } else { hours.min(1.0) }
            };
            noise = noise * (-self.step_s / self.noise_s).exp()
                + random.normal()
                    * self.noise
                    * (1.0 - (-2.0 * self.step_s / self.noise_s).exp()).sqrt();
            if random.chance(0.002) {
                file = random.range(3e6, 14e6);
            }
            let (mut heap, mut committed, mut direct) = (None, None, None);
            let mut runtime = 0.0;
            if let Some((floor, height, tooth, known)) = self.heap {
                let floor = floor
                    + connections * self.per_connection * 0.3
                    + retained * self.per_retained * 0.5
                    + counted(Where::Heap);
                saw += height * self.step_s / tooth * load * random.range(0.8, 1.2);
                if saw > height {
                    saw = height * random.range(0.0, 0.03);
                }
                let used = floor + saw;
                heap = Some(used);
                if known {
                    let full = (floor + height) * 1.3;
                    let now =
                        full * (1.0 - 0.7 * (-age / (self.direct.map_or(7200.0, |d| d.1))).exp());
                    committed = Some(now.max(used));
                    runtime += now.max(used);
                } else {
                    runtime += used * 1.05;
                }
            }
            if let Some((limit, fill, chunk)) = self.direct {
                let pool = limit * (1.0 - (-age / fill).exp()) * load.max(0.8).min(1.0)
                    + counted(Where::Direct);
                let pool = (pool / chunk).ceil() * chunk;
                direct = Some(pool);
                runtime += pool;
            }
            let anon = (held + runtime + unseen + 4e6 + noise).max(1e6);
            accounts.push_back(account);
            let account = if self.lag > 0.0 {
                while accounts.len() as f64 * self.step_s > self.lag + self.step_s {
                    accounts.pop_front();
                }
                accounts.front().copied().unwrap_or(account)
            } else {
                accounts.clear();
                account
            };
            if self.gaps > 0.0 && t > lost_until && random.chance(self.gaps * self.step_s / 7200.0)
            {
                lost_until = t + random.scale(300.0, 8.0 * 3600.0);
            }
            if t < lost_until {
                continue;
            }
            let pages = |bytes: f64| Some((bytes / 4096.0).round() * 4096.0);
            let counts = matches!(self.sources, Sources::All | Sources::Counts);
            let count = |value: f64| Some(value).filter(|_| counts);
            let split = self.sources != Sources::Rss;
            samples.push(Sample {
                t,
                start: Some(start),
                rss: pages(anon + file),
                anon: pages(anon).filter(|_| split),
                file: pages(file).filter(|_| split),
                account: Some(account)
                    .filter(|_| self.sources == Sources::All && self.heap.is_none()),
                heap_used: heap.filter(|_| counts),
                heap_committed: committed.filter(|_| counts),
                direct: direct.filter(|_| counts),
                retained: count(retained),
                connections: count(connections),
                sessions: count(connections + 80.0),
                subscriptions: count(2.0 * connections),
                queued: count(queued).filter(|_| self.heap.is_none()),
                published_total: count(published.floor()),
                connects_total: count(connected.floor()),
            });
        }
        samples
    }
}
