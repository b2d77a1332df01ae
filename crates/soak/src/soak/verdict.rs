//! Figures against limits.

use super::growth::{Shape, median};
use super::outcome::{Criterion, CycleRecord, Judgement, Leak, Outcome, Quantiles, Standing, View};
use super::scenario::Limits;
use crate::quantity::{count, size};

/// A latency is not judged if the tool itself was late by this share of the limit.
const OWN_LATENESS: f64 = 0.25;

/// Growth from which on it is told what one message takes, bytes: an allocator has some room to begin with.
const MEASURABLE: f64 = 2e6;

/// Bytes of a topic and its reading.
const CONTENT: f64 = 115.0;

/// What stands for a figure that there is none of.
const UNMEASURED: &str = "–";

/// Then, so many cycles in which the tool was on time are enough to judge by them alone.
const PUNCTUAL_MIN: usize = 3;

/// Share of the time that the broker's threads may have waited for a core.
const WAITED_MAX: f64 = 0.05;

/// Whether the tool itself was on time in a cycle and the broker had its cores, so that latencies are the broker's.
pub(crate) fn is_punctual(cycle: &CycleRecord, limits: &Limits) -> bool {
    cycle.late_p99_ms <= OWN_LATENESS * limits.p99_publish_ms && cycle.broker_waited <= WAITED_MAX
}

/// Judges what was measured.
pub(crate) fn judge(outcome: &Outcome) -> (Vec<Criterion>, Judgement) {
    let mut criteria: Vec<Criterion> =
        View::ALL.into_iter().filter_map(|view| leak(outcome, view)).collect();
    criteria.extend([losses(outcome), restarts(outcome), latency(outcome), capacity(outcome)]);
    let failed = criteria.iter().any(|criterion| criterion.standing == Standing::Fail);
    // Without this one a pass would say nothing.
    let leaks = criteria
        .iter()
        .any(|criterion| criterion.name.starts_with("leak") && criterion.measured != UNMEASURED);
    let judgement = match outcome.ending.as_str() {
        _ if failed => Judgement::Fail,
        "as planned" if leaks => Judgement::Pass,
        "as planned" => Judgement::Unjudged,
        "interrupted" => Judgement::Partial,
        _ => Judgement::Fail,
    };
    (criteria, judgement)
}

fn criterion(
    name: &str,
    standing: Standing,
    measured: String,
    limit: String,
    note: String,
) -> Criterion {
    Criterion { name: name.into(), standing, measured, limit, note }
}

/// A rate in MB (10⁶ bytes) per hour.
fn per_hour(bytes: f64) -> String {
    let mb = bytes / 1e6;
    let digits = if mb.abs() < 10.0 { 3 } else { 1 };
    format!("{mb:.digits$} MB/h")
}

fn leak(outcome: &Outcome, view: View) -> Option<Criterion> {
    let limit = outcome.scenario.limits.leak_mb_per_hour;
    let name = &format!("leak, by {}", view.by());
    let bound = format!("≤ {limit} MB/h");
    let Some(leak) = outcome.leaks.iter().find(|leak| leak.view == view) else {
        // Few brokers say what they hold.
        let missing = || "fewer than 6 judged cycles, or no updates in them".to_owned();
        return (view == View::Resident)
            .then(|| criterion(name, Standing::Skipped, UNMEASURED.into(), bound, missing()));
    };
    let memory = &outcome.memory;
    let sent = f64::from(outcome.scenario.load.retained) * CONTENT;
    if !outcome.broker.seen && memory.filled - memory.connected < 0.1 * sent {
        let note = "the process that is judged does not seem to hold the messages, nor was it seen to listen: name the broker's own with --pid (of a container: docker inspect -f '{{.State.Pid}}' NAME)";
        return (view == View::Resident).then(|| {
            criterion(name, Standing::Skipped, UNMEASURED.into(), bound, note.to_owned())
        });
    }
    let (standing, measured) = match leak.growth.shape {
        Shape::Growing if leak.per_hour_low > limit * 1e6 => (
            Standing::Fail,
            format!(
                "{} ({} to {})",
                per_hour(leak.per_hour),
                per_hour(leak.per_hour_low),
                per_hour(leak.per_hour_high)
            ),
        ),
        Shape::Growing => (Standing::Pass, per_hour(leak.per_hour)),
        Shape::Flat => (Standing::Pass, "no growth".to_owned()),
        // What has grown so far would be within the limit if it went on.
        _ if leak.per_hour_high <= limit * 1e6 => (Standing::Pass, per_hour(leak.per_hour)),
        shape => (Standing::Skipped, format!("{} more, {}", size(leak.growth.grown), word(shape))),
    };
    Some(criterion(name, standing, measured, bound, explain(leak, limit)))
}

fn word(shape: Shape) -> &'static str {
    match shape {
        Shape::Flat => "flat",
        Shape::Growing => "growing",
        Shape::InSteps => "most of it at once",
        Shape::Slowing => "slowing down",
        Shape::Unsteady => "up and down",
    }
}

/// Bytes per event, also far less than one.
fn each(bytes: f64) -> String {
    if bytes.abs() < 0.1 { format!("{bytes:.4} B") } else { size(bytes) }
}

/// What the figures of a leak mean.
fn explain(leak: &Leak, limit: f64) -> String {
    let growth = &leak.growth;
    if growth.grows {
        return format!(
            "{} per {} ({} to {}), at production's rate; {} of this run's clock",
            each(growth.per_event),
            leak.driver.event(),
            each(growth.low),
            each(growth.high),
            per_hour(leak.clock_per_hour)
        );
    }
    let seen = format!(
        "{} per {} would have been seen, which is {}",
        each(growth.resolution),
        leak.driver.event(),
        per_hour(leak.resolution_per_hour)
    );
    let others: Vec<String> = leak
        .others
        .iter()
        .map(|other| {
            format!(
                "{} per {} ({})",
                each(other.per_event),
                other.driver.event(),
                per_hour(other.per_hour)
            )
        })
        .collect();
    let mut parts = vec![seen];
    if growth.shape != Shape::Flat {
        parts.insert(0, "that is no leak yet, nor is it none: run longer".into());
    }
    let times = leak.resolution_per_hour / (limit * 1e6).max(1e-9);
    match times {
        times if times <= 1.0 => {}
        times if times < 100.0 => {
            parts.push(format!("for the limit itself run {times:.0} times as long"));
        }
        _ => parts.push("the limit itself needs far more events than these".into()),
    }
    if !others.is_empty() {
        parts.push(format!("also {}", others.join(", ")));
    }
    parts.join("; ")
}

fn losses(outcome: &Outcome) -> Criterion {
    let loss = &outcome.loss;
    let parts = [
        ("lost", loss.lost),
        ("lost from queues", loss.queued_lost),
        ("stale", loss.stale),
        ("unknown", loss.unknown),
        ("unacknowledged", loss.unacknowledged),
        ("doubled", loss.duplicated),
        ("out of order", loss.out_of_order),
        ("sessions forgotten", loss.forgotten),
        ("connections ended", loss.disconnected),
        ("clients turned away", loss.failed),
        ("left after deletion", loss.left_behind),
        ("unexpected", loss.strange),
    ];
    let named: Vec<String> = parts
        .iter()
        .filter(|(_, number)| *number > 0)
        .map(|(name, number)| format!("{} {name}", count(*number)))
        .collect();
    let limit = outcome.scenario.limits.lost;
    let standing = if loss.total() > limit { Standing::Fail } else { Standing::Pass };
    let note = if named.is_empty() {
        format!(
            "{} updates acknowledged, and {} of them, {} last known states and {} queued messages checked{}",
            count(outcome.events.updates),
            count(loss.listened),
            count(loss.checked),
            count(outcome.events.queued),
            untested(outcome)
        )
    } else {
        named.join(", ")
    };
    criterion("lost, stale, doubled", standing, count(loss.total()), format!("≤ {limit}"), note)
}

/// Promises that the scenario does not put to the test.
fn untested(outcome: &Outcome) -> String {
    let (events, loss) = (&outcome.events, &outcome.loss);
    let parts = [
        ("arrival", loss.listened),
        ("last known states", loss.checked),
        ("clients that come and go", events.connects),
        ("queues of absent sessions", events.queued),
    ];
    let names: Vec<&str> =
        parts.iter().filter(|(_, number)| *number == 0).map(|(name, _)| *name).collect();
    match names.as_slice() {
        [] => String::new(),
        names => format!("; NOT TESTED: {}", names.join(", ")),
    }
}

fn restarts(outcome: &Outcome) -> Criterion {
    let (restarts, limit) = (outcome.loss.restarts, outcome.scenario.limits.restarts);
    let standing = if restarts > limit { Standing::Fail } else { Standing::Pass };
    let note = if restarts > 0 { outcome.ending.clone() } else { String::new() };
    criterion("restarts", standing, restarts.to_string(), format!("≤ {limit}"), note)
}

fn latency(outcome: &Outcome) -> Criterion {
    let limits = &outcome.scenario.limits;
    let limit = limits.p99_publish_ms;
    let late = outcome.tool.late.p99;
    let judged = || outcome.cycles.iter().filter(|cycle| cycle.judged);
    let (all, punctual) =
        (judged().count(), judged().filter(|cycle| is_punctual(cycle, limits)).count());
    let waits: Vec<f64> = judged().map(|cycle| cycle.broker_waited).collect();
    let waited = median(&waits);
    let own = late > OWN_LATENESS * limit || punctual < all;
    let short = format!(
        "the machine is short of cores: this tool itself was late by {late:.1} ms (p99), and the broker waited for one {:.0} % of the time",
        100.0 * waited
    );
    let of = |quantiles: &Quantiles| {
        format!(
            "{} messages a second, from when each was due; p50 {:.2} ms, p99.9 {:.1} ms",
            outcome.scenario.load.steady_per_second, quantiles.p50, quantiles.p999
        )
    };
    let by = |quantiles: &Quantiles| match quantiles.p99 <= limit {
        true => Standing::Pass,
        false => Standing::Fail,
    };
    let (steady, standing, note) = match () {
        () if outcome.steady.count == 0 => {
            (&outcome.steady, Standing::Skipped, "nothing was measured".into())
        }
        // What is beyond even the tool's worst lateness is the broker's.
        () if !own
            || outcome.steady.p99 <= limit
            || (waited <= WAITED_MAX && outcome.steady.p99 > limit + outcome.tool.late.p999) =>
        {
            (&outcome.steady, by(&outcome.steady), of(&outcome.steady))
        }
        () if punctual >= PUNCTUAL_MIN => {
            let note = format!(
                "of the {punctual} of {all} cycles in which nobody waited ({:.1} ms over all, p99; {short}); {}",
                outcome.steady.p99,
                of(&outcome.punctual)
            );
            (&outcome.punctual, by(&outcome.punctual), note)
        }
        () => {
            let note = format!("{short}; {}", of(&outcome.steady));
            (&outcome.steady, Standing::Skipped, note)
        }
    };
    criterion(
        "p99 publish → PUBACK (QoS 1)",
        standing,
        format!("{:.1} ms", steady.p99),
        format!("≤ {limit} ms"),
        note,
    )
}

fn capacity(outcome: &Outcome) -> Criterion {
    let limits = &outcome.scenario.limits;
    let (memory, name) = (&outcome.memory, format!("retained messages in {} GB", limits.memory_gb));
    let bound = format!("≥ {}", count(limits.retained_capacity));
    let grown = memory.per_retained * f64::from(outcome.scenario.load.retained);
    if grown < MEASURABLE {
        return criterion(
            &name,
            Standing::Skipped,
            "–".into(),
            bound,
            format!("{} of growth are too little to tell", size(grown)),
        );
    }
    let room = (limits.memory_gb * 1e9 - memory.connected).max(0.0);
    #[expect(clippy::cast_sign_loss, reason = "both are positive")]
    let capacity = (room / memory.per_retained) as u64;
    let standing =
        if capacity >= limits.retained_capacity { Standing::Pass } else { Standing::Fail };
    let note = format!(
        "projected from {} each, measured over {}; `soak capacity` tries it",
        size(memory.per_retained),
        count(outcome.scenario.load.retained.into())
    );
    criterion(&name, standing, count(capacity), bound, note)
}

#[cfg(test)]
mod tests {
    use super::super::growth::Growth;
    use super::super::outcome::tests::sample;
    use super::super::outcome::{Driver, Quantiles};
    use super::*;

    fn standing(outcome: &Outcome, name: &str) -> Standing {
        let (criteria, _) = judge(outcome);
        criteria.iter().find(|criterion| criterion.name.starts_with(name)).expect(name).standing
    }

    #[test]
    fn a_quiet_broker_passes() {
        let outcome = sample();
        assert_eq!(outcome.verdict, Judgement::Pass, "{:?}", outcome.criteria);
        assert_eq!(outcome.criteria.len(), 5);
    }

    #[test]
    fn each_limit_can_be_missed() {
        let mut leaking = sample();
        let growth = Growth {
            grows: true,
            shape: Shape::Growing,
            grown: 80e6,
            per_event: 48.0,
            low: 47.0,
            high: 49.0,
            resolution: 0.2,
        };
        leaking.leaks = vec![Leak {
            view: View::Resident,
            driver: Driver::Updates,
            growth,
            per_hour: 115.2e6,
            per_hour_low: 112.8e6,
            per_hour_high: 117.6e6,
            resolution_per_hour: 0.5e6,
            clock_per_hour: 9e9,
            others: Vec::new(),
        }];
        let (criteria, judgement) = judge(&leaking);
        assert_eq!(judgement, Judgement::Fail);
        assert_eq!(criteria[0].measured, "115.2 MB/h (112.8 MB/h to 117.6 MB/h)");
        assert!(criteria[0].note.contains("48 B per update"), "{}", criteria[0].note);
        // Growth that may be below the limit is none that fails.
        leaking.leaks[0].per_hour_low = 0.1e6;
        assert_eq!(judge(&leaking).1, Judgement::Pass);
        // What has grown, and does not look like a leak, is not said to be none.
        leaking.leaks[0].growth.shape = Shape::InSteps;
        let (criteria, judgement) = judge(&leaking);
        assert_eq!((criteria[0].standing, judgement), (Standing::Skipped, Judgement::Pass));
        assert_eq!(criteria[0].measured, "80.0 MB more, most of it at once");
        // Without a figure there is no pass.
        leaking.leaks.clear();
        assert_eq!(judge(&leaking).1, Judgement::Unjudged);
        let mut losing = sample();
        losing.loss.stale = 1;
        assert_eq!(standing(&losing, "lost"), Standing::Fail);
        let mut dying = sample();
        (dying.loss.restarts, dying.ending) = (1, "the broker's process has ended".into());
        assert_eq!(
            (standing(&dying, "restarts"), judge(&dying).1),
            (Standing::Fail, Judgement::Fail)
        );
        let mut wide = sample();
        wide.memory.per_retained = 10_000.0;
        assert_eq!(standing(&wide, "retained"), Standing::Fail);
    }

    #[test]
    fn a_latency_that_is_the_tools_own_is_not_judged() {
        let mut slow = sample();
        slow.steady = Quantiles { p99: 120.0, count: 1000, ..Quantiles::default() };
        assert_eq!(standing(&slow, "p99"), Standing::Fail);
        (slow.tool.late.p99, slow.tool.late.p999) = (60.0, 90.0);
        slow.cycles.iter_mut().for_each(|cycle| cycle.late_p99_ms = 60.0);
        assert_eq!((standing(&slow, "p99"), judge(&slow).1), (Standing::Skipped, Judgement::Pass));
        // What was measured while the tool was on time counts.
        slow.cycles.iter_mut().skip(4).for_each(|cycle| cycle.late_p99_ms = 1.0);
        slow.punctual = Quantiles { p99: 12.0, count: 500, ..Quantiles::default() };
        let (criteria, _) = judge(&slow);
        let latency = criteria.iter().find(|criterion| criterion.name.starts_with("p99"));
        let latency = latency.expect("it is judged");
        assert_eq!((latency.standing, latency.measured.as_str()), (Standing::Pass, "12.0 ms"));
        assert!(latency.note.contains("5 of 8 cycles"), "{}", latency.note);
        // Neither is it the broker's if that had no core.
        let mut starved = slow.clone();
        starved.cycles.iter_mut().for_each(|cycle| cycle.broker_waited = 0.4);
        assert_eq!(standing(&starved, "p99"), Standing::Skipped);
        slow.punctual.p99 = 100.0;
        assert_eq!(standing(&slow, "p99"), Standing::Fail);
        // What is beyond the tool's own worst is the broker's.
        slow.punctual.p99 = 12.0;
        slow.steady.p99 = 300.0;
        assert_eq!(standing(&slow, "p99"), Standing::Fail);
    }

    #[test]
    fn a_process_that_holds_nothing_is_not_taken_for_the_broker() {
        let mut shell = sample();
        (shell.broker.seen, shell.memory.filled) = (false, shell.memory.connected);
        assert_eq!(judge(&shell).1, Judgement::Unjudged);
        shell.broker.seen = true;
        assert_eq!(judge(&shell).1, Judgement::Pass);
    }

    #[test]
    fn what_was_not_tested_is_named() {
        let mut outcome = sample();
        assert!(losses(&outcome).note.contains("NOT TESTED: arrival, last known states"));
        (outcome.loss.listened, outcome.loss.checked) = (5, 5);
        (outcome.events.connects, outcome.events.queued) = (5, 5);
        assert!(losses(&outcome).note.ends_with("queued messages checked"));
        assert_eq!(each(0.002_63), "0.0026 B");
    }

    #[test]
    fn what_was_cut_short_has_not_passed() {
        let mut outcome = sample();
        outcome.ending = "interrupted".into();
        assert_eq!(judge(&outcome).1, Judgement::Partial);
        outcome.ending = "3 updates were not acknowledged".into();
        assert_eq!(judge(&outcome).1, Judgement::Fail);
    }
}
