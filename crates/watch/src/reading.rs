//! All that was seen of one target at one moment.

use std::path::PathBuf;
use std::time::SystemTime;

use plimsoll_judgement::outside::Sample;

use crate::accounts::Accounts;
use crate::procfs::ProcessReading;

/// A look at one target.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// The time of day.
    pub time: SystemTime,
    /// Seconds since 1970 on a clock that does not go back ([`crate::Clock`]).
    pub t: f64,
    /// The process; `None` while there is none.
    pub process: Option<ProcessReading>,
    /// The memory cgroup that it is in; `None` if none can be read.
    pub cgroup: Option<CgroupReading>,
    /// Processes of that cgroup that the kernel has killed for want of memory since the look before.
    pub oom_killed: u64,
    /// Memory pressure of the cgroup, else of the machine; `None` if the kernel does not count it.
    pub pressure: Option<Pressure>,
    /// What the target says of itself.
    pub accounts: Accounts,
    /// What is judged, made of the above; `None` while there is nothing to judge.
    pub sample: Option<Sample>,
    /// Why there is nothing to judge, for people.
    pub absent: Option<String>,
}

/// A memory cgroup's figures, version 1 or 2, in bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct CgroupReading {
    /// Its directory.
    pub directory: PathBuf,
    /// Everything that is charged to it, page cache included (`memory.current`).
    pub current: f64,
    /// The same without page cache that can be dropped: what counts for a leak.
    pub held: f64,
    /// Anonymous memory of its processes.
    pub anon: Option<f64>,
    /// Page cache.
    pub cache: Option<f64>,
    /// The least limit of it and of those around it (`memory.max`); `None` is no limit.
    pub limit: Option<f64>,
    /// Processes that the kernel has killed for want of memory.
    pub oom_kills: Option<u64>,
}

/// How long tasks have stood still for want of memory (PSI, `Documentation/accounting/psi.rst` of Linux).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Pressure {
    /// Share of the last ten seconds in which some task stood still, percent.
    pub some_percent: f64,
    /// Share in which all of them did, percent.
    pub full_percent: f64,
    /// Time in which some task stood still, since the beginning, seconds.
    pub some_total_s: f64,
}
