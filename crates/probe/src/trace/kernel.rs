//! The programs in the kernel: loaded, attached to the functions of one process, asked, and gone when dropped.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;

use super::functions::Function;
use super::programs::{self, CONTROL_WORDS, Maps, PENDING_WORDS, Part, Role, counter};
use super::sampling;
use crate::problem::Problem;
use crate::process::memory::words_of;
use crate::system::{self, Attach, Map, MapKind, Ring};

/// How programs are attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Means {
    /// One link for entry and return; calls that are not sampled return as ever. Linux 6.13.
    Session,
    /// A perf event each. Every return traps. Linux 5.8.
    PerfEvents,
}

/// Bounds of what is kept in the kernel.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Sampled blocks that are not freed yet.
    pub(super) blocks: usize,
    /// Bytes of a stack that are copied.
    pub(super) stack_bytes: usize,
    /// Bytes of samples on their way to us.
    pub(super) ring_bytes: usize,
}

/// Threads that may be in sampled calls at once.
const PENDING_MAX: usize = 4096;

/// What the programs have counted, of all processors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counters {
    pub(super) allocations: u64,
    pub(super) bytes: u64,
    pub(super) frees: u64,
    pub(super) lost: u64,
    pub(super) full: u64,
}

/// Programs and maps.
#[derive(Debug)]
pub(super) struct Kernel {
    control: Map,
    counters: Map,
    pending: Map,
    blocks: Map,
    ring: Ring,
    bounds: Bounds,
    means: Means,
    programs: Vec<(Role, Part, OwnedFd)>,
    attached: Vec<OwnedFd>,
}

impl Kernel {
    /// Makes the maps. Nothing is attached yet.
    pub(super) fn new(bounds: Bounds, means: Means) -> Result<Self, Problem> {
        let processors = processors()?;
        let map = |kind, key, value, entries| {
            Map::new(kind, key, value, entries, processors)
                .map_err(|error| not_allowed("a map", &error, ""))
        };
        Ok(Self {
            control: map(MapKind::Array, 4, CONTROL_WORDS * 8, 1)?,
            counters: map(MapKind::PerCpu, 4, counter::WORDS * 8, 1)?,
            pending: map(MapKind::Hash, 8, PENDING_WORDS * 8, PENDING_MAX)?,
            blocks: map(MapKind::Hash, 8, 8, bounds.blocks)?,
            ring: Ring::new(bounds.ring_bytes)
                .map_err(|error| not_allowed("a ring buffer", &error, ""))?,
            bounds,
            means,
            programs: Vec::new(),
            attached: Vec::new(),
        })
    }

    /// How programs are attached.
    #[cfg(test)]
    pub(super) fn means(&self) -> Means {
        self.means
    }

    /// Says whether samples are taken, and how far apart.
    pub(super) fn sample(&self, sampling: bool, mean: u64) -> Result<(), Problem> {
        self.control
            .set(&0_u32.to_ne_bytes(), &sampling::control(sampling, mean))
            .map_err(|error| Problem::Failed(format!("the map of settings: {error}")))
    }

    /// Attaches to functions of a process. Frees first, so that no block is taken for one that stays.
    pub(super) fn attach(&mut self, pid: u32, functions: &[Function]) -> Result<(), Problem> {
        let mut functions: Vec<&Function> = functions.iter().collect();
        functions.sort_by_key(|function| function.role != Role::Free);
        for function in functions {
            let path =
                CString::new(function.file.as_os_str().as_encoded_bytes()).map_err(|_| {
                    Problem::Failed(format!("{}: a zero in its name", function.file.display()))
                })?;
            let attach = match (self.means, function.role) {
                (Means::PerfEvents, _) => Attach::Perf,
                (Means::Session, Role::Free) => Attach::Multi,
                (Means::Session, _) => Attach::Session,
            };
            let parts: &[Part] = match (attach, function.role) {
                (Attach::Perf, Role::Free) | (Attach::Multi, _) => &[Part::Entry],
                (Attach::Session, _) => &[Part::Session],
                (Attach::Perf, _) => &[Part::Return, Part::Entry],
            };
            for part in parts {
                let at = self.program(function.role, *part)?;
                let program = &self.programs[at].2;
                let attached = match attach {
                    Attach::Perf => {
                        let kind = perf_type()?;
                        system::perf_uprobe(
                            program,
                            kind,
                            &path,
                            function.offset,
                            pid,
                            *part == Part::Return,
                        )
                    }
                    _ => system::link(program, attach, &path, &[function.offset], pid),
                };
                let what = format!("a probe on {} of {}", function.name, function.module);
                self.attached.push(attached.map_err(|error| not_allowed(&what, &error, ""))?);
            }
        }
        Ok(())
    }

    /// Takes all probes off.
    pub(super) fn detach(&mut self) {
        self.attached.clear();
    }

    /// The program for a role, loaded if it is not yet.
    fn program(&mut self, role: Role, part: Part) -> Result<usize, Problem> {
        if let Some(at) = self.programs.iter().position(|(r, p, _)| (*r, *p) == (role, part)) {
            return Ok(at);
        }
        let maps = Maps {
            control: self.control.number(),
            counters: self.counters.number(),
            pending: self.pending.number(),
            blocks: self.blocks.number(),
            ring: self.ring.number(),
        };
        let attach = match (self.means, part, role) {
            (Means::PerfEvents, ..) => Attach::Perf,
            (Means::Session, _, Role::Free) => Attach::Multi,
            (Means::Session, ..) => Attach::Session,
        };
        let code = match role {
            Role::Free => programs::free(&maps),
            _ => programs::allocation(role, part, &maps, self.bounds.stack_bytes),
        };
        let program = system::load_program(c"plimsoll_probe", &code, attach)
            .map_err(|(error, log)| not_allowed("a program for probes", &error, &log))?;
        self.programs.push((role, part, program));
        Ok(self.programs.len() - 1)
    }

    /// Hands on each sample that has come until now.
    pub(super) fn drain(&mut self, take: impl FnMut(&[u8])) -> usize {
        self.ring.drain(take)
    }

    /// What was counted.
    pub(super) fn counters(&self) -> Result<Counters, Problem> {
        let bytes = self
            .counters
            .get(&0_u32.to_ne_bytes())
            .map_err(|error| Problem::Failed(format!("the map of counters: {error}")))?;
        let words: Vec<u64> = words_of(&bytes).collect();
        let sum = |word| words.iter().skip(word).step_by(counter::WORDS).sum();
        Ok(Counters {
            allocations: sum(counter::ALLOCATIONS),
            bytes: sum(counter::BYTES),
            frees: sum(counter::FREES),
            lost: sum(counter::LOST),
            full: sum(counter::FULL),
        })
    }

    /// The sampled blocks that are not freed: address, and time of the sample.
    pub(super) fn blocks(&self) -> Result<Vec<(u64, u64)>, Problem> {
        let read = self.blocks.entries();
        let (addresses, times) =
            read.map_err(|error| Problem::Failed(format!("the map of blocks: {error}")))?;
        Ok(words_of(&addresses).zip(words_of(&times)).collect())
    }
}

/// How many processors there may ever be.
fn processors() -> Result<usize, Problem> {
    let path = "/sys/devices/system/cpu/possible";
    let text =
        fs::read_to_string(path).map_err(|error| Problem::Failed(format!("{path}: {error}")))?;
    let last = text.trim().rsplit([',', '-']).next().and_then(|last| last.parse::<usize>().ok());
    last.map(|last| last + 1)
        .ok_or_else(|| Problem::Failed(format!("{path}: {text:?} names no processors")))
}

/// The number that the kernel has for perf events of the type `uprobe`.
fn perf_type() -> Result<u32, Problem> {
    let path = "/sys/bus/event_source/devices/uprobe/type";
    let text = fs::read_to_string(path).map_err(|error| {
        Problem::NotAllowed(format!("{path}: {error}: this kernel has no uprobes (CONFIG_UPROBE_EVENTS), or /sys is not mounted"))
    })?;
    text.trim().parse().map_err(|_| Problem::NotAllowed(format!("{path}: {text:?} is no number")))
}

/// What to say if the kernel refuses.
fn not_allowed(what: &str, error: &io::Error, log: &str) -> Problem {
    let why = match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) if log.is_empty() => {
            let lockdown = fs::read_to_string("/sys/kernel/security/lockdown").unwrap_or_default();
            if lockdown.contains("[confidentiality]") {
                "the kernel is locked down (confidentiality), which forbids it even to root"
                    .to_owned()
            } else {
                "it takes root, or CAP_BPF with CAP_PERFMON, CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH (before Linux 6.13 \
                 CAP_SYS_ADMIN too), in the first user namespace (a container needs them from outside; Docker: \
                 --cap-add BPF --cap-add PERFMON --cap-add SYS_PTRACE)"
                    .to_owned()
            }
        }
        Some(libc::ENOSYS) => "this kernel has no bpf(2) (CONFIG_BPF_SYSCALL)".to_owned(),
        Some(libc::EINVAL) => format!("Linux 5.8 with uprobes is needed; this is {}", release()),
        Some(libc::ENOMEM) => "memory for it is short, or RLIMIT_MEMLOCK is (ulimit -l)".to_owned(),
        _ => String::new(),
    };
    let last = log
        .trim()
        .lines()
        .rev()
        .take(3)
        .collect::<Vec<_>>()
        .into_iter()
        .rev()
        .collect::<Vec<_>>()
        .join("; ");
    let mut text = format!("the kernel refuses {what}: {error}");
    for part in [why, last] {
        if !part.is_empty() {
            text = format!("{text}: {part}");
        }
    }
    text.push_str(". Without any of this, --scan finds lost blocks by reading memory");
    Problem::NotAllowed(text)
}

/// The kernel's version.
fn release() -> String {
    fs::read_to_string("/proc/sys/kernel/osrelease")
        .map_or_else(|_| "an unknown one".to_owned(), |text| text.trim().to_owned())
}
