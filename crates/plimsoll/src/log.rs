//! The log: Mosquitto's destinations, kinds and line format; or JSON.

mod json;

use std::borrow::Cow;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jiff::fmt::strtime::{BrokenDownTime, Config, PosixCustom};

use crate::process::as_whom;
pub(crate) use json::About;
use json::Subject;

/// Lines that may wait for a slow destination; more are dropped, and counted.
const LINES_MAX: usize = 4096;

/// What a line is about: the values of `log_type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub(crate) enum Kind {
    /// `error`
    Error = 1,
    /// `warning`
    Warning = 1 << 1,
    /// `notice`
    Notice = 1 << 2,
    /// `information`
    Information = 1 << 3,
    /// `debug`
    Debug = 1 << 4,
    /// `subscribe`
    Subscribe = 1 << 5,
    /// `unsubscribe`
    Unsubscribe = 1 << 6,
}

impl Kind {
    /// Every kind with its name in `log_type`.
    pub(crate) const ALL: [(&'static str, Self); 7] = [
        ("error", Self::Error),
        ("warning", Self::Warning),
        ("notice", Self::Notice),
        ("information", Self::Information),
        ("debug", Self::Debug),
        ("subscribe", Self::Subscribe),
        ("unsubscribe", Self::Unsubscribe),
    ];

    /// Its name in `log_type`.
    fn name(self) -> &'static str {
        let named = Self::ALL.iter().find(|(_, kind)| *kind == self);
        named.map_or("", |(name, _)| name)
    }
}

/// A set of [`Kind`]s.
pub(crate) type Kinds = u16;

/// Errors, warnings, notices and information: what is logged unless told otherwise.
pub(crate) const DEFAULT_KINDS: Kinds =
    Kind::Error as u16 | Kind::Warning as u16 | Kind::Notice as u16 | Kind::Information as u16;

/// Everything.
pub(crate) const ALL_KINDS: Kinds = 0x7F;

/// Where lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Destination {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// A file, appended to.
    File(PathBuf),
    /// The system log.
    Syslog(String),
}

/// How lines are stamped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Timestamp {
    /// Not at all.
    None,
    /// Seconds since 1970.
    Seconds,
    /// As `strftime` writes it, in local time.
    Format(String),
}

/// How lines are written: `log_format`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Form {
    /// As Mosquitto writes them.
    #[default]
    Text,
    /// An object for each.
    Json,
}

/// What the log is set to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Setup {
    /// Destinations; none of them is silence.
    pub(crate) destinations: Vec<Destination>,
    /// Kinds that are logged.
    pub(crate) kinds: Kinds,
    /// Stamp of each line of text.
    pub(crate) timestamp: Timestamp,
    /// Text or JSON.
    pub(crate) form: Form,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            destinations: vec![Destination::Stderr],
            kinds: DEFAULT_KINDS,
            timestamp: Timestamp::Seconds,
            form: Form::Text,
        }
    }
}

enum Order {
    /// Milliseconds since 1970, and what is to be said; whom it is about is for JSON.
    Line(u64, Kind, String, Option<Box<Subject>>),
    Setup(Setup),
    Reopen,
    Flush(SyncSender<()>),
}

/// A handle of the log. Lines are written by a thread of their own, so that a slow disk does not
/// hold up a client.
#[derive(Clone, Debug)]
pub(crate) struct Log {
    kinds: Arc<AtomicU16>,
    json: Arc<AtomicBool>,
    dropped: Arc<AtomicU64>,
    orders: Arc<Mutex<SyncSender<Order>>>,
}

impl std::fmt::Debug for Order {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Order")
    }
}

impl Log {
    /// Starts the log. A file that cannot be opened is an error.
    pub(crate) fn start(setup: Setup) -> Result<Self, String> {
        let kinds = Arc::new(AtomicU16::new(setup.kinds));
        let json = Arc::new(AtomicBool::new(setup.form == Form::Json));
        let dropped = Arc::new(AtomicU64::new(0));
        let (sender, receiver) = sync_channel(LINES_MAX);
        let mut writer = Writer::open(setup)?;
        let missed = Arc::clone(&dropped);
        let thread = thread::Builder::new().name("log".into());
        thread
            .spawn(move || writer.run(&receiver, &missed))
            .map_err(|error| format!("cannot start the log's thread: {error}"))?;
        Ok(Self { kinds, json, dropped, orders: Arc::new(Mutex::new(sender)) })
    }

    /// Whether lines of this kind are wanted: ask before making one.
    pub(crate) fn enabled(&self, kind: Kind) -> bool {
        self.kinds.load(Ordering::Relaxed) & kind as u16 != 0
    }

    /// Whether whom a line is about is told beside its text, so that it is worth finding out.
    pub(crate) fn is_json(&self) -> bool {
        self.json.load(Ordering::Relaxed)
    }

    /// Writes a line.
    pub(crate) fn write(&self, kind: Kind, line: &str) {
        self.write_about(kind, line, About::default());
    }

    /// Writes a line, and in JSON whom it is about.
    pub(crate) fn write_about(&self, kind: Kind, line: &str, about: About<'_>) {
        if !self.enabled(kind) {
            return;
        }
        let subject = self.is_json().then(|| Box::new(Subject::from(about)));
        let order = Order::Line(now(), kind, line.to_owned(), subject);
        if let Err(TrySendError::Full(_)) = self.sender().try_send(order) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Changes destinations, kinds and stamps.
    pub(crate) fn set(&self, setup: Setup) {
        self.kinds.store(setup.kinds, Ordering::Relaxed);
        self.json.store(setup.form == Form::Json, Ordering::Relaxed);
        // Fails only if the log's thread is gone, at the end of the process.
        let _ = self.sender().send(Order::Setup(setup));
    }

    /// Opens log files anew, after somebody moved them away.
    pub(crate) fn reopen(&self) {
        let _ = self.sender().send(Order::Reopen);
    }

    /// Waits until everything that was written is out.
    pub(crate) fn flush(&self) {
        let (done, wait) = sync_channel(1);
        if self.sender().send(Order::Flush(done)).is_ok() {
            let _ = wait.recv();
        }
    }

    /// The same, but no longer than `patience`. Answers whether everything is out.
    pub(crate) fn flush_within(&self, patience: Duration) -> bool {
        let (done, wait) = sync_channel(1);
        self.sender().try_send(Order::Flush(done)).is_ok() && wait.recv_timeout(patience).is_ok()
    }

    fn sender(&self) -> SyncSender<Order> {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The log's thread.
struct Writer {
    setup: Setup,
    files: Vec<File>,
    /// The line that is written.
    buffer: Vec<u8>,
}

/// Milliseconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64
}

impl Writer {
    fn open(setup: Setup) -> Result<Self, String> {
        let mut files = Vec::new();
        for destination in &setup.destinations {
            if let Destination::File(path) = destination {
                // Names of users and clients are nobody else's business.
                let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path);
                files.push(file.map_err(|error| {
                    format!("cannot open the log file {}{}: {error}", path.display(), as_whom())
                })?);
            }
        }
        Ok(Self { setup, files, buffer: Vec::new() })
    }

    fn run(&mut self, orders: &Receiver<Order>, dropped: &AtomicU64) {
        while let Ok(order) = orders.recv() {
            match order {
                Order::Line(at, kind, line, subject) => {
                    self.line(at, kind, &line, subject.as_deref());
                }
                Order::Setup(setup) => self.change(setup),
                Order::Reopen => self.change(self.setup.clone()),
                Order::Flush(done) => {
                    let _ = done.send(());
                }
            }
            let missed = dropped.swap(0, Ordering::Relaxed);
            if missed > 0 {
                let line =
                    format!("{missed} log lines were dropped: the log's destination is too slow.");
                self.line(now(), Kind::Warning, &line, None);
            }
        }
    }

    fn change(&mut self, setup: Setup) {
        match Self::open(setup) {
            Ok(writer) => *self = writer,
            Err(error) => {
                let line = format!("The log was left as it is: {error}");
                self.line(now(), Kind::Error, &line, None);
            }
        }
    }

    /// Writes a line of so many milliseconds since 1970.
    fn line(&mut self, at: u64, kind: Kind, line: &str, subject: Option<&Subject>) {
        match self.setup.form {
            Form::Text => {
                let at = at / 1000;
                let stamp = match &self.setup.timestamp {
                    Timestamp::None => String::new(),
                    Timestamp::Seconds => format!("{at}: "),
                    Timestamp::Format(format) => format!("{}: ", local_time(at, format)),
                };
                self.buffer = format!("{stamp}{}\n", on_one_line(line)).into_bytes();
            }
            Form::Json => json::write(&mut self.buffer, at, kind, line, subject),
        }
        let text = self.buffer.as_slice();
        // There is nobody to tell of a log that cannot be written.
        for file in &mut self.files {
            let _ = file.write_all(text);
        }
        for destination in &self.setup.destinations {
            match destination {
                Destination::Stdout => {
                    let _ = std::io::stdout().write_all(text);
                }
                Destination::Stderr => {
                    let _ = std::io::stderr().write_all(text);
                }
                Destination::File(_) => {}
                // It has a stamp of its own, and no ends of lines.
                Destination::Syslog(facility) => match self.setup.form {
                    Form::Text => syslog(facility, kind, line.as_bytes()),
                    Form::Json => syslog(facility, kind, text.trim_ascii_end()),
                },
            }
        }
    }
}

/// A point in time as `strftime` writes it.
fn local_time(at: u64, format: &str) -> String {
    let Ok(time) = jiff::Timestamp::from_second(i64::try_from(at).unwrap_or(0)) else {
        return at.to_string();
    };
    let zoned = time.to_zoned(jiff::tz::TimeZone::system());
    // `%c` and the like are written as the C locale has them.
    let config = Config::new().custom(PosixCustom::new());
    let time = BrokenDownTime::from(&zoned);
    time.to_string_with_config(&config, format).unwrap_or_else(|_| at.to_string())
}

/// Whether stamps can be written like that.
pub(crate) fn can_format(format: &str) -> bool {
    let config = Config::new().custom(PosixCustom::new());
    let time = BrokenDownTime::from(&jiff::Zoned::new(
        jiff::Timestamp::UNIX_EPOCH,
        jiff::tz::TimeZone::UTC,
    ));
    time.to_string_with_config(&config, format).is_ok()
}

/// Sends a line to the system log by its socket (RFC 3164).
fn syslog(facility: &str, kind: Kind, line: &[u8]) {
    let facility: u8 = match facility {
        "local0" => 16,
        "local1" => 17,
        "local2" => 18,
        "local3" => 19,
        "local4" => 20,
        "local5" => 21,
        "local6" => 22,
        "local7" => 23,
        _ => 3, // daemon
    };
    let severity: u8 = match kind {
        Kind::Error => 3,
        Kind::Warning => 4,
        Kind::Notice => 5,
        Kind::Information | Kind::Subscribe | Kind::Unsubscribe => 6,
        Kind::Debug => 7,
    };
    if let Ok(socket) = std::os::unix::net::UnixDatagram::unbound() {
        let head = format!("<{}>plimsoll[{}]: ", facility * 8 + severity, std::process::id());
        let _ = socket.send_to(&[head.as_bytes(), line].concat(), "/dev/log");
    }
}
/// A line in which what others have named cannot begin another one, nor move a terminal's cursor.
fn on_one_line(line: &str) -> Cow<'_, str> {
    match line.contains(char::is_control) {
        true => line.replace(char::is_control, "\u{FFFD}").into(),
        false => line.into(),
    }
}
