//! What was seen, minute by minute: a file for each target, with a bound, that outlives `watch`.
//!
//! A file is a header and records of one size, each with a checksum; they are appended. What is older than is
//! kept, or damaged, is passed over; when the file is twice as long as its bound it is written anew.

mod minute;
mod record;

use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use plimsoll_judgement::outside::Sample;

use crate::reading::Reading;
use minute::Minute;
pub use record::Record;
use record::{HEADER, RECORD_BYTES};

/// Seconds that one record stands for.
pub const RECORD_S: f64 = 60.0;

/// How long histories are kept if nothing is said.
pub const KEEP: Duration = Duration::from_secs(30 * 86_400);

/// Where histories lie, and how long they are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Their directory.
    pub directory: PathBuf,
    /// How far back they go, at least.
    pub keep: Duration,
}

impl Place {
    /// Opens the history of a target, or begins it.
    pub fn open(&self, target: &str) -> Result<History, String> {
        History::open(&self.directory, target, self.keep)
    }
}

/// A target's history, open for more. Another `watch` cannot open it meanwhile.
#[derive(Debug)]
pub struct History {
    path: PathBuf,
    file: File,
    /// Records in the file.
    count: u64,
    /// Records that are kept.
    keep: u64,
    minute: Minute,
}

impl History {
    /// Opens the history of a target, or begins it.
    ///
    /// # Errors
    ///
    /// The directory cannot be made, the file is another's, of another version, or in use. The text names it.
    pub fn open(directory: &Path, target: &str, keep: Duration) -> Result<Self, String> {
        let path = path_of(directory, target);
        let named = |error: io::Error| format!("{}: {error}", path.display());
        fs::create_dir_all(directory)
            .map_err(|error| format!("{}: {error}", directory.display()))?;
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(named)?;
        file.try_lock().map_err(|_| {
            format!("{}: another `plimsoll watch` writes it; use another --history", path.display())
        })?;
        let length = file.metadata().map_err(named)?.len();
        let header = HEADER.len() as u64;
        if length < header {
            file.set_len(0).and_then(|()| file.write_all(&HEADER)).map_err(named)?;
        } else {
            check_header(&mut file).map_err(named)?;
        }
        let count = length.saturating_sub(header) / RECORD_BYTES as u64;
        // What the last `watch` has not written to its end.
        let end = header + count * RECORD_BYTES as u64;
        file.set_len(end).and_then(|()| file.seek(SeekFrom::Start(end))).map_err(named)?;
        let keep = (keep.as_secs_f64() / RECORD_S).ceil().max(1.0) as i64;
        Ok(Self { path, file, count, keep: keep.unsigned_abs(), minute: Minute::default() })
    }

    /// Takes a look at the target; each minute one record is written of them.
    pub fn push(&mut self, reading: &Reading) -> io::Result<()> {
        match self.minute.push(reading) {
            Some(record) => self.append(&record),
            None => Ok(()),
        }
    }

    /// Writes the minute that has begun: `watch` ends.
    pub fn finish(&mut self) -> io::Result<()> {
        match self.minute.take() {
            Some(record) => self.append(&record),
            None => Ok(()),
        }
    }

    /// How far back it goes, at least.
    pub fn keep(&self) -> Duration {
        Duration::from_secs_f64(self.keep as f64 * RECORD_S)
    }

    /// Samples from `t` on, oldest first, with the minute that has begun left out.
    pub fn since(&self, t: f64) -> io::Result<impl Iterator<Item = Sample> + use<>> {
        Ok(records(&self.path, t)?.map(|record| record.sample))
    }

    /// The newest record.
    pub fn last(&self) -> io::Result<Option<Record>> {
        let mut file = File::open(&self.path)?;
        let mut bytes = [0; RECORD_BYTES];
        for number in (0..self.count).rev() {
            let at = HEADER.len() as u64 + number * RECORD_BYTES as u64;
            file.seek(SeekFrom::Start(at))?;
            file.read_exact(&mut bytes)?;
            // One that is damaged is passed over.
            if let Some(record) = Record::parse(&bytes) {
                return Ok(Some(record));
            }
        }
        Ok(None)
    }

    fn append(&mut self, record: &Record) -> io::Result<()> {
        if self.count >= 2 * self.keep {
            self.shorten()?;
        }
        let written = self.file.write_all(&record.bytes());
        if written.is_err() {
            // Half a record would shift all that follow.
            let end = HEADER.len() as u64 + self.count * RECORD_BYTES as u64;
            self.file.set_len(end)?;
            self.file.seek(SeekFrom::Start(end))?;
        }
        written?;
        self.count += 1;
        Ok(())
    }

    /// Keeps the newest records, in a file that takes the old one's place when it is whole.
    fn shorten(&mut self) -> io::Result<()> {
        let path = self.path.with_extension("history.new");
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&path)?;
        file.try_lock().map_err(io::Error::from)?;
        file.write_all(&HEADER)?;
        let surplus = self.count.saturating_sub(self.keep);
        self.file.seek(SeekFrom::Start(HEADER.len() as u64 + surplus * RECORD_BYTES as u64))?;
        io::copy(&mut self.file, &mut file)?;
        file.sync_data()?;
        fs::rename(&path, &self.path)?;
        self.file = file;
        self.count -= surplus;
        Ok(())
    }
}

/// The targets that a directory has histories of, by name.
pub fn targets(directory: &Path) -> io::Result<Vec<String>> {
    let entries = fs::read_dir(directory)?.flatten();
    let names = entries
        .filter_map(|entry| unescaped(entry.file_name().to_str()?.strip_suffix(".history")?));
    let mut names: Vec<String> = names.collect();
    names.sort();
    Ok(names)
}

/// The records of a target from `t` on, also while `watch` writes it.
///
/// # Errors
///
/// There is no such history, or it is of another version.
pub fn read(
    directory: &Path,
    target: &str,
    t: f64,
) -> io::Result<impl Iterator<Item = Record> + use<>> {
    records(&path_of(directory, target), t)
}

fn records(path: &Path, t: f64) -> io::Result<impl Iterator<Item = Record> + use<>> {
    let mut file = File::open(path)?;
    check_header(&mut file)?;
    let mut input = BufReader::with_capacity(64 * RECORD_BYTES, file);
    let mut bytes = [0; RECORD_BYTES];
    let next = std::iter::from_fn(move || {
        input.read_exact(&mut bytes).ok()?;
        Some(Record::parse(&bytes))
    });
    // One that is damaged is passed over; the next begins where it should.
    Ok(next.flatten().filter(move |record| record.sample.t >= t))
}

fn check_header(file: &mut File) -> io::Result<()> {
    let mut header = [0; HEADER.len()];
    file.read_exact(&mut header)?;
    if header == HEADER {
        return Ok(());
    }
    Err(io::Error::other(
        "is not a history of this version of `plimsoll watch`; move it away, or use another --history",
    ))
}

fn path_of(directory: &Path, target: &str) -> PathBuf {
    directory.join(format!("{}.history", escaped(target)))
}

/// A name that any file system takes, from which the target's can be read again.
fn escaped(name: &str) -> String {
    let mut escaped = String::new();
    for byte in name.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' => escaped.push(byte.into()),
            other => drop(write!(escaped, "%{other:02X}")),
        }
    }
    escaped
}

fn unescaped(name: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = name.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digits = [rest.next()?, rest.next()?];
                u8::from_str_radix(str::from_utf8(&digits).ok()?, 16).ok()?
            }
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::accounts::{Accounts, Name};
    use crate::figure::Figure;
    use crate::procfs::{Identity, ProcessReading};

    fn directory(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("watch-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        path
    }

    /// A look each second at a process that grows by a byte a second.
    fn look(t: f64) -> Reading {
        let identity = Identity { pid: 7, start_ticks: 99 };
        let process =
            ProcessReading { identity, start: 5.0, cpu_s: t / 100.0, ..Default::default() };
        let mut accounts = Accounts::default();
        accounts.add(&Name::Figure(Figure::PublishedTotal), t * 10.0);
        let sample = Sample {
            t,
            start: 5.0,
            rss: 1e6 + t,
            retained: (t < 180.0).then_some(4.0),
            published_total: Some(t * 10.0),
            ..Sample::default()
        };
        Reading {
            time: SystemTime::now(),
            t,
            process: Some(process),
            cgroup: None,
            oom_killed: 0,
            pressure: None,
            accounts,
            sample: Some(sample),
            absent: None,
        }
    }

    fn written(directory: &Path, keep: u64, minutes: u32) -> History {
        let mut history = History::open(directory, "edge 1/a", Duration::from_secs(keep)).unwrap();
        for second in 0..minutes * 60 {
            history.push(&look(f64::from(second))).unwrap();
        }
        history
    }

    #[test]
    fn minutes_outlive_watch() {
        let directory = directory("history");
        let mut history = written(&directory, 86_400, 5);
        history.finish().unwrap();
        let again = History::open(&directory, "edge 1/a", Duration::from_secs(60));
        assert!(again.unwrap_err().contains("another `plimsoll watch`"));
        drop(history);
        assert_eq!(targets(&directory).unwrap(), ["edge 1/a"]);
        let history = History::open(&directory, "edge 1/a", Duration::from_secs(86_400)).unwrap();
        let samples: Vec<Sample> = history.since(0.0).unwrap().collect();
        assert_eq!(samples.len(), 5);
        // A minute is said at its last look: sizes are means, counters are the last.
        let minute = (samples[1].t, samples[1].start, samples[1].rss.round());
        assert_eq!(minute, (119.0, 5.0, 1_000_090.0));
        assert_eq!((samples[1].published_total, samples[1].retained), (Some(1190.0), Some(4.0)));
        assert_eq!((samples[4].retained, samples[4].heap_used), (None, None));
        assert_eq!(history.since(180.0).unwrap().count(), 2);
        let last = history.last().unwrap().unwrap();
        assert_eq!(last.identity, Identity { pid: 7, start_ticks: 99 });
        fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn damage_costs_what_is_damaged() {
        let directory = directory("damage");
        written(&directory, 86_400, 4).finish().unwrap();
        let path = path_of(&directory, "edge 1/a");
        let mut bytes = fs::read(&path).unwrap();
        bytes[HEADER.len() + RECORD_BYTES + 20] ^= 1;
        bytes.truncate(bytes.len() - 7);
        fs::write(&path, &bytes).unwrap();
        let mut history =
            History::open(&directory, "edge 1/a", Duration::from_secs(86_400)).unwrap();
        let times = |history: &History| {
            history.since(0.0).unwrap().map(|sample| sample.t).collect::<Vec<f64>>()
        };
        assert_eq!(times(&history), [59.0, 179.0]);
        history.push(&look(300.0)).unwrap();
        history.finish().unwrap();
        assert_eq!(times(&history), [59.0, 179.0, 300.0]);
        drop(history);
        fs::write(&path, b"t,rss_kb\n1,2\n0000000000000000000").unwrap();
        let other = History::open(&directory, "edge 1/a", Duration::from_secs(60)).unwrap_err();
        assert!(other.contains("is not a history"), "{other}");
        fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn what_is_too_old_goes() {
        let directory = directory("bound");
        // Ten minutes are kept, so twenty may lie there.
        let mut history = written(&directory, 600, 35);
        history.finish().unwrap();
        let path = path_of(&directory, "edge 1/a");
        let length = fs::metadata(&path).unwrap().len() as usize;
        assert!((length - HEADER.len()) / RECORD_BYTES <= 20, "{length}");
        let samples: Vec<Sample> = history.since(0.0).unwrap().collect();
        assert!(samples.len() >= 10, "{}", samples.len());
        assert_eq!(samples.last().map(|sample| sample.t), Some(2099.0));
        fs::remove_dir_all(&directory).unwrap();
    }
}
