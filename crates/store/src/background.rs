//! Where the [`Worker`] works: on a thread of its own, or within the calls of the store.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::thread::{self, JoinHandle};

use crate::disk::Disk;
use crate::memtable::Memtable;
use crate::names;
use crate::segments::make_segment;
use crate::worker::{Runs, Step, Worker};

/// What the store asks for. At most one of each kind is under way.
#[derive(Debug)]
pub(crate) enum Job {
    /// Write this memtable into a run.
    Flush { memtable: Arc<Memtable>, through: u64 },
    /// Make a spare segment.
    Spare { number: u64, bytes: u64 },
    /// Try again what failed.
    Retry,
}

/// What has been done.
pub(crate) enum Event<D: Disk> {
    /// A memtable is in a run.
    Flushed { runs: Runs<D>, through: u64 },
    /// It is not.
    FlushFailed(io::Error),
    /// Runs were merged.
    Merged { runs: Runs<D> },
    /// They were not.
    MergeFailed(io::Error),
    /// A spare segment is there, or not.
    Spare(io::Result<u64>),
}

/// Jobs and events on their way; more than can be under way at once.
const CHANNEL_LENGTH: usize = 8;

/// The worker, wherever it is.
pub(crate) enum Background<D: Disk> {
    Inline { worker: Box<Worker<D>>, disk: Arc<D>, events: VecDeque<Event<D>> },
    Thread(Option<Thread<D>>),
}

pub(crate) struct Thread<D: Disk> {
    jobs: SyncSender<Job>,
    events: Receiver<Event<D>>,
    handle: JoinHandle<()>,
}

impl<D: Disk> Background<D> {
    pub(crate) fn inline(worker: Worker<D>, disk: Arc<D>) -> Self {
        Self::Inline { worker: Box::new(worker), disk, events: VecDeque::new() }
    }

    pub(crate) fn thread(worker: Worker<D>, disk: Arc<D>) -> io::Result<Self> {
        let (jobs, jobs_in) = sync_channel(CHANNEL_LENGTH);
        let (events_out, events) = sync_channel(CHANNEL_LENGTH);
        let handle = thread::Builder::new()
            .name("store".to_owned())
            .spawn(move || work(worker, &*disk, &jobs_in, &events_out))?;
        Ok(Self::Thread(Some(Thread { jobs, events, handle })))
    }

    /// Asks for something.
    pub(crate) fn submit(&mut self, job: Job) -> io::Result<()> {
        match self {
            Self::Inline { worker, disk, events } => {
                events.extend(perform(worker, &**disk, job));
                Ok(())
            }
            Self::Thread(Some(thread)) => thread.jobs.send(job).map_err(|_| stopped()),
            Self::Thread(None) => Err(stopped()),
        }
    }

    /// Something that has been done, if anything has.
    pub(crate) fn poll(&mut self) -> Option<Event<D>> {
        match self {
            Self::Inline { events, .. } => events.pop_front(),
            Self::Thread(thread) => {
                thread.as_ref().and_then(|thread| thread.events.try_recv().ok())
            }
        }
    }

    /// Waits until something has been done.
    pub(crate) fn wait(&mut self) -> io::Result<Event<D>> {
        match self {
            Self::Inline { events, .. } => events.pop_front().ok_or_else(stopped),
            Self::Thread(Some(thread)) => thread.events.recv().map_err(|_| stopped()),
            Self::Thread(None) => Err(stopped()),
        }
    }

    /// Does a piece of work here, if the worker is here. Says whether there is more.
    pub(crate) fn step(&mut self) -> bool {
        let Self::Inline { worker, events, .. } = self else { return false };
        let step = worker.step();
        events.extend(event_of(step, worker));
        worker.is_busy()
    }
}

impl<D: Disk> Drop for Background<D> {
    fn drop(&mut self) {
        match self {
            Self::Inline { worker, .. } => worker.abandon(),
            Self::Thread(thread) => {
                let Some(Thread { jobs, events, handle }) = thread.take() else { return };
                // Without these the thread has nobody to work for, and ends.
                drop((jobs, events));
                let _ = handle.join();
            }
        }
    }
}

fn stopped() -> io::Error {
    io::Error::other("the store's background thread has stopped")
}

/// The background thread.
fn work<D: Disk>(
    mut worker: Worker<D>,
    disk: &D,
    jobs: &Receiver<Job>,
    events: &SyncSender<Event<D>>,
) {
    loop {
        // While a merge is under way, a memtable that is to be written goes first.
        let job = if worker.is_busy() {
            match jobs.try_recv() {
                Err(TryRecvError::Disconnected) => break,
                job => job.ok(),
            }
        } else {
            match jobs.recv() {
                Err(_) => break,
                Ok(job) => Some(job),
            }
        };
        let event = match job {
            Some(job) => perform(&mut worker, disk, job),
            None => event_of(worker.step(), &worker),
        };
        if event.is_some_and(|event| events.send(event).is_err()) {
            break;
        }
    }
    worker.abandon();
}

fn perform<D: Disk>(worker: &mut Worker<D>, disk: &D, job: Job) -> Option<Event<D>> {
    match job {
        Job::Flush { memtable, through } => Some(match worker.flush(&memtable, through) {
            Ok(()) => Event::Flushed { runs: worker.runs(), through },
            Err(error) => Event::FlushFailed(error),
        }),
        Job::Spare { number, bytes } => {
            Some(Event::Spare(make_segment(disk, &names::spare(number), bytes).map(|_| number)))
        }
        Job::Retry => {
            worker.retry();
            None
        }
    }
}

fn event_of<D: Disk>(step: Step, worker: &Worker<D>) -> Option<Event<D>> {
    match step {
        Step::Idle | Step::Working => None,
        Step::Merged => Some(Event::Merged { runs: worker.runs() }),
        Step::Failed(error) => Some(Event::MergeFailed(error)),
    }
}
