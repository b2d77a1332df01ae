//! Kills for want of memory, also of a target whose cgroup goes with it.
//!
//! A container that is restarted, or a service, gets a cgroup anew, whose counter begins at nothing; and one that is
//! gone has none. In version 2 the cgroup around it counts what happens below (`memory.events` is hierarchical).

use crate::cgroup::{Cgroup, Kills};
use crate::procfs::Procfs;

/// Counts from look to look.
#[derive(Debug, Default)]
pub(crate) struct OomWatch {
    before: Option<(Cgroup, Kills)>,
}

impl OomWatch {
    /// Processes of the target's cgroup that the kernel has killed since the look before. `group` is the one that the
    /// target is in now, or was in last.
    pub(crate) fn since(&mut self, procfs: &mut Procfs, group: Option<&Cgroup>) -> u64 {
        let now = group.map(|group| (group.clone(), group.kills(procfs)));
        let Some((old, before)) = self.before.take() else {
            self.before = now;
            return 0;
        };
        let after = match &now {
            Some((group, kills)) if *group == old => kills.clone(),
            // It lives in another cgroup now: what became of that before?
            _ => old.kills(procfs),
        };
        self.before = now;
        let rose = |before: Option<u64>, after: Option<u64>| {
            before.zip(after).map_or(0, |(before, after)| after.saturating_sub(before))
        };
        if before.directory_number == after.directory_number {
            rose(before.own, after.own)
        } else {
            // Its own counter went with it.
            rose(before.around, after.around)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use super::*;

    struct Fixture(PathBuf);

    impl Fixture {
        fn new(name: &str) -> Self {
            let mount = std::env::temp_dir().join(format!("watch-{name}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&mount);
            Self(mount)
        }

        /// A cgroup and its counter; a directory that is there keeps its number.
        fn kills(&self, path: &str, count: u64) {
            let directory = self.0.join(path);
            fs::create_dir_all(&directory).unwrap();
            fs::write(directory.join("memory.events"), format!("oom 9\noom_kill {count}\n"))
                .unwrap();
        }

        fn group(&self, path: &str) -> Cgroup {
            Cgroup::version_2(&self.0, path)
        }
    }

    impl Drop for Fixture {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_cgroup_that_stays_counts_itself() {
        let fixture = Fixture::new("oom-stays");
        let (mut oom, mut procfs) = (OomWatch::default(), Procfs::default());
        let group = fixture.group("docker/a");
        fixture.kills("docker", 5);
        fixture.kills("docker/a", 2);
        assert_eq!(oom.since(&mut procfs, Some(&group)), 0, "from before it was watched");
        fixture.kills("docker", 7);
        assert_eq!(oom.since(&mut procfs, Some(&group)), 0, "another container");
        fixture.kills("docker/a", 3);
        assert_eq!(oom.since(&mut procfs, Some(&group)), 1);
        assert_eq!(oom.since(&mut procfs, Some(&group)), 0);
        assert_eq!(oom.since(&mut procfs, None), 0, "it has ended otherwise");
        assert_eq!(oom.since(&mut procfs, Some(&group)), 0);
    }

    #[test]
    fn one_that_goes_with_its_process_is_counted_around_it() {
        let fixture = Fixture::new("oom-goes");
        let (mut oom, mut procfs) = (OomWatch::default(), Procfs::default());
        let group = fixture.group("docker/a");
        fixture.kills("docker", 5);
        fixture.kills("docker/a", 0);
        assert_eq!(oom.since(&mut procfs, Some(&group)), 0);
        // Gone.
        fs::remove_dir_all(fixture.0.join("docker/a")).unwrap();
        fixture.kills("docker", 6);
        assert_eq!(oom.since(&mut procfs, Some(&group)), 1);
        assert_eq!(oom.since(&mut procfs, None), 0);
        // Made anew between two looks, under the same name and under another.
        fixture.kills("docker/a", 0);
        assert_eq!(oom.since(&mut procfs, Some(&group)), 0);
        fs::rename(fixture.0.join("docker/a"), fixture.0.join("docker/old")).unwrap();
        fixture.kills("docker/a", 0);
        fixture.kills("docker", 8);
        assert_eq!(oom.since(&mut procfs, Some(&group)), 2);
        fs::remove_dir_all(fixture.0.join("docker/a")).unwrap();
        fixture.kills("docker/b", 0);
        fixture.kills("docker", 9);
        assert_eq!(oom.since(&mut procfs, Some(&fixture.group("docker/b"))), 1);
    }
}
