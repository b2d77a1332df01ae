//! JSON (RFC 8259), one object a line, written as it goes.

use core::fmt::Write;

/// An object in the making: its text, up to the last member.
#[derive(Debug)]
pub(super) struct Object<'o> {
    out: &'o mut String,
    empty: bool,
}

impl<'o> Object<'o> {
    /// Begins an object at the end of `out`.
    pub(super) fn begin(out: &'o mut String) -> Self {
        out.push('{');
        Self { out, empty: true }
    }

    /// Ends it.
    pub(super) fn end(self) {
        self.out.push('}');
    }

    /// The place of a member's value.
    fn member(&mut self, name: &str) -> &mut String {
        if !core::mem::take(&mut self.empty) {
            self.out.push(',');
        }
        string(self.out, name);
        self.out.push(':');
        self.out
    }

    /// A string.
    pub(super) fn text(&mut self, name: &str, value: &str) {
        string(self.member(name), value);
    }

    /// A number. Those beyond 2⁵³ lose digits in readers that have only floating point.
    pub(super) fn number(&mut self, name: &str, value: u64) {
        let out = self.member(name);
        out.push_str(&value.to_string());
    }

    /// `true` or `false`.
    pub(super) fn truth(&mut self, name: &str, value: bool) {
        self.member(name).push_str(if value { "true" } else { "false" });
    }

    /// `null`.
    pub(super) fn null(&mut self, name: &str) {
        self.member(name).push_str("null");
    }

    /// Bytes, in base64.
    pub(super) fn base64(&mut self, name: &str, value: &[u8]) {
        let out = self.member(name);
        out.push('"');
        base64(out, value);
        out.push('"');
    }

    /// An object.
    pub(super) fn object(&mut self, name: &str, write: impl FnOnce(&mut Object<'_>)) {
        let mut object = Object::begin(self.member(name));
        write(&mut object);
        object.end();
    }

    /// An array.
    pub(super) fn array<T>(
        &mut self,
        name: &str,
        values: impl Iterator<Item = T>,
        write: impl Fn(&mut String, T),
    ) {
        let out = self.member(name);
        out.push('[');
        for (index, value) in values.enumerate() {
            if index > 0 {
                out.push(',');
            }
            write(out, value);
        }
        out.push(']');
    }
}

/// Appends a string.
pub(super) fn string(out: &mut String, value: &str) {
    out.push('"');
    for character in value.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            // Control characters must be escaped; U+2028 and U+2029 end lines in some readers.
            '\0'..='\x1F' | '\x7F'..='\u{9F}' | '\u{2028}' | '\u{2029}' => {
                let _ = write!(out, "\\u{:04x}", u32::from(character));
            }
            other => out.push(other),
        }
    }
    out.push('"');
}

/// Appends bytes in base64 (RFC 4648, 4), with padding.
fn base64(out: &mut String, bytes: &[u8]) {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for chunk in bytes.chunks(3) {
        let byte = |index: usize| u32::from(chunk.get(index).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for digit in 0..4 {
            let value = bits >> (18 - 6 * digit) & 0x3F;
            match DIGITS.get(value as usize) {
                Some(&character) if digit <= chunk.len() => out.push(character.into()),
                _ => out.push('='),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_written_in_order() {
        let mut out = String::new();
        let mut object = Object::begin(&mut out);
        object.text("a\"", "\\ \n\r\t \0 \u{7F}\u{2028} ä 🌡");
        object.number("b", u64::MAX);
        object.truth("c", true);
        object.null("d");
        object.object("e", |inner| inner.truth("f", false));
        object.object("g", |_| {});
        object.array("h", ["x", "y"].into_iter(), string);
        object.end();
        assert_eq!(
            out,
            r#"{"a\"":"\\ \n\r\t \u0000 \u007f\u2028 ä 🌡","b":18446744073709551615,"c":true,"d":null,"e":{"f":false},"g":{},"h":["x","y"]}"#
        );
    }

    #[test]
    fn base64_is_that_of_the_rfc() {
        for (bytes, expected) in [
            (&b""[..], ""),
            (b"f", "Zg=="),
            (b"fo", "Zm8="),
            (b"foo", "Zm9v"),
            (b"foob", "Zm9vYg=="),
            (b"\x00\xFF\xFE\xFB", "AP/++w=="),
        ] {
            let mut out = String::new();
            base64(&mut out, bytes);
            assert_eq!(out, expected);
        }
    }
}
