//! A reload: everything is read and checked first; then all of it holds, or none.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use plimsoll_mqtt::ReasonCode;

use super::listener::{self, Bound, Order};
use super::plan::Plan;
use super::shared::Shared;
use super::{apart, bind_listener, log_setup, systemd};
use crate::access::verifier::Verifier;
use crate::admin::{self, Admin};
use crate::config::{Config, Listener};

/// How long the first I/O thread may take to close a listening socket.
const CLOSED_WITHIN: Duration = Duration::from_secs(5);

/// What became of reloads, for `$SYS/broker/reload/…`.
#[derive(Debug, Default)]
pub(crate) struct Reloads {
    pub(crate) succeeded: AtomicU64,
    pub(crate) failed: AtomicU64,
    trouble: Mutex<Option<String>>,
}

impl Reloads {
    /// Why the last reload changed nothing, if that is so.
    pub(crate) fn trouble(&self) -> Option<String> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn note(&self, trouble: Option<&str>) {
        let count = if trouble.is_some() { &self.failed } else { &self.succeeded };
        count.fetch_add(1, Ordering::Relaxed);
        let first = trouble.and_then(|errors| errors.lines().next());
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = first.map(str::to_owned);
    }
}

/// Reads the configuration again when told to.
pub(crate) struct Reloader<R> {
    read: R,
    running: Plan,
    verifier: Arc<Verifier>,
}

/// One reload at a time.
pub(crate) fn lock<R>(reloader: &Mutex<Reloader<R>>) -> MutexGuard<'_, Reloader<R>> {
    // A panic ends the process, so nobody sees a poisoned lock.
    reloader.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Listeners that are there now or no longer, by number.
#[derive(Debug, Default, PartialEq, Eq)]
struct Changes {
    opened: Vec<usize>,
    closed: Vec<usize>,
}

impl<R: Fn() -> Result<Config, String>> Reloader<R> {
    /// `running` is what holds now; `read` reads what shall hold.
    pub(crate) fn new(running: Plan, verifier: Arc<Verifier>, read: R) -> Self {
        Self { read, running, verifier }
    }

    /// Reloads, and says in log and figures what came of it. Answers all mistakes, a line each.
    pub(crate) fn reload(&mut self, shared: &Arc<Shared>) -> Result<(), String> {
        shared.log.notice("Reloading config.");
        systemd::reloading();
        let outcome = self.prepare(shared);
        match &outcome {
            Ok(()) => shared.reloads.note(None),
            Err(errors) => {
                for line in errors.lines() {
                    shared.log.error(line);
                }
                shared.log.error("The running configuration was left as it is.");
                shared.reloads.note(Some(errors));
            }
        }
        systemd::ready();
        outcome
    }

    /// All that can fail, then all that cannot.
    fn prepare(&mut self, shared: &Arc<Shared>) -> Result<(), String> {
        let mut config = (self.read)()?;
        let vacant = |number| shared.listener_connections(number) == 0;
        let running = &self.running.config;
        let changes = arrange(&running.listeners, &mut config, vacant);
        for line in takes_a_restart(running, &config) {
            config.warnings.push(line);
        }
        let plan = Plan::load(config)?;
        plan.start_plugins(Some(&self.running), shared)?;
        let opened = self.open(&changes, &plan.config, shared)?;
        self.swap(plan, &changes, opened, shared);
        Ok(())
    }

    /// Binds the new listeners. Where one takes the place of another that has to go, that one is
    /// closed first, and opened again if it was in vain.
    fn open(
        &self,
        changes: &Changes,
        config: &Config,
        shared: &Arc<Shared>,
    ) -> Result<Vec<Bound>, String> {
        let port = |listeners: &[Listener], number: usize| {
            listeners.get(number).map(|listener| (listener.port, listener.path.clone()))
        };
        let contended = |&number: &usize| {
            let new = changes.opened.iter().map(|&opened| port(&config.listeners, opened));
            new.into_iter().any(|new| new == port(&self.running.config.listeners, number))
        };
        let first: Vec<usize> = changes.closed.iter().copied().filter(contended).collect();
        if !first.is_empty() {
            let (done, closed) = sync_channel(2);
            let close = first.iter().map(|&number| number as u16).collect();
            order(shared, config, close, Vec::new(), Some(&done))?;
            for _ in 0..2 {
                closed.recv_timeout(CLOSED_WITHIN).map_err(|_| "the I/O thread does not answer")?;
            }
        }
        let opened = bind_and_listen(config, &changes.opened);
        opened.map_err(|error| match self.reopen(&first, shared) {
            Ok(()) => error,
            Err(second) => format!("{error}\n{second}"),
        })
    }

    fn reopen(&self, numbers: &[usize], shared: &Arc<Shared>) -> Result<(), String> {
        let running = &self.running.config;
        let open = bind_and_listen(running, numbers)?;
        order(shared, running, Vec::new(), open, None)
    }

    /// From here on the new configuration holds. Nothing in here can fail.
    fn swap(&mut self, plan: Plan, changes: &Changes, open: Vec<Bound>, shared: &Arc<Shared>) {
        plan.enforce(shared, &self.verifier);
        plan.expel(&self.running, shared);
        let config = &plan.config;
        shared.log.set_connection_messages(config.connection_messages);
        for warning in &config.warnings {
            shared.log.warning(warning);
        }
        for bound in &open {
            shared.log.notice(&bound.announcement());
        }
        let close: Vec<u16> = changes.closed.iter().map(|&number| number as u16).collect();
        for &number in &changes.closed {
            if let Some(listener) = config.listeners.get(number) {
                shared.log.notice(&format!("Closing the listener on {}.", listener.named()));
            }
        }
        if let Err(error) = order(shared, config, close.clone(), open, None) {
            shared.log.error(&error);
        }
        if !close.is_empty() {
            // Who came through a door that is gone has to go.
            shared.purge(move |connection| {
                let gone = close.contains(&connection.listener);
                gone.then_some(ReasonCode::ADMINISTRATIVE_ACTION)
            });
        }
        shared.log.log().set(log_setup(config));
        shared.log.set_listeners(&config.listeners);
        self.running = plan;
    }
}

/// Tells those who accept what to open and close; both of them say `done`.
fn order(
    shared: &Arc<Shared>,
    config: &Config,
    close: Vec<u16>,
    open: Vec<Bound>,
    done: Option<&SyncSender<()>>,
) -> Result<(), String> {
    let (http, open) = apart(open, config);
    shared.order(Order { close: close.clone(), open, done: done.cloned() });
    Admin::order(shared, admin::Order { close, open: http, done: done.cloned() })
}

/// Binds the listeners of these numbers. From here on their connections wait in the system.
fn bind_and_listen(config: &Config, numbers: &[usize]) -> Result<Vec<Bound>, String> {
    let mut opened = Vec::new();
    for &number in numbers {
        let Some(listener) = config.listeners.get(number) else { continue };
        for bound in bind_listener(listener, number as u16, config)? {
            listener::listen(&bound)?;
            opened.push(bound);
        }
    }
    Ok(opened)
}

/// Gives the new configuration's listeners the numbers of the running ones at the same place. A
/// listener that is gone keeps its number, closed, until nobody has come through it for a whole
/// reload; then a new one may have it.
fn arrange(running: &[Listener], config: &mut Config, vacant: impl Fn(usize) -> bool) -> Changes {
    let mut found: Vec<Option<Listener>> =
        std::mem::take(&mut config.listeners).into_iter().map(Some).collect();
    let mut changes = Changes::default();
    for (number, listener) in running.iter().enumerate() {
        let same = found.iter_mut().find(|new| {
            !listener.closed && new.as_ref().is_some_and(|new| new.is_at_the_place_of(listener))
        });
        let listener = same.and_then(Option::take).unwrap_or_else(|| {
            if !listener.closed {
                changes.closed.push(number);
            }
            Listener { closed: true, ..listener.clone() }
        });
        config.listeners.push(listener);
    }
    for new in found.into_iter().flatten() {
        let free = |&(number, listener): &(usize, &Listener)| {
            listener.closed && !changes.opened.contains(&number) && vacant(number)
        };
        let number = running.iter().enumerate().find(free).map(|(number, _)| number);
        match number.and_then(|number| Some((number, config.listeners.get_mut(number)?))) {
            Some((number, place)) => {
                *place = new;
                changes.opened.push(number);
            }
            None => {
                changes.opened.push(config.listeners.len());
                config.listeners.push(new);
            }
        }
    }
    changes
}

/// Warnings of what a running broker cannot change.
fn takes_a_restart(running: &Config, config: &Config) -> Vec<String> {
    let source = config.source.as_ref().map_or_else(String::new, |p| format!("{}: ", p.display()));
    let same = [
        ("persistence", running.persistence == config.persistence),
        ("user", running.process.user == config.process.user),
        ("pid_file", running.process.pid_file == config.process.pid_file),
        ("io_threads", running.io_threads == config.io_threads),
    ];
    same.iter()
        .filter(|(_, same)| !same)
        .map(|(name, _)| {
            format!("{source}{name} was changed, which takes a restart to have effect")
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listener(port: u16) -> Listener {
        Listener::at(format!("test:{port}"), port, vec![None])
    }

    fn config(ports: &[u16]) -> Config {
        let listeners = ports.iter().map(|&port| listener(port)).collect();
        Config { listeners, ..Config::default() }
    }

    fn ports(config: &Config) -> Vec<(u16, bool)> {
        config.listeners.iter().map(|listener| (listener.port, listener.closed)).collect()
    }

    #[test]
    fn listeners_keep_their_numbers_wherever_they_stand() {
        let running = config(&[1, 2]);
        let mut new = config(&[3, 2, 1]);
        let changes = arrange(&running.listeners, &mut new, |_| true);
        assert_eq!(ports(&new), [(1, false), (2, false), (3, false)]);
        assert_eq!(changes, Changes { opened: vec![2], closed: vec![] });
    }

    #[test]
    fn a_number_is_used_again_only_when_nobody_is_left_on_it() {
        let mut one = config(&[2]);
        let changes = arrange(&config(&[1, 2]).listeners, &mut one, |_| true);
        assert_eq!(ports(&one), [(1, true), (2, false)]);
        assert_eq!(changes, Changes { opened: vec![], closed: vec![0] });
        let mut busy = config(&[2, 3]);
        arrange(&one.listeners, &mut busy, |_| false);
        assert_eq!(ports(&busy), [(1, true), (2, false), (3, false)]);
        let mut free = config(&[2, 3]);
        let changes = arrange(&one.listeners, &mut free, |_| true);
        assert_eq!(ports(&free), [(3, false), (2, false)]);
        assert_eq!(changes, Changes { opened: vec![0], closed: vec![] });
    }

    #[test]
    fn a_listener_that_comes_back_is_opened_anew() {
        let mut gone = config(&[2]);
        arrange(&config(&[1, 2]).listeners, &mut gone, |_| true);
        let mut back = config(&[1, 2]);
        let changes = arrange(&gone.listeners, &mut back, |_| true);
        assert_eq!(ports(&back), [(1, false), (2, false)]);
        assert_eq!(changes, Changes { opened: vec![0], closed: vec![] });
    }
}
