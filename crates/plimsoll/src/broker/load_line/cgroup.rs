//! What the memory cgroup of the process may have, and has: version 1 and 2.
//!
//! cgroups(7); Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/memory.rst of Linux.

use std::fs::read_to_string;
use std::path::{Path, PathBuf};

/// The cgroup that the process is in.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Cgroup {
    version: Version,
    /// Where its hierarchy is mounted.
    mount: PathBuf,
    /// Its own directory.
    directory: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    V1,
    V2,
}

impl Cgroup {
    /// Finds it; `None` if there is none that limits memory.
    pub(super) fn find() -> Option<Self> {
        let mounts = read_to_string("/proc/self/mountinfo").ok()?;
        let groups = read_to_string("/proc/self/cgroup").ok()?;
        let found =
            [Version::V1, Version::V2].into_iter().filter_map(|v| Self::of(v, &mounts, &groups));
        found.into_iter().find(|cgroup| cgroup.directory.join(cgroup.limit_file()).exists())
    }

    fn of(version: Version, mounts: &str, groups: &str) -> Option<Self> {
        let path = groups.lines().find_map(|line| {
            let mut fields = line.splitn(3, ':');
            let (number, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
            let fits = match version {
                Version::V1 => controllers.split(',').any(|name| name == "memory"),
                Version::V2 => number == "0" && controllers.is_empty(),
            };
            fits.then_some(path)
        })?;
        let (root, mount) = mounts.lines().find_map(|line| {
            // 36 35 98:0 ROOT MOUNT options [optional fields] - TYPE source super-options
            let (front, back) = line.split_once(" - ")?;
            let mut back = back.split(' ');
            let (kind, options) = (back.next()?, back.nth(1)?);
            let fits = match version {
                Version::V1 => kind == "cgroup" && options.split(',').any(|name| name == "memory"),
                Version::V2 => kind == "cgroup2",
            };
            let mut front = front.split(' ').skip(3);
            fits.then_some((front.next()?, front.next()?))
        })?;
        // In a container the mount may show only a part of the hierarchy: the container's own.
        let below = Path::new(path).strip_prefix(root).unwrap_or(Path::new(""));
        let mount = PathBuf::from(mount);
        Some(Self { version, directory: mount.join(below), mount })
    }

    fn limit_file(&self) -> &'static str {
        match self.version {
            Version::V1 => "memory.limit_in_bytes",
            Version::V2 => "memory.max",
        }
    }

    /// The least limit of the cgroup and those around it; `None` is no limit.
    pub(super) fn limit(&self) -> Option<usize> {
        let limit = |directory: &Path| {
            // "max", or in version 1 more than any machine has.
            let text = read_to_string(directory.join(self.limit_file())).ok()?;
            text.trim().parse::<usize>().ok().filter(|&bytes| bytes < 1 << 60)
        };
        let around = self.directory.ancestors().take_while(|path| path.starts_with(&self.mount));
        around.filter_map(limit).min()
    }

    /// What counts for its limit and cannot be taken back: memory of processes, and the kernel's for
    /// them, sockets' buffers included.
    pub(super) fn held(&self) -> Option<usize> {
        let stat = read_to_string(self.directory.join("memory.stat")).ok()?;
        let figure = |name: &str| {
            let line = stat.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            line.and_then(|number| number.trim().parse::<usize>().ok())
        };
        match self.version {
            Version::V1 => {
                let kernel = read_to_string(self.directory.join("memory.kmem.usage_in_bytes"));
                let kernel = kernel.ok().and_then(|text| text.trim().parse::<usize>().ok());
                Some(figure("total_rss")? + kernel.unwrap_or(0))
            }
            Version::V2 => {
                let parts = ["anon", "kernel", "sock"].map(figure);
                parts[0].map(|_| parts.into_iter().flatten().sum())
            }
        }
    }
}

/// Memory of the machine.
pub(super) fn host_memory() -> Option<usize> {
    let text = read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: usize = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    const V1: &str = "26 25 0:23 / /sys/fs/cgroup/cpu rw shared:9 - cgroup cgroup rw,cpu\n\
                      33 32 0:29 /docker/ab /sys/fs/cgroup/memory ro,nosuid master:14 - cgroup cgroup rw,memory\n";
    const V2: &str =
        "31 24 0:27 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";

    #[test]
    fn the_directory_is_found_in_both_versions() {
        let v1 =
            Cgroup::of(Version::V1, V1, "9:cpu:/x\n4:memory,x:/docker/ab/sub\n0::/\n").unwrap();
        assert_eq!(v1.directory, Path::new("/sys/fs/cgroup/memory/sub"));
        let v2 = Cgroup::of(Version::V2, V2, "0::/system.slice/plimsoll.service\n").unwrap();
        assert_eq!(v2.directory, Path::new("/sys/fs/cgroup/system.slice/plimsoll.service"));
        assert_eq!(Cgroup::of(Version::V1, V2, "0::/x\n"), None);
    }

    #[test]
    fn the_least_limit_around_it_counts() {
        let mount = std::env::temp_dir().join(format!("plimsoll-cgroup-{}", std::process::id()));
        let directory = mount.join("a/b");
        std::fs::create_dir_all(&directory).unwrap();
        let write = |path: &str, text: &str| std::fs::write(mount.join(path), text).unwrap();
        let v2 =
            Cgroup { version: Version::V2, mount: mount.clone(), directory: directory.clone() };
        assert_eq!((v2.limit(), v2.held()), (None, None));
        write("memory.max", "max\n");
        write("a/memory.max", "1000\n");
        write("a/b/memory.max", "2000\n");
        write("a/b/memory.stat", "anon 100\nfile 7000\nkernel 20\nsock 3\n");
        assert_eq!((v2.limit(), v2.held()), (Some(1000), Some(123)));
        let v1 = Cgroup { version: Version::V1, mount: mount.clone(), directory };
        write("memory.limit_in_bytes", "9223372036854771712\n");
        write("a/b/memory.limit_in_bytes", "5000\n");
        write("a/b/memory.stat", "rss 1\ntotal_rss 100\n");
        write("a/b/memory.kmem.usage_in_bytes", "11\n");
        assert_eq!((v1.limit(), v1.held()), (Some(5000), Some(111)));
        std::fs::remove_dir_all(&mount).unwrap();
    }

    #[test]
    fn the_machine_has_memory() {
        assert!(host_memory().is_some_and(|bytes| bytes > 1 << 20));
    }
}
