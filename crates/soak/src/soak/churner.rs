//! Clients that come and go: each connects, subscribes, publishes to itself, gets that message, and leaves, with a word or
//! without.

use plimsoll_mqtt::{Disconnect, Packet, QoS, ReasonCode, Version, encode};

use crate::load::{publish, subscribe};

/// One client of so many goes without a word.
const RUDE_ONE_OF: u64 = 4;

/// How far a client is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Step {
    /// There is none.
    #[default]
    Away,
    Coming,
    /// Its message is under way: acknowledged yet, got yet?
    Echo {
        acknowledged: bool,
        got: bool,
    },
    /// It has said goodbye and waits for the broker to close.
    Leaving,
}

#[derive(Clone, Copy, Debug, Default)]
struct Churner {
    step: Step,
    number: u64,
    since_us: u64,
    link: usize,
}

/// All of them.
#[derive(Debug)]
pub(crate) struct Churn {
    /// Clients that could not come, or whose connection ended before they were done.
    pub(crate) failed: u64,
    /// Messages that clients had sent to themselves, and did not get.
    pub(crate) lost: u64,
    churners: Vec<Churner>,
    next_number: u64,
}

impl Churn {
    pub(crate) fn new(count: usize) -> Self {
        Self { failed: 0, lost: 0, churners: vec![Churner::default(); count], next_number: 0 }
    }

    /// A place that is free, and the number of the client that comes next.
    pub(crate) fn vacancy(&mut self) -> Option<(usize, u64)> {
        let place = self.churners.iter().position(|churner| churner.step == Step::Away)?;
        self.next_number += 1;
        Some((place, self.next_number))
    }

    /// A client comes.
    pub(crate) fn comes(&mut self, place: usize, number: u64, link: usize, now_us: u64) {
        if let Some(churner) = self.churners.get_mut(place) {
            *churner = Churner { step: Step::Coming, number, since_us: now_us, link };
        }
    }

    /// Whether any is there.
    pub(crate) fn is_busy(&self) -> bool {
        self.churners.iter().any(|churner| churner.step != Step::Away)
    }

    /// The links of those that take longer than `patience_us`. They are given up.
    pub(crate) fn overdue(&mut self, now_us: u64, patience_us: u64) -> Vec<usize> {
        let mut links = Vec::new();
        for churner in &mut self.churners {
            if churner.step != Step::Away && now_us.saturating_sub(churner.since_us) > patience_us {
                // A broker that does not close after DISCONNECT has done all else.
                match churner.step {
                    Step::Echo { acknowledged: true, got: false } => self.lost += 1,
                    Step::Leaving => {}
                    _ => self.failed += 1,
                }
                churner.step = Step::Away;
                links.push(churner.link);
            }
        }
        links
    }

    /// The broker has greeted it.
    pub(crate) fn greeted(&mut self, place: usize, out: &mut Vec<u8>) {
        if let Some(churner) = self.churners.get(place) {
            subscribe(out, 1, QoS::AtLeastOnce, &[&format!("churn/{}/#", churner.number)]);
        }
    }

    /// A packet has come. Answers once the client is done: whether it has to be cut off.
    pub(crate) fn packet(
        &mut self,
        place: usize,
        packet: &Packet<'_>,
        out: &mut Vec<u8>,
    ) -> Option<bool> {
        let churner = self.churners.get_mut(place)?;
        churner.step = match (churner.step, packet) {
            (Step::Coming, Packet::Suback(_)) => {
                hello(churner.number, out);
                Step::Echo { acknowledged: false, got: false }
            }
            (Step::Echo { got, .. }, Packet::Puback(_)) => Step::Echo { acknowledged: true, got },
            (Step::Echo { acknowledged, .. }, Packet::Publish(_)) => {
                Step::Echo { acknowledged, got: true }
            }
            (step, _) => step,
        };
        if churner.step != (Step::Echo { acknowledged: true, got: true }) {
            return None;
        }
        churner.step = Step::Leaving;
        let rude = churner.number.is_multiple_of(RUDE_ONE_OF);
        if !rude {
            encode::packet(
                &Packet::Disconnect(Disconnect::new(ReasonCode::SUCCESS)),
                Version::V311,
                out,
            );
        }
        Some(rude)
    }

    /// Its connection is gone, as it was meant to.
    pub(crate) fn gone(&mut self, place: usize) {
        if let Some(churner) = self.churners.get_mut(place) {
            churner.step = Step::Away;
        }
    }

    /// Its connection was ended by the broker. Answers whether that was to be expected.
    pub(crate) fn lost(&mut self, place: usize) -> bool {
        let expected = self.churners.get(place).is_none_or(|churner| churner.step == Step::Leaving);
        self.failed += u64::from(!expected);
        self.gone(place);
        expected
    }
}

/// Appends a client's message to itself.
fn hello(number: u64, out: &mut Vec<u8>) {
    let topic = format!("churn/{number}/hello");
    publish(out, topic.as_bytes(), 2, false, b"{\"hello\":true}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use plimsoll_mqtt::{Ack, Suback};

    #[test]
    fn every_fourth_goes_without_a_word() {
        let mut churn = Churn::new(1);
        let mut out = Vec::new();
        for turn in 1..=4 {
            let (place, number) = churn.vacancy().expect("a place");
            assert_eq!(number, turn);
            churn.comes(place, number, 9, 0);
            assert!(churn.vacancy().is_none());
            churn.next_number = number;
            churn.greeted(place, &mut out);
            let suback = Packet::Suback(Suback::new(1, &[ReasonCode::SUCCESS]));
            assert_eq!(churn.packet(place, &suback, &mut out), None);
            assert_eq!(churn.packet(place, &Packet::Puback(Ack::new(2)), &mut out), None);
            let echo = Publish::hello();
            let done = churn.packet(place, &Packet::Publish(echo), &mut out);
            assert_eq!(done, Some(number == 4));
            assert!(churn.lost(place) && churn.failed == 0 && !churn.is_busy());
        }
        churn.comes(0, 5, 9, 0);
        assert_eq!((churn.overdue(11, 10), churn.failed), (vec![9], 1));
        churn.comes(0, 6, 9, 0);
        assert!(!churn.lost(0) && churn.failed == 2);
        // What was acknowledged and does not come is lost, and nobody was turned away.
        churn.comes(0, 7, 9, 0);
        let suback = Packet::Suback(Suback::new(1, &[ReasonCode::SUCCESS]));
        churn.packet(0, &suback, &mut out);
        churn.packet(0, &Packet::Puback(Ack::new(2)), &mut out);
        assert_eq!((churn.overdue(11, 10), churn.failed, churn.lost), (vec![9], 2, 1));
    }

    use plimsoll_mqtt::Publish;
    trait Hello {
        fn hello() -> Self;
    }
    impl Hello for Publish<'static> {
        fn hello() -> Self {
            Publish {
                dup: false,
                qos: QoS::AtLeastOnce,
                retain: false,
                topic: "churn/1/hello",
                packet_identifier: 1,
                properties: Default::default(),
                payload: b"",
            }
        }
    }
}
