//! The reasoning in sentences.

use crate::growth::Growth;
use crate::history::History;
use crate::judge::{Driver, Leak, Verdict};
use crate::settings::Settings;
use crate::signal::Signal;

/// A size with a unit that fits.
pub(crate) fn bytes(size: f64) -> String {
    match size.abs() {
        s if s < 1e3 => format!("{size:.0} B"),
        s if s < 1e6 => format!("{:.1} kB", size / 1e3),
        s if s < 1e9 => format!("{:.2} MB", size / 1e6),
        _ => format!("{:.2} GB", size / 1e9),
    }
}

/// A length of time with a unit that fits.
pub(crate) fn span(seconds: f64) -> String {
    match seconds {
        s if s < 120.0 => format!("{s:.0} s"),
        s if s < 7200.0 => format!("{:.0} minutes", s / 60.0),
        s if s < 172_800.0 => format!("{:.1} hours", s / 3600.0),
        s => format!("{:.1} days", s / 86_400.0),
    }
}

/// What is known of a leak.
pub(crate) fn of_leak(leak: &Leak, now: f64) -> Vec<String> {
    let place = match leak.seen_in {
        Signal::Memory => "Memory that no account or count of state explains",
        Signal::Account => "The process's own account, without the state that it should follow,",
        Signal::Direct => "The counter of off-heap buffers",
        Signal::Heap => "The low-water mark of the collected heap",
        Signal::Residue => "What is allocated and in no account",
    };
    let mut said = vec![format!(
        "{place} grows by {} ± {} an hour, since {} ago.",
        bytes(leak.bytes_per_hour),
        bytes(leak.error),
        span((now - leak.since).max(0.0)),
    )];
    said.push(match leak.driver {
        Driver::PerUpdate(each) => format!("It follows PUBLISH packets, {each:.1} bytes for each."),
        Driver::PerConnect(each) => {
            format!("It follows CONNECT packets, {each:.1} bytes for each.")
        }
        Driver::PerHour(_) => {
            "It follows neither PUBLISH nor CONNECT better than the clock.".into()
        }
    });
    let each = [(leak.bytes_per_update, "PUBLISH"), (leak.bytes_per_connect, "CONNECT")];
    let each: Vec<String> = each
        .iter()
        .filter_map(|(each, packet)| Some(format!("{:.1} bytes for each {packet}", (*each)?)))
        .collect();
    if !each.is_empty() && matches!(leak.driver, Driver::PerHour(_)) {
        said.push(format!("Were it one of them, it would be {}.", each.join(" or ")));
    }
    if let Some(left) = leak.limit_in_s {
        said.push(format!("The limit is reached in {}.", span(left)));
    }
    said
}

/// Why the verdict is what it is.
pub(crate) fn reasons(
    settings: &Settings,
    history: &History,
    growth: Growth,
    verdict: &Verdict,
) -> Vec<String> {
    let seen = history.last_t - history.first_t.unwrap_or(history.last_t);
    let age = if history.start_known { "" } else { " at least" };
    let mut said = vec![format!(
        "{} of samples; the process is{age} {} old{}.",
        span(seen),
        span(history.age()),
        if history.life > 0 {
            format!(", {} restarts were seen", history.life)
        } else {
            String::new()
        },
    )];
    match (verdict, growth) {
        (Verdict::InsufficientData { minutes_more }, _) => {
            said.push(format!("The shortest window needs {} more.", span(minutes_more * 60.0)));
        }
        (Verdict::Leaking(leak), _) => said.extend(of_leak(leak, history.last_t)),
        (_, Growth::WithState) => {
            said.push("Memory grew, and what is counted grew enough to explain it.".into());
        }
        (_, Growth::Young) => said.push(format!(
            "Memory grew, but processes younger than {} do, and it does not grow straight on.",
            span(12.0 * settings.settle_s)
        )),
        (_, Growth::None) => {
            said.push("Nothing grew for long, and beyond what is counted, in any window.".into());
        }
    }
    said.push(format!("Verdict: {}.", verdict.word()));
    said
}
