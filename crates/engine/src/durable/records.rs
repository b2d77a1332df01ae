//! Records on their way to the store.

use alloc::vec::Vec;
use core::fmt;

use plimsoll_ledger::{Account, Charge, Ledger, Measure};

/// One change of lasting state. Key and value are opaque to the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record<'a> {
    /// The key has this value from now on.
    Put {
        /// Key.
        key: &'a [u8],
        /// Value.
        value: &'a [u8],
    },
    /// The same, of a key that is not in the store: it will be deleted before it is used again.
    Insert {
        /// Key.
        key: &'a [u8],
        /// Value.
        value: &'a [u8],
    },
    /// The key is gone.
    Delete {
        /// Key.
        key: &'a [u8],
    },
}

const PUT: u8 = 0;
const INSERT: u8 = 1;
const DELETE: u8 = 2;

/// Records in order, to be stored as one atomic batch.
///
/// The shell takes the list ([`Engine::take_records`](crate::Engine::take_records)) and brings it
/// back empty, so its memory is reused.
pub struct Records {
    bytes: Vec<u8>,
    count: usize,
    /// Position of the last record.
    upto: u64,
    charge: Charge,
}

/// Lists larger than this are given back when they have been emptied.
const KEEP_BYTES: usize = 256 * 1024;

impl Records {
    /// An empty list, charged to [`Account::Store`].
    pub fn new(ledger: &'static Ledger) -> Self {
        Self { bytes: Vec::new(), count: 0, upto: 0, charge: ledger.charge(Account::Store, 0) }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Bytes that they take.
    pub fn len_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// What to say with [`Stored`](crate::Input::Stored) when all of them are stored.
    pub fn upto(&self) -> u64 {
        self.upto
    }

    /// The records, in order.
    pub fn iter(&self) -> Iter<'_> {
        Iter(&self.bytes)
    }

    /// Empties the list.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.count = 0;
        if self.bytes.capacity() > KEEP_BYTES {
            self.bytes = Vec::new();
        }
        self.settle();
    }

    pub(super) fn push(&mut self, record: Record<'_>, position: u64) {
        let (kind, key, value) = match record {
            Record::Put { key, value } => (PUT, key, value),
            Record::Insert { key, value } => (INSERT, key, value),
            Record::Delete { key } => (DELETE, key, &[][..]),
        };
        self.bytes.push(kind);
        self.bytes.extend_from_slice(&(key.len() as u32).to_le_bytes());
        self.bytes.extend_from_slice(&(value.len() as u32).to_le_bytes());
        self.bytes.extend_from_slice(key);
        self.bytes.extend_from_slice(value);
        self.count += 1;
        self.upto = position;
    }

    /// Brings the charge up to what the list holds: once per turn.
    pub(crate) fn settle(&mut self) {
        self.charge.set(self.bytes.heap_bytes());
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        self.bytes.heap_bytes()
    }
}

impl fmt::Debug for Records {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Records: {} up to {}", self.count, self.upto)
    }
}

impl<'a> IntoIterator for &'a Records {
    type Item = Record<'a>;
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

/// Iterator over [`Records`].
#[derive(Clone, Debug)]
pub struct Iter<'a>(&'a [u8]);

impl<'a> Iterator for Iter<'a> {
    type Item = Record<'a>;

    fn next(&mut self) -> Option<Record<'a>> {
        let (&kind, rest) = self.0.split_first()?;
        let (key_len, rest) = rest.split_first_chunk()?;
        let (value_len, rest) = rest.split_first_chunk()?;
        let (key, rest) = rest.split_at_checked(u32::from_le_bytes(*key_len) as usize)?;
        let (value, rest) = rest.split_at_checked(u32::from_le_bytes(*value_len) as usize)?;
        self.0 = rest;
        Some(match kind {
            PUT => Record::Put { key, value },
            INSERT => Record::Insert { key, value },
            _ => Record::Delete { key },
        })
    }
}
