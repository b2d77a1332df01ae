//! Logins of plugins at the gate.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use plimsoll_mqtt::ReasonCode;

use super::gate::{Authenticator, Reply};
use crate::access::dynsec::{Dynsec, Identified};
use crate::access::go_auth::{GoAuth, Login, LoginAnswer};

/// Logins that wait for a password's hash, at most: who comes then is told that the broker is busy.
const QUEUE_MAX: usize = 10_000;

/// Dynamic security at the gate: its passwords are hashed by a thread of its own.
pub(crate) struct DynsecLogins {
    dynsec: Arc<Dynsec>,
    /// `None` at the end.
    queue: Mutex<Option<VecDeque<Reply>>>,
    ready: Condvar,
}

/// go-auth at the gate.
#[derive(Debug)]
pub(crate) struct GoAuthLogins(pub(crate) Arc<GoAuth>);

impl DynsecLogins {
    /// Starts the thread. It ends when nobody asks any more.
    pub(crate) fn start(dynsec: Arc<Dynsec>) -> Result<Arc<Self>, String> {
        let queue = Mutex::new(Some(VecDeque::new()));
        let logins = Arc::new(Self { dynsec, queue, ready: Condvar::new() });
        let weak = Arc::downgrade(&logins);
        let thread = thread::Builder::new().name("passwords".into());
        let spawned = thread.spawn(move || {
            while let Some(logins) = weak.upgrade() {
                if let Some(reply) = logins.next() {
                    logins.check(reply);
                }
            }
        });
        spawned.map_err(|error| format!("cannot start the password thread: {error}"))?;
        Ok(logins)
    }

    fn queue(&self) -> MutexGuard<'_, Option<VecDeque<Reply>>> {
        // A panic ends the process, so nobody sees a poisoned lock.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next login; now and then none, so that the end is noticed.
    fn next(&self) -> Option<Reply> {
        let mut queue = self.queue();
        let next = queue.as_mut().and_then(VecDeque::pop_front);
        if next.is_some() {
            return next;
        }
        *queue = Some(VecDeque::new());
        let waited = self.ready.wait_timeout(queue, std::time::Duration::from_secs(5));
        let (mut queue, _) = waited.unwrap_or_else(PoisonError::into_inner);
        queue.as_mut().and_then(VecDeque::pop_front)
    }

    fn check(&self, reply: Reply) {
        let credentials = Arc::clone(&reply.credentials);
        let username = credentials.username.as_deref().unwrap_or_default();
        // Asked again, since it may have changed; a copy of the hash, so that nobody waits for it.
        let known = match self.dynsec.model().identify(username, &credentials.client_identifier) {
            Identified::Known(password) => Some(password.clone()),
            Identified::Refused | Identified::Unknown => None,
        };
        let given = credentials.password.as_deref().unwrap_or_default();
        match known.is_some_and(|password| password.verify(given)) {
            true => reply.accept(),
            false => reply.refuse(ReasonCode::NOT_AUTHORIZED),
        }
    }
}

impl Authenticator for DynsecLogins {
    fn authenticate(&self, reply: Reply) {
        let credentials = Arc::clone(&reply.credentials);
        let (Some(username), Some(_)) = (&credentials.username, &credentials.password) else {
            return reply.defer();
        };
        let identifier = &credentials.client_identifier;
        let known = match self.dynsec.model().identify(username, identifier) {
            Identified::Known(_) => true,
            Identified::Refused => return reply.refuse(ReasonCode::NOT_AUTHORIZED),
            Identified::Unknown => false,
        };
        if !known {
            return reply.defer();
        }
        let mut queue = self.queue();
        let list = queue.get_or_insert_default();
        if list.len() >= QUEUE_MAX {
            drop(queue);
            return reply.refuse(ReasonCode::SERVER_BUSY);
        }
        list.push_back(reply);
        drop(queue);
        self.ready.notify_one();
    }
}

impl Authenticator for GoAuthLogins {
    fn authenticate(&self, reply: Reply) {
        let credentials = Arc::clone(&reply.credentials);
        let password = credentials.password.as_deref().unwrap_or_default();
        let (Some(username), Ok(password)) = (&credentials.username, str::from_utf8(password))
        else {
            return reply.defer();
        };
        let client_identifier = &credentials.client_identifier;
        let login = Login { client_identifier, username, password };
        let ends = self.0.ends_with_token();
        let given = username.clone();
        self.0.login(
            &login,
            Box::new(move |answer| match answer {
                LoginAnswer::Granted(account) => {
                    let username = account.username.unwrap_or_else(|| given.into());
                    reply.accept_until(Some(username), account.expires_at.filter(|_| ends));
                }
                LoginAnswer::Refused => reply.defer(),
                LoginAnswer::Unavailable => reply.refuse(ReasonCode::SERVER_UNAVAILABLE),
            }),
        );
    }
}

impl fmt::Debug for DynsecLogins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DynsecLogins").field("path", &self.dynsec.path()).finish_non_exhaustive()
    }
}
