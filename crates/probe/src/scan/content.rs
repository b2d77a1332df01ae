//! What a block looks like, so that those of one kind are told together.

use super::blocks::Heap;
use crate::process::maps::{self, Mapping};
use crate::process::memory::words_of;

/// Bytes of a block that are looked at.
pub(super) const HEAD: usize = 64;
/// Fewer characters in a row are no text.
const TEXT_MIN: usize = 4;

/// Blocks of one kind have the same.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Kind {
    /// A text, with `#` for each number: the blocks may differ in size.
    Text(String),
    /// Words, by what each looks like, and the block's size.
    Words(u64, String),
}

/// The kind of a block of `size` bytes that begins with `head`, and a preview of it.
pub(super) fn kind(head: &[u8], size: u64, heap: &Heap, mappings: &[Mapping]) -> (Kind, String) {
    if let Some(text) = text(head).filter(|text| text.len() > 7 || !is_address(head, mappings)) {
        return (Kind::Text(without_numbers(text)), text.to_owned());
    }
    let words: Vec<String> =
        words_of(&head[..head.len().min(48)]).map(|word| look(word, heap, mappings)).collect();
    let words = words.join(" ");
    (Kind::Words(size, words.clone()), words)
}

/// Whether a block begins with an address: its bytes may all be letters.
fn is_address(head: &[u8], mappings: &[Mapping]) -> bool {
    words_of(head).next().is_some_and(|word| maps::of(word, mappings).is_some())
}

/// The text that a block begins with.
fn text(head: &[u8]) -> Option<&str> {
    let end = head.iter().position(|byte| *byte == 0).unwrap_or(head.len());
    let text = match std::str::from_utf8(&head[..end]) {
        Ok(text) => text,
        Err(error) => std::str::from_utf8(&head[..error.valid_up_to()]).unwrap_or_default(),
    };
    let end = text.find(char::is_control).unwrap_or(text.len());
    (text[..end].chars().count() >= TEXT_MIN).then_some(&text[..end])
}

/// With `#` for each number: decimal ones, and hexadecimal ones of at least four digits.
fn without_numbers(text: &str) -> String {
    let mut shape = String::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let hex = rest.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(rest.len());
        let decimal = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        if hex >= 4 && rest[..hex].contains(|c: char| c.is_ascii_digit()) {
            shape.push('#');
            rest = &rest[hex..];
        } else if decimal > 0 {
            shape.push('#');
            rest = &rest[decimal..];
        } else {
            // A word is taken whole, so that its letters are not taken for digits.
            let word = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
            let length = word.max(first.len_utf8());
            shape.push_str(&rest[..length]);
            rest = &rest[length..];
        }
    }
    shape
}

fn look(word: u64, heap: &Heap, mappings: &[Mapping]) -> String {
    if word == 0 {
        return "0".to_owned();
    }
    if heap.find(word).is_some() {
        return "heap".to_owned();
    }
    if let Some(mapping) = maps::of(word, mappings) {
        return match mapping.file_name() {
            "" => "memory".to_owned(),
            name if name.starts_with('[') => name.to_owned(),
            name => format!("{name}+{:#x}", word - mapping.start + mapping.offset),
        };
    }
    if word >> 32 == 0 { "number" } else { "data" }.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_told_by_their_form() {
        let kind = |text: &str| kind(text.as_bytes(), 48, &Heap::default(), &[]).0;
        assert_eq!(
            kind("plant/11/line/034/state\0xyz"),
            Kind::Text("plant/#/line/#/state".to_owned())
        );
        assert_eq!(kind("plant/9/line/1/state"), kind("plant/10/line/22/state"));
        assert_eq!(kind("dev-00a1b2"), kind("dev-ffff09"));
        assert_eq!(kind("größe/7"), Kind::Text("größe/#".to_owned()));
        assert_eq!(kind("facade"), Kind::Text("facade".to_owned()));
        assert_eq!(kind("line\n12"), Kind::Text("line".to_owned()));
        assert!(matches!(kind("abc\0defghijklmn"), Kind::Words(48, _)));
        assert!(matches!(kind(""), Kind::Words(..)));
    }

    #[test]
    fn words_are_told_by_what_they_are() {
        let mapping = Mapping {
            start: 0x7000_0000_0000,
            end: 0x7000_0000_1000,
            offset: 0x2000,
            path: "/usr/lib/libx.so".to_owned(),
            ..Mapping::default()
        };
        let mut head = Vec::new();
        for word in [0x7000_0000_0010_u64, 0, 7, u64::MAX] {
            head.extend(word.to_ne_bytes());
        }
        let (words, preview) = kind(&head, 48, &Heap::default(), &[mapping]);
        assert_eq!(preview, "libx.so+0x2010 0 number data");
        assert_eq!(words, Kind::Words(48, preview));
        let heap = Mapping {
            start: 0x5544_4342_0000,
            end: 0x5544_4343_0000,
            path: "[heap]".to_owned(),
            ..Mapping::default()
        };
        let address = 0x5544_4342_4140_u64.to_ne_bytes();
        assert!(matches!(kind(&address, 24, &Heap::default(), &[]).0, Kind::Text(_)));
        assert_eq!(
            kind(&address, 24, &Heap::default(), &[heap]).1,
            "[heap]",
            "an address of letters"
        );
    }
}
