//! Accounts and the book that holds them.

use core::sync::atomic::{AtomicUsize, Ordering};

/// Who holds memory. The names are those of `$SYS/broker/memory/<account>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Account {
    /// Retained messages: pages, index and out-of-line payloads.
    Retained,
    /// The subscription index: filters, subscriber lists, shared groups.
    Subscriptions,
    /// Sessions, with their identifiers and the table that finds them.
    Sessions,
    /// Tables of what is not yet acknowledged, in both directions.
    Inflight,
    /// Messages that sessions hold, waiting or in flight: the queues, and the bodies that all
    /// sessions share.
    Queues,
    /// Network connections: slots, read and write buffers, output on its way to a thread.
    Connections,
    /// Will messages of connected clients and delayed wills.
    Wills,
    /// TLS sessions.
    Tls,
    /// WebSocket framing.
    WebSocket,
    /// The durable store: caches and journal buffers.
    Store,
    /// Bridges to other brokers.
    Bridge,
    /// Device RPC.
    Rpc,
    /// Admin interfaces, `$SYS` and logging.
    Admin,
    /// Tools that run inside the broker's process.
    Tools,
}

impl Account {
    /// All accounts, in the order of the book.
    pub const ALL: [Self; 14] = [
        Self::Retained,
        Self::Subscriptions,
        Self::Sessions,
        Self::Inflight,
        Self::Queues,
        Self::Connections,
        Self::Wills,
        Self::Tls,
        Self::WebSocket,
        Self::Store,
        Self::Bridge,
        Self::Rpc,
        Self::Admin,
        Self::Tools,
    ];

    /// The name in metrics, `$SYS` and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Retained => "retained",
            Self::Subscriptions => "subscriptions",
            Self::Sessions => "sessions",
            Self::Inflight => "inflight",
            Self::Queues => "queues",
            Self::Connections => "connections",
            Self::Wills => "wills",
            Self::Tls => "tls",
            Self::WebSocket => "websocket",
            Self::Store => "store",
            Self::Bridge => "bridge",
            Self::Rpc => "rpc",
            Self::Admin => "admin",
            Self::Tools => "tools",
        }
    }
}

/// One line of the book.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) bytes: AtomicUsize,
    pub(crate) budget: AtomicUsize,
    pub(crate) account: Account,
    /// Which part of the account it is; `None` is the rest.
    pub(crate) part: Option<u8>,
}

/// The one account that can be counted in parts.
const PARTED: Account = Account::Queues;

/// Parts that the account of queued messages can be counted in, beside the rest of it.
pub const PARTS_MAX: usize = 128;

/// A set of accounts with what each holds and may hold.
///
/// Charges point into it for as long as they live, so a ledger is `'static`: a `static` in the
/// broker, a leaked box (a few kilobytes) per world in tests.
#[derive(Debug)]
pub struct Ledger {
    lines: [Line; Account::ALL.len()],
    parts: [Line; PARTS_MAX],
    /// Parts that are, or were, in use: the first ones.
    parts_used: AtomicUsize,
}

impl Ledger {
    /// An empty ledger in which no account has a budget.
    pub const fn new() -> Self {
        let mut lines = [const {
            Line {
                bytes: AtomicUsize::new(0),
                budget: AtomicUsize::new(usize::MAX),
                account: Account::Retained,
                part: None,
            }
        }; Account::ALL.len()];
        let mut at = 0;
        while at < lines.len() {
            lines[at].account = Account::ALL[at];
            at += 1;
        }
        let mut parts = [const {
            Line {
                bytes: AtomicUsize::new(0),
                budget: AtomicUsize::new(usize::MAX),
                account: PARTED,
                part: None,
            }
        }; PARTS_MAX];
        let mut at = 0;
        while at < parts.len() {
            parts[at].part = Some(at as u8);
            at += 1;
        }
        Self { lines, parts, parts_used: AtomicUsize::new(0) }
    }

    /// Bytes that `account` holds now.
    pub fn bytes(&self, account: Account) -> usize {
        let own = self.line(account).bytes.load(Ordering::Relaxed);
        if account != PARTED {
            return own;
        }
        let parts = self.parts.iter().take(self.parts_used.load(Ordering::Relaxed));
        parts.fold(own, |sum, part| sum + part.bytes.load(Ordering::Relaxed))
    }

    /// Bytes of one part of [`Account::Queues`]; they are counted to the account too.
    pub fn part_bytes(&self, part: u8) -> usize {
        self.part(part).map_or(0, |part| part.bytes.load(Ordering::Relaxed))
    }

    /// A part is going to be charged. Those below it count as used too.
    pub fn use_part(&self, part: u8) {
        self.parts_used.fetch_max(usize::from(part) + 1, Ordering::Relaxed);
    }

    pub(crate) fn part(&self, part: u8) -> Option<&Line> {
        self.parts.get(usize::from(part))
    }

    /// Bytes that all accounts hold now.
    pub fn total(&self) -> usize {
        Account::ALL.iter().map(|&account| self.bytes(account)).sum()
    }

    /// The most that `account` may hold, in bytes; `usize::MAX` is no limit.
    pub fn budget(&self, account: Account) -> usize {
        self.line(account).budget.load(Ordering::Relaxed)
    }

    /// Limits `account` to `bytes` from now on. What it holds already, it keeps.
    pub fn set_budget(&self, account: Account, bytes: usize) {
        self.line(account).budget.store(bytes, Ordering::Relaxed);
    }

    /// What every account holds at this moment.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot { bytes: Account::ALL.map(|account| self.bytes(account)) }
    }

    pub(crate) fn line(&self, account: Account) -> &Line {
        // The enum's discriminants are the indices of `ALL`.
        &self.lines[account as usize]
    }
}

impl Default for Ledger {
    fn default() -> Self {
        Self::new()
    }
}

/// Bytes by account: a reading of the [`Ledger`], or a recount of the state itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    bytes: [usize; Account::ALL.len()],
}

impl Snapshot {
    /// Bytes of one account.
    pub fn bytes(&self, account: Account) -> usize {
        self.bytes[account as usize]
    }

    /// Adds bytes to one account (for a recount).
    pub fn add(&mut self, account: Account, bytes: usize) {
        self.bytes[account as usize] += bytes;
    }

    /// Sum over all accounts.
    pub fn total(&self) -> usize {
        self.bytes.iter().sum()
    }

    /// Every account with its bytes, in the order of the book.
    pub fn iter(&self) -> impl Iterator<Item = (Account, usize)> + '_ {
        Account::ALL.iter().map(|&account| (account, self.bytes(account)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_stand_in_the_order_of_the_enum() {
        let ledger = Ledger::new();
        for account in Account::ALL {
            assert_eq!(ledger.line(account).account, account);
        }
    }
}
