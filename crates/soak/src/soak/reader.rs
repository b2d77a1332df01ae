//! Clients that read the last known state, a production line at a time: each subscribes, gets the line's retained
//! messages, checks them against what was acknowledged, and unsubscribes.

use plimsoll_mqtt::{Packet, QoS, ReasonCode, Unsubscribe, Version, encode};

use super::topics::{TOPICS_PER_LINE, Topics};
use crate::load::{parse_reading, subscribe};

/// Further filters of each SUBSCRIBE, which match nothing and are new each time.
const OTHER_FILTERS: usize = 9;

/// How long the state of a line may take, µs.
const PATIENCE_US: u64 = 5_000_000;

/// Packet identifiers.
const SUBSCRIBE: u16 = 1;
const UNSUBSCRIBE: u16 = 2;

/// One client that reads.
#[derive(Debug, Default)]
struct Reader {
    /// What it is about: the line, its filters, and which of its topics have not come.
    line: u32,
    filters: Vec<String>,
    missing: u128,
    subscribed: bool,
    busy: bool,
    leaving: bool,
    since_us: u64,
}

/// All of them.
#[derive(Debug)]
pub(crate) struct Readers {
    /// Whether they begin with another line when they are done with one.
    pub(crate) active: bool,
    /// Retained messages that were older than what had been acknowledged.
    pub(crate) stale: u64,
    /// Retained messages that did not come.
    pub(crate) unknown: u64,
    /// Retained messages that were read.
    pub(crate) read: u64,
    readers: Vec<Reader>,
    topics: Topics,
    next_line: u32,
    round: u64,
}

impl Readers {
    pub(crate) fn new(count: usize, topics: Topics) -> Self {
        Self {
            active: false,
            stale: 0,
            unknown: 0,
            read: 0,
            readers: (0..count).map(|_| Reader::default()).collect(),
            topics,
            next_line: 0,
            round: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.readers.len()
    }

    /// Whether one of them is with a line.
    pub(crate) fn is_busy(&self) -> bool {
        self.readers.iter().any(|reader| reader.busy)
    }

    /// Its connection is gone.
    pub(crate) fn gone(&mut self, reader: usize) {
        if let Some(reader) = self.readers.get_mut(reader) {
            *reader = Reader::default();
        }
    }

    /// Appends the SUBSCRIBE for another line, if the reader has nothing to do.
    pub(crate) fn begin(
        &mut self,
        reader: usize,
        acknowledged: &[u32],
        now_us: u64,
        out: &mut Vec<u8>,
    ) {
        let Some(reader) = self.readers.get_mut(reader).filter(|reader| !reader.busy) else {
            return;
        };
        if !self.active {
            return;
        }
        let line = self.next_line;
        self.next_line = (line + 1) % self.topics.lines();
        self.round += 1;
        let mut missing = 0;
        for topic in self.topics.of_line(line) {
            if acknowledged.get(topic as usize).is_some_and(|count| *count > 0) {
                missing |= 1 << (topic % TOPICS_PER_LINE);
            }
        }
        let mut filters = vec![self.topics.line_filter(line)];
        for number in 0..OTHER_FILTERS {
            filters.push(format!("alarm/{line:04}/{number}/{}/+", self.round));
        }
        *reader =
            Reader { line, filters, missing, busy: true, since_us: now_us, ..Reader::default() };
        let filters: Vec<&str> = reader.filters.iter().map(String::as_str).collect();
        subscribe(out, SUBSCRIBE, QoS::AtLeastOnce, &filters);
    }

    /// A packet has come. Answers how many subscriptions were completed with it.
    pub(crate) fn packet(
        &mut self,
        number: usize,
        packet: &Packet<'_>,
        acknowledged: &[u32],
        now_us: u64,
        out: &mut Vec<u8>,
    ) -> u64 {
        let Some(reader) = self.readers.get_mut(number).filter(|reader| reader.busy) else {
            return 0;
        };
        match packet {
            Packet::Publish(message) => {
                let Some((topic, sequence, _)) = parse_reading(message.payload) else { return 0 };
                let bit = 1 << (topic % TOPICS_PER_LINE);
                if topic / TOPICS_PER_LINE == reader.line && reader.missing & bit != 0 {
                    reader.missing &= !bit;
                    self.read += 1;
                    let known = acknowledged.get(topic as usize).copied().unwrap_or(0);
                    self.stale += u64::from(sequence.saturating_add(1) < known);
                }
            }
            Packet::Suback(suback) => {
                let refused = suback
                    .reasons
                    .iter()
                    .any(|reason| reason.byte() >= ReasonCode::UNSPECIFIED_ERROR.byte());
                reader.subscribed = !refused;
            }
            Packet::Unsuback(_) => {
                let done = reader.filters.len() as u64;
                *reader = Reader::default();
                self.begin(number, acknowledged, now_us, out);
                return done;
            }
            _ => {}
        }
        if reader.subscribed && reader.missing == 0 {
            reader.leave(out);
        }
        0
    }

    /// Appends an UNSUBSCRIBE if the reader has waited too long; what has not come by then is counted.
    pub(crate) fn give_up(&mut self, reader: usize, now_us: u64, out: &mut Vec<u8>) {
        let Some(reader) = self.readers.get_mut(reader) else { return };
        if reader.busy && !reader.leaving && now_us.saturating_sub(reader.since_us) > PATIENCE_US {
            self.unknown += u64::from(reader.missing.count_ones());
            reader.leave(out);
        }
    }
}

impl Reader {
    fn leave(&mut self, out: &mut Vec<u8>) {
        if !self.leaving {
            self.leaving = true;
            let filters: Vec<&str> = self.filters.iter().map(String::as_str).collect();
            let packet = Packet::Unsubscribe(Unsubscribe::new(UNSUBSCRIBE, &filters));
            encode::packet(&packet, Version::V311, out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::Reading;
    use plimsoll_mqtt::{Ack, Publish, Suback};

    fn answer(readers: &mut Readers, sequence: u32, acknowledged: &[u32]) {
        let mut payload = Vec::new();
        Reading { sensor: 3, sequence, due_us: 0, hundredths: 0, unit: "g" }.write(&mut payload);
        let message = Publish {
            dup: false,
            qos: QoS::AtLeastOnce,
            retain: true,
            topic: "t",
            packet_identifier: 1,
            properties: Default::default(),
            payload: &payload,
        };
        readers.packet(0, &Packet::Publish(message), acknowledged, 0, &mut Vec::new());
    }

    #[test]
    fn state_is_checked_against_what_was_acknowledged() {
        let mut readers = Readers::new(1, Topics::new(100, 2));
        let mut acknowledged = vec![0; 100];
        acknowledged[3] = 5;
        acknowledged[4] = 1;
        let mut out = Vec::new();
        readers.begin(0, &acknowledged, 0, &mut out);
        assert!(out.is_empty() && !readers.is_busy());
        readers.active = true;
        readers.begin(0, &acknowledged, 0, &mut out);
        assert!(!out.is_empty() && readers.is_busy());
        answer(&mut readers, 3, &acknowledged);
        assert_eq!((readers.read, readers.stale), (1, 1));
        let suback = Suback::new(SUBSCRIBE, &[ReasonCode::SUCCESS]);
        readers.packet(0, &Packet::Suback(suback), &acknowledged, 0, &mut out);
        // Topic 4 has not come.
        out.clear();
        readers.give_up(0, PATIENCE_US, &mut out);
        assert!(out.is_empty());
        readers.give_up(0, PATIENCE_US + 1, &mut out);
        assert!(readers.unknown == 1 && !out.is_empty());
        readers.active = false;
        let _ = Ack::new(1);
    }
}
