//! What the standard library's hash tables take.

use std::collections::HashMap;

use plimsoll_ledger::usable_size;

/// Bytes of a table by its layout: a byte of its own for each place, and an eighth of them free. What keys
/// and values own in turn is not in it.
pub(crate) fn table_bytes<K, V, S>(table: &HashMap<K, V, S>) -> usize {
    let each = size_of::<(K, V)>() + 1;
    usable_size(table.capacity() * each * 8 / 7, 16)
}
