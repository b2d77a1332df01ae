//! What happens in a series that is made up: one script for each class.

use super::random::Random;

pub(crate) const MIB: f64 = 1024.0 * 1024.0;
pub(crate) const HOUR: f64 = 3600.0;

/// What a leak grows with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Per {
    Hour,
    Publish,
    Connect,
    /// Storms of reconnects.
    Storm,
}

/// What makes resident memory of what is held.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Memory {
    /// Gives back what is freed.
    Follows,
    /// Gives it back over an hour or two.
    Decays,
    /// Keeps the most that there was, but for rare trims.
    Keeps,
    /// A heap that is collected: a sawtooth on a floor.
    Collected,
    /// Regions that a collector expands: [`super::collectors::Regions`].
    Regions,
    /// Many small allocators: [`super::collectors::Carriers`].
    Carriers,
}

/// What can be known.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Known {
    /// Counts and the process's account.
    Account,
    Counts,
    /// Resident memory, anonymous and of files.
    Rss,
    /// Resident memory as one figure.
    RssWithFiles,
}

/// A leak: from `onset` on, `rate` bytes an hour on the average.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Leak {
    pub(crate) per: Per,
    pub(crate) rate: f64,
    pub(crate) onset: f64,
}

/// What happens. Sizes are shares of what is held at the begin, times are seconds.
#[derive(Clone, Debug)]
pub(crate) struct Script {
    pub(crate) memory: Memory,
    pub(crate) known: Known,
    pub(crate) leak: Option<Leak>,
    /// The account (a managed heap, if there is one) has the leaked bytes.
    pub(crate) leak_accounted: bool,
    /// They are in the direct memory of a managed process.
    pub(crate) leak_direct: bool,
    /// Clients publish nine hours a day.
    pub(crate) day_shift: bool,
    /// Growth within the week.
    pub(crate) retained_growth: f64,
    pub(crate) fleet_growth: f64,
    pub(crate) restart_every: f64,
    pub(crate) warm: f64,
    pub(crate) warm_slow: f64,
    /// Growth with the logarithm of age.
    pub(crate) logarithm: f64,
    /// Nobody's account has a cache.
    pub(crate) cache: f64,
    pub(crate) cache_at: f64,
    pub(crate) cache_slow: f64,
    /// It fills in a straight line, for so long, and then stops.
    pub(crate) cache_straight: bool,
    /// Growth in so many steps, `step_at` apart.
    pub(crate) steps: f64,
    /// What gathers until it is purged.
    pub(crate) purge: f64,
    pub(crate) purge_every: f64,
    pub(crate) step: f64,
    pub(crate) step_at: f64,
    /// Half an hour each night.
    pub(crate) backup: f64,
    /// Storms of reconnects a day, and what each takes for a while.
    pub(crate) storms: f64,
    pub(crate) storm_bytes: f64,
    pub(crate) queue: f64,
    pub(crate) queue_at: f64,
    pub(crate) queue_hours: f64,
    pub(crate) mass_delete_at: f64,
    /// Retained messages are cleared and come again, so many times more, and how often.
    pub(crate) refill: f64,
    pub(crate) refill_every: f64,
    /// State comes again after a restart, within so many seconds.
    pub(crate) cold: f64,
    pub(crate) noise: f64,
    /// A walk with a memory of four hours.
    pub(crate) drift: f64,
    /// The watcher does not look for hours now and then.
    pub(crate) gaps: bool,
    /// The account is six hours old, and is not there now and then.
    pub(crate) lies: bool,
    /// What a managed heap asked of the system is known.
    pub(crate) committed: bool,
    /// Of the fleet, by day.
    pub(crate) swing: f64,
    /// What is left of it at the weekend, if that is given.
    pub(crate) weekend: Option<f64>,
    /// The day begins so many hours later from the fourth on.
    pub(crate) later_h: f64,
    /// The account is not there for a day.
    pub(crate) away: bool,
    /// A collector's cycle in seconds, if that is given.
    pub(crate) cycle: Option<f64>,
    /// Bytes at which the process is killed.
    pub(crate) killed_at: f64,
    /// The process began before the watcher.
    pub(crate) start_before: f64,
}

/// All classes.
pub(crate) const CLASSES: [&str; 64] = [
    "leak_hourly_follow",
    "leak_hourly_keep",
    "leak_hourly_decay",
    "leak_publish",
    "leak_publish_day_shift",
    "leak_connect",
    "leak_storm_stairs",
    "leak_accounted",
    "leak_with_retained_growth",
    "leak_with_fleet_growth",
    "leak_after_logarithm",
    "leak_after_cache",
    "leak_masked_short",
    "leak_masked_long",
    "leak_late",
    "leak_late_fast",
    "leak_jvm_native",
    "leak_jvm_direct",
    "leak_jvm_floor",
    "leak_rss_follow",
    "leak_counts_only",
    "leak_noisy",
    "leak_gaps",
    "leak_purged_too",
    "leak_swing_keep",
    "leak_swing_rss",
    "leak_swing_counts",
    "leak_kill_loop",
    "leak_g1_heap",
    "leak_g1_native",
    "leak_g1_direct",
    "leak_beam",
    "ok_flat",
    "ok_swing",
    "ok_logarithm",
    "ok_cache",
    "ok_late_cache",
    "ok_retained_growth",
    "ok_fleet_growth",
    "ok_purge",
    "ok_steps",
    "ok_backup",
    "ok_storms",
    "ok_queue",
    "ok_mass_delete",
    "ok_restarts",
    "ok_refills",
    "ok_cold_starts",
    "ok_jvm",
    "ok_jvm_warm",
    "ok_rss_swing",
    "ok_lying_account",
    "ok_straight_cache",
    "ok_warm_days",
    "ok_ladder_rss",
    "ok_weekend",
    "ok_weekend_rss",
    "ok_later_day",
    "ok_account_away",
    "ok_jvm_daily",
    "ok_swing_rss",
    "ok_g1",
    "ok_g1_warm",
    "ok_beam",
];

impl Script {
    /// The script of a class.
    pub(crate) fn new(class: &str, random: &mut Random) -> Self {
        let mut script = Self::ordinary(random);
        if class.starts_with("leak") {
            script.leaking(class, random);
        } else {
            script.healthy(class, random);
        }
        if script.cache > 0.0 || script.logarithm > 0.0 {
            script.start_before = 0.0;
        }
        script
    }

    /// What any broker does.
    fn ordinary(random: &mut Random) -> Self {
        let memory = match random.unit() {
            x if x < 0.33 => Memory::Follows,
            x if x < 0.66 => Memory::Decays,
            _ => Memory::Keeps,
        };
        Self {
            memory,
            known: Known::Account,
            leak: None,
            leak_accounted: false,
            leak_direct: false,
            day_shift: false,
            retained_growth: 0.0,
            fleet_growth: 0.0,
            restart_every: f64::INFINITY,
            warm: random.between(0.0, 0.15),
            warm_slow: random.between(0.2, 1.5) * HOUR,
            logarithm: 0.0,
            cache: 0.0,
            cache_at: 0.0,
            cache_slow: random.between(5.0, 35.0) * HOUR,
            cache_straight: false,
            steps: 1.0,
            purge: 0.0,
            purge_every: random.between(0.5, 20.0) * HOUR,
            step: 0.0,
            step_at: random.between(5.0, 160.0) * HOUR,
            backup: 0.0,
            storms: if random.chance(0.3) { random.between(0.2, 1.0) } else { 0.0 },
            storm_bytes: 0.0,
            queue: 0.0,
            queue_at: random.between(5.0, 120.0) * HOUR,
            queue_hours: random.between(2.0, 40.0),
            mass_delete_at: f64::INFINITY,
            refill: 0.0,
            refill_every: random.between(6.0, 60.0) * HOUR,
            cold: random.between(1.0, 300.0),
            noise: random.between(0.0002, 0.002),
            drift: random.between(0.001, 0.01),
            gaps: false,
            lies: false,
            committed: random.chance(0.5),
            swing: random.between(0.03, 0.5),
            weekend: None,
            later_h: 0.0,
            away: false,
            cycle: None,
            killed_at: f64::INFINITY,
            start_before: if random.chance(0.2) { random.between(1.0, 200.0) * HOUR } else { 0.0 },
        }
    }

    fn leaking(&mut self, class: &str, random: &mut Random) {
        let rate = random.spread(0.12, 4.0) * MIB;
        let onset = if random.chance(0.5) { 0.0 } else { random.between(0.0, 100.0) * HOUR };
        let late = random.between(24.0, 100.0) * HOUR;
        let leak = |per, rate, onset| Some(Leak { per, rate, onset });
        self.leak = leak(Per::Hour, rate, onset);
        match class {
            "leak_hourly_follow" => self.memory = Memory::Follows,
            "leak_hourly_keep" => self.memory = Memory::Keeps,
            "leak_hourly_decay" => self.memory = Memory::Decays,
            "leak_publish" => self.leak = leak(Per::Publish, rate, 0.0),
            "leak_publish_day_shift" => {
                self.day_shift = true;
                self.leak = leak(Per::Publish, rate, 0.0);
            }
            "leak_connect" => self.leak = leak(Per::Connect, rate, 0.0),
            "leak_storm_stairs" => {
                self.storms = random.between(2.0, 5.0);
                self.leak = leak(Per::Storm, rate.max(0.4 * MIB), 0.0);
            }
            "leak_accounted" => self.leak_accounted = true,
            "leak_with_retained_growth" => {
                self.leak = leak(Per::Hour, rate.max(0.3 * MIB), 0.0);
                self.retained_growth = random.between(0.1, 0.6);
            }
            "leak_with_fleet_growth" => {
                self.leak = leak(Per::Hour, rate.max(0.3 * MIB), 0.0);
                self.fleet_growth = random.between(0.1, 0.4);
            }
            "leak_after_logarithm" => self.logarithm = random.between(0.01, 0.06),
            "leak_after_cache" => self.cache = random.between(0.1, 0.6),
            "leak_masked_short" => {
                self.leak = leak(Per::Hour, rate.max(MIB), 0.0);
                self.restart_every = random.between(6.0, 14.0) * HOUR;
            }
            "leak_masked_long" => {
                self.leak = leak(Per::Hour, rate.max(0.5 * MIB), 0.0);
                self.restart_every = random.between(18.0, 40.0) * HOUR;
                self.cold = random.between(60.0, 2400.0);
            }
            "leak_late" => self.leak = leak(Per::Hour, rate, late),
            "leak_late_fast" => {
                let per = if random.chance(0.5) { Per::Publish } else { Per::Hour };
                self.leak = leak(per, random.spread(4.0, 60.0) * MIB, late);
            }
            "leak_jvm_native" | "leak_jvm_direct" | "leak_jvm_floor" => {
                self.memory = Memory::Collected;
                let per = if random.chance(0.5) { Per::Publish } else { Per::Hour };
                self.leak = leak(per, random.spread(1.0, 8.0) * MIB, 0.0);
                self.leak_direct = class == "leak_jvm_direct";
                self.leak_accounted = class == "leak_jvm_floor";
                self.committed = class != "leak_jvm_floor";
            }
            "leak_g1_heap" | "leak_g1_native" | "leak_g1_direct" | "leak_beam" => {
                let beam = class == "leak_beam";
                self.memory = if beam { Memory::Carriers } else { Memory::Regions };
                let per = if random.chance(0.5) { Per::Publish } else { Per::Hour };
                self.leak = leak(per, random.spread(0.5, 9.0) * MIB, onset);
                self.leak_direct = class == "leak_g1_direct";
                self.leak_accounted = beam || class == "leak_g1_heap";
                self.committed = beam || random.chance(0.7);
            }
            "leak_rss_follow" => {
                self.known = if random.chance(0.3) { Known::RssWithFiles } else { Known::Rss };
                self.leak = leak(Per::Hour, rate.max(0.6 * MIB), 0.0);
            }
            "leak_counts_only" => self.known = Known::Counts,
            "leak_noisy" => (self.noise, self.drift) = (0.01, 0.02),
            "leak_gaps" => self.gaps = true,
            "leak_swing_keep" | "leak_swing_rss" | "leak_swing_counts" => {
                self.memory = if random.chance(0.6) { Memory::Keeps } else { Memory::Decays };
                self.swing = random.between(0.2, 0.5);
                let begins = if random.chance(0.5) { 0.0 } else { late };
                self.leak = leak(Per::Hour, random.spread(0.2, 1.6) * MIB, begins);
                self.known = match class {
                    "leak_swing_rss" => Known::Rss,
                    "leak_swing_counts" => Known::Counts,
                    _ => Known::Account,
                };
            }
            "leak_kill_loop" => {
                self.known = Known::Rss;
                self.killed_at = 2048.0 * MIB;
                let hours = random.spread(0.6, 5.0);
                self.leak = leak(Per::Hour, self.killed_at / hours, 0.0);
            }
            "leak_purged_too" => self.purge = random.between(0.02, 0.1),
            _ => {}
        }
    }

    fn healthy(&mut self, class: &str, random: &mut Random) {
        match class {
            "ok_swing" => self.swing = random.between(0.2, 0.6),
            "ok_logarithm" => self.logarithm = random.between(0.03, 0.12),
            "ok_cache" => self.cache = random.between(0.3, 3.0),
            "ok_late_cache" => {
                self.cache = random.between(0.1, 1.0);
                self.cache_at = random.between(20.0, 120.0) * HOUR;
            }
            "ok_retained_growth" => self.retained_growth = random.between(0.2, 4.0),
            "ok_fleet_growth" => self.fleet_growth = random.between(0.05, 0.5),
            "ok_purge" => self.purge = random.between(0.03, 0.3),
            "ok_steps" => self.step = random.between(0.05, 0.4),
            "ok_backup" => self.backup = random.between(0.05, 0.5),
            "ok_storms" => {
                self.storms = random.between(0.3, 3.0);
                self.storm_bytes = random.between(0.0, 0.3);
            }
            "ok_queue" => self.queue = random.between(0.2, 2.0),
            "ok_mass_delete" => self.mass_delete_at = random.between(20.0, 120.0) * HOUR,
            "ok_restarts" => {
                self.restart_every = random.between(5.0, 60.0) * HOUR;
                self.warm = random.between(0.1, 0.8);
                self.warm_slow = random.between(0.3, 3.0) * HOUR;
            }
            "ok_refills" => self.refill = random.between(0.5, 20.0),
            "ok_cold_starts" => {
                self.restart_every = random.between(8.0, 60.0) * HOUR;
                self.cold = random.between(300.0, 7200.0);
                self.cache = random.between(0.1, 0.6);
                self.cache_slow = random.between(1.0, 8.0) * HOUR;
            }
            "ok_jvm" => self.memory = Memory::Collected,
            "ok_jvm_warm" => {
                self.memory = Memory::Collected;
                self.warm = random.between(0.5, 1.5);
                self.warm_slow = random.between(3.0, 14.0) * HOUR;
                self.start_before = 0.0;
            }
            "ok_g1" | "ok_g1_warm" | "ok_beam" => {
                let beam = class == "ok_beam";
                self.memory = if beam { Memory::Carriers } else { Memory::Regions };
                self.committed = beam || random.chance(0.7);
                if class == "ok_g1_warm" {
                    self.warm = random.between(0.5, 1.5);
                    self.warm_slow = random.between(3.0, 14.0) * HOUR;
                    self.start_before = 0.0;
                }
            }
            "ok_rss_swing" => {
                self.known = if random.chance(0.3) { Known::RssWithFiles } else { Known::Rss };
            }
            "ok_lying_account" => self.lies = true,
            "ok_straight_cache" => {
                self.cache = random.between(0.2, 2.0);
                self.cache_straight = true;
                self.cache_slow = random.spread(1.0, 40.0) * HOUR;
            }
            "ok_warm_days" => {
                self.warm = random.between(0.1, 0.8);
                self.warm_slow = random.between(10.0, 35.0) * HOUR;
                self.start_before = 0.0;
            }
            "ok_ladder_rss" => {
                self.known = Known::Rss;
                self.swing = random.between(0.0, 0.1);
                self.step = random.between(0.02, 0.1);
                self.steps = random.between(2.0, 5.0).floor();
                self.step_at = random.between(8.0, 40.0) * HOUR;
            }
            "ok_weekend" | "ok_weekend_rss" => {
                self.weekend = Some(random.between(0.1, 0.7));
                if class == "ok_weekend_rss" {
                    self.known = Known::Rss;
                }
            }
            "ok_later_day" => {
                self.later_h = random.between(-3.0, 3.0);
                self.swing = random.between(0.2, 0.5);
                self.known = if random.chance(0.5) { Known::Rss } else { Known::Account };
            }
            "ok_account_away" => self.away = true,
            "ok_jvm_daily" => {
                self.memory = Memory::Collected;
                self.cycle = Some(random.between(12.0, 26.0) * HOUR);
            }
            "ok_swing_rss" => {
                self.memory = if random.chance(0.6) { Memory::Keeps } else { Memory::Decays };
                self.swing = random.between(0.2, 0.5);
                self.known = Known::Rss;
            }
            _ => {}
        }
    }
}
