//! Figures in JSON, by JSON pointer (RFC 6901).
//!
//! The document is not built in memory, of which it would take thirty times its length: it is read through once, and
//! only what pointers lead to is looked at.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

/// A pointer, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pointer {
    text: String,
    tokens: Vec<String>,
}

impl Pointer {
    /// Checks a pointer.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let Some(path) = text.strip_prefix('/') else {
            return Err(format!(
                "`{text}` is not a JSON pointer, such as /memory/direct (RFC 6901)"
            ));
        };
        let tokens = path.split('/').map(|token| token.replace("~1", "/").replace("~0", "~"));
        Ok(Self { text: text.to_owned(), tokens: tokens.collect() })
    }
}

/// Reads the figures that `pointers` lead to.
pub(super) fn read(
    body: &[u8],
    pointers: &[Pointer],
    values: &mut [Option<f64>],
) -> Result<(), String> {
    let wrong = |error| format!("answers with what is not JSON: {error}");
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let wanted = (0..pointers.len().min(values.len())).collect();
    let node = Node { pointers, values, wanted, depth: 0 };
    node.deserialize(&mut deserializer).map_err(wrong)?;
    deserializer.end().map_err(wrong)?;
    found(values, pointers.iter().map(|pointer| pointer.text.as_str()))
}

/// A value of the document, to which some pointers lead, or further down.
struct Node<'a> {
    pointers: &'a [Pointer],
    values: &'a mut [Option<f64>],
    /// The numbers of those pointers.
    wanted: Vec<usize>,
    /// Tokens that were followed until here.
    depth: usize,
}

impl Node<'_> {
    /// Those pointers that go on with a member of this name.
    fn below(&self, name: &str) -> Vec<usize> {
        let leads = |at: &&usize| {
            let pointer = self.pointers.get(**at);
            pointer.and_then(|pointer| pointer.tokens.get(self.depth)).is_some_and(|t| t == name)
        };
        self.wanted.iter().filter(leads).copied().collect()
    }

    fn member(&mut self, wanted: Vec<usize>) -> Node<'_> {
        Node { pointers: self.pointers, values: self.values, wanted, depth: self.depth + 1 }
    }

    /// What stands here is this, for pointers that end here.
    fn is(&mut self, number: Option<f64>) {
        for at in &self.wanted {
            let ends = self.pointers.get(*at).is_some_and(|p| p.tokens.len() == self.depth);
            if let Some(value) = self.values.get_mut(*at).filter(|_| ends) {
                *value = number.filter(|number| is_figure(*number));
            }
        }
    }
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        // As deep as the longest pointer: what no pointer leads to is skipped without recursion.
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        while let Some(name) = map.next_key::<Cow<'de, str>>()? {
            match self.below(&name) {
                wanted if wanted.is_empty() => map.next_value::<IgnoredAny>().map(drop)?,
                wanted => map.next_value_seed(self.member(wanted))?,
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut seq: A) -> Result<(), A::Error> {
        for number in 0u64.. {
            let there = match self.below(&number.to_string()) {
                wanted if wanted.is_empty() => seq.next_element::<IgnoredAny>()?.map(drop),
                wanted => seq.next_element_seed(self.member(wanted))?,
            };
            if there.is_none() {
                break;
            }
        }
        Ok(())
    }

    fn visit_u64<E>(mut self, number: u64) -> Result<(), E> {
        self.is(Some(number as f64));
        Ok(())
    }

    fn visit_i64<E>(mut self, number: i64) -> Result<(), E> {
        self.is(Some(number as f64));
        Ok(())
    }

    fn visit_f64<E>(mut self, number: f64) -> Result<(), E> {
        self.is(Some(number));
        Ok(())
    }

    fn visit_str<E>(mut self, text: &str) -> Result<(), E> {
        self.is(text.trim().parse().ok());
        Ok(())
    }

    fn visit_bool<E>(mut self, _: bool) -> Result<(), E> {
        self.is(None);
        Ok(())
    }

    fn visit_unit<E>(mut self) -> Result<(), E> {
        self.is(None);
        Ok(())
    }
}

/// `-1` is how the JVM and Netty say that there is none.
fn is_figure(number: f64) -> bool {
    number.is_finite() && number >= 0.0
}

/// A number, or text that is one.
pub(super) fn number(value: &Value) -> Option<f64> {
    let number = match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    number.filter(|number| is_figure(*number))
}

/// An error if nothing at all was found: then it is the wrong document.
pub(super) fn found<'a>(
    values: &[Option<f64>],
    mut places: impl Iterator<Item = &'a str>,
) -> Result<(), String> {
    match places.next() {
        Some(first) if values.iter().all(Option::is_none) => {
            Err(format!("answers, but has no number at {first} or any other place that is mapped"))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pointers_lead_to_numbers() {
        let body = br#"{"netty": {"used": 1996488991, "limit": "2048"}, "list": [1, {"a/b": 2.5}], "none": -1, "null": null}"#;
        let pointers = [
            "/netty/used",
            "/netty/limit",
            "/list/1/a~1b",
            "/none",
            "/null",
            "/x",
            "/list/0",
            "/list",
        ];
        let pointers = pointers.map(|text| Pointer::parse(text).unwrap());
        let mut values = vec![None; pointers.len()];
        read(body, &pointers, &mut values).unwrap();
        assert_eq!(
            values,
            [Some(1_996_488_991.0), Some(2048.0), Some(2.5), None, None, None, Some(1.0), None]
        );
        assert!(Pointer::parse("netty.used").is_err());
    }

    #[test]
    fn a_wrong_document_is_told_from_a_missing_figure() {
        let pointers = ["/a", "/b"].map(|text| Pointer::parse(text).unwrap());
        let error = read(b"{}", &pointers, &mut [None, None]).unwrap_err();
        assert!(error.contains("has no number at /a"), "{error}");
        for wrong in ["<html>", "{\"a\": 1} 2", "{\"a\": 1", ""] {
            let error = read(wrong.as_bytes(), &pointers, &mut [None, None]).unwrap_err();
            assert!(error.contains("not JSON"), "{wrong}: {error}");
        }
    }

    #[test]
    fn what_no_pointer_leads_to_is_passed_over_however_deep_it_is() {
        let pointers = [Pointer::parse("/a").unwrap()];
        let deep = format!("{{\"x\": {}{}, \"a\": 7}}", "[".repeat(100_000), "]".repeat(100_000));
        let mut values = [None];
        read(deep.as_bytes(), &pointers, &mut values).unwrap();
        assert_eq!(values, [Some(7.0)]);
    }
}
