//! The command line of `plimsoll watch`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Subcommand};

use crate::accounts::presets;
use crate::configuration::{self, Configuration, EVERY, Login, Plan, Which};
use crate::journal::Journal;
use crate::lines::JsonLines;
use crate::live::{EXIT_NOT_STARTED, Live};
use crate::output::Output;
use crate::outputs::{JSON_LINES_MAX, OutputOptions, Outputs};
use crate::push::Trouble;
use crate::remark::remark;
use crate::target::Limits;
use crate::{replay, report, units};

/// Leak, or just more state? Watch the memory of any broker from outside
#[derive(Args, Clone, Debug)]
#[command(
    args_conflicts_with_subcommands = true,
    arg_required_else_help = true,
    after_help = "A target that is not there yet is waited for, and a new process is told from the old one. The judgement
takes hours, so leave it running: as a service with --config, or with --history, from which it goes on.

Presets of --accounts: mosquitto (any broker with its $SYS), plimsoll, jolokia, actuator, emqx, hivemq; and
mqtt, prometheus, json for what --map says. Figures are account, heap_used, heap_committed, direct,
retained, connections, sessions, subscriptions, queued, published_total, connected_total, limit,
heap_limit, direct_limit; other names are shown and not judged. Several places for one figure are summed up.

Examples:
  plimsoll watch --process mosquitto --accounts mosquitto
  plimsoll watch --systemd mosquitto --accounts mosquitto=mqtts://broker:8883 --user ops --password-file pw
  plimsoll watch --pid 4711 --accounts actuator=http://127.0.0.1:8080 --log-every 1s
  plimsoll watch --cgroup /docker/0a1b --accounts json=http://127.0.0.1:8080/netty --map direct=/used
  plimsoll watch --config /etc/plimsoll/watch.toml
  plimsoll watch replay incident.csv

Exit code: 0 it was ended; 1 with --check if a target leaks at the end; 2 it could not begin; 3 a mistake
in the command. SIGHUP reads --config again; without one it ends watch, as SIGTERM does."
)]
pub struct Options {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    live: LiveOptions,
}

#[derive(Subcommand, Clone, Debug)]
enum Command {
    Replay(replay::Options),
    #[cfg(feature = "trace")]
    Trace(Box<plimsoll_probe::Options>),
    Report(report::Options),
}

#[derive(Args, Clone, Debug)]
struct LiveOptions {
    #[command(flatten)]
    which: Which,
    /// Targets and all the rest from this file (TOML)
    #[arg(long, value_name = "FILE", conflicts_with = "Which")]
    config: Option<PathBuf>,
    /// What the target is called in outputs
    #[arg(long, conflicts_with = "config")]
    name: Option<String>,
    /// Where the target says what it holds, such as mosquitto or actuator=http://127.0.0.1:8080; may be given several times
    #[arg(long, value_name = "PRESET[=URL]", conflicts_with = "config")]
    accounts: Vec<String>,
    /// A figure and where it is, such as `direct=/netty/used * 1024`; of the last --accounts
    #[arg(long, value_name = "FIGURE=WHERE", requires = "accounts")]
    map: Vec<String>,
    #[command(flatten)]
    login: Login,
    #[command(flatten)]
    limits: Limits,
    /// How often to look [default: 1s]
    #[arg(long, value_name = "TIME", value_parser = configuration::pace)]
    every: Option<Duration>,
    /// What is passed over after the start of a process [default: 1h]
    #[arg(long, value_name = "TIME", value_parser = units::duration, conflicts_with = "config")]
    settle: Option<Duration>,
    /// Keep what was seen in this directory, and go on from it
    #[arg(long, value_name = "DIR")]
    history: Option<PathBuf>,
    /// How long to keep it [default: 30d]
    #[arg(long, value_name = "TIME", value_parser = units::duration)]
    keep: Option<Duration>,
    /// End after this time
    #[arg(long = "for", value_name = "TIME", value_parser = units::duration)]
    length: Option<Duration>,
    /// End with exit code 1 if a target leaks at the end
    #[arg(long)]
    check: bool,
    #[command(flatten)]
    outputs: OutputOptions,
}

impl Options {
    /// Does what the command line says.
    pub fn run(&self) -> ExitCode {
        match &self.command {
            Some(Command::Replay(options)) => options.run(),
            #[cfg(feature = "trace")]
            Some(Command::Trace(options)) => options.run(),
            Some(Command::Report(options)) => options.run(),
            None => self.live.run().unwrap_or_else(|error| {
                remark(format_args!("Error: {error}"));
                ExitCode::from(EXIT_NOT_STARTED)
            }),
        }
    }
}

impl LiveOptions {
    fn run(&self) -> Result<ExitCode, String> {
        let plan = self.plan()?;
        let outputs = all_outputs(&plan)?;
        let mut live = Live::new(plan, outputs)?;
        let reload = || self.plan();
        let reload = self.config.is_some().then_some(&reload as &dyn Fn() -> _);
        live.run(self.length, reload)?;
        Ok(live.exit_code(self.check))
    }

    /// What is to be done: by the file, and the command line over it.
    fn plan(&self) -> Result<Plan, String> {
        let mut plan = match &self.config {
            Some(path) => {
                let named = |error| format!("{}: {error}", path.display());
                Configuration::read(path)?.plan().map_err(named)?
            }
            None => self.single()?,
        };
        plan.outputs = self.outputs.over(plan.outputs);
        plan.history = self.history.clone().or(plan.history);
        if plan.history.is_none() && (self.keep.is_some() || plan.keep.is_some()) {
            return Err("how long to keep is said, and not where: give --history DIR".into());
        }
        plan.keep = self.keep.or(plan.keep);
        plan.every = self.every.unwrap_or(plan.every);
        Ok(plan)
    }

    /// The one target of the command line.
    fn single(&self) -> Result<Plan, String> {
        if !self.which.is_given() {
            return Err(
                "say what to watch, such as --process mosquitto; or by --pid, --pid-file, --cgroup or --systemd, or several in a file with --config"
                    .into(),
            );
        }
        let last = self.accounts.len().saturating_sub(1);
        let sources = self.accounts.iter().enumerate().map(|(number, preset)| {
            let map = if number == last { &self.map[..] } else { &[] };
            presets::described(preset, map, &self.login)
        });
        let sources = sources.collect::<Result<_, String>>()?;
        let selector = self.which.selector()?;
        let target =
            configuration::target(self.name.clone(), selector, sources, self.limits, self.settle)?;
        Ok(Plan {
            every: EVERY,
            targets: vec![target],
            history: None,
            keep: None,
            outputs: OutputOptions::default(),
        })
    }
}

/// All outputs, started: lines on standard output unless the view is there, and what else was said.
fn all_outputs(plan: &Plan) -> Result<Vec<Box<dyn Output>>, String> {
    let lines = &plan.outputs.lines;
    let json_to_stdout = lines.json_lines.as_deref() == Some(Path::new("-"));
    let on_terminal = plan.outputs.terminal.tui;
    if on_terminal && json_to_stdout {
        return Err("--tui and --json-lines - both need standard output".into());
    }
    let mut outputs: Vec<Box<dyn Output>> = Vec::new();
    if !on_terminal {
        outputs.push(Box::new(Journal::new(json_to_stdout, lines.log_every)));
    }
    if let Some(path) = &lines.json_lines {
        outputs
            .push(Box::new(JsonLines::open(path, lines.json_lines_max.unwrap_or(JSON_LINES_MAX))?));
    }
    // What is printed onto the view would be gone with its next picture.
    let trouble: Trouble = match on_terminal {
        true => Arc::new(|_| {}),
        false => Arc::new(|text| remark(format_args!("Warning: {text}"))),
    };
    let history = plan.history.as_deref();
    let Outputs { all, address } = plan.outputs.start(&trouble, history)?;
    if let Some(address) = address.filter(|_| !on_terminal) {
        remark(format_args!("Figures are served on http://{address}/metrics."));
    }
    outputs.extend(all);
    Ok(outputs)
}
