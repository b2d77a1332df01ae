//! What the store asks of a disk: one flat directory of files.

use std::io;

/// One flat directory of files, real or simulated.
///
/// A change of names (create, rename, remove) is durable after [`Disk::sync_dir`], a change of
/// content or length after [`DiskFile::sync`].
pub trait Disk: Send + Sync + 'static {
    /// An open file of this disk. It stays readable when its name is removed.
    type File: DiskFile;

    /// The names of all files.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Opens a file that exists, for reading and writing.
    fn open(&self, name: &str) -> io::Result<Self::File>;

    /// Makes a new empty file, in place of one of that name.
    fn create(&self, name: &str) -> io::Result<Self::File>;

    /// Gives a file another name, in place of a file that has it.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a name.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes all changes of names so far durable.
    fn sync_dir(&self) -> io::Result<()>;
}

/// An open file of a [`Disk`].
pub trait DiskFile: Send + Sync {
    /// Its length in bytes.
    fn len(&self) -> io::Result<u64>;

    /// Whether it has no bytes.
    fn is_empty(&self) -> io::Result<bool> {
        self.len().map(|bytes| bytes == 0)
    }

    /// Reads bytes from offset `at`; fewer than asked only at the end of the file.
    fn read_at(&self, at: u64, into: &mut [u8]) -> io::Result<usize>;

    /// Writes all of `bytes` at offset `at`.
    fn write_at(&self, at: u64, bytes: &[u8]) -> io::Result<()>;

    /// Makes content and length durable (`fdatasync`).
    fn sync(&self) -> io::Result<()>;

    /// Cuts the file, or lengthens it with zeros.
    fn set_len(&self, len: u64) -> io::Result<()>;
}

/// Reads `bytes` bytes from `at` on into `into`, fewer if the file ends before.
pub(crate) fn read_into<F: DiskFile>(
    file: &F,
    at: u64,
    bytes: usize,
    into: &mut Vec<u8>,
) -> io::Result<()> {
    into.clear();
    into.resize(bytes, 0);
    let read = file.read_at(at, into)?;
    into.truncate(read);
    Ok(())
}

/// The whole content of a file.
pub(crate) fn read_all<F: DiskFile>(file: &F) -> io::Result<Vec<u8>> {
    let bytes = usize::try_from(file.len()?).map_err(io::Error::other)?;
    let mut content = Vec::new();
    read_into(file, 0, bytes, &mut content)?;
    Ok(content)
}
