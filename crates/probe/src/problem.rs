//! What can stand in the way, and the exit code that says so.

use std::fmt;
use std::process::ExitCode;

/// Why there is no answer. The text names what was tried, on what, and what would help.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// There is no such process, or it has ended meanwhile. Exit code 2.
    Gone(String),
    /// The kernel cannot do it, or does not allow it to us. Exit code 4.
    NotAllowed(String),
    /// The program is none that this can be done for: another allocator, no symbols. Exit code 5.
    NotThisProgram(String),
    /// Nobody reads what we say any more, such as `head`: no mistake. Exit code 0.
    NotRead,
    /// Nothing of the above: a file that could not be read or written. Exit code 6.
    Failed(String),
}

impl Problem {
    /// The exit code that belongs to it.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::NotRead => 0,
            Self::Gone(_) => 2,
            Self::NotAllowed(_) => 4,
            Self::NotThisProgram(_) => 5,
            Self::Failed(_) => 6,
        })
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gone(text)
            | Self::NotAllowed(text)
            | Self::NotThisProgram(text)
            | Self::Failed(text) => text,
            Self::NotRead => "nobody reads the output",
        })
    }
}

impl std::error::Error for Problem {}
