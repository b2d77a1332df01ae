//! What is looked at, and what may explain it.

use crate::history::Bucket;
use crate::sample::Column;
use crate::trend::median;

/// Where a leak shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Signal {
    /// Memory that the process has from the system and no account explains.
    Memory,
    /// The process's own account, which grows without the state that it should follow.
    Account,
    /// Off-heap buffers.
    Direct,
    /// The low-water mark of a garbage-collected heap.
    Heap,
    /// What a process that accounts for every byte holds and has not said so: see
    /// [`ResidueJudge`](crate::ResidueJudge).
    Residue,
}

impl Signal {
    /// What is looked at from outside.
    pub(crate) const ALL: [Signal; 4] =
        [Signal::Memory, Signal::Account, Signal::Direct, Signal::Heap];

    /// A word for reports.
    pub fn word(self) -> &'static str {
        match self {
            Signal::Memory => "memory",
            Signal::Account => "account",
            Signal::Direct => "direct",
            Signal::Heap => "heap",
            Signal::Residue => "residue",
        }
    }

    pub(crate) fn column(self) -> Column {
        match self {
            // From outside the residue is memory less what is known.
            Signal::Memory | Signal::Residue => Column::Memory,
            Signal::Account => Column::Account,
            Signal::Direct => Column::Direct,
            Signal::Heap => Column::Heap,
        }
    }
}

/// A signal less what explains it, at one strength of explanation. A leak has to show at every strength that
/// is plausible: whoever must guess how much an account explains, must not need to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct View {
    pub(crate) signal: Signal,
    /// Bytes of memory for each byte of the account.
    pub(crate) per_account: f64,
    /// Bytes of memory for each byte of the runtime's heap (committed, else used) and of its direct buffers.
    pub(crate) per_runtime: f64,
    /// Whether counts of state may explain it too.
    pub(crate) state: bool,
}

impl View {
    /// All views of a signal, given what its last bucket has.
    pub(crate) fn all(signal: Signal, bucket: &Bucket) -> Vec<View> {
        let raw = View { signal, per_account: 0.0, per_runtime: 0.0, state: false };
        if bucket.mean(signal.column()).is_none() {
            return Vec::new();
        }
        let mut views = vec![raw];
        if signal != Signal::Memory {
            views.push(View { state: true, ..raw });
            return views;
        }
        let committed =
            bucket.mean(Column::Committed).is_some() || bucket.mean(Column::Heap).is_none();
        let runtime = bucket.mean(Column::Heap).is_some()
            || bucket.mean(Column::Committed).is_some()
            || bucket.mean(Column::Direct).is_some();
        if let Some(account) = bucket.mean(Column::Account) {
            let level = bucket.mean(Column::Memory).unwrap_or(0.0) / account.max(1.0);
            views.push(View { per_account: 1.0, ..raw });
            views.push(View { per_account: level.clamp(1.15, 2.0), ..raw });
        }
        if runtime {
            // What lies between used bytes and the pages below them grows with what is used.
            let strengths: &[f64] = if committed { &[0.0, 1.0] } else { &[1.0, 1.2] };
            views = views
                .into_iter()
                .flat_map(|view| {
                    strengths.iter().map(move |strength| View {
                        per_runtime: *strength,
                        state: *strength > 0.0,
                        ..view
                    })
                })
                .collect();
        } else if bucket.mean(Column::Account).is_none() {
            views.push(View { state: true, ..raw });
        }
        views
    }

    /// The view that is most likely to be right.
    pub(crate) fn central(signal: Signal, bucket: &Bucket) -> Option<View> {
        let own = bucket.mean(signal.column())?;
        let memory = signal == Signal::Memory;
        let account = bucket.mean(Column::Account).filter(|_| memory);
        Some(View {
            signal,
            per_account: account.map_or(0.0, |account| (own / account.max(1.0)).clamp(1.0, 1.15)),
            per_runtime: if memory { 1.0 } else { 0.0 },
            state: account.is_none(),
        })
    }

    /// Whether only low-water marks say something: what lies above them is garbage not yet collected.
    pub(crate) fn low(&self, blind: bool) -> bool {
        self.signal == Signal::Heap || (self.signal == Signal::Memory && blind)
    }

    /// The value in a bucket, without what state explains.
    pub(crate) fn value(&self, bucket: &Bucket, low: bool) -> Option<f64> {
        let column = self.signal.column();
        let own = if low { bucket.least(column)? } else { bucket.mean(column)? };
        let account = if self.per_account > 0.0 {
            bucket.mean(Column::Account)? * self.per_account
        } else {
            0.0
        };
        let runtime = if self.per_runtime > 0.0 {
            let heap = bucket.mean(Column::Committed).or(bucket.mean(Column::Heap)).unwrap_or(0.0);
            (heap + bucket.mean(Column::Direct).unwrap_or(0.0)) * self.per_runtime
        } else {
            0.0
        };
        Some(own - account - runtime)
    }
}

/// The median of a column over buckets.
pub(crate) fn middle<'a>(buckets: impl Iterator<Item = &'a Bucket>, column: Column) -> Option<f64> {
    median(&mut buckets.filter_map(|bucket| bucket.mean(column)).collect::<Vec<f64>>())
}

/// The most bytes by which growing counts of state may have raised a value of `level` bytes: in proportion to
/// the count that grew most, and at most so many bytes a piece.
pub(crate) fn by_state(level: f64, first: &[Option<f64>; 5], now: &[Option<f64>; 5]) -> f64 {
    Column::STATE
        .iter()
        .zip(first.iter().zip(now))
        .filter_map(|((_, most), (first, now))| {
            let more = (*now)? - (*first)?;
            let share = more / (*first)?.max(1.0);
            Some((1.1 * level.max(0.0) * share).min(more * most).max(0.0))
        })
        .fold(0.0, f64::max)
}

/// Whether nothing but memory is known, so that anything may explain it.
pub(crate) fn is_blind(bucket: &Bucket) -> bool {
    let known = |column: Column| bucket.mean(column).is_some();
    !known(Column::Account)
        && !known(Column::Heap)
        && !known(Column::Committed)
        && !Column::STATE.iter().any(|(column, _)| known(*column))
}

/// Whether memory falls in jumps, as that of a collected heap does.
pub(crate) fn is_saw<'a>(buckets: impl Iterator<Item = &'a Bucket>) -> bool {
    let mut before = f64::NAN;
    for bucket in buckets {
        let Some(now) = bucket.mean(Column::Memory) else { continue };
        if before - now > 0.08 * before {
            return true;
        }
        before = now;
    }
    false
}
