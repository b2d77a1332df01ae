//! The gate: who a client is, before the engine hears of it.
//!
//! What can be told at once is. Where a hash or a web service takes its time, the answer comes later,
//! by another thread, into the mailbox of the connection's shard; until then the bytes of CONNECT stay
//! where they are, and nothing more is read.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};
use std::thread;

use plimsoll_engine::Admission;
use plimsoll_ledger::{Account as Book, Charge, Ledger};
use plimsoll_mqtt::ReasonCode;

use super::shared::Shared;
use crate::access::dynsec::{Dynsec, Identified};
use crate::access::go_auth::{Login, LoginAnswer};
use crate::access::plugins::Plugins;

/// Logins that wait for a password's hash, at most: who comes then is told that the server is busy.
const QUEUE_MAX: usize = 10_000;

/// What a client says of itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Credentials<'a> {
    pub(crate) listener: u16,
    pub(crate) client_identifier: &'a str,
    pub(crate) username: Option<&'a str>,
    pub(crate) password: Option<&'a [u8]>,
}

/// A connection that waits for an answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ticket {
    pub(crate) shard: u8,
    pub(crate) slot: u32,
    pub(crate) serial: u32,
}

/// An answer on its way to its connection.
#[derive(Debug)]
pub(crate) struct Mail {
    pub(crate) ticket: Ticket,
    pub(crate) admission: Admission,
    /// When it ends, seconds since 1970.
    pub(crate) expires_at: Option<u64>,
}

/// Whether there is an answer.
#[derive(Debug)]
pub(crate) enum Answer {
    Now(Admission),
    Later,
}

/// A password to be checked.
struct Job {
    dynsec: Arc<Dynsec>,
    username: Box<str>,
    client_identifier: Box<str>,
    password: Box<[u8]>,
    ticket: Ticket,
}

struct Jobs {
    list: VecDeque<Job>,
    bytes: usize,
    charge: Charge,
}

/// The gate.
pub(crate) struct Gate {
    plugins: RwLock<Arc<Plugins>>,
    jobs: Mutex<Jobs>,
    ready: Condvar,
}

fn refused(reason: ReasonCode) -> Admission {
    Admission { refusal: Some(reason), ..Admission::default() }
}

fn admitted() -> Admission {
    Admission { authenticated: true, ..Admission::default() }
}

impl Job {
    fn bytes(&self) -> usize {
        size_of::<Self>() + self.username.len() + self.client_identifier.len() + self.password.len()
    }
}

impl Gate {
    pub(crate) fn new(ledger: &'static Ledger) -> Self {
        let charge = ledger.charge(Book::Admin, 0);
        Self {
            plugins: RwLock::default(),
            jobs: Mutex::new(Jobs { list: VecDeque::new(), bytes: 0, charge }),
            ready: Condvar::new(),
        }
    }

    pub(crate) fn plugins(&self) -> Arc<Plugins> {
        // A panic ends the process, so nobody sees a poisoned lock.
        Arc::clone(&*self.plugins.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn set_plugins(&self, plugins: Arc<Plugins>) {
        *self.plugins.write().unwrap_or_else(PoisonError::into_inner) = plugins;
    }

    fn jobs(&self) -> MutexGuard<'_, Jobs> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks about a client.
    pub(crate) fn ask(
        &self,
        shared: &Arc<Shared>,
        credentials: &Credentials<'_>,
        ticket: Ticket,
    ) -> Answer {
        let plugins = self.plugins();
        if plugins.is_empty() {
            return Answer::Now(Admission::default());
        }
        let listener = credentials.listener;
        let (dynsec, go_auth) = (plugins.dynsec_of(listener), plugins.go_auth_of(listener));
        if dynsec.is_none() && go_auth.is_none() {
            return Answer::Now(Admission::default());
        }
        let Some(username) = credentials.username else {
            // As in go-auth: nobody is let in without a name. Dynamic security leaves it open.
            return Answer::Now(match go_auth {
                Some(_) => refused(ReasonCode::NOT_AUTHORIZED),
                None => Admission::default(),
            });
        };
        let password = credentials.password.unwrap_or_default();
        if let (Some(dynsec), Some(_)) = (dynsec, credentials.password) {
            match dynsec.model().identify(username, credentials.client_identifier) {
                Identified::Refused => return Answer::Now(refused(ReasonCode::NOT_AUTHORIZED)),
                Identified::Unknown => {}
                Identified::Known(_) => {
                    return self.check(Job {
                        dynsec: Arc::clone(dynsec),
                        username: username.into(),
                        client_identifier: credentials.client_identifier.into(),
                        password: password.into(),
                        ticket,
                    });
                }
            }
        }
        let (Some(go_auth), Ok(password)) = (go_auth, std::str::from_utf8(password)) else {
            return Answer::Now(refused(ReasonCode::NOT_AUTHORIZED));
        };
        let login =
            Login { client_identifier: credentials.client_identifier, username, password };
        let (ends, shared) = (go_auth.ends_with_token(), Arc::clone(shared));
        let reply = move |answer| shared.post(mail(ticket, answer, ends));
        go_auth.login(&login, Box::new(reply));
        Answer::Later
    }

    fn check(&self, job: Job) -> Answer {
        let mut jobs = self.jobs();
        if jobs.list.len() >= QUEUE_MAX {
            return Answer::Now(refused(ReasonCode::SERVER_BUSY));
        }
        jobs.bytes += job.bytes();
        jobs.list.push_back(job);
        let held = jobs.bytes;
        jobs.charge.set(held);
        drop(jobs);
        self.ready.notify_one();
        Answer::Later
    }

    fn next(&self) -> Job {
        let mut jobs = self.jobs();
        loop {
            if let Some(job) = jobs.list.pop_front() {
                jobs.bytes -= job.bytes();
                if jobs.list.is_empty() {
                    jobs.list = VecDeque::new();
                }
                let held = jobs.bytes;
                jobs.charge.set(held);
                return job;
            }
            jobs = self.ready.wait(jobs).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Starts the thread that hashes. It ends with the process.
    pub(crate) fn serve(shared: &Arc<Shared>) -> Result<(), String> {
        let shared = Arc::clone(shared);
        let thread = thread::Builder::new().name("passwords".into());
        let spawned = thread.spawn(move || {
            loop {
                let job = shared.gate.next();
                // Asked again, since it may have changed; the password is cloned, so that nobody
                // waits for the hash.
                let password = match job
                    .dynsec
                    .model()
                    .identify(&job.username, &job.client_identifier)
                {
                    Identified::Known(password) => Some(password.clone()),
                    Identified::Refused | Identified::Unknown => None,
                };
                let right = password.is_some_and(|password| password.verify(&job.password));
                let admission =
                    if right { admitted() } else { refused(ReasonCode::NOT_AUTHORIZED) };
                shared.post(Mail { ticket: job.ticket, admission, expires_at: None });
            }
        });
        spawned.map(|_| ()).map_err(|error| format!("cannot start the password thread: {error}"))
    }
}

fn mail(ticket: Ticket, answer: LoginAnswer, ends: bool) -> Mail {
    match answer {
        LoginAnswer::Granted(account) => Mail {
            ticket,
            admission: Admission { username: account.username, ..admitted() },
            expires_at: account.expires_at.filter(|_| ends),
        },
        LoginAnswer::Refused => {
            Mail { ticket, admission: refused(ReasonCode::NOT_AUTHORIZED), expires_at: None }
        }
        LoginAnswer::Unavailable => {
            Mail { ticket, admission: refused(ReasonCode::SERVER_UNAVAILABLE), expires_at: None }
        }
    }
}
