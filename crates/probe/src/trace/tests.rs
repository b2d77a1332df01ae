//! A program in C that leaks, traced while it runs.

use std::time::Duration;

use super::{End, Report, Settings, Trace};
use crate::fixture::Program;
use crate::problem::Problem;

/// Traces, or says why this machine does not allow it.
fn trace(program: &Program, settings: Settings) -> Option<(Report, End)> {
    match Trace::start(&program.process(), settings) {
        Ok(mut trace) => Some(trace.run(&|| false, &mut |_| ()).unwrap()),
        Err(Problem::NotAllowed(why)) => {
            eprintln!("not traced: {why}");
            None
        }
        Err(problem) => panic!("{problem}"),
    }
}

const SHORT: Duration = Duration::from_secs(2);

#[test]
fn the_function_that_leaks_is_named() {
    let program = Program::start("leak", &["0", "1000"]);
    let settings = Settings { duration: SHORT, sample_bytes: 1, ..Settings::default() };
    let Some((report, end)) = trace(&program, settings) else { return };
    assert_eq!(end, End::Done);
    let first = &report.holders[0];
    let names: Vec<&str> = first.calls.iter().map(|call| &*call.function).collect();
    assert!(names[0].ends_with("strdup"), "{report}");
    assert_eq!(names[1..4], ["retain_topic", "handle_publish", "main"], "{report}");
    assert!(first.calls.iter().all(|call| !call.guessed), "{report}");
    // None of its blocks is freed; each update's payload is, but for the last of each topic.
    assert_eq!(first.held_samples, first.samples, "{report}");
    assert!(first.held_samples > 500, "{report}");
    assert_eq!(report.samples_lost + report.samples_without_room, 0, "{report}");
}
