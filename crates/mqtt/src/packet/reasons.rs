//! The reason codes of SUBACK and UNSUBACK.

use core::fmt;

use crate::reason::ReasonCode;

/// One reason code for each filter, in order; a list of this side's own, or bytes received.
#[derive(Clone, Copy)]
pub struct Reasons<'a>(Source<'a>);

#[derive(Clone, Copy)]
enum Source<'a> {
    List(&'a [ReasonCode]),
    Bytes(&'a [u8]),
}

impl<'a> Reasons<'a> {
    pub(crate) const fn of_bytes(bytes: &'a [u8]) -> Self {
        Self(Source::Bytes(bytes))
    }

    /// Every code, in order.
    pub fn iter(&self) -> impl Iterator<Item = ReasonCode> + use<'a> {
        let (list, bytes): (&[ReasonCode], &[u8]) = match self.0 {
            Source::List(list) => (list, &[]),
            Source::Bytes(bytes) => (&[], bytes),
        };
        list.iter().copied().chain(bytes.iter().map(|&byte| ReasonCode::from_byte(byte)))
    }
}

impl<'a> From<&'a [ReasonCode]> for Reasons<'a> {
    fn from(list: &'a [ReasonCode]) -> Self {
        Self(Source::List(list))
    }
}

impl PartialEq for Reasons<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Reasons<'_> {}

impl fmt::Debug for Reasons<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}
