//! Order, losses and copies, found by sequence numbers.

use std::collections::HashSet;

/// Most missing messages that are known by name; of more, only the number is known.
const MISSING_MAX: usize = 200_000;

/// What arrived of one series of numbered messages each from many senders.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gaps {
    next: Vec<Option<u32>>,
    missing: HashSet<(u32, u32)>,
    missing_unnamed: u64,
    /// Messages that arrived, each counted once.
    pub(crate) received: u64,
    /// Messages that arrived again.
    pub(crate) duplicated: u64,
    /// Messages that arrived after a later one of the same sender.
    pub(crate) reordered: u64,
}

impl Gaps {
    /// For senders from 0 up to, but not, `senders`. Nothing is expected of anybody yet.
    pub(crate) fn new(senders: usize) -> Self {
        Self { next: vec![None; senders], ..Self::default() }
    }

    /// From now on, message `next` of a sender is expected; what was expected before is not any more.
    pub(crate) fn expect(&mut self, sender: u32, next: u32) {
        if let Some(known) = self.next.get_mut(sender as usize) {
            *known = Some(next);
        }
    }

    /// Nothing is expected of anybody: whoever listens has been away.
    pub(crate) fn forget(&mut self) {
        self.next.fill(None);
    }

    /// The message that is expected next of a sender.
    pub(crate) fn next(&self, sender: u32) -> Option<u32> {
        self.next.get(sender as usize).copied().flatten()
    }

    /// A message arrived. `repeated` says that its sender has sent it again, so that a copy is no mistake.
    pub(crate) fn arrived(&mut self, sender: u32, sequence: u32, repeated: bool) {
        let Some(known) = self.next.get_mut(sender as usize) else { return };
        match *known {
            Some(next) if sequence < next => {
                if self.missing.remove(&(sender, sequence)) {
                    self.reordered += 1;
                    self.received += 1;
                } else if !repeated {
                    self.duplicated += 1;
                }
                return;
            }
            Some(next) => {
                for skipped in next..sequence {
                    if self.missing.len() < MISSING_MAX {
                        self.missing.insert((sender, skipped));
                    } else {
                        self.missing_unnamed += 1;
                    }
                }
            }
            None => {}
        }
        *known = Some(sequence.saturating_add(1));
        self.received += 1;
    }

    /// Messages below which later ones have arrived, and which have not.
    pub(crate) fn missing(&self) -> u64 {
        self.missing.len() as u64 + self.missing_unnamed
    }

    /// How many messages of a sender have not arrived at the end of its series, if `sent` were sent.
    pub(crate) fn tail(&self, sender: u32, sent: u32) -> u64 {
        self.next(sender).map_or(0, |next| u64::from(sent.saturating_sub(next)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_double_or_late_is_counted() {
        let mut gaps = Gaps::new(2);
        gaps.expect(0, 0);
        gaps.expect(1, 0);
        gaps.arrived(0, 0, false);
        gaps.arrived(0, 3, false);
        assert_eq!(gaps.missing(), 2);
        gaps.arrived(0, 1, false);
        assert_eq!((gaps.missing(), gaps.reordered, gaps.duplicated), (1, 1, 0));
        gaps.arrived(0, 1, false);
        gaps.arrived(0, 3, true);
        assert_eq!((gaps.duplicated, gaps.received), (1, 3));
        assert_eq!((gaps.tail(0, 4), gaps.tail(1, 2)), (0, 2));
        gaps.arrived(7, 0, false);
        assert_eq!(gaps.received, 3);
    }

    #[test]
    fn after_an_absence_nothing_is_missing() {
        let mut gaps = Gaps::new(1);
        gaps.expect(0, 0);
        gaps.arrived(0, 0, false);
        gaps.forget();
        assert_eq!(gaps.tail(0, 9), 0);
        gaps.arrived(0, 9, false);
        assert_eq!((gaps.missing(), gaps.next(0)), (0, Some(10)));
    }
}
