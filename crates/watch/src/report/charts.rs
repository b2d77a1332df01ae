//! The charts of a report.

use plimsoll_judgement::outside::{Leak, Sample, Verdict, View};

use super::Subject;
use super::swing::swing;
use crate::describe::{self, Rate};
use crate::figure::Figure;
use crate::plot::{Band, Chart, Ink, Series, Span, TimeAxis, Unit};
use crate::replay::Alarm;

/// A gap of so many times the usual distance interrupts a line.
const GAP: f64 = 20.0;

/// Times since this are times of day; others are seconds since a recording began.
const DATED_S: f64 = 1e8;

/// How times of these samples are labelled.
pub(super) fn axis(samples: &[Sample]) -> TimeAxis {
    match samples.first() {
        Some(first) if first.t > DATED_S => TimeAxis::Utc,
        _ => TimeAxis::Elapsed,
    }
}

/// All charts that there is something to show in, as HTML.
pub(super) fn charts(subject: &Subject<'_>) -> Vec<Chart> {
    let mut charts = vec![memory(subject)];
    charts.extend(residue(subject));
    charts.extend(accounts(subject));
    charts.extend(counts(subject));
    charts.extend(rates(subject));
    charts.extend(day(subject));
    charts
}

/// A chart of the subject's time, with what happened in it.
fn frame(subject: &Subject<'_>, title: &str, unit: Unit) -> Chart {
    let ends = subject.samples.first().zip(subject.samples.last());
    let to = ends.map_or(0.0, |(_, last)| last.t);
    let span = |alarm: &Alarm| Span {
        name: "leaking".to_owned(),
        from: alarm.leak.since.min(alarm.from_s),
        to: alarm.to_s.unwrap_or(to),
        alarm: true,
    };
    Chart {
        title: title.to_owned(),
        unit,
        x: axis(subject.samples),
        range: ends.map(|(first, last)| (first.t, last.t)),
        spans: subject.alarms.iter().map(span).collect(),
        ..Chart::default()
    }
}

fn memory(subject: &Subject<'_>) -> Chart {
    let mut chart = frame(subject, "Resident memory, and what the process says of it", Unit::Bytes);
    if !subject.marks.is_empty() {
        "Instants with numbers are those listed below.".clone_into(&mut chart.note);
    }
    chart.from_zero = true;
    chart.height = 240;
    chart.marks.clone_from(&subject.marks);
    chart.series = lines(subject.samples, |sample| Some(sample.rss), "resident (RSS)");
    chart.series.extend(lines(subject.samples, |sample| sample.anon, "anonymous part"));
    for (figure, name) in [
        (Figure::Account, "its own account"),
        (Figure::HeapCommitted, "managed heap, committed"),
        (Figure::Direct, "beside the heap"),
    ] {
        chart.series.extend(lines(subject.samples, |sample| figure.of(sample), name));
    }
    let limit = subject.samples.last().and_then(|last| last.limit);
    chart.limit = limit.map(|limit| (limit, format!("limit {}", Unit::Bytes.text(limit))));
    chart
}

/// What the judge looked at, less what it takes off.
fn residue(subject: &Subject<'_>) -> Option<Chart> {
    let title = "What is left when that which moves with state is taken off";
    let mut chart = frame(subject, title, Unit::Bytes);
    let view = match subject.verdict {
        Verdict::Leaking(leak) => leak.view,
        _ => View::Resident,
    };
    chart.note = format!(
        "The judge's own series: {}, of the process that lived last, once it had settled. A line that rises is memory that nobody owns.",
        describe::view(view)
    );
    chart.series = vec![Series::new("left", subject.left.to_vec())];
    fitted(subject, view, subject.left, &mut chart);
    (subject.left.len() > 1).then_some(chart)
}

/// Resident memory: its anonymous part if that is known, for files can be dropped.
pub(super) fn resident(sample: &Sample) -> f64 {
    sample.anon.unwrap_or(sample.rss)
}

/// The slope that the judge has found, through the middle of what it was found in, within its interval.
fn fitted(subject: &Subject<'_>, view: View, points: &[(f64, f64)], chart: &mut Chart) {
    let Some(Alarm { leak, to_s: to, .. }) =
        subject.alarms.last().filter(|alarm| alarm.leak.view == view)
    else {
        return;
    };
    let end = to.unwrap_or_else(|| points.last().map_or(0.0, |last| last.0));
    let Leak { since, bytes_per_hour, error, .. } = *leak;
    let within: Vec<(f64, f64)> = points
        .iter()
        .copied()
        .filter(|(time, figure)| (since..=end).contains(time) && figure.is_finite())
        .collect();
    if within.len() < 2 {
        return;
    }
    let middle = f64::midpoint(since, end);
    let mut levels: Vec<f64> = within
        .iter()
        .map(|(time, figure)| figure - bytes_per_hour * (time - middle) / 3600.0)
        .collect();
    levels.sort_by(f64::total_cmp);
    let level = levels[levels.len() / 2];
    let at = |time: f64| level + bytes_per_hour * (time - middle) / 3600.0;
    let name = format!("fitted: {}", rate(bytes_per_hour, error));
    chart
        .series
        .push(Series::new(name, vec![(since, at(since)), (end, at(end))]).with(Ink::Fitted));
    let around = |time: f64| {
        let half = error * (time - middle).abs() / 3600.0;
        (time, at(time) - half, at(time) + half)
    };
    let points = (0..=20).map(|part| around(since + (end - since) * f64::from(part) / 20.0));
    chart.bands.push(Band { name: "95 % interval".to_owned(), points: points.collect() });
}

/// A rate with its interval, in the unit of sentences.
pub(super) fn rate(bytes_per_hour: f64, error: f64) -> String {
    format!("{} ± {}", Rate(bytes_per_hour), Rate(error))
}

/// Its accounts in bytes.
fn accounts(subject: &Subject<'_>) -> Option<Chart> {
    let mut chart = frame(subject, "What it says that it holds", Unit::Bytes);
    for (figure, name, view) in [
        (Figure::Account, "its own account", View::Account),
        (Figure::HeapUsed, "managed heap, used", View::Heap),
        (Figure::HeapCommitted, "managed heap, committed", View::Resident),
        (Figure::Direct, "beside the heap", View::Direct),
    ] {
        let own = lines(subject.samples, |sample| figure.of(sample), name);
        if let Some(points) = own.first().map(|series| series.points.clone())
            && view != View::Resident
        {
            fitted(subject, view, &points, &mut chart);
        }
        chart.series.extend(own);
    }
    let limit = subject.samples.last().and_then(|last| last.direct_limit);
    chart.limit = limit.map(|limit| (limit, format!("limit {}", Unit::Bytes.text(limit))));
    (!chart.series.is_empty()).then_some(chart)
}

/// One small chart for each count of state.
fn counts(subject: &Subject<'_>) -> impl Iterator<Item = Chart> {
    [
        (Figure::Retained, "Retained messages"),
        (Figure::Connections, "Connected clients"),
        (Figure::Sessions, "Sessions"),
        (Figure::Subscriptions, "Subscriptions"),
        (Figure::Queued, "Messages in queues"),
    ]
    .into_iter()
    .filter_map(|(figure, title)| {
        let series = lines(subject.samples, |sample| figure.of(sample), title);
        (!series.is_empty()).then(|| Chart {
            series,
            height: 110,
            ..frame(subject, title, Unit::Count)
        })
    })
}

/// What counters counted, as rates.
fn rates(subject: &Subject<'_>) -> impl Iterator<Item = Chart> {
    [(Figure::PublishedTotal, "PUBLISH received"), (Figure::ConnectedTotal, "Connections accepted")]
        .into_iter()
        .filter_map(|(figure, title)| {
            let points = differences(subject.samples, figure);
            let series = vec![Series::new("each second", points)];
            let chart = frame(subject, title, Unit::PerSecond);
            (series[0].points.len() > 1).then_some(Chart {
                series,
                height: 110,
                from_zero: true,
                ..chart
            })
        })
}

/// Rates of a counter between samples some time apart; none across a restart.
fn differences(samples: &[Sample], figure: Figure) -> Vec<(f64, f64)> {
    /// Points that a line of rates has.
    const POINTS: usize = 500;
    let every = samples.len().div_ceil(POINTS).max(1);
    let kept: Vec<&Sample> = samples.iter().step_by(every).collect();
    kept.windows(2)
        .filter_map(|pair| {
            let [before, after] = *pair else { return None };
            let same = before.start.total_cmp(&after.start).is_eq();
            let grown = figure.of(after)? - figure.of(before)?;
            let rate = if same && grown >= 0.0 { grown / (after.t - before.t) } else { f64::NAN };
            Some((after.t, rate))
        })
        .collect()
}

/// The shape of a day.
fn day(subject: &Subject<'_>) -> Option<Chart> {
    let found = swing(subject.samples)?;
    let median = found.parts.iter().map(|(at, _, median, _)| (*at, *median)).collect();
    let band = found.parts.iter().map(|(at, low, _, high)| (*at, *low, *high)).collect();
    let dated = axis(subject.samples) == TimeAxis::Utc;
    Some(Chart {
        title: "The swing of a day".to_owned(),
        note: format!(
            "Memory above or below its own day's mean, over {} whole days{}.",
            found.days,
            if dated { ", by hours UTC" } else { "" }
        ),
        unit: Unit::Bytes,
        range: Some((0.0, 86_400.0)),
        height: 140,
        series: vec![Series::new("median of days", median)],
        bands: vec![Band { name: "10 % to 90 % of days".to_owned(), points: band }],
        ..Chart::default()
    })
}

/// A line, if the figure is ever known.
fn lines(samples: &[Sample], figure: impl Fn(&Sample) -> Option<f64>, name: &str) -> Vec<Series> {
    let points: Vec<(f64, f64)> =
        samples.iter().map(|sample| (sample.t, figure(sample).unwrap_or(f64::NAN))).collect();
    match points.iter().any(|(_, figure)| figure.is_finite()) {
        true => vec![Series::new(name, interrupted(samples, &points))],
        false => Vec::new(),
    }
}

/// The points, interrupted where the process was another one, and where nothing was seen for long.
fn interrupted(samples: &[Sample], points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let mut steps: Vec<f64> = samples.windows(2).map(|pair| pair[1].t - pair[0].t).collect();
    steps.sort_by(f64::total_cmp);
    let gap = steps.get(steps.len() / 2).map_or(f64::INFINITY, |usual| usual * GAP);
    let mut line = Vec::with_capacity(points.len() + 16);
    for (number, point) in points.iter().enumerate() {
        let before = number.checked_sub(1).and_then(|before| samples.get(before));
        if let Some((before, sample)) = before.zip(samples.get(number))
            && (before.start.total_cmp(&sample.start).is_ne() || sample.t - before.t > gap)
        {
            line.push((before.t, f64::NAN));
        }
        line.push(*point);
    }
    line
}

/// The memory now, in words.
pub(super) fn memory_now(samples: &[Sample], verdict: &Verdict) -> Option<String> {
    let last = samples.last()?;
    let text = format!("{} resident", Unit::Bytes.text(last.rss));
    Some(match (verdict, last.limit) {
        (Verdict::Leaking(_), Some(limit)) => format!("{text} of {}", Unit::Bytes.text(limit)),
        _ if last.anon.is_some() => {
            format!("{text}, {} of it anonymous", Unit::Bytes.text(resident(last)))
        }
        _ => text,
    })
}
