//! The judge over whole weeks: some that are made up, always, and the labelled ones where they lie beside the repository.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::allow_attributes,
    clippy::print_stderr,
    reason = "what fails here fails the test"
)]

#[path = "../examples/detectors/collectors.rs"]
mod collectors;
#[allow(dead_code, reason = "the example uses more of it")]
#[path = "../examples/detectors/corpus.rs"]
mod corpus;
#[path = "../examples/detectors/random.rs"]
mod random;
#[path = "../examples/detectors/script.rs"]
mod script;
#[path = "../examples/detectors/shapes.rs"]
mod shapes;

use corpus::{Corpus, Labelled};
use plimsoll_judgement::outside::{Judge, Sample, Settings, Verdict};
use shapes::make;

/// When `leaking` was said first, and how often it began to be said.
fn alarms(samples: &[Sample]) -> Vec<f64> {
    let mut judge = Judge::new(Settings::default());
    let mut begun = Vec::new();
    let mut stood = false;
    for sample in samples {
        judge.push(sample);
        let stands = matches!(judge.verdict(), Verdict::Leaking(_));
        if stands && !stood {
            begun.push(sample.t);
        }
        stood = stands;
    }
    begun
}

#[test]
fn leaks_of_many_shapes_are_found() {
    for (class, within_h) in [
        ("leak_hourly_follow", 72.0),
        ("leak_publish", 168.0),
        ("leak_accounted", 72.0),
        ("leak_late_fast", 4.0),
        ("leak_jvm_direct", 72.0),
        ("leak_masked_long", 120.0),
        ("leak_g1_native", 72.0),
        ("leak_g1_direct", 72.0),
        ("leak_beam", 72.0),
    ] {
        let made = make(class, 7);
        let (onset, _) = made.leak.unwrap();
        let found = alarms(&made.samples).into_iter().find(|alarm| *alarm >= onset);
        let delay = found.map(|alarm| (alarm - onset) / 3600.0);
        assert!(delay.is_some_and(|hours| hours < within_h), "{class}: {delay:?} h");
    }
}

#[test]
fn what_is_no_leak_is_not_called_one() {
    for class in [
        "ok_swing",
        "ok_logarithm",
        "ok_retained_growth",
        "ok_queue",
        "ok_restarts",
        "ok_jvm",
        "ok_lying_account",
    ] {
        assert_eq!(alarms(&make(class, 7).samples), [], "{class}");
    }
}

/// A third of the labelled series: a week each, about half a second.
#[test]
fn labelled_series_are_judged_as_labelled() {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/leak-series");
    let Ok(corpus) = Corpus::open(directory) else {
        eprintln!("{directory} is not there: nothing to compare with");
        return;
    };
    let (mut missed, mut wrong) = (Vec::new(), Vec::new());
    let mut judged = 0;
    for index in (0..).step_by(3).take_while(|index| corpus.name(*index).is_some()) {
        let series = corpus.read(index).unwrap();
        judged += 1;
        let alarms = alarms(&series.samples);
        let Labelled { name, class, onset, .. } = series;
        let until = onset.unwrap_or(f64::INFINITY);
        if alarms.iter().any(|alarm| *alarm < until) {
            wrong.push(format!("{name} {class}"));
        }
        if onset.is_some() && alarms.iter().all(|alarm| *alarm < until) {
            missed.push(format!("{name} {class}"));
        }
    }
    assert!(judged >= 10, "{judged} series");
    assert!(missed.is_empty() && wrong.is_empty(), "missed {missed:?}, false alarms {wrong:?}");
}
