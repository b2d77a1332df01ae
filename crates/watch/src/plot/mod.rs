//! Line charts over time, as SVG within HTML: no script is needed to read them, and nothing is loaded.
//!
//! A chart is as wide as the page lets it be, down to 320 pixels, and its text stays as large as it is; so its
//! place is in HTML, with [`STYLE`] in the page's head. Colours follow the reader's light or dark scheme.
//! [`SCRIPT`] at the page's end shows figures under the pointer.
//!
//! ```
//! use plimsoll_watch::plot::{Chart, Series, Unit};
//! let chart = Chart {
//!     title: "Resident memory".to_owned(),
//!     unit: Unit::Bytes,
//!     series: vec![Series::new("broker", vec![(0.0, 12e6), (3600.0, 13e6)])],
//!     ..Chart::default()
//! };
//! assert!(chart.svg().starts_with("<svg"));
//! assert!(chart.figure().contains("broker"));
//! ```

mod axis;
mod draw;
mod line;
mod unit;

use std::fmt::Write as _;

pub use axis::TimeAxis;
pub use unit::Unit;

/// What charts need in a page's `<style>`: colours for light and dark, as variables that a page may set anew.
pub const STYLE: &str = include_str!("plot.css");

/// What shows figures under the pointer; for a page's one `<script>`.
pub const SCRIPT: &str = include_str!("plot.js");

/// Marks that are numbered and listed; of more there are only lines.
pub const MARKS_LISTED_MAX: usize = 20;

/// A chart of lines over time.
#[derive(Clone, Debug, PartialEq)]
pub struct Chart {
    /// What it shows, as its heading.
    pub title: String,
    /// More about it, in a sentence or two; may be empty.
    pub note: String,
    /// What figures are of.
    pub unit: Unit,
    /// How times are labelled.
    pub x: TimeAxis,
    /// From when to when; without it, from the first to the last point.
    pub range: Option<(f64, f64)>,
    /// Whether the axis of figures begins at zero.
    pub from_zero: bool,
    /// Height of the lines' room, in pixels.
    pub height: u32,
    /// The lines, in the order of the legend.
    pub series: Vec<Series>,
    /// What lies behind the lines: intervals of figures, such as that of a slope.
    pub bands: Vec<Band>,
    /// What lies behind everything: times, such as that of a leak.
    pub spans: Vec<Span>,
    /// Instants: a restart, a change.
    pub marks: Vec<Mark>,
    /// A figure that must not be reached, as a line with its name, if it lies near enough to be seen.
    pub limit: Option<(f64, String)>,
    /// Whether the legend is a table with median, 95th percentile and highest of each line.
    pub percentiles: bool,
}

impl Default for Chart {
    fn default() -> Self {
        Self {
            title: String::new(),
            note: String::new(),
            unit: Unit::Count,
            x: TimeAxis::default(),
            range: None,
            from_zero: false,
            height: 200,
            series: Vec::new(),
            bands: Vec::new(),
            spans: Vec::new(),
            marks: Vec::new(),
            limit: None,
            percentiles: false,
        }
    }
}

/// How a line is drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ink {
    /// In a colour of its own.
    #[default]
    Own,
    /// As that which is wrong.
    Alarm,
    /// As that which is only there to compare with.
    Quiet,
    /// Dashed, as that which was computed.
    Fitted,
}

/// A line.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// Its name in the legend.
    pub name: String,
    /// Times in seconds and figures, in the order of time; NaN interrupts the line. Any number of them: what is
    /// drawn is bounded.
    pub points: Vec<(f64, f64)>,
    /// How it is drawn.
    pub ink: Ink,
}

impl Series {
    /// A line in a colour of its own.
    pub fn new(name: impl Into<String>, points: Vec<(f64, f64)>) -> Self {
        Self { name: name.into(), points, ink: Ink::Own }
    }

    /// The same, drawn in another way.
    #[must_use]
    pub fn with(mut self, ink: Ink) -> Self {
        self.ink = ink;
        self
    }

    fn last(&self) -> Option<f64> {
        self.points.iter().rev().map(|point| point.1).find(|figure| figure.is_finite())
    }

    fn sorted(&self) -> Vec<f64> {
        let finite = |figure: &f64| figure.is_finite();
        let mut figures: Vec<f64> =
            self.points.iter().map(|point| point.1).filter(finite).collect();
        figures.sort_by(f64::total_cmp);
        figures
    }
}

/// An interval of figures over time.
#[derive(Clone, Debug, PartialEq)]
pub struct Band {
    /// Its name in the legend.
    pub name: String,
    /// Time, lower and upper figure, in the order of time.
    pub points: Vec<(f64, f64, f64)>,
}

/// A time that is shaded.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    /// What it is, shown within it.
    pub name: String,
    /// From when, seconds.
    pub from: f64,
    /// To when, seconds.
    pub to: f64,
    /// Whether something is wrong then.
    pub alarm: bool,
}

/// An instant with a text.
#[derive(Clone, Debug, PartialEq)]
pub struct Mark {
    /// When, seconds.
    pub at: f64,
    /// What happened.
    pub text: String,
}

impl Chart {
    /// The drawing alone, with its title and a description for those who do not see it.
    pub fn svg(&self) -> String {
        draw::svg(self)
    }

    /// The drawing with heading, legend and marks in words: an HTML `<figure>`.
    pub fn figure(&self) -> String {
        let mut html = String::from("<figure class=\"plot-figure\">");
        let _ = write!(html, "<figcaption>{}", escaped(&self.title));
        if !self.note.is_empty() {
            let _ = write!(html, "<small>{}</small>", escaped(&self.note));
        }
        html.push_str("</figcaption>");
        html.push_str(&self.svg());
        html.push_str(&if self.percentiles { self.table() } else { self.legend() });
        html.push_str(&self.marks_in_words());
        html.push_str("</figure>");
        html
    }

    /// The class that gives a line or band its colour.
    fn class(&self, number: usize) -> String {
        match self.series.get(number).map(|series| series.ink) {
            Some(Ink::Alarm) => "alarm".to_owned(),
            Some(Ink::Quiet) => "quiet".to_owned(),
            Some(Ink::Fitted) => "fitted".to_owned(),
            Some(Ink::Own) => {
                let own = |series: &&Series| series.ink == Ink::Own;
                format!("c{}", self.series[..number].iter().filter(own).count() % 8 + 1)
            }
            None => "band".to_owned(),
        }
    }

    fn legend(&self) -> String {
        let mut html = String::from("<ul class=\"plot-legend\">");
        for (number, series) in self.series.iter().enumerate() {
            let last = series.last().map_or_else(|| "–".to_owned(), |last| self.unit.text(last));
            let (class, name) = (self.class(number), escaped(&series.name));
            let _ = write!(html, "<li><i class=\"{class}\"></i>{name} <b>{last}</b></li>");
        }
        for band in &self.bands {
            let _ = write!(html, "<li><i class=\"band\"></i>{}</li>", escaped(&band.name));
        }
        html.push_str("</ul>");
        html
    }

    fn table(&self) -> String {
        let mut html = String::from(
            "<table class=\"plot-table\"><thead><tr><th scope=\"col\">Line<th scope=\"col\">Median<th scope=\"col\">95 %<th scope=\"col\">Highest<th scope=\"col\">Last</tr></thead><tbody>",
        );
        for (number, series) in self.series.iter().enumerate() {
            let sorted = series.sorted();
            let text = |figure: Option<f64>| self.unit.text(figure.unwrap_or(f64::NAN));
            let _ = write!(
                html,
                "<tr><th scope=\"row\"><i class=\"{}\"></i>{}<td>{}<td>{}<td>{}<td>{}</tr>",
                self.class(number),
                escaped(&series.name),
                text(percentile(&sorted, 50)),
                text(percentile(&sorted, 95)),
                text(sorted.last().copied()),
                text(series.last()),
            );
        }
        html.push_str("</tbody></table>");
        html
    }

    fn marks_in_words(&self) -> String {
        if self.marks.is_empty() {
            return String::new();
        }
        let mut html = String::from("<ol class=\"plot-marks\">");
        for mark in self.marks.iter().take(MARKS_LISTED_MAX) {
            let _ = write!(
                html,
                "<li>{} <small>{}</small></li>",
                escaped(&mark.text),
                self.x.instant(mark.at)
            );
        }
        html.push_str("</ol>");
        if let Some(more) = self.marks.len().checked_sub(MARKS_LISTED_MAX).filter(|more| *more > 0)
        {
            let _ = write!(html, "<p class=\"plot-more\">… and {more} more.</p>");
        }
        html
    }
}

/// The figure below which so many hundredths of sorted figures lie (nearest rank); none of nothing.
pub fn percentile(sorted: &[f64], hundredths: usize) -> Option<f64> {
    let rank = (sorted.len() * hundredths).div_ceil(100);
    sorted.get(rank.clamp(1, sorted.len().max(1)) - 1).copied()
}

/// Text within HTML and SVG, also within attributes.
pub fn escaped(text: &str) -> String {
    let mut html = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            '\'' => html.push_str("&#39;"),
            // Control characters are nothing that HTML can hold.
            other if other.is_control() && other != '\n' => html.push('\u{fffd}'),
            other => html.push(other),
        }
    }
    html
}

#[cfg(test)]
mod tests;
