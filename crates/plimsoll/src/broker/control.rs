//! Commands that clients publish to `$CONTROL/…`: carried out by a thread of their own, since that
//! takes the time of hashes and of a disk.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use plimsoll_engine::Input;
use plimsoll_ledger::{Account, Charge, Ledger};

use super::shared::Shared;
use crate::access::dynsec::{self, Command, Dynsec, Kick};
use crate::access::plugins::Plugins;

/// Commands that wait, at most: what is beyond is dropped, with a line in the log.
const QUEUE_MAX: usize = 256;

/// Their bytes, at most.
const QUEUE_BYTES_MAX: usize = 8 << 20;

/// What could not be written is tried again after this.
const RETRY: Duration = Duration::from_secs(5);

/// How commands reach the thread.
#[derive(Debug)]
pub(crate) struct Control {
    queue: Mutex<Queue>,
    ready: Condvar,
}

#[derive(Debug)]
struct Queue {
    list: VecDeque<Command>,
    bytes: usize,
    charge: Charge,
    plugins: Arc<Plugins>,
}

impl Control {
    pub(crate) fn new(ledger: &'static Ledger) -> Self {
        let charge = ledger.charge(Account::Admin, 0);
        let queue = Queue { list: VecDeque::new(), bytes: 0, charge, plugins: Arc::default() };
        Self { queue: Mutex::new(queue), ready: Condvar::new() }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        // A panic ends the process, so nobody sees a poisoned lock.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Who carries out commands from now on.
    pub(crate) fn set_plugins(&self, plugins: Arc<Plugins>) {
        self.queue().plugins = plugins;
    }

    /// Lines a command up. Answers whether there was room.
    pub(crate) fn submit(&self, listener: u16, topic: &str, command: Command) -> bool {
        let mut queue = self.queue();
        if topic != dynsec::TOPIC || !queue.plugins.secure(listener.into()) {
            return true; // Nobody takes commands there.
        }
        let bytes = size_of::<Command>() + command.payload.len() + command.client_identifier.len();
        if queue.list.len() >= QUEUE_MAX || queue.bytes + bytes > QUEUE_BYTES_MAX {
            return false;
        }
        queue.bytes += bytes;
        queue.list.push_back(command);
        let held = queue.bytes;
        queue.charge.set(held);
        drop(queue);
        self.ready.notify_one();
        true
    }

    /// Everything that waits, and who is to carry it out.
    fn take(&self, patience: Option<Duration>) -> (Vec<Command>, Option<Arc<Dynsec>>) {
        let mut queue = self.queue();
        while queue.list.is_empty() {
            queue = match patience {
                None => self.ready.wait(queue).unwrap_or_else(PoisonError::into_inner),
                Some(patience) => {
                    let waited = self.ready.wait_timeout(queue, patience);
                    let (queue, _) = waited.unwrap_or_else(PoisonError::into_inner);
                    return Self::taken(queue);
                }
            };
        }
        Self::taken(queue)
    }

    fn taken(mut queue: MutexGuard<'_, Queue>) -> (Vec<Command>, Option<Arc<Dynsec>>) {
        let commands = std::mem::take(&mut queue.list);
        queue.bytes = 0;
        queue.charge.set(0);
        (commands.into(), queue.plugins.dynsec().cloned())
    }

    /// Starts the thread. It ends with the process.
    pub(crate) fn serve(shared: &Arc<Shared>) -> Result<(), String> {
        let shared = Arc::clone(shared);
        let thread = thread::Builder::new().name("control".into());
        let spawned = thread.spawn(move || {
            let mut patience = None;
            loop {
                let (commands, dynsec) = shared.control.take(patience);
                let Some(dynsec) = dynsec else { continue };
                let done = dynsec.carry_out(&commands);
                patience = done.trouble.as_ref().map(|_| RETRY);
                finish(&shared, &done);
            }
        });
        spawned.map(|_| ()).map_err(|error| format!("cannot start the control thread: {error}"))
    }
}

/// Says what was done, to the log and to clients, and disconnects whom it affects.
fn finish(shared: &Shared, done: &dynsec::Done) {
    for line in &done.log {
        shared.log.information(line);
    }
    if let Some(trouble) = &done.trouble {
        shared.log.error(trouble);
    }
    let users = done.kicks.iter().map(|kick| match kick {
        Kick::User(name) => Some(&**name),
        Kick::Anonymous => None,
    });
    let mut users: Vec<Option<&str>> = users.collect();
    users.sort_unstable();
    let answers = done.answers.iter().map(|(client, payload)| Input::Respond {
        client,
        topic: dynsec::RESPONSE_TOPIC,
        payload: payload.as_bytes(),
    });
    // In one turn: who reads the answer and connects anew is not expelled for what was before.
    let mut inputs: Vec<Input<'_>> = answers.collect();
    inputs.push(Input::ExpelUsers { users: &users });
    shared.tell(&inputs);
}
