//! What has to hold whatever the samples are.

use proptest::prelude::*;

use super::*;

const HOUR: f64 = 3600.0;
const MIB: f64 = 1024.0 * 1024.0;

/// A broker of 40 MiB whose account has a daily swing, and so many bytes an hour beside it.
fn broker(t: f64, leak: f64) -> Sample {
    let account = 30.0 * MIB * (1.0 + 0.2 * (t / (24.0 * HOUR) * std::f64::consts::TAU).sin());
    let noise = 20e3 * ((t * 0.37).sin() + (t * 0.11).cos());
    Sample {
        t,
        rss: 12.0 * MIB + 1.15 * account + noise + leak * t / HOUR,
        account: Some(account),
        connections: Some((account / 8192.0).round()),
        ..Sample::default()
    }
}

fn judged(samples: impl IntoIterator<Item = Sample>) -> (Judge, Option<f64>) {
    let mut judge = Judge::new(Settings::default());
    let mut raised = None;
    for sample in samples {
        judge.push(&sample);
        if raised.is_none() && matches!(judge.verdict(), Verdict::Leaking(_)) {
            raised = Some(sample.t);
        }
    }
    (judge, raised)
}

fn days(days: u32, pace: u32) -> impl Iterator<Item = f64> {
    (0..days * 86_400 / pace).map(move |step| f64::from(step * pace))
}

#[test]
fn a_leak_is_told_with_rate_and_limit() {
    let limit = Some(200.0 * MIB);
    let (judge, raised) = judged(days(4, 60).map(|t| Sample { limit, ..broker(t, 0.5e6) }));
    assert!(raised.is_some_and(|t| t < 30.0 * HOUR), "{raised:?}");
    let Verdict::Leaking(leak) = judge.verdict() else { panic!("{:?}", judge.verdict()) };
    assert!((leak.bytes_per_hour * 1.15 / 0.5e6 - 1.0).abs() < 0.1, "{leak:?}");
    assert_eq!(leak.view, View::Resident);
    assert!(leak.since < 6.0 * HOUR, "{leak:?}");
    assert!(leak.limit_in_s.is_some_and(|s| s > 24.0 * HOUR && s < 400.0 * HOUR), "{leak:?}");
    let reasons = judge.reasons().join("\n");
    assert!(reasons.contains("nothing explains it"), "{reasons}");
    assert!(judge.changes().any(|change| change.kind == ChangeKind::LeakSeen));
    let explained = judge.explained();
    let left = explained.last().zip(explained.first()).map(|(last, first)| last.left - first.left);
    assert!(
        explained.len() > 100 && left.is_some_and(|left| (40e6..50e6).contains(&left)),
        "{left:?}"
    );
}

#[test]
fn what_grows_and_is_not_known_yet_is_not_said_to_be_stable() {
    // A process of days that has stood still, and has begun to grow by something that slows down.
    let grows = |t: f64| 40.0 * MIB * (t / HOUR - 60.0).max(0.0).sqrt();
    let at = |t: f64| Sample { t, rss: 200.0 * MIB + grows(t), ..Sample::default() };
    let (judge, _) = judged((0..100 * 60).map(|minute| at(f64::from(minute) * 60.0)));
    assert_ne!(judge.verdict(), Verdict::Stable);
    // Samples that are too far apart to measure anything.
    let sparse = |t: f64| Sample { t, rss: 68e6 + 1e6 * t / HOUR, ..Sample::default() };
    let (judge, _) = judged((0..14).map(|step| sparse(f64::from(step) * 12.0 * HOUR)));
    assert!(matches!(judge.verdict(), Verdict::InsufficientData { .. }), "{:?}", judge.verdict());
}

#[test]
fn what_fills_within_hours_is_no_leak_and_what_is_large_does_not_wait() {
    let filled = |rate: f64, most: f64| {
        judged(days(2, 60).map(|t| {
            let buffer = (rate * t / HOUR).min(most);
            let plain = broker(t, 0.0);
            Sample { rss: plain.rss + buffer, ..plain }
        }))
    };
    assert_eq!(filled(8e6, 40e6).1, None, "a buffer of 40 MB that is full after five hours");
    let large = filled(58e6, f64::INFINITY).1;
    assert!(large.is_some_and(|t| t < 4.0 * HOUR), "{large:?}");
}

/// A managed process: what is in use after collections, old garbage on it, what was asked for, and what is beside it.
fn managed(t: f64, live: f64, garbage: f64, committed: f64, beside: f64) -> Sample {
    let young = 40.0 * MIB * (t / 1260.0).fract();
    let used = live + garbage + young;
    Sample {
        t,
        // Of the heap, what was ever in use is resident.
        rss: beside + live + garbage + 40.0 * MIB,
        heap_used: Some(used),
        heap_committed: Some(committed),
        ..Sample::default()
    }
}

#[test]
fn a_heap_that_a_leak_expands_is_no_garbage() {
    // A collector that asks for more in steps, so that less than 0.4 of it is in use after collections.
    let live = |t: f64| 50.0 * MIB + 3e6 * t / HOUR;
    let committed = |t: f64| (live(t) / 0.4 / (32.0 * MIB)).ceil() * 32.0 * MIB + 64.0 * MIB;
    let leaks = days(3, 60).map(|t| managed(t, live(t), 0.0, committed(t), 90.0 * MIB));
    let (judge, raised) = judged(leaks);
    assert!(raised.is_some_and(|t| t < 60.0 * HOUR), "{raised:?}");
    let Verdict::Leaking(leak) = judge.verdict() else { panic!("{:?}", judge.verdict()) };
    assert_eq!(leak.view, View::Heap);
    // Old garbage in a heap that was expanded once, in its first hours, is left alone for two days.
    let garbage = |t: f64| 3e6 * (t / HOUR).min(48.0);
    let committed = |t: f64| if t < 4.0 * HOUR { 256.0 * MIB } else { 700.0 * MIB };
    let healthy = days(3, 60).map(|t| managed(t, 50.0 * MIB, garbage(t), committed(t), 90.0 * MIB));
    let (judge, raised) = judged(healthy);
    assert_eq!(raised, None, "{:?}", judge.verdict());
}

#[test]
fn memory_may_grow_into_a_heap_that_was_never_touched() {
    let beside = |t: f64, rate: f64| 60.0 * MIB + rate * t / HOUR;
    let of = |rate: f64, committed: f64| {
        judged(days(5, 60).map(|t| managed(t, 80.0 * MIB, 0.0, committed * MIB, beside(t, rate))))
    };
    // 120 MiB of the heap are touched.
    let (judge, raised) = of(1e6, 150.0);
    assert!(raised.is_some_and(|t| t < 60.0 * HOUR), "{raised:?}");
    let Verdict::Leaking(leak) = judge.verdict() else { panic!("{:?}", judge.verdict()) };
    assert!((leak.bytes_per_hour / 1e6 - 1.0).abs() < 0.1, "{leak:?}");
    assert_eq!(of(0.0, 150.0).1, None);
    assert_eq!(of(1e6, 1024.0).1, None);
}

#[test]
fn what_is_loaded_in_bursts_beside_a_heap_is_no_leak() {
    let bursts = |t: f64| 12.0 * MIB * (t / (14.0 * HOUR)).floor().min(5.0);
    let of = |beside: &dyn Fn(f64) -> f64| {
        let at = |t: f64| managed(t, 80.0 * MIB, 0.0, 121.0 * MIB, 90.0 * MIB + beside(t));
        judged(days(5, 60).map(at)).1
    };
    assert_eq!(of(&bursts), None);
    assert!(of(&|t| 12.0 * MIB * t / (14.0 * HOUR)).is_some_and(|t| t < 30.0 * HOUR));
}

/// A heap whose collector looks once in ten hours.
fn slow_saw(t: f64, floor: f64) -> Sample {
    let used = floor + 100.0 * MIB * (t / (10.0 * HOUR)).fract();
    Sample { t, rss: 40.0 * MIB + 1.15 * used, heap_used: Some(used), ..Sample::default() }
}

#[test]
fn four_floors_on_a_line_are_enough() {
    let leaks = days(4, 60).map(|t| slow_saw(t, 80.0 * MIB + 4e6 * t / HOUR));
    let (judge, raised) = judged(leaks);
    assert!(raised.is_some_and(|t| t < 50.0 * HOUR), "{raised:?}");
    let Verdict::Leaking(leak) = judge.verdict() else { panic!("{:?}", judge.verdict()) };
    assert!((leak.bytes_per_hour / 4e6 - 1.0).abs() < 0.2, "{leak:?}");
    let fills = |t: f64| 80.0 * MIB + 60.0 * MIB * (1.0 - (-t / (20.0 * HOUR)).exp());
    assert_eq!(judged(days(4, 60).map(|t| slow_saw(t, fills(t)))).1, None);
    assert_eq!(judged(days(4, 60).map(|t| slow_saw(t, 80.0 * MIB))).1, None);
}

#[test]
fn what_connections_have_in_a_heap_is_taken_off() {
    let fleet = |t: f64| 3000.0 + 2000.0 * (t / (24.0 * HOUR) * std::f64::consts::TAU).sin();
    let at = |t: f64, leak: f64| {
        let live = 40.0 * MIB + 20e3 * fleet(t) + leak * t / HOUR;
        let committed = (1.6 * live).max(180.0 * MIB);
        Sample { connections: Some(fleet(t)), ..managed(t, live, 0.0, committed, 80.0 * MIB) }
    };
    let (judge, raised) = judged(days(5, 60).map(|t| at(t, 0.6e6)));
    assert!(raised.is_some_and(|t| t < 72.0 * HOUR), "{raised:?}");
    let Verdict::Leaking(leak) = judge.verdict() else { panic!("{:?}", judge.verdict()) };
    assert_eq!(leak.view, View::Heap);
    assert!((leak.bytes_per_hour / 0.6e6 - 1.0).abs() < 0.2, "{leak:?}");
    let (judge, raised) = judged(days(5, 60).map(|t| at(t, 0.0)));
    assert_eq!(raised, None, "{:?}", judge.verdict());
}

#[test]
fn what_is_seen_to_bend_fills_and_a_straight_line_does_not() {
    let of = |beside: &dyn Fn(f64) -> f64| {
        judged(
            days(4, 60).map(|t| managed(t, 80.0 * MIB, 0.0, 121.0 * MIB, beside(t) + 60.0 * MIB)),
        )
    };
    // A code cache: for its first hours it grows as fast as the leak, and bends.
    let (judge, raised) = of(&|t| 90.0 * MIB * (1.0 - (-t / (18.0 * HOUR)).exp()));
    assert_eq!(raised, None, "{:?}", judge.verdict());
    let (_, raised) = of(&|t| 5.0 * MIB * t / HOUR);
    assert!(raised.is_some_and(|t| t <= 4.0 * HOUR), "{raised:?}");
}

#[test]
fn a_swing_of_a_process_that_was_old_when_it_was_seen_first_is_no_leak() {
    for phase in 0..12 {
        let swing = |t: f64| {
            let day = (t / HOUR + 2.0 * f64::from(phase)) / 24.0;
            0.25 * (day * std::f64::consts::TAU).sin() + 0.002 * (t * 0.37).sin()
        };
        let (judge, raised) = judged(days(4, 60).map(|t| Sample {
            t,
            start: -72.0 * HOUR,
            rss: 300.0 * MIB * (1.0 + swing(t)),
            ..Sample::default()
        }));
        assert_eq!(raised, None, "{phase}: {:?}", judge.verdict());
    }
}

#[test]
fn packets_are_a_clock_too() {
    // By the hours it bends, as the load has its peak; by packets it is a straight line.
    let published = |t: f64| 1e6 * (t / HOUR + 9.0 * (t / (12.0 * HOUR)).sin());
    let leak = days(1, 60).map(|t| Sample {
        direct: Some(16.0 * MIB + 6.0 * published(t)),
        published_total: Some(published(t)),
        ..managed(t, 80.0 * MIB, 0.0, 256.0 * MIB, 60.0 * MIB + 6.0 * published(t))
    });
    let (_, raised) = judged(leak);
    assert!(raised.is_some_and(|t| t < 6.0 * HOUR), "{raised:?}");
}

#[test]
fn memory_that_follows_its_account_has_no_high_water_mark_to_speak_of() {
    // It warms up with the logarithm of its age, under a swing.
    let warm = |t: f64| 8.0 * MIB * (t / HOUR / 2.0).ln_1p();
    let healthy = days(7, 60).map(|t| {
        let sample = broker(t, 0.0);
        Sample { rss: sample.rss + warm(t), ..sample }
    });
    let (judge, raised) = judged(healthy);
    assert_eq!(raised, None, "{:?}", judge.verdict());
}

#[test]
fn a_heap_without_teeth_is_looked_at_however_far_it_rises() {
    let used = |t: f64| 60.0 * MIB + 2e6 * t / HOUR + 3.0 * MIB * (t * 0.37).sin();
    let grows = days(3, 60).map(|t| Sample {
        t,
        rss: 30.0 * MIB + 1.2 * used(t),
        heap_used: Some(used(t)),
        heap_committed: Some(1.25 * used(t)),
        ..Sample::default()
    });
    let (judge, raised) = judged(grows);
    assert!(raised.is_some_and(|t| t < 45.0 * HOUR), "{raised:?}");
    let Verdict::Leaking(leak) = judge.verdict() else { panic!("{:?}", judge.verdict()) };
    assert!((leak.bytes_per_hour / 2e6 - 1.0).abs() < 0.1, "{leak:?}");
}

#[test]
fn no_leak_is_none_and_its_power_is_told() {
    let (judge, raised) = judged(days(4, 60).map(|t| broker(t, 0.0)));
    assert_eq!((raised, judge.verdict()), (None, Verdict::Stable));
    let power = judge.power(12e6 / 72.0);
    assert!(power.is_some_and(|s| s < 72.0 * HOUR), "{power:?}");
    assert_eq!(judge.power(1.0), None);
}

#[test]
fn the_pace_of_samples_does_not_matter() {
    let (_, slow) = judged(days(2, 60).map(|t| broker(t, 1e6)));
    let (_, quick) = judged(days(2, 5).map(|t| broker(t, 1e6)));
    let apart = slow.zip(quick).map(|(slow, quick)| (slow - quick).abs());
    assert!(apart.is_some_and(|apart| apart < 3.0 * HOUR), "{slow:?} {quick:?}");
}

#[test]
fn a_leak_outlives_a_restart_and_ends_when_it_is_mended() {
    let one = days(2, 60).map(|t| broker(t, 2e6));
    let start = 48.0 * HOUR;
    let other = days(3, 60).map(|t| Sample { t: start + t, start, ..broker(t, 0.0) });
    let (mut judge, raised) = judged(one);
    assert!(raised.is_some());
    let mut until = None;
    for sample in other {
        judge.push(&sample);
        if until.is_none() && !matches!(judge.verdict(), Verdict::Leaking(_)) {
            until = Some((sample.t - start) / HOUR);
        }
    }
    assert!(until.is_some_and(|hours| hours > 12.0 && hours < 60.0), "{until:?}");
    let kinds: Vec<ChangeKind> = judge.changes().map(|change| change.kind).collect();
    assert!(kinds.contains(&ChangeKind::Restarted) && kinds.contains(&ChangeKind::LeakOver));
}

#[test]
fn a_loop_of_kills_is_told_though_each_life_is_short() {
    let limit = Some(2000.0 * MIB);
    let lives = (0..8).flat_map(|life| {
        let start = f64::from(life) * 3000.0;
        (0..50).map(move |minute| {
            let rss = (50.0 + 1950.0 / 50.0 * f64::from(minute)) * MIB;
            Sample { t: start + f64::from(minute) * 60.0, start, rss, limit, ..Sample::default() }
        })
    });
    let (judge, raised) = judged(lives);
    assert!(raised.is_some_and(|t| t < 4.0 * HOUR), "{raised:?} {:?}", judge.reasons());
    let reasons = judge.reasons().join(" ");
    assert!(reasons.contains("lived 48 min each"), "{reasons}");
}

#[test]
fn short_settings_answer_in_minutes() {
    let mut judge = Judge::new(Settings { settle_s: 5.0 });
    let mut raised = None;
    for second in 0..600 {
        let t = f64::from(second);
        judge.push(&Sample { t, rss: 50.0 * MIB + 200e3 * t, ..Sample::default() });
        if raised.is_none() && matches!(judge.verdict(), Verdict::Leaking(_)) {
            raised = Some(t);
        }
    }
    assert!(raised.is_some(), "{:?}", judge.reasons());
}

#[test]
fn years_take_no_more_room_than_weeks() {
    let mut judge = Judge::new(Settings { settle_s: 3600.0 });
    for t in days(20, 600) {
        judge.push(&broker(t, 0.0));
    }
    assert!(judge.stretches() <= Judge::stretches_max());
    assert!(judge.changes().count() <= 64);
}

#[test]
fn a_judge_that_has_seen_nothing_says_so() {
    let judge = Judge::new(Settings { settle_s: f64::NAN });
    assert!(matches!(judge.verdict(), Verdict::InsufficientData { .. }));
    assert_eq!(judge.reasons().len(), 1);
    assert_eq!(judge.power(1e6), None);
}

fn any_figure() -> impl Strategy<Value = f64> {
    prop_oneof![
        8 => 0.0..1e9,
        1 => Just(f64::NAN),
        1 => Just(f64::INFINITY),
        1 => Just(-1.0),
        1 => Just(1e300),
        1 => Just(0.0),
    ]
}

fn any_sample() -> impl Strategy<Value = Sample> {
    let figures = proptest::collection::vec(proptest::option::of(any_figure()), 14);
    (any_figure(), 0.0..1e5, any_figure(), figures).prop_map(|(start, step, rss, figures)| {
        let at = |index: usize| figures.get(index).copied().flatten();
        Sample {
            t: step,
            start: if start < 5e8 { 0.0 } else { start },
            rss,
            anon: at(0),
            file: at(1),
            account: at(2),
            heap_used: at(3),
            heap_committed: at(4),
            direct: at(5),
            retained: at(6),
            connections: at(7),
            sessions: at(8),
            subscriptions: at(9),
            queued: at(10),
            published_total: at(11),
            connected_total: at(12),
            limit: at(13),
            heap_limit: at(1),
            direct_limit: at(0),
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 5, ..ProptestConfig::default() })]

    /// Whatever comes, it neither panics nor says what is no number.
    #[test]
    fn nothing_that_comes_in_breaks_it(samples in proptest::collection::vec(any_sample(), 1..300)) {
        let mut judge = Judge::new(Settings { settle_s: 600.0 });
        let mut t = 0.0;
        for sample in samples {
            t += sample.t / 50.0;
            judge.push(&Sample { t, ..sample });
            judge.push(&sample);
            if let Verdict::Leaking(leak) = judge.verdict() {
                prop_assert!(leak.bytes_per_hour.is_finite() && leak.since.is_finite());
            }
        }
        for sentence in judge.reasons() {
            prop_assert!(!sentence.contains("NaN"), "{sentence}");
        }
        prop_assert!(judge.stretches() <= Judge::stretches_max());
    }

    /// When it began to look is no reason; nor are columns that are always empty, and gaps of hours.
    #[test]
    fn a_shifted_clock_changes_nothing(shift in 0.0..1e6f64, leak in 0.4e6..4e6f64) {
        let gap = |t: &f64| !(20.0 * HOUR..23.0 * HOUR).contains(t);
        let (_, plain) = judged(days(2, 300).filter(gap).map(|t| broker(t, leak)));
        let shifted = days(2, 300).filter(gap).map(|t| Sample {
            t: t + shift,
            start: shift,
            ..broker(t, leak)
        });
        let (_, shifted) = judged(shifted);
        prop_assert!(plain.is_some());
        let apart = plain.zip(shifted).map(|(plain, shifted)| (shifted - shift - plain).abs());
        prop_assert!(apart.is_some_and(|apart| apart < HOUR), "{plain:?} {shifted:?}");
    }
}
