use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::Mutex;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;
use std::time::{Instant, SystemTime};

use plimsoll_judgement::outside::{Driver, Leak, Verdict, View};
use serde_json::Value;

use super::*;
use crate::event::{Event, Happening};
use crate::procfs::ProcessReading;
use crate::reading::Reading;
use crate::selector::Selector;
use crate::target::Target;
use crate::watched::Watched;

/// A request's first line with its headers, and its body.
type Asked = (String, String);

/// A web service that gives these answers, one after the other, and then the last one for ever.
fn service(answers: &'static [(u16, &'static str)]) -> (String, Receiver<Asked>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, receiver) = sync_channel(64);
    thread::spawn(move || {
        for (number, stream) in listener.incoming().enumerate() {
            let mut reader = BufReader::new(stream.unwrap());
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") {
                if reader.read_line(&mut head).unwrap() == 0 {
                    break;
                }
            }
            let length = head.lines().find_map(|line| {
                line.to_ascii_lowercase().strip_prefix("content-length:")?.trim().parse().ok()
            });
            let mut body = vec![0; length.unwrap_or(0)];
            reader.read_exact(&mut body).unwrap();
            let (status, text) = answers[number.min(answers.len() - 1)];
            let length = text.len();
            let answer = format!(
                "HTTP/1.1 {status} X\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{text}"
            );
            reader.get_mut().write_all(answer.as_bytes()).unwrap();
            if sender.send((head, String::from_utf8(body).unwrap())).is_err() {
                return;
            }
        }
    });
    (format!("http://{address}"), receiver)
}

fn silent() -> Trouble {
    Arc::new(|_: &str| {})
}

fn leaking() -> Verdict {
    Verdict::Leaking(Leak {
        bytes_per_hour: 200_000.0,
        error: 9000.0,
        since: 1.77e9,
        view: View::Resident,
        driver: Driver::Publish,
        bytes_per_event: Some(48.0),
        limit_in_s: None,
    })
}

fn watched() -> Watched {
    Watched::new(Target::new("edge", Selector::Pid(1)))
}

fn judged(before: Verdict, now: Verdict) -> Event {
    Event { time: SystemTime::now(), t: 0.0, what: Happening::Judged { before, now } }
}

fn patience() -> Duration {
    Duration::from_secs(20)
}

#[test]
fn a_webhook_is_tried_again_and_keeps_the_order() {
    let (url, asked) = service(&[(503, "busy"), (200, "")]);
    let directory = std::env::temp_dir().join(format!("watch-push-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let headers = directory.join("headers");
    std::fs::write(&headers, "# secret\nAuthorization: Bearer abc\n").unwrap();
    let options = PushOptions {
        webhook: vec![format!("{url}/hook?key=7")],
        webhook_headers: Some(headers),
        ..PushOptions::default()
    };
    let said = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&said);
    let trouble: Trouble = Arc::new(move |text: &str| heard.lock().unwrap().push(text.to_owned()));
    let mut push = options.start(&trouble).unwrap();
    let watched = watched();
    push.outputs[0].event(&watched, &judged(Verdict::Stable, leaking()));
    let what = Happening::Vanished { why: "ended".into() };
    push.outputs[0].event(&watched, &Event { time: SystemTime::now(), t: 0.0, what });
    let [first, again, second] = [0; 3].map(|_| asked.recv_timeout(patience()).unwrap());
    assert!(first.0.starts_with("POST /hook?key=7 HTTP/1.1\r\n"), "{}", first.0);
    assert!(first.0.to_ascii_lowercase().contains("authorization: bearer abc\r\n"), "{}", first.0);
    assert_eq!(first.1, again.1);
    let body: Value = serde_json::from_str(&first.1).unwrap();
    assert_eq!((&body["event"], &body["verdict"]), (&"judged".into(), &"leaking".into()));
    assert!(body["reasons"].is_array() && body["rate_bytes_per_hour"] == 200_000);
    assert!(second.1.contains("\"event\":\"vanished\""), "{}", second.1);
    assert!(second.1.contains("\"verdict\":\"insufficient_data\""), "{}", second.1);
    push.outputs[0].end();
    let counts = &push.counts[0];
    let all = [&counts.sent, &counts.failures, &counts.dropped];
    assert_eq!(all.map(|count| count.load(Ordering::Relaxed)), [2, 1, 0]);
    let said = said.lock().unwrap();
    assert!(
        said[0].contains(": 503") && said[0].ends_with("busy") && !said[0].contains("/hook"),
        "{said:?}"
    );
    assert!(said[1].ends_with(" answers again.") && said.len() == 2, "{said:?}");
    std::fs::remove_dir_all(directory).unwrap();
}

#[test]
fn destinations_at_one_host_have_names_of_their_own() {
    let options = PushOptions {
        webhook: vec!["http://127.0.0.1:1/one".into(), "http://127.0.0.1:1/two".into()],
        alertmanager: vec!["http://127.0.0.1:1".into()],
        ..PushOptions::default()
    };
    let push = options.start(&silent()).unwrap();
    let named: Vec<&str> = push.counts.iter().map(|counts| &*counts.destination).collect();
    let host = "http://127.0.0.1:1";
    assert_eq!(named, [host, &format!("{host} (2)"), &format!("{host} (3)")]);
}

#[test]
fn what_a_webhook_does_not_want_is_dropped_and_counted() {
    let (url, asked) = service(&[(400, "no")]);
    let options = PushOptions { webhook: vec![url], ..PushOptions::default() };
    let mut push = options.start(&silent()).unwrap();
    push.outputs[0].event(&watched(), &judged(leaking(), Verdict::Stable));
    asked.recv_timeout(patience()).unwrap();
    push.outputs[0].end();
    assert_eq!(push.counts[0].dropped.load(Ordering::Relaxed), 1);
}

/// A look at a target that is there, or is not.
fn look(t: f64, there: bool) -> Reading {
    Reading {
        time: SystemTime::UNIX_EPOCH,
        t,
        process: there.then(ProcessReading::default),
        cgroup: None,
        oom_killed: 0,
        pressure: None,
        accounts: crate::accounts::Accounts::default(),
        sample: None,
        absent: (!there).then(|| "gone".into()),
    }
}

/// A target that is there, and is judged so.
fn judged_as(verdict: Verdict) -> Vec<Watched> {
    vec![Watched { verdict, last: Some(look(0.0, true)), ..watched() }]
}

fn alerts(asked: &Receiver<Asked>) -> Value {
    let (head, body) = asked.recv_timeout(patience()).unwrap();
    assert!(head.starts_with("POST /am/api/v2/alerts HTTP/1.1\r\n"), "{head}");
    serde_json::from_str(&body).unwrap()
}

#[test]
fn alertmanager_hears_of_a_leak_and_of_its_end() {
    let (url, asked) = service(&[(200, "")]);
    let options =
        PushOptions { alertmanager: vec![format!("{url}/am/")], ..PushOptions::default() };
    let mut push = options.start(&silent()).unwrap();
    let output = &mut push.outputs[0];
    output.round(&judged_as(Verdict::Stable));
    output.round(&judged_as(leaking()));
    let raised = alerts(&asked);
    assert_eq!(raised.as_array().map(Vec::len), Some(1), "stable is no alert");
    assert_eq!(raised[0]["labels"]["alertname"], "PlimsollWatchLeak");
    assert_eq!(raised[0]["labels"]["target"], "edge");
    assert!(raised[0]["annotations"]["description"].as_str().unwrap().contains("0.200 MB/h"));
    // 1.77e9 seconds since 1970.
    assert_eq!(raised[0]["annotations"]["since"], "2026-02-02T02:40:00.000Z");
    assert!(raised[0]["endsAt"].as_str() > raised[0]["startsAt"].as_str());
    output.round(&judged_as(leaking()));
    output.round(&judged_as(Verdict::Stable));
    let ended = alerts(&asked);
    assert_eq!(ended[0]["labels"], raised[0]["labels"]);
    assert_eq!(ended[0]["startsAt"], raised[0]["startsAt"]);
    assert!(ended[0]["endsAt"].as_str() < raised[0]["endsAt"].as_str(), "{ended}");
}

#[test]
fn an_alert_that_was_refused_is_told_again_and_that_of_a_target_which_is_gone_ends() {
    let (url, asked) = service(&[(400, "no"), (200, "")]);
    let door = Door::new(&format!("{url}/am"), None, None).unwrap();
    let counts = Counts::new("x".into());
    let mailbox = Mailbox::new(1, Arc::clone(&counts));
    let wanted = alertmanager::Wanted::default();
    let mut courier = alertmanager::Alerts(wanted.clone());
    let mut output =
        alertmanager::Alertmanager { wanted, mailbox: Arc::clone(&mailbox), farewell: FAREWELL };
    assert!(courier.idle().is_empty());
    output.round(&judged_as(leaking()));
    let mut due = mailbox.take(9, Duration::ZERO).unwrap();
    assert!(!courier.send(&door, &mut due, &counts).unwrap_err().again);
    let first = alerts(&asked);
    let mut due = courier.idle();
    courier.send(&door, &mut due, &counts).unwrap();
    assert_eq!(alerts(&asked)[0]["startsAt"], first[0]["startsAt"]);
    output.round(&[]);
    let mut due = mailbox.take(9, Duration::ZERO).unwrap();
    courier.send(&door, &mut due, &counts).unwrap();
    let last = alerts(&asked);
    assert!(last[0]["endsAt"].as_str() < first[0]["endsAt"].as_str(), "{last}");
    assert!(courier.idle().is_empty());
}

#[test]
fn an_alert_outlives_a_restart_and_not_its_process() {
    let (url, asked) = service(&[(200, "")]);
    let door = Door::new(&format!("{url}/am"), None, None).unwrap();
    let counts = Counts::new("x".into());
    let wanted = alertmanager::Wanted::default();
    let mut courier = alertmanager::Alerts(wanted.clone());
    let mailbox = Mailbox::new(1, Arc::clone(&counts));
    let output = alertmanager::Alertmanager { wanted, mailbox, farewell: FAREWELL };
    let begun = Instant::now();
    let mut all = judged_as(leaking());
    let mut round = |minute: u64, there: bool| {
        all[0].last = Some(look(0.0, there));
        let changed = output.update(&all, begun + Duration::from_secs(minute * 60));
        let mut due = courier.idle();
        if due.is_empty() {
            return (changed, Value::Null, String::new());
        }
        courier.send(&door, &mut due, &counts).unwrap();
        let told = alerts(&asked)[0].take();
        let summary = told["annotations"]["summary"].as_str().unwrap_or_default().to_owned();
        (changed, told, summary)
    };
    let over =
        |told: &Value| told["endsAt"].as_str() <= Some(&crate::json::time(SystemTime::now()));
    assert!(!round(0, false).0, "it is not there yet");
    let (changed, first, summary) = round(1, true);
    assert!(changed && !over(&first) && summary == "edge leaks memory", "{first}");
    let (changed, told, summary) = round(2, false);
    assert!(changed && !over(&told) && summary.ends_with("is not there now"), "{told}");
    assert!(!round(15, false).0);
    // It is back, and still judged to leak: the same alert.
    let (changed, told, summary) = round(16, true);
    assert!(changed && summary == "edge leaks memory");
    assert_eq!(told["startsAt"], first["startsAt"]);
    assert!(!over(&round(30, false).1));
    let (changed, told, summary) = round(31, false);
    assert!(changed && over(&told) && summary.contains("the alert ends"), "{told}");
    assert!(round(40, false).1.is_null());
    let (changed, told, summary) = round(50, true);
    assert!(changed && !over(&told) && summary == "edge leaks memory");
    assert!(told["startsAt"].as_str() >= first["startsAt"].as_str());
}

#[test]
fn elasticsearch_gets_readings_so_often_and_events_at_once() {
    let (url, asked) = service(&[(200, "{\"errors\":false}")]);
    let options = PushOptions { elasticsearch: Some(url), ..PushOptions::default() };
    let mut push = options.start(&silent()).unwrap();
    let (output, watched) = (&mut push.outputs[0], watched());
    for second in 0..15 {
        output.reading(&watched, &look(f64::from(second), false));
    }
    output.event(&watched, &judged(Verdict::Stable, leaking()));
    output.end();
    let mut documents = Vec::new();
    while let Ok((head, body)) = asked.try_recv() {
        assert!(head.starts_with("POST /plimsoll-watch/_bulk?filter_path="), "{head}");
        assert!(head.to_ascii_lowercase().contains("content-type: application/x-ndjson\r\n"));
        assert!(body.ends_with('\n'));
        let lines: Vec<&str> = body.lines().collect();
        for pair in lines.chunks(2) {
            assert_eq!(pair[0], "{\"create\":{}}");
            documents.push(serde_json::from_str::<Value>(pair[1]).unwrap());
        }
    }
    let kinds: Vec<_> = documents.iter().map(|document| document["kind"].clone()).collect();
    assert_eq!(kinds, ["reading", "reading", "event"]);
    assert_eq!(documents[0]["@timestamp"], "1970-01-01T00:00:00.000Z");
    assert_eq!(push.counts[0].sent.load(Ordering::Relaxed), 3);
}

#[test]
fn what_is_wrong_with_an_address_is_said() {
    for (url, said) in [
        ("ftp://x/", "an address begins with http:// or https://"),
        ("http://me:secret@x/", "user and password belong into a header"),
        ("not a url", "an address is none: "),
    ] {
        let options = PushOptions { webhook: vec![url.into()], ..PushOptions::default() };
        let error = options.start(&silent()).map(drop).unwrap_err();
        assert!(error.contains(said) && !error.contains("secret"), "{error}");
    }
    let options = PushOptions {
        webhook: vec!["http://x/".into()],
        webhook_headers: Some("/no/such/file".into()),
        ..PushOptions::default()
    };
    let error = options.start(&silent()).map(drop).unwrap_err();
    assert!(error.starts_with("/no/such/file: No such file"), "{error}");
}
