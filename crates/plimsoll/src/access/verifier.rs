//! Threads that check passwords, so that nobody else waits for it.

use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use plimsoll_ledger::{Account, Ledger};
use plimsoll_mqtt::ReasonCode;

use crate::broker::gate::Reply;

/// Checks that wait at most; who comes beyond that is told that the server is busy.
const WAITING_MAX: usize = 4096;

/// Threads. Each may take the memory that one Argon2id check takes (46 MiB as Mosquitto sets it).
const THREADS: usize = 2;

struct Job {
    working_bytes: usize,
    reply: Reply,
    check: Box<dyn FnOnce(Reply) + Send>,
}

/// The threads, and what waits for them.
#[derive(Debug)]
pub(crate) struct Verifier {
    jobs: SyncSender<Job>,
}

impl Verifier {
    pub(crate) fn start(ledger: &'static Ledger) -> Result<Arc<Self>, String> {
        let (jobs, waiting) = sync_channel::<Job>(WAITING_MAX);
        let waiting = Arc::new(Mutex::new(waiting));
        for number in 0..THREADS {
            let waiting = Arc::clone(&waiting);
            thread::Builder::new()
                .name(format!("password-{number}"))
                .spawn(move || while serve(&waiting, ledger) {})
                .map_err(|error| format!("cannot start a thread for passwords: {error}"))?;
        }
        Ok(Arc::new(Self { jobs }))
    }

    /// Runs a check on one of the threads, which has `working_bytes` for it.
    pub(crate) fn run(
        &self,
        working_bytes: usize,
        reply: Reply,
        check: impl FnOnce(Reply) + Send + 'static,
    ) {
        let job = Job { working_bytes, reply, check: Box::new(check) };
        if let Err(TrySendError::Full(job) | TrySendError::Disconnected(job)) =
            self.jobs.try_send(job)
        {
            job.reply.refuse(ReasonCode::SERVER_BUSY);
        }
    }
}

/// Takes one job. Answers whether there may be more.
fn serve(waiting: &Mutex<Receiver<Job>>, ledger: &'static Ledger) -> bool {
    let job = waiting.lock().unwrap_or_else(PoisonError::into_inner).recv();
    let Ok(job) = job else { return false };
    let _charge = ledger.charge(Account::Connections, job.working_bytes);
    (job.check)(job.reply);
    true
}
