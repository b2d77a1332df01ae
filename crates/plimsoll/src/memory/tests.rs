//! From a leak to its alarm, with the real allocator and a clock that runs by itself.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use plimsoll_engine::Presence;
use plimsoll_ledger::{Account, Ledger};

use super::{Alarm, Memory, Reporting, Watchman};

/// Looks once a second for `seconds`, with `each` before. Answers when something was said, and what.
fn watch(
    memory: &Memory,
    watchman: &mut Watchman,
    from: u64,
    seconds: u64,
    mut each: impl FnMut(),
) -> Option<(u64, Arc<Alarm>)> {
    (from..from + seconds).find_map(|second| {
        each();
        let said = watchman.look(Duration::from_secs(second), memory, &Presence::default(), None);
        said.into_iter().next().map(|alarm| (second, alarm))
    })
}

/// 77 kB in the blocks of topic names, as retained updates might forget them.
#[inline(never)]
fn forget_topics() {
    for _ in 0..1600 {
        Box::leak(Box::<str>::from("plant/11/line/034/sensor/000017/state/st"));
    }
}

#[test]
fn a_leak_is_found_named_and_over_when_it_is() {
    let ledger: &'static Ledger = Box::leak(Box::default());
    let memory = Memory::new(ledger);
    let mut watchman = Watchman::new(ledger);
    let charged = ledger.bytes(Account::Admin);
    assert!(charged > 0, "looking takes memory");
    assert!(watch(&memory, &mut watchman, 0, 300, || {}).is_none(), "nothing leaks");
    let found = watch(&memory, &mut watchman, 300, 300, forget_topics);
    let (second, alarm) = found.expect("a leak");
    assert!((360..480).contains(&second), "found after {} s", second - 300);
    assert_eq!((alarm.subject.as_str(), alarm.cleared), ("residue", None));
    assert!((240e6..320e6).contains(&alarm.bytes_per_hour), "{} B/h", alarm.bytes_per_hour);
    let owner = alarm.owners.first().expect("a call stack");
    assert!(owner.grown_bytes > 1_000_000, "{owner:?}");
    assert!(
        alarm.line().starts_with("LEAK: memory that is in no account grows: 2"),
        "{}",
        alarm.line()
    );
    assert_eq!(memory.standing(), 1);
    let over = watch(&memory, &mut watchman, second + 1, 1000, || {});
    let (_, alarm) = over.expect("the end of it");
    assert!(alarm.cleared.is_some() && memory.standing() == 0);
    assert_eq!(memory.alarms().len(), 1, "one leak is one alarm");
    drop(watchman);
    assert_eq!(ledger.total(), 0);
}

#[test]
fn an_alarm_is_sent_and_kept() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/alarms", listener.local_addr().unwrap());
    let directory = std::env::temp_dir().join(format!("plimsoll-alarm-{}", std::process::id()));
    let ledger: &'static Ledger = Box::leak(Box::default());
    let memory = Memory::new(ledger);
    memory.report_to(Reporting { url: Some(url), directory: Some(directory.clone()) });
    let receiver = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let mut request = Vec::new();
        let mut piece = [0; 4096];
        while !(request.ends_with(b"}") && String::from_utf8_lossy(&request).contains("\"text\"")) {
            let count = stream.read(&mut piece).unwrap();
            request.extend_from_slice(&piece[..count]);
        }
        stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap();
        String::from_utf8(request).unwrap()
    });
    let alarm = Alarm {
        grown: 3.0,
        ..super::watchman::alarm(
            super::alarm::Subject::SessionsOverdue,
            Duration::from_secs(9),
            Duration::ZERO,
        )
    };
    memory.send(&Arc::new(alarm), |trouble| panic!("{trouble}"));
    let request = receiver.join().unwrap();
    assert!(request.starts_with("POST /alarms HTTP/1.1"), "{request}");
    let body = request.split_once("\r\n\r\n").map(|(_, body)| body).unwrap_or_default();
    let body: serde_json::Value = serde_json::from_str(body).expect("JSON");
    assert_eq!(
        (body["event"].as_str(), body["alarm"]["subject"].as_str()),
        (Some("raised"), Some("sessions_overdue"))
    );
    let deadline = Instant::now() + Duration::from_secs(10);
    let kept = loop {
        let kept: Vec<_> = std::fs::read_dir(&directory).unwrap().flatten().collect();
        if kept.len() == 2 || Instant::now() > deadline {
            break kept;
        }
        thread::sleep(Duration::from_millis(20));
    };
    assert_eq!(kept.len(), 2, "{kept:?}");
    std::fs::remove_dir_all(directory).unwrap();
}
