//! The real disk: a directory of the file system.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

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
        let failed = |what: &str, error| OpenError::Io { what: what.to_owned(), error };
        std::fs::create_dir_all(&path)
            .map_err(|error| failed(&format!("creating {}", path.display()), error))?;
        let lock_path = path.join(names::LOCK);
        let lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&lock_path)
            .map_err(|error| failed(&format!("opening {}", lock_path.display()), error))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(OpenError::Locked { path }),
            Err(TryLockError::Error(error)) => {
                return Err(failed(&format!("locking {}", lock_path.display()), error));
            }
        }
        let handle = File::open(&path)
            .map_err(|error| failed(&format!("opening {}", path.display()), error))?;
        Ok(Self { path, handle, _lock: lock })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Disk for Directory {
    type File = File;

    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.path)? {
            let entry = entry?;
            if entry.file_type()?.is_file()
                && let Ok(name) = entry.file_name().into_string()
            {
                names.push(name);
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn open(&self, name: &str) -> io::Result<File> {
        OpenOptions::new().read(true).write(true).open(self.path.join(name))
    }

    fn create(&self, name: &str) -> io::Result<File> {
        OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(self.path.join(name))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        std::fs::rename(self.path.join(from), self.path.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        std::fs::remove_file(self.path.join(name))
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
