//! JSON lines: each look and each event, to a file with a bound or to standard output.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::event::Event;
use crate::json;
use crate::output::Output;
use crate::reading::Reading;
use crate::remark::remark;
use crate::watched::Watched;

/// A line of JSON for each look and each event.
pub(crate) struct JsonLines {
    place: Place,
    broken: bool,
}

enum Place {
    Stdout(io::Stdout),
    /// A file; when it is as long as it may be it is renamed to `….1`, and another is begun.
    File {
        path: PathBuf,
        file: BufWriter<File>,
        length: u64,
        length_max: u64,
    },
}

impl JsonLines {
    /// Opens the file, `-` is standard output.
    pub(crate) fn open(path: &Path, length_max: u64) -> Result<Self, String> {
        let place = if path == Path::new("-") {
            Place::Stdout(io::stdout())
        } else {
            let opened = append(path).map_err(|error| format!("{}: {error}", path.display()))?;
            let (file, length) = opened;
            Place::File { path: path.into(), file, length, length_max }
        };
        Ok(Self { place, broken: false })
    }

    fn write(&mut self, line: Map<String, Value>) {
        let mut line = Value::Object(line).to_string();
        line.push('\n');
        match self.place.write(line.as_bytes()) {
            Ok(()) => self.broken &= matches!(self.place, Place::Stdout(_)),
            Err(error) => self.failed(&error),
        }
    }

    fn failed(&mut self, error: &io::Error) {
        if !self.broken
            && let Place::File { path, .. } = &self.place
        {
            remark(format_args!("Warning: {} cannot be written: {error}.", path.display()));
        }
        self.broken = true;
    }
}

fn append(path: &Path) -> io::Result<(BufWriter<File>, u64)> {
    let file = OpenOptions::new().append(true).create(true).open(path)?;
    let length = file.metadata()?.len();
    Ok((BufWriter::new(file), length))
}

impl Place {
    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        match self {
            Self::Stdout(out) => out.write_all(line),
            Self::File { path, file, length, length_max } => {
                if *length + line.len() as u64 > *length_max && *length > 0 {
                    file.flush()?;
                    let mut old = path.clone().into_os_string();
                    old.push(".1");
                    fs::rename(&*path, old)?;
                    (*file, *length) = append(path)?;
                }
                *length += line.len() as u64;
                file.write_all(line)
            }
        }
    }

    /// Goes on in a file of that name: the one before may have been moved away.
    fn reopen(&mut self) -> io::Result<()> {
        self.flush()?;
        if let Self::File { path, file, length, .. } = self {
            (*file, *length) = append(path)?;
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Stdout(out) => out.flush(),
            Self::File { file, .. } => file.flush(),
        }
    }
}

impl Output for JsonLines {
    fn reading(&mut self, watched: &Watched, reading: &Reading) {
        let mut line = json::reading(&watched.target.name, reading);
        line.insert("verdict".into(), watched.verdict.name().into());
        self.write(line);
    }

    fn event(&mut self, watched: &Watched, event: &Event) {
        self.write(json::event(&watched.target.name, event));
    }

    fn round(&mut self, _: &[Watched]) {
        if let Err(error) = self.place.flush() {
            self.failed(&error);
        }
    }

    fn reopen(&mut self) {
        if let Err(error) = self.place.reopen() {
            self.failed(&error);
        }
    }

    fn is_broken(&self) -> bool {
        // A disk that is full may have room again; a pipe that is closed stays so.
        self.broken && matches!(self.place, Place::Stdout(_))
    }

    fn end(&mut self) {
        let _ = self.place.flush();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_a_bound() {
        let path = std::env::temp_dir().join(format!("watch-lines-{}", std::process::id()));
        let old = path.with_file_name(format!("watch-lines-{}.1", std::process::id()));
        let mut lines = JsonLines::open(&path, 100).unwrap();
        for number in 0..10 {
            lines.write(Map::from_iter([("number".to_owned(), Value::from(number))]));
        }
        lines.end();
        let (new, before) = (fs::read_to_string(&path).unwrap(), fs::read_to_string(&old).unwrap());
        assert_eq!(new, "{\"number\":7}\n{\"number\":8}\n{\"number\":9}\n");
        assert!(before.len() <= 100 && before.ends_with("{\"number\":6}\n"), "{before}");
        // Another program may move it away.
        let mut lines = JsonLines::open(&path, 100).unwrap();
        fs::rename(&path, &old).unwrap();
        lines.reopen();
        lines.write(Map::from_iter([("number".to_owned(), Value::from(9))]));
        lines.end();
        assert_eq!(fs::read_to_string(&path).unwrap(), "{\"number\":9}\n");
        // It is gone on with.
        let mut lines = JsonLines::open(&path, 100).unwrap();
        lines.write(Map::new());
        lines.end();
        assert!(fs::read_to_string(&path).unwrap().ends_with("9}\n{}\n"));
        fs::remove_file(&path).unwrap();
        fs::remove_file(&old).unwrap();
    }
}
