//! A recorded series: CSV with a header, one sample a line, perhaps compressed with gzip.

mod columns;
mod fields;

use std::fmt::{self, Display};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use plimsoll_judgement::outside::Sample;

use crate::describe::Span;
use columns::Columns;

/// How far times may go back, seconds: a clock was corrected, or summer time is over. Such lines are for whoever
/// takes the samples to pass over.
const BACK_MAX_S: f64 = 7200.0;

/// Longest line that is read.
const LINE_BYTES_MAX: u64 = 64 * 1024;

/// Samples of a file, as they are read.
///
/// The header names the columns; which ones are known stands in `docs/watch.md`. Time and RSS are needed. A column that
/// is not there, and an empty field, is a source that does not exist. Without `start` the process is taken to have
/// begun with the first line.
pub struct Series {
    name: PathBuf,
    lines: Lines,
    columns: Columns,
    start: Option<f64>,
    /// The latest time until now.
    latest: f64,
    over: bool,
}

/// Why a series cannot be read: where, and what is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeriesError {
    /// The file.
    pub file: PathBuf,
    /// The line, counted from 1; 0 if it is the file as a whole.
    pub line: u64,
    /// The name of the column, if it is one field.
    pub column: Option<String>,
    /// What is wrong with it, and how to mend it.
    pub what: String,
}

impl Display for SeriesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if self.line > 0 {
            write!(f, ", line {}", self.line)?;
        }
        if let Some(column) = &self.column {
            write!(f, ", column {column}")?;
        }
        write!(f, ": {}", self.what)
    }
}

impl std::error::Error for SeriesError {}

impl fmt::Debug for Series {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Series").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Series {
    /// Opens a file; `-` is standard input.
    pub fn open(path: &Path) -> Result<Self, SeriesError> {
        let failed = |error: io::Error| SeriesError {
            file: path.into(),
            line: 0,
            column: None,
            what: error.to_string(),
        };
        if path == Path::new("-") {
            return Self::read("standard input".into(), io::stdin());
        }
        let file = File::open(path).map_err(failed)?;
        if file.metadata().map_err(failed)?.is_dir() {
            return Err(failed(io::Error::other("is a directory, not a file of CSV")));
        }
        Self::read(path.into(), file)
    }

    /// Reads what a file of this name has in it.
    pub fn read(name: PathBuf, input: impl Read + 'static) -> Result<Self, SeriesError> {
        let error = |line, column, what| SeriesError { file: name.clone(), line, column, what };
        let opened = plain(input).map_err(|failed| error(0, None, failed.to_string()))?;
        let mut lines = Lines { input: opened, number: 0, line: Vec::new() };
        let header = match lines.header() {
            Ok(Some(header)) => header.to_owned(),
            Ok(None) => return Err(error(0, None, "is empty".into())),
            Err(failed) => return Err(error(lines.number, None, failed)),
        };
        let columns = Columns::of(&header).map_err(|what| error(lines.number, None, what))?;
        Ok(Self { name, lines, columns, start: None, latest: f64::NEG_INFINITY, over: false })
    }

    /// The names of columns that are none of ours.
    pub fn unused(&self) -> Vec<&str> {
        self.columns.unused()
    }

    /// The line that was read last, counted from 1.
    pub fn line(&self) -> u64 {
        self.lines.number
    }

    fn error(&self, column: Option<String>, what: String) -> SeriesError {
        SeriesError { file: self.name.clone(), line: self.lines.number, column, what }
    }

    fn sample(&mut self) -> Result<Option<Sample>, SeriesError> {
        loop {
            let line = match self.lines.next() {
                Ok(Some(line)) => line,
                Ok(None) => return Ok(None),
                Err(what) => return Err(self.error(None, what)),
            };
            if is_passed_over(line) {
                continue;
            }
            match self.columns.sample(line) {
                Ok(Some((sample, _))) if sample.t < self.latest - BACK_MAX_S => {
                    let back = Span(self.latest - sample.t);
                    return Err(self.error(None, format!("its time is {back} before that of a line above it: sort the lines by time")));
                }
                Ok(Some((mut sample, start))) => {
                    self.latest = self.latest.max(sample.t);
                    self.start = start.or(self.start).or(Some(sample.t));
                    sample.start = self.start.unwrap_or(sample.t);
                    return Ok(Some(sample));
                }
                // Without a time or a size there is nothing to judge: the exporter was down.
                Ok(None) => {}
                Err((column, what)) => return Err(self.error(column, what)),
            }
        }
    }
}

impl Iterator for Series {
    type Item = Result<Sample, SeriesError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.over {
            return None;
        }
        let next = self.sample().transpose();
        // Behind an error there is nothing to be trusted.
        self.over = !matches!(next, Some(Ok(_)));
        next
    }
}

/// Whether a line is none of the series: empty, a comment, or what tells a spreadsheet what separates fields.
fn is_passed_over(line: &str) -> bool {
    line.is_empty() || line.starts_with('#') || line.starts_with("sep=")
}

/// The input, decompressed if it begins as gzip does (RFC 1952).
fn plain(input: impl Read + 'static) -> io::Result<Box<dyn BufRead>> {
    let mut input = BufReader::new(input);
    if input.fill_buf()?.starts_with(&[0x1f, 0x8b]) {
        return Ok(Box::new(BufReader::new(MultiGzDecoder::new(input))));
    }
    Ok(Box::new(input))
}

/// Lines with a bound on their length.
struct Lines {
    input: Box<dyn BufRead>,
    number: u64,
    line: Vec<u8>,
}

impl Lines {
    /// The first line that is one.
    fn header(&mut self) -> Result<Option<&str>, String> {
        loop {
            match self.next()? {
                Some(line) if is_passed_over(line) => {}
                Some(_) => break,
                None => return Ok(None),
            }
        }
        Ok(Some(self.text()?))
    }

    fn next(&mut self) -> Result<Option<&str>, String> {
        self.line.clear();
        self.number += 1;
        let mut bounded = (&mut self.input).take(LINE_BYTES_MAX);
        let count = bounded.read_until(b'\n', &mut self.line).map_err(|error| error.to_string())?;
        if count == 0 {
            return Ok(None);
        }
        if count as u64 == LINE_BYTES_MAX {
            return Err(format!("is longer than {LINE_BYTES_MAX} bytes: this is no CSV"));
        }
        self.text().map(Some)
    }

    /// The line that was read last.
    fn text(&self) -> Result<&str, String> {
        let text =
            str::from_utf8(&self.line).map_err(|_| "is not UTF-8: save it as CSV in UTF-8")?;
        // Spreadsheets put a byte order mark in front.
        let text = text.trim_start_matches('\u{feff}').trim_end_matches(['\n', '\r']);
        if text.contains('\r') {
            return Err("has a carriage return within: lines end in LF, or CR LF (`tr '\\r' '\\n'` mends those of old Macs)".into());
        }
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn read(text: &str) -> Result<Vec<Sample>, SeriesError> {
        Series::read("it.csv".into(), io::Cursor::new(text.as_bytes().to_vec()))?.collect()
    }

    fn refused(text: &str) -> String {
        read(text).unwrap_err().to_string()
    }

    #[test]
    fn columns_are_found_by_name_and_empty_ones_do_not_exist() {
        let text = "t,start,rss_kb,anon_kb,file_kb,acc_b,heap_kb,heapc_kb,direct_kb,retained,conns,sess,subs,queued,pub_total,conn_total\n\
                    0,0,28360,18424,9936,13398508,,,,5453,3735,3815,7630,8,7451,34\r\n\
                    60,,28420,18484,,13430522,1,2,3,5453,3752,3832,7664,16,15107,74";
        let samples = read(text).unwrap();
        assert_eq!(samples.len(), 2);
        let first = Sample {
            t: 0.0,
            start: 0.0,
            rss: 28360.0 * 1024.0,
            anon: Some(18424.0 * 1024.0),
            file: Some(9936.0 * 1024.0),
            account: Some(13_398_508.0),
            retained: Some(5453.0),
            connections: Some(3735.0),
            sessions: Some(3815.0),
            subscriptions: Some(7630.0),
            queued: Some(8.0),
            published_total: Some(7451.0),
            connected_total: Some(34.0),
            ..Sample::default()
        };
        assert_eq!(samples[0], first);
        assert_eq!((samples[1].file, samples[1].start.to_bits()), (None, 0));
        assert_eq!(samples[1].heap_committed, Some(2048.0));
        assert_eq!(samples[1].direct, Some(3072.0));
    }

    #[test]
    fn time_and_rss_are_enough_in_the_forms_that_exporters_write() {
        let grafana = "\u{feff}\"Time\",\"process_resident_memory_bytes\"\n\
                       \"2026-11-26 10:00:00\",\"1048576\"\n\"2026-11-26T10:01:00Z\",NaN\n\
                       1795687320000,2097152\n";
        let samples = read(grafana).unwrap();
        assert_eq!(samples.len(), 2, "a line without a size is none");
        assert_eq!((samples[0].t, samples[0].rss), (1_795_687_200.0, 1_048_576.0));
        assert_eq!((samples[1].t, samples[1].start), (1_795_687_320.0, 1_795_687_200.0));
        let german = read("# exported\nsep=;\nt;rss_b\n5;7\n").unwrap();
        assert_eq!((german[0].t, german[0].rss), (5.0, 7.0));
        let sheet = "\"t\",\"rss_bytes\",\"acc_b\",\"conns\"\n\
                     \"1,200\",\"46,145,536\",\"812,500\",\"2,000\"\n\
                     1260,\"46,145,540\",812501,999\n";
        let sheet = read(sheet).unwrap();
        assert_eq!((sheet[0].t, sheet[0].rss, sheet[1].t), (1200.0, 46_145_536.0, 1260.0));
        assert_eq!((sheet[0].account, sheet[0].connections), (Some(812_500.0), Some(2000.0)));
        let other = read("rss_mb,note,time\n2,\"a, b\",5\n").unwrap();
        assert_eq!((other[0].rss, other[0].t), (2_097_152.0, 5.0));
    }

    #[test]
    fn gzip_is_seen_by_its_first_bytes() {
        let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
        packed.write_all(b"t,rss_kb\n1,2\n").unwrap();
        let packed = packed.finish().unwrap();
        let series = Series::read("it.csv".into(), io::Cursor::new(packed.clone())).unwrap();
        let samples: Vec<Sample> = series.collect::<Result<_, _>>().unwrap();
        assert_eq!((samples.len(), samples[0].rss), (1, 2048.0));
        let cut = packed[..packed.len() - 6].to_vec();
        let result = Series::read("it.csv".into(), io::Cursor::new(cut));
        assert!(result.and_then(Iterator::collect::<Result<Vec<_>, _>>).is_err());
    }

    #[test]
    fn errors_say_where_and_what() {
        assert_eq!(refused(""), "it.csv: is empty");
        assert_eq!(
            refused("time,memory\n1,2\n"),
            "it.csv, line 1: there is no column for resident memory: call it rss_kb or rss_bytes (there are time, memory)"
        );
        assert_eq!(
            refused("t,rss_kb\n1,2\n\n2,zwei\n"),
            "it.csv, line 4, column rss_kb: `zwei` is not a number"
        );
        assert_eq!(
            refused("t,rss_kb\r1,2\r"),
            "it.csv, line 1: has a carriage return within: lines end in LF, or CR LF (`tr '\\r' '\\n'` mends those of old Macs)"
        );
        assert_eq!(
            refused("t,rss_kb\n1,2,3\n"),
            "it.csv, line 2: has more fields than the header has columns (2); a number with commas has to stand in quotes"
        );
        assert_eq!(
            refused("t,rss_kb\nyesterday,2\n"),
            "it.csv, line 2, column t: `yesterday` is neither seconds nor a time such as 2026-11-26T10:00:00Z"
        );
        assert_eq!(
            refused("t,rss_mb\n0,46\n1,\"46,145\"\n"),
            "it.csv, line 3, column rss_mb: `46,145` may be 46145 or 46.145: write it without the comma, or with a point"
        );
        assert_eq!(
            refused("t;rss_b\n0;46,145,536\n1;461,45\n"),
            "it.csv, line 3, column rss_b: `461,45` is not a number: write decimals with a point, and thousands in groups of three or without a mark"
        );
        assert_eq!(
            refused("t;rss_kb\n0;46.145\n"),
            "it.csv, line 2, column rss_kb: `46.145` may be 46145 or 46.1450: write it as one of these"
        );
        assert_eq!(refused("t,rss_kb\n1,\"2\n"), "it.csv, line 2: a quote is not closed");
        assert_eq!(
            refused("t,rss_kb,rss_bytes\n1,2,3\n"),
            "it.csv, line 1: both rss_kb and rss_bytes are resident memory: leave one out"
        );
        assert_eq!(
            refused("t,rss_kb\n90000,2\n0,2\n"),
            "it.csv, line 3: its time is 25 h before that of a line above it: sort the lines by time"
        );
        assert!(refused("t,rss_kb\n1,99999999999999\n").ends_with("of another unit?"));
        assert!(refused("t,rss_kb\n1,-5\n").ends_with("`-5` is less than nothing"));
        let long = format!("t,rss_kb\n{}\n", "1".repeat(70_000));
        assert!(refused(&long).contains("line 2: is longer than"));
    }
}
