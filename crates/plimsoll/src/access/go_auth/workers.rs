//! The threads that hash and ask, and the rules that wait for them.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};
use std::thread;

use plimsoll_engine::{Access, Action, Decision, Time, Who};
use plimsoll_ledger::{Account as Book, Charge, Ledger};

use super::answers::{Answers, Keeping, Key, Known, key};
use super::backends::{Account, Asked, Backends, Login, READ, SUBSCRIBE, WRITE};
use super::http::Trouble;
use crate::access::options::Options;

/// Threads that hash passwords. One more would only fight for the processor.
const HASHERS: usize = 1;

/// Threads that ask services, unless told otherwise.
const ASKERS: u64 = 8;

/// Bytes of all questions that wait.
const QUEUE_BYTES_MAX: usize = 16 << 20;

/// What became of a login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LoginAnswer {
    /// Let in.
    Granted(Account),
    /// Refused.
    Refused,
    /// Nobody could be asked, or too many are being asked about.
    Unavailable,
}

/// Who is told of it.
type Reply = Box<dyn FnOnce(LoginAnswer) + Send>;

/// Who is told something.
type Say = Box<dyn Fn(&str) + Send + Sync>;

/// The backends with their threads and answers. It lives as long as the broker; reload swaps what is
/// in it.
pub(crate) struct GoAuth {
    inner: Arc<Inner>,
}

struct Inner {
    /// With the number of times that they were read.
    backends: RwLock<(u64, Arc<Backends>)>,
    acls: Mutex<Answers<bool>>,
    logins: Mutex<Answers<LoginAnswer>>,
    local: Queue,
    remote: Queue,
    /// The time of the engine's turn: an answer that holds at its beginning holds to its end.
    turn: AtomicU64,
    now: Box<dyn Fn() -> Time + Send + Sync>,
    /// Told of the client whose question was answered.
    tell: OnceLock<Say>,
    log: OnceLock<Say>,
    quiet: AtomicBool,
    /// For what the backends have read.
    charge: Mutex<Charge>,
}

/// Jobs that wait for a thread.
struct Queue {
    jobs: Mutex<Jobs>,
    ready: Condvar,
    most: usize,
}

struct Jobs {
    list: VecDeque<Job>,
    bytes: usize,
    stop: bool,
    charge: Charge,
}

enum Job {
    Acl {
        key: Key,
        client_identifier: Box<str>,
        username: Box<str>,
        topic: Box<str>,
        access: u8,
    },
    /// `of` is the number of the backends that have said what can be told here; 0: none has yet.
    Login {
        of: u64,
        key: Key,
        login: OwnedLogin,
        reply: Reply,
    },
}

struct OwnedLogin {
    client_identifier: Box<str>,
    username: Box<str>,
    password: Box<str>,
}

impl OwnedLogin {
    fn view(&self) -> Login<'_> {
        Login {
            client_identifier: &self.client_identifier,
            username: &self.username,
            password: &self.password,
        }
    }
}

impl Job {
    fn bytes(&self) -> usize {
        size_of::<Self>()
            + match self {
                Self::Acl { client_identifier, username, topic, .. } => {
                    client_identifier.len() + username.len() + topic.len()
                }
                Self::Login { login, .. } => {
                    login.client_identifier.len() + login.username.len() + login.password.len()
                }
            }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic ends the process, so nobody sees a poisoned lock.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Queue {
    fn new(ledger: &'static Ledger, most: usize) -> Self {
        let charge = ledger.charge(Book::Admin, 0);
        let jobs = Jobs { list: VecDeque::new(), bytes: 0, stop: false, charge };
        Self { jobs: Mutex::new(jobs), ready: Condvar::new(), most }
    }

    /// Lines a job up; gives it back if there is no room.
    fn push(&self, job: Job) -> Result<(), Job> {
        let mut jobs = locked(&self.jobs);
        let bytes = job.bytes();
        if jobs.list.len() >= self.most || jobs.bytes + bytes > QUEUE_BYTES_MAX {
            return Err(job);
        }
        jobs.bytes += bytes;
        jobs.list.push_back(job);
        jobs.settle();
        drop(jobs);
        self.ready.notify_one();
        Ok(())
    }

    /// Waits for a job; `None` at the end.
    fn pop(&self) -> Option<Job> {
        let mut jobs = locked(&self.jobs);
        loop {
            if jobs.stop {
                return None;
            }
            if let Some(job) = jobs.list.pop_front() {
                jobs.bytes -= job.bytes();
                if jobs.list.is_empty() {
                    jobs.list = VecDeque::new();
                }
                jobs.settle();
                return Some(job);
            }
            jobs = self.ready.wait(jobs).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn stop(&self) {
        locked(&self.jobs).stop = true;
        self.ready.notify_all();
    }
}

impl Jobs {
    fn settle(&mut self) {
        let places = self.list.capacity().saturating_sub(self.list.len()) * size_of::<Job>();
        self.charge.set(self.bytes + places);
    }
}

/// How long answers are kept, by the options: those of logins and those of topics.
fn keeping(options: &Options) -> Result<[Keeping; 2], String> {
    const DAY: u64 = 86_400;
    if options.text("cache_type").is_some_and(|kind| kind != "go-cache") {
        let problem = "is not built in: answers are kept in memory (leave it out)";
        return Err(options.error("cache_type", problem));
    }
    let (on, refresh) = (options.flag("cache")?, options.flag("cache_refresh")?);
    let of = |kind: &str| -> Result<Keeping, String> {
        let seconds = options.number(&format!("{kind}_cache_seconds"), 30, DAY)?;
        let jitter = options.number(&format!("{kind}_jitter_seconds"), 0, DAY)?;
        Ok(match on {
            true => Keeping { millis: seconds * 1000, jitter_millis: jitter * 1000, refresh },
            false => Keeping { millis: 0, jitter_millis: 0, refresh: false },
        })
    };
    Ok([of("auth")?, of("acl")?])
}

/// Everything that the options say, read and checked.
#[derive(Debug)]
pub(crate) struct Loaded {
    backends: Backends,
    keeping: [Keeping; 2],
    answers_max: usize,
    askers: usize,
    queue_max: usize,
    quiet: bool,
}

impl Loaded {
    pub(crate) fn load(options: &Options) -> Result<Self, String> {
        let level =
            options.word("log_level", &["info", "debug", "warn", "error", "fatal", "panic"])?;
        Ok(Self {
            backends: Backends::load(options)?,
            keeping: keeping(options)?,
            answers_max: options.number("cache_entries_max", 100_000, 100_000_000)?.max(1) as usize,
            askers: options.number("http_workers", ASKERS, 64)?.max(1) as usize,
            queue_max: options.number("http_queue_max", 4096, 1_000_000)?.max(1) as usize,
            quiet: ["fatal", "panic"].contains(&level),
        })
    }
}

impl GoAuth {
    /// Starts the threads. `now` is the clock that the engine's turns go by.
    pub(crate) fn start(
        loaded: Loaded,
        ledger: &'static Ledger,
        now: impl Fn() -> Time + Send + Sync + 'static,
    ) -> Result<Self, String> {
        let [logins, acls] = loaded.keeping;
        let charge = Mutex::new(ledger.charge(Book::Admin, loaded.backends.heap_bytes()));
        let inner = Arc::new(Inner {
            charge,
            backends: RwLock::new((0, Arc::new(loaded.backends))),
            acls: Mutex::new(Answers::new(ledger, loaded.answers_max, acls)),
            logins: Mutex::new(Answers::new(ledger, loaded.answers_max, logins)),
            local: Queue::new(ledger, loaded.queue_max),
            remote: Queue::new(ledger, loaded.queue_max),
            turn: AtomicU64::new(now().as_millis()),
            now: Box::new(now),
            tell: OnceLock::new(),
            log: OnceLock::new(),
            quiet: AtomicBool::new(loaded.quiet),
        });
        let started = Self { inner };
        for _ in 0..HASHERS {
            started.spawn("hash", |inner| while inner.hash_next() {})?;
        }
        for _ in 0..loaded.askers {
            started.spawn("ask", |inner| while inner.ask_next() {})?;
        }
        Ok(started)
    }

    fn spawn(&self, name: &str, run: fn(&Inner)) -> Result<(), String> {
        let inner = Arc::clone(&self.inner);
        let thread = thread::Builder::new().name(name.into()).stack_size(512 * 1024);
        let spawned = thread.spawn(move || run(&inner));
        spawned.map(|_| ()).map_err(|error| format!("cannot start a thread for go-auth: {error}"))
    }

    /// Whom to tell of the client whose question about a topic was answered, and what to log.
    pub(crate) fn connect(
        &self,
        tell: impl Fn(&str) + Send + Sync + 'static,
        log: impl Fn(&str) + Send + Sync + 'static,
    ) {
        // Once, at the start.
        let _ = self.inner.tell.set(Box::new(tell));
        let _ = self.inner.log.set(Box::new(log));
    }

    /// Swaps everything that was read for what has been read anew. Answers are asked for again.
    pub(crate) fn swap(&self, loaded: Loaded) {
        let [logins, acls] = loaded.keeping;
        let mut backends = self.inner.backends.write().unwrap_or_else(PoisonError::into_inner);
        locked(&self.inner.charge).set(loaded.backends.heap_bytes());
        *backends = (backends.0 + 1, Arc::new(loaded.backends));
        locked(&self.inner.acls).clear(acls, loaded.answers_max);
        locked(&self.inner.logins).clear(logins, loaded.answers_max);
        self.inner.quiet.store(loaded.quiet, Ordering::Relaxed);
    }

    /// Whether a client whose token ends is to be disconnected.
    pub(crate) fn ends_with_token(&self) -> bool {
        self.inner.backends().ends_with_token
    }

    /// Whether a token may say who a client is.
    pub(crate) fn takes_tokens(&self) -> bool {
        self.inner.backends().take_tokens()
    }

    /// Asks about a login. `reply` is told, by another thread if it takes time.
    pub(crate) fn login(&self, login: &Login<'_>, reply: Reply) {
        let key = login_key(login);
        let now = (self.inner.now)().as_millis();
        let known = locked(&self.inner.logins).get(&key, now);
        if let Known::Answered(answer) = known {
            return reply(answer);
        }
        let login = OwnedLogin {
            client_identifier: login.client_identifier.into(),
            username: login.username.into(),
            password: login.password.into(),
        };
        if let Err(Job::Login { reply, .. }) =
            self.inner.local.push(Job::Login { of: 0, key, login, reply })
        {
            reply(LoginAnswer::Unavailable);
        }
    }
}

impl Drop for GoAuth {
    fn drop(&mut self) {
        self.inner.local.stop();
        self.inner.remote.stop();
    }
}

fn login_key(login: &Login<'_>) -> Key {
    let parts = [login.client_identifier, login.username, login.password];
    key(&parts.map(str::as_bytes))
}

impl Inner {
    fn backends(&self) -> Arc<Backends> {
        self.numbered().1
    }

    fn numbered(&self) -> (u64, Arc<Backends>) {
        self.backends.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Keeps an answer, unless it is of backends that hold no more.
    fn keep<T: Clone>(&self, of: u64, to: &Mutex<Answers<T>>, key: Key, answer: (T, bool)) {
        let (answer, certain) = answer;
        // Held while the answer goes in: a reload clears what is there after it has swapped.
        let backends = self.backends.read().unwrap_or_else(PoisonError::into_inner);
        let certain = certain && backends.0 == of;
        locked(to).answer(key, answer, certain, (self.now)().as_millis());
    }

    /// One login, as far as it can be told here. Answers whether to go on.
    fn hash_next(&self) -> bool {
        let Some(job) = self.local.pop() else { return false };
        let Job::Login { key, login, reply, .. } = job else { return true };
        let (of, backends) = self.numbered();
        let seconds = (self.now)().as_secs().into();
        match backends.login_here(&login.view(), seconds) {
            Some(account) => {
                // A token ends when it ends, whatever the cache says; checking it costs little.
                let kept = account.expires_at.is_none();
                self.settle_login(of, key, LoginAnswer::Granted(account), kept, reply);
            }
            None if backends.login_is_remote(&login.view()) => {
                let job = Job::Login { of, key, login, reply };
                if let Err(Job::Login { reply, .. }) = self.remote.push(job) {
                    reply(LoginAnswer::Unavailable);
                }
            }
            None => self.settle_login(of, key, LoginAnswer::Refused, true, reply),
        }
        true
    }

    /// One question to a service. Answers whether to go on.
    fn ask_next(&self) -> bool {
        let Some(job) = self.remote.pop() else { return false };
        let (number, backends) = self.numbered();
        match job {
            // What was said here before a reload is no part of an answer that holds after it.
            Job::Login { of, key, login, reply } => {
                let (answer, certain) = match backends.login_there(&login.view()) {
                    Ok(Some(account)) => (LoginAnswer::Granted(account), true),
                    Ok(None) => (LoginAnswer::Refused, true),
                    Err(trouble) => {
                        self.complain(&trouble);
                        (LoginAnswer::Unavailable, false)
                    }
                };
                self.settle_login(of, key, answer, certain, reply);
            }
            Job::Acl { key, client_identifier, username, topic, access } => {
                let asked = Asked {
                    client_identifier: &client_identifier,
                    username: &username,
                    topic: &topic,
                    access,
                };
                let answer = backends.allows_there(&asked);
                let certain = answer.is_ok();
                let allowed = answer.unwrap_or_else(|trouble| {
                    self.complain(&trouble);
                    false
                });
                self.keep(number, &self.acls, key, (allowed, certain));
                if let Some(tell) = self.tell.get() {
                    tell(&client_identifier);
                }
            }
        }
        true
    }

    fn settle_login(&self, of: u64, key: Key, answer: LoginAnswer, kept: bool, reply: Reply) {
        if kept {
            self.keep(of, &self.logins, key, (answer.clone(), true));
        }
        reply(answer);
    }

    fn complain(&self, trouble: &Trouble) {
        if let (Some(log), false) = (self.log.get(), self.quiet.load(Ordering::Relaxed)) {
            log(&format!("go-auth: {}", trouble.0));
        }
    }
}

impl Access for GoAuth {
    fn decide(&self, who: &Who<'_>, action: Action, topic: &str) -> Decision {
        let access = match action {
            Action::Publish { .. } => WRITE,
            Action::Receive => READ,
            Action::Subscribe => SUBSCRIBE,
            // Plugins of this kind are not asked about it.
            Action::Unsubscribe => return Decision::Allow,
        };
        // As in go-auth a client without user name has no rights.
        let Some(username) = who.username else { return Decision::Deny };
        let asked = Asked { client_identifier: who.client_identifier, username, topic, access };
        match self.inner.backends().allows_here(&asked) {
            Some(true) => return Decision::Allow,
            Some(false) => return Decision::Deny,
            None => {}
        }
        let parts = [who.client_identifier, username, topic].map(str::as_bytes);
        let [client, user, name] = parts;
        let key = key(&[client, user, name, &[access]]);
        let now = self.inner.turn.load(Ordering::Relaxed);
        let mut answers = locked(&self.inner.acls);
        match answers.get(&key, now) {
            Known::Answered(true) => Decision::Allow,
            Known::Answered(false) => Decision::Deny,
            Known::Asked => Decision::Pending,
            Known::Nothing => {
                let job = Job::Acl {
                    key,
                    client_identifier: who.client_identifier.into(),
                    username: username.into(),
                    topic: topic.into(),
                    access,
                };
                // Without room it is asked when the packet is looked at again.
                if self.inner.remote.push(job).is_ok() {
                    answers.ask(key, now);
                }
                Decision::Pending
            }
        }
    }

    fn may_wait(&self) -> bool {
        self.inner.backends().are_remote()
    }

    fn turn(&self, now: Time) {
        self.inner.turn.store(now.as_millis(), Ordering::Relaxed);
    }
}

impl fmt::Debug for GoAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GoAuth").field("backends", &self.inner.backends()).finish_non_exhaustive()
    }
}
