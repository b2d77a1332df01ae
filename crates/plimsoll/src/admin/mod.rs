//! HTTP on listeners with `protocol http_api`: metrics, health, an API, and a page.
//!
//! All of it runs on one thread of its own, with a small tokio runtime; the I/O threads do nothing
//! for it. The engine is entered for at most about a millisecond at a time.

mod alarms;
mod books;
mod budgets;
mod changes;
mod clients;
mod entry;
mod health;
mod history;
mod jobs;
mod look;
mod memory;
mod metrics;
mod openapi;
mod page;
mod problem;
mod retained;
mod routes;
mod serve;
mod stall;
mod subscriptions;
mod system;
mod top;
mod trace;

use std::fmt::{self, Debug};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};
use std::thread::JoinHandle;

use plimsoll_engine::Access;
use tokio::sync::{Notify, watch};

use crate::broker::listener::Bound;
use crate::broker::shared::Shared;
use crate::config::{Config, HttpConfig};

/// What holds for HTTP at present.
#[derive(Debug, Default)]
pub(crate) struct Settings {
    http: HttpConfig,
    listeners: Vec<ListenerSettings>,
    /// The rules: who may ask for what.
    access: Option<Arc<dyn Access>>,
}

/// A listener, as the API tells of it and as its doors need it.
#[derive(Clone, Debug, Default)]
struct ListenerSettings {
    /// A reload took it out.
    closed: bool,
    port: u16,
    path: Option<String>,
    protocol: &'static str,
    tls: bool,
    mtls: bool,
    allow_anonymous: bool,
    max_connections: Option<usize>,
}

impl ListenerSettings {
    /// Its port or path.
    fn place(&self) -> String {
        self.path.clone().unwrap_or_else(|| self.port.to_string())
    }
}

impl Settings {
    /// What a configuration and its rules say.
    pub(crate) fn new(config: &Config, access: Option<Arc<dyn Access>>) -> Self {
        let listeners = config.listeners.iter().map(|listener| ListenerSettings {
            closed: listener.closed,
            port: listener.port,
            path: listener.path.as_ref().map(|path| path.display().to_string()),
            // Mosquitto's words for them.
            protocol: match (listener.http, listener.web.is_some()) {
                (true, _) => "httpapi",
                (false, true) => "websockets",
                (false, false) => "mqtt",
            },
            tls: !listener.tls.is_off(),
            mtls: listener.tls.require_certificate,
            allow_anonymous: listener.allow_anonymous,
            max_connections: listener.max_connections,
        });
        Self { http: config.http, listeners: listeners.collect(), access }
    }
}

/// A change of what listens.
#[derive(Debug)]
pub(crate) struct Order {
    /// Listeners whose sockets are closed.
    pub(crate) close: Vec<u16>,
    /// Sockets that listen already.
    pub(crate) open: Vec<Bound>,
    /// Hears when it is done.
    pub(crate) done: Option<SyncSender<()>>,
}

/// Reads the configuration again; answers all mistakes in it, a line each.
pub(crate) type Reload = Box<dyn Fn(&Arc<Shared>) -> Result<(), String> + Send + Sync>;

/// HTTP as the rest of the broker sees it.
pub(crate) struct Admin {
    settings: RwLock<Arc<Settings>>,
    orders: Mutex<Vec<Order>>,
    wake: Notify,
    /// Counts settings: connections that were made under others end after their present request.
    generation: watch::Sender<u64>,
    thread: Mutex<Option<JoinHandle<()>>>,
    reload: OnceLock<Reload>,
    /// Connections at present, and requests so far by class of their answer.
    connections: AtomicU64,
    answers: [AtomicU64; 5],
}

impl Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admin").finish_non_exhaustive()
    }
}

impl Default for Admin {
    fn default() -> Self {
        Self {
            settings: RwLock::default(),
            orders: Mutex::default(),
            wake: Notify::new(),
            generation: watch::Sender::new(0),
            thread: Mutex::default(),
            reload: OnceLock::new(),
            connections: AtomicU64::new(0),
            answers: Default::default(),
        }
    }
}

fn unpoisoned<T>(result: Result<T, PoisonError<T>>) -> T {
    // A panic ends the process, so nobody sees a poisoned lock.
    result.unwrap_or_else(PoisonError::into_inner)
}

impl Admin {
    /// Other settings from now on.
    pub(crate) fn set(&self, settings: Settings) {
        *unpoisoned(self.settings.write()) = Arc::new(settings);
        self.generation.send_modify(|generation| *generation += 1);
    }

    fn settings(&self) -> Arc<Settings> {
        Arc::clone(&*unpoisoned(self.settings.read()))
    }

    /// How a reload is done.
    pub(crate) fn set_reload(&self, reload: Reload) {
        // There is one.
        let _ = self.reload.set(reload);
    }

    /// Opens and closes sockets. The thread is there from the first one on.
    pub(crate) fn order(shared: &Arc<Shared>, order: Order) -> Result<(), String> {
        let admin = &shared.admin;
        let mut thread = unpoisoned(admin.thread.lock());
        if thread.is_none() {
            if order.open.is_empty() {
                if let Some(done) = order.done {
                    // Whoever asked may have given up.
                    let _ = done.send(());
                }
                return Ok(());
            }
            *thread = Some(serve::start(shared)?);
        }
        drop(thread);
        unpoisoned(admin.orders.lock()).push(order);
        admin.wake.notify_one();
        Ok(())
    }

    fn take_orders(&self) -> Vec<Order> {
        std::mem::take(&mut *self.orders())
    }

    fn orders(&self) -> MutexGuard<'_, Vec<Order>> {
        unpoisoned(self.orders.lock())
    }

    /// The broker goes down: waits until answers under way are out, though not for long.
    pub(crate) fn finish(&self) {
        self.wake.notify_one();
        if let Some(thread) = unpoisoned(self.thread.lock()).take() {
            // It broke off, which is said elsewhere.
            let _ = thread.join();
        }
    }

    /// An answer with this status has been given.
    fn answered(&self, status: u16) {
        let class = usize::from(status / 100).saturating_sub(1);
        if let Some(count) = self.answers.get(class) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
}
