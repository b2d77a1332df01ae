//! Topics as keys.

use alloc::string::String;
use alloc::vec::Vec;

/// A topic in the store's order: `/` is stored as 0, which no topic contains (MQTT-1.5.4-2), so
/// that a topic, all that is below it, and then its next sibling follow each other.
#[derive(Debug)]
pub(super) struct Key(Vec<u8>);

impl Key {
    pub(super) fn of(topic: &str) -> Self {
        Self(topic.bytes().map(to_key).collect())
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

fn to_key(byte: u8) -> u8 {
    if byte == b'/' { 0 } else { byte }
}

/// Writes the topic of a key.
pub(super) fn write_topic(key: &[u8], bytes: &mut Vec<u8>, topic: &mut String) {
    bytes.clear();
    bytes.extend(key.iter().map(|&byte| if byte == 0 { b'/' } else { byte }));
    topic.clear();
    topic.push_str(core::str::from_utf8(bytes).unwrap_or_default());
}

/// Length of the prefix that two keys share.
pub(super) fn shared_len(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}
