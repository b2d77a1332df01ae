use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use plimsoll_judgement::outside::{Driver, Leak, Sample, Verdict, View};
use serde_json::Value;

use super::*;
use crate::accounts::{Accounts, Name, SourceState};
use crate::event::{Event, Happening};
use crate::figure::Figure;
use crate::procfs::{Identity, ProcessReading};
use crate::reading::{Pressure, Reading};
use crate::selector::Selector;
use crate::target::Target;
use crate::watched::Watched;

/// A target that leaks, and one that is not there.
fn watched() -> Vec<Watched> {
    let mut accounts = Accounts::default();
    accounts.add(&Name::Figure(Figure::Retained), 700.0);
    accounts.add(&Name::Figure(Figure::PublishedTotal), 9000.0);
    accounts.add(&Name::Figure(Figure::Account), 4e6);
    accounts.add(&Name::Extra("shed \"x\"".into()), 1.5);
    accounts.sources.push(SourceState {
        address: Arc::from("mqtt://127.0.0.1:1883"),
        up: false,
        failures: 3,
        error: Some(Arc::from("refused")),
    });
    let mut edge = Watched::new(Target::new("edge", Selector::Process("mosquitto".into())));
    let process = ProcessReading {
        identity: Identity { pid: 7, start_ticks: 1 },
        start: 1.78e9,
        name: "mosquitto".into(),
        rss: 12e6,
        anon: 9e6,
        fds: Some(40.0),
        cpu_s: 1.25,
        ..ProcessReading::default()
    };
    let sample = Sample { t: 1.78e9, rss: 12e6, limit: Some(64e6), ..Sample::default() };
    edge.last = Some(Reading {
        time: SystemTime::now(),
        t: 1.78e9,
        process: Some(process),
        cgroup: None,
        oom_killed: 0,
        pressure: Some(Pressure { some_percent: 2.0, ..Pressure::default() }),
        accounts,
        sample: Some(sample),
        absent: None,
    });
    edge.readings = 1;
    edge.verdict = Verdict::Leaking(Leak {
        bytes_per_hour: 200_000.0,
        error: 9000.0,
        since: 1.77e9,
        view: View::Resident,
        driver: Driver::Publish,
        bytes_per_event: Some(48.0),
        limit_in_s: Some(936_000.0),
    });
    let gone = Watched::new(Target::new("ev/il <&>", Selector::Pid(1 << 30)));
    vec![edge, gone]
}

fn board() -> Board {
    let mut board = Board::default();
    let all = watched();
    board.round(&all);
    let (before, identity) = (Identity::default(), Identity { pid: 7, start_ticks: 1 });
    let what = Happening::Restarted { before, identity };
    board.event(&all[0], &Event { time: SystemTime::now(), t: 1.78e9, what });
    board
}

#[test]
fn metrics_name_each_target_and_its_leak() {
    let text = metrics::metrics(Form::Prometheus, &board().look(), &[]);
    for sample in [
        "plimsoll_watch_up{target=\"edge\"} 1",
        "plimsoll_watch_up{target=\"ev/il <&>\"} 0",
        "process_resident_memory_bytes{target=\"edge\"} 12000000",
        "process_cpu_seconds_total{target=\"edge\"} 1.25",
        "plimsoll_watch_memory_bytes{target=\"edge\",kind=\"anonymous\"} 9000000",
        "plimsoll_watch_memory_limit_bytes{target=\"edge\"} 64000000",
        "plimsoll_watch_memory_pressure_ratio{target=\"edge\"} 0.02",
        "plimsoll_watch_account_bytes{target=\"edge\",figure=\"account\"} 4000000",
        "plimsoll_watch_state{target=\"edge\",figure=\"retained\"} 700",
        "plimsoll_watch_published_total{target=\"edge\"} 9000",
        "plimsoll_watch_extra{target=\"edge\",name=\"shed \\\"x\\\"\"} 1.5",
        "plimsoll_watch_verdict{target=\"edge\",verdict=\"leaking\"} 1",
        "plimsoll_watch_verdict{target=\"edge\",verdict=\"stable\"} 0",
        "plimsoll_watch_leak_bytes_per_hour{target=\"edge\",view=\"resident\",driver=\"publish\"} 200000",
        "plimsoll_watch_limit_reached_seconds{target=\"edge\"} 936000",
        "plimsoll_watch_source_up{target=\"edge\",address=\"mqtt://127.0.0.1:1883\"} 0",
        "plimsoll_watch_source_failures_total{target=\"edge\",address=\"mqtt://127.0.0.1:1883\"} 3",
        "plimsoll_watch_restarts_total{target=\"edge\"} 1",
    ] {
        assert!(text.contains(&format!("{sample}\n")), "{sample}\n{text}");
    }
    assert!(!text.contains("NaN"), "{text}");
    let open = metrics::metrics(Form::OpenMetrics, &board().look(), &[]);
    assert!(open.ends_with("# EOF\n") && open.contains("# TYPE process_cpu_seconds counter\n"));
}

#[test]
fn every_judgement_has_its_label() {
    let mut all = watched();
    for verdict in [
        Verdict::InsufficientData { more_s: 60.0 },
        Verdict::WarmingUp,
        Verdict::Stable,
        Verdict::GrowingWithState { bytes_per_hour: 5.0 },
        all[0].verdict.clone(),
    ] {
        let label =
            format!("plimsoll_watch_verdict{{target=\"edge\",verdict=\"{}\"}} 1\n", verdict.name());
        all[0].verdict = verdict;
        let mut board = Board::default();
        board.round(&all);
        let text = metrics::metrics(Form::Prometheus, &board.look(), &[]);
        assert!(text.contains(&label), "{label}");
    }
}

#[test]
fn targets_come_and_go_with_the_configuration() {
    let mut board = board();
    let mut all = watched();
    all.reverse();
    board.round(&all);
    let names = |board: &Board| board.look().iter().map(|one| one.name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&board), ["ev/il <&>", "edge"]);
    assert_eq!(board.look()[1].restarts, 1, "what was known is kept");
    all.remove(0);
    board.round(&all);
    assert_eq!(names(&board), ["edge"]);
}

/// One request of a plain client.
fn ask(address: SocketAddr, path: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

#[test]
fn it_answers_over_http() {
    let address = serve::start("127.0.0.1:0".parse().unwrap(), router(board())).unwrap();
    let (head, body) = ask(address, "/metrics");
    assert!(
        head.starts_with("HTTP/1.1 200") && head.contains("text/plain; version=0.0.4"),
        "{head}"
    );
    assert!(body.contains("plimsoll_watch_up"));
    let (head, body) = ask(address, "/api/v1/targets");
    assert!(head.contains("application/json"));
    let parsed: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(parsed["targets"][0]["verdict"]["rate_bytes_per_hour"], 200_000);
    assert_eq!(parsed["targets"][0]["sources"][0]["error"], "refused");
    assert_eq!(parsed["targets"][0]["events"][0]["event"], "restarted");
    let (head, body) = ask(address, "/");
    assert!(head.contains("content-security-policy: default-src 'none'"), "{head}");
    assert!(body.contains("/targets/ev%2Fil%20%3C%26%3E\">ev/il &lt;&amp;&gt;</a>"), "{body}");
    let (head, body) = ask(address, "/targets/ev%2Fil%20%3C%26%3E");
    assert!(
        head.starts_with("HTTP/1.1 200") && body.contains("<h1>ev/il &lt;&amp;&gt;</h1>"),
        "{head}"
    );
    assert!(ask(address, "/targets/other").0.starts_with("HTTP/1.1 404"));
    assert_eq!(ask(address, "/healthz").1, "ok\n");
    let taken = serve::start(address, router(Board::default())).unwrap_err();
    assert!(taken.starts_with(&format!("cannot listen on {address}: ")), "{taken}");
}

#[test]
fn health_is_lost_with_the_sampling_thread() {
    let mut all = watched();
    if let Some(last) = &mut all[0].last {
        last.time = SystemTime::now() - 2 * STALLED;
    }
    let mut board = Board::default();
    board.round(&all);
    let address = serve::start("127.0.0.1:0".parse().unwrap(), router(board)).unwrap();
    let (head, body) = ask(address, "/healthz");
    assert!(head.starts_with("HTTP/1.1 503") && body.contains("60 s"), "{head} {body}");
}
