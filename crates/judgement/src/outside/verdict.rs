//! What is said of a process.

/// The judgement as it stands.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// Not enough data yet.
    InsufficientData {
        /// How many more seconds are wanted, at the least.
        more_s: f64,
    },
    /// It has begun a while ago and still takes what it will need.
    WarmingUp,
    /// It stays where it is, or moves within what it did before.
    Stable,
    /// It grows, and what it says that it holds explains it.
    GrowingWithState {
        /// Growth of the memory, bytes per hour.
        bytes_per_hour: f64,
    },
    /// It grows, and nothing explains it.
    Leaking(Leak),
}

/// Growth that no state explains.
#[derive(Clone, Debug, PartialEq)]
pub struct Leak {
    /// Bytes per hour, while it leaks: those that the program asked for, where its account tells them from what the
    /// allocator adds.
    pub bytes_per_hour: f64,
    /// Half the width of the 95 % confidence interval, bytes per hour.
    pub error: f64,
    /// Since when, seconds on the clock of the samples.
    pub since: f64,
    /// Where it shows.
    pub view: View,
    /// What it grows with.
    pub driver: Driver,
    /// Bytes per event of the driver; for [`Driver::Time`] there is none.
    pub bytes_per_event: Option<f64>,
    /// In how many seconds the limit is reached at this rate, if there is one.
    pub limit_in_s: Option<f64>,
}

/// The series in which growth shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum View {
    /// Resident memory, less what state explains.
    Resident,
    /// The process's own account against its counts of state.
    Account,
    /// Managed heap in use after collections.
    Heap,
    /// The counter of memory beside the managed heap.
    Direct,
}

/// A stretch of time, as it was judged.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Explained {
    /// Its middle, seconds on the clock of the samples.
    pub t: f64,
    /// What was seen: resident memory, an account, a heap after collections, or direct memory; bytes.
    pub seen: f64,
    /// What nothing explains of it, bytes, from an origin of its own: only its changes mean something.
    pub left: f64,
}

/// What a leak grows with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Driver {
    /// The hours.
    Time,
    /// PUBLISH packets.
    Publish,
    /// Connections accepted.
    Connect,
    /// More than one of them fits equally well.
    Unclear,
}

impl Verdict {
    /// Its name in reports and metrics: `leaking`, `growing_with_state`, `stable`, `warming_up`, `insufficient_data`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::InsufficientData { .. } => "insufficient_data",
            Self::WarmingUp => "warming_up",
            Self::Stable => "stable",
            Self::GrowingWithState { .. } => "growing_with_state",
            Self::Leaking(_) => "leaking",
        }
    }
}
