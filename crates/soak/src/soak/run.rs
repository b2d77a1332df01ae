//! One soak of one broker, from its start to what came of it.

use std::time::Duration;

use plimsoll_watch::{Source, json};

use super::broker::Broker;
use super::driver::{Driver, Stop};
use super::latencies::Latencies;
use super::leak::leaks;
use super::outcome::{
    BrokerFacts, CycleRecord, Environment, FORMAT, Judgement, Loss, Memory, Outcome, Point,
    Quantiles, Tool, View,
};
use super::publisher::Body;
use super::scenario::Scenario;
use super::topics::Topics;
use super::verdict::{is_punctual, judge};
use super::world::{Events, Role};
use crate::interrupts::Interrupts;
use crate::load::{Endpoint, Strain, open_files, process_waited};
use crate::quantity::{clock, count, size};

/// Fewest and most judged cycles that are chosen by the duration.
const CYCLES: (f64, f64) = (8.0, 30.0);

/// Length of a cycle that is aimed at, seconds.
const CYCLE_S: f64 = 12.0;

/// Shortest cycle, seconds; a slow broker gets that even if it takes longer than was asked for.
const CYCLE_MIN_S: f64 = 1.5;

/// Points of the plots.
const PLOT_POINTS: usize = 900;

/// What to soak.
pub(super) struct Plan<'p> {
    /// What the broker is called; else its program's name.
    pub(super) name: Option<String>,
    pub(super) command: Option<&'p str>,
    pub(super) pid: Option<u32>,
    pub(super) endpoint: Endpoint,
    pub(super) scenario: &'p Scenario,
    pub(super) duration: Duration,
    pub(super) seed: u64,
    /// Where the broker is asked what it holds.
    pub(super) accounts: Vec<Source>,
}

/// What is measured on the way.
struct Measured {
    memory: Memory,
    cycles: Vec<CycleRecord>,
    steady: Latencies,
    /// Of the cycles alone in which this tool was on time.
    punctual: Latencies,
    flood: Latencies,
    strain: Strain,
    /// Losses at the end of the cycles, before everything is deleted.
    lost: u64,
}

/// Runs it. An error says why there is nothing to report at all.
pub(super) fn run(plan: &Plan<'_>, interrupts: &Interrupts) -> Result<Outcome, String> {
    let load = &plan.scenario.load;
    open_files(u64::from(load.clients()) + 100)?;
    let started = json::time(std::time::SystemTime::now());
    let broker = match (plan.command, plan.pid) {
        (Some(command), _) => Broker::start(command, plan.endpoint.address, None)?,
        (None, Some(pid)) => Broker::attach(pid, plan.endpoint.address)?,
        (None, None) => return Err("neither a command nor a process to judge".into()),
    };
    let facts = BrokerFacts {
        command: plan.command.map(Into::into),
        program: broker.program().map(|path| path.display().to_string()),
        version: None,
        seen: broker.is_seen(),
        pid: broker.pid(),
        address: plan.endpoint.address.to_string(),
    };
    let mut driver = Driver::new(
        plan.scenario,
        broker,
        plan.endpoint.clone(),
        interrupts.clone(),
        plan.duration,
        plan.seed,
        &plan.accounts,
    )?;
    let mut measured = Measured {
        memory: Memory::default(),
        cycles: Vec::new(),
        steady: Latencies::new()?,
        punctual: Latencies::new()?,
        flood: Latencies::new()?,
        strain: Strain::default(),
        lost: 0,
    };
    let stop = soak(&mut driver, &mut measured, plan.duration).err();
    driver.progress.end();
    if matches!(stop, Some(Stop::Interrupted)) {
        driver.leave();
    }
    match &stop {
        // Before there was any load there is nothing to judge.
        Some(Stop::Broken(why)) if driver.world.events.updates == 0 => return Err(why.clone()),
        Some(Stop::Died(how)) if driver.world.events.updates == 0 => {
            return Err(format!(
                "the broker's process has ended ({how}) before anything was published"
            ));
        }
        Some(Stop::Interrupted) if plan.pid.is_some() => eprintln!(
            "What was published stays in the broker: up to {} retained messages at {}",
            count(plan.scenario.load.retained.into()),
            Topics::EVERYTHING
        ),
        _ => {}
    }
    Ok(conclude(plan, &mut driver, measured, stop.as_ref(), facts, started))
}

/// All phases.
fn soak(driver: &mut Driver<'_>, measured: &mut Measured, duration: Duration) -> Result<(), Stop> {
    begin(driver, measured)?;
    let planned = cycles(driver, duration);
    driver.cycle.1 = planned.warm_up + planned.judged;
    for index in 0..driver.cycle.1 {
        driver.cycle.0 = index + 1;
        let record = cycle(driver, measured, planned.length, index >= planned.warm_up)?;
        measured.memory.cycled = record.quiet[4];
        measured.lost = driver.world.lost();
        measured.cycles.push(record);
    }
    driver.cycle = (0, 0);
    measured.memory.account = driver.world.books.account;
    driver.clear()?;
    driver.leave();
    let cool_down = Duration::from_secs_f64(driver.scenario.cycle.cool_down_s.clamp(0.5, 86_400.0));
    measured.memory.cleared = driver.quiet(cool_down)?;
    Ok(())
}

/// Connects everybody and publishes each topic once, measuring what that takes.
fn begin(driver: &mut Driver<'_>, measured: &mut Measured) -> Result<(), Stop> {
    let load = driver.scenario.load.clone();
    let memory = &mut measured.memory;
    memory.started = driver.quiet(Duration::from_millis(600))?;
    driver.enter("connecting");
    driver.dial(Role::Books)?;
    driver.connect(&(0..load.idle_connections as usize).map(Role::Idle).collect::<Vec<_>>())?;
    memory.connected = driver.quiet(Duration::from_millis(600))?;
    if load.idle_connections >= 100 {
        memory.per_connection =
            (memory.connected - memory.started) / f64::from(load.idle_connections);
    }
    driver.enter("connecting");
    let mut roles = vec![Role::Witness, Role::Courier];
    roles.extend((0..load.readers as usize).map(Role::Reader));
    roles.extend((0..load.offline_sessions as usize).map(Role::Absent));
    roles.extend((0..=load.publishers as usize).map(Role::Publisher));
    driver.connect(&roles)?;
    let before = driver.quiet(Duration::from_millis(600))?;
    driver.enter("filling");
    driver.once(Body::Reading)?;
    memory.filled = driver.quiet(Duration::from_secs(1))?;
    memory.per_retained = (memory.filled - before) / f64::from(load.retained);
    driver.progress.say(&format!(
        "{} retained messages: {} each; {} clients: {} each",
        count(load.retained.into()),
        size(memory.per_retained),
        count(load.idle_connections.into()),
        size(memory.per_connection)
    ));
    Ok(())
}

/// How the time that is left is divided.
struct Cycles {
    warm_up: u32,
    judged: u32,
    length: Duration,
}

fn cycles(driver: &Driver<'_>, duration: Duration) -> Cycles {
    // Deleting takes about as long as filling did.
    let fill: f64 = driver
        .spans
        .iter()
        .filter(|span| span.phase == "filling")
        .map(|span| span.to_s - span.from_s)
        .sum();
    let left = duration.as_secs_f64()
        - driver.elapsed_s()
        - fill
        - driver.scenario.cycle.cool_down_s
        - 1.0;
    #[expect(clippy::cast_sign_loss, reason = "it is at least 8")]
    let judged = match driver.scenario.cycle.count {
        0 => (left / CYCLE_S).clamp(CYCLES.0, CYCLES.1) as u32,
        count => count,
    };
    let warm_up = (judged / 8).max(1);
    let cycles = f64::from(judged + warm_up);
    let length = (left / cycles).max(CYCLE_MIN_S);
    if length * cycles > left + 1.0 {
        driver.progress.say(&format!(
            "Filling took {fill:.0} s: with {cycles} cycles of {CYCLE_MIN_S} s it takes {:.0} s longer than {}",
            length * cycles - left,
            clock(duration)
        ));
    }
    Cycles { warm_up, judged, length: Duration::from_secs_f64(length) }
}

/// One cycle.
fn cycle(
    driver: &mut Driver<'_>,
    measured: &mut Measured,
    length: Duration,
    judged: bool,
) -> Result<CycleRecord, Stop> {
    let shares = driver.scenario.cycle.clone();
    let busy =
        shares.updates + shares.steady + shares.connects + shares.subscriptions + shares.offline;
    let pause = length.mul_f64((1.0 - busy) / 4.0);
    let (from_s, before) = (driver.elapsed_s(), driver.world.events);
    let quiet_before = measured.cycles.last().map_or(measured.memory.filled, |last| last.quiet[4]);
    let mut record = CycleRecord {
        judged,
        from_s,
        quiet: [quiet_before; 5],
        quiet_s: [from_s; 5],
        ..CycleRecord::default()
    };
    let (updates, cpu) = (driver.world.events.updates, broker_cpu(driver));
    let strain = driver.updates(length.mul_f64(shares.updates))?;
    let flooded = (driver.world.events.updates - updates) as f64;
    record.updates_per_s = flooded / strain.wall.as_secs_f64().max(1e-3);
    record.cpu_us_per_update = 1e6 * (broker_cpu(driver) - cpu) / flooded.max(1.0);
    measured.flood.add(driver.latencies());
    let (begin_s, waited) = (driver.elapsed_s(), process_waited(driver.broker().pid()));
    driver.steady(length.mul_f64(shares.steady))?;
    let waited = process_waited(driver.broker().pid()).saturating_sub(waited);
    record.broker_waited = waited.as_secs_f64() / (driver.elapsed_s() - begin_s).max(1e-3);
    let limits = &driver.scenario.limits;
    let steady = driver.latencies();
    let publish = Quantiles::from(&steady.publish);
    (record.p50_ms, record.p99_ms) = (publish.p50, publish.p99);
    record.end_to_end_p99_ms = steady.listener.quantile_ms(0.99);
    record.late_p99_ms = steady.late.quantile_ms(0.99);
    if judged {
        measured.strain = measured.strain.and(&strain);
        measured.steady.add(steady);
        if is_punctual(&record, limits) {
            measured.punctual.add(steady);
        }
    }
    record.quiet[1] = driver.quiet(pause)?;
    record.quiet_s[1] = driver.elapsed_s();
    driver.connects(length.mul_f64(shares.connects))?;
    record.quiet[2] = driver.quiet(pause)?;
    record.quiet_s[2] = driver.elapsed_s();
    driver.subscriptions(length.mul_f64(shares.subscriptions))?;
    record.quiet[3] = driver.quiet(pause)?;
    record.quiet_s[3] = driver.elapsed_s();
    driver.offline(length.mul_f64(shares.offline))?;
    record.quiet[4] = driver.quiet(pause)?;
    record.quiet_s[4] = driver.elapsed_s();
    record.to_s = driver.elapsed_s();
    record.events_total = driver.world.events;
    record.events = driver.world.events.since(&before);
    let looks = driver.points.iter().rev().take_while(|point| point.t >= from_s);
    record.peak = looks.map(|point| point.memory).fold(0.0, f64::max);
    Ok(record)
}

fn broker_cpu(driver: &Driver<'_>) -> f64 {
    driver.points.last().map_or(0.0, |point| point.cpu_s)
}

/// Puts together what was measured, and judges it.
fn conclude(
    plan: &Plan<'_>,
    driver: &mut Driver<'_>,
    measured: Measured,
    stop: Option<&Stop>,
    mut facts: BrokerFacts,
    started: String,
) -> Outcome {
    driver.enter("end");
    driver.spans.pop();
    let world = &driver.world;
    // What a source was asked for goes before what `$SYS` says.
    let asked = !driver.figures.of(View::Account).is_empty() && !plan.accounts.is_empty();
    let figures = if asked { &driver.figures } else { &world.books.figures };
    let production = &plan.scenario.production;
    let version = world.books.version.clone().or_else(|| driver.broker().version());
    facts.version = version;
    let mut memory = measured.memory;
    memory.peak = driver.points.iter().map(|point| point.memory).fold(0.0, f64::max);
    let events = world.events;
    let mut outcome = Outcome {
        format: FORMAT,
        name: plan.name.clone().unwrap_or_else(|| facts.name()),
        verdict: Judgement::Partial,
        ending: match stop {
            None => "as planned".into(),
            Some(Stop::Interrupted) => "interrupted".into(),
            Some(Stop::Died(how)) => format!("the broker's process has ended: {how}"),
            Some(Stop::Broken(why)) => why.clone(),
        },
        criteria: Vec::new(),
        leaks: leaks(&measured.cycles, figures, production),
        broker: facts,
        environment: environment(plan, driver.elapsed_s(), started),
        scenario: plan.scenario.clone(),
        events,
        hours: events.updates as f64 / production.updates_per_hour.max(1.0),
        loss: loss(driver, &measured, stop),
        memory,
        steady: Quantiles::from(&measured.steady.publish),
        end_to_end: Quantiles::from(&measured.steady.listener),
        flood: Quantiles::from(&measured.flood.publish),
        punctual: Quantiles::from(&measured.punctual.publish),
        tool: Tool {
            cpu: measured.strain.cpu_share(),
            waited: measured.strain.waited_share(),
            bottleneck: measured.strain.is_bottleneck(),
            late: Quantiles::from(&measured.steady.late),
        },
        cycles: measured.cycles,
        series: thin(&driver.points),
        windows: std::mem::take(&mut driver.windows.windows),
        spans: std::mem::take(&mut driver.spans),
    };
    (outcome.criteria, outcome.verdict) = judge(&outcome);
    outcome
}

fn loss(driver: &Driver<'_>, measured: &Measured, stop: Option<&Stop>) -> Loss {
    let world = &driver.world;
    // What was under way when the run was cut short is nobody's loss.
    let whole = stop.is_none();
    Loss {
        lost: measured.lost + world.churn.lost,
        listened: world.gaps.received,
        queued_lost: if whole { world.absent.lost() } else { world.absent.gaps.missing() },
        stale: world.readers.stale,
        unknown: world.readers.unknown,
        unacknowledged: if matches!(stop, Some(Stop::Broken(_))) {
            world.unacknowledged() as u64
        } else {
            0
        },
        duplicated: world.gaps.duplicated + world.absent.gaps.duplicated,
        out_of_order: world.gaps.reordered + world.absent.gaps.reordered,
        forgotten: world.absent.forgotten,
        disconnected: if matches!(stop, Some(Stop::Died(_))) { 0 } else { world.disconnected },
        failed: if matches!(stop, Some(Stop::Died(_))) { 0 } else { world.churn.failed },
        left_behind: world.left_behind,
        strange: world.strange,
        restarts: u64::from(matches!(stop, Some(Stop::Died(_)))),
        checked: world.readers.read,
    }
}

fn environment(plan: &Plan<'_>, took_s: f64, started: String) -> Environment {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = total.and_then(|text| text.trim().trim_end_matches(" kB").parse::<f64>().ok());
    Environment {
        tool: format!("plimsoll {}", env!("CARGO_PKG_VERSION")),
        started,
        system: format!("{} {} {}", std::env::consts::OS, release.trim(), std::env::consts::ARCH),
        processors: std::thread::available_parallelism().map_or(0, std::num::NonZero::get),
        memory: kib.unwrap_or(0.0) * 1024.0,
        seed: plan.seed,
        duration_s: plan.duration.as_secs_f64(),
        took_s,
    }
}

/// As many points as a plot shows; of those that fall together the highest memory, so that no peak is lost.
fn thin(points: &[Point]) -> Vec<Point> {
    let size = points.len().div_ceil(PLOT_POINTS).max(1);
    points
        .chunks(size)
        .filter_map(|chunk| chunk.iter().max_by(|a, b| a.memory.total_cmp(&b.memory)).copied())
        .collect()
}

impl Events {
    /// What there was since an earlier count.
    fn since(&self, earlier: &Self) -> Self {
        Self {
            updates: self.updates - earlier.updates,
            connects: self.connects - earlier.connects,
            subscriptions: self.subscriptions - earlier.subscriptions,
            queued: self.queued - earlier.queued,
            received: self.received - earlier.received,
        }
    }
}
