//! A memory cgroup for a broker, version 1 or 2, made for one run and removed after it.

use std::fs;
use std::path::{Path, PathBuf};

/// Where version 1 has its memory controller.
const VERSION_1: &str = "/sys/fs/cgroup/memory";

/// Where version 2 is.
const VERSION_2: &str = "/sys/fs/cgroup";

/// A cgroup with a limit.
#[derive(Debug)]
pub(super) struct Cgroup {
    directory: PathBuf,
    version_1: bool,
}

impl Cgroup {
    /// Makes one below `parent`, or below the root of the hierarchy.
    pub(super) fn with_limit(bytes: u64, parent: Option<&Path>) -> Result<Self, String> {
        let root = parent.unwrap_or_else(|| {
            Path::new(if Path::new(VERSION_1).is_dir() { VERSION_1 } else { VERSION_2 })
        });
        let directory = root.join(format!("plimsoll-soak-{}", std::process::id()));
        fs::create_dir(&directory).map_err(|error| {
            format!("cannot make the cgroup {}: {error}; run as root, or give a delegated one with --cgroup", directory.display())
        })?;
        let version_1 = directory.join("memory.limit_in_bytes").exists();
        let cgroup = Self { directory, version_1 };
        let limit = if version_1 { "memory.limit_in_bytes" } else { "memory.max" };
        cgroup.set(limit, &bytes.to_string())?;
        // Swap would only make the end slower. Not all kernels count it.
        let _ = match version_1 {
            true => cgroup.set("memory.memsw.limit_in_bytes", &bytes.to_string()),
            false => cgroup.set("memory.swap.max", "0"),
        };
        Ok(cgroup)
    }

    fn set(&self, name: &str, value: &str) -> Result<(), String> {
        let path = self.directory.join(name);
        fs::write(&path, value).map_err(|error| {
            format!("cannot set {}: {error}; is the memory controller on there?", path.display())
        })
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// How many processes in it the kernel has killed for want of memory.
    pub(super) fn oom_kills(&self) -> u64 {
        let name = if self.version_1 { "memory.oom_control" } else { "memory.events" };
        let text = fs::read_to_string(self.directory.join(name)).unwrap_or_default();
        text.lines()
            .find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
            .unwrap_or(0)
    }

    /// What it holds, bytes, page cache included.
    pub(super) fn current(&self) -> f64 {
        let name = if self.version_1 { "memory.usage_in_bytes" } else { "memory.current" };
        let text = fs::read_to_string(self.directory.join(name)).unwrap_or_default();
        text.trim().parse().unwrap_or(0.0)
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // It is empty by now; a process that has just ended may take a moment to leave it.
        for _ in 0..50 {
            if fs::remove_dir(&self.directory).is_ok() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
}
