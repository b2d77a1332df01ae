//! One publish's way: what has happened to it, and when.

use std::net::SocketAddr;
use std::time::Instant;

use plimsoll_engine::{Limit, Received, Stage};
use plimsoll_ledger::{Measure, usable_size};
use plimsoll_mqtt::{QoS, ReasonCode};

use super::{Outgoing, Turn};

/// Everything that has become of a publish. News may come in any order: several threads bring them.
#[derive(Debug, Default)]
pub(crate) struct Way {
    /// The publish, the turn that it came in, and where from.
    pub(crate) received: Option<(Received, Turn, Option<SocketAddr>)>,
    pub(crate) routed: Option<Routed>,
    pub(crate) refused: Option<Refused>,
    pub(crate) deliveries: Vec<Delivery>,
    pub(crate) acknowledged: Option<Acknowledged>,
}

/// It went nowhere.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Refused {
    /// Its publisher was told so with this reason.
    pub(crate) reason: Option<ReasonCode>,
}

/// How many it was for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Routed {
    pub(crate) sessions: u32,
    pub(crate) missed: u32,
    /// Full queues that the acknowledgement waits for.
    pub(crate) holds: u16,
}

/// Its way to one client.
#[derive(Debug)]
pub(crate) struct Delivery {
    pub(crate) client: Box<str>,
    pub(crate) qos: QoS,
    /// When it began to wait in the client's queue, and whether it is followed out of it.
    pub(crate) queued: Option<(Instant, bool)>,
    /// When the thread of its connection had it.
    pub(crate) sent: Option<Instant>,
    /// When the network had it.
    pub(crate) written: Option<Instant>,
    /// When the client's PUBACK or PUBREC came.
    pub(crate) confirmed: Option<Instant>,
    pub(crate) dropped: Option<Limit>,
}

/// What its publisher was told.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Acknowledged {
    pub(crate) reason: ReasonCode,
    /// It had to wait until the store had it, and that was then.
    pub(crate) stored: Option<Instant>,
    /// When the network had PUBACK or PUBREC.
    pub(crate) written: Option<Instant>,
}

impl Way {
    /// Something has happened. Answers what is to be told when the network has it.
    pub(super) fn note(
        &mut self,
        stage: Stage,
        turn: Turn,
        stored: Option<Instant>,
        peer: Option<SocketAddr>,
    ) -> Option<Outgoing> {
        match stage {
            Stage::Received(received) => self.received = Some((received, turn, peer)),
            Stage::Refused { reason } => self.refused = Some(Refused { reason }),
            Stage::Routed { sessions, missed, holds } => {
                self.routed = Some(Routed { sessions, missed, holds });
            }
            Stage::Sent { client, qos } => {
                let at = self.delivery(client, qos);
                let delivery = self.deliveries.get_mut(at)?;
                delivery.sent = Some(turn.left);
                return Some(Outgoing::Delivery(at));
            }
            Stage::Queued { client, qos, followed } => {
                let at = self.delivery(client, qos);
                self.deliveries.get_mut(at)?.queued = Some((turn.left, followed));
            }
            Stage::Dropped { client, limit } => {
                let at = self.delivery(client, QoS::AtMostOnce);
                self.deliveries.get_mut(at)?.dropped = Some(limit);
            }
            Stage::Confirmed { client } => {
                let at = self.delivery(client, QoS::AtLeastOnce);
                self.deliveries.get_mut(at)?.confirmed = Some(turn.read);
            }
            Stage::Acknowledged { reason, .. } => {
                self.acknowledged = Some(Acknowledged { reason, stored, written: None });
                return Some(Outgoing::Acknowledgement);
            }
        }
        None
    }

    /// The place of a client's delivery that is under way, or of a new one: a 3.x client whose filters
    /// overlap may get several.
    fn delivery(&mut self, client: Box<str>, qos: QoS) -> usize {
        let under_way = |delivery: &Delivery| {
            delivery.client == client
                && delivery.confirmed.is_none()
                && delivery.dropped.is_none()
                && (delivery.queued.is_some() || delivery.qos != QoS::AtMostOnce)
        };
        self.deliveries.iter().position(under_way).unwrap_or_else(|| {
            self.deliveries.push(Delivery {
                client,
                qos,
                queued: None,
                sent: None,
                written: None,
                confirmed: None,
                dropped: None,
            });
            self.deliveries.len() - 1
        })
    }

    /// The network has something.
    pub(super) fn written(&mut self, what: Outgoing, at: Instant) {
        match what {
            Outgoing::Delivery(place) => {
                if let Some(delivery) = self.deliveries.get_mut(place) {
                    delivery.written = Some(at);
                }
            }
            Outgoing::Acknowledgement => {
                if let Some(acknowledged) = &mut self.acknowledged {
                    acknowledged.written = Some(at);
                }
            }
        }
    }

    /// Whether nothing more will be told of it, as far as that is known.
    pub(super) fn is_over(&self) -> bool {
        let Some((received, ..)) = &self.received else { return false };
        if self.refused.is_some() {
            return true;
        }
        let acknowledged = received.qos == QoS::AtMostOnce
            || self.acknowledged.is_some_and(|acknowledged| acknowledged.written.is_some());
        // A refused one is acknowledged without having been routed.
        let refused = self.acknowledged.is_some_and(|a| a.reason.is_error());
        acknowledged
            && (self.routed.is_some() || refused)
            && self.deliveries.iter().all(Delivery::is_over)
    }

    /// The last time that is known of it.
    pub(crate) fn end(&self) -> Option<Instant> {
        let left = self.received.as_ref().map(|(_, turn, _)| turn.left);
        let acknowledged = self.acknowledged.and_then(|a| a.written.or(a.stored));
        let deliveries = self.deliveries.iter().filter_map(Delivery::end);
        left.into_iter().chain(acknowledged).chain(deliveries).max()
    }

    /// What it owns on the heap.
    pub(super) fn heap_bytes(&self) -> usize {
        let received = self.received.as_ref().map_or(0, |(received, ..)| {
            received.client.heap_bytes()
                + received.topic.heap_bytes()
                + received.parent.as_ref().map_or(0, |parent| usable_size(parent.len(), 1))
        });
        let names: usize = self.deliveries.iter().map(|one| one.client.heap_bytes()).sum();
        received + self.deliveries.heap_bytes() + names
    }
}

impl Delivery {
    fn is_over(&self) -> bool {
        let kept = self.queued.is_some_and(|(_, followed)| !followed);
        let through =
            self.written.is_some() && (self.qos == QoS::AtMostOnce || self.confirmed.is_some());
        self.dropped.is_some() || kept || through
    }

    fn end(&self) -> Option<Instant> {
        let queued = self.queued.map(|(at, _)| at);
        [self.confirmed, self.written, self.sent, queued].into_iter().flatten().max()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(qos: QoS) -> Stage {
        Stage::Received(Received {
            client: "sensor".into(),
            topic: "plant/7".into(),
            qos,
            retain: false,
            payload_bytes: 4,
            parent: None,
        })
    }

    #[test]
    fn a_way_is_over_when_all_have_answered_in_whatever_order() {
        let mut way = Way::default();
        let note = |way: &mut Way, stage| way.note(stage, Turn::begin(), None, None);
        let (client, qos) = (Box::<str>::from("a"), QoS::AtLeastOnce);
        // The subscriber's thread may be the first to speak.
        let sent = note(&mut way, Stage::Sent { client: client.clone(), qos }).unwrap();
        note(&mut way, Stage::Confirmed { client: client.clone() });
        note(&mut way, received(QoS::AtLeastOnce));
        note(&mut way, Stage::Routed { sessions: 1, missed: 0, holds: 0 });
        assert!(!way.is_over());
        let reason = ReasonCode::SUCCESS;
        let told = note(&mut way, Stage::Acknowledged { reason, stored: 0 }).unwrap();
        way.written(told, Instant::now());
        assert!(!way.is_over(), "the delivery is not written");
        way.written(sent, Instant::now());
        assert!(way.is_over());
        assert_eq!(way.deliveries.len(), 1);
    }

    #[test]
    fn what_waits_for_somebody_who_is_away_is_not_waited_for() {
        let mut way = Way::default();
        way.note(received(QoS::AtMostOnce), Turn::begin(), None, None);
        way.note(Stage::Routed { sessions: 2, missed: 0, holds: 0 }, Turn::begin(), None, None);
        for (client, followed) in [("away", false), ("slow", true)] {
            let stage = Stage::Queued { client: client.into(), qos: QoS::AtLeastOnce, followed };
            way.note(stage, Turn::begin(), None, None);
        }
        assert!(!way.is_over());
        let stage = Stage::Sent { client: "slow".into(), qos: QoS::AtLeastOnce };
        let mark = way.note(stage, Turn::begin(), None, None).unwrap();
        way.written(mark, Instant::now());
        way.note(Stage::Confirmed { client: "slow".into() }, Turn::begin(), None, None);
        assert!(way.is_over());
        assert_eq!(way.deliveries.len(), 2);
    }
}
