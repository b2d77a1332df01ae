//! Who subscribes, and how: eight bytes together.

use plimsoll_mqtt::QoS;

/// A session's slot, or a shared group (the engine's top bit says which).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subscriber(pub u32);

/// Options of a subscription, packed: Subscription Identifier in 28 bits, QoS in two, No Local,
/// Retain As Published.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SubscriptionOptions(pub(super) u32);

impl SubscriptionOptions {
    /// `identifier` 0 is none; a valid one has 28 bits (MQTT 5.0, 3.8.2.1.2).
    pub fn new(identifier: u32, qos: QoS, no_local: bool, retain_as_published: bool) -> Self {
        Self(
            identifier << 4
                | (qos as u32) << 2
                | u32::from(no_local) << 1
                | u32::from(retain_as_published),
        )
    }

    /// Subscription Identifier; 0 is none.
    pub fn identifier(self) -> u32 {
        self.0 >> 4
    }

    /// Granted QoS.
    pub fn qos(self) -> QoS {
        QoS::try_from((self.0 >> 2 & 0b11) as u8).unwrap_or(QoS::AtMostOnce)
    }

    /// No Local.
    pub fn no_local(self) -> bool {
        self.0 & 0b10 != 0
    }

    /// Retain As Published.
    pub fn retain_as_published(self) -> bool {
        self.0 & 1 != 0
    }
}
