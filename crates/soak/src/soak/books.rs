//! What the broker says of itself in `$SYS`: read as it comes, so that each figure is paired with the number
//! of events at that moment, however rarely the broker publishes it.

use plimsoll_mqtt::{Publish, QoS};

use super::figures::Figures;
use super::outcome::View;
use super::world::Events;
use crate::load::subscribe;

/// Heap in use, bytes (Mosquitto, and those that follow it).
const HEAP: &str = "$SYS/broker/heap/current";

/// What the broker is.
const VERSION: &str = "$SYS/broker/version";

/// What was read.
#[derive(Clone, Debug, Default)]
pub(crate) struct Books {
    pub(crate) version: Option<String>,
    /// The last figure of the heap in use, bytes.
    pub(crate) account: Option<f64>,
    /// Events until a figure came, and the figure.
    pub(crate) figures: Figures,
}

impl Books {
    /// Appends the subscription.
    pub(crate) fn greeted(out: &mut Vec<u8>) {
        subscribe(out, 1, QoS::AtMostOnce, &[HEAP, VERSION]);
    }

    /// A message has come, after `events`.
    pub(crate) fn message(&mut self, message: &Publish<'_>, events: Events) {
        let Ok(text) = std::str::from_utf8(message.payload) else { return };
        match message.topic {
            VERSION => self.version = Some(text.chars().take(200).collect()),
            HEAP => {
                let Ok(bytes) = text.trim().parse::<f64>() else { return };
                self.account = Some(bytes);
                // What is retained may be some seconds old.
                if !message.retain {
                    self.figures.note(View::Account, events, bytes);
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_paired_with_events() {
        let mut books = Books::default();
        let mut message = Publish {
            dup: false,
            qos: QoS::AtMostOnce,
            retain: true,
            topic: HEAP,
            packet_identifier: 0,
            properties: Default::default(),
            payload: b"1000",
        };
        books.message(&message, Events::default());
        assert_eq!((books.account, books.figures.of(View::Account).len()), (Some(1000.0), 0));
        message.retain = false;
        let events = Events { updates: 9, ..Events::default() };
        books.message(&message, events);
        assert_eq!(books.figures.of(View::Account), [(events, 1000.0)]);
        message.payload = b"much";
        books.message(&message, Events::default());
        assert_eq!(books.account, Some(1000.0));
    }
}
