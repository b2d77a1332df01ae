//! A client that publishes retained updates of its own topics, a window of them at once.

use std::collections::VecDeque;

use super::topics::{TOPICS_PER_LINE, Topics};
use crate::load::{Reading, publish};

/// An update that is not acknowledged yet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unacknowledged {
    identifier: u16,
    pub(crate) topic: u32,
    /// Which update of the topic, from 0.
    pub(crate) sequence: u32,
    pub(crate) due_us: u64,
}

/// What it sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Body {
    /// A reading.
    Reading,
    /// Nothing, which deletes the retained message.
    Empty,
}

/// A publisher's state; its link is its owner's matter.
#[derive(Debug)]
pub(crate) struct Publisher {
    lines: Vec<u32>,
    /// What its readings are made of, beside topic and number.
    seed: u32,
    cursor: usize,
    next_identifier: u16,
    unacknowledged: VecDeque<Unacknowledged>,
}

/// Working space for encoding.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    topic: Vec<u8>,
    payload: Vec<u8>,
}

impl Publisher {
    /// A publisher of the topics of `lines`, in their order.
    pub(crate) fn new(lines: Vec<u32>, seed: u32) -> Self {
        Self { lines, seed, cursor: 0, next_identifier: 1, unacknowledged: VecDeque::new() }
    }

    /// Updates under way.
    pub(crate) fn under_way(&self) -> usize {
        self.unacknowledged.len()
    }

    /// How many topics it has.
    pub(crate) fn topics(&self) -> usize {
        self.lines.len() * TOPICS_PER_LINE as usize
    }

    /// Begins with its first topic again.
    pub(crate) fn rewind(&mut self) {
        self.cursor = 0;
    }

    /// Whether each topic had its turn since the last [`Publisher::rewind`].
    pub(crate) fn is_through(&self) -> bool {
        self.cursor >= self.topics()
    }

    /// The next topic in turn; `None` if its last line is not full, or if it has none.
    fn next_topic(&mut self, topics: Topics) -> Option<u32> {
        let all = self.topics().max(1);
        let at = self.cursor % all;
        self.cursor += 1;
        let line = self.lines.get(at / TOPICS_PER_LINE as usize)?;
        let topic = line * TOPICS_PER_LINE + (at % TOPICS_PER_LINE as usize) as u32;
        (topic < topics.count()).then_some(topic)
    }

    /// Appends the next update. `sent` has the number of updates of each topic. Answers whether there was one.
    pub(crate) fn publish(
        &mut self,
        topics: Topics,
        sent: &mut [u32],
        due_us: u64,
        body: Body,
        scratch: &mut Scratch,
        out: &mut Vec<u8>,
    ) -> bool {
        let Some(topic) = self.next_topic(topics) else { return false };
        let Some(count) = sent.get_mut(topic as usize) else { return false };
        let sequence = *count;
        *count += 1;
        let identifier = self.next_identifier;
        self.next_identifier = identifier.checked_add(1).unwrap_or(1);
        let update = Unacknowledged { identifier, topic, sequence, due_us };
        self.unacknowledged.push_back(update);
        encode(topics, self.seed, &update, body, scratch, out);
        true
    }

    /// Appends again what is not acknowledged: on a new connection, after the one before was lost.
    pub(crate) fn repeat(
        &self,
        topics: Topics,
        body: Body,
        scratch: &mut Scratch,
        out: &mut Vec<u8>,
    ) {
        for update in &self.unacknowledged {
            encode(topics, self.seed, update, body, scratch, out);
        }
    }

    /// An acknowledgement came. Brokers send them in order nearly always.
    pub(crate) fn acknowledge(&mut self, identifier: u16) -> Option<Unacknowledged> {
        if self.unacknowledged.front()?.identifier == identifier {
            return self.unacknowledged.pop_front();
        }
        let at = self.unacknowledged.iter().position(|update| update.identifier == identifier)?;
        self.unacknowledged.remove(at)
    }

    /// Topics with updates under way.
    pub(crate) fn waiting(&self) -> impl Iterator<Item = &Unacknowledged> {
        self.unacknowledged.iter()
    }
}

/// Appends one update: a retained PUBLISH at QoS 1.
fn encode(
    topics: Topics,
    seed: u32,
    update: &Unacknowledged,
    body: Body,
    scratch: &mut Scratch,
    out: &mut Vec<u8>,
) {
    let Scratch { topic, payload } = scratch;
    topics.write(update.topic, topic);
    payload.clear();
    if body == Body::Reading {
        reading(update, seed).write(payload);
    }
    publish(out, topic, update.identifier, true, payload);
}

/// The reading of an update: the same each time that it is sent.
fn reading(update: &Unacknowledged, seed: u32) -> Reading {
    let mixed = (update.topic.wrapping_mul(0x9E37_79B1) ^ update.sequence ^ seed)
        .wrapping_mul(0x85EB_CA6B)
        >> 8;
    let (low, span, unit) = match update.topic % 3 {
        0 => (-2000, 10_500, "°C"),
        1 => (0, 10_000, "%RH"),
        _ if mixed.is_multiple_of(10) => (0, 5000, "g"),
        _ => (0, 50, "g"),
    };
    let hundredths = low + i32::try_from(mixed % span).unwrap_or(0);
    Reading {
        sensor: update.topic,
        sequence: update.sequence,
        due_us: update.due_us,
        hundredths,
        unit,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::parse_reading;
    use plimsoll_mqtt::{DecodeLimits, Decoded, Packet, Version, decode};

    #[test]
    fn updates_go_round_and_are_repeated_the_same() {
        let topics = Topics::new(150, 14);
        let mut publisher = Publisher::new(vec![1], 5);
        let (mut sent, mut scratch, mut out) = (vec![0; 150], Scratch::default(), Vec::new());
        let mut done = 0;
        while !publisher.is_through() {
            done += usize::from(publisher.publish(
                topics,
                &mut sent,
                7,
                Body::Reading,
                &mut scratch,
                &mut out,
            ));
        }
        assert_eq!((done, sent.iter().sum::<u32>(), sent[99], sent[149]), (50, 50, 0, 1));
        let Ok(Decoded::Packet { packet: Packet::Publish(first), .. }) =
            decode(&out, Version::V311, &DecodeLimits::of_servers())
        else {
            panic!("no PUBLISH")
        };
        assert!(first.retain && first.topic == "plant/01/line/0001/sensor/000100/reading");
        assert_eq!(parse_reading(first.payload), Some((100, 0, 7)));
        let mut again = Vec::new();
        publisher.repeat(topics, Body::Reading, &mut scratch, &mut again);
        assert_eq!(out, again);
        assert_eq!(publisher.acknowledge(2).map(|update| update.topic), Some(101));
        assert_eq!(publisher.acknowledge(1).map(|update| update.topic), Some(100));
        assert!(publisher.acknowledge(1).is_none() && publisher.under_way() == 48);
    }
}
