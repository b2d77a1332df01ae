//! Who holds what, when somebody asks; and deletion of retained messages by filter. Both go through
//! everything in bounded pieces, with room for the I/O threads between them: call them on a thread
//! that may wait.

use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use plimsoll_engine::Time;
use plimsoll_engine::holders::{
    BacklogCensus, Bytes, Census, CensusTerms, Holder, PrefixBytes, PrefixCensus, Top,
};
use plimsoll_engine::retained::{Scan, ScanCursor};
use serde::Serialize;

use super::shared::Shared;

/// What the I/O threads have between two pieces.
const PAUSE: Duration = Duration::from_millis(1);

/// What they have to tell the engine what they know, before a census.
const WAKING: Duration = Duration::from_millis(5);

/// A census is not compared with one that is younger, if there is one that is not.
const WINDOW: Duration = Duration::from_secs(10);

/// How old the census before has to be at least, if growth is asked for.
const FIRST_WINDOW: Duration = Duration::from_secs(2);

/// A deletion that the store cannot take for so long is given up.
const STORE_PATIENCE: Duration = Duration::from_secs(30);

/// What is remembered from one census to the next: who held how much, for their growth.
#[derive(Debug, Default)]
pub(crate) struct Censuses {
    /// One census at a time.
    before: Mutex<Option<Bytes>>,
    /// The same for censuses of prefixes.
    prefixes_before: Mutex<Option<PrefixBytes>>,
}

/// What is asked of a census of clients.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    /// Places in each list.
    pub(crate) limit: usize,
    /// Growth is wanted: if there was no census before, this one takes two seconds.
    pub(crate) growth: bool,
    /// Seconds without progress that make a client slow.
    pub(crate) slow_after: u32,
    /// Seconds without a connection after which a session has been left.
    pub(crate) left_after: u32,
}

/// A client with what it holds.
#[derive(Debug, Serialize)]
pub(crate) struct Client {
    client_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    username: Option<String>,
    connected: bool,
    /// Everything in the broker's memory that is its own or its share; what the I/O thread holds for
    /// its connection (TLS) is not in it.
    bytes: usize,
    session_bytes: usize,
    subscriptions_bytes: usize,
    entries_bytes: usize,
    messages_bytes: usize,
    will_bytes: usize,
    output_bytes: usize,
    subscriptions: usize,
    /// Messages in flight and waiting.
    backlog_messages: u64,
    /// Their bytes, those that other clients wait for too in full.
    backlog_bytes: u64,
    backlog_stored_bytes: u64,
    /// How long the oldest of them has been there, at least.
    #[serde(skip_serializing_if = "Option::is_none")]
    backlog_seconds: Option<u64>,
    /// Bytes more than at the census before.
    #[serde(skip_serializing_if = "Option::is_none")]
    growth_bytes: Option<i64>,
    /// How long it has taken nothing, though something waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    still_seconds: Option<u64>,
    /// How long it has had no connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    away_seconds: Option<u64>,
    /// When its session ends if it does not come back, in seconds from now; `null` with `away_seconds` is
    /// never.
    expires_in_seconds: Option<u64>,
}

/// What a census of clients has found.
#[derive(Debug, Serialize)]
pub(crate) struct Clients {
    pub(crate) sessions: u64,
    pub(crate) bytes: u64,
    /// Seconds between the two censuses that growth is the difference of.
    pub(crate) growth_window_seconds: Option<f64>,
    pub(crate) slow: u64,
    pub(crate) left: u64,
    pub(crate) left_bytes: u64,
    pub(crate) left_for_ever: u64,
    pub(crate) by_bytes: Vec<Client>,
    pub(crate) by_backlog: Vec<Client>,
    pub(crate) by_growth: Vec<Client>,
    pub(crate) slowest: Vec<Client>,
    pub(crate) most_left: Vec<Client>,
}

/// The messages below a prefix.
#[derive(Debug, Serialize)]
pub(crate) struct Prefix {
    prefix: String,
    messages: u64,
    bytes: u64,
    /// Bytes more than at the census before.
    #[serde(skip_serializing_if = "Option::is_none")]
    growth_bytes: Option<i64>,
}

impl Prefix {
    fn rows(top: Top<plimsoll_engine::holders::Prefix>) -> Vec<Self> {
        let row = |prefix: plimsoll_engine::holders::Prefix| Self {
            prefix: prefix.prefix.into(),
            messages: prefix.count,
            bytes: prefix.bytes,
            growth_bytes: prefix.growth,
        };
        top.into_vec().into_iter().map(row).collect()
    }
}

/// What prefixes are sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PrefixesBy {
    /// Bytes of retained messages.
    Bytes,
    /// Their number.
    Count,
    /// How much they grew since the census before.
    Growth,
    /// Bytes that wait for clients in memory.
    Backlog,
}

/// What a census of prefixes has found.
#[derive(Debug)]
pub(crate) struct Prefixes {
    pub(crate) prefixes: u64,
    /// Seconds between the two censuses that growth is the difference of.
    pub(crate) growth_window_seconds: Option<f64>,
    pub(crate) top: Vec<Prefix>,
}

/// What a deletion has done, or would do.
#[derive(Debug, Serialize)]
pub(crate) struct Deletion {
    pub(crate) dry_run: bool,
    pub(crate) messages: u64,
    /// Bytes of their topics, properties and payloads.
    pub(crate) bytes: u64,
    /// The first of the topics.
    pub(crate) topics: Vec<String>,
    /// Whether it came to its end: not if the store could not take it, or the broker is stopping.
    pub(crate) complete: bool,
}

impl Client {
    fn of(holder: Holder, now: Time) -> Self {
        let since = |at: Time| now.millis_since(at) / 1000;
        let holding = holder.holding;
        let waits = holding.output_bytes > 0 || holding.backlog > 0;
        let away = holder.lost_at != Time::NEVER;
        let left = |at: Time| at.millis_since(now) / 1000;
        Self {
            client_id: holder.client.into(),
            username: holder.username.map(Into::into),
            connected: holder.connected,
            bytes: holding.bytes,
            session_bytes: holding.session_bytes,
            subscriptions_bytes: holding.subscriptions_bytes,
            entries_bytes: holding.entries_bytes,
            messages_bytes: holding.messages_bytes,
            will_bytes: holding.will_bytes,
            output_bytes: holding.output_bytes,
            subscriptions: holding.subscriptions,
            backlog_messages: holding.backlog,
            backlog_bytes: holding.backlog_bytes,
            backlog_stored_bytes: holding.backlog_stored_bytes,
            backlog_seconds: holding.backlog_since.map(since),
            growth_bytes: holder.growth,
            still_seconds: (waits && holder.connected).then(|| since(holder.progress_at)),
            away_seconds: away.then(|| since(holder.lost_at)),
            expires_in_seconds: (holder.expires_at != Time::NEVER).then(|| left(holder.expires_at)),
        }
    }
}

impl Censuses {
    /// Goes over all sessions.
    pub(crate) fn clients(&self, shared: &Shared, asked: &Asked) -> Clients {
        let mut before = self.before.lock().unwrap_or_else(PoisonError::into_inner);
        if asked.growth {
            let first = before.get_or_insert_with(|| census(shared, asked, None).into_bytes());
            let age = Duration::from_millis(shared.clock.now().millis_since(first.at));
            thread::sleep(FIRST_WINDOW.saturating_sub(age));
        }
        let old = before.take();
        let census = census(shared, asked, old);
        let now = shared.clock.now();
        let since = census.growth_since();
        let rows = |top: &Top<Holder>| {
            let holders = top.clone().into_vec().into_iter();
            holders.map(|holder| Client::of(holder, now)).collect()
        };
        let window = |since: Time| now.millis_since(since) as f64 / 1000.0;
        let answer = Clients {
            sessions: census.sessions,
            bytes: census.bytes,
            growth_window_seconds: since.map(window),
            slow: census.slow,
            left: census.left,
            left_bytes: census.left_bytes,
            left_for_ever: census.left_for_ever,
            by_bytes: rows(&census.by_bytes),
            by_backlog: rows(&census.by_backlog),
            by_growth: rows(&census.by_growth),
            slowest: rows(&census.slowest),
            most_left: rows(&census.most_left),
        };
        let young = since.is_some_and(|since| window(since) < WINDOW.as_secs_f64());
        let (earlier, bytes) = census.into_parts();
        *before = if young { earlier } else { Some(bytes) };
        answer
    }

    /// Goes over all retained messages, or over all that waits for clients: by the first `depth` levels of
    /// their topics.
    pub(crate) fn prefixes(
        &self,
        shared: &Shared,
        depth: usize,
        limit: usize,
        by: PrefixesBy,
    ) -> Prefixes {
        if by == PrefixesBy::Backlog {
            return backlog(shared, depth, limit);
        }
        let mut before = self.prefixes_before.lock().unwrap_or_else(PoisonError::into_inner);
        let mut old = before.take().filter(|old| old.depth == depth);
        if by == PrefixesBy::Growth {
            let first = || retained(shared, depth, limit, None).into_parts().1;
            let first = old.get_or_insert_with(first);
            let age = Duration::from_millis(shared.clock.now().millis_since(first.at));
            thread::sleep(FIRST_WINDOW.saturating_sub(age));
        }
        let census = retained(shared, depth, limit, old);
        let now = shared.clock.now();
        let window = census.growth_since().map(|since| now.millis_since(since) as f64 / 1000.0);
        let top = match by {
            PrefixesBy::Count => &census.by_count,
            PrefixesBy::Growth => &census.by_growth,
            PrefixesBy::Bytes | PrefixesBy::Backlog => &census.by_bytes,
        };
        let (prefixes, top) = (census.prefixes, Prefix::rows(top.clone()));
        let young = window.is_some_and(|window| window < WINDOW.as_secs_f64());
        let (earlier, bytes) = census.into_parts();
        *before = if young { earlier } else { Some(bytes) };
        Prefixes { prefixes, growth_window_seconds: window, top }
    }
}

fn retained(
    shared: &Shared,
    depth: usize,
    limit: usize,
    before: Option<PrefixBytes>,
) -> PrefixCensus {
    let now = shared.clock.now();
    let mut census = PrefixCensus::new(shared.ledger, now, depth, limit, before);
    while !shared.engine().prefix_census(&mut census) {
        thread::sleep(PAUSE);
    }
    census
}

fn backlog(shared: &Shared, depth: usize, limit: usize) -> Prefixes {
    let mut census = BacklogCensus::new(depth, limit);
    while !shared.engine().backlog_census(&mut census) {
        thread::sleep(PAUSE);
    }
    let prefixes = census.prefixes();
    Prefixes { prefixes, growth_window_seconds: None, top: Prefix::rows(census.into_top()) }
}

fn census(shared: &Shared, asked: &Asked, before: Option<Bytes>) -> Census {
    let terms = CensusTerms {
        most: asked.limit,
        slow_after: asked.slow_after,
        left_after: asked.left_after,
    };
    shared.wake_shards();
    thread::sleep(WAKING);
    let mut census = Census::new(shared.ledger, shared.clock.now(), terms, before);
    while !shared.engine().census(shared.clock.now(), &mut census) {
        thread::sleep(PAUSE);
    }
    census
}

/// Deletes the retained messages whose topics match `filter`, or only counts them. Answers with the
/// `first` of their topics.
pub(crate) fn delete_retained(
    shared: &Shared,
    filter: &str,
    dry_run: bool,
    first: usize,
) -> Deletion {
    let mut deletion =
        Deletion { dry_run, messages: 0, bytes: 0, topics: Vec::new(), complete: false };
    let mut cursor = ScanCursor::default();
    let mut moved = Instant::now();
    loop {
        let before = deletion.messages;
        let mut each = |topic: &str, size: usize| {
            deletion.messages += 1;
            deletion.bytes += size as u64;
            if deletion.topics.len() < first {
                deletion.topics.push(topic.to_owned());
            }
        };
        let scan = shared.work(|engine, now| {
            engine.delete_retained(now, filter, &mut cursor, dry_run, &mut each)
        });
        if scan == Scan::Done {
            deletion.complete = true;
            return deletion;
        }
        // A long walk without a match is progress too, but for the store nothing moves at all.
        if deletion.messages > before || !shared.engine().store_is_stuck() {
            moved = Instant::now();
        }
        if shared.stopping() || moved.elapsed() > STORE_PATIENCE {
            return deletion;
        }
        thread::sleep(PAUSE);
    }
}
