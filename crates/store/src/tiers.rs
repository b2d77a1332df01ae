//! Which runs are merged next.
//!
//! Runs of about the same size are merged when there are enough of them, so that each entry is
//! written again only about as often as the number of runs has digits to base `merge_runs`. All
//! runs are merged when what is probably garbage is a large part.

use std::ops::Range;

use crate::memtable::Counts;

/// What the choice is made from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tier {
    pub(crate) bytes: u64,
    pub(crate) counts: Counts,
}

/// The part of the entries that deletes may make up: one in so many.
pub(crate) const GARBAGE_PART: u64 = 4;

/// Chooses neighbours among `runs`, newest first; none if all is well.
pub(crate) fn choose(
    runs: &[Tier],
    merge_runs: usize,
    memtable_bytes: u64,
) -> Option<Range<usize>> {
    is_mostly_garbage(runs, memtable_bytes)
        .then_some(0..runs.len())
        .or_else(|| similar(runs, merge_runs))
}

/// Whether all runs should become one for the sake of space.
fn is_mostly_garbage(runs: &[Tier], memtable_bytes: u64) -> bool {
    let Some((oldest, newer)) = runs.split_last() else { return false };
    let deletes: u64 = runs.iter().map(|run| run.counts.deletes).sum();
    let values: u64 = runs.iter().map(|run| run.counts.values).sum();
    if oldest.counts.deletes == 0 && newer.is_empty() {
        return false;
    }
    let bytes: u64 = runs.iter().map(|run| run.bytes).sum();
    let garbage = garbage_bytes(deletes, values, bytes);
    let is_large = deletes * GARBAGE_PART >= values && garbage >= memtable_bytes / 4;
    if deletes >= values || is_large {
        return true;
    }
    // What is newer may all be overwriting what is in the oldest run.
    let newer: u64 = newer.iter().map(|run| run.bytes).sum();
    newer >= oldest.bytes && newer >= memtable_bytes && runs.len() > 2
}

/// About how many bytes so many deletes free in runs with so many values.
pub(crate) fn garbage_bytes(deletes: u64, values: u64, bytes: u64) -> u64 {
    bytes.checked_div(values + deletes).unwrap_or(0) * deletes.saturating_mul(2)
}

/// The newest neighbours none of which is much larger than all newer ones together.
fn similar(runs: &[Tier], merge_runs: usize) -> Option<Range<usize>> {
    for first in 0..runs.len() {
        let mut sum = runs[first].bytes;
        let mut end = first + 1;
        while end < runs.len() && runs[end].bytes <= sum.saturating_mul(2) {
            sum += runs[end].bytes;
            end += 1;
        }
        if end - first >= merge_runs {
            return Some(first..end);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMTABLE: u64 = 4 << 20;

    fn run(megabytes: u64, values: u64, deletes: u64) -> Tier {
        Tier { bytes: megabytes << 20, counts: Counts { values, deletes } }
    }

    fn chosen(runs: &[Tier]) -> Option<Range<usize>> {
        choose(runs, 4, MEMTABLE)
    }

    #[test]
    fn similar_runs_are_merged_and_large_ones_left_alone() {
        let small = run(4, 1000, 0);
        assert_eq!(chosen(&[]), None);
        assert_eq!(chosen(&[small; 1]), None);
        let large = run(1000, 1_000_000, 0);
        assert_eq!(chosen(&[small, small, small, large]), None);
        assert_eq!(chosen(&[small, small, small, small, large]), Some(0..4));
    }

    #[test]
    fn many_deletes_merge_everything() {
        let large = run(1000, 1_000_000, 0);
        assert_eq!(chosen(&[run(4, 0, 240_000), large]), None);
        assert_eq!(chosen(&[run(4, 0, 260_000), large]), Some(0..2));
        assert_eq!(chosen(&[run(0, 0, 1), run(0, 100, 0)]), None);
    }

    #[test]
    fn runs_without_a_value_vanish() {
        assert_eq!(chosen(&[run(1, 0, 10)]), Some(0..1));
    }

    #[test]
    fn overwritten_values_do_not_take_more_than_the_values() {
        assert_eq!(chosen(&[run(4, 1000, 0), run(40, 9000, 0), run(40, 9000, 0)]), Some(0..3));
    }

    #[test]
    fn each_byte_is_written_only_a_few_times() {
        let mut runs: Vec<Tier> = Vec::new();
        let mut written = 0;
        for _ in 0..1000 {
            runs.insert(0, run(4, 30_000, 0));
            while let Some(range) = chosen(&runs) {
                let bytes: u64 = runs[range.clone()].iter().map(|run| run.bytes).sum();
                let values = runs[range.clone()].iter().map(|run| run.counts.values).sum();
                written += bytes;
                let merged = Tier { bytes, counts: Counts { values, deletes: 0 } };
                runs.splice(range, [merged]);
            }
            assert!(runs.len() < 20);
        }
        let factor = written as f64 / (1000.0 * 4.0 * f64::from(1 << 20));
        assert!(factor < 10.0, "{factor}");
    }
}
