//! Readings, events and judgements as JSON: one form for files, webhooks, Elasticsearch and the API.
//!
//! What is not known is left out. Sizes end in `_bytes`, times in `_s`; `time` is RFC 3339 in UTC.

use std::time::SystemTime;

use jiff::Timestamp;
use plimsoll_judgement::outside::{Driver, Leak, Verdict, View};
use serde_json::{Map, Value};

use crate::event::{Event, Happening};
use crate::figure::Figure;
use crate::procfs::ProcessReading;
use crate::reading::{CgroupReading, Pressure, Reading};

/// A time of day as RFC 3339, to the millisecond.
pub fn time(time: SystemTime) -> String {
    Timestamp::try_from(time).map_or_else(|_| String::new(), |time| format!("{time:.3}"))
}

/// The name of the series in which growth shows: `resident`, `account`, `heap`, `direct`.
pub fn view(view: View) -> &'static str {
    match view {
        View::Resident => "resident",
        View::Account => "account",
        View::Heap => "heap",
        View::Direct => "direct",
    }
}

/// The name of what a leak grows with: `time`, `publish`, `connect`, `unclear`.
pub fn driver(driver: Driver) -> &'static str {
    match driver {
        Driver::Time => "time",
        Driver::Publish => "publish",
        Driver::Connect => "connect",
        Driver::Unclear => "unclear",
    }
}

/// A judgement: its name in `verdict`, and what belongs to it.
pub fn verdict(verdict: &Verdict) -> Map<String, Value> {
    let mut map = Map::new();
    map.insert("verdict".into(), verdict.name().into());
    match verdict {
        Verdict::InsufficientData { more_s } => put(&mut map, "more_s", *more_s),
        Verdict::GrowingWithState { bytes_per_hour } => {
            put(&mut map, "rate_bytes_per_hour", *bytes_per_hour);
        }
        Verdict::Leaking(found) => leak(found, &mut map),
        Verdict::WarmingUp | Verdict::Stable => {}
    }
    map
}

fn leak(leak: &Leak, map: &mut Map<String, Value>) {
    put(map, "rate_bytes_per_hour", leak.bytes_per_hour);
    put(map, "error_bytes_per_hour", leak.error);
    put(map, "since_s", leak.since);
    map.insert("view".into(), view(leak.view).into());
    map.insert("driver".into(), driver(leak.driver).into());
    known(map, "bytes_per_event", leak.bytes_per_event);
    known(map, "limit_in_s", leak.limit_in_s);
}

/// One look at a target.
pub fn reading(target: &str, reading: &Reading) -> Map<String, Value> {
    let mut map = Map::new();
    map.insert("time".into(), time(reading.time).into());
    map.insert("target".into(), target.into());
    map.insert("up".into(), reading.process.is_some().into());
    if let Some(absent) = &reading.absent {
        map.insert("absent".into(), absent.as_str().into());
    }
    if let Some(read) = &reading.process {
        process(read, &mut map);
    }
    if let Some(read) = &reading.cgroup {
        map.insert("cgroup".into(), cgroup(read).into());
    }
    if let Some(read) = &reading.pressure {
        map.insert("pressure".into(), pressure(read).into());
    }
    for figure in Figure::ALL {
        let value = match (&reading.sample, figure) {
            // The limit is composed of what is known of cgroup and machine.
            (Some(sample), figure) => figure.of(sample),
            (None, figure) => reading.accounts.get(figure),
        };
        let unit = if figure.is_bytes() { "_bytes" } else { "" };
        known(&mut map, &format!("{}{unit}", figure.name()), value);
    }
    if !reading.accounts.extras.is_empty() {
        let mut extras = Map::new();
        for (name, value) in &reading.accounts.extras {
            put(&mut extras, name, *value);
        }
        map.insert("extras".into(), extras.into());
    }
    map
}

fn process(read: &ProcessReading, map: &mut Map<String, Value>) {
    map.insert("pid".into(), read.identity.pid.into());
    map.insert("process".into(), read.name.as_str().into());
    put(map, "start_s", read.start);
    put(map, "rss_bytes", read.rss);
    put(map, "rss_peak_bytes", read.rss_peak);
    put(map, "anon_bytes", read.anon);
    put(map, "file_bytes", read.file);
    put(map, "shmem_bytes", read.shmem);
    put(map, "swap_bytes", read.swap);
    known(map, "pss_bytes", read.pss);
    put(map, "threads", read.threads);
    known(map, "fds", read.fds);
    put(map, "cpu_s", read.cpu_s);
    put(map, "major_faults", read.major_faults);
    known(map, "read_bytes", read.read_bytes);
    known(map, "written_bytes", read.written_bytes);
}

fn cgroup(read: &CgroupReading) -> Map<String, Value> {
    let mut map = Map::new();
    map.insert("directory".into(), read.directory.display().to_string().into());
    put(&mut map, "current_bytes", read.current);
    put(&mut map, "held_bytes", read.held);
    known(&mut map, "anon_bytes", read.anon);
    known(&mut map, "cache_bytes", read.cache);
    known(&mut map, "limit_bytes", read.limit);
    known(&mut map, "oom_kills", read.oom_kills.map(|kills| kills as f64));
    map
}

fn pressure(read: &Pressure) -> Map<String, Value> {
    let mut map = Map::new();
    put(&mut map, "some_percent", read.some_percent);
    put(&mut map, "full_percent", read.full_percent);
    put(&mut map, "some_total_s", read.some_total_s);
    map
}

/// Something that has happened to a target; `text` says it for people.
pub fn event(target: &str, event: &Event) -> Map<String, Value> {
    let mut map = Map::new();
    map.insert("time".into(), time(event.time).into());
    map.insert("target".into(), target.into());
    map.insert("event".into(), event.what.name().into());
    map.insert("text".into(), text(target, &event.what).into());
    match &event.what {
        Happening::Judged { before, now } => {
            map.insert("before".into(), before.name().into());
            map.extend(verdict(now));
        }
        Happening::OomKilled { count } => {
            map.insert("count".into(), (*count).into());
        }
        Happening::SourceLost { address, .. } | Happening::SourceFound { address } => {
            map.insert("address".into(), address.as_ref().into());
        }
        Happening::Appeared { identity, .. } | Happening::Restarted { identity, .. } => {
            map.insert("pid".into(), identity.pid.into());
        }
        Happening::Vanished { .. } => {}
    }
    map
}

/// What has happened, for people.
pub fn text(target: &str, what: &Happening) -> String {
    match what {
        Happening::Judged { .. } => format!("{target}: {what}"),
        _ => format!("{target} {what}"),
    }
}

/// A figure: a whole one without decimals; one that is no number is left out.
fn put(map: &mut Map<String, Value>, name: &str, value: f64) {
    // Above this a double has no odd numbers.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    let number = if value.fract() == 0.0 && value.abs() < EXACT {
        Some((value as i64).into())
    } else {
        serde_json::Number::from_f64(value)
    };
    if let Some(number) = number {
        map.insert(name.to_owned(), Value::Number(number));
    }
}

fn known(map: &mut Map<String, Value>, name: &str, value: Option<f64>) {
    if let Some(value) = value {
        put(map, name, value);
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use plimsoll_judgement::outside::Sample;
    use serde_json::json;

    use super::*;
    use crate::accounts::{Accounts, Name};

    #[test]
    fn what_is_not_known_is_left_out() {
        let mut accounts = Accounts::default();
        accounts.add(&Name::Extra("shed".into()), 2.5);
        let sample = Sample { t: 60.0, rss: 2e6, retained: Some(7.0), ..Sample::default() };
        let read = Reading {
            time: UNIX_EPOCH + Duration::from_millis(60_250),
            t: 60.25,
            process: None,
            cgroup: None,
            oom_killed: 0,
            pressure: None,
            accounts,
            sample: Some(sample),
            absent: None,
        };
        assert_eq!(
            Value::from(reading("edge", &read)),
            json!({"time": "1970-01-01T00:01:00.250Z", "target": "edge", "up": false,
                "retained": 7, "extras": {"shed": 2.5}})
        );
    }

    #[test]
    fn a_leak_has_its_rate_and_what_it_grows_with() {
        let found = Leak {
            bytes_per_hour: 229_336.5,
            error: 3e4,
            since: 7200.0,
            view: View::Direct,
            driver: Driver::Publish,
            bytes_per_event: Some(48.0),
            limit_in_s: None,
        };
        let what = Happening::Judged { before: Verdict::Stable, now: Verdict::Leaking(found) };
        let happened = event("edge", &Event { time: UNIX_EPOCH, t: 0.0, what });
        let text = happened.get("text").and_then(Value::as_str).map(str::to_owned);
        assert!(text.is_some_and(|text| text.starts_with("edge: leaking at 0.229 MB/h")));
        assert_eq!(happened.get("rate_bytes_per_hour"), Some(&json!(229_336.5)));
        assert_eq!(happened.get("view"), Some(&json!("direct")));
        assert_eq!(happened.get("before"), Some(&json!("stable")));
        assert_eq!(happened.get("limit_in_s"), None);
    }

    #[test]
    fn no_number_is_no_member() {
        let mut map = Map::new();
        put(&mut map, "nan", f64::NAN);
        put(&mut map, "whole", 3.0);
        put(&mut map, "large", 1e300);
        assert_eq!(Value::from(map), json!({"whole": 3, "large": 1e300}));
    }
}
