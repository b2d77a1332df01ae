//! The command line of `plimsoll watch`.

use std::process::ExitCode;

use clap::{Args, Subcommand};

use crate::replay;

/// Leak, or just more state? Watch the memory of any broker from outside
#[derive(Args, Clone, Debug)]
#[command(args_conflicts_with_subcommands = true, arg_required_else_help = true)]
pub struct Options {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand, Clone, Debug)]
enum Command {
    Replay(replay::Options),
}

impl Options {
    /// Does what the command line says.
    pub fn run(&self) -> ExitCode {
        match &self.command {
            Some(Command::Replay(options)) => options.run(),
            None => ExitCode::SUCCESS,
        }
    }
}
