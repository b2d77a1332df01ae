//! The real disk: a directory of the file system.

use std::fs::{File, TryLockError};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags};

use crate::disk::{Disk, DiskFile};
use crate::errors::OpenError;
use crate::names;

/// A directory of the file system, locked against other processes for as long as it lives.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    /// Open for `sync_dir`.
    handle: File,
    /// Holds the lock; the system gives it back when the process ends, however it ends.
    _lock: File,
}

impl Directory {
    /// Opens the directory, creating it if there is none.
    ///
    /// # Errors
    /// [`OpenError::Locked`] if another process holds it, [`OpenError::Io`] for the rest.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, OpenError> {
        let path = path.into();
        std::fs::create_dir_all(&path).map_err(|error| failed("creating", &path, error))?;
        let handle = File::open(&path).map_err(|error| failed("opening", &path, error))?;
        Self::at(handle, path)
    }

    /// The directory that `handle` has open, whether its path can be walked any more or not: for a
    /// process that opens it before it gives up its privileges.
    ///
    /// # Errors
    /// As [`Directory::open`].
    pub fn at(handle: File, path: impl Into<PathBuf>) -> Result<Self, OpenError> {
        let path = path.into();
        let lock = open_at(&handle, names::LOCK, OFlags::CREATE)
            .map_err(|error| failed("opening the lock file in", &path, error))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path, handle, _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(OpenError::Locked { path }),
            Err(TryLockError::Error(error)) => Err(failed("locking", &path, error)),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

fn failed(what: &str, path: &Path, error: io::Error) -> OpenError {
    OpenError::Io { what: format!("{what} {}", path.display()), error }
}

fn open_at(directory: &File, name: &str, how: OFlags) -> io::Result<File> {
    let mode = Mode::RUSR | Mode::WUSR | Mode::RGRP;
    let file = rustix::fs::openat(directory, name, how | OFlags::RDWR | OFlags::CLOEXEC, mode)?;
    Ok(File::from(file))
}

impl Disk for Directory {
    type File = File;

    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::read_from(&self.handle)? {
            let entry = entry?;
            let is_file = matches!(entry.file_type(), FileType::RegularFile | FileType::Unknown);
            if let (true, Ok(name)) = (is_file, entry.file_name().to_str()) {
                names.push(name.to_owned());
            }
        }
        names.retain(|name| name != "." && name != "..");
        names.sort_unstable();
        Ok(names)
    }

    fn open(&self, name: &str) -> io::Result<File> {
        open_at(&self.handle, name, OFlags::empty())
    }

    fn create(&self, name: &str) -> io::Result<File> {
        open_at(&self.handle, name, OFlags::CREATE | OFlags::TRUNC)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        Ok(rustix::fs::renameat(&self.handle, from, &self.handle, to)?)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(&self.handle, name, AtFlags::empty())?)
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.handle.sync_all()
    }
}

impl DiskFile for File {
    fn len(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_at(&self, at: u64, into: &mut [u8]) -> io::Result<usize> {
        let mut done = 0;
        while done < into.len() {
            match FileExt::read_at(self, &mut into[done..], at + done as u64) {
                Ok(0) => break,
                Ok(read) => done += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    fn write_at(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.write_all_at(bytes, at)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        File::set_len(self, len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_opened_once() {
        let path = std::env::temp_dir().join(format!("plimsoll-store-lock-{}", std::process::id()));
        let first = Directory::open(&path).unwrap();
        let second = Directory::open(&path);
        assert!(matches!(second, Err(OpenError::Locked { .. })), "{second:?}");
        let file = first.create("a").unwrap();
        DiskFile::write_at(&file, 10, b"x").unwrap();
        assert_eq!(DiskFile::len(&file).unwrap(), 11);
        let mut read = [1; 20];
        assert_eq!(DiskFile::read_at(&file, 4, &mut read).unwrap(), 7);
        assert_eq!(&read[..7], b"\0\0\0\0\0\0x");
        first.rename("a", "b").unwrap();
        assert_eq!(first.list().unwrap(), ["b", "lock"]);
        drop(first);
        Directory::open(&path).unwrap();
        std::fs::remove_dir_all(&path).unwrap();
    }
}
