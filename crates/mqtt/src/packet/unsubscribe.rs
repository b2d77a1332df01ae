//! UNSUBSCRIBE (MQTT 5.0, 3.10).

use alloc::vec::Vec;
use core::fmt;

use super::filters::{Filters, decode_filters};
use crate::cursor::Cursor;
use crate::decode::Body;
use crate::encode;
use crate::error::DecodeError;
use crate::property::{Place, Properties};
use crate::version::Version;

/// A client ends subscriptions.
#[derive(Clone, Copy)]
pub struct Unsubscribe<'a> {
    /// Packet Identifier.
    pub packet_identifier: u16,
    /// Properties; empty in 3.x.
    pub properties: Properties<'a>,
    filters: Filters<'a, &'a str>,
}

impl<'a> Unsubscribe<'a> {
    /// Without properties. At least one filter is needed (MQTT-3.10.3-2).
    pub fn new(packet_identifier: u16, filters: &'a [&'a str]) -> Self {
        let filters = Filters::List(filters);
        Self { packet_identifier, properties: Properties::default(), filters }
    }

    /// The same with these properties.
    #[must_use]
    pub fn with_properties(self, properties: Properties<'a>) -> Self {
        Self { properties, ..self }
    }

    /// Every filter, in order.
    pub fn filters(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        let (list, bytes): (&[_], &[u8]) = match self.filters {
            Filters::List(list) => (list, &[]),
            Filters::Bytes(bytes, _) => (&[], bytes),
        };
        let mut rest = Cursor::new(bytes);
        list.iter().copied().chain(core::iter::from_fn(move || rest.string().ok()))
    }

    pub(crate) fn decode(body: &mut Body<'a, '_>) -> Result<Self, DecodeError> {
        let packet_identifier = body.cursor.packet_identifier()?;
        let properties = body.properties(Place::Unsubscribe)?;
        let bytes = decode_filters(body, |_| Ok(()))?;
        Ok(Self { packet_identifier, properties, filters: Filters::Bytes(bytes, body.version) })
    }

    pub(crate) fn encode(&self, version: Version, out: &mut Vec<u8>) {
        encode::framed(out, 0xA2, |out| {
            out.extend_from_slice(&self.packet_identifier.to_be_bytes());
            encode::properties(out, version, self.properties);
            for filter in self.filters() {
                encode::string(out, filter);
            }
        });
    }
}

impl PartialEq for Unsubscribe<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.packet_identifier == other.packet_identifier
            && self.properties == other.properties
            && self.filters().eq(other.filters())
    }
}

impl Eq for Unsubscribe<'_> {}

impl fmt::Debug for Unsubscribe<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unsubscribe")
            .field("packet_identifier", &self.packet_identifier)
            .field("properties", &self.properties)
            .field("filters", &self.filters().collect::<Vec<_>>())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{MalformedPacket, ProtocolError};
    use crate::packet::Packet;
    use crate::tests::{accepted, refused};

    #[test]
    fn v3_mqtt_3_10_3_filters_come_in_order() {
        let bytes = b"\xA2\x0C\0\x0A\0\x03a/b\0\x03c/d"; // Figure 3.30 of 3.1.1
        let unsubscribe = Unsubscribe::new(10, &["a/b", "c/d"]);
        assert_eq!(accepted(bytes, Version::V311), Packet::Unsubscribe(unsubscribe));
        let mut out = Vec::new();
        unsubscribe.encode(Version::V311, &mut out);
        assert_eq!(out, bytes);
    }

    #[test]
    fn v5_mqtt_3_10_3_2_at_least_one_filter() {
        refused(b"\xA2\x02\0\x01", Version::V311, ProtocolError::NoFilters);
        refused(b"\xA2\x03\0\x01\0", Version::V5, ProtocolError::NoFilters);
    }

    #[test]
    fn v5_mqtt_3_10_3_1_filters_are_strings() {
        refused(b"\xA2\x05\0\x01\0\x01\xFF", Version::V311, MalformedPacket::Utf8);
        refused(b"\xA2\x06\0\x01\0\x02a#", Version::V311, ProtocolError::TopicFilter);
        refused(b"\xA2\x05\0\0\0\x01a", Version::V311, ProtocolError::PacketIdentifier);
    }
}
