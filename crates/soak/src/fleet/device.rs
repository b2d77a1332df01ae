//! One device: its sensor, its connection, and what is not acknowledged yet.

use std::collections::VecDeque;

use plimsoll_mqtt::QoS;

use super::sensor::Sensor;
use super::wave::Progress;
use crate::load::{Reading, publish, subscribe};

/// Packet identifier of a device's SUBSCRIBE; readings use those from 16 on.
const SUBSCRIBE_IDENTIFIER: u16 = 1;

/// First packet identifier of readings.
const FIRST_IDENTIFIER: u16 = 16;

/// Where a device is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Presence {
    Away,
    Connecting(usize),
    Online(usize),
}

/// What an acknowledgement was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Acknowledged {
    /// A reading that was sent once, and when it was due.
    Reading { due_us: u64 },
    /// A reading that was sent on more than one connection.
    Repeated,
    /// Nothing that is waiting.
    Nothing,
}

/// A reading that is not acknowledged yet.
#[derive(Clone, Copy, Debug)]
struct Unacknowledged {
    identifier: u16,
    reading: Reading,
    repeated: bool,
}

/// A device of the fleet.
#[derive(Debug)]
pub(super) struct Device {
    pub(super) sensor: Sensor,
    pub(super) presence: Presence,
    /// Readings that were published, which is also the next one's sequence number.
    pub(super) published: u32,
    /// Readings that were acknowledged without one missing before them.
    pub(super) acknowledged: u32,
    /// Readings below this one were sent again after a connection was lost.
    pub(super) repeated_below: u32,
    /// How far it is with a firmware update.
    pub(super) wave: Option<Progress>,
    /// Whether it has its subscription.
    pub(super) subscribed: bool,
    topic: Box<str>,
    next_identifier: u16,
    unacknowledged: VecDeque<Unacknowledged>,
}

impl Device {
    pub(super) fn new(sensor: Sensor) -> Self {
        let topic = sensor.topic().into();
        Self {
            sensor,
            presence: Presence::Away,
            published: 0,
            acknowledged: 0,
            repeated_below: 0,
            wave: None,
            subscribed: false,
            topic,
            next_identifier: FIRST_IDENTIFIER,
            unacknowledged: VecDeque::new(),
        }
    }

    /// Its link, if the broker has greeted it.
    pub(super) fn online(&self) -> Option<usize> {
        match self.presence {
            Presence::Online(link) => Some(link),
            _ => None,
        }
    }

    /// Whether something of it is on its way.
    pub(super) fn is_waiting(&self) -> bool {
        !self.unacknowledged.is_empty()
    }

    /// Appends the PUBLISH of a new reading. `payload` is working space.
    pub(super) fn publish(
        &mut self,
        number: u32,
        due_us: u64,
        payload: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) {
        let (hundredths, unit) = self.sensor.measure();
        let reading =
            Reading { sensor: number, sequence: self.published, due_us, hundredths, unit };
        self.published += 1;
        let identifier = self.identifier();
        self.unacknowledged.push_back(Unacknowledged { identifier, reading, repeated: false });
        self.encode(identifier, &reading, payload, out);
    }

    /// Appends again what was not acknowledged on the connection before: a sensor that has not heard of its
    /// reading sends it again, which is what "at least once" means. The session is a new one, so DUP is not set.
    pub(super) fn repeat(&mut self, payload: &mut Vec<u8>, out: &mut Vec<u8>) {
        for index in 0..self.unacknowledged.len() {
            let Some(entry) = self.unacknowledged.get_mut(index) else { break };
            entry.repeated = true;
            let (identifier, reading) = (entry.identifier, entry.reading);
            self.repeated_below = self.repeated_below.max(reading.sequence + 1);
            self.encode(identifier, &reading, payload, out);
        }
    }

    /// An acknowledgement came.
    pub(super) fn acknowledge(&mut self, identifier: u16) -> Acknowledged {
        let at = self.unacknowledged.iter().position(|entry| entry.identifier == identifier);
        let Some(entry) = at.and_then(|at| self.unacknowledged.remove(at)) else {
            return Acknowledged::Nothing;
        };
        let first_waiting = self.unacknowledged.front().map(|entry| entry.reading.sequence);
        self.acknowledged = first_waiting.unwrap_or(self.published);
        match entry.repeated {
            true => Acknowledged::Repeated,
            false => Acknowledged::Reading { due_us: entry.reading.due_us },
        }
    }

    fn identifier(&mut self) -> u16 {
        let identifier = self.next_identifier;
        self.next_identifier = identifier.checked_add(1).unwrap_or(FIRST_IDENTIFIER);
        identifier
    }

    fn encode(&self, identifier: u16, reading: &Reading, payload: &mut Vec<u8>, out: &mut Vec<u8>) {
        reading.write(payload);
        publish(out, self.topic.as_bytes(), identifier, true, payload);
    }

    /// Appends a SUBSCRIBE.
    pub(super) fn subscribe(filter: &str, out: &mut Vec<u8>) {
        subscribe(out, SUBSCRIBE_IDENTIFIER, QoS::AtLeastOnce, &[filter]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_acknowledged_is_sent_again_under_the_same_number() {
        let mut device = Device::new(Sensor::new(5, 14, 1));
        let (mut payload, mut first, mut again) = (Vec::new(), Vec::new(), Vec::new());
        device.publish(5, 100, &mut payload, &mut first);
        device.publish(5, 200, &mut payload, &mut first);
        assert_eq!(device.acknowledge(FIRST_IDENTIFIER), Acknowledged::Reading { due_us: 100 });
        assert_eq!((device.acknowledged, device.is_waiting()), (1, true));
        device.repeat(&mut payload, &mut again);
        assert!(first.ends_with(&again));
        assert_eq!(device.repeated_below, 2);
        assert_eq!(device.acknowledge(FIRST_IDENTIFIER + 1), Acknowledged::Repeated);
        assert_eq!(device.acknowledge(FIRST_IDENTIFIER + 1), Acknowledged::Nothing);
        assert_eq!(device.acknowledged, 2);
    }
}
