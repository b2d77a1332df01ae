//! SUBSCRIBE (MQTT 5.0, 3.8).

use alloc::vec::Vec;
use core::fmt;

use super::filters::{Filters, decode_filters};
use super::subscription_options::SubscriptionOptions;
use crate::cursor::Cursor;
use crate::decode::Body;
use crate::encode;
use crate::error::DecodeError;
use crate::property::{Place, Properties};
use crate::version::Version;

/// A client subscribes.
#[derive(Clone, Copy)]
pub struct Subscribe<'a> {
    /// Packet Identifier.
    pub packet_identifier: u16,
    /// Properties; empty in 3.x.
    pub properties: Properties<'a>,
    filters: Filters<'a, SubscribeFilter<'a>>,
}

/// One filter of a SUBSCRIBE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubscribeFilter<'a> {
    /// Topic Filter, with `$share/…/` if it is shared.
    pub filter: &'a str,
    /// Subscription Options; defaults in 3.x but for the QoS.
    pub options: SubscriptionOptions,
}

impl<'a> Subscribe<'a> {
    /// Without properties. At least one filter is needed (MQTT-3.8.3-2).
    pub fn new(packet_identifier: u16, filters: &'a [SubscribeFilter<'a>]) -> Self {
        let filters = Filters::List(filters);
        Self { packet_identifier, properties: Properties::default(), filters }
    }

    /// The same with these properties.
    #[must_use]
    pub fn with_properties(self, properties: Properties<'a>) -> Self {
        Self { properties, ..self }
    }

    /// Every filter with its options, in order.
    pub fn filters(&self) -> impl Iterator<Item = SubscribeFilter<'a>> + use<'a> {
        let (list, bytes, version): (&[_], &[u8], _) = match self.filters {
            Filters::List(list) => (list, &[], Version::V5),
            Filters::Bytes(bytes, version) => (&[], bytes, version),
        };
        let mut rest = Cursor::new(bytes);
        let received = core::iter::from_fn(move || {
            let filter = rest.string().ok()?;
            let options = SubscriptionOptions::decode(rest.u8().ok()?, version).ok()?;
            Some(SubscribeFilter { filter, options })
        });
        list.iter().copied().chain(received)
    }

    pub(crate) fn decode(body: &mut Body<'a, '_>) -> Result<Self, DecodeError> {
        let packet_identifier = body.cursor.packet_identifier()?;
        let properties = body.properties(Place::Subscribe)?;
        let bytes = decode_filters(body, |body| {
            SubscriptionOptions::decode(body.cursor.u8()?, body.version).map(|_| ())
        })?;
        Ok(Self { packet_identifier, properties, filters: Filters::Bytes(bytes, body.version) })
    }

    pub(crate) fn encode(&self, version: Version, out: &mut Vec<u8>) {
        encode::framed(out, 0x82, |out| {
            out.extend_from_slice(&self.packet_identifier.to_be_bytes());
            encode::properties(out, version, self.properties);
            for filter in self.filters() {
                encode::string(out, filter.filter);
                out.push(filter.options.encode(version));
            }
        });
    }
}

impl PartialEq for Subscribe<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.packet_identifier == other.packet_identifier
            && self.properties == other.properties
            && self.filters().eq(other.filters())
    }
}

impl Eq for Subscribe<'_> {}

impl fmt::Debug for Subscribe<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscribe")
            .field("packet_identifier", &self.packet_identifier)
            .field("properties", &self.properties)
            .field("filters", &self.filters().collect::<Vec<_>>())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::super::RetainHandling;
    use super::*;
    use crate::decode::{DecodeLimits, decode};
    use crate::error::{LimitExceeded, MalformedPacket, ProtocolError};
    use crate::packet::Packet;
    use crate::tests::{accepted, refused};
    use crate::version::QoS;

    #[test]
    fn v5_mqtt_3_8_3_filters_come_in_order_with_their_options() {
        let bytes = b"\x82\x0F\0\x0A\x02\x0B\x07\0\x01#\x2D\0\x03a/b\x01";
        let Packet::Subscribe(subscribe) = accepted(bytes, Version::V5) else {
            panic!("no SUBSCRIBE")
        };
        let options = SubscriptionOptions {
            qos: QoS::AtLeastOnce,
            no_local: true,
            retain_as_published: true,
            retain_handling: RetainHandling::DoNotSend,
        };
        let plain = SubscriptionOptions { qos: QoS::AtLeastOnce, ..Default::default() };
        let filters = [
            SubscribeFilter { filter: "#", options },
            SubscribeFilter { filter: "a/b", options: plain },
        ];
        assert!(subscribe.filters().eq(filters));
        assert!(subscribe.properties.subscription_identifiers().eq([7]));
        let own = Subscribe::new(10, &filters).with_properties(subscribe.properties);
        assert_eq!(own, subscribe);
        let mut out = Vec::new();
        own.encode(Version::V5, &mut out);
        assert_eq!(out, bytes);
    }

    #[test]
    fn v3_mqtt_3_8_3_4_only_the_qos_is_asked_for() {
        refused(b"\x82\x06\0\x01\0\x01a\x05", Version::V311, MalformedPacket::SubscriptionOptions);
        refused(b"\x82\x06\0\x01\0\x01a\x03", Version::V31, ProtocolError::SubscriptionQoS);
        accepted(b"\x82\x06\0\x01\0\x01a\x02", Version::V311);
    }

    #[test]
    fn v5_mqtt_3_8_3_2_at_least_one_filter() {
        refused(b"\x82\x02\0\x01", Version::V311, ProtocolError::NoFilters);
        refused(b"\x82\x03\0\x01\0", Version::V5, ProtocolError::NoFilters);
    }

    #[test]
    fn v5_mqtt_2_2_1_3_packet_identifiers_are_not_0() {
        refused(b"\x82\x06\0\0\0\x01a\0", Version::V311, ProtocolError::PacketIdentifier);
    }

    #[test]
    fn v5_mqtt_4_7_1_1_filters_are_well_formed() {
        refused(b"\x82\x07\0\x01\0\x02a#\0", Version::V311, ProtocolError::TopicFilter);
        refused(b"\x82\x05\0\x01\0\0\0", Version::V311, ProtocolError::TopicFilter);
        refused(b"\x82\x06\0\x01\0\x01\xFF\0", Version::V311, MalformedPacket::Utf8);
        refused(b"\x82\x05\0\x01\0\x01a", Version::V311, MalformedPacket::Truncated);
    }

    #[test]
    fn filters_of_a_packet_have_a_limit() {
        let limits = DecodeLimits { filters_max: 1, ..DecodeLimits::of_clients() };
        let two = decode(b"\x82\x0A\0\x01\0\x01a\0\0\x01b\0", Version::V311, &limits);
        assert_eq!(two, Err(LimitExceeded::Filters.into()));
        assert!(decode(b"\x82\x06\0\x01\0\x01a\0", Version::V311, &limits).is_ok());
    }
}
