//! Programs in C for tests (`fixtures/`): compiled, started, and ended with the test.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::process::Process;

/// A program that runs.
pub(crate) struct Program {
    child: Child,
    /// Where it was compiled to.
    directory: PathBuf,
}

impl Program {
    /// Compiles and starts it, and waits until it says READY.
    pub(crate) fn start(name: &str, arguments: &[&str]) -> Self {
        Self::start_with(name, &[], arguments)
    }

    /// The same with flags for the compiler.
    pub(crate) fn start_with(name: &str, flags: &[&str], arguments: &[&str]) -> Self {
        let directory = compile(name, flags);
        let mut child = Command::new(directory.join(name))
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "READY\n");
        Self { child, directory }
    }

    pub(crate) fn process(&self) -> Process {
        Process::find(self.child.id()).unwrap()
    }

    /// Stops it, by a signal that cannot be held off, and waits until it stands still.
    pub(crate) fn stop(&self) {
        let process = self.process();
        kill_process(Pid::from_child(&self.child), Signal::STOP).unwrap();
        for _ in 0..10_000 {
            if process.text("stat").unwrap().contains(") T ") {
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        panic!("it does not stand still ten seconds after the signal");
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// Compiles a program, under its name in a directory of its own.
fn compile(name: &str, flags: &[&str]) -> PathBuf {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let source = format!("{}/fixtures/{name}.c", env!("CARGO_MANIFEST_DIR"));
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let directory =
        std::env::temp_dir().join(format!("plimsoll-probe-{}-{number}", std::process::id()));
    fs::create_dir_all(&directory).unwrap();
    let status = Command::new("cc")
        .args(["-O2", "-Wall", "-Wno-unused-result", "-pthread", "-o"])
        .arg(directory.join(name))
        .arg(&source)
        .args(flags)
        .status()
        .unwrap();
    assert!(status.success(), "cc {source}");
    directory
}
