//! What the broker says of itself in `$SYS`: read as it comes, so that each figure is paired with the number
//! of events at that moment, however rarely the broker publishes it.

use plimsoll_mqtt::{Publish, QoS};

use super::world::Events;
use crate::load::subscribe;

/// Heap in use, bytes (Mosquitto, and those that follow it).
const HEAP: &str = "$SYS/broker/heap/current";

/// What the broker is.
const VERSION: &str = "$SYS/broker/version";

/// Figures kept; every second one is dropped when there are more.
const FIGURES_MAX: usize = 4096;

/// What was read.
#[derive(Clone, Debug, Default)]
pub(crate) struct Books {
    pub(crate) version: Option<String>,
    /// The last figure of the heap in use, bytes.
    pub(crate) account: Option<f64>,
    /// Events until a figure came, and the figure.
    pub(crate) accounts: Vec<(Events, f64)>,
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
                    self.accounts.push((events, bytes));
                }
            }
            _ => {}
        }
        if self.accounts.len() > FIGURES_MAX {
            let mut index = 0;
            self.accounts.retain(|_| {
                index += 1;
                index % 2 == 0
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_paired_with_events_and_bounded() {
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
        assert_eq!((books.account, books.accounts.len()), (Some(1000.0), 0));
        message.retain = false;
        for updates in 0..10_000 {
            books.message(&message, Events { updates, ..Events::default() });
        }
        assert!(books.accounts.len() <= FIGURES_MAX);
        message.payload = b"much";
        books.message(&message, Events::default());
        assert_eq!(books.account, Some(1000.0));
    }
}
