//! `/metrics`: every figure of every target, for Prometheus.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use plimsoll_judgement::outside::{Leak, Verdict};

use super::board::Standing;
use crate::exposition::{Figure as Value, Form, Text};
use crate::figure::Figure;
use crate::json;
use crate::procfs::{ProcessReading, Procfs};
use crate::push::Counts;

/// The names of all judgements, by [`Verdict::name`].
const VERDICTS: [&str; 5] =
    ["insufficient_data", "warming_up", "stable", "growing_with_state", "leaking"];

/// All of it in the form that is asked for.
pub(super) fn metrics(form: Form, all: &[Standing], pushes: &[Arc<Counts>]) -> String {
    let mut text = Text::new(form);
    processes(&mut text, all);
    memory(&mut text, all);
    cgroups(&mut text, all);
    accounts(&mut text, all);
    verdicts(&mut text, all);
    leaks(&mut text, all);
    sources(&mut text, all);
    pushed(&mut text, pushes);
    own(&mut text);
    text.finish()
}

/// A gauge of each target that has it.
fn each(
    text: &mut Text,
    name: &str,
    help: &str,
    all: &[Standing],
    figure: impl Fn(&Standing) -> Option<f64>,
) {
    let samples: Vec<_> = all
        .iter()
        .filter_map(|one| Some(([("target", one.name.as_str())], figure(one)?)))
        .collect();
    text.gauges(name, help, samples.iter().map(|(labels, value)| (&labels[..], (*value).into())));
}

/// The same for a counter.
fn each_counter(
    text: &mut Text,
    name: &str,
    help: &str,
    all: &[Standing],
    figure: impl Fn(&Standing) -> Option<f64>,
) {
    let samples: Vec<_> = all
        .iter()
        .filter_map(|one| Some(([("target", one.name.as_str())], figure(one)?)))
        .collect();
    text.counters(name, help, samples.iter().map(|(labels, value)| (&labels[..], (*value).into())));
}

fn process(one: &Standing) -> Option<&ProcessReading> {
    one.last.as_ref()?.process.as_ref()
}

/// By the names that Prometheus' clients give to a process's figures.
fn processes(text: &mut Text, all: &[Standing]) {
    each(text, "plimsoll_watch_up", "Whether the target is there.", all, |one| {
        Some(if process(one).is_some() { 1.0 } else { 0.0 })
    });
    each_counter(
        text,
        "plimsoll_watch_readings",
        "Looks at the target since watch began.",
        all,
        |one| Some(one.readings as f64),
    );
    each_counter(
        text,
        "plimsoll_watch_restarts",
        "How often another process took the target's place since watch began.",
        all,
        |one| Some(one.restarts as f64),
    );
    each(
        text,
        "process_resident_memory_bytes",
        "Resident memory of the target (VmRSS).",
        all,
        |one| Some(process(one)?.rss),
    );
    each_counter(
        text,
        "process_cpu_seconds",
        "CPU time of the target, user and system.",
        all,
        |one| Some(process(one)?.cpu_s),
    );
    each(
        text,
        "process_start_time_seconds",
        "When the target was started, seconds since 1970.",
        all,
        |one| Some(process(one)?.start),
    );
    each(text, "process_threads", "Threads of the target.", all, |one| Some(process(one)?.threads));
    each(text, "process_open_fds", "Open file descriptors of the target.", all, |one| {
        process(one)?.fds
    });
}

fn memory(text: &mut Text, all: &[Standing]) {
    let mut samples = Vec::new();
    for one in all {
        let Some(read) = process(one) else { continue };
        let kinds = [
            ("anonymous", Some(read.anon)),
            ("file", Some(read.file)),
            ("shared", Some(read.shmem)),
            ("swapped", Some(read.swap)),
            ("proportional", read.pss),
            ("peak", Some(read.rss_peak)),
        ];
        let known = kinds.into_iter().filter_map(|(kind, bytes)| Some((kind, bytes?)));
        samples.extend(
            known.map(|(kind, bytes)| ([("target", one.name.as_str()), ("kind", kind)], bytes)),
        );
    }
    text.gauges(
        "plimsoll_watch_memory_bytes",
        "Parts of the target's memory: anonymous, file and shared add up to the resident; swapped is beside it; proportional shares what others have mapped too; peak is the largest resident.",
        samples.iter().map(|(labels, bytes)| (&labels[..], (*bytes).into())),
    );
    each(
        text,
        "plimsoll_watch_memory_limit_bytes",
        "What the target's memory must not reach: the cgroup's limit, or the machine's memory.",
        all,
        |one| one.last.as_ref()?.sample.as_ref()?.limit,
    );
    let pressure = |one: &Standing| one.last.as_ref()?.pressure;
    each(
        text,
        "plimsoll_watch_memory_pressure_ratio",
        "Share of the last 10 seconds in which some task waited for memory (PSI).",
        all,
        |one| Some(pressure(one)?.some_percent / 100.0),
    );
    each_counter(
        text,
        "plimsoll_watch_memory_pressure_seconds",
        "Time in which some task waited for memory (PSI).",
        all,
        |one| Some(pressure(one)?.some_total_s),
    );
}

fn cgroups(text: &mut Text, all: &[Standing]) {
    let group = |one: &Standing| one.last.as_ref()?.cgroup.clone();
    each(
        text,
        "plimsoll_watch_cgroup_memory_bytes",
        "Memory that is charged to the target's cgroup, page cache included.",
        all,
        |one| Some(group(one)?.current),
    );
    each(
        text,
        "plimsoll_watch_cgroup_held_bytes",
        "The same without page cache that can be dropped.",
        all,
        |one| Some(group(one)?.held),
    );
    each(
        text,
        "plimsoll_watch_cgroup_limit_bytes",
        "The least limit of the cgroup and those around it.",
        all,
        |one| group(one)?.limit,
    );
    each_counter(
        text,
        "plimsoll_watch_cgroup_oom_kills",
        "Processes of the cgroup that the kernel has killed for want of memory.",
        all,
        |one| group(one)?.oom_kills.map(|kills| kills as f64),
    );
}

/// What targets say of themselves.
fn accounts(text: &mut Text, all: &[Standing]) {
    let said = |wanted: &dyn Fn(Figure) -> bool| {
        let mut samples = Vec::new();
        for one in all {
            let Some(last) = &one.last else { continue };
            for figure in Figure::ALL.into_iter().filter(|figure| wanted(*figure)) {
                let labels = [("target", one.name.as_str()), ("figure", figure.name())];
                samples.extend(last.accounts.get(figure).map(|value| (labels, value)));
            }
        }
        samples
    };
    text.gauges(
        "plimsoll_watch_account_bytes",
        "Sizes that the target says of itself: account (all that it holds), heap_used, heap_committed, direct, and limits.",
        said(&Figure::is_bytes).iter().map(|(labels, bytes)| (&labels[..], (*bytes).into())),
    );
    text.gauges(
        "plimsoll_watch_state",
        "Counts of the state that the target says it holds.",
        said(&|figure| !figure.is_bytes() && !figure.is_counter())
            .iter()
            .map(|(labels, count)| (&labels[..], (*count).into())),
    );
    let counted = |figure: Figure| move |one: &Standing| one.last.as_ref()?.accounts.get(figure);
    each_counter(
        text,
        "plimsoll_watch_published",
        "PUBLISH packets that the target has received since it was started.",
        all,
        counted(Figure::PublishedTotal),
    );
    each_counter(
        text,
        "plimsoll_watch_connected",
        "Connections that the target has accepted since it was started.",
        all,
        counted(Figure::ConnectedTotal),
    );
    let mut extras = Vec::new();
    for one in all {
        let known = one.last.iter().flat_map(|last| &last.accounts.extras);
        extras.extend(
            known.map(|(name, value)| ([("target", one.name.as_str()), ("name", name)], *value)),
        );
    }
    text.gauges(
        "plimsoll_watch_extra",
        "Further figures of sources, by the names that the configuration gives them.",
        extras.iter().map(|(labels, value)| (&labels[..], (*value).into())),
    );
}

fn verdicts(text: &mut Text, all: &[Standing]) {
    let mut samples = Vec::new();
    for one in all {
        for name in VERDICTS {
            let labels = [("target", one.name.as_str()), ("verdict", name)];
            samples.push((labels, Value::from(one.verdict.name() == name)));
        }
    }
    text.gauges(
        "plimsoll_watch_verdict",
        "What is thought of the target: 1 for the judgement that holds, 0 for the others.",
        samples.iter().map(|(labels, value)| (&labels[..], *value)),
    );
    each(
        text,
        "plimsoll_watch_verdict_since_timestamp_seconds",
        "Since when that judgement holds, seconds since 1970.",
        all,
        |one| Some(unix(one.verdict_since)),
    );
    each(
        text,
        "plimsoll_watch_data_wanted_seconds",
        "For how much longer the target has to be watched before anything can be said of it.",
        all,
        |one| match one.verdict {
            Verdict::InsufficientData { more_s } => Some(more_s),
            _ => None,
        },
    );
    each(
        text,
        "plimsoll_watch_growth_bytes_per_hour",
        "Growth that the target's own state explains.",
        all,
        |one| match one.verdict {
            Verdict::GrowingWithState { bytes_per_hour } => Some(bytes_per_hour),
            _ => None,
        },
    );
}

fn leaks(text: &mut Text, all: &[Standing]) {
    let leak = |one: &Standing| match &one.verdict {
        Verdict::Leaking(leak) => Some(leak.clone()),
        _ => None,
    };
    let found: Vec<(&str, Leak)> =
        all.iter().filter_map(|one| Some((one.name.as_str(), leak(one)?))).collect();
    let labelled: Vec<_> = found
        .iter()
        .map(|(name, leak)| {
            let (view, driver) = (json::view(leak.view), json::driver(leak.driver));
            ([("target", *name), ("view", view), ("driver", driver)], leak.bytes_per_hour)
        })
        .collect();
    text.gauges(
        "plimsoll_watch_leak_bytes_per_hour",
        "Growth that nothing explains: in which series it shows, and what it grows with.",
        labelled.iter().map(|(labels, rate)| (&labels[..], (*rate).into())),
    );
    each(
        text,
        "plimsoll_watch_leak_error_bytes_per_hour",
        "Half the width of that rate's 95 % confidence interval.",
        all,
        |one| Some(leak(one)?.error),
    );
    each(
        text,
        "plimsoll_watch_leak_since_timestamp_seconds",
        "When that growth has begun, seconds since 1970.",
        all,
        |one| Some(leak(one)?.since),
    );
    each(
        text,
        "plimsoll_watch_limit_reached_seconds",
        "In how many seconds the limit is reached at that rate.",
        all,
        |one| leak(one)?.limit_in_s,
    );
}

fn sources(text: &mut Text, all: &[Standing]) {
    let mut named = Vec::new();
    for one in all {
        let sources = one.last.as_ref().map_or(&[][..], |last| &last.accounts.sources);
        for (index, source) in sources.iter().enumerate() {
            // One address may be asked for several things.
            let before = sources.iter().take(index);
            let address = match before.filter(|other| other.address == source.address).count() {
                0 => source.address.to_string(),
                same => format!("{} ({})", source.address, same + 1),
            };
            named.push((one.name.as_str(), address, source.up, source.failures));
        }
    }
    let samples: Vec<_> = (named.iter())
        .map(|(target, address, up, failures)| {
            ([("target", *target), ("address", address.as_str())], *up, *failures)
        })
        .collect();
    text.gauges(
        "plimsoll_watch_source_up",
        "Whether a source of the target's own figures answers.",
        samples.iter().map(|(labels, up, _)| (&labels[..], (*up).into())),
    );
    text.counters(
        "plimsoll_watch_source_failures",
        "Looks at a source that failed since watch began.",
        samples.iter().map(|(labels, _, failures)| (&labels[..], (*failures).into())),
    );
}

/// What became of what was sent elsewhere.
fn pushed(text: &mut Text, pushes: &[Arc<Counts>]) {
    type Counter = fn(&Counts) -> &AtomicU64;
    let counters: [(&str, &str, Counter); 3] = [
        ("sent", "Events and documents that a destination has taken.", |counts| &counts.sent),
        (
            "dropped",
            "Events and documents that were given up: the queue was full, or the destination does not want them.",
            |counts| &counts.dropped,
        ),
        ("failures", "Attempts at a destination that failed.", |counts| &counts.failures),
    ];
    let labels: Vec<_> =
        pushes.iter().map(|counts| [("destination", counts.destination.as_str())]).collect();
    for (name, help, counter) in counters {
        let samples = labels
            .iter()
            .zip(pushes)
            .map(|(labels, counts)| (&labels[..], counter(counts).load(Ordering::Relaxed).into()));
        text.counters(&format!("plimsoll_watch_push_{name}"), help, samples);
    }
}

/// What watch itself takes.
fn own(text: &mut Text) {
    let mut procfs = Procfs::default();
    let own = procfs.identity(std::process::id());
    if let Some(read) = own.and_then(|identity| procfs.process(identity).ok()) {
        text.counter(
            "plimsoll_watch_own_cpu_seconds",
            "CPU time of watch itself, user and system.",
            read.cpu_s,
        );
        text.gauge(
            "plimsoll_watch_own_resident_memory_bytes",
            "Resident memory of watch itself.",
            read.rss,
        );
    }
    text.gauges(
        "plimsoll_watch_build_info",
        "Which watch this is.",
        [(&[("version", env!("CARGO_PKG_VERSION"))][..], 1u64.into())],
    );
}

fn unix(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}
