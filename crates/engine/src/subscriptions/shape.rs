//! Shapes of filters.

use alloc::vec::Vec;

use plimsoll_ledger::Measure;

use super::levels::{LEVELS_MAX, Levels, Seed};

/// What stands for `+` and for the end of a `#` filter in a hash.
const PLUS: u64 = 0x9E37_79B9_7F4A_7C15;
const OPEN: u64 = 0xC2B2_AE3D_27D4_EB4F;

/// Number of levels (without `#`), which of them are `+`, and whether `#` follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    plus: u32,
    levels: u8,
    open: bool,
}

impl Shape {
    /// The shape of a valid filter; `None` if it has more than [`LEVELS_MAX`] levels.
    pub(super) fn of(filter: &str) -> Option<Self> {
        let mut shape = Self { plus: 0, levels: 0, open: false };
        for level in filter.as_bytes().split(|&byte| byte == b'/') {
            if level == b"#" {
                shape.open = true;
                break;
            }
            if usize::from(shape.levels) == LEVELS_MAX {
                return None;
            }
            shape.plus |= u32::from(level == b"+") << shape.levels;
            shape.levels += 1;
        }
        Some(shape)
    }

    pub(super) fn is_open(self) -> bool {
        self.open
    }

    fn is_plain(self) -> bool {
        self.plus == 0 && !self.open
    }

    /// Whether the first level is a wildcard.
    fn begins_wild(self) -> bool {
        self.plus & 1 != 0 || self.levels == 0
    }

    fn is_plus(self, level: usize) -> bool {
        self.plus >> level & 1 != 0
    }

    /// Hash of a filter of this shape.
    pub(super) fn hash_filter(self, filter: &str, seed: &Seed) -> u64 {
        let levels = filter.as_bytes().split(|&byte| byte == b'/').take(usize::from(self.levels));
        let hashes = levels
            .enumerate()
            .map(|(at, level)| if self.is_plus(at) { PLUS } else { seed.level(level) });
        self.finish(hashes, seed)
    }

    /// Hash that a filter of this shape has if it matches the topic.
    #[inline]
    pub(super) fn hash_topic(self, topic: &Levels, seed: &Seed) -> u64 {
        let hashes = topic.hashes().iter().take(usize::from(self.levels)).enumerate();
        self.finish(hashes.map(|(at, &hash)| if self.is_plus(at) { PLUS } else { hash }), seed)
    }

    #[inline]
    fn finish(self, levels: impl Iterator<Item = u64>, seed: &Seed) -> u64 {
        let path = levels.fold(seed.start(), |path, level| seed.combine(path, level));
        if self.open { seed.combine(path, OPEN) } else { path }
    }

    /// Whether a filter has this shape and matches the topic. A table finds candidates by a few
    /// bits of the hash, so both are checked.
    #[inline]
    pub(super) fn matches(self, filter: &str, topic: &str) -> bool {
        if self.is_plain() {
            return filter == topic;
        }
        let mut wanted = filter.as_bytes().split(|&byte| byte == b'/');
        let mut names = topic.as_bytes().split(|&byte| byte == b'/');
        for at in 0..usize::from(self.levels) {
            let same = match (wanted.next(), names.next()) {
                (Some(b"+"), Some(_)) => self.is_plus(at),
                (wanted, name) => wanted == name && !self.is_plus(at),
            };
            if !same {
                return false;
            }
        }
        if self.open {
            wanted.next() == Some(b"#")
        } else {
            wanted.next().is_none() && names.next().is_none()
        }
    }
}

/// Shapes with wildcards that one number of levels may have, and that `#` filters may have. What
/// comes beyond lies in the trie.
const SHAPES_MAX: usize = 16;

/// The shapes that are in use, with the number of their filters, by what they can match.
#[derive(Debug, Default)]
pub(super) struct Shapes {
    /// Without `#`, by number of levels.
    closed: Vec<Vec<(Shape, u32)>>,
    /// With `#`: they match topics of at least their own number of levels.
    open: Vec<(Shape, u32)>,
    /// Bytes of the inner lists of `closed`.
    closed_bytes: usize,
}

impl Measure for Shapes {
    fn heap_bytes(&self) -> usize {
        self.closed.heap_bytes() + self.open.heap_bytes() + self.closed_bytes
    }
}

impl Shapes {
    fn list(&self, shape: Shape) -> &[(Shape, u32)] {
        if shape.open {
            return &self.open;
        }
        self.closed.get(usize::from(shape.levels)).map_or(&[], Vec::as_slice)
    }

    pub(super) fn contains(&self, shape: Shape) -> bool {
        self.list(shape).iter().any(|(known, _)| *known == shape)
    }

    /// Counts a filter of this shape. Answers whether there was a place for it.
    pub(super) fn admit(&mut self, shape: Shape) -> bool {
        let wild = self.list(shape).iter().filter(|(known, _)| !known.is_plain()).count();
        let fits = shape.is_plain() || wild < SHAPES_MAX;
        self.change(shape, |list| {
            if let Some((_, count)) = list.iter_mut().find(|(known, _)| *known == shape) {
                *count += 1;
                return true;
            }
            if fits {
                list.push((shape, 1));
            }
            fits
        })
    }

    /// A filter of this shape has gone.
    pub(super) fn release(&mut self, shape: Shape) {
        self.change(shape, |list| {
            if let Some((_, count)) = list.iter_mut().find(|(known, _)| *known == shape) {
                *count -= 1;
            }
            list.retain(|&(_, count)| count > 0);
            if list.is_empty() {
                *list = Vec::new();
            }
            true
        });
        if self.open.is_empty() && self.closed.iter().all(Vec::is_empty) {
            *self = Self::default();
        }
    }

    fn change(
        &mut self,
        shape: Shape,
        change: impl FnOnce(&mut Vec<(Shape, u32)>) -> bool,
    ) -> bool {
        if shape.open {
            return change(&mut self.open);
        }
        let at = usize::from(shape.levels);
        if self.closed.len() <= at {
            self.closed.resize_with(at + 1, Vec::new);
        }
        let Some(list) = self.closed.get_mut(at) else { return false };
        self.closed_bytes -= list.heap_bytes();
        let answer = change(list);
        self.closed_bytes += list.heap_bytes();
        answer
    }

    /// The shapes that could match a topic of `levels` levels. MQTT-4.7.2-1: one that begins with
    /// `$` is not matched by a filter that begins with a wildcard.
    #[inline]
    pub(super) fn candidates(
        &self,
        levels: usize,
        dollar: bool,
    ) -> impl Iterator<Item = Shape> + '_ {
        let closed = self.closed.get(levels).map_or(&[][..], Vec::as_slice).iter();
        let open = self.open.iter().filter(move |(shape, _)| usize::from(shape.levels) <= levels);
        let all = closed.chain(open).map(|&(shape, _)| shape);
        all.filter(move |shape| !(dollar && shape.begins_wild()))
    }
}
