//! `plimsoll import`, `export` and `check`: a broker's state while no broker has it.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Args;
use plimsoll_engine::Time;
use plimsoll_ledger::Ledger;
use plimsoll_store::{Directory, Options, Recovery, Store, check};

use super::{Export, import};

/// Accounts of a tool, which ends when it is done.
static LEDGER: Ledger = Ledger::new();

/// Exit code where something is damaged: of a directory that was not repaired, of an imported file.
const EXIT_DAMAGED: u8 = 1;

/// Exit code where the command itself could not be carried out.
const EXIT_FAILED: u8 = 2;

/// Options of `plimsoll import`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:
  plimsoll import /var/lib/mosquitto/mosquitto.db --into /var/lib/plimsoll

The file is only read. A broker that is started on a directory (persistence_location) that holds a
mosquitto.db and no state of its own does the same by itself.

Exit status: 0 taken in, 1 taken in but for what is damaged, 2 could not be done.")]
pub(crate) struct Import {
    /// Mosquitto's persistence file, of any version from 2 to 6
    #[arg(value_name = "mosquitto.db")]
    file: PathBuf,
    /// Directory to put it into (`persistence_location`); made if there is none
    #[arg(long, value_name = "DIR")]
    into: PathBuf,
}

/// Options of `plimsoll export`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:
  plimsoll export /var/lib/plimsoll > state.jsonl
  plimsoll export /var/lib/plimsoll | jq -r 'select(.type == \"retained\") | .topic'

The broker must not run on the directory meanwhile. Exit status: 0 done, 2 could not be done.")]
pub(crate) struct ExportTo {
    /// Directory that a broker kept its state in
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// File to write to, instead of standard output
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Options of `plimsoll check`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:
  plimsoll check /var/lib/plimsoll            every record, nothing is written
  plimsoll check --repair /var/lib/plimsoll   writes what is sound anew; what is damaged is kept aside

Exit status: 0 sound (or repaired), 1 damaged, 2 could not be checked.")]
pub(crate) struct Check {
    /// Directory that a broker kept its state in
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// Keep what is sound, and put what is damaged aside
    #[arg(long)]
    repair: bool,
}

impl Import {
    /// Does it.
    pub(crate) fn run(&self) -> ExitCode {
        finish(self.import())
    }

    fn import(&self) -> Result<ExitCode, String> {
        let (mut store, _) = open(&self.into, true)?;
        let imported = import(&self.file, &mut store, now())?;
        println!("{}", imported.text.trim_end());
        Ok(if imported.whole { ExitCode::SUCCESS } else { ExitCode::from(EXIT_DAMAGED) })
    }
}

impl ExportTo {
    /// Does it.
    pub(crate) fn run(&self) -> ExitCode {
        finish(self.export())
    }

    fn export(&self) -> Result<ExitCode, String> {
        let (store, recovery) = open(&self.directory, false)?;
        for damage in &recovery.damages {
            eprintln!("Warning: {damage}");
        }
        let out: Box<dyn Write> = match &self.out {
            None => Box::new(io::stdout().lock()),
            Some(path) => Box::new(
                File::create(path).map_err(|error| format!("{}: {error}", path.display()))?,
            ),
        };
        let mut out = BufWriter::new(out);
        let mut failure = None;
        let mut export = Export::new(&mut out, |key: &[u8]| store.get(key));
        let scanned = store.scan(&[], |key, value| match export.entry(key, value) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                failure = Some(error);
                ControlFlow::Break(())
            }
        });
        let written = failure.map_or(scanned, Err).and_then(|()| out.flush());
        match written {
            // Whoever read the lines has seen enough.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
            Err(error) => Err(error.to_string()),
            Ok(()) => Ok(ExitCode::SUCCESS),
        }
    }
}

impl Check {
    /// Does it.
    pub(crate) fn run(&self) -> ExitCode {
        finish(self.check())
    }

    fn check(&self) -> Result<ExitCode, String> {
        let directory = existing(&self.directory)?;
        let report = check(&directory, self.repair).map_err(|error| error.to_string())?;
        if let Some(torn) = &report.torn {
            println!(
                "{}: the last write is not complete ({} bytes at {}); a start cuts it, and nothing in it was acknowledged.",
                torn.file, torn.bytes, torn.offset
            );
        }
        for damage in &report.damages {
            println!("{damage}");
        }
        println!(
            "{} files: {} entries in {} blocks of runs, {} batches in the journal; {} damaged places.",
            report.files,
            report.entries,
            report.blocks,
            report.batches,
            report.damages.len()
        );
        Ok(match (report.damages.is_empty(), report.is_repaired) {
            (true, _) => ExitCode::SUCCESS,
            (false, true) => {
                println!("What is sound was written anew.");
                ExitCode::SUCCESS
            }
            (false, false) => {
                println!(
                    "A broker starts on it and serves the rest; --repair keeps what is sound."
                );
                ExitCode::from(EXIT_DAMAGED)
            }
        })
    }
}

/// Prints what went wrong.
fn finish(outcome: Result<ExitCode, String>) -> ExitCode {
    outcome.unwrap_or_else(|error| {
        eprintln!("Error: {error}");
        ExitCode::from(EXIT_FAILED)
    })
}

fn existing(path: &Path) -> Result<Directory, String> {
    if !path.is_dir() {
        return Err(format!("{} is not a directory", path.display()));
    }
    Directory::open(path).map_err(|error| format!("{error} (a running broker has it to itself)"))
}

fn open(path: &Path, create: bool) -> Result<(Store<Directory>, Recovery), String> {
    let directory = match create {
        true => Directory::open(path).map_err(|error| error.to_string())?,
        false => existing(path)?,
    };
    Store::open(directory, Options::default(), &LEDGER)
        .map_err(|error| format!("{}: {error}", path.display()))
}

fn now() -> Time {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Time::from_millis(wall.as_millis() as u64)
}
