//! How many bytes a value owns on the heap.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::vec::Vec;
use core::mem::{align_of, size_of};

/// What the allocator really takes for a request of `size` bytes: jemalloc's size classes.
///
/// Source: jemalloc(3), "Size classes" on 64-bit systems with a quantum of 16 bytes: 8; multiples
/// of 16 up to 128; then four classes per doubling; above 16 KiB whole pages (as of jemalloc 5.3.1;
/// earlier ones went on with four classes). `align` matters only above the quantum. The
/// binary's tests compare this function with jemalloc's own answer.
pub const fn usable_size(size: usize, align: usize) -> usize {
    if size == 0 {
        return 0;
    }
    let size = if align > 16 { round_up(size, align) } else { size };
    if size <= 8 {
        return if align <= 8 { 8 } else { 16 };
    }
    if size <= 128 {
        return round_up(size, 16);
    }
    if size > LARGE {
        return round_up(size, PAGE);
    }
    // The doubling above half..=whole is cut into four steps.
    let whole = size.next_power_of_two();
    round_up(size, whole / 8)
}

/// Blocks up to this size have classes of their own.
const LARGE: usize = 16 * 1024;

/// A page of jemalloc's.
const PAGE: usize = 4096;

const fn round_up(size: usize, step: usize) -> usize {
    size.div_ceil(step) * step
}

/// What a value owns on the heap, in bytes that the allocator hands out.
///
/// Its own `size_of` is not part of it (its owner's allocation holds that), nor is what it
/// merely borrows or shares. For collections: the collection's own block, not what its elements
/// own in turn.
pub trait Measure {
    /// Bytes of heap that go when this value is dropped.
    fn heap_bytes(&self) -> usize;
}

impl<T> Measure for Vec<T> {
    fn heap_bytes(&self) -> usize {
        usable_size(self.capacity() * size_of::<T>(), align_of::<T>())
    }
}

impl<T> Measure for VecDeque<T> {
    fn heap_bytes(&self) -> usize {
        usable_size(self.capacity() * size_of::<T>(), align_of::<T>())
    }
}

impl<T> Measure for Box<[T]> {
    fn heap_bytes(&self) -> usize {
        usable_size(size_of_val::<[T]>(self), align_of::<T>())
    }
}

impl Measure for Box<str> {
    fn heap_bytes(&self) -> usize {
        usable_size(self.len(), 1)
    }
}

impl Measure for String {
    fn heap_bytes(&self) -> usize {
        usable_size(self.capacity(), 1)
    }
}

impl<T: Measure> Measure for Option<T> {
    fn heap_bytes(&self) -> usize {
        self.as_ref().map_or(0, Measure::heap_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::usable_size;

    #[test]
    fn sizes_are_those_of_jemalloc() {
        let classes = [
            (0, 0),
            (1, 8),
            (8, 8),
            (9, 16),
            (16, 16),
            (17, 32),
            (100, 112),
            (128, 128),
            (129, 160),
            (161, 192),
            (193, 224),
            (225, 256),
            (257, 320),
            (1025, 1280),
            (4097, 5120),
            (14337, 16384),
            (16385, 20480),
            (1 << 20, 1 << 20),
            ((1 << 20) + 1, (1 << 20) + 4096),
        ];
        for (size, class) in classes {
            assert_eq!(usable_size(size, 8), class, "{size}");
        }
        assert_eq!(usable_size(5, 16), 16);
        assert_eq!(usable_size(65, 64), 128);
    }
}
