//! Recorded series as text: a header that names columns, then a line for each sample.
//!
//! Columns are found by name, in any order; unknown ones are passed over. `t` and `rss_kb` are needed, an
//! empty field is a source that does not exist. Names ending in `_kb` are KiB, in `_b` bytes.

use crate::sample::Sample;
use std::fmt;

/// Where the known columns are in a line.
#[derive(Clone, Debug)]
pub struct Header {
    /// For each field of a line: the known column that it is.
    fields: Vec<Option<usize>>,
}

/// A line that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// The line's number, from 1.
    pub line: u64,
    /// The column's name.
    pub column: String,
    /// What is wrong.
    pub what: &'static str,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}: {}", self.line, self.column, self.what)
    }
}

impl std::error::Error for Malformed {}

/// Names, and what one unit is in bytes, seconds or pieces.
const KNOWN: [(&str, f64); 16] = [
    ("t", 1.0),
    ("start", 1.0),
    ("rss_kb", 1024.0),
    ("anon_kb", 1024.0),
    ("file_kb", 1024.0),
    ("acc_b", 1.0),
    ("heap_kb", 1024.0),
    ("heapc_kb", 1024.0),
    ("direct_kb", 1024.0),
    ("retained", 1.0),
    ("conns", 1.0),
    ("sess", 1.0),
    ("subs", 1.0),
    ("queued", 1.0),
    ("pub_total", 1.0),
    ("conn_total", 1.0),
];

impl Header {
    /// Reads the first line of a file.
    pub fn parse(line: &str) -> Result<Header, Malformed> {
        let names: Vec<&str> = line.trim_start_matches('\u{feff}').split(',').map(clean).collect();
        let fields: Vec<Option<usize>> =
            names.iter().map(|name| KNOWN.iter().position(|(known, _)| known == name)).collect();
        for (needed, (name, _)) in KNOWN.iter().enumerate() {
            let times = fields.iter().filter(|field| **field == Some(needed)).count();
            let what = match times {
                0 if *name == "t" || *name == "rss_kb" => "is needed and not there",
                0 | 1 => continue,
                _ => "is there more than once",
            };
            return Err(Malformed { line: 1, column: (*name).to_owned(), what });
        }
        Ok(Header { fields })
    }

    /// Reads one line; `number` is the line's, for the error.
    pub fn sample(&self, line: &str, number: u64) -> Result<Sample, Malformed> {
        let mut values = [None; KNOWN.len()];
        let mut texts = line.trim_end_matches(['\r', '\n']).split(',');
        for field in &self.fields {
            let Some(text) = texts.next() else {
                return Err(malformed(number, "", "the line has fewer fields than the header"));
            };
            let Some(known) = *field else { continue };
            let (Some(slot), Some((name, unit))) = (values.get_mut(known), KNOWN.get(known)) else {
                continue;
            };
            let text = clean(text);
            if text.is_empty() {
                continue;
            }
            let value: f64 =
                text.parse().map_err(|_| malformed(number, name, "is not a number"))?;
            if !value.is_finite() {
                return Err(malformed(number, name, "is not a finite number"));
            }
            if value < 0.0 && *name != "t" && *name != "start" {
                return Err(malformed(number, name, "is negative"));
            }
            *slot = Some(value * unit);
        }
        if texts.next().is_some() {
            return Err(malformed(number, "", "the line has more fields than the header"));
        }
        let [t, start, rss, anon, file, account, heap_used, heap_committed, direct, rest @ ..] =
            values;
        let [
            retained,
            connections,
            sessions,
            subscriptions,
            queued,
            published_total,
            connects_total,
        ] = rest;
        let t = t.ok_or_else(|| malformed(number, "t", "is empty"))?;
        if rss.is_none() {
            return Err(malformed(number, "rss_kb", "is empty"));
        }
        Ok(Sample {
            t,
            start,
            rss,
            anon,
            file,
            account,
            heap_used,
            heap_committed,
            direct,
            retained,
            connections,
            sessions,
            subscriptions,
            queued,
            published_total,
            connects_total,
        })
    }
}

fn clean(field: &str) -> &str {
    field.trim().trim_matches('"')
}

fn malformed(line: u64, column: &str, what: &'static str) -> Malformed {
    Malformed { line, column: column.to_owned(), what }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_in_any_order_with_units() {
        let header = Header::parse("rss_kb,other,t,acc_b\r\n").unwrap();
        let sample = header.sample("4,x,60,7\r\n", 2).unwrap();
        assert_eq!(
            sample,
            Sample { t: 60.0, rss: Some(4096.0), account: Some(7.0), ..Sample::default() }
        );
    }

    #[test]
    fn an_empty_field_is_a_source_that_does_not_exist() {
        let header = Header::parse("t,rss_kb,acc_b").unwrap();
        assert_eq!(header.sample("0,1,", 2).unwrap().account, None);
    }

    #[test]
    fn errors_name_line_and_column() {
        let header = Header::parse("t,rss_kb").unwrap();
        let text = |line| header.sample(line, 7).unwrap_err().to_string();
        assert_eq!(text("0,many"), "line 7, column rss_kb: is not a number");
        assert_eq!(text("0,-1"), "line 7, column rss_kb: is negative");
        assert_eq!(text("0,NaN"), "line 7, column rss_kb: is not a finite number");
        assert_eq!(text(",1"), "line 7, column t: is empty");
        assert_eq!(text("1,"), "line 7, column rss_kb: is empty");
        assert!(text("1").contains("fewer") && text("1,2,3").contains("more"));
        assert_eq!(Header::parse("t").unwrap_err().column, "rss_kb");
        assert_eq!(Header::parse("t,rss_kb,t").unwrap_err().what, "is there more than once");
    }
}
