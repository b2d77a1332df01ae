//! A chart as SVG.

use std::fmt::Write as _;

use super::axis::{self, Tick};
use super::line::{COLUMNS, Room};
use super::{Chart, MARKS_LISTED_MAX, Unit, escaped};

/// Pixels above the room, for the numbers of marks, and below it, for the labels of times.
const ABOVE: f64 = 20.0;
const BELOW: f64 = 22.0;

/// Labels at the axis of figures lie at least so many pixels apart.
const PIXELS_A_LABEL: f64 = 34.0;

/// How near to an end of the axis a label would be cut off, as a part of the width.
const EDGE: f64 = 0.03;

pub(super) fn svg(chart: &Chart) -> String {
    let room = room(chart);
    let height = ABOVE + room.height + BELOW;
    let mut svg = format!(
        "<svg class=\"plot\" xmlns=\"http://www.w3.org/2000/svg\" role=\"img\" width=\"100%\" height=\"{height}\" data-unit=\"{}\" data-axis=\"{}\" data-from=\"{}\" data-to=\"{}\" data-low=\"{}\" data-high=\"{}\">",
        chart.unit.word(),
        chart.x.word(),
        room.from,
        room.to,
        room.low,
        room.high
    );
    // Writing to a String cannot fail.
    let _ = write!(svg, "<title>{}</title>", escaped(&chart.title));
    let _ = write!(svg, "<desc>{}</desc>", escaped(&described(chart)));
    spans(chart, &room, &mut svg);
    grid(chart, &room, &mut svg);
    lines(chart, &room, &mut svg);
    limit(chart, &room, &mut svg);
    marks(chart, &room, &mut svg);
    if chart.series.iter().all(|series| series.last().is_none()) {
        let middle = ABOVE + room.height / 2.0;
        let _ = write!(
            svg,
            "<text class=\"none\" x=\"50%\" y=\"{middle}\" text-anchor=\"middle\">no data</text>"
        );
    }
    svg.push_str("</svg>");
    svg
}

/// What there is to see, in words.
fn described(chart: &Chart) -> String {
    let mut text = chart.note.clone();
    for series in &chart.series {
        let sorted = series.sorted();
        let (Some(low), Some(high), Some(last)) = (sorted.first(), sorted.last(), series.last())
        else {
            continue;
        };
        let unit = chart.unit;
        let _ = write!(
            text,
            " {}: between {} and {}, at last {}.",
            series.name,
            unit.text(*low),
            unit.text(*high),
            unit.text(last)
        );
    }
    for mark in chart.marks.iter().take(MARKS_LISTED_MAX) {
        let _ = write!(text, " {}: {}.", chart.x.instant(mark.at), mark.text);
    }
    text.trim().to_owned()
}

/// From the lowest to the highest, with some air.
fn room(chart: &Chart) -> Room {
    let finite = |figure: &f64| figure.is_finite();
    let points = || chart.series.iter().flat_map(|series| &series.points);
    let bands = || chart.bands.iter().flat_map(|band| &band.points);
    let times = points().map(|point| point.0).chain(bands().map(|point| point.0));
    let (from, to) =
        chart.range.unwrap_or_else(|| ends(times.filter(finite)).unwrap_or((0.0, 1.0)));
    let to = if to > from { to } else { from + 1.0 };
    let figures = points().map(|point| point.1).chain(bands().flat_map(|band| [band.1, band.2]));
    let (mut low, mut high) = ends(figures.filter(finite)).unwrap_or((0.0, 1.0));
    if let Some((limit, _)) = &chart.limit
        && limit.is_finite()
        && *limit <= high * 1.5
    {
        high = high.max(*limit);
    }
    // A line that is level is drawn as one: noise of a thousandth is not blown up.
    let least = (high.abs().max(low.abs()) * 1e-2).max(smallest(chart.unit));
    if high - low < least {
        let middle = f64::midpoint(low, high);
        (low, high) = (middle - least / 2.0, middle + least / 2.0);
        // Sizes and counts are never below nothing.
        if middle >= 0.0 && low < 0.0 {
            (low, high) = (0.0, least);
        }
    }
    let air = 0.06 * (high - low);
    let positive = low >= 0.0;
    low -= air;
    high += air;
    if chart.from_zero || (positive && low < 0.3 * high) {
        low = low.min(0.0);
    }
    if positive {
        low = if chart.from_zero || low < 0.3 * high { 0.0 } else { low.max(0.0) };
    }
    Room { from, to, low, high, height: f64::from(chart.height.clamp(60, 2000)) }
}

/// What is no less than noise, in each unit.
fn smallest(unit: Unit) -> f64 {
    match unit {
        Unit::Bytes | Unit::BytesPerHour => 1024.0,
        Unit::Count | Unit::PerSecond | Unit::Percent => 1.0,
        Unit::Seconds => 1e-6,
    }
}

fn ends(figures: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    figures.fold(None, |ends, figure| match ends {
        None => Some((figure, figure)),
        Some((low, high)) => Some((figure.min(low), figure.max(high))),
    })
}

/// Hundredths of the width.
fn percent(room: &Room, time: f64) -> f64 {
    (room.part(time) * 100.0).clamp(0.0, 100.0)
}

fn spans(chart: &Chart, room: &Room, svg: &mut String) {
    for span in &chart.spans {
        let (left, right) = (percent(room, span.from), percent(room, span.to));
        let class = if span.alarm { "span alarm" } else { "span" };
        let _ = write!(
            svg,
            "<rect class=\"{class}\" x=\"{left:.2}%\" y=\"{ABOVE}\" width=\"{:.2}%\" height=\"{}\"/>",
            (right - left).max(0.0),
            room.height
        );
        // A name has to have its place.
        if right - left >= 10.0 {
            let _ = write!(
                svg,
                "<text class=\"span-name\" x=\"{left:.2}%\" dx=\"5\" y=\"{}\">{}</text>",
                ABOVE + room.height - 6.0,
                escaped(&span.name)
            );
        }
    }
}

fn grid(chart: &Chart, room: &Room, svg: &mut String) {
    let wanted = (room.height / PIXELS_A_LABEL).max(2.0);
    for Tick { at, text, .. } in axis::figures(chart.unit, room.low, room.high, wanted) {
        let y = ABOVE + room.y(at);
        let _ = write!(
            svg,
            "<line class=\"grid\" x1=\"0\" x2=\"100%\" y1=\"{y:.1}\" y2=\"{y:.1}\"/><text x=\"-8\" y=\"{:.1}\" text-anchor=\"end\">{text}</text>",
            y + 4.0
        );
    }
    let (top, bottom) = (ABOVE, ABOVE + room.height);
    for Tick { at, text, fine } in chart.x.ticks(room.from, room.to) {
        let anchor = match room.part(at) {
            part if part < EDGE => "start",
            part if part > 1.0 - EDGE => "end",
            _ => "middle",
        };
        let x = percent(room, at);
        let class = if fine { " class=\"fine\"" } else { "" };
        let _ = write!(
            svg,
            "<g{class}><line class=\"grid\" x1=\"{x:.2}%\" x2=\"{x:.2}%\" y1=\"{top}\" y2=\"{bottom}\"/><text x=\"{x:.2}%\" y=\"{}\" text-anchor=\"{anchor}\">{text}</text></g>",
            bottom + 16.0
        );
    }
}

/// Bands and lines, in a room of their own that is stretched to the width.
fn lines(chart: &Chart, room: &Room, svg: &mut String) {
    let _ = write!(
        svg,
        "<svg class=\"room\" x=\"0\" y=\"{ABOVE}\" width=\"100%\" height=\"{0}\" viewBox=\"0 0 {COLUMNS} {0}\" preserveAspectRatio=\"none\">",
        room.height
    );
    for band in &chart.bands {
        let _ = write!(svg, "<path class=\"area band\" d=\"{}\"/>", room.outline(&band.points));
    }
    for (number, series) in chart.series.iter().enumerate() {
        let _ = write!(
            svg,
            "<path class=\"line {}\" data-name=\"{}\" d=\"{}\"/>",
            chart.class(number),
            escaped(&series.name),
            room.path(&series.points)
        );
    }
    svg.push_str("</svg>");
}

fn limit(chart: &Chart, room: &Room, svg: &mut String) {
    let Some((figure, name)) = &chart.limit else { return };
    if !(room.low..=room.high).contains(figure) {
        return;
    }
    let y = ABOVE + room.y(*figure);
    let _ = write!(
        svg,
        "<line class=\"limit\" x1=\"0\" x2=\"100%\" y1=\"{y:.1}\" y2=\"{y:.1}\"/><text class=\"limit-name\" x=\"100%\" dx=\"-4\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
        y - 5.0,
        escaped(name)
    );
}

fn marks(chart: &Chart, room: &Room, svg: &mut String) {
    for (number, mark) in chart.marks.iter().enumerate() {
        if !(room.from..=room.to).contains(&mark.at) {
            continue;
        }
        let x = percent(room, mark.at);
        let bottom = ABOVE + room.height;
        let _ = write!(
            svg,
            "<line class=\"mark\" x1=\"{x:.2}%\" x2=\"{x:.2}%\" y1=\"{ABOVE}\" y2=\"{bottom}\"/>"
        );
        if number < MARKS_LISTED_MAX {
            let middle = ABOVE / 2.0;
            let _ = write!(
                svg,
                "<circle class=\"mark\" cx=\"{x:.2}%\" cy=\"{middle}\" r=\"8\"/><text class=\"mark\" x=\"{x:.2}%\" y=\"{}\" text-anchor=\"middle\">{}</text>",
                middle + 4.0,
                number + 1
            );
        }
    }
}
