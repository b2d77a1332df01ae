//! The gate: who a client is, found out before the engine hears of it.
//!
//! An I/O thread that has decoded a CONNECT asks the gate. What needs no checking is answered at
//! once. Passwords, tokens and questions to others are checked on other threads; the CONNECT waits in
//! its connection's buffer until the answer lies in the I/O thread's mailbox, and nobody else waits.

use std::fmt::{self, Debug};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, Weak};

use plimsoll_engine::Admission;
use plimsoll_ledger::{Account, Charge, Ledger};
use plimsoll_mqtt::{Connect, ReasonCode, Version};

use super::failures::Failures;
use super::shared::Shared;

/// What a client says of itself, and what is known of it.
#[derive(Debug)]
pub(crate) struct Credentials {
    /// Where it comes from; `None` for a unix socket.
    pub(crate) peer: Option<SocketAddr>,
    /// Client identifier; empty if it has none yet.
    pub(crate) client_identifier: String,
    pub(crate) username: Option<String>,
    pub(crate) password: Option<Vec<u8>>,
    _charge: Charge,
}

impl Credentials {
    /// Whether there is no user name; an empty one is none, as in Mosquitto.
    pub(crate) fn is_nameless(&self) -> bool {
        self.username.as_deref().unwrap_or_default().is_empty()
    }
}

/// One way of checking who a client is.
pub(crate) trait Authenticator: Debug + Send + Sync {
    /// Answers through `reply`: at once, or later and from another thread. Never waits itself.
    fn authenticate(&self, reply: Reply);
}

/// What has to be met at one listener.
#[derive(Clone, Debug, Default)]
pub(crate) struct Door {
    /// Whether a client without user name is let in.
    pub(crate) allow_anonymous: bool,
    /// Asked in turn until one of them knows the client.
    pub(crate) authenticators: Vec<Arc<dyn Authenticator>>,
    /// They are asked about a client without user name too, if it has a password: that may be a token.
    pub(crate) takes_tokens: bool,
    /// What client identifiers begin with.
    pub(crate) clientid_prefixes: Option<String>,
    /// What the identifiers of clients that have none begin with.
    pub(crate) auto_id_prefix: String,
    pub(crate) use_username_as_clientid: bool,
    /// Versions that are let in; empty is all.
    pub(crate) versions: Vec<Version>,
    /// The certificate says who a client is, and no password is asked for.
    pub(crate) certificate_is_identity: bool,
}

/// Where a waiting connection is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waiting {
    pub(crate) shard: u8,
    pub(crate) slot: u32,
    pub(crate) serial: u32,
}

/// Somebody beside the I/O threads who hears an answer.
pub(crate) type Hears = Box<dyn FnOnce(Admission) + Send>;

/// To whom an answer is owed.
enum To {
    /// It has been answered, or nobody waits.
    Nobody,
    Connection(Waiting),
    Asker(Hears),
}

/// An answer that is owed to a waiting connection. Dropped without one it is a refusal.
pub(crate) struct Reply {
    pub(crate) credentials: Arc<Credentials>,
    shared: Weak<Shared>,
    to: To,
    door: Arc<Door>,
    /// Of the gate when it was asked.
    generation: u64,
    /// How many authenticators have been asked.
    asked: usize,
    client_identifier: Option<Box<str>>,
}

impl Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let waiting = match &self.to {
            To::Connection(waiting) => Some(waiting),
            To::Nobody | To::Asker(_) => None,
        };
        f.debug_struct("Reply").field("waiting", &waiting).finish_non_exhaustive()
    }
}

impl Reply {
    /// The client is who it says.
    pub(crate) fn accept(self) {
        let username = self.credentials.username.as_deref().map(Box::from);
        self.accept_as(username);
    }

    /// The client is let in under another user name.
    pub(crate) fn accept_as(mut self, username: Option<Box<str>>) {
        let client_identifier = self.client_identifier.take();
        self.answer(Admission::As { username, client_identifier });
    }

    /// The same, until a time (seconds since 1970): then it is disconnected.
    pub(crate) fn accept_until(self, username: Option<Box<str>>, expires_at: Option<u64>) {
        // Others ask again before long.
        if let (Some(at), To::Connection(waiting), Some(shared)) =
            (expires_at, &self.to, self.shared.upgrade())
        {
            shared.expire_client(*waiting, at);
        }
        self.accept_as(username);
    }

    /// The client is not let in.
    pub(crate) fn refuse(mut self, reason: ReasonCode) {
        if let (Some(shared), true) = (self.shared.upgrade(), is_failure(reason)) {
            shared.gate.failures.note(self.credentials.peer);
        }
        self.answer(Admission::Refused(reason));
    }

    /// Whoever was asked does not know this client: the next one is asked. In the end it is a refusal,
    /// unless the client gave no name and needs none.
    pub(crate) fn defer(mut self) {
        let door = Arc::clone(&self.door);
        match door.authenticators.get(self.asked) {
            Some(next) => {
                self.asked += 1;
                next.authenticate(self);
            }
            None if self.credentials.is_nameless() && door.allow_anonymous => self.accept_as(None),
            None => self.refuse(ReasonCode::NOT_AUTHORIZED),
        }
    }

    /// Whether nobody is listened to any more where the client comes from.
    pub(crate) fn comes_too_late(&self) -> bool {
        let many = |shared: Arc<Shared>| shared.gate.failures.too_many(self.credentials.peer);
        self.shared.upgrade().is_some_and(many)
    }

    /// One that nobody waits for.
    #[cfg(test)]
    pub(crate) fn to_nobody(ledger: &'static Ledger) -> Self {
        let credentials = Credentials {
            peer: None,
            client_identifier: String::new(),
            username: Some("joe".into()),
            password: Some(b"secret".to_vec()),
            _charge: ledger.charge(Account::Connections, size_of::<Credentials>()),
        };
        Self {
            credentials: Arc::new(credentials),
            shared: Weak::new(),
            to: To::Nobody,
            door: Arc::new(Door::default()),
            generation: 0,
            asked: 0,
            client_identifier: None,
        }
    }

    fn answer(&mut self, admission: Admission) {
        match (std::mem::replace(&mut self.to, To::Nobody), self.shared.upgrade()) {
            (To::Connection(waiting), Some(shared)) => {
                shared.admit_client(waiting, self.generation, admission);
            }
            (To::Asker(hears), _) => hears(admission),
            (To::Nobody, _) | (To::Connection(_), None) => {}
        }
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        self.answer(Admission::Refused(ReasonCode::UNSPECIFIED_ERROR));
    }
}

/// Whether a refusal says that somebody guessed wrong.
fn is_failure(reason: ReasonCode) -> bool {
    reason == ReasonCode::NOT_AUTHORIZED || reason == ReasonCode::BAD_USER_NAME_OR_PASSWORD
}

/// All doors, and who knocked in vain too often.
#[derive(Debug)]
pub(crate) struct Gate {
    doors: RwLock<Vec<Arc<Door>>>,
    /// Counts how often the doors have changed.
    generation: AtomicU64,
    pub(crate) failures: Failures,
    ledger: &'static Ledger,
}

/// Somebody who wants in without MQTT: over HTTP.
pub(crate) struct Guest {
    pub(crate) listener: u16,
    pub(crate) peer: Option<SocketAddr>,
    /// Who its certificate says that it is: what the listener takes as the user name.
    pub(crate) identity: Option<String>,
    pub(crate) username: Option<String>,
    pub(crate) password: Option<Vec<u8>>,
}

/// What such a one is called where MQTT has a client identifier, as in Mosquitto.
pub(crate) const GUEST: &str = "http-api";

/// A client at the gate.
pub(crate) struct Visitor<'a> {
    pub(crate) waiting: Waiting,
    pub(crate) listener: u16,
    pub(crate) peer: Option<SocketAddr>,
    /// Who its certificate says that it is: what the listener takes as the user name.
    pub(crate) identity: Option<&'a str>,
    pub(crate) connect: &'a Connect<'a>,
}

impl Gate {
    pub(crate) fn new(doors: Vec<Door>, ledger: &'static Ledger) -> Self {
        let doors = doors.into_iter().map(Arc::new).collect();
        let generation = AtomicU64::new(0);
        Self { doors: RwLock::new(doors), generation, failures: Failures::new(ledger), ledger }
    }

    /// Other doors from now on, by the numbers of the listeners.
    pub(crate) fn set(&self, doors: Vec<Door>) {
        *self.doors.write().unwrap_or_else(PoisonError::into_inner) =
            doors.into_iter().map(Arc::new).collect();
        self.generation.fetch_add(1, Ordering::SeqCst);
    }

    /// Another number for each set of doors: who was let in by others than those in force now may
    /// have missed that it should not have been.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::SeqCst)
    }

    fn door(&self, listener: u16) -> Option<Arc<Door>> {
        let doors = self.doors.read().unwrap_or_else(PoisonError::into_inner);
        doors.get(usize::from(listener)).cloned()
    }

    /// Whether a client is let in; `None` if that is found out later.
    pub(crate) fn ask(&self, shared: &Arc<Shared>, visitor: &Visitor<'_>) -> Option<Admission> {
        let generation = self.generation();
        let Some(door) = self.door(visitor.listener) else {
            return Some(Admission::Refused(ReasonCode::NOT_AUTHORIZED));
        };
        match door.look_at(visitor) {
            Looked::Settled(admission) => Some(admission),
            Looked::Unknown { .. } if self.failures.too_many(visitor.peer) => {
                Some(Admission::Refused(ReasonCode::CONNECTION_RATE_EXCEEDED))
            }
            Looked::Unknown { client_identifier } => {
                let reply = Reply {
                    credentials: Arc::new(self.credentials(visitor, client_identifier.as_deref())),
                    shared: Arc::downgrade(shared),
                    to: To::Connection(visitor.waiting),
                    door,
                    generation,
                    asked: 0,
                    client_identifier,
                };
                reply.defer();
                None
            }
        }
    }

    /// Finds out whether a guest is let in, by the users that the listener's MQTT clients would have.
    /// `hears` gets the answer: at once, or later and from another thread. Who has no name, or none
    /// that anybody checks, is let in as nobody or not at all.
    pub(crate) fn ask_for(&self, shared: &Arc<Shared>, guest: Guest, hears: Hears) {
        let generation = self.generation();
        let Some(door) = self.door(guest.listener) else {
            return hears(Admission::Refused(ReasonCode::NOT_AUTHORIZED));
        };
        if door.certificate_is_identity {
            return hears(match guest.identity {
                Some(identity) => {
                    Admission::As { username: Some(identity.into()), client_identifier: None }
                }
                None => Admission::Refused(ReasonCode::NOT_AUTHORIZED),
            });
        }
        let username = guest.username.filter(|username| !username.is_empty());
        let named = username.is_some() || door.takes_tokens && guest.password.is_some();
        if !named || door.authenticators.is_empty() {
            return hears(match door.allow_anonymous {
                true => Admission::As { username: None, client_identifier: None },
                false => Admission::Refused(ReasonCode::NOT_AUTHORIZED),
            });
        }
        if self.failures.too_many(guest.peer) {
            return hears(Admission::Refused(ReasonCode::CONNECTION_RATE_EXCEEDED));
        }
        let credentials = self.keep(guest.peer, GUEST.into(), username, guest.password);
        let reply = Reply {
            credentials: Arc::new(credentials),
            shared: Arc::downgrade(shared),
            to: To::Asker(hears),
            door,
            generation,
            asked: 0,
            client_identifier: None,
        };
        reply.defer();
    }

    fn credentials(&self, visitor: &Visitor<'_>, identifier: Option<&str>) -> Credentials {
        let connect = visitor.connect;
        let client_identifier = identifier.unwrap_or(connect.client_identifier).to_owned();
        let username = connect.username.map(str::to_owned);
        let password = connect.password.map(<[u8]>::to_vec);
        self.keep(visitor.peer, client_identifier, username, password)
    }

    fn keep(
        &self,
        peer: Option<SocketAddr>,
        client_identifier: String,
        username: Option<String>,
        password: Option<Vec<u8>>,
    ) -> Credentials {
        let bytes = size_of::<Credentials>()
            + client_identifier.capacity()
            + username.as_ref().map_or(0, String::capacity)
            + password.as_ref().map_or(0, Vec::capacity);
        Credentials {
            peer,
            client_identifier,
            username,
            password,
            _charge: self.ledger.charge(Account::Connections, bytes),
        }
    }
}

/// What can be said without checking a password.
enum Looked {
    Settled(Admission),
    Unknown { client_identifier: Option<Box<str>> },
}

impl Door {
    fn look_at(&self, visitor: &Visitor<'_>) -> Looked {
        let connect = visitor.connect;
        let refused = |reason| Looked::Settled(Admission::Refused(reason));
        if !self.versions.is_empty() && !self.versions.contains(&connect.version) {
            return refused(ReasonCode::UNSUPPORTED_PROTOCOL_VERSION);
        }
        let username = match self.certificate_is_identity {
            true => visitor.identity,
            // An empty name is none, as in Mosquitto.
            false => connect.username.filter(|username| !username.is_empty()),
        };
        let client_identifier = match (self.use_username_as_clientid, username) {
            (false, _) => None,
            (true, Some(username)) => Some(Box::from(username)),
            (true, None) => return refused(ReasonCode::NOT_AUTHORIZED),
        };
        // As in Mosquitto this is about the identifier of CONNECT, whatever takes its place.
        let identifier = match connect.client_identifier {
            "" => self.auto_id_prefix.as_str(),
            identifier => identifier,
        };
        if let Some(prefix) = &self.clientid_prefixes
            && !identifier.starts_with(prefix.as_str())
        {
            return refused(ReasonCode::NOT_AUTHORIZED);
        }
        if self.certificate_is_identity {
            return match username {
                Some(username) => Looked::Settled(Admission::As {
                    username: Some(Box::from(username)),
                    client_identifier,
                }),
                None => refused(ReasonCode::NOT_AUTHORIZED),
            };
        }
        let named = username.is_some() || self.takes_tokens && connect.password.is_some();
        let known = named && !self.authenticators.is_empty();
        if known {
            return Looked::Unknown { client_identifier };
        }
        // Without any means of checking, who gives a name is as anonymous as who gives none.
        if !self.allow_anonymous {
            return refused(ReasonCode::NOT_AUTHORIZED);
        }
        if client_identifier.is_none() && username == connect.username {
            return Looked::Settled(Admission::AsAsked);
        }
        Looked::Settled(Admission::As { username: username.map(Box::from), client_identifier })
    }
}
