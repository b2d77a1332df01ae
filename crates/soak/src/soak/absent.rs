//! Sessions that are away while messages for them arrive, and get them when they are back.

use plimsoll_mqtt::{Publish, QoS};

use crate::load::{Gaps, Reading, parse_reading, publish, subscribe};

/// All of them.
#[derive(Debug)]
pub(crate) struct Absent {
    /// The link of each; `None` while it is away.
    pub(crate) links: Vec<Option<usize>>,
    /// Messages for each that were sent.
    pub(crate) sent: Vec<u32>,
    /// Messages for all of them that were acknowledged.
    pub(crate) delivered: u64,
    pub(crate) gaps: Gaps,
    /// Sessions that the broker has forgotten.
    pub(crate) forgotten: u64,
    /// Messages that are not waited for any more.
    pub(crate) given_up: u64,
    known: Vec<bool>,
}

impl Absent {
    pub(crate) fn new(count: usize) -> Self {
        let mut gaps = Gaps::new(count);
        for session in 0..count {
            gaps.expect(session as u32, 0);
        }
        Self {
            links: vec![None; count],
            sent: vec![0; count],
            delivered: 0,
            gaps,
            forgotten: 0,
            given_up: 0,
            known: vec![false; count],
        }
    }

    /// Messages that were sent to all of them.
    pub(crate) fn total(&self) -> u64 {
        self.sent.iter().map(|sent| u64::from(*sent)).sum()
    }

    /// Messages that have not arrived.
    pub(crate) fn lost(&self) -> u64 {
        let tails: u64 =
            (0..).zip(&self.sent).map(|(session, sent)| self.gaps.tail(session, *sent)).sum();
        self.gaps.missing() + tails
    }

    /// The broker has greeted it: subscribes unless its session was kept.
    pub(crate) fn greeted(&mut self, session: usize, present: bool, out: &mut Vec<u8>) {
        let Some(known) = self.known.get_mut(session) else { return };
        self.forgotten += u64::from(*known && !present);
        *known = true;
        if !present {
            subscribe(out, 1, QoS::AtLeastOnce, &[&format!("absent/{session}")]);
        }
    }

    /// A message has come. Answers 1 if it is one that was queued and is new.
    pub(crate) fn message(&mut self, session: usize, message: &Publish<'_>) -> u64 {
        let before = self.gaps.received;
        if let Some((of, sequence, _)) = parse_reading(message.payload)
            && of as usize == session
        {
            self.gaps.arrived(of, sequence, message.dup);
        }
        self.gaps.received - before
    }

    /// Appends the next message for a session.
    pub(crate) fn publish(
        &mut self,
        session: usize,
        identifier: u16,
        payload: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) {
        let Some(sent) = self.sent.get_mut(session) else { return };
        let reading = Reading {
            sensor: session as u32,
            sequence: *sent,
            due_us: 0,
            hundredths: 100,
            unit: "g",
        };
        *sent += 1;
        reading.write(payload);
        let topic = format!("absent/{session}");
        publish(out, topic.as_bytes(), identifier, false, payload);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use plimsoll_mqtt::{DecodeLimits, Decoded, Packet, Version, decode};

    #[test]
    fn what_was_queued_arrives_or_is_lost() {
        let mut absent = Absent::new(1);
        let (mut payload, mut out) = (Vec::new(), Vec::new());
        absent.greeted(0, false, &mut out);
        assert!(!out.is_empty() && absent.forgotten == 0);
        for expected in [1, 0] {
            out.clear();
            absent.publish(0, 1, &mut payload, &mut out);
            let decoded = decode(&out, Version::V311, &DecodeLimits::of_servers());
            let Ok(Decoded::Packet { packet: Packet::Publish(message), .. }) = decoded else {
                panic!("no PUBLISH")
            };
            if expected == 1 {
                assert_eq!((absent.message(0, &message), absent.message(0, &message)), (1, 0));
            }
        }
        assert_eq!((absent.total(), absent.lost(), absent.gaps.duplicated), (2, 1, 1));
        absent.greeted(0, true, &mut out);
        absent.greeted(0, false, &mut out);
        assert_eq!(absent.forgotten, 1);
    }
}
