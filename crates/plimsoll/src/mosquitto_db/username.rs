//! User names, which Mosquitto 2.0 does not write as they are.
//!
//! Seen with Debian's 2.0.11: for a session without a user name, the name of the session before it
//! is written once more, and its length, in network order already, is turned round again. After
//! `operator` (8 bytes) come 2,048 bytes that begin with `operator`, U+0000, and what lay behind it
//! in the broker's memory; the next session without a name gets 8 bytes again. Mosquitto itself
//! believes all that when it starts.

/// Tells real names from those that were left over.
#[derive(Debug, Default)]
pub(super) struct Usernames<'a> {
    /// The name that begins the overlong one of the session before.
    overlong: Option<&'a [u8]>,
    /// Names that were not to be believed.
    pub(super) unknown: u64,
}

impl<'a> Usernames<'a> {
    /// The user name of the next session in the file's order.
    pub(super) fn next(&mut self, written: &'a [u8]) -> Option<&'a str> {
        let left_over = self.overlong.take();
        let end = written.iter().position(|&byte| byte == 0);
        if let Some(name) = end.and_then(|end| written.get(..end)) {
            self.overlong = Some(name);
            self.unknown += 1;
            return None;
        }
        let name = core::str::from_utf8(written).ok().filter(|name| !name.is_empty());
        if name.is_none() || left_over == Some(written) {
            self.unknown += u64::from(!written.is_empty());
            return None;
        }
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_were_left_over_are_not_believed() {
        let mut usernames = Usernames::default();
        assert_eq!(usernames.next(b""), None);
        assert_eq!(usernames.next(b"operator"), Some("operator"));
        assert_eq!(usernames.next(b"operator"), Some("operator"));
        assert_eq!(usernames.next(b"operator\0\x1c\xdf\x23"), None);
        assert_eq!(usernames.next(b"operator"), None);
        assert_eq!(usernames.next(b"operator"), Some("operator"));
        assert_eq!(usernames.next(b"operator\0\x1c"), None);
        assert_eq!(usernames.next(b"other"), Some("other"));
        assert_eq!(usernames.next(b"\xFF"), None);
        assert_eq!(usernames.unknown, 4);
    }
}
