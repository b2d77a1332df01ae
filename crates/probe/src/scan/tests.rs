//! Programs in C that lose blocks, or do not, looked at while they run.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{Findings, Pace, Settings, scan};
use crate::fixture::Program;
use crate::problem::Problem;

fn look(program: &Program) -> Findings {
    let settings = Settings { apart: Duration::from_millis(300), ..Settings::default() };
    scan(&program.process(), &settings, &mut Pace::new(Duration::from_secs(60), &mut |_| ()))
        .unwrap()
}

#[test]
fn a_topic_lost_at_each_update_is_named() {
    let program = Program::start("leak", &["200", "2000"]);
    let findings = look(&program);
    let topics: Vec<_> =
        findings.groups.iter().filter(|group| group.content == "plant/#/line/#/state").collect();
    assert_eq!(topics.len(), 1, "{findings}");
    assert!(topics[0].blocks >= 200, "{findings}");
    assert!(topics[0].example.starts_with("plant/"), "{findings}");
    let others: BTreeSet<&str> = findings.groups.iter().map(|group| &*group.content).collect();
    assert_eq!(others.len(), 1, "{findings}");
}

#[test]
fn so_it_is_in_a_static_program() {
    // Its heap begins within a page, behind what glibc has asked for before.
    let program = Program::start_with("leak", &["-static"], &["200", "2000"]);
    let findings = look(&program);
    assert_eq!(findings.groups[0].content, "plant/#/line/#/state", "{findings}");
    assert_eq!(findings.extent.not_understood_bytes, 0, "{:?}", findings.extent);
}

#[test]
fn a_clean_program_gives_nothing() {
    // Lists, trees, large blocks, threads with arenas of their own, blocks that come and go all the time.
    let program = Program::start("clean", &[]);
    let findings = look(&program);
    assert_eq!(findings.lost_blocks, 0, "{findings}");
    assert!(findings.extent.heaps >= 3, "{:?}", findings.extent);
    assert!(findings.extent.blocks >= 30_000, "{:?}", findings.extent);
    assert_eq!(findings.extent.not_understood_bytes, 0, "{:?}", findings.extent);
}

#[test]
fn free_blocks_in_a_full_cache_are_not_lost() {
    // Seven in each of the 64 lists of a thread's cache, and three of each size beyond, in fast bins or others.
    let program = Program::start("cached", &[]);
    let findings = look(&program);
    assert_eq!(findings.lost_blocks, 0, "{findings}");
    assert!(findings.extent.blocks >= 64 * 10, "those that are held: {findings}");
}

#[test]
fn every_way_to_lose_is_seen() {
    let program = Program::start("lost", &[]);
    let findings = look(&program);
    let of = |text: &str| findings.groups.iter().find(|group| group.content == text);
    assert_eq!(of("in the main heap").map(|group| group.blocks), Some(10), "{findings}");
    assert_eq!(of("in a thread's arena").map(|group| group.blocks), Some(10), "{findings}");
    assert_eq!(of("with a mapping of its own").map(|group| group.blocks), Some(2), "{findings}");
    assert_eq!(
        of("held by a lost block").map(|group| (group.blocks, group.inner)),
        Some((5, 5)),
        "{findings}"
    );
    assert_eq!(of("freed"), None, "{findings}");
    assert_eq!(of("held"), None, "{findings}");
}

#[test]
fn another_allocator_is_said_to_be_one() {
    let program = Program::start("no_heap", &[]);
    let settings = Settings::default();
    let problem =
        scan(&program.process(), &settings, &mut Pace::new(Duration::from_secs(9), &mut |_| ()))
            .unwrap_err();
    assert!(matches!(problem, Problem::NotThisProgram(_)), "{problem}");
}
