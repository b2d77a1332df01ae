//! Programs in C, traced while they run.

use std::time::{Duration, Instant};

use super::kernel::Means;
use super::{End, Holder, Report, Settings, Trace, functions};
use crate::fixture::Program;
use crate::problem::Problem;
use crate::process::memory::Memory;
use crate::process::{Process, maps};

/// A trace of a program; or why this machine does not allow one.
fn start(program: &Program, settings: Settings, means: Option<Means>) -> Option<Trace> {
    match Trace::start_by(&program.process(), settings, means) {
        Ok(trace) => Some(trace),
        Err(Problem::NotAllowed(why)) => {
            eprintln!("not traced: {why}");
            None
        }
        Err(problem) => panic!("{problem}"),
    }
}

fn run(mut trace: Trace) -> (Report, End) {
    trace.run(&|| false, &mut |_| Ok(())).unwrap()
}

/// Every allocation is a sample.
fn each() -> Settings {
    Settings {
        duration: Duration::from_secs(2),
        sample_bytes: 1,
        stack_bytes: 4096,
        ..Settings::default()
    }
}

fn names(holder: &Holder) -> Vec<&str> {
    holder.calls.iter().map(|call| &*call.function).collect()
}

/// The report on `leak`: strdup'ed topics are lost, payloads are replaced.
fn is_of_the_leak(report: &Report) {
    let first = &report.holders[0];
    assert!(names(first)[0].ends_with("strdup"), "{report}");
    assert_eq!(names(first)[1..4], ["retain_topic", "handle_publish", "main"], "{report}");
    assert!(
        report.holders.iter().flat_map(|holder| &holder.calls).all(|call| !call.guessed),
        "{report}"
    );
    assert_eq!(first.held_samples, first.samples, "none is freed\n{report}");
    assert!(first.held_samples > 500, "{report}");
    let payloads = report
        .holders
        .iter()
        .find(|holder| names(holder).starts_with(&["handle_publish", "main"]))
        .unwrap();
    assert!(payloads.held_samples <= 500, "one for each topic\n{report}");
    assert!(payloads.samples > 500, "{report}");
    assert_eq!(report.samples_lost + report.samples_without_room, 0, "{report}");
}

#[test]
fn the_function_that_leaks_is_named() {
    let program = Program::start("leak", &["0", "2000"]);
    let Some(trace) = start(&program, each(), None) else { return };
    let (report, end) = run(trace);
    assert_eq!(end, End::Done);
    is_of_the_leak(&report);
}

#[test]
fn it_is_named_in_a_static_program_too() {
    // Without an index of its tables for unwinding.
    let program = Program::start_with("leak", &["-static"], &["0", "2000"]);
    let Some(trace) = start(&program, each(), None) else { return };
    is_of_the_leak(&run(trace).0);
}

#[test]
fn it_is_named_by_perf_events_too() {
    let program = Program::start("leak", &["0", "2000"]);
    let Some(trace) = start(&program, each(), Some(Means::PerfEvents)) else { return };
    assert_eq!(trace.kernel.means(), Means::PerfEvents);
    is_of_the_leak(&run(trace).0);
}

#[test]
fn samples_stand_for_what_was_allocated() {
    let program = Program::start("leak", &["0", "5000"]);
    let settings =
        Settings { duration: Duration::from_secs(4), sample_bytes: 2000, ..Settings::default() };
    let Some(trace) = start(&program, settings, None) else { return };
    let report = run(trace).0;
    // As many topics as payloads are allocated; about 150 samples of topics: a standard error of 8 %.
    let topics =
        report.holders.iter().find(|holder| names(holder).contains(&"retain_topic")).unwrap();
    let allocated = report.load.allocations_per_second * report.seconds / 2.0;
    assert!((0.6..1.4).contains(&(topics.held_blocks / allocated)), "{allocated}\n{report}");
    assert!(report.samples < 2000, "{report}");
}

#[test]
fn threads_are_traced_and_what_is_freed_is_not_held() {
    let program = Program::start("clean", &[]);
    // Each has a table of 24 KB on its stack.
    let settings = Settings {
        duration: Duration::from_secs(2),
        load_max: 100.0,
        stack_bytes: 32 << 10,
        ..Settings::default()
    };
    let Some(trace) = start(&program, settings, None) else { return };
    let report = run(trace).0;
    let threads =
        report.holders.iter().find(|holder| names(holder).starts_with(&["churn", "start_thread"]));
    let threads = threads.unwrap_or_else(|| panic!("{report}"));
    assert!(threads.held_samples * 2 < threads.samples, "{report}");
}

#[test]
fn a_stack_that_was_not_copied_to_its_end_says_so() {
    let program = Program::start("clean", &[]);
    let Some(trace) =
        start(&program, Settings { load_max: 100.0, sample_bytes: 100_000, ..each() }, None)
    else {
        return;
    };
    let report = run(trace).0;
    assert_eq!(
        names(&report.holders[0]),
        ["churn", "(further out than --stack reaches)"],
        "{report}"
    );
}

#[test]
fn of_what_is_not_freed_only_the_lost_is_left() {
    let program = Program::start("leak", &["0", "2000"]);
    let settings = Settings { lost: true, duration: Duration::from_secs(60), ..each() };
    let Some(mut trace) = start(&program, settings, None) else { return };
    let (started, traced) = (Instant::now(), each().duration);
    // It stands still from the last sample on: a topic that was the last of its entry would be lost, too, if another
    // came before the first look.
    let stands_still = || {
        let is_time = started.elapsed() >= traced;
        if is_time {
            program.stop();
        }
        is_time
    };
    let (report, end) = trace.run(&stands_still, &mut |_| Ok(())).unwrap();
    assert_eq!(end, End::Asked);
    assert_eq!(report.holders.len(), 1, "{report}");
    let holder = &report.holders[0];
    assert!(names(holder).contains(&"retain_topic"), "{report}");
    // The last topic of each of the 500 entries is still there; addresses that are left on the stack may keep others.
    let kept = holder.samples - holder.held_samples;
    assert!((490..600).contains(&kept), "{report}");
}

#[test]
fn too_much_load_ends_it() {
    let program = Program::start("leak", &["0", "1000"]);
    let Some(trace) = start(&program, Settings { load_max: 0.0, ..each() }, None) else { return };
    assert_eq!(run(trace).1, End::Load);
}

#[test]
fn so_does_the_end_of_the_process() {
    let program = Program::start("leak", &["0", "1000"]);
    let Some(trace) = start(&program, each(), None) else { return };
    drop(program);
    assert_eq!(run(trace).1, End::Gone);
}

#[test]
fn so_does_asking() {
    let program = Program::start("leak", &["0", "1000"]);
    let Some(mut trace) = start(&program, each(), None) else { return };
    assert_eq!(trace.run(&|| true, &mut |_| Ok(())).unwrap().1, End::Asked);
}

/// The byte of a process's code where the probe of `free` goes.
fn byte_at_free(process: &Process) -> Option<u8> {
    let functions = functions::of(process).unwrap();
    let free = functions.iter().find(|function| function.name == "free")?;
    let mappings = process.mappings().unwrap();
    let mapping = mappings.iter().find(|mapping| {
        mapping.executable && mapping.file_name() == free.module && mapping.offset <= free.offset
    })?;
    let address = mapping.start + free.offset - mapping.offset;
    assert_eq!(maps::of(address, &mappings), Some(mapping));
    let mut byte = [0];
    (Memory::of(process).unwrap().read(address, &mut byte) == 1).then_some(byte[0])
}

#[test]
fn breakpoints_are_in_this_process_alone_and_go_with_the_trace() {
    const BREAKPOINT: u8 = 0xcc;
    let (program, other) = (Program::start("leak", &["0", "10"]), Program::start("lost", &[]));
    let before = byte_at_free(&program.process()).unwrap();
    let Some(trace) = start(&program, each(), None) else { return };
    assert_eq!(byte_at_free(&program.process()), Some(BREAKPOINT));
    assert_eq!(byte_at_free(&other.process()), Some(before), "the same library, another process");
    drop(trace);
    assert_eq!(byte_at_free(&program.process()), Some(before));
}
