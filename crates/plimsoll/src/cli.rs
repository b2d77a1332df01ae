//! The command line: Mosquitto's flags, and subcommands beside them.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, Subcommand};

use crate::broker::{self, Failure};
use crate::config::{self, Arguments};
use crate::state::commands;
use crate::{ctl, memory, process};
use plimsoll_soak::{fleet, soak};

/// Exit code of a mistake in flags or configuration (as Mosquitto's).
pub(crate) const EXIT_CONFIGURATION: u8 = 3;

/// An MQTT broker for device fleets that knows who holds its memory.
#[derive(Parser, Debug)]
#[command(
    name = "plimsoll",
    version,
    disable_version_flag = true,
    args_conflicts_with_subcommands = true
)]
#[command(after_help = "Examples:
  plimsoll                                   broker on 127.0.0.1:1883, nothing to configure
  plimsoll -c /etc/mosquitto/mosquitto.conf  drop-in for Mosquitto
  plimsoll check-config -c mosquitto.conf    what would that do?
  plimsoll import mosquitto.db --into ./plimsoll-data   what Mosquitto has kept
  plimsoll fleet --sensors 1000 --speed 10x  a plant's sensors against the broker on this machine
  plimsoll soak --broker-cmd 'mosquitto -c m.conf'  days of events in minutes, with a verdict
  plimsoll watch replay incident.csv         leak, or just more state? Of any broker")]
struct CommandLine {
    #[command(flatten)]
    flags: Flags,
    #[command(subcommand)]
    command: Option<Command>,
    /// The program is called `mosquitto`.
    #[arg(skip)]
    as_mosquitto: bool,
}

// The flags alone, for a program that is called `mosquitto`.
/// Plimsoll, called as mosquitto: an MQTT broker that knows who holds its memory.
#[derive(Parser, Debug)]
#[command(name = "mosquitto", version, disable_version_flag = true)]
#[command(after_help = "Examples:
  mosquitto                                   broker on 127.0.0.1:1883, nothing to configure
  mosquitto -c /etc/mosquitto/mosquitto.conf  as that file says")]
struct MosquittoCommandLine {
    #[command(flatten)]
    flags: Flags,
}

#[derive(Args, Clone, Debug)]
struct Flags {
    /// Configuration file
    #[arg(short = 'c', long = "config-file", value_name = "FILE")]
    config_file: Option<PathBuf>,
    /// Run in the background
    #[arg(short = 'd', long)]
    daemon: bool,
    /// Listen on this port of this machine only; may be given several times; has no effect if the
    /// configuration file defines a listener
    #[arg(short, long, value_name = "PORT")]
    port: Vec<u16>,
    /// Log everything, whatever the configuration says
    #[arg(short, long)]
    verbose: bool,
    /// Log nothing
    #[arg(short, long)]
    quiet: bool,
    /// Check the configuration and exit
    #[arg(long)]
    test_config: bool,
    /// Write the secrets of TLS connections to this file, to look into recordings
    #[arg(long, value_name = "FILE")]
    tls_keylog: Option<PathBuf>,
    /// Print the version
    #[arg(long)]
    version: bool,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Check a configuration file: exit 0 if it is fine, 3 if not
    #[command(after_help = "Example:
  plimsoll check-config -c /etc/mosquitto/mosquitto.conf")]
    CheckConfig {
        /// Configuration file
        #[arg(short = 'c', long = "config-file", value_name = "FILE")]
        config_file: PathBuf,
    },
    Fleet(Box<fleet::Options>),
    Soak(Box<soak::Options>),
    Watch(Box<plimsoll_watch::Options>),
    Ctl(Box<ctl::Options>),
    /// Take in what Mosquitto has kept: its persistence file
    Import(commands::Import),
    /// Write what a broker has kept as JSON lines
    Export(commands::ExportTo),
    /// Verify what a broker has kept
    Check(commands::Check),
    Passwd(crate::access::passwd::Options),
    /// Print a completion script for a shell
    #[command(after_help = "Example:
  plimsoll completion bash > /etc/bash_completion.d/plimsoll")]
    Completion {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the reference of all configuration directives (Markdown)
    ConfigReference,
    /// Names of addresses within this program, for a broker that asks who holds its memory
    #[command(name = memory::symbols::SUBCOMMAND, hide = true)]
    NameAddresses,
}

/// Does what the command line says.
pub fn run(arguments: &[OsString]) -> ExitCode {
    let program = arguments.first().map(Path::new).and_then(Path::file_name);
    let parsed = if program.is_some_and(|name| name == "mosquitto") {
        MosquittoCommandLine::try_parse_from(arguments).map(|line| CommandLine {
            flags: line.flags,
            command: None,
            as_mosquitto: true,
        })
    } else {
        CommandLine::try_parse_from(arguments)
    };
    match parsed {
        Ok(line) => line.run(),
        Err(error) => {
            // Help goes to standard output and is no mistake.
            let help = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
            let _ = error.print();
            if help { ExitCode::SUCCESS } else { ExitCode::from(EXIT_CONFIGURATION) }
        }
    }
}

impl CommandLine {
    fn run(self) -> ExitCode {
        match self.command {
            None => self.flags.run(self.as_mosquitto),
            Some(Command::CheckConfig { config_file }) => {
                check(&Arguments { file: Some(config_file), ..Arguments::default() })
            }
            Some(Command::Fleet(options)) => fleet::run(&options),
            Some(Command::Soak(options)) => soak::run(&options),
            Some(Command::Watch(options)) => options.run(),
            Some(Command::Ctl(options)) => ctl::run(&options),
            Some(Command::Import(options)) => options.run(),
            Some(Command::Export(options)) => options.run(),
            Some(Command::Check(options)) => options.run(),
            Some(Command::Passwd(options)) => options.run(),
            Some(Command::Completion { shell }) => {
                clap_complete::generate(
                    shell,
                    &mut Self::command(),
                    "plimsoll",
                    &mut std::io::stdout(),
                );
                ExitCode::SUCCESS
            }
            Some(Command::NameAddresses) => match memory::symbols::serve() {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => fail(&error),
            },
            Some(Command::ConfigReference) => {
                print!("{}", config::reference());
                ExitCode::SUCCESS
            }
        }
    }
}

impl Flags {
    fn run(self, as_mosquitto: bool) -> ExitCode {
        if self.version {
            println!("plimsoll version {}", env!("CARGO_PKG_VERSION"));
            return ExitCode::SUCCESS;
        }
        let arguments = Arguments {
            file: self.config_file,
            ports: self.port,
            verbose: self.verbose,
            quiet: self.quiet,
            daemon: self.daemon,
            tls_keylog: self.tls_keylog,
            as_mosquitto,
        };
        if self.test_config {
            return check(&arguments);
        }
        match config::load(&arguments) {
            Ok(config) if config.process.daemon && !process::in_background() => {
                process::launch().map_or_else(|error| fail(&error), ExitCode::from)
            }
            Ok(config) => match broker::run(&config, move || config::load(&arguments)) {
                Ok(()) => ExitCode::SUCCESS,
                Err(Failure::Configuration(errors)) => refuse(&errors),
                Err(Failure::Start(error)) => fail(&error),
            },
            Err(errors) => refuse(&errors),
        }
    }
}

fn fail(error: &str) -> ExitCode {
    eprintln!("Error: {error}");
    ExitCode::FAILURE
}

fn refuse(errors: &str) -> ExitCode {
    for line in errors.lines() {
        eprintln!("Error: {line}");
    }
    ExitCode::from(EXIT_CONFIGURATION)
}

/// Reads the configuration, and says what the broker would do.
fn check(arguments: &Arguments) -> ExitCode {
    let config = match config::load(arguments).and_then(broker::check) {
        Ok(config) => config,
        Err(errors) => return refuse(&errors),
    };
    for warning in &config.warnings {
        eprintln!("Warning: {warning}");
    }
    for listener in &config.listeners {
        let hosts: Vec<&str> =
            listener.hosts.iter().map(|host| host.as_deref().unwrap_or("every address")).collect();
        let place = match &listener.path {
            Some(path) => path.display().to_string(),
            None => format!("port {} of {}", listener.port, hosts.join(" and ")),
        };
        let kind = match (listener.tls.is_off(), listener.web.is_some()) {
            (true, _) if listener.http => "HTTP API",
            (false, _) if listener.http => "HTTP API over TLS",
            (true, false) => "plain",
            (true, true) => "WebSocket",
            (false, false) => "TLS",
            (false, true) => "WebSocket over TLS",
        };
        println!(
            "listener on {place}: {kind}, anonymous clients {}, {}",
            if listener.allow_anonymous { "let in" } else { "refused" },
            listener.max_connections.map_or_else(
                || "no limit of connections".into(),
                |most| format!("at most {most} connections")
            ),
        );
    }
    println!(
        "{} messages in flight and {} queued per client, packets of {} bytes (0 is no limit)",
        config.max_inflight_messages, config.max_queued_messages, config.max_packet_size
    );
    println!("The configuration is fine.");
    ExitCode::SUCCESS
}
