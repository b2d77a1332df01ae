//! Subscription Options (MQTT 5.0, 3.8.3.1).

use crate::error::{DecodeError, MalformedPacket, ProtocolError};
use crate::version::{QoS, Version};

/// How a subscription is to be served.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SubscriptionOptions {
    /// Maximum QoS.
    pub qos: QoS,
    /// No Local: not the subscriber's own messages (MQTT-3.8.3-3).
    pub no_local: bool,
    /// Retain As Published (MQTT-3.3.1-13).
    pub retain_as_published: bool,
    /// Retain Handling.
    pub retain_handling: RetainHandling,
}

/// When retained messages are sent for a subscription.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum RetainHandling {
    /// At the time of the subscribe (MQTT-3.3.1-9).
    #[default]
    SendAtSubscribe = 0,
    /// Only if the subscription did not exist (MQTT-3.3.1-10).
    SendIfNew = 1,
    /// Not at all (MQTT-3.3.1-11).
    DoNotSend = 2,
}

const NO_LOCAL: u8 = 1 << 2;
const RETAIN_AS_PUBLISHED: u8 = 1 << 3;

impl SubscriptionOptions {
    /// Reads the options byte. Before 5.0 it has the QoS alone.
    pub(crate) fn decode(byte: u8, version: Version) -> Result<Self, DecodeError> {
        let reserved = if version.is_v5() { 0b1100_0000 } else { 0b1111_1100 };
        if byte & reserved != 0 {
            return Err(MalformedPacket::SubscriptionOptions.into()); // MQTT-3.8.3-5, MQTT3-3.8.3-4
        }
        let qos = QoS::try_from(byte & 0b11).map_err(|_| ProtocolError::SubscriptionQoS)?;
        let retain_handling = match byte >> 4 {
            0 => RetainHandling::SendAtSubscribe,
            1 => RetainHandling::SendIfNew,
            2 => RetainHandling::DoNotSend,
            _ => return Err(ProtocolError::RetainHandling.into()),
        };
        Ok(Self {
            qos,
            no_local: byte & NO_LOCAL != 0,
            retain_as_published: byte & RETAIN_AS_PUBLISHED != 0,
            retain_handling,
        })
    }

    /// The options byte.
    pub(crate) fn encode(self, version: Version) -> u8 {
        if !version.is_v5() {
            return self.qos as u8;
        }
        self.qos as u8
            | u8::from(self.no_local) << 2
            | u8::from(self.retain_as_published) << 3
            | (self.retain_handling as u8) << 4
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn v5_mqtt_3_8_3_5_every_byte_is_read_or_refused() {
        for byte in 0..=u8::MAX {
            match SubscriptionOptions::decode(byte, Version::V5) {
                Ok(options) => assert_eq!(options.encode(Version::V5), byte),
                Err(_) => assert!(byte >> 6 != 0 || byte & 3 == 3 || byte >> 4 & 3 == 3, "{byte}"),
            }
            assert_eq!(SubscriptionOptions::decode(byte, Version::V311).is_ok(), byte < 3);
        }
    }

    #[test]
    fn v5_mqtt_3_8_3_violations_have_names() {
        let error = |byte| SubscriptionOptions::decode(byte, Version::V5);
        assert_eq!(error(0xC1), Err(MalformedPacket::SubscriptionOptions.into()));
        assert_eq!(error(0x03), Err(ProtocolError::SubscriptionQoS.into()));
        assert_eq!(error(0x30), Err(ProtocolError::RetainHandling.into()));
    }
}
