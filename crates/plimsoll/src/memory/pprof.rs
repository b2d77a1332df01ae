//! A heap profile as `pprof` reads it: profile.proto of github.com/google/pprof, gzipped.

use std::collections::HashMap;
use std::io::{self, Write};

use flate2::Compression;
use flate2::write::GzEncoder;

use super::heap::HeapProfile;
use super::symbols::Names;

/// Fields of a message, as protocol buffers write them.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    fn number(&mut self, field: u64, value: u64) {
        self.varint(field << 3);
        self.varint(value);
    }

    fn bytes(&mut self, field: u64, value: &[u8]) {
        self.varint(field << 3 | 2);
        self.varint(value.len() as u64);
        self.0.extend_from_slice(value);
    }

    fn packed(&mut self, field: u64, values: impl IntoIterator<Item = u64>) {
        let mut inner = Message::default();
        values.into_iter().for_each(|value| inner.varint(value));
        self.bytes(field, &inner.0);
    }
}

/// Strings are written once and referred to by their place; the first is empty.
#[derive(Default)]
struct Strings(HashMap<String, u64>, Vec<String>);

impl Strings {
    fn place(&mut self, text: &str) -> u64 {
        if self.1.is_empty() {
            self.1.push(String::new());
            self.0.insert(String::new(), 0);
        }
        if let Some(place) = self.0.get(text) {
            return *place;
        }
        let place = self.1.len() as u64;
        self.1.push(text.to_owned());
        self.0.insert(text.to_owned(), place);
        place
    }
}

/// Writes `profile`, taken at `time_ns` since 1970.
pub(crate) fn write(profile: &HeapProfile, names: &Names, time_ns: u64) -> io::Result<Vec<u8>> {
    let mut strings = Strings::default();
    let mut out = Message::default();
    strings.place("");
    for (kind, unit) in [("inuse_objects", "count"), ("inuse_space", "bytes")] {
        out.bytes(1, &value_type(&mut strings, kind, unit).0);
    }
    let mut locations: HashMap<u64, u64> = HashMap::new();
    for (stack, held) in &profile.stacks {
        let mut sample = Message::default();
        let ids = stack.iter().map(|address| {
            let next = locations.len() as u64 + 1;
            *locations.entry(*address).or_insert(next)
        });
        sample.packed(1, ids.collect::<Vec<_>>());
        sample.packed(2, [held.blocks, held.bytes]);
        out.bytes(2, &sample.0);
    }
    for (index, mapping) in profile.mappings.iter().enumerate() {
        let mut message = Message::default();
        message.number(1, index as u64 + 1);
        message.number(2, mapping.start);
        message.number(3, mapping.end);
        message.number(4, mapping.offset);
        message.number(5, strings.place(&mapping.path));
        message.number(7, 1); // It has functions.
        out.bytes(3, &message.0);
    }
    let mut functions: HashMap<(u64, u64), u64> = HashMap::new();
    for (address, id) in &locations {
        let mut message = Message::default();
        message.number(1, *id);
        let within = |m: &super::heap::Mapping| (m.start..m.end).contains(address);
        if let Some(index) = profile.mappings.iter().position(within) {
            message.number(2, index as u64 + 1);
        }
        message.number(3, *address);
        for frame in names.get(address).into_iter().flatten() {
            let key = (strings.place(&frame.function), strings.place(&frame.file));
            let next = functions.len() as u64 + 1;
            let mut line = Message::default();
            line.number(1, *functions.entry(key).or_insert(next));
            line.number(2, u64::from(frame.line));
            message.bytes(4, &line.0);
        }
        out.bytes(4, &message.0);
    }
    for ((name, file), id) in &functions {
        let mut message = Message::default();
        message.number(1, *id);
        message.number(2, *name);
        message.number(3, *name);
        message.number(4, *file);
        out.bytes(5, &message.0);
    }
    let period = value_type(&mut strings, "space", "bytes");
    for text in &strings.1 {
        out.bytes(6, text.as_bytes());
    }
    out.number(9, time_ns);
    out.bytes(11, &period.0);
    out.number(12, profile.period);
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    gzip.write_all(&out.0)?;
    gzip.finish()
}

fn value_type(strings: &mut Strings, kind: &str, unit: &str) -> Message {
    let mut message = Message::default();
    message.number(1, strings.place(kind));
    message.number(2, strings.place(unit));
    message
}
