//! Why a store does not open.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// Why a store does not open. Damage is never a reason: see [`Recovery`](crate::Recovery).
#[derive(Debug)]
pub enum OpenError {
    /// Another process holds the directory.
    Locked {
        /// The directory.
        path: PathBuf,
    },
    /// A file was written by a newer release, in a format that this one does not know.
    UnknownVersion {
        /// The file's name.
        file: String,
        /// The version that it names.
        version: u16,
    },
    /// The system failed.
    Io {
        /// What was being done.
        what: String,
        /// What the system said.
        error: io::Error,
    },
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Locked { path } => {
                write!(f, "{} is in use by another process", path.display())
            }
            Self::UnknownVersion { file, version } => write!(
                f,
                "{file} has format version {version}; this release knows versions up to {}",
                crate::header::VERSION
            ),
            Self::Io { what, error } => write!(f, "{what}: {error}"),
        }
    }
}

impl std::error::Error for OpenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { error, .. } => Some(error),
            _ => None,
        }
    }
}

impl From<io::Error> for OpenError {
    fn from(error: io::Error) -> Self {
        Self::Io { what: "reading the store".to_owned(), error }
    }
}
