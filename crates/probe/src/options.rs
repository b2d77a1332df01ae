//! `plimsoll watch trace`: its command line, and what it prints.

use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde::Serialize;

use crate::problem::Problem;
use crate::process::Process;
use crate::scan::{self, Findings};

/// Who holds the memory of a running native program, without a restart.
///
/// Without --scan, probes of the kernel (eBPF uprobes) on malloc and free sample what is allocated from now on, and
/// say which calls asked for what is not freed. With --scan, the heap of glibc is read three times, and blocks that nothing
/// points to any more are reported with what stands in them; no probe, and no cost in between.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  plimsoll watch trace --pid $(pidof mosquitto) --scan
  plimsoll watch trace --pid $(pidof mosquitto) --scan --for 10m     what has been lost in ten minutes
  plimsoll watch trace --pid $(pidof mosquitto) --for 60s --every 20s
  plimsoll watch trace --pid $(pidof mosquitto) --for 5m --lost      who asked for what is lost
  plimsoll watch trace --pid 4711 --for 5m --json > trace.json

Needs root, or CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH with CAP_BPF and CAP_PERFMON (before Linux 6.13 with
CAP_SYS_ADMIN); --scan needs the first two alone, or the same user.

Exit code: 0 done, with --scan: no block is lost; 1 --scan found lost blocks; 2 the process is not there, or has ended;
3 wrong command line; 4 the kernel or our rights do not allow it; 5 not possible for this program (no glibc heap, no
symbols of an allocator); 6 a file could not be read or written.")]
pub struct Options {
    /// The process.
    #[arg(long, value_name = "PID")]
    pid: u32,
    /// Look for blocks that nothing points to, instead of tracing.
    #[arg(long)]
    scan: bool,
    /// Trace, then scan: the last report is of lost blocks alone, by the calls that asked for them. For glibc's heap.
    #[arg(long, conflicts_with = "scan")]
    lost: bool,
    /// How long to trace: 60s, 5m, 1h. With --scan: scan again after this time, and report what was lost meanwhile.
    #[arg(long = "for", value_name = "TIME", value_parser = time)]
    duration: Option<Duration>,
    /// Stacks, or kinds of lost blocks, that are shown.
    #[arg(long, value_name = "N", default_value_t = 10)]
    top: usize,
    /// Print JSON, an object on a line for each report.
    #[arg(long)]
    json: bool,
    /// Print a report this often on the way; 0s for none.
    #[arg(long, value_name = "TIME", value_parser = time, default_value = "10s", conflicts_with = "scan")]
    every: Duration,
    /// One sample in so many bytes that are allocated; 0 for about 500 samples a second.
    #[arg(long, value_name = "BYTES", default_value_t = 0, conflicts_with = "scan")]
    sample: u64,
    /// End the trace when probes cost the process more than this share of a processor, in percent, over a second.
    #[arg(long, value_name = "PERCENT", default_value_t = 50, conflicts_with = "scan")]
    load_max: u32,
    /// Sampled blocks that are kept account of until they are freed; each takes about 150 bytes.
    #[arg(long, value_name = "N", default_value_t = 65_536, value_parser = clap::value_parser!(u32).range(64..=16_000_000), conflicts_with = "scan")]
    samples_max: u32,
    /// Bytes of the stack that are looked at for each sample; calls further out are not named.
    #[arg(long, value_name = "BYTES", default_value_t = 16_384, value_parser = clap::value_parser!(u32).range(512..=65_536), conflicts_with = "scan")]
    stack: u32,
    /// From the first to the last of a scan's three looks.
    #[arg(long, value_name = "TIME", value_parser = time, default_value = "5s", requires = "scan")]
    apart: Duration,
    /// The longest that a scan may take.
    #[arg(long, value_name = "TIME", value_parser = time, default_value = "5m", requires = "scan")]
    scan_time: Duration,
    /// Blocks that a scan keeps account of, at 8 bytes each; blocks beyond count as in use.
    #[arg(long, value_name = "N", default_value_t = 64_000_000, requires = "scan")]
    blocks_max: usize,
}

/// A time: a number with `ms`, `s`, `m` or `h`; seconds without.
fn time(text: &str) -> Result<Duration, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let milliseconds = match unit {
        "ms" => 1,
        "s" | "" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err("a number with ms, s, m or h, such as 90s".to_owned()),
    };
    let number: u64 =
        number.parse().map_err(|_| "a number with ms, s, m or h, such as 90s".to_owned())?;
    Ok(Duration::from_millis(number.saturating_mul(milliseconds)))
}

impl Options {
    /// Does it; reports go to the standard output, all else to the standard error.
    pub fn run(&self) -> ExitCode {
        let done = Process::find(self.pid)
            .and_then(|process| if self.scan { self.scan(&process) } else { self.trace(&process) });
        done.unwrap_or_else(|problem| {
            if problem != Problem::NotRead {
                eprintln!("plimsoll watch trace: {problem}");
            }
            problem.exit_code()
        })
    }

    fn scan(&self, process: &Process) -> Result<ExitCode, Problem> {
        let first = self.look(process)?;
        let mut lost = first.lost_blocks > 0;
        self.print(&first.clone().shortened(self.top))?;
        if let Some(pause) = self.duration {
            std::thread::sleep(pause);
            let second = self.look(process)?;
            lost |= second.lost_blocks > 0;
            self.print(&second.grown_since(&first, pause.as_secs_f64()).shortened(self.top))?;
        }
        Ok(ExitCode::from(u8::from(lost)))
    }

    fn look(&self, process: &Process) -> Result<Findings, Problem> {
        let settings = scan::Settings { apart: self.apart, blocks_max: self.blocks_max };
        let terminal = io::stderr().is_terminal();
        let mut told = false;
        let mut progress = |line: &str| {
            if terminal {
                told = true;
                eprint!("\r\x1b[K{line}");
            }
        };
        let findings =
            scan::scan(process, &settings, &mut scan::Pace::new(self.scan_time, &mut progress));
        if told {
            eprint!("\r\x1b[K");
        }
        findings
    }

    #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
    fn trace(&self, process: &Process) -> Result<ExitCode, Problem> {
        use crate::trace::{End, Settings, Trace};
        use std::sync::Arc;
        use std::sync::atomic::{AtomicBool, Ordering};

        let asked = Arc::new(AtomicBool::new(false));
        for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
            signal_hook::flag::register(signal, Arc::clone(&asked))
                .map_err(|error| Problem::Failed(format!("signals: {error}")))?;
        }
        let settings = Settings {
            duration: self.duration.unwrap_or(Duration::from_secs(60)),
            every: self.every,
            sample_bytes: self.sample,
            blocks_max: self.samples_max as usize,
            stack_bytes: self.stack as usize,
            load_max: f64::from(self.load_max) / 100.0,
            top: self.top,
            lost: self.lost,
        };
        let mut trace = Trace::start(process, settings)?;
        eprintln!("attached to {}", trace.functions().join(", "));
        let (report, end) =
            trace.run(&|| asked.load(Ordering::Relaxed), &mut |report| self.print(report))?;
        drop(trace);
        self.print(&report)?;
        match end {
            End::Done | End::Asked => Ok(ExitCode::SUCCESS),
            End::Load => {
                eprintln!(
                    "plimsoll watch trace: ended early: in the last second the probes cost the process more than {} % of a \
                     processor (--load-max). Fewer samples would not help: each call of malloc and free is stopped at",
                    self.load_max
                );
                Ok(ExitCode::SUCCESS)
            }
            End::Gone => Err(Problem::Gone(format!(
                "process {} ({}) has ended; the report is of its last moment",
                process.pid(),
                process.name()
            ))),
        }
    }

    #[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
    fn trace(&self, _process: &Process) -> Result<ExitCode, Problem> {
        Err(Problem::NotAllowed(
            "probes are for Linux on x86-64 only. --scan finds lost blocks by reading memory, and needs no probes".to_owned(),
        ))
    }

    fn print(&self, report: &(impl Serialize + std::fmt::Display)) -> Result<(), Problem> {
        let mut output = io::stdout().lock();
        let written = if self.json {
            serde_json::to_writer(&mut output, report)
                .map_err(io::Error::from)
                .and_then(|()| output.write_all(b"\n"))
        } else {
            writeln!(output, "{report}")
        };
        written.and_then(|()| output.flush()).map_err(|error| match error.kind() {
            io::ErrorKind::BrokenPipe => Problem::NotRead,
            _ => Problem::Failed(format!("standard output: {error}")),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        assert_eq!(time("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(time("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(time("1h"), Ok(Duration::from_secs(3600)));
        assert_eq!(time("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(time("3"), Ok(Duration::from_secs(3)));
        assert!(time("3 days").is_err());
        assert!(time("s").is_err());
        assert!(time("-1s").is_err());
    }
}
