//! Whose call stacks have grown: heap profiles of now against those of before.

use std::time::Duration;

use plimsoll_ledger::{Account, Charged, Ledger, Measure};
use serde::Serialize;

use super::heap::{HeapProfile, Stack};
use super::symbols::{self, Frame, Names};

/// Stacks of a profile that are kept, the largest ones.
const STACKS_MAX: usize = 4096;

/// Profiles that are kept.
const KEPT: usize = 12;

/// Calls of a stack that are named in an alarm.
const FRAMES: usize = 6;

/// A profile of before: bytes by the stack's fingerprint, sorted by that.
#[derive(Debug, Default)]
struct Before {
    at: Duration,
    stacks: Vec<(u64, u64)>,
}

/// Profiles of before: the older they are, the fewer of them.
#[derive(Debug)]
pub(crate) struct Profiles {
    kept: Charged<Kept>,
}

#[derive(Debug, Default)]
struct Kept(Vec<Before>);

impl Measure for Kept {
    fn heap_bytes(&self) -> usize {
        self.0.heap_bytes() + self.0.iter().map(|before| before.stacks.heap_bytes()).sum::<usize>()
    }
}

/// A call stack that has grown.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Owner {
    /// By how much, as estimated from samples.
    pub(crate) grown_bytes: u64,
    /// The calls of the broker's own that lead there, innermost first.
    pub(crate) calls: Vec<String>,
}

impl Profiles {
    pub(crate) fn new(ledger: &'static Ledger) -> Self {
        Self { kept: ledger.own(Account::Tools, Kept::default()) }
    }

    /// Keeps a profile, and of those before ever fewer the longer ago they are.
    pub(crate) fn keep(&mut self, at: Duration, profile: &HeapProfile) {
        let mut stacks: Vec<(u64, u64)> =
            profile.stacks.iter().map(|(stack, held)| (fingerprint(stack), held.bytes)).collect();
        stacks.sort_unstable_by_key(|&(_, bytes)| std::cmp::Reverse(bytes));
        stacks.truncate(STACKS_MAX);
        stacks.sort_unstable();
        stacks.shrink_to_fit();
        let mut kept = self.kept.edit();
        kept.0.push(Before { at, stacks });
        if kept.0.len() > KEPT {
            let gap = |index: usize| {
                let time = |index: usize| kept.0.get(index).map(|before| before.at);
                let (Some(before), Some(behind)) = (time(index - 1), time(index + 1)) else {
                    return f64::MAX;
                };
                let age = at.saturating_sub(before).as_secs_f64().max(1.0);
                behind.saturating_sub(before).as_secs_f64() / age
            };
            // The one that is missed least: between neighbours that lie close together for their age.
            let dispensable =
                (1..kept.0.len() - 1).min_by(|&one, &other| gap(one).total_cmp(&gap(other)));
            if let Some(index) = dispensable {
                kept.0.remove(index);
            }
        }
    }

    /// The stacks that have grown the most since `since`, with their names.
    pub(crate) fn grown(&self, since: Duration, now: &HeapProfile, most: usize) -> Vec<Owner> {
        let before = self.kept.0.iter().rev().find(|before| before.at <= since);
        let Some(before) = before.or(self.kept.0.first()) else { return Vec::new() };
        let mut grown: Vec<(&Stack, u64)> = now
            .stacks
            .iter()
            .map(|(stack, held)| {
                let known =
                    before.stacks.binary_search_by_key(&fingerprint(stack), |&(key, _)| key);
                let was =
                    known.ok().and_then(|at| before.stacks.get(at)).map_or(0, |&(_, was)| was);
                (stack, held.bytes.saturating_sub(was))
            })
            .filter(|&(_, bytes)| bytes > 0)
            .collect();
        grown.sort_unstable_by_key(|&(_, bytes)| std::cmp::Reverse(bytes));
        grown.truncate(most * 8);
        let mut addresses: Vec<u64> =
            grown.iter().flat_map(|(stack, _)| stack.iter().copied()).collect();
        addresses.sort_unstable();
        addresses.dedup();
        let names = symbols::name(&addresses, &now.mappings);
        let mut owners: Vec<Owner> = Vec::new();
        for (stack, bytes) in grown {
            let calls = calls(stack, &names);
            // Stacks that differ only outside of the broker's own code are one to a reader.
            match owners.iter_mut().find(|owner| owner.calls == calls) {
                Some(owner) => owner.grown_bytes += bytes,
                None => owners.push(Owner { grown_bytes: bytes, calls }),
            }
        }
        owners.sort_unstable_by_key(|owner| std::cmp::Reverse(owner.grown_bytes));
        owners.truncate(most);
        owners
    }
}

/// The broker's own calls of a stack; without any, those that are not the allocator's.
fn calls(stack: &[u64], names: &Names) -> Vec<String> {
    let frames = || stack.iter().filter_map(|address| names.get(address)).flatten();
    let own: Vec<String> = frames().filter_map(own_call).take(FRAMES).collect();
    if !own.is_empty() {
        return own;
    }
    let foreign = frames().filter(|frame| !frame.file.contains("jemalloc"));
    foreign.take(FRAMES).map(|frame| frame.function.clone()).collect()
}

/// A call within this project's crates, by the module that its file is: `engine::publish::route
/// (engine/src/publish.rs:12)`. The ledger's are left out: they are on every stack.
fn own_call(frame: &Frame) -> Option<String> {
    let (_, file) = frame.file.split_once("/crates/")?;
    let (own, path) = file.strip_suffix(".rs")?.split_once("/src/")?;
    if own == "ledger" {
        return None;
    }
    let module = path.trim_end_matches("/mod").replace('/', "::");
    let function = frame.function.split('<').next().filter(|name| !name.is_empty());
    let function = function.unwrap_or(&frame.function);
    let function = function.trim_end_matches("::").rsplit("::").next().unwrap_or(function);
    Some(format!("{own}::{module}::{function} ({file}:{})", frame.line))
}

/// FNV-1a over the addresses.
fn fingerprint(stack: &[u64]) -> u64 {
    stack
        .iter()
        .flat_map(|address| address.to_le_bytes())
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::heap::Held;

    fn ledger() -> &'static Ledger {
        Box::leak(Box::default())
    }

    fn profile(stacks: &[(u64, u64)]) -> HeapProfile {
        let held = |bytes| Held { blocks: 1, bytes };
        let stacks = stacks.iter().map(|&(address, bytes)| ([address].into(), held(bytes)));
        HeapProfile { period: 1, stacks: stacks.collect(), mappings: Vec::new() }
    }

    #[test]
    fn what_grew_the_most_comes_first() {
        let mut profiles = Profiles::new(ledger());
        profiles.keep(Duration::from_secs(60), &profile(&[(1, 100), (2, 900)]));
        profiles.keep(Duration::from_secs(120), &profile(&[(1, 100), (2, 900)]));
        let now = profile(&[(1, 700), (2, 1000), (3, 5)]);
        let owners = profiles.grown(Duration::from_secs(90), &now, 2);
        assert_eq!(owners.iter().map(|owner| owner.grown_bytes).collect::<Vec<_>>(), [600, 100]);
        assert_eq!(owners.first().map(|owner| owner.calls.clone()), Some(vec!["0x1".to_owned()]));
    }

    #[test]
    fn calls_are_named_by_module_function_and_line() {
        let frame = |function: &str, file: &str| Frame {
            function: function.into(),
            file: file.into(),
            line: 7,
        };
        let names: Names = [
            (1, vec![frame("malloc", "/x/jemalloc/src/jemalloc.c")]),
            (
                2,
                vec![
                    frame("own<u8>", "/w/crates/ledger/src/charge.rs"),
                    frame("set<A, B>", "/w/crates/engine/src/retained/mod.rs"),
                ],
            ),
            (3, vec![frame("call_once", "/rustc/library/core/src/ops/function.rs")]),
        ]
        .into();
        assert_eq!(
            calls(&[1, 2, 3], &names),
            ["engine::retained::set (engine/src/retained/mod.rs:7)"]
        );
        assert_eq!(calls(&[1, 3], &names), ["call_once"]);
    }

    #[test]
    fn profiles_get_fewer_with_age_and_are_charged() {
        let ledger = ledger();
        let mut profiles = Profiles::new(ledger);
        for minute in 0..1000 {
            profiles.keep(Duration::from_secs(60 * minute), &profile(&[(minute, 1)]));
            assert!(profiles.kept.0.len() <= KEPT);
            assert_eq!(ledger.bytes(Account::Tools), profiles.kept.heap_bytes());
        }
        let ages: Vec<u64> =
            profiles.kept.0.iter().map(|before| 999 - before.at.as_secs() / 60).collect();
        assert_eq!(ages.first(), Some(&999), "the first one stays");
        assert!(ages.iter().filter(|age| **age < 10).count() >= 3, "{ages:?}");
        assert!(ages.iter().filter(|age| (50..900).contains(*age)).count() >= 2, "{ages:?}");
        drop(profiles);
        assert_eq!(ledger.total(), 0);
    }
}
