//! A process that is looked at: who it is, what it has mapped, what stands in its memory.

use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;

use crate::problem::Problem;

pub mod maps;
pub mod memory;

use maps::Mapping;

/// A running process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    pid: u32,
    /// Clock ticks from boot to its start: together with the number, its identity.
    started: u64,
    name: String,
}

impl Process {
    /// The process with this number.
    pub fn find(pid: u32) -> Result<Self, Problem> {
        let (name, started, _) = stat(pid)?;
        Ok(Self { pid, started, name })
    }

    /// Its number.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// The name that the kernel has for it: at most 15 bytes.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it is still there, and no other has got its number.
    pub fn lives(&self) -> bool {
        stat(self.pid).is_ok_and(|(_, started, dead)| started == self.started && !dead)
    }

    /// A file of its directory in `/proc`.
    pub fn path(&self, file: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/{file}", self.pid))
    }

    /// Reads a text of its directory in `/proc`.
    pub fn text(&self, file: &str) -> Result<String, Problem> {
        let path = self.path(file);
        match fs::read(&path) {
            Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
            Err(error) => Err(self.cannot_read(file, &error)),
        }
    }

    /// What it has mapped, by ascending address.
    pub fn mappings(&self) -> Result<Vec<Mapping>, Problem> {
        let mappings = maps::parse(&self.text("maps")?);
        if mappings.is_empty() {
            return Err(Problem::NotThisProgram(format!(
                "process {} ({}) has no memory of its own: a thread of the kernel, or it is just ending",
                self.pid, self.name
            )));
        }
        Ok(mappings)
    }

    /// What to say if a file of its directory could not be read.
    pub(crate) fn cannot_read(&self, file: &str, error: &std::io::Error) -> Problem {
        let (pid, name) = (self.pid, &self.name);
        match error.kind() {
            ErrorKind::NotFound => Problem::Gone(format!("process {pid} ({name}) has ended")),
            ErrorKind::PermissionDenied => Problem::NotAllowed(format!(
                "/proc/{pid}/{file} of {name}: {error}. Reading another process's memory needs root, or CAP_SYS_PTRACE \
                 with CAP_DAC_READ_SEARCH, or the same user with kernel.yama.ptrace_scope=0"
            )),
            // A process without memory: it has ended, and nobody has asked for its exit code yet.
            _ if error.raw_os_error() == Some(libc::ESRCH) => {
                Problem::Gone(format!("process {pid} ({name}) has ended"))
            }
            _ => Problem::Failed(format!("/proc/{pid}/{file} of {name}: {error}")),
        }
    }
}

/// Name, start, and whether it is dead, from `/proc/PID/stat`.
fn stat(pid: u32) -> Result<(String, u64, bool), Problem> {
    let path = format!("/proc/{pid}/stat");
    let bytes = fs::read(&path).map_err(|error| match error.kind() {
        ErrorKind::NotFound => {
            Problem::Gone(format!("{path}: there is no process {pid} (in this container's view)"))
        }
        _ => Problem::Failed(format!("{path}: {error}")),
    })?;
    let text = String::from_utf8_lossy(&bytes);
    parse_stat(&text).ok_or_else(|| Problem::Failed(format!("{path}: not the form that is known")))
}

/// The name stands in parentheses and may hold some itself; the start is the 22nd field.
fn parse_stat(text: &str) -> Option<(String, u64, bool)> {
    let (before, after) = text.rsplit_once(')')?;
    let (_, name) = before.split_once('(')?;
    let mut fields = after.split_ascii_whitespace();
    let dead = matches!(fields.next()?, "Z" | "X");
    Some((name.to_owned(), fields.nth(18)?.parse().ok()?, dead))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_itself() {
        let own = Process::find(std::process::id()).unwrap();
        assert!(own.lives());
        assert!(!own.name().is_empty());
        assert!(own.mappings().unwrap().iter().any(|mapping| mapping.path == "[stack]"));
    }

    #[test]
    fn names_with_parentheses() {
        let fields: Vec<String> = (4..=25).map(|field| field.to_string()).collect();
        let text = format!("12 (a) (b)) S {}", fields.join(" "));
        assert_eq!(parse_stat(&text), Some(("a) (b)".to_owned(), 22, false)));
    }

    #[test]
    fn a_process_that_is_not() {
        let problem = Process::find(u32::MAX - 1).unwrap_err();
        assert!(matches!(problem, Problem::Gone(_)), "{problem}");
    }

    #[test]
    fn another_with_its_number_is_not_it() {
        let mut own = Process::find(std::process::id()).unwrap();
        own.started += 1;
        assert!(!own.lives());
    }
}
