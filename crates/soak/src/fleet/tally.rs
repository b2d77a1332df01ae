//! What was sent, acknowledged and received.

use hdrhistogram::Histogram;

/// Readings of one sensor that the control system got: the highest sequence number in order, and
/// what was not in order.
#[derive(Clone, Copy, Debug, Default)]
struct Received {
    next: u32,
}

/// Counts over a run.
#[derive(Debug)]
pub(super) struct Tally {
    pub(super) published: u64,
    pub(super) acknowledged: u64,
    pub(super) received: u64,
    pub(super) duplicated: u64,
    /// Readings that came after a later one of the same sensor, or not at all.
    pub(super) skipped: u64,
    pub(super) strange: u64,
    pub(super) disconnected: u64,
    /// Due time to PUBACK, µs.
    pub(super) publish_us: Histogram<u64>,
    /// Due time to the control system, µs.
    pub(super) end_to_end_us: Histogram<u64>,
    sensors: Vec<Received>,
}

impl Tally {
    pub(super) fn new(sensors: u32) -> Result<Self, hdrhistogram::CreationError> {
        Ok(Self {
            published: 0,
            acknowledged: 0,
            received: 0,
            duplicated: 0,
            skipped: 0,
            strange: 0,
            disconnected: 0,
            publish_us: Histogram::new(3)?,
            end_to_end_us: Histogram::new(3)?,
            sensors: vec![Received::default(); sensors as usize],
        })
    }

    /// A reading arrived at the control system, `late_us` after it was due.
    pub(super) fn arrived(&mut self, sensor: u32, sequence: u32, late_us: u64) {
        let Some(known) = self.sensors.get_mut(sensor as usize) else {
            self.strange += 1;
            return;
        };
        if sequence < known.next {
            self.duplicated += 1;
            return;
        }
        self.skipped += u64::from(sequence - known.next);
        known.next = sequence + 1;
        self.received += 1;
        self.end_to_end_us.saturating_record(late_us);
    }

    /// Readings that were published and did not arrive.
    pub(super) fn lost(&self) -> u64 {
        self.published.saturating_sub(self.received)
    }

    /// Whether all that was published was acknowledged and has arrived.
    pub(super) fn is_complete(&self) -> bool {
        self.acknowledged >= self.published && self.received >= self.published
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_or_double_is_counted() {
        let mut tally = Tally::new(2).expect("three digits");
        tally.published = 4;
        tally.arrived(0, 0, 10);
        tally.arrived(0, 2, 10);
        tally.arrived(0, 2, 10);
        tally.arrived(1, 0, 10);
        assert_eq!((tally.received, tally.duplicated, tally.skipped), (3, 1, 1));
        assert_eq!(tally.lost(), 1);
        assert!(!tally.is_complete());
    }
}
