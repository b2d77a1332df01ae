//! Programs in C for tests (`fixtures/`): compiled, started, and ended with the test.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::process::Process;

/// One compiler at a time, so that none reads what another is writing.
static COMPILER: Mutex<()> = Mutex::new(());

/// A program that runs.
pub(crate) struct Program {
    child: Child,
}

impl Program {
    /// Compiles and starts it, and waits until it says READY.
    pub(crate) fn start(name: &str, arguments: &[&str]) -> Self {
        Self::start_with(name, &[], arguments)
    }

    /// The same with flags for the compiler.
    pub(crate) fn start_with(name: &str, flags: &[&str], arguments: &[&str]) -> Self {
        let mut child = Command::new(compile(name, flags))
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "READY\n");
        Self { child }
    }

    pub(crate) fn process(&self) -> Process {
        Process::find(self.child.id()).unwrap()
    }

    /// Stops it, by a signal that cannot be held off, and waits until it stands still.
    pub(crate) fn stop(&self) {
        let process = self.process();
        kill_process(Pid::from_child(&self.child), Signal::STOP).unwrap();
        while !process.text("stat").unwrap().contains(") T ") {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn compile(name: &str, flags: &[&str]) -> PathBuf {
    let _one = COMPILER.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let source = format!("{}/fixtures/{name}.c", env!("CARGO_MANIFEST_DIR"));
    // Tests may run as processes of their own: a name for each.
    let directory = std::env::temp_dir().join(format!("plimsoll-probe-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let program = directory.join(format!("{name}{}", flags.join("")));
    let status = Command::new("cc")
        .args(["-O2", "-Wall", "-Wno-unused-result", "-pthread", "-o"])
        .arg(&program)
        .arg(&source)
        .args(flags)
        .status()
        .unwrap();
    assert!(status.success(), "cc {source}");
    program
}
