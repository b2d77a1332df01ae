//! Retained messages for new subscriptions, a bounded piece at a time.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use core::ops::ControlFlow;

use plimsoll_ledger::{Account, Boxed, Charged, Ledger, Measure};
use plimsoll_mqtt::QoS;

use crate::access::{Action, Decision};
use crate::dispatch::{Dispatch, Outgoing, Way, rare};
use crate::engine::Engine;
use crate::flow::Origin;
use crate::message::Parts;
use crate::retained::{Scan, ScanCursor, Stop};
use crate::session::Session;
use crate::subscriptions::SubscriptionOptions;

/// Sessions that are given a piece in one turn.
const SESSIONS_PER_TURN: usize = 16;

/// Entries of the retained store looked at while a SUBSCRIBE is handled, for each of its filters.
const STEPS_AT_ONCE: usize = 32;

/// Where a session is in the retained messages of one of its filters.
#[derive(Debug)]
pub(crate) struct Replay {
    filter: Box<str>,
    cursor: Charged<ScanCursor>,
    options: SubscriptionOptions,
}

impl Replay {
    /// Bytes that it owns beside its own block.
    pub(crate) fn recount(&self) -> usize {
        self.filter.heap_bytes() + self.cursor.heap_bytes()
    }

    /// Bytes charged for its place in the store.
    pub(crate) fn cursor_charged(&self) -> usize {
        self.cursor.charged()
    }
}

/// Sessions whose replay can go on at once.
#[derive(Debug)]
pub(crate) struct Replaying {
    runnable: Charged<VecDeque<u32>>,
}

impl Replaying {
    pub(crate) fn new(ledger: &'static Ledger) -> Self {
        Self { runnable: ledger.own(Account::Sessions, VecDeque::new()) }
    }

    pub(crate) fn is_runnable(&self) -> bool {
        !self.runnable.is_empty()
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        self.runnable.heap_bytes()
    }

    fn push(&mut self, slot: u32) {
        self.runnable.edit().push_back(slot);
    }

    fn pop(&mut self) -> Option<u32> {
        let mut runnable = self.runnable.edit();
        let slot = runnable.pop_front();
        if runnable.is_empty() {
            *runnable = VecDeque::new();
        }
        slot
    }
}

/// How far a piece of a replay came.
enum Progress {
    Done,
    More,
    /// The session takes no more until it has acknowledged or its output has gone out.
    Blocked,
}

impl Engine {
    /// Begins to send what is retained for a new subscription. Where little has to be looked at, as
    /// for most filters, that is all; the rest follows in later turns.
    ///
    /// `later`: it is woken when the SUBACK has left.
    pub(crate) fn begin_replay(
        &mut self,
        slot: u32,
        filter: &str,
        options: SubscriptionOptions,
        later: bool,
    ) {
        let ledger = self.ledger();
        let mut replay = Replay {
            filter: Box::from(filter),
            cursor: ledger.own(Account::Sessions, ScanCursor::default()),
            options,
        };
        let waits = later || self.sessions.get(slot).is_none_or(Session::has_replays);
        if !waits && matches!(self.replay_piece(slot, &mut replay, STEPS_AT_ONCE), Progress::Done) {
            return;
        }
        let Some(session) = self.sessions.get_mut(slot) else { return };
        let extra = replay.filter.heap_bytes();
        let replay = Boxed::new(ledger, Account::Sessions, replay, extra);
        rare(session, ledger).replays.edit().push_back(replay);
        if !later {
            self.wake_replay(slot);
        }
    }

    /// Gives up what is still to be sent for a filter (MQTT-3.10.4-2).
    pub(crate) fn end_replays(&mut self, slot: u32, filter: &str) {
        let rare = self.sessions.get_mut(slot).and_then(|session| session.rare.as_mut());
        if let Some(rare) = rare.filter(|rare| !rare.replays.is_empty()) {
            rare.replays.edit().retain(|replay| *replay.filter != *filter);
        }
    }

    /// The session may be able to take more.
    pub(crate) fn wake_replay(&mut self, slot: u32) {
        let Some(session) = self.sessions.get_mut(slot) else { return };
        if session.has_replays() && !session.flags.replaying {
            session.flags.replaying = true;
            self.replaying.push(slot);
        }
    }

    /// Gives a bounded number of sessions a bounded piece each.
    pub(crate) fn continue_replays(&mut self) {
        for _ in 0..SESSIONS_PER_TURN {
            let Some(slot) = self.replaying.pop() else { return };
            let Some(session) = self.sessions.get_mut(slot) else { continue };
            if !core::mem::take(&mut session.flags.replaying) {
                continue; // The slot has another session now.
            }
            let replays = session.rare.as_mut().and_then(|rare| rare.replays.edit().pop_front());
            let Some(mut replay) = replays else { continue };
            let steps = self.dispatch.settings.retained_scan_entries;
            let progress = self.replay_piece(slot, &mut replay, steps);
            let Some(session) = self.sessions.get_mut(slot) else { continue };
            let ledger = self.dispatch.ledger;
            let replays = &mut rare(session, ledger).replays;
            match progress {
                Progress::Done if replays.is_empty() => {
                    *replays.edit() = VecDeque::new();
                    session.tidy();
                }
                Progress::Done => {}
                Progress::More | Progress::Blocked => replays.edit().push_front(replay),
            }
            if !matches!(progress, Progress::Blocked) {
                self.wake_replay(slot);
            }
        }
    }

    fn replay_piece(&mut self, slot: u32, replay: &mut Replay, steps: usize) -> Progress {
        let Some(session) = self.sessions.get_mut(slot) else { return Progress::Done };
        let now = self.dispatch.now;
        let dispatch = &mut self.dispatch;
        if !takes_more(session, dispatch) {
            return Progress::Blocked;
        }
        let (mut blocked, mut pending) = (false, false);
        let options = replay.options;
        let scan = self.retained.scan(
            &replay.filter,
            &mut replay.cursor.edit(),
            steps,
            |topic, retained| {
                let parts = Parts {
                    topic,
                    properties: retained.properties,
                    payload: retained.payload,
                    qos: QoS::try_from(retained.qos).unwrap_or(QoS::AtMostOnce),
                    retain: true,
                    expires_at: retained.expires_at,
                };
                if parts.expired(now) {
                    return ControlFlow::Continue(());
                }
                match dispatch.decide(session, Action::Receive, topic) {
                    Decision::Allow => {}
                    Decision::Deny => return ControlFlow::Continue(()),
                    Decision::Pending => {
                        (blocked, pending) = (true, true);
                        return ControlFlow::Break(Stop::Before);
                    }
                }
                let way = Way {
                    qos: dispatch.effective_qos(parts.qos, options.qos()),
                    retain: true, // MQTT-3.3.1-8
                    origin: Origin::identifier(options.identifier()),
                    identifier: options.identifier(),
                    group: None,
                };
                dispatch.deliver(session, &mut Outgoing::new(parts), &way, None);
                if takes_more(session, dispatch) {
                    return ControlFlow::Continue(());
                }
                blocked = true;
                ControlFlow::Break(Stop::Behind)
            },
        );
        if pending {
            self.wait(slot);
        }
        match scan {
            Scan::Done => Progress::Done,
            Scan::More if blocked => Progress::Blocked,
            Scan::More => Progress::More,
        }
    }
}

/// Whether a message would be sent at once rather than queued.
fn takes_more(session: &Session, dispatch: &Dispatch) -> bool {
    session.is_open()
        && session.unflushed < dispatch.output_max(session)
        && session.flow.as_ref().is_none_or(|flow| flow.nothing_waits())
}
