use plimsoll_judgement::outside::{Driver, Leak, View};

use super::charts::charts;
use super::*;

fn leaking() -> (Vec<Sample>, Alarm) {
    let samples = (0..3 * 1440)
        .map(|minute| {
            let t = 1.78e9 + f64::from(minute) * 60.0;
            let start = if minute < 2000 { 1.7e9 } else { 1.78e9 + 120_000.0 };
            let swing = 2e6 * (t / 86_400.0 * std::f64::consts::TAU).sin();
            Sample {
                t,
                start,
                rss: 50e6 + f64::from(minute) * 4000.0 + swing,
                account: Some(30e6 + swing),
                retained: Some(1000.0 + f64::from(minute % 60)),
                published_total: Some(f64::from(minute) * 600.0),
                limit: Some(100e6),
                ..Sample::default()
            }
        })
        .collect();
    let leak = Leak {
        bytes_per_hour: 240_000.0,
        error: 12_000.0,
        since: 1.78e9 + 3600.0,
        view: View::Resident,
        driver: Driver::Publish,
        bytes_per_event: Some(6.7),
        limit_in_s: Some(4e5),
    };
    (samples, Alarm { from_s: 1.78e9 + 40_000.0, to_s: None, leak })
}

fn subject<'a>(samples: &'a [Sample], verdict: &'a Verdict, reasons: &'a [String]) -> Subject<'a> {
    Subject {
        name: "edge <1>",
        samples,
        samples_seen: samples.len() as u64,
        left: &[],
        verdict,
        reasons,
        alarms: Vec::new(),
        marks: steps(&[
            Change { t: 1.78e9 + 60_000.0, kind: ChangeKind::Step(-3e6) },
            Change { t: 1.78e9 + 120_000.0, kind: ChangeKind::Restarted },
        ])
        .collect(),
        facts: vec![("file".to_owned(), "a&b.csv".to_owned())],
    }
}

/// Such as the judge takes the account off.
fn left(samples: &[Sample]) -> Vec<(f64, f64)> {
    samples.iter().map(|sample| (sample.t, sample.rss - sample.account.unwrap_or(0.0))).collect()
}

#[test]
fn a_report_stands_alone_and_says_everything() {
    let (samples, alarm) = leaking();
    let verdict = Verdict::Leaking(alarm.leak.clone());
    let reasons = ["Resident memory grew by 17 MB.".to_owned()];
    let left = left(&samples);
    let subject =
        Subject { left: &left, alarms: vec![alarm], ..subject(&samples, &verdict, &reasons) };
    let html = report(&subject, None);
    for outside in ["src=\"", "href=\"http", "@import", "url(", "edge <1>", "a&b", "NaN", "inf%"] {
        assert!(!html.contains(outside), "{outside}");
    }
    for said in [
        "<h1>edge &lt;1&gt;</h1>",
        "<section class=\"card verdict leaking\">Leaking at 0.240 MB/h ± 0.012 MB/h",
        "<li>Resident memory grew by 17 MB.</li>",
        "0.240 MB/h ± 0.012 MB/h (95 % interval)",
        "fitted: 0.240 MB/h",
        "95 % interval</li>",
        "<li>restarted: another process <small>",
        "<li>a step of 2.9 MiB down <small>",
        "The swing of a day",
        "Retained messages",
        "PUBLISH received",
        "6.7 bytes",
        "a&amp;b.csv",
    ] {
        assert!(html.contains(said), "{said}");
    }
}

#[test]
fn the_fitted_line_has_the_leaks_slope() {
    let (samples, alarm) = leaking();
    let verdict = Verdict::Leaking(alarm.leak.clone());
    let left = left(&samples);
    let subject = Subject { left: &left, alarms: vec![alarm], ..subject(&samples, &verdict, &[]) };
    let chart = &charts(&subject)[1];
    let fitted = chart.series.last().expect("a fitted line");
    let [(from, low), (to, high)] = fitted.points[..] else { panic!("two points") };
    assert!(((high - low) / (to - from) * 3600.0 - 240_000.0).abs() < 1.0);
    // It lies in the middle of what it is fitted to.
    let residue = &chart.series[0].points;
    let near = residue.iter().find(|point| point.0 >= f64::midpoint(from, to)).expect("a point");
    assert!((near.1 - f64::midpoint(low, high)).abs() < 3e6, "{near:?} {low} {high}");
}

#[test]
fn a_report_of_nothing_and_of_memory_alone_is_a_report_too() {
    let verdict = Verdict::InsufficientData { more_s: 3600.0 };
    let html = report(&subject(&[], &verdict, &[]), Some(30));
    assert!(html.contains("Nothing was seen yet.") && html.contains("content=\"30\""));
    let samples: Vec<Sample> =
        (0..10).map(|n| Sample { t: f64::from(n), rss: 1e6, ..Sample::default() }).collect();
    let html = report(&subject(&samples, &Verdict::Stable, &[]), None);
    assert!(html.contains("verdict stable") && !html.contains("What is left"));
    assert!(!html.contains("NaN"));
}
