//! Fields at the front of a slice.

/// What is left to read. Every read is checked; `None` where the bytes end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Fields<'a> {
    /// So many bytes.
    pub(super) fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    /// A byte.
    pub(super) fn u8(&mut self) -> Option<u8> {
        self.array().map(|[byte]| byte)
    }

    /// A number in network order.
    pub(super) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    /// A number in network order.
    pub(super) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    /// Eight bytes that only have to be the same where they mean the same: a message's number, in
    /// the order of the host that wrote the file, whichever that was.
    pub(super) fn number(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// A time in the order of the host that wrote the file; 0 is none.
    pub(super) fn time(&mut self) -> Option<u64> {
        self.array().map(|bytes| seconds(u64::from_le_bytes(bytes)))
    }

    /// A time of 32 bits, as hosts with a short `time_t` wrote it; 0 is none.
    pub(super) fn short_time(&mut self) -> Option<u64> {
        let bytes: [u8; 4] = self.array()?;
        // Either order, as long as that is a time between 2001 and 2038, when such times end. Most
        // such hosts are little-endian.
        let (little, big) = (u32::from_le_bytes(bytes), u32::from_be_bytes(bytes));
        let plausible = |seconds: &u32| (1_000_000_000..1 << 31).contains(seconds);
        Some([little, big].into_iter().find(plausible).unwrap_or(0).into())
    }

    /// Bytes behind their length, a `u16`.
    pub(super) fn text(&mut self) -> Option<&'a [u8]> {
        let len = self.u16()?;
        self.bytes(len.into())
    }
}

/// Seconds since the Unix epoch. Any time before 2106 has four leading zero bytes, which
/// are trailing ones to a host of the other order: so the smaller reading is the right one.
fn seconds(raw: u64) -> u64 {
    raw.min(raw.swap_bytes())
}

/// A time that is not none.
pub(super) fn known(seconds: u64) -> Option<u64> {
    (seconds != 0).then_some(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_in_either_order() {
        for time in [1u64, 1_795_657_964, u64::from(u32::MAX), 6_000_000_001] {
            assert_eq!(Fields(&time.to_le_bytes()).time(), Some(time));
            assert_eq!(Fields(&time.to_be_bytes()).time(), Some(time));
        }
        assert_eq!(Fields(&[0; 8]).time(), Some(0));
        assert_eq!(Fields(&[0; 7]).time(), None);
        for bytes in [1_795_657_964u32.to_le_bytes(), 1_795_657_964u32.to_be_bytes()] {
            assert_eq!(Fields(&bytes).short_time(), Some(1_795_657_964));
        }
        assert_eq!(Fields(&[0; 4]).short_time(), Some(0));
    }
}
