//! The plots of a report.

use plimsoll_watch::plot::{Chart, Ink, Series, Span, Unit};

use super::growth::median;
use super::outcome::{CycleRecord, Outcome, Point, View, Window};

/// All plots, in their order.
pub(super) fn charts(outcome: &Outcome) -> Vec<Chart> {
    vec![memory(outcome), steady(outcome), losses(outcome), rates(outcome), flood(outcome)]
}

fn points(outcome: &Outcome, figure: impl Fn(&Point) -> Option<f64>) -> Vec<(f64, f64)> {
    outcome.series.iter().filter_map(|point| Some((point.t, figure(point)?))).collect()
}

fn memory(outcome: &Outcome) -> Chart {
    let in_quiet =
        |cycle: &CycleRecord| (cycle.to_s, median(cycle.quiet.get(1..).unwrap_or_default()));
    let mut series = vec![
        Series::new("resident (RSS)", points(outcome, |point| Some(point.rss))),
        Series::new(
            "of that anonymous, in quiet: what is judged",
            outcome.cycles.iter().map(in_quiet).collect(),
        )
        .with(Ink::Fitted),
    ];
    for view in View::ASKED {
        let said = points(outcome, |point| point.said(view));
        if !said.is_empty() {
            series.push(Series::new(view.by(), said));
        }
    }
    let named = |span: &&super::outcome::Span| ["filling", "clear"].contains(&span.phase.as_str());
    let spans = outcome.spans.iter().filter(named).map(|span| Span {
        name: span.phase.clone(),
        from: span.from_s,
        to: span.to_s,
        alarm: false,
    });
    Chart {
        title: "Memory".into(),
        note: "What the system sees against what the broker says.".into(),
        unit: Unit::Bytes,
        from_zero: true,
        height: 240,
        spans: spans.collect(),
        series,
        ..Chart::default()
    }
}

/// A line of the windows of one kind of phase, s: a short phase has only one, so it goes on over what lies between.
fn windows(outcome: &Outcome, phase: &str, figure: impl Fn(&Window) -> f64) -> Vec<(f64, f64)> {
    let point =
        |window: &Window| (f64::midpoint(window.from_s, window.to_s), figure(window) / 1000.0);
    outcome.windows.iter().filter(|window| window.phase == phase).map(point).collect()
}

fn steady(outcome: &Outcome) -> Chart {
    let of = |figure: fn(&Window) -> f64| windows(outcome, "steady", figure);
    Chart {
        title: "Latency while the rate is steady".into(),
        note: format!(
            "At {} messages a second, from when each was due, so that none that had to wait is left out.",
            outcome.scenario.load.steady_per_second
        ),
        unit: Unit::Seconds,
        from_zero: true,
        height: 240,
        series: vec![
            Series::new("p50", of(|window| window.publish.p50)),
            Series::new("p99", of(|window| window.publish.p99)),
            Series::new("p99.9", of(|window| window.publish.p999)),
            Series::new("p99 to the listener", of(|window| window.listener_p99_ms)),
            Series::new("p99 of this tool’s own lateness", of(|window| window.late_p99_ms))
                .with(Ink::Quiet),
        ],
        limit: Some((outcome.scenario.limits.p99_publish_ms / 1000.0, "limit of p99".into())),
        ..Chart::default()
    }
}

fn flood(outcome: &Outcome) -> Chart {
    let of = |figure: fn(&Window) -> f64| windows(outcome, "updates", figure);
    Chart {
        title: "Latency while updating as fast as possible".into(),
        note: "It says how long the queues in the broker and before it are.".into(),
        unit: Unit::Seconds,
        from_zero: true,
        height: 140,
        series: vec![
            Series::new("p50", of(|window| window.publish.p50)),
            Series::new("p99", of(|window| window.publish.p99)),
            Series::new("p99.9", of(|window| window.publish.p999)),
        ],
        ..Chart::default()
    }
}

fn losses(outcome: &Outcome) -> Chart {
    let of = |figure: fn(&Point) -> u64| points(outcome, |point| Some(figure(point) as f64));
    Chart {
        title: "Messages lost, doubled, late, stale".into(),
        note: "Counted until then; what is only late comes off “lost” again.".into(),
        unit: Unit::Count,
        from_zero: true,
        height: 140,
        series: vec![
            Series::new("lost", of(|point| point.woes.missing)).with(Ink::Alarm),
            Series::new("doubled", of(|point| point.woes.doubled)),
            Series::new("out of order", of(|point| point.woes.out_of_order)),
            Series::new("stale", of(|point| point.woes.stale)),
            Series::new("cut off", of(|point| point.woes.cut_off)),
        ],
        ..Chart::default()
    }
}

fn rates(outcome: &Outcome) -> Chart {
    let rates = outcome.cycles.iter().map(|cycle| (cycle.to_s, cycle.updates_per_s)).collect();
    Chart {
        title: "Updates a second while updating".into(),
        unit: Unit::PerSecond,
        from_zero: true,
        height: 140,
        series: vec![Series::new("updates", rates)],
        ..Chart::default()
    }
}

#[cfg(test)]
mod tests {
    use super::super::outcome::Quantiles;
    use super::super::outcome::tests::sample;
    use super::*;

    #[test]
    fn a_line_is_of_one_kind_of_phase() {
        let mut outcome = sample();
        outcome.windows = [(0.0, "steady"), (1.0, "steady"), (2.0, "updates"), (9.0, "steady")]
            .into_iter()
            .map(|(from_s, phase)| Window {
                phase: phase.into(),
                from_s,
                to_s: from_s + 1.0,
                publish: Quantiles { p50: 2.0, ..Quantiles::default() },
                ..Window::default()
            })
            .collect();
        let line = windows(&outcome, "steady", |window| window.publish.p50);
        let times: Vec<f64> = line.iter().map(|point| point.0).collect();
        assert_eq!(times, [0.5, 1.5, 9.5]);
        assert!((line[2].1 - 0.002).abs() < 1e-9);
    }

    #[test]
    fn what_is_lost_is_a_line() {
        let mut outcome = sample();
        outcome.series[50].woes.missing = 7;
        let chart = losses(&outcome);
        assert!((chart.series[0].points[50].1 - 7.0).abs() < 1e-9);
        assert!(chart.figure().contains("out of order"));
    }
}
