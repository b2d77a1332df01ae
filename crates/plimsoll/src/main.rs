//! The program `plimsoll`.

use std::process::ExitCode;

fn main() -> ExitCode {
    plimsoll::run(&std::env::args_os().collect::<Vec<_>>())
}
