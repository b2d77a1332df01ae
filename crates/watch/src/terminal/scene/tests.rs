use plimsoll_judgement::outside::{Driver, Leak, View};

use super::*;
use crate::accounts::Accounts;
use crate::procfs::ProcessReading;
use crate::reading::Reading;
use crate::selector::Selector;
use crate::target::Target;

/// Two targets, the first of which has grown for an hour.
fn scene(coloured: bool) -> Scene {
    let mut scene = Scene::new(coloured, None);
    let mut edge = Watched::new(Target::new("edge\x1b[2J", Selector::Pid(1)));
    let other = Watched::new(Target::new("other", Selector::Pid(2)));
    edge.verdict = Verdict::Leaking(Leak {
        bytes_per_hour: 200_000.0,
        error: 9000.0,
        since: 0.0,
        view: View::Resident,
        driver: Driver::Publish,
        bytes_per_event: Some(48.0),
        limit_in_s: Some(936_000.0),
    });
    let mut all = vec![edge, other];
    for second in 0..4000u32 {
        let t = f64::from(second);
        let rss = 10e6 + 1000.0 * t;
        all[0].readings += 1;
        all[0].last = Some(Reading {
            time: SystemTime::UNIX_EPOCH,
            t,
            process: Some(ProcessReading { rss, ..ProcessReading::default() }),
            cgroup: None,
            oom_killed: 0,
            pressure: None,
            accounts: Accounts::default(),
            sample: Some(Sample { t, rss, account: Some(9e6), ..Sample::default() }),
            absent: None,
        });
        scene.update(&all);
    }
    scene
}

/// Without escape sequences.
fn plain(row: &str) -> String {
    let mut pieces = row.split('\x1b');
    let first = pieces.next().unwrap_or_default().to_owned();
    pieces.fold(first, |text, piece| text + piece.split_once('m').map_or("", |(_, rest)| rest))
}

#[test]
fn any_size_is_filled_and_not_exceeded() {
    let scene = scene(true);
    for (width, height) in [(80, 24), (200, 60), (40, 12), (20, 5), (3, 2), (1, 1), (10, 3)] {
        let rows = scene.rows(width, height, SystemTime::UNIX_EPOCH);
        assert_eq!(rows.len(), height, "{width}x{height}");
        for row in rows.iter().map(|row| plain(row)) {
            // The labels of the graph and its legend need their room; the terminal cuts them.
            assert!(row.chars().count() <= width.max(70), "{width}x{height}: {row}");
        }
    }
}

#[test]
fn the_chosen_target_has_its_graph_and_its_words() {
    let mut scene = scene(false);
    let text = scene.rows(100, 30, SystemTime::UNIX_EPOCH).join("\n");
    assert!(text.contains("plimsoll watch · 1970-01-01 00:00:00"), "{text}");
    assert!(text.contains("▸ edge\u{fffd}[2J"), "{text}");
    assert!(!text.contains('\x1b'), "names move no cursors, and there are no colours");
    assert!(text.contains("leaking at 0.200 MB/h"), "{text}");
    assert!(text.contains("last 600 s") || text.contains("last 10 min"), "{text}");
    assert!(text.contains("── its own account") && text.contains("13.4 MiB"), "{text}");
    scene.press(Key::Longer);
    let text = scene.rows(100, 30, SystemTime::UNIX_EPOCH).join("\n");
    assert!(text.contains("last 60 min"), "{text}");
    scene.press(Key::Next);
    let text = scene.rows(100, 30, SystemTime::UNIX_EPOCH).join("\n");
    assert!(text.contains("▸ other") && text.contains("not enough data yet"), "{text}");
    scene.press(Key::Next);
    scene.press(Key::Previous);
    assert_eq!(scene.chosen, 1, "round and back");
}

#[test]
fn the_line_of_growth_rises_from_left_to_right() {
    let mut scene = scene(false);
    scene.press(Key::Longer);
    let rows = scene.graph(&scene.targets[0], 60, 8);
    let dots = |row: &str, from: usize, to: usize| {
        row.chars().skip(LABELS + from).take(to - from).any(|letter| letter != ' ')
    };
    assert!(dots(&rows[0], 45, 50) && !dots(&rows[0], 0, 40), "{}", rows.join("\n"));
    assert!(rows.iter().take(8).all(|row| row.chars().count() <= 60));
}

#[test]
fn many_targets_leave_room_for_the_chosen_one() {
    let mut scene = Scene::new(false, None);
    let all: Vec<Watched> = (0..50)
        .map(|number| Watched::new(Target::new(format!("t{number}"), Selector::Pid(number))))
        .collect();
    scene.update(&all);
    (0..40).for_each(|_| scene.press(Key::Next));
    let rows = scene.rows(80, 24, SystemTime::UNIX_EPOCH);
    assert!(rows.iter().any(|row| row.starts_with("▸ t40 ")), "{}", rows.join("\n"));
    scene.update(&all[..3]);
    assert_eq!(scene.chosen, 2);
}

#[test]
fn a_narrow_terminal_shortens_names_and_not_judgements() {
    let mut scene = Scene::new(false, None);
    let name = "access-platform-of-plant-7";
    scene.update(&[Watched::new(Target::new(name, Selector::Pid(1)))]);
    let row = |width| scene.rows(width, 24, SystemTime::UNIX_EPOCH)[1].clone();
    assert_eq!(row(40), "▸ access-…         –  insufficient data");
    assert!(row(80).starts_with("▸ access-platform-of-plant-7  "), "{}", row(80));
}

#[test]
fn words_are_wrapped() {
    let rows: Vec<String> = wrapped("one two three four", "- ", 10).collect();
    assert_eq!(rows, ["- one two", "  three", "  four"]);
}
