//! The broker's I/O shell: sockets and threads around the engine.

mod acceptor;
pub(crate) mod census;
mod certificates;
mod clock;
mod connection;
mod control;
pub(crate) mod events;
mod failures;
pub(crate) mod gate;
#[cfg(feature = "leaks")]
mod leaks;
mod limits;
pub(crate) mod listener;
mod load_line;
mod plan;
mod reconcile;
pub(crate) mod recount;
mod reload;
mod shard;
pub(crate) mod shared;
mod signals;
mod slots;
mod storage;
mod sys;
mod systemd;
pub(crate) mod transport;

use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use mio::{Poll, Waker};
use plimsoll_engine::Engine;
use plimsoll_ledger::Ledger;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::access::verifier::Verifier;
use crate::admin::{self, Admin};
use crate::config::{Config, Listener};
use crate::log::{Destination, Log, Setup};
use crate::process;

use acceptor::Acceptor;
use clock::Clock;
use events::EventLog;
use limits::Limits;
use listener::{Bound, Endpoint};
use plan::Plan;
use reload::Reloader;
use shard::{Shard, WAKE};
use shared::{Handle, Shared};
use sys::Sys;

/// The book of the process.
static LEDGER: Ledger = Ledger::new();

/// Most I/O threads; more would only fight for the engine.
const THREADS_MAX: usize = 8;

/// How long the HTTP thread may take to open its sockets.
const HTTP_WITHIN: std::time::Duration = std::time::Duration::from_secs(10);

/// Why a broker does not run.
#[derive(Debug)]
pub(crate) enum Failure {
    /// A mistake in the configuration or in a file that it names, a line each.
    Configuration(String),
    /// It could not start, or broke off.
    Start(String),
}

impl From<String> for Failure {
    fn from(error: String) -> Self {
        Self::Start(error)
    }
}

impl From<&str> for Failure {
    fn from(error: &str) -> Self {
        Self::Start(error.to_owned())
    }
}

/// Runs the broker until it is told to stop. `reload` reads the configuration anew.
pub(crate) fn run(
    config: &Config,
    reload: impl Fn() -> Result<Config, String> + Send + 'static,
) -> Result<(), Failure> {
    process::leave_session(&config.process)?;
    let file_limit = raise_file_limit();
    let bound = bind_all(config)?;
    let signals =
        signals::Watch::new().map_err(|error| format!("cannot watch signals: {error}"))?;
    let directory = match config.persistence.is_on() {
        true => Some(process::open_directory(&config.process, &config.persistence.location)?),
        false => None,
    };
    process::drop_privileges(&config.process)?;
    let plan = Plan::load(config.clone()).map_err(Failure::Configuration)?;
    let config = &plan.config;
    let log = Log::start(log_setup(config))?;
    let _last = Flushed(log.clone());
    let pid_file = process::PidFile::write(&config.process)?;
    let clock = Clock::new();
    let seed = random_seed()?;
    let threads = threads(config.io_threads);
    let mut engine = Engine::new(config.settings(), threads, seed, &LEDGER);
    let log = EventLog::new(log, config.connection_messages);
    log.set_listeners(&config.listeners);
    announce(&log, config, &bound, threads, file_limit);
    let storage = directory
        .map(|directory| {
            storage::open(&directory, &config.persistence, &mut engine, clock.now(), &LEDGER, &log)
        })
        .transpose()?;

    let mut polls = Vec::new();
    let mut handles = Vec::new();
    for _ in 0..threads {
        let poll = Poll::new().map_err(|error| format!("cannot poll: {error}"))?;
        let waker =
            Waker::new(poll.registry(), WAKE).map_err(|error| format!("cannot poll: {error}"))?;
        handles.push(Handle::new(waker));
        polls.push(poll);
    }
    let limits = Limits::of(config, Vec::new());
    let shared = Shared::new(engine, handles, limits, clock, &LEDGER, log);
    let shared = Arc::new(shared);
    let verifier = Verifier::new(&LEDGER);
    plan.start_plugins(None, &shared)?;
    control::Control::serve(&shared)?;
    plan.enforce(&shared, &verifier);
    let registry = polls.first().map(Poll::registry).ok_or("no I/O thread")?;
    let (http, bound) = apart(bound, config);
    let acceptor = Acceptor::new(bound, registry)?;
    for bound in &http {
        listener::listen(bound)?;
    }
    let (done, opened) = std::sync::mpsc::sync_channel(1);
    Admin::order(&shared, admin::Order { close: Vec::new(), open: http, done: Some(done) })?;
    // What it takes is in the books before the baseline is taken.
    opened.recv_timeout(HTTP_WITHIN).map_err(|_| "the HTTP thread does not start")?;
    let storage = storage.map(|storage| storage.serve(&shared)).transpose()?;
    let process_config = config.process.clone();
    let reloader = Arc::new(Mutex::new(Reloader::new(plan, verifier, reload)));
    let again = Arc::clone(&reloader);
    shared.admin.set_reload(Box::new(move |shared| reload::lock(&again).reload(shared)));
    signals.serve(Arc::clone(&shared), reloader)?;
    let mut acceptor = Some(acceptor);
    let mut sys = Some(Sys::new());
    let mut shards = Vec::new();
    for (index, poll) in polls.into_iter().enumerate() {
        let shared = Arc::clone(&shared);
        shards.push(Shard::new(index as u8, shared, poll, acceptor.take(), sys.take()));
    }
    shared.log.notice(concat!("plimsoll version ", env!("CARGO_PKG_VERSION"), " running"));
    process::ready(&process_config)?;
    systemd::ready();
    reconcile::serve(&shared)
        .map_err(|error| format!("cannot start the thread that reconciles memory: {error}"))?;
    load_line::serve(&shared)
        .map_err(|error| format!("cannot start the thread of the load line: {error}"))?;
    let outcome = run_all(shards, &shared);
    systemd::stopping();
    shared.admin.finish();
    finish_storage(&shared, storage);
    shared.log.notice(concat!("plimsoll version ", env!("CARGO_PKG_VERSION"), " terminating"));
    drop(pid_file);
    Ok(outcome?)
}

/// What the log was told is out before the process ends, or says why it does not run.
struct Flushed(Log);

impl Drop for Flushed {
    fn drop(&mut self) {
        self.0.flush();
    }
}

/// Checks a configuration and the files that it names, as a reload does, and answers it with its
/// warnings. Nothing is changed, and the broker's data are not touched.
pub(crate) fn check(config: Config) -> Result<Config, String> {
    // What the broker's user cannot read, the broker cannot read.
    process::drop_privileges(&config.process)?;
    Plan::load(config).map(|plan| plan.config)
}

/// Waits until everything is stored.
fn finish_storage(shared: &Shared, storage: Option<JoinHandle<()>>) {
    if let (Some(handle), Some(thread)) = (shared.storage(), storage) {
        handle.finish();
        if thread.join().is_err() {
            shared.log.error("The storage thread broke off.");
        }
    }
}

/// What the log is to do. In the background there is no terminal to write to.
fn log_setup(config: &Config) -> Setup {
    let mut setup = config.log.clone();
    if config.process.daemon {
        setup.destinations.retain(|to| !matches!(to, Destination::Stdout | Destination::Stderr));
    }
    setup
}

/// Runs the first shard here and the others on threads of their own.
fn run_all(shards: Vec<Shard>, shared: &Shared) -> Result<(), String> {
    let mut shards = shards.into_iter();
    let first = shards.next().ok_or("no I/O thread")?;
    thread::scope(|scope| {
        let others: Vec<_> = shards.map(|shard| scope.spawn(move || shard.run())).collect();
        let mut outcome = first.run();
        shared.stop();
        for other in others {
            match other.join() {
                Ok(result) => outcome = outcome.and(result),
                Err(_) => outcome = Err(std::io::Error::other("an I/O thread broke off")),
            }
        }
        outcome.map_err(|error| format!("the broker broke off: {error}"))
    })
}

/// Binds every listener before anything else is done, so that nothing is left half-started. They
/// listen once the rest stands.
fn bind_all(config: &Config) -> Result<Vec<Bound>, String> {
    let mut bound = systemd::handed_over(config)?;
    let taken: Vec<u16> = bound.iter().map(|bound| bound.listener).collect();
    for (number, listener) in config.listeners.iter().enumerate() {
        let number = number as u16;
        if !taken.contains(&number) {
            bound.extend(bind_listener(listener, number, config)?);
        }
    }
    Ok(bound)
}

/// Sockets for HTTP, and those for MQTT.
fn apart(bound: Vec<Bound>, config: &Config) -> (Vec<Bound>, Vec<Bound>) {
    bound.into_iter().partition(|bound| {
        config.listeners.get(usize::from(bound.listener)).is_some_and(|listener| listener.http)
    })
}

/// Binds every address of a listener.
fn bind_listener(listener: &Listener, number: u16, config: &Config) -> Result<Vec<Bound>, String> {
    let nodelay = config.set_tcp_nodelay;
    let mut bound = Vec::new();
    if let Some(path) = &listener.path {
        bound.push(listener::bind_unix(path, number, &listener.place, &config.process)?);
    }
    for host in &listener.hosts {
        let endpoint = Endpoint {
            place: listener.place.clone(),
            host: host.clone(),
            port: listener.port,
            interface: listener.interface.clone(),
            nodelay,
        };
        bound.extend(listener::bind(&endpoint, number)?);
    }
    Ok(bound)
}

/// One thread unless told otherwise: the engine is one value, and plain TCP needs so little work
/// beside it that a second thread moves fewer messages, not more (`docs/performance.md`).
fn threads(wanted: u8) -> usize {
    usize::from(wanted).clamp(1, THREADS_MAX)
}

/// Every connection needs a file descriptor: takes as many as the system gives.
fn raise_file_limit() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    }
}

fn random_seed() -> Result<u64, String> {
    let mut seed = [0; 8];
    let mut file =
        std::fs::File::open("/dev/urandom").map_err(|error| format!("/dev/urandom: {error}"))?;
    std::io::Read::read_exact(&mut file, &mut seed)
        .map_err(|error| format!("/dev/urandom: {error}"))?;
    Ok(u64::from_le_bytes(seed))
}

/// The first lines of the log: what runs, where, and within which limits.
fn announce(log: &EventLog, config: &Config, bound: &[Bound], threads: usize, files: Option<u64>) {
    log.notice(concat!("plimsoll version ", env!("CARGO_PKG_VERSION"), " starting"));
    log.notice(&match &config.source {
        Some(path) => format!("Config loaded from {}.", path.display()),
        None => "Using default config.".to_owned(),
    });
    for warning in &config.warnings {
        log.warning(warning);
    }
    for bound in bound {
        log.notice(&bound.announcement());
    }
    let addresses: Vec<String> = bound.iter().map(Bound::address).collect();
    log.information(&format!("Listening on {}.", addresses.join(", ")));
    let count = |number: u64| if number == 0 { "no limit".to_owned() } else { number.to_string() };
    log.information(&format!(
        "Limits: {} messages in flight and {} queued per client, packets of {} bytes, {} file descriptors; {threads} I/O thread(s).",
        count(config.max_inflight_messages.into()),
        count(config.max_queued_messages.into()),
        count(config.max_packet_size.into()),
        files.map_or_else(|| "unlimited".to_owned(), |files| files.to_string()),
    ));
    if !config.persistence.is_on() {
        log.information(&format!(
            "Nothing is kept over a restart (persistence false); data would be in {}.",
            config.persistence.location.display()
        ));
    }
}
