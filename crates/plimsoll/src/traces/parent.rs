//! W3C Trace Context: which trace a publish is a part of, and new identifiers.
//!
//! `traceparent` is `00-TRACE-SPAN-FLAGS`, in lower-case hexadecimal digits: 2, 32, 16 and 2 of them
//! (<https://www.w3.org/TR/trace-context/>, 3.2). Over MQTT 5.0 it is a user property of that name
//! (<https://w3c.github.io/trace-context-mqtt/>).

use std::fmt::Write as _;

use aws_lc_rs::rand::{SecureRandom, SystemRandom};

/// The trace and the span in it that a publish belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Parent {
    /// 32 digits.
    pub(super) trace: String,
    /// 16 digits.
    pub(super) span: String,
}

impl Parent {
    /// Reads a `traceparent`. One that is wrong is as none (3.2.2.3).
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let (version, trace, span, flags) =
            (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let hexadecimal = |part: &str, digits: usize| {
            part.len() == digits && part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        };
        let known = hexadecimal(version, 2) && version != "ff";
        // Later versions may have more behind it (3.2.4).
        let ends = version != "00" || parts.next().is_none();
        let sound = hexadecimal(trace, 32) && hexadecimal(span, 16) && hexadecimal(flags, 2);
        let zero = |part: &str| part.bytes().all(|byte| byte == b'0');
        (known && ends && sound && !zero(trace) && !zero(span))
            .then(|| Self { trace: trace.to_owned(), span: span.to_owned() })
    }
}

/// Makes identifiers that nobody else has.
pub(super) struct Identifiers(SystemRandom);

impl Identifiers {
    pub(super) fn new() -> Self {
        Self(SystemRandom::new())
    }

    pub(super) fn trace(&self) -> Result<String, String> {
        self.digits::<16>()
    }

    pub(super) fn span(&self) -> Result<String, String> {
        self.digits::<8>()
    }

    fn digits<const BYTES: usize>(&self) -> Result<String, String> {
        let mut bytes = [0; BYTES];
        self.0.fill(&mut bytes).map_err(|_| "the system has no randomness".to_owned())?;
        let mut digits = String::with_capacity(2 * BYTES);
        for byte in bytes {
            let _ = write!(digits, "{byte:02x}");
        }
        Ok(digits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
    const SPAN: &str = "b7ad6b7169203331";

    #[test]
    fn a_parent_is_read_as_the_standard_says() {
        let parent = Parent { trace: TRACE.into(), span: SPAN.into() };
        for right in [
            format!("00-{TRACE}-{SPAN}-01"),
            format!("00-{TRACE}-{SPAN}-00"),
            format!("cc-{TRACE}-{SPAN}-01-what-comes-later"),
        ] {
            assert_eq!(Parent::parse(&right).as_ref(), Some(&parent), "{right}");
        }
        for wrong in [
            String::new(),
            format!("00-{TRACE}-{SPAN}"),
            format!("00-{TRACE}-{SPAN}-01-more"),
            format!("ff-{TRACE}-{SPAN}-01"),
            format!("00-{}-{SPAN}-01", TRACE.to_uppercase()),
            format!("00-{}-{SPAN}-01", "0".repeat(32)),
            format!("00-{TRACE}-{}-01", "0".repeat(16)),
            format!("00-{TRACE}-{SPAN}x-01"),
            "00-ü".into(),
        ] {
            assert_eq!(Parent::parse(&wrong), None, "{wrong}");
        }
    }

    #[test]
    fn identifiers_have_their_digits() {
        let new = Identifiers::new();
        assert_eq!(new.trace().unwrap().len(), 32);
        let (one, other) = (new.span().unwrap(), new.span().unwrap());
        assert_eq!(one.len(), 16);
        assert_ne!(one, other);
    }
}
