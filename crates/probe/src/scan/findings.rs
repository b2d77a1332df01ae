//! What is lost, by kind.

use std::collections::{HashMap, HashSet};
use std::fmt::{self, Write as _};

use serde::Serialize;

use super::blocks::Id;
use super::content::{self, Kind};
use super::{Extent, Look, Settings};
use crate::process::Process;
use crate::process::memory::{Memory, words_of};
use crate::program;
use crate::quantity::{bytes, count};

/// Kinds that are told apart; further ones are summed up.
const KINDS_MAX: usize = 10_000;

/// What all looks found lost.
#[derive(Clone, Debug, Serialize)]
pub struct Findings {
    /// The process.
    pub pid: u32,
    /// Its name.
    pub process: String,
    /// What was looked at, the last time.
    pub extent: Extent,
    /// Heaps that were not looked at for lost blocks: of another allocator, or a language's.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub heaps_not_scanned: Vec<&'static str>,
    /// Seconds from the first look to the last.
    pub apart_seconds: f64,
    /// Blocks that nothing points to.
    pub lost_blocks: u64,
    /// Bytes of them, with their headers.
    pub lost_bytes: u64,
    /// Bytes an hour that were lost since the scan before, if there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lost_bytes_per_hour: Option<f64>,
    /// By kind, most bytes first; after a second scan, those that have grown most.
    pub groups: Vec<Group>,
}

/// Lost blocks of one kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Group {
    /// How many.
    pub blocks: u64,
    /// Bytes of them, with their headers.
    pub bytes: u64,
    /// Bytes more than in the scan before, if there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grown_bytes: Option<i64>,
    /// How many of them only another lost block points to.
    pub inner: u64,
    /// Bytes that the smallest has for its owner.
    pub size_min: u64,
    /// Bytes that the largest has.
    pub size_max: u64,
    /// What they look like: a text with `#` for numbers, or a kind of each word.
    pub content: String,
    /// Where one of them is.
    pub example_address: String,
    /// What it begins with.
    pub example: String,
}

/// Puts together what is lost.
pub(super) fn of(
    process: &Process,
    memory: &Memory,
    look: &Look,
    lost: &[Id],
    settings: &Settings,
) -> Findings {
    let inner = inner(memory, look, lost);
    let mut groups: HashMap<Kind, Group> = HashMap::new();
    for id in lost {
        let room = look.heap.room(*id);
        let size = room.end - room.start;
        let mut head = [0; content::HEAD];
        let length = memory.read(room.start, &mut head[..content::HEAD.min(size as usize)]);
        let (kind, example) = content::kind(&head[..length], size, &look.heap, &look.mappings);
        let kind = if groups.len() < KINDS_MAX || groups.contains_key(&kind) {
            kind
        } else {
            Kind::Text("(of further kinds)".to_owned())
        };
        let content = match &kind {
            Kind::Text(text) | Kind::Words(_, text) => text.clone(),
        };
        let group = groups.entry(kind).or_insert_with(|| Group {
            blocks: 0,
            bytes: 0,
            grown_bytes: None,
            inner: 0,
            size_min: size,
            size_max: size,
            content,
            example_address: format!("{:#x}", room.start),
            example,
        });
        group.blocks += 1;
        group.bytes += look.heap.chunk(*id).1;
        group.inner += u64::from(inner.contains(id));
        group.size_min = group.size_min.min(size);
        group.size_max = group.size_max.max(size);
    }
    let mut groups: Vec<Group> = groups.into_values().collect();
    groups.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.content.cmp(&b.content)));
    Findings {
        pid: process.pid(),
        process: process.name().to_owned(),
        extent: look.extent.clone(),
        heaps_not_scanned: program::heaps_beside_glibc(process, &look.mappings),
        apart_seconds: settings.apart.as_secs_f64(),
        lost_blocks: groups.iter().map(|group| group.blocks).sum(),
        lost_bytes: groups.iter().map(|group| group.bytes).sum(),
        lost_bytes_per_hour: None,
        groups,
    }
}

/// Those that another lost block points to.
fn inner(memory: &Memory, look: &Look, lost: &[Id]) -> HashSet<Id> {
    let ids: HashSet<Id> = lost.iter().copied().collect();
    let mut inner = HashSet::new();
    let mut buffer = vec![0; 64 << 10];
    for id in &ids {
        let room = look.heap.room(*id);
        let length = buffer.len().min((room.end - room.start) as usize);
        let length = memory.read(room.start, &mut buffer[..length]);
        let pointed = words_of(&buffer[..length]).filter_map(|word| look.heap.find(word));
        inner.extend(pointed.filter(|other| other != id && ids.contains(other)));
    }
    inner
}

impl Findings {
    /// With what has been lost since another scan, `seconds` before this one.
    #[must_use]
    pub fn grown_since(mut self, before: &Self, seconds: f64) -> Self {
        let signed = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
        for group in &mut self.groups {
            let same = |other: &&Group| {
                other.content == group.content
                    && (other.example != other.content || other.size_min == group.size_min)
            };
            let then = before.groups.iter().find(same).map_or(0, |other| other.bytes);
            group.grown_bytes = Some(signed(group.bytes) - signed(then));
        }
        self.groups.sort_by_key(|group| std::cmp::Reverse(group.grown_bytes));
        let grown = signed(self.lost_bytes) - signed(before.lost_bytes);
        self.lost_bytes_per_hour = Some(grown as f64 / seconds.max(0.001) * 3600.0);
        self
    }

    /// Keeps the `top` kinds.
    #[must_use]
    pub fn shortened(mut self, top: usize) -> Self {
        self.groups.truncate(top);
        self
    }

    /// As text, its kinds as far as they are there.
    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Extent { heaps, blocks, bytes: held, .. } = self.extent;
        let (pid, name) = (self.pid, &self.process);
        if self.lost_blocks == 0 {
            writeln!(f, "{name} (pid {pid}): no block is lost: something points to each.")?;
        } else {
            let (lost, size) = (count(self.lost_blocks), bytes(self.lost_bytes));
            writeln!(
                f,
                "{name} (pid {pid}): {lost} blocks, {size}, are lost: nothing points to them."
            )?;
        }
        writeln!(
            f,
            "Looked at {} blocks, {}, in {heaps} heap{} of glibc, three times in {} s; a look took {:.1} s.",
            count(blocks as u64),
            bytes(held),
            if heaps == 1 { "" } else { "s" },
            self.apart_seconds,
            self.extent.seconds,
        )?;
        if let Some(rate) = self.lost_bytes_per_hour {
            let sign = if rate < 0.0 { "−" } else { "" };
            writeln!(f, "Lost since the scan before: {sign}{} an hour.", bytes(rate.abs() as u64))?;
        }
        if self.extent.not_understood_bytes > 0 {
            let not = bytes(self.extent.not_understood_bytes);
            writeln!(f, "{not} of the heaps were not understood; lost blocks there are not seen.")?;
        }
        if self.extent.other_bytes > held || !self.heaps_not_scanned.is_empty() {
            let other = bytes(self.extent.other_bytes);
            let whose = match self.heaps_not_scanned.join(", ") {
                none if none.is_empty() => String::new(),
                heaps => format!(" ({heaps})"),
            };
            writeln!(
                f,
                "{other} of memory are none of glibc's heap{whose}, and were not looked at for lost blocks."
            )?;
        }
        if !self.groups.is_empty() {
            writeln!(f, "\n{:>10} {:>11} {:>11}  begins with", "blocks", "bytes", "size")?;
        }
        for group in &self.groups {
            writeln!(f, "{}", group.line())?;
        }
        if self.groups.iter().any(|group| group.blocks == 1) {
            f.write_str("\nA single block may be in use all the same: its one pointer in a register of a waiting thread.\n")?;
        }
        Ok(())
    }
}

impl Group {
    fn line(&self) -> String {
        let size = match (self.size_min, self.size_max) {
            (min, max) if min == max => min.to_string(),
            (min, max) => format!("{min}–{max}"),
        };
        let mut line = format!("{:>10} {:>11} {size:>11}  ", count(self.blocks), bytes(self.bytes));
        if self.example == self.content {
            let _ = write!(line, "{:?}", self.example);
        } else {
            let _ = write!(line, "{:?}, such as {:?}", self.content, self.example);
        }
        if let Some(grown) = self.grown_bytes {
            let _ = write!(
                line,
                "  ({}{} since)",
                if grown < 0 { "−" } else { "+" },
                bytes(grown.unsigned_abs())
            );
        }
        if self.inner > 0 {
            let _ = write!(line, "  ({} in other lost blocks)", count(self.inner));
        }
        line
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f)
    }
}
