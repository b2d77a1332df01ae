//! What `plimsoll soak` is told.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgGroup, Args, Subcommand};

use super::capacity;
use super::compare;
use super::scenario::Scenario;
use crate::load::Place;
use crate::quantity::duration;
use plimsoll_watch::{Credentials, Kind, Source};

/// How often accounts are asked: quiet is short.
const ACCOUNTS_EVERY: Duration = Duration::from_millis(100);

/// Put the events of days on a broker in minutes, and judge it: leaks, losses, latency.
///
/// Any MQTT broker will do. It is started here (--broker-cmd) or runs already (--pid). Cycles of retained
/// updates, clients that come and go, subscriptions and absent sessions follow each other, with quiet in between; memory
/// in quiet is set against the events so far.
#[derive(Args, Clone, Debug)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
#[command(after_help = "Examples:
  plimsoll soak --broker-cmd 'mosquitto -c mosquitto.conf' --connect mqtt://127.0.0.1:1883 --duration 10m
  plimsoll soak --pid $(pidof nats-server) --connect mqtt://127.0.0.1:1883 --duration 10m --report nats.html
  plimsoll soak --pid 4711 --accounts actuator=http://127.0.0.1:8080 --duration 30m
  plimsoll soak --broker-cmd 'plimsoll -p 1883' --duration 2m --junit soak.xml --json soak.json
  plimsoll soak --broker-cmd 'mosquitto -c m.conf' --vs 'plimsoll -c p.conf' --duration 5m --report both.html
  plimsoll soak compare before.json after.json
  plimsoll soak capacity --broker-cmd 'plimsoll -p 1883' --limit 256MiB
  plimsoll soak scenario > soak.toml

Exit code: 0 pass, 1 a leak, a loss or another limit missed, 2 it could not run, 130 interrupted and nothing
found until then, 3 the command line is wrong. Ctrl-C ends it early, with a report of what there is; a second one at
once.")]
pub struct Options {
    #[command(subcommand)]
    pub(super) command: Option<Command>,
    #[command(flatten)]
    pub(super) run: RunOptions,
}

/// What else can be done.
#[derive(Subcommand, Clone, Debug)]
pub(super) enum Command {
    Compare(compare::Options),
    Capacity(Box<capacity::Options>),
    /// Print the default scenario (TOML): loads, production's rates, limits
    Scenario,
}

/// The broker and how to reach it.
#[derive(Args, Clone, Debug)]
#[command(group = ArgGroup::new("whose").required(true).args(["broker_cmd", "pid"]))]
pub(super) struct RunOptions {
    /// Starts this broker and ends it afterwards
    #[arg(long, value_name = "COMMAND")]
    pub(super) broker_cmd: Option<String>,
    /// Judges this process, which runs already
    #[arg(long)]
    pub(super) pid: Option<u32>,
    #[command(flatten)]
    pub(super) place: Place,
    /// Also judges what the broker says it holds, asked over HTTP: PRESET[=URL], as `plimsoll watch` has them (again for
    /// more)
    #[arg(long, value_name = "PRESET[=URL]")]
    pub(super) accounts: Vec<String>,
    /// A figure and where it is, of the last --accounts: account, `heap_used`, direct
    #[arg(long, value_name = "FIGURE=WHERE", requires = "accounts")]
    pub(super) map: Vec<String>,
    /// User name for --accounts
    #[arg(long, value_name = "NAME", requires = "accounts")]
    pub(super) accounts_user: Option<String>,
    /// File with the password for --accounts
    #[arg(long, value_name = "FILE", requires = "accounts")]
    pub(super) accounts_password_file: Option<PathBuf>,
    /// File with a bearer token for --accounts
    #[arg(long, value_name = "FILE", requires = "accounts")]
    pub(super) accounts_token_file: Option<PathBuf>,
    /// How long it takes; longer runs see smaller leaks
    #[arg(long, default_value = "10m", value_parser = duration)]
    pub(super) duration: Duration,
    /// Loads, production's rates and limits (TOML); `plimsoll soak scenario` prints the default
    #[arg(long, value_name = "FILE")]
    pub(super) scenario: Option<PathBuf>,
    /// What the broker is called in reports
    #[arg(long)]
    pub(super) name: Option<String>,
    /// Then does the same with this broker, and compares
    #[arg(long, value_name = "COMMAND", conflicts_with = "pid")]
    pub(super) vs: Option<String>,
    /// Where the second broker is, if not at --connect
    #[arg(long, value_name = "[mqtt://]HOST:PORT", requires = "vs")]
    pub(super) vs_connect: Option<String>,
    /// Writes everything that was measured (with --vs: of the first broker, and of the second to FILE.vs.json)
    #[arg(long, value_name = "FILE")]
    pub(super) json: Option<PathBuf>,
    /// Writes a `JUnit` report for CI
    #[arg(long, value_name = "FILE")]
    pub(super) junit: Option<PathBuf>,
    /// Writes a report with plots: one HTML file that needs nothing else
    #[arg(long, value_name = "FILE")]
    pub(super) report: Option<PathBuf>,
    /// Seed of all that is random
    #[arg(long, default_value_t = 1)]
    pub(super) seed: u64,
}

impl RunOptions {
    /// The scenario that is asked for.
    pub(super) fn scenario(&self) -> Result<Scenario, String> {
        self.scenario.as_deref().map_or_else(|| Ok(Scenario::default()), Scenario::read)
    }

    /// Whether the files can be written that are asked for: it would be a pity after the run.
    pub(super) fn try_files(&self) -> Result<(), String> {
        let files = [&self.json, &self.junit, &self.report];
        for path in files.into_iter().flatten() {
            // What an earlier run has written is not to be taken for this one's.
            std::fs::File::create(path)
                .map_err(|error| format!("cannot write {}: {error}", path.display()))?;
        }
        Ok(())
    }

    /// Where the broker is asked what it holds.
    pub(super) fn accounts(&self) -> Result<Vec<Source>, String> {
        let secret = |path: &Option<PathBuf>| match path {
            None => Ok(None),
            Some(path) => std::fs::read_to_string(path)
                .map(|text| Some(text.trim_end_matches(['\n', '\r']).to_owned()))
                .map_err(|error| format!("{}: {error}", path.display())),
        };
        let credentials = Credentials {
            user: self.accounts_user.clone(),
            password: secret(&self.accounts_password_file)?,
            token: secret(&self.accounts_token_file)?,
        };
        let last = self.accounts.len().saturating_sub(1);
        let mut sources = Vec::new();
        for (number, preset) in self.accounts.iter().enumerate() {
            let map: &[String] = if number == last { &self.map } else { &[] };
            let mut source = Source::described(preset, map)?;
            if source.kind == Kind::Mqtt {
                return Err(format!(
                    "--accounts {preset}: $SYS/broker/heap/current is read anyway, and other topics come too rarely for quiet of a second: name a source over HTTP"
                ));
            }
            source.every = ACCOUNTS_EVERY;
            source.credentials = credentials.clone();
            source.tls = self.place.tls_files();
            source.check()?;
            sources.push(source);
        }
        Ok(sources)
    }
}
