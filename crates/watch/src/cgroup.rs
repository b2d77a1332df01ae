//! Memory cgroups, version 1 and 2, seen from outside.
//!
//! cgroups(7); Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/memory.rst of Linux.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};
use std::str::FromStr;

use crate::procfs::Procfs;
use crate::reading::{CgroupReading, Pressure};

/// A memory cgroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cgroup {
    version: Version,
    mount: PathBuf,
    directory: PathBuf,
}

/// Counters of processes that were killed for want of memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Kills {
    /// Which directory it is: one that is made anew has another number. `None` if it is gone.
    pub(crate) directory_number: Option<u64>,
    /// In the cgroup and those in it.
    pub(crate) own: Option<u64>,
    /// In the cgroup around it, as far as it counts what happens below: version 2.
    pub(crate) around: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    V1,
    V2,
}

/// A hierarchy that counts memory, and where it is to be seen.
#[derive(Debug)]
struct Hierarchy {
    version: Version,
    /// What of the hierarchy the mount shows.
    root: PathBuf,
    mount: PathBuf,
}

impl Cgroup {
    /// The cgroup of a process that counts its memory.
    pub(crate) fn of_process(procfs: &mut Procfs, pid: u32) -> Option<Self> {
        let hierarchies = Hierarchy::all(procfs);
        let groups = procfs.read(format!("/proc/{pid}/cgroup")).ok()?;
        hierarchies.iter().find_map(|hierarchy| hierarchy.of(groups).filter(Self::counts))
    }

    /// A cgroup by its path: absolute (`/sys/fs/cgroup/…`), or within the hierarchy.
    pub(crate) fn at(procfs: &mut Procfs, path: &Path) -> Option<Self> {
        if path.components().any(|part| part == Component::ParentDir) {
            return None;
        }
        let below = path.strip_prefix("/").unwrap_or(path);
        let places =
            Hierarchy::all(procfs).into_iter().map(|Hierarchy { version, mount, .. }| {
                let directory =
                    if path.starts_with(&mount) { path.into() } else { mount.join(below) };
                Self { version, mount, directory }
            });
        places.into_iter().find(Self::counts)
    }

    /// One of version 2 below a directory that looks like a mounted hierarchy.
    #[cfg(test)]
    pub(crate) fn version_2(mount: &Path, below: &str) -> Self {
        Self { version: Version::V2, mount: mount.into(), directory: mount.join(below) }
    }

    /// Its directory.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Whether it is there and counts.
    fn counts(&self) -> bool {
        self.directory.join(self.current_file()).exists()
    }

    /// Its processes and those of cgroups in it, in no particular order.
    pub(crate) fn processes(&self, procfs: &mut Procfs) -> Vec<u32> {
        processes(procfs, &self.directory)
    }

    /// Its figures; `None` if it is gone.
    pub(crate) fn read(&self, procfs: &mut Procfs) -> Option<CgroupReading> {
        let current = number(procfs, &self.directory.join(self.current_file()))?;
        let stat = procfs.read(self.directory.join("memory.stat")).unwrap_or_default();
        let v1 = self.version == Version::V1;
        let figure = |name: &str| named::<f64>(stat, name);
        let sum = |names: &[&str]| names.iter().filter_map(|name| figure(name)).sum::<f64>();
        let droppable = if v1 {
            sum(&["total_inactive_file", "total_active_file"])
        } else {
            sum(&["inactive_file", "active_file", "slab_reclaimable"])
        };
        let (anon, cache) = if v1 {
            (figure("total_rss"), figure("total_cache"))
        } else {
            (figure("anon"), figure("file"))
        };
        Some(CgroupReading {
            current,
            held: (current - droppable).max(0.0),
            anon,
            cache,
            limit: self.limit(procfs),
            oom_kills: self.oom_kills(procfs, &self.directory),
            directory: self.directory.clone(),
        })
    }

    /// How long its tasks have waited for memory; version 2 alone counts that.
    pub(crate) fn pressure(&self, procfs: &mut Procfs) -> Option<Pressure> {
        match self.version {
            Version::V1 => None,
            Version::V2 => pressure(procfs, &self.directory.join("memory.pressure")),
        }
    }

    /// The least limit of the cgroup and those around it.
    fn limit(&self, procfs: &mut Procfs) -> Option<f64> {
        let file = match self.version {
            Version::V1 => "memory.limit_in_bytes",
            Version::V2 => "memory.max",
        };
        let around = self.directory.ancestors().take_while(|path| path.starts_with(&self.mount));
        // "max", or in version 1 more than any machine has.
        around
            .filter_map(|directory| number(procfs, &directory.join(file)))
            .filter(|&bytes| bytes < (1u64 << 60) as f64)
            .reduce(f64::min)
    }

    /// Who was killed in it until now, and around it.
    pub(crate) fn kills(&self, procfs: &mut Procfs) -> Kills {
        let above = self.directory.parent().filter(|path| path.starts_with(&self.mount));
        let above = above.filter(|_| self.version == Version::V2);
        Kills {
            directory_number: fs::metadata(&self.directory).ok().map(|metadata| metadata.ino()),
            own: self.oom_kills(procfs, &self.directory),
            around: above.and_then(|directory| self.oom_kills(procfs, directory)),
        }
    }

    fn oom_kills(&self, procfs: &mut Procfs, directory: &Path) -> Option<u64> {
        let file = match self.version {
            Version::V1 => "memory.oom_control",
            Version::V2 => "memory.events",
        };
        named(procfs.read(directory.join(file)).ok()?, "oom_kill")
    }

    fn current_file(&self) -> &'static str {
        match self.version {
            Version::V1 => "memory.usage_in_bytes",
            Version::V2 => "memory.current",
        }
    }
}

impl Hierarchy {
    /// All that are mounted, version 2 first: on a machine with both it may count nothing.
    fn all(procfs: &mut Procfs) -> Vec<Self> {
        let mounts = procfs.read("/proc/self/mountinfo").unwrap_or_default();
        let mut found: Vec<Self> = mounts.lines().filter_map(Self::parse).collect();
        found.sort_by_key(|hierarchy| hierarchy.version == Version::V1);
        found
    }

    fn parse(line: &str) -> Option<Self> {
        // 36 35 98:0 ROOT MOUNT options [optional fields] - TYPE source super-options
        let (front, back) = line.split_once(" - ")?;
        let mut back = back.split(' ');
        let version = match (back.next()?, back.nth(1)?) {
            ("cgroup2", _) => Version::V2,
            ("cgroup", options) if options.split(',').any(|name| name == "memory") => Version::V1,
            _ => return None,
        };
        let mut front = front.split(' ').skip(3);
        Some(Self { version, root: front.next()?.into(), mount: front.next()?.into() })
    }

    /// The cgroup in this hierarchy that `/proc/PID/cgroup` names.
    fn of(&self, groups: &str) -> Option<Cgroup> {
        let path = groups.lines().find_map(|line| {
            let mut fields = line.splitn(3, ':');
            let (number, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
            let fits = match self.version {
                Version::V1 => controllers.split(',').any(|name| name == "memory"),
                Version::V2 => number == "0" && controllers.is_empty(),
            };
            fits.then_some(path)
        })?;
        // In a container the mount may show only a part of the hierarchy.
        let below = Path::new(path).strip_prefix(&self.root).unwrap_or(Path::new(""));
        let mount = self.mount.clone();
        Some(Cgroup { version: self.version, directory: mount.join(below), mount })
    }
}

/// The processes of a cgroup and of those in it: with version 2 only the innermost ones have any.
pub(crate) fn processes(procfs: &mut Procfs, directory: &Path) -> Vec<u32> {
    const DIRECTORIES_MAX: usize = 1000;
    let (mut pids, mut next) = (Vec::new(), vec![directory.to_owned()]);
    let mut looked_at = 0;
    while let Some(directory) = next.pop() {
        let text = procfs.read(directory.join("cgroup.procs")).unwrap_or_default();
        pids.extend(text.lines().filter_map(|line| line.trim().parse::<u32>().ok()));
        looked_at += 1;
        if looked_at < DIRECTORIES_MAX {
            let entries = fs::read_dir(&directory).into_iter().flatten().flatten();
            let below = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
            next.extend(below.map(|entry| entry.path()));
        }
    }
    pids
}

/// Directories called `name` in any hierarchy that is mounted, at most some levels down: where systemd puts units.
pub(crate) fn find_named(procfs: &mut Procfs, name: &str) -> Option<PathBuf> {
    const DEPTH: usize = 4;
    const DIRECTORIES_MAX: usize = 10_000;
    let mut looked_at = 0;
    let mut next: Vec<(PathBuf, usize)> =
        Hierarchy::all(procfs).into_iter().map(|hierarchy| (hierarchy.mount, 0)).collect();
    while let Some((directory, depth)) = next.pop() {
        let wanted = directory.join(name);
        if wanted.is_dir() {
            return Some(wanted);
        }
        looked_at += 1;
        if depth == DEPTH || looked_at > DIRECTORIES_MAX {
            continue;
        }
        let entries = fs::read_dir(&directory).into_iter().flatten().flatten();
        let below = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        next.extend(below.map(|entry| (entry.path(), depth + 1)));
    }
    None
}

/// Memory pressure of the machine.
pub(crate) fn host_pressure(procfs: &mut Procfs) -> Option<Pressure> {
    pressure(procfs, Path::new("/proc/pressure/memory"))
}

fn pressure(procfs: &mut Procfs, path: &Path) -> Option<Pressure> {
    let text = procfs.read(path).ok()?;
    let figure = |kind: &str, name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(kind))?;
        let word = line.split(' ').find_map(|word| word.strip_prefix(name)?.strip_prefix('='))?;
        word.parse::<f64>().ok()
    };
    Some(Pressure {
        some_percent: figure("some", "avg10")?,
        full_percent: figure("full", "avg10").unwrap_or(0.0),
        some_total_s: figure("some", "total")? / 1e6,
    })
}

/// The number that a file consists of.
fn number(procfs: &mut Procfs, path: &Path) -> Option<f64> {
    procfs.read(path).ok()?.trim().parse().ok()
}

/// The number behind a name, in lines `name number`.
fn named<N: FromStr>(text: &str, name: &str) -> Option<N> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    const V1: &str =
        "33 32 0:29 /docker/ab /sys/fs/cgroup/memory ro,nosuid master:14 - cgroup cgroup rw,memory";
    const V2: &str =
        "31 24 0:27 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate";
    const OTHER: &str = "26 25 0:23 / /sys/fs/cgroup/cpu rw shared:9 - cgroup cgroup rw,cpu";

    #[test]
    fn the_directory_is_found_in_both_versions() {
        assert!(Hierarchy::parse(OTHER).is_none());
        let v1 = Hierarchy::parse(V1).unwrap();
        let cgroup = v1.of("9:cpu:/x\n4:memory,x:/docker/ab/sub\n0::/\n").unwrap();
        assert_eq!(cgroup.directory, Path::new("/sys/fs/cgroup/memory/sub"));
        let v2 = Hierarchy::parse(V2).unwrap();
        let cgroup = v2.of("0::/system.slice/mosquitto.service\n").unwrap();
        assert_eq!(cgroup.directory, Path::new("/sys/fs/cgroup/system.slice/mosquitto.service"));
        assert_eq!(v1.of("0::/x\n"), None);
    }

    /// A directory of files such as the kernel shows.
    fn files(name: &str, files: &[(&str, &str)]) -> PathBuf {
        let mount = std::env::temp_dir().join(format!("watch-{name}-{}", std::process::id()));
        for (path, text) in files {
            let path = mount.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        mount
    }

    #[test]
    fn version_2_counts_without_what_can_be_dropped() {
        let mount = files(
            "v2",
            &[
                ("a/memory.max", "5000\n"),
                ("a/b/memory.max", "max\n"),
                ("a/b/memory.current", "1000\n"),
                (
                    "a/b/memory.stat",
                    "anon 600\nfile 300\ninactive_file 200\nactive_file 50\nslab_reclaimable 10\n",
                ),
                ("a/b/memory.events", "low 0\noom 3\noom_kill 2\n"),
                (
                    "a/b/memory.pressure",
                    "some avg10=1.50 avg60=0.00 avg300=0.00 total=2500000\nfull avg10=0.25 avg60=0.00 avg300=0.00 total=1\n",
                ),
                ("a/b/cgroup.procs", "17\n"),
                ("a/b/c/cgroup.procs", "4\n"),
            ],
        );
        let cgroup = Cgroup::version_2(&mount, "a/b");
        let mut procfs = Procfs::default();
        let reading = cgroup.read(&mut procfs).unwrap();
        assert_eq!((reading.current, reading.held), (1000.0, 740.0));
        assert_eq!((reading.anon, reading.cache), (Some(600.0), Some(300.0)));
        assert_eq!((reading.limit, reading.oom_kills), (Some(5000.0), Some(2)));
        let pressure = cgroup.pressure(&mut procfs).unwrap();
        assert_eq!((pressure.some_percent, pressure.full_percent), (1.5, 0.25));
        assert!((pressure.some_total_s - 2.5).abs() < 1e-9);
        assert_eq!(cgroup.processes(&mut procfs), [17, 4]);
        fs::remove_dir_all(&mount).unwrap();
        assert_eq!(cgroup.read(&mut procfs), None, "it is gone");
    }

    #[test]
    fn version_1_has_names_of_its_own() {
        let mount = files(
            "v1",
            &[
                ("memory.limit_in_bytes", "9223372036854771712\n"),
                ("g/memory.limit_in_bytes", "800\n"),
                ("g/memory.usage_in_bytes", "500\n"),
                (
                    "g/memory.stat",
                    "rss 1\ntotal_rss 300\ntotal_cache 150\ntotal_inactive_file 100\ntotal_active_file 20\n",
                ),
                ("g/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 7\n"),
            ],
        );
        let cgroup =
            Cgroup { version: Version::V1, mount: mount.clone(), directory: mount.join("g") };
        let reading = cgroup.read(&mut Procfs::default()).unwrap();
        assert_eq!((reading.current, reading.held), (500.0, 380.0));
        assert_eq!((reading.anon, reading.cache), (Some(300.0), Some(150.0)));
        assert_eq!((reading.limit, reading.oom_kills), (Some(800.0), Some(7)));
        fs::remove_dir_all(&mount).unwrap();
    }

    #[test]
    fn paths_do_not_lead_out() {
        assert_eq!(
            Cgroup::at(&mut Procfs::default(), Path::new("/sys/fs/cgroup/../../../etc")),
            None
        );
    }
}
