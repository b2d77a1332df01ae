//! Faults between engine and clients: the oracle must notice them.

use crate::rng::Rng;

/// A fault put between engine and clients, to see that the oracle notices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A QoS 1 delivery goes missing without the connection breaking.
    Lose,
    /// A delivery comes twice.
    Repeat,
}

/// Spoils one in some PUBLISH packets of QoS 1, if that is asked for.
pub(crate) fn meddle(fault: Option<Fault>, bytes: Vec<u8>, rng: &mut Rng) -> Vec<u8> {
    let whole_publish = bytes.first().is_some_and(|first| first & 0xF6 == 0x32)
        && bytes.get(1).is_some_and(|&len| len < 0x80 && bytes.len() == usize::from(len) + 2);
    match fault {
        Some(Fault::Lose) if whole_publish && rng.chance(20) => Vec::new(),
        Some(Fault::Repeat) if whole_publish && rng.chance(20) => bytes.repeat(2),
        _ => bytes,
    }
}
