//! What is in flight: sent, and not acknowledged to the end.

use alloc::collections::VecDeque;

use plimsoll_mqtt::QoS;

use super::{Acknowledged, Delivery, Flow, KEEP_ENTRIES, Next, Waiting};
use crate::message::Message;
use crate::settings::Settings;
use crate::time::Time;

const IDENTIFIERS: u16 = u16::MAX;

/// A packet identifier in flight. Identifiers are given out in turn, so the ring has one entry
/// for each from the oldest unacknowledged one on, and finding one is an index.
#[derive(Debug)]
pub(super) enum InFlight {
    /// Acknowledged, or never used, but an older one is not.
    Done,
    /// PUBLISH sent; PUBACK or PUBREC awaited.
    Published(Delivery),
    /// PUBREL sent; PUBCOMP awaited (MQTT-4.3.3-5). The message is gone.
    Released,
}

impl Flow {
    /// Messages in flight in any state.
    pub(crate) fn inflight_len(&self) -> usize {
        self.inflight.iter().filter(|entry| !matches!(entry, InFlight::Done)).count()
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.inflight.is_empty() && self.stored.count == 0
    }

    /// Whether a message of `bytes` with this sequence number may be sent now, ahead of nothing.
    pub(crate) fn window_open(
        &self,
        window: u16,
        sequence: u64,
        bytes: usize,
        settings: &Settings,
    ) -> bool {
        let bytes_max = settings.max_inflight_bytes;
        self.used < window
            && (self.inflight.is_empty() || sequence < self.first + u64::from(IDENTIFIERS))
            && (bytes_max == 0
                || self.inflight_bytes == 0
                || self.inflight_bytes + bytes <= bytes_max)
    }

    /// Whether nothing has to go before a new message.
    pub(crate) fn nothing_waits(&self) -> bool {
        self.queue.is_empty() && self.stored.count == 0
    }

    /// Puts a message in flight until it is acknowledged (MQTT-4.3.2-3, MQTT-4.3.3-3). Answers its
    /// packet identifier, which is unused (MQTT-2.2.1-4, MQTT-4.3.2-1, MQTT-4.3.3-1).
    pub(crate) fn launch(&mut self, delivery: Delivery) -> u16 {
        let sequence = delivery.sequence;
        self.inflight_bytes += delivery.message.bytes();
        self.put_in_flight(sequence, InFlight::Published(delivery));
        identifier_of(sequence)
    }

    /// Sets the ring's entry for a sequence number, which is within [`Flow::window_open`].
    fn put_in_flight(&mut self, sequence: u64, entry: InFlight) {
        self.used += 1;
        let mut ring = self.inflight.edit();
        if ring.is_empty() {
            self.first = sequence;
        }
        while self.first > sequence {
            self.first -= 1;
            ring.push_front(InFlight::Done);
        }
        let at = (sequence - self.first) as usize;
        while ring.len() <= at {
            ring.push_back(InFlight::Done);
        }
        if let Some(place) = ring.get_mut(at) {
            *place = entry;
        }
    }

    /// What to send next on this connection: first what an earlier one left unfinished
    /// (MQTT-4.4.0-1, MQTT-4.6.0-5), in the order in which it was sent (MQTT-4.6.0-1) and with DUP
    /// (MQTT-3.3.1-1), whether it has expired or not (MQTT-4.3.3-7, MQTT-4.3.3-13); then what waits.
    /// What the client may not read any more (`may_read`, by its topic) is not begun to be sent.
    pub(crate) fn next(
        &mut self,
        window: u16,
        settings: &Settings,
        now: Time,
        may_read: impl FnOnce(&str) -> bool,
    ) -> Option<Next> {
        let front = self.queue.front()?;
        let (sequence, bytes) = (front.sequence(), front.bytes());
        let again = sequence != 0 && sequence < self.maybe_sent_before();
        if let Waiting::Publish(delivery) = front {
            // At most once: it may have been sent, for all that is known.
            let spent = again && delivery.qos == QoS::AtMostOnce;
            let message = &delivery.message;
            let vain = || message.expired(now) || !may_read(message.parts().topic);
            if spent || !self.begun(delivery) && vain() {
                return match self.dequeue()? {
                    Waiting::Publish(delivery) => Some(Next::Vain(delivery)),
                    Waiting::Release(_) => None,
                };
            }
            if delivery.qos == QoS::ExactlyOnce && sequence >= self.durable_before {
                return None;
            }
        }
        if !front.is_qos0() && !self.window_open(window, sequence, bytes, settings) {
            return None;
        }
        match self.dequeue()? {
            Waiting::Release(sequence) => {
                self.put_in_flight(sequence, InFlight::Released);
                Some(Next::Release { packet_identifier: identifier_of(sequence) })
            }
            Waiting::Publish(delivery) => {
                let packet_identifier = match delivery.qos {
                    QoS::AtMostOnce => 0,
                    _ => self.launch(delivery.clone()),
                };
                let dup = again && delivery.qos != QoS::AtMostOnce;
                Some(Next::Publish { packet_identifier, dup, delivery })
            }
        }
    }

    /// PUBACK: ends a QoS 1 flow, whatever its reason code says (MQTT-4.4.0-2).
    pub(crate) fn puback(&mut self, packet_identifier: u16) -> Acknowledged {
        self.finish(packet_identifier, |entry| {
            matches!(entry, InFlight::Published(delivery) if delivery.qos == QoS::AtLeastOnce)
        })
    }

    /// PUBREC: with an error it ends the flow, otherwise the message is released (MQTT-4.3.3-4).
    pub(crate) fn pubrec(&mut self, packet_identifier: u16, refused: bool) -> Acknowledged {
        let Some(at) = self.position(packet_identifier) else { return Acknowledged::Unknown };
        let sequence = self.first + at as u64;
        match self.inflight.get(at) {
            Some(InFlight::Published(delivery)) if delivery.qos == QoS::ExactlyOnce => {}
            Some(InFlight::Released) if !refused => {
                return Acknowledged::Release { sequence, message: None };
            }
            _ => return Acknowledged::Unknown,
        }
        if refused {
            return self.finish(packet_identifier, |_| true);
        }
        let message = self.replace(at, InFlight::Released);
        Acknowledged::Release { sequence, message }
    }

    /// PUBCOMP: ends a QoS 2 flow.
    pub(crate) fn pubcomp(&mut self, packet_identifier: u16) -> Acknowledged {
        self.finish(packet_identifier, |entry| matches!(entry, InFlight::Released))
    }

    /// Takes a message out of flight that turned out not to be sendable (too large).
    pub(crate) fn abandon(&mut self, packet_identifier: u16) -> Acknowledged {
        self.finish(packet_identifier, |_| true)
    }

    fn finish(
        &mut self,
        packet_identifier: u16,
        fits: impl FnOnce(&InFlight) -> bool,
    ) -> Acknowledged {
        let Some(at) = self.position(packet_identifier) else { return Acknowledged::Unknown };
        match self.inflight.get(at) {
            Some(InFlight::Done) | None => return Acknowledged::Unknown,
            Some(entry) if fits(entry) => {}
            _ => return Acknowledged::Unknown,
        }
        self.used = self.used.saturating_sub(1);
        let sequence = self.first + at as u64;
        let message = self.replace(at, InFlight::Done);
        self.forget_done();
        Acknowledged::Done { sequence, message }
    }

    /// Lets go of the acknowledged entries at the ring's front.
    fn forget_done(&mut self) {
        let mut gone = 0;
        let mut ring = self.inflight.edit();
        while let Some(InFlight::Done) = ring.front() {
            ring.pop_front();
            gone += 1;
        }
        if ring.is_empty() && ring.capacity() > KEEP_ENTRIES {
            *ring = VecDeque::new();
        }
        drop(ring);
        self.first += gone;
    }

    /// Answers the message that stood there.
    fn replace(&mut self, at: usize, with: InFlight) -> Option<Message> {
        let mut ring = self.inflight.edit();
        let entry = ring.get_mut(at)?;
        let InFlight::Published(delivery) = core::mem::replace(entry, with) else { return None };
        self.inflight_bytes -= delivery.message.bytes();
        Some(delivery.message)
    }

    fn position(&self, packet_identifier: u16) -> Option<usize> {
        let count = usize::from(IDENTIFIERS);
        let first = usize::from(identifier_of(self.first));
        let offset = (usize::from(packet_identifier) + count - first) % count;
        (packet_identifier != 0 && offset < self.inflight.len()).then_some(offset)
    }
}

/// Packet identifiers run from 1 to 65,535 and start again, by the message's place in the order:
/// so a message keeps its identifier over connections and restarts.
fn identifier_of(sequence: u64) -> u16 {
    (sequence.saturating_sub(1) % u64::from(IDENTIFIERS)) as u16 + 1
}
