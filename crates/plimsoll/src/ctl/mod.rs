//! `plimsoll ctl`: the API of a running broker from a shell.

mod client;
mod commands;
mod memory;
mod settings;
mod table;
mod top;
mod trace;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};

use client::{Client, Failure};
use settings::Settings;

/// The broker could not be asked, or does not let us.
const EXIT_UNREACHABLE: u8 = 2;

/// Ask a running broker, and tell it what to do, through its HTTP listener
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  plimsoll ctl health                          is it alive and ready?
  plimsoll ctl memory                          who holds how much
  plimsoll ctl clients --search plant-7 --sort queued
  plimsoll ctl kick plant-7-sensor-12
  plimsoll ctl retained 'plant/7/#' --json | jq '.retained[].topic'
  plimsoll ctl heap -o heap.pb.gz && pprof -top heap.pb.gz
  plimsoll ctl trace 'plant/7/#' --count 5     where does a message's time go?
  plimsoll ctl --url https://broker:8080 --user ops reload

The broker needs a listener for it:
  listener 8080 127.0.0.1
  protocol http_api
  allow_anonymous true

What is not on the command line is taken from PLIMSOLL_URL, PLIMSOLL_USER, PLIMSOLL_PASSWORD,
PLIMSOLL_TOKEN and PLIMSOLL_CAFILE, else from ~/.config/plimsoll/ctl.conf (lines such as `url
https://broker:8080`, `user ops`, `password_file /run/secrets/ops`).

Exit code: 0 done; 1 the answer is no (not ready, alarms stand, no such client, a failed reload);
2 the broker cannot be asked; 3 a mistake in the command.")]
pub(crate) struct Options {
    /// The broker's HTTP listener, if it is not `http://127.0.0.1:8080`
    #[arg(long, global = true, value_name = "URL")]
    url: Option<String>,
    /// User name
    #[arg(long, global = true, value_name = "NAME")]
    user: Option<String>,
    /// Password; others see it in `ps`, so rather use `--password-file` or `PLIMSOLL_PASSWORD`
    #[arg(long, global = true, value_name = "PASSWORD", conflicts_with = "password_file")]
    password: Option<String>,
    /// File whose first line is the password
    #[arg(long, global = true, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// A token (JWT) in place of user name and password
    #[arg(long, global = true, value_name = "TOKEN", conflicts_with_all = ["user", "password"])]
    token: Option<String>,
    /// Certificates that the broker's has to come from (PEM); else the system's
    #[arg(long, global = true, value_name = "FILE")]
    cafile: Option<PathBuf>,
    /// Do not check the broker's certificate
    #[arg(long, global = true)]
    insecure: bool,
    /// File with what is not said here
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print the answer as JSON
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Whether the broker is alive and ready (exit 1 if not)
    Health,
    /// From RSS down to who holds it
    Memory,
    /// Connected clients, or all about one
    Clients(commands::Clients),
    /// Disconnect clients
    Kick(commands::Kick),
    /// Sessions, connected or not
    Sessions(commands::Clients),
    /// Topic filters and who subscribes to them, or one client's subscriptions
    Subscriptions(commands::Subscriptions),
    /// Retained messages below a topic filter
    Retained(commands::Retained),
    /// Delete retained messages below a topic filter
    DeleteRetained(top::DeleteRetained),
    /// Who holds the most, lags behind, grows, or was left
    Top(top::Top),
    /// What somebody should look at (exit 1 if there is something)
    Alarms,
    /// What listens
    Listeners,
    /// Figures of $SYS
    Systree,
    /// Metrics, as Prometheus reads them
    Metrics(commands::Metrics),
    /// Read the configuration again
    Reload,
    /// Count everything anew and set it against the ledger (exit 1 if they differ)
    Recount,
    /// A profile of the heap, for pprof
    Heap(commands::Heap),
    /// Follow the next publishes through the broker, with times (exit 1 if none came)
    Trace(trace::Trace),
}

/// What a command has to print, and whether the answer is yes.
pub(super) struct Said {
    text: String,
    yes: bool,
}

impl Said {
    fn yes(text: String) -> Self {
        Self { text, yes: true }
    }
}

/// Does what the command line says.
pub(crate) fn run(options: &Options) -> ExitCode {
    let asked = Settings::of(options)
        .and_then(|settings| Client::new(&settings))
        .and_then(|client| commands::run(&options.command, &client, options.json));
    match asked {
        Ok(said) => {
            let mut out = std::io::stdout().lock();
            // Whoever read it may have seen enough.
            let _ = out.write_all(said.text.as_bytes()).and_then(|()| out.flush());
            if said.yes { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(failure) => {
            eprintln!("Error: {}", table::printable(&failure.to_string()));
            match failure {
                Failure::No(_) => ExitCode::FAILURE,
                Failure::Unreachable(_) => ExitCode::from(EXIT_UNREACHABLE),
                Failure::Mistake(_) => ExitCode::from(crate::cli::EXIT_CONFIGURATION),
            }
        }
    }
}
