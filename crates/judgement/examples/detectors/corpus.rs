//! Labelled series: read from a directory, or made up.

use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use plimsoll_judgement::outside::Sample;

use super::shapes::{CLASSES, make};

/// A series and what it is.
pub(crate) struct Labelled {
    pub(crate) name: String,
    pub(crate) class: String,
    /// When the leak begins, seconds; `None` if there is none.
    pub(crate) onset: Option<f64>,
    /// Bytes an hour.
    pub(crate) rate: f64,
    /// Seconds.
    pub(crate) length: f64,
    pub(crate) samples: Vec<Sample>,
}

/// Where series come from.
pub(crate) enum Corpus {
    /// Files and the text of their labels.
    Files(PathBuf, Vec<(String, String)>),
    /// Classes and seeds.
    Made(Vec<(&'static str, u64)>),
}

/// Series that are made of each class.
const MADE_OF_EACH: u64 = 2;

impl Corpus {
    /// `made:SEED`, or a directory with `labels.json`.
    pub(crate) fn open(from: &str) -> io::Result<Self> {
        if let Some(seed) = from.strip_prefix("made:") {
            let seed: u64 = seed.parse().map_err(io::Error::other)?;
            let seeds = (0..MADE_OF_EACH).map(move |index| seed * MADE_OF_EACH + index);
            let made =
                CLASSES.iter().flat_map(|class| seeds.clone().map(move |seed| (*class, seed)));
            return Ok(Self::Made(made.collect()));
        }
        let text = std::fs::read_to_string(Path::new(from).join("labels.json"))?;
        let labels = text
            .split("},")
            .filter_map(|part| Some((part.split('"').nth(1)?.to_owned(), part.to_owned())));
        Ok(Self::Files(from.into(), labels.collect()))
    }

    /// The name of a series; `None` behind the last one.
    pub(crate) fn name(&self, index: usize) -> Option<String> {
        match self {
            Self::Files(_, labels) => {
                let (name, label) = labels.get(index)?;
                Some(format!("{name} {}", field(label, "cls").unwrap_or_default()))
            }
            Self::Made(made) => made.get(index).map(|(class, seed)| format!("{class}-{seed}")),
        }
    }

    /// Reads or makes it.
    pub(crate) fn read(&self, index: usize) -> io::Result<Labelled> {
        let missing = || io::Error::other("no such series");
        match self {
            Self::Made(list) => {
                let (class, seed) = *list.get(index).ok_or_else(missing)?;
                let made = make(class, seed);
                Ok(Labelled {
                    name: seed.to_string(),
                    class: class.to_owned(),
                    onset: made.leak.map(|(onset, _)| onset),
                    rate: made.leak.map_or(0.0, |(_, rate)| rate),
                    length: made.samples.last().map_or(0.0, |sample| sample.t),
                    samples: made.samples,
                })
            }
            Self::Files(directory, labels) => {
                let (name, label) = labels.get(index).ok_or_else(missing)?;
                let samples = read(&directory.join(format!("{name}.csv.gz")))?;
                let number = |key| field(label, key).and_then(|text| text.parse().ok());
                let leaks = field(label, "label") == Some("leak");
                Ok(Labelled {
                    name: name.clone(),
                    class: field(label, "cls").unwrap_or_default().to_owned(),
                    onset: leaks.then(|| number("onset_s").unwrap_or(0.0)),
                    rate: number("rate_b_per_h").unwrap_or(0.0),
                    length: samples.last().map_or(0.0, |sample| sample.t),
                    samples,
                })
            }
        }
    }
}

/// A member of a flat JSON object.
fn field<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(&format!("\"{key}\":"))?;
    Some(rest.trim_start().split(['\n', ',', '}']).next()?.trim().trim_matches('"'))
}

/// Columns, in the order in which [`sample`] takes them.
const COLUMNS: [&str; 16] = [
    "t",
    "start",
    "rss_kb",
    "anon_kb",
    "file_kb",
    "acc_b",
    "heap_kb",
    "heapc_kb",
    "direct_kb",
    "retained",
    "conns",
    "sess",
    "subs",
    "queued",
    "pub_total",
    "conn_total",
];

fn read(path: &Path) -> io::Result<Vec<Sample>> {
    let mut zcat = Command::new("zcat").arg(path).stdout(Stdio::piped()).spawn()?;
    let out = zcat.stdout.take().ok_or_else(|| io::Error::other("zcat has no output"))?;
    let mut lines = BufReader::new(out).lines();
    let header = lines.next().ok_or_else(|| io::Error::other("it is empty"))??;
    let names: Vec<&str> = header.split(',').collect();
    let places = COLUMNS.map(|column| names.iter().position(|name| *name == column));
    let mut samples = Vec::new();
    for line in lines {
        let line = line?;
        let fields: Vec<&str> = line.split(',').collect();
        let values =
            places.map(|place| place.and_then(|place| fields.get(place)?.parse::<f64>().ok()));
        samples.extend(sample(&values));
    }
    zcat.wait()?;
    Ok(samples)
}

fn sample(values: &[Option<f64>; 16]) -> Option<Sample> {
    let [t, start, rss, anon, file, account, heap, committed, direct, rest @ ..] = *values;
    let [retained, connections, sessions, subscriptions, queued, published, connected] = rest;
    let bytes = |kib: Option<f64>| kib.map(|kib| kib * 1024.0);
    Some(Sample {
        t: t?,
        start: start.unwrap_or(0.0),
        rss: bytes(rss)?,
        anon: bytes(anon),
        file: bytes(file),
        account,
        heap_used: bytes(heap),
        heap_committed: bytes(committed),
        direct: bytes(direct),
        retained,
        connections,
        sessions,
        subscriptions,
        queued,
        published_total: published,
        connected_total: connected,
        limit: None,
        heap_limit: None,
        direct_limit: None,
    })
}
