use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use plimsoll_engine::{Access, Action, Decision, Time, Who};
use plimsoll_ledger::Ledger;
use plimsoll_mqtt::QoS;

use super::answers::{Answers, Keeping, Known, key};
use super::backends::{Account, Asked, Backends, READ, SUBSCRIBE, WRITE};
use super::files::Files;
use super::hash::Hash;
use super::*;
use crate::access::options::Options;

fn ledger() -> &'static Ledger {
    Box::leak(Box::default())
}

/// A directory that goes with the test.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("plimsoll-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

fn options(pairs: &[(&str, &str)]) -> Options {
    let mut options = Options::new("broker.conf:1".into(), "auth_opt_");
    for (number, (name, value)) in pairs.iter().enumerate() {
        options.set(name, value, &format!("broker.conf:{}", number + 2));
    }
    options
}

/// `secret`, from Python's hashlib.
const PBKDF2: &str = "PBKDF2$sha512$1000$c2FsdHNhbHRzYWx0$bePzWo/796SGZ2lBKpZcU2FQhQXnjiEADnvU8yLzaxu1BwlSR076rTWeGRrvgBz757DxNPmtAZpVls5xSi9daw==";

#[test]
fn hashes_that_are_none_are_refused_when_they_are_read() {
    for text in [
        "",
        "plain",
        "PBKDF2$md5$1$c2FsdA==$aGFzaA==",
        "PBKDF2$sha512$0$c2FsdA==$aGFzaGhhc2hoYXNoaGFzaA==",
        "PBKDF2$sha512$1$c2FsdA==$",
        "$argon2id$v=19$m=99999999,t=1,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNoaGFzaA",
        "$argon2id$v=16$m=64,t=1,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNoaGFzaA",
        "$2a$31$abcdefghijklmnopqrstuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuu",
    ] {
        assert!(Hash::read(text, false).is_err(), "{text}");
    }
}

#[test]
fn every_kind_of_hash_knows_its_password() {
    let bcrypt = bcrypt::hash("secret", 4).unwrap();
    let params = argon2::Params::new(64, 1, 1, Some(32)).unwrap();
    let mut derived = [0; 32];
    argon2::Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params)
        .hash_password_into(b"secret", b"saltsalt", &mut derived)
        .unwrap();
    let encode = |bytes: &[u8]| {
        base64::Engine::encode(&base64::engine::general_purpose::STANDARD_NO_PAD, bytes)
    };
    let argon2 =
        format!("$argon2id$v=19$m=64,t=1,p=1${}${}", encode(b"saltsalt"), encode(&derived));
    for text in [bcrypt.as_str(), argon2.as_str(), PBKDF2] {
        let hash = Hash::read(text, false).unwrap();
        assert!(hash.verify("secret"), "{text}");
        assert!(!hash.verify("Secret"), "{text}");
        assert!(!format!("{hash:?}").contains(&text[10..20]));
    }
}

fn asked<'a>(username: &'a str, topic: &'a str, access: u8) -> Asked<'a> {
    Asked { client_identifier: "c1", username, topic, access }
}

#[test]
fn rules_of_files_are_read_as_go_auth_reads_them() {
    let directory = Directory::new("files");
    let passwords = directory.write("pw", &format!("# users\ntest1:{PBKDF2}\ntest2:{PBKDF2}\n"));
    let rules = "topic read everybody/#\n\nuser test1\ntopic write test/topic/1\n\
                 topic read test/topic/2\ntopic deny test/topic/3\ntopic readwrite $SYS/#\n\
                 user nobody\ntopic other/#\nuser test2\ntopic test/+\npattern read own/%u/%c\n";
    let acl = directory.write("acl", rules);
    let files = Files::load(Some(&passwords), Some(&acl), false, false).unwrap();
    for (username, topic, access, expected) in [
        ("test1", "test/topic/1", WRITE, true),
        ("test1", "test/topic/1", READ, false),
        ("test1", "test/topic/2", READ, true),
        ("test1", "test/topic/2", SUBSCRIBE, true),
        ("test1", "test/topic/2", WRITE, false),
        ("test1", "test/topic/3", READ, false),
        ("test1", "$SYS/broker/uptime", READ, true),
        ("test1", "everybody/x", READ, true),
        ("test1", "everybody/x", WRITE, false),
        ("test1", "own/test1/c1", READ, true),
        ("test2", "own/test1/c1", READ, false),
        ("test2", "test/x", WRITE, true),
        ("test2", "test/#", SUBSCRIBE, false),
        ("nobody", "other/x", READ, false),
        ("#", "own/test1/c1", READ, false),
    ] {
        let answer = files.allows(&asked(username, topic, access));
        assert_eq!(answer, expected, "{username} {topic} {access}");
    }
    let error = |text: &str| {
        let path = directory.write("bad", text);
        Files::load(None, Some(&path), false, false).unwrap_err()
    };
    assert!(error("user a\ntopic reed x y\n").contains("bad:2: `reed x y`"));
    assert!(error("\n\nhello\n").contains("bad:3:"));
}

#[test]
fn mistakes_name_their_place() {
    let error = |pairs: &[(&str, &str)]| Loaded::load(&options(pairs)).err().unwrap();
    assert!(error(&[]).starts_with("broker.conf:1: auth_opt_backends"));
    assert!(error(&[("backends", "files,postgres")]).contains("`postgres` is not built in"));
    assert!(error(&[("backends", "http")]).contains("http_host: is needed"));
    assert!(error(&[("backends", "jwt")]).contains("jwt_secret: is needed"));
    let local = [("backends", "jwt"), ("jwt_mode", "local")];
    assert!(error(&local).starts_with("broker.conf:3: auth_opt_jwt_mode: `local`"));
    let cache = [("backends", "files"), ("acl_cache_seconds", "soon")];
    assert!(error(&cache).starts_with("broker.conf:3: auth_opt_acl_cache_seconds: `soon`"));
}

#[test]
fn answers_are_kept_for_their_time_and_within_their_bound() {
    let ledger = ledger();
    let keeping = Keeping { millis: 10_000, jitter_millis: 3000, refresh: false };
    let mut answers = Answers::new(ledger, 100, keeping);
    let question = |n: u32| key(&[&n.to_le_bytes()]);
    answers.ask(question(0), 0);
    assert_eq!(answers.get(&question(0), 10), Known::Asked);
    answers.answer(question(0), true, true, 10);
    assert_eq!(answers.get(&question(0), 7009), Known::Answered(true));
    assert_eq!(answers.get(&question(0), 13_011), Known::Nothing);
    answers.answer(question(1), true, false, 0);
    assert_eq!(answers.get(&question(1), 999), Known::Answered(true));
    assert_eq!(answers.get(&question(1), 1000), Known::Nothing);
    for n in 0..10_000 {
        answers.answer(question(n), true, true, 0);
    }
    assert!(answers.len() <= 100);
    assert_eq!(answers.get(&question(9_999), 1), Known::Answered(true));
    assert!(ledger.total() > 0);
    answers.clear(keeping, 100);
    assert_eq!(ledger.total(), 0);
}

#[test]
fn a_question_is_not_another_one_with_its_parts_moved() {
    assert_ne!(key(&[b"ab", b"c"]), key(&[b"a", b"bc"]));
}

/// A service that answers each request with `status` after `delay`, and hands out what it was sent.
fn service(status: u16, delay: Duration) -> (String, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let (send, receive) = sync_channel(1000);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, send) = (stream.unwrap(), send.clone());
            thread::spawn(move || {
                let mut text = Vec::new();
                let mut part = [0; 4096];
                while !String::from_utf8_lossy(&text).contains("\r\n\r\n{") {
                    let count = stream.read(&mut part).unwrap_or(0);
                    if count == 0 {
                        return;
                    }
                    text.extend_from_slice(&part[..count]);
                }
                thread::sleep(delay);
                let _ = write!(
                    stream,
                    "HTTP/1.1 {status} x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                );
                let _ = send.send(String::from_utf8_lossy(&text).into_owned());
            });
        }
    });
    (port, receive)
}

fn http(port: &str, more: &[(&str, &str)]) -> Options {
    let mut options = options(&[
        ("backends", "http"),
        ("http_host", "127.0.0.1"),
        ("http_port", port),
        ("http_getuser_uri", "/user"),
        ("http_aclcheck_uri", "/acl"),
        ("http_timeout", "1"),
        ("cache", "true"),
    ]);
    for (name, value) in more {
        options.set(name, value, "broker.conf:9");
    }
    options
}

const PUBLISH: Action = Action::Publish { qos: QoS::AtMostOnce, retain: false };

fn started(options: &Options, ledger: &'static Ledger) -> (GoAuth, Receiver<String>) {
    let start = Instant::now();
    let now = move || Time::from_millis(start.elapsed().as_millis() as u64 + 1);
    let auth = GoAuth::start(Loaded::load(options).unwrap(), ledger, now).unwrap();
    let (send, told) = sync_channel(1000);
    auth.connect(move |client| send.send(client.to_owned()).unwrap(), |_| {});
    (auth, told)
}

fn who(name: &'static str) -> Who<'static> {
    Who { client_identifier: "c1", username: Some(name), listener: 0 }
}

#[test]
fn a_topic_waits_for_its_answer_once() {
    let (port, seen) = service(200, Duration::ZERO);
    let (auth, told) = started(&http(&port, &[]), ledger());
    assert_eq!(auth.decide(&who("u"), PUBLISH, "a"), Decision::Pending);
    assert_eq!(auth.decide(&who("u"), PUBLISH, "a"), Decision::Pending);
    assert_eq!(told.recv_timeout(Duration::from_secs(5)).unwrap(), "c1");
    assert_eq!(auth.decide(&who("u"), PUBLISH, "a"), Decision::Allow);
    let request = seen.recv().unwrap();
    assert!(request.starts_with("POST /acl HTTP/1.1\r\n"), "{request}");
    assert!(request.ends_with(r#"{"acc":2,"clientid":"c1","topic":"a","username":"u"}"#));
    assert!(seen.recv_timeout(Duration::from_millis(50)).is_err());
    let nobody = Who { username: None, ..who("u") };
    assert_eq!(auth.decide(&nobody, PUBLISH, "a"), Decision::Deny);
}

#[test]
fn a_service_that_fails_or_is_late_denies() {
    for (status, delay) in [(500, Duration::ZERO), (200, Duration::from_secs(3))] {
        let (port, _seen) = service(status, delay);
        let (auth, told) = started(&http(&port, &[]), ledger());
        assert_eq!(auth.decide(&who("u"), PUBLISH, "a"), Decision::Pending);
        told.recv_timeout(Duration::from_secs(5)).unwrap();
        assert_eq!(auth.decide(&who("u"), PUBLISH, "a"), Decision::Deny);
    }
}

#[test]
fn questions_are_bounded_and_give_their_bytes_back() {
    let (port, _seen) = service(200, Duration::from_millis(20));
    let ledger = ledger();
    let few = [("http_queue_max", "10"), ("http_workers", "1")];
    let (auth, told) = started(&http(&port, &few), ledger);
    let topics: Vec<String> = (0..100).map(|n| format!("topic/{n}")).collect();
    for topic in &topics {
        assert_eq!(auth.decide(&who("u"), PUBLISH, topic), Decision::Pending);
    }
    assert!(ledger.total() > 0);
    let answered = (0..).take_while(|_| told.recv_timeout(Duration::from_millis(500)).is_ok());
    assert!((10..=12).contains(&answered.count()));
    drop(auth);
    let deadline = Instant::now() + Duration::from_secs(5);
    while ledger.total() > 0 && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(ledger.total(), 0);
}

#[test]
fn a_login_goes_from_the_files_to_the_service() {
    let directory = Directory::new("login");
    let passwords = directory.write("pw", &format!("local:{}\n", bcrypt::hash("p", 4).unwrap()));
    let (port, seen) = service(200, Duration::ZERO);
    let both = [("backends", "files,http"), ("files_password_path", passwords.as_str())];
    let (auth, _told) = started(&http(&port, &both), ledger());
    let login = |username: &str, password: &str| {
        let (send, receive) = sync_channel(1);
        let login = Login { client_identifier: "c", username, password };
        auth.login(&login, Box::new(move |answer| send.send(answer).unwrap()));
        receive.recv_timeout(Duration::from_secs(5)).unwrap()
    };
    assert_eq!(login("local", "p"), LoginAnswer::Granted(Account::default()));
    assert!(seen.try_recv().is_err());
    assert_eq!(login("remote", "x"), LoginAnswer::Granted(Account::default()));
    assert!(seen.recv().unwrap().contains(r#""password":"x""#));
    assert_eq!(login("remote", "x"), LoginAnswer::Granted(Account::default()));
    assert!(seen.recv_timeout(Duration::from_millis(50)).is_err());
}

#[test]
fn a_prefix_chooses_the_backend() {
    let directory = Directory::new("prefix");
    let passwords = directory.write("pw", &format!("bob:{}\n", bcrypt::hash("p", 4).unwrap()));
    let (port, _seen) = service(200, Duration::ZERO);
    let more = [
        ("backends", "files, http"),
        ("files_password_path", passwords.as_str()),
        ("check_prefix", "true"),
        ("strip_prefix", "true"),
        ("prefixes", "f, h"),
    ];
    let backends = Backends::load(&http(&port, &more)).unwrap();
    let login = |username| Login { client_identifier: "c", username, password: "p" };
    assert!(backends.login_here(&login("f_bob"), 0).is_some());
    assert!(!backends.login_is_remote(&login("f_bob")));
    assert!(backends.login_here(&login("h_bob"), 0).is_none());
    assert!(backends.login_is_remote(&login("h_bob")));
    assert!(backends.login_here(&login("bob"), 0).is_some());
    assert!(backends.login_is_remote(&login("bob")));
    assert_eq!(backends.allows_here(&asked("f_bob", "x", READ)), Some(false));
    assert_eq!(backends.allows_here(&asked("h_bob", "x", READ)), None);
}
