//! What the terminal shows, as text for a size.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::time::SystemTime;

use plimsoll_judgement::outside::{Sample, Verdict};

use super::braille::Canvas;
use crate::describe::{Bytes, Sentence, Span};
use crate::event::Happening;
use crate::plot::Unit;
use crate::trail::Trail;
use crate::watched::Watched;
use crate::{history, json};

/// Samples of each second that are kept of a target: an hour.
const RECENT_MAX: usize = 3600;

/// Samples of the whole time.
const WHOLE_MAX: usize = 2048;

/// Rows that a graph has at least, to be a graph.
const GRAPH_ROWS_MIN: usize = 4;

/// Columns for the labels at the graph's left.
const LABELS: usize = 10;

/// Columns of the list that are not for names: the mark, a size, the longest judgement, and what is between them.
const BESIDE_NAMES: usize = 2 + 2 + 8 + 2 + 18;

/// Columns that names have at least.
const NAMES_MIN: usize = 6;

/// A target as it is shown.
#[derive(Debug)]
struct Shown {
    name: String,
    verdict: Verdict,
    reasons: Vec<String>,
    resident: Option<f64>,
    absent: Option<String>,
    happened: Option<String>,
    recent: VecDeque<Sample>,
    whole: Trail,
}

/// What time the graph shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Range {
    #[default]
    Minutes,
    Hour,
    Whole,
}

/// What a key does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    /// The next target, or the one before.
    Next,
    Previous,
    /// A longer time, or a shorter one.
    Longer,
    Shorter,
}

/// Everything that is shown.
#[derive(Debug, Default)]
pub(super) struct Scene {
    targets: Vec<Shown>,
    chosen: usize,
    range: Range,
    coloured: bool,
    /// Where what was seen before lies.
    history: Option<PathBuf>,
}

/// Colours of the terminal, by SGR; 0 is its own.
mod ink {
    pub(super) const RED: u8 = 31;
    pub(super) const GREEN: u8 = 32;
    pub(super) const YELLOW: u8 = 33;
    pub(super) const CYAN: u8 = 36;
    pub(super) const DIM: u8 = 2;
    pub(super) const INVERSE: u8 = 7;
}

impl Scene {
    /// An empty one, with colours or without. Targets come with what a history has of them.
    pub(super) fn new(coloured: bool, history: Option<PathBuf>) -> Self {
        Self { coloured, history, ..Self::default() }
    }

    /// Takes what was seen.
    pub(super) fn update(&mut self, all: &[Watched]) {
        self.targets.retain(|own| all.iter().any(|one| one.target.name == own.name));
        for (place, watched) in all.iter().enumerate() {
            let name = &watched.target.name;
            match self.targets.iter().position(|own| own.name == *name) {
                Some(at) => self.targets.swap(at, place),
                None => {
                    let mut new = Shown::new(name);
                    if let Some(directory) = &self.history {
                        let records = history::read(directory, name, 0.0).into_iter().flatten();
                        records.for_each(|record| new.whole.push(&record.sample));
                    }
                    self.targets.insert(place, new);
                }
            }
            if let Some(own) = self.targets.get_mut(place) {
                own.update(watched);
            }
        }
        self.chosen = self.chosen.min(self.targets.len().saturating_sub(1));
    }

    /// Does what a key says.
    pub(super) fn press(&mut self, key: Key) {
        let count = self.targets.len().max(1);
        match key {
            Key::Next => self.chosen = (self.chosen + 1) % count,
            Key::Previous => self.chosen = (self.chosen + count - 1) % count,
            Key::Longer => {
                self.range = match self.range {
                    Range::Minutes => Range::Hour,
                    _ => Range::Whole,
                }
            }
            Key::Shorter => {
                self.range = match self.range {
                    Range::Whole => Range::Hour,
                    _ => Range::Minutes,
                }
            }
        }
    }

    /// All rows for a terminal of this size, without line ends, none wider than it is.
    pub(super) fn rows(&self, width: usize, height: usize, now: SystemTime) -> Vec<String> {
        let mut rows = Vec::with_capacity(height);
        let title = format!(" plimsoll watch · {}", json::time(now).get(..19).unwrap_or_default());
        rows.push(self.ink(&padded(&title.replace('T', " "), width), ink::INVERSE));
        // The chosen one is always among those that are listed.
        let listed = self.targets.len().min((height / 3).max(1));
        let first = self.chosen.saturating_sub(listed.saturating_sub(1));
        let longest = self.targets.iter().map(|one| one.name.chars().count()).max().unwrap_or(0);
        let names = longest.min(width.saturating_sub(BESIDE_NAMES)).max(NAMES_MIN);
        for (number, one) in self.targets.iter().enumerate().skip(first).take(listed) {
            rows.push(self.headline(one, number == self.chosen, names, width));
        }
        if let Some(chosen) = self.targets.get(self.chosen) {
            let words = self.words(chosen, width);
            let room = height.saturating_sub(rows.len() + 2);
            // Words have at most half of what is left; the graph has the rest.
            let said = words.len().min((room / 2).max(1));
            let graph = room.saturating_sub(said + 2);
            if graph >= GRAPH_ROWS_MIN {
                rows.extend(self.graph(chosen, width, graph));
            }
            rows.push(String::new());
            rows.extend(words.into_iter().take(said));
        }
        rows.truncate(height.saturating_sub(1));
        rows.resize(height.saturating_sub(1), String::new());
        let help = " ↑ ↓ target   ← → time shown   q end";
        rows.push(self.ink(&padded(help, width), ink::DIM));
        rows.truncate(height);
        rows
    }

    fn headline(&self, one: &Shown, chosen: bool, names: usize, width: usize) -> String {
        let mark = if chosen { "▸" } else { " " };
        let size = one.resident.map_or_else(|| "–".to_owned(), |bytes| Bytes(bytes).to_string());
        let verdict = one.verdict.name().replace('_', " ");
        let name = shortened(&clean(&one.name), names);
        let text = format!("{mark} {name:<names$}  {size:>8}  {verdict}");
        self.ink(&cut(&text, width), colour(&one.verdict))
    }

    /// Judgement, reasons and what happened last, wrapped.
    fn words(&self, one: &Shown, width: usize) -> Vec<String> {
        let mut rows: Vec<String> = wrapped(&Sentence(&one.verdict).to_string(), "", width)
            .map(|row| self.ink(&row, colour(&one.verdict)))
            .collect();
        if let Some(absent) = &one.absent {
            rows.extend(wrapped(&clean(absent), "", width));
        }
        if let Some(happened) = &one.happened {
            rows.extend(wrapped(&clean(happened), "", width).map(|row| self.ink(&row, ink::DIM)));
        }
        for reason in &one.reasons {
            rows.extend(wrapped(&clean(reason), "- ", width));
        }
        rows
    }

    fn graph(&self, one: &Shown, width: usize, height: usize) -> Vec<String> {
        let (samples, span) = one.within(self.range);
        let mut canvas = Canvas::new(width.saturating_sub(LABELS), height);
        let (columns, _) = canvas.dots();
        let end = samples.last().map_or(0.0, |last| last.t);
        let levels = |figure: &dyn Fn(&Sample) -> Option<f64>| {
            let mut levels = vec![None; columns];
            for sample in &samples {
                let part = 1.0 - (end - sample.t) / span;
                let column = (part * columns.saturating_sub(1) as f64).round() as i64;
                let place = usize::try_from(column).ok().and_then(|at| levels.get_mut(at));
                if let (Some(place), Some(value)) = (place, figure(sample)) {
                    // What was highest in its time.
                    *place = Some(place.map_or(value, |before: f64| before.max(value)));
                }
            }
            joined(levels)
        };
        let resident = levels(&|sample| Some(sample.rss));
        let account = levels(&|sample| sample.account.or(sample.direct));
        let seen = || resident.iter().chain(&account).flatten();
        let (low, high) = bounds(seen().copied());
        let scaled = |line: &[Option<f64>]| -> Vec<Option<f64>> {
            line.iter().map(|level| level.map(|level| (level - low) / (high - low))).collect()
        };
        canvas.line(&scaled(&account), ink::YELLOW);
        canvas.line(&scaled(&resident), ink::CYAN);
        let mut rows: Vec<String> = canvas
            .rows()
            .enumerate()
            .map(|(number, row)| {
                let part = 1.0 - number as f64 / (height.max(2) - 1) as f64;
                let label = match number {
                    _ if number == 0 || number + 1 == height || number == height / 2 => {
                        Unit::Bytes.text(low + (high - low) * part)
                    }
                    _ => String::new(),
                };
                format!("{label:>9} {}", self.inked(&row))
            })
            .collect();
        let mut keys = vec![self.ink("── resident", ink::CYAN)];
        if account.iter().any(Option::is_some) {
            keys.push(self.ink("── its own account", ink::YELLOW));
        }
        rows.push(format!("{:LABELS$}last {}   {}", "", Span(span), keys.join("   ")));
        rows
    }

    /// Text in a colour, if there are any.
    fn ink(&self, text: &str, ink: u8) -> String {
        match self.coloured && ink > 0 {
            true => format!("\x1b[{ink}m{text}\x1b[0m"),
            false => text.to_owned(),
        }
    }

    fn inked(&self, row: &[(char, u8)]) -> String {
        row.chunk_by(|one, other| one.1 == other.1)
            .map(|run| {
                let text: String = run.iter().map(|(character, _)| character).collect();
                self.ink(&text, run.first().map_or(0, |(_, ink)| *ink))
            })
            .collect()
    }
}

impl Shown {
    fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            verdict: Verdict::InsufficientData { more_s: 0.0 },
            reasons: Vec::new(),
            resident: None,
            absent: None,
            happened: None,
            recent: VecDeque::new(),
            whole: Trail::new(WHOLE_MAX),
        }
    }

    fn update(&mut self, watched: &Watched) {
        // Reasons are many words: they are asked for with the judgement, and each minute.
        if self.verdict != watched.verdict || watched.readings % 60 == 1 {
            self.reasons = watched.judge.reasons();
        }
        self.verdict.clone_from(&watched.verdict);
        self.happened = watched.events.back().map(|event| {
            let time = json::time(event.time);
            let time = time.get(11..19).unwrap_or_default();
            match &event.what {
                // The judgement itself stands above.
                Happening::Judged { .. } => format!("so since {time}"),
                what => format!("{time} {what}"),
            }
        });
        let Some(last) = &watched.last else { return };
        self.absent.clone_from(&last.absent);
        self.resident = last.process.as_ref().map(|process| process.rss);
        if let Some(sample) = &last.sample {
            if self.recent.len() == RECENT_MAX {
                self.recent.pop_front();
            }
            self.recent.push_back(*sample);
            self.whole.push(sample);
        }
    }

    /// The samples of a time that is shown, and its length in seconds.
    fn within(&self, range: Range) -> (Vec<Sample>, f64) {
        let span = match range {
            Range::Minutes => 600.0,
            Range::Hour => 3600.0,
            Range::Whole => {
                let samples = self.whole.samples();
                let ends = samples.first().zip(samples.last());
                let span = ends.map_or(0.0, |(first, last)| last.t - first.t);
                return (samples.to_vec(), span.max(60.0));
            }
        };
        let end = self.recent.back().map_or(0.0, |last| last.t);
        let within = self.recent.iter().filter(|sample| sample.t >= end - span);
        (within.copied().collect(), span)
    }
}

fn colour(verdict: &Verdict) -> u8 {
    match verdict {
        Verdict::Leaking(_) => ink::RED,
        Verdict::GrowingWithState { .. } | Verdict::WarmingUp => ink::YELLOW,
        Verdict::Stable => ink::GREEN,
        Verdict::InsufficientData { .. } => 0,
    }
}

/// Columns that nothing fell into have the level before, unless that lasts long.
fn joined(mut levels: Vec<Option<f64>>) -> Vec<Option<f64>> {
    /// So many columns in a row are a gap.
    const GAP: usize = 8;
    let mut before: Option<(usize, f64)> = None;
    for at in 0..levels.len() {
        let Some(level) = levels[at] else { continue };
        if let Some((from, held)) = before
            && at - from <= GAP
        {
            levels[from + 1..at].fill(Some(held));
        }
        before = Some((at, level));
    }
    levels
}

/// The lowest and highest, with room between them.
fn bounds(figures: impl Iterator<Item = f64>) -> (f64, f64) {
    let ends = figures.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), figure| {
        (figure.min(low), figure.max(high))
    });
    match ends {
        (low, high) if low > high => (0.0, 1024.0),
        // A level line is drawn as one.
        (low, high) => {
            let least = (high * 0.02).max(64.0 * 1024.0);
            let air = (least - (high - low)).max(0.0) / 2.0;
            ((low - air).max(0.0), high + air)
        }
    }
}

/// Names and texts of others cannot move cursors.
fn clean(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { '\u{fffd}' } else { letter }).collect()
}

fn cut(text: &str, width: usize) -> String {
    text.chars().take(width).collect()
}

/// Cut so that it is seen.
fn shortened(text: &str, width: usize) -> String {
    match text.chars().count() > width {
        true => format!("{}…", cut(text, width.saturating_sub(1))),
        false => text.to_owned(),
    }
}

fn padded(text: &str, width: usize) -> String {
    let text = cut(text, width);
    format!("{text:<width$}")
}

/// Words in rows of this width at most; the rows after the first are indented as far as the first's mark.
fn wrapped(text: &str, mark: &str, width: usize) -> impl Iterator<Item = String> + use<> {
    let mut rows = Vec::new();
    let (mut row, indent) = (mark.to_owned(), " ".repeat(mark.len()));
    for word in text.split_whitespace() {
        let length = |text: &str| text.chars().count();
        if length(&row) + 1 + length(word) > width && length(&row) > indent.len() {
            rows.push(std::mem::replace(&mut row, indent.clone()));
        }
        if !row.is_empty() && !row.ends_with(' ') {
            row.push(' ');
        }
        row.push_str(word);
    }
    rows.push(row);
    rows.into_iter().map(move |row| cut(&row, width))
}

#[cfg(test)]
mod tests;
