//! What properties may say, and in which packet.

use super::Properties;
use super::identifier::{Place, PropertyIdentifier as Id, Sender};
use super::value::PropertyValue;
use crate::cursor::Cursor;
use crate::error::{DecodeError, LimitExceeded, MalformedPacket, ProtocolError};

impl<'a> Properties<'a> {
    /// Reads the property length and checks every property that follows.
    #[inline]
    pub(crate) fn decode(
        cursor: &mut Cursor<'a>,
        place: Place,
        sender: Sender,
        user_properties_max: u16,
    ) -> Result<Self, DecodeError> {
        let len = cursor.variable()?; // MQTT-2.2.2-1
        if len == 0 {
            return Ok(Self::default());
        }
        let raw = cursor.bytes(len as usize)?;
        check(raw, place, sender, user_properties_max)?;
        Ok(Self { raw })
    }

    /// Checks encoded properties of a message (without their length) that did not come in a packet
    /// but from a file: those of a PUBLISH, from a client or a server.
    pub fn of_message(raw: &'a [u8]) -> Result<Self, DecodeError> {
        check(raw, Place::Publish, Sender::Any, u16::MAX)?;
        Ok(Self { raw })
    }
}

fn check(
    raw: &[u8],
    place: Place,
    sender: Sender,
    user_properties_max: u16,
) -> Result<(), DecodeError> {
    let mut rest = Cursor::new(raw);
    let mut seen = 0;
    let mut user_properties = 0u32;
    while !rest.is_empty() {
        let identifier = Id::decode(&mut rest)?;
        if !identifier.is_allowed(place) {
            return Err(MalformedPacket::PropertyNotAllowed.into());
        }
        if seen & identifier.bit() != 0 && !identifier.repeats(place) {
            return Err(ProtocolError::PropertyTwice.into());
        }
        seen |= identifier.bit();
        user_properties += u32::from(identifier == Id::UserProperty);
        if user_properties > u32::from(user_properties_max) {
            return Err(LimitExceeded::UserProperties.into());
        }
        check_sender(identifier, place, sender)?;
        check_value(identifier, PropertyValue::decode(identifier, &mut rest)?)?;
    }
    // MQTT 5.0, 3.1.2.11.10 and 3.15.2.2.3.
    if seen & Id::AuthenticationData.bit() != 0 && seen & Id::AuthenticationMethod.bit() == 0 {
        return Err(ProtocolError::AuthenticationDataAlone.into());
    }
    Ok(())
}

/// What a client must not send though a server may.
fn check_sender(identifier: Id, place: Place, sender: Sender) -> Result<(), ProtocolError> {
    if sender == Sender::Any {
        return Ok(());
    }
    match (identifier, place) {
        (Id::SubscriptionIdentifier, Place::Publish) => Err(ProtocolError::SubscriptionIdentifier), // MQTT-3.3.4-6
        (Id::ServerReference, Place::Disconnect) => Err(ProtocolError::WrongDirection),
        _ => Ok(()),
    }
}

/// The ranges that the specification sets.
fn check_value(identifier: Id, value: PropertyValue<'_>) -> Result<(), ProtocolError> {
    let fits = match (identifier, value) {
        // MQTT-3.3.2-8
        (Id::TopicAlias, PropertyValue::Number(0)) => return Err(ProtocolError::TopicAlias),
        (
            Id::ReceiveMaximum | Id::MaximumPacketSize | Id::SubscriptionIdentifier,
            PropertyValue::Number(number),
        ) => number > 0,
        (
            Id::PayloadFormatIndicator
            | Id::RequestProblemInformation
            | Id::RequestResponseInformation
            | Id::MaximumQoS
            | Id::RetainAvailable
            | Id::WildcardSubscriptionAvailable
            | Id::SubscriptionIdentifierAvailable
            | Id::SharedSubscriptionAvailable,
            PropertyValue::Number(number),
        ) => number <= 1,
        // MQTT-3.3.2-14
        (Id::ResponseTopic, PropertyValue::Text(topic)) => !topic.contains(['+', '#']),
        _ => true,
    };
    if fits { Ok(()) } else { Err(ProtocolError::PropertyValue) }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::super::PropertiesBuf;
    use super::*;

    fn decode(raw: &[u8], place: Place, sender: Sender) -> Result<(), DecodeError> {
        let mut bytes = Vec::from([raw.len() as u8]);
        bytes.extend_from_slice(raw);
        let mut cursor = Cursor::new(&bytes);
        let properties = Properties::decode(&mut cursor, place, sender, 2)?;
        assert_eq!(properties.raw(), raw);
        cursor.end()
    }

    fn check(raw: &[u8], place: Place, expected: impl Into<DecodeError>) {
        assert_eq!(decode(raw, place, Sender::Client), Err(expected.into()), "{raw:x?}");
    }

    #[test]
    fn v5_mqtt_2_2_2_properties_stand_where_the_table_says() {
        check(&[0x18, 0, 0, 0, 1], Place::Connect, MalformedPacket::PropertyNotAllowed);
        check(&[0x1F, 0, 0], Place::Publish, MalformedPacket::PropertyNotAllowed);
        check(&[0x04, 0], Place::Publish, MalformedPacket::PropertyUnknown);
        check(&[0x80, 0x01, 0], Place::Publish, MalformedPacket::PropertyUnknown);
        check(&[0x02, 0, 0, 0], Place::Publish, MalformedPacket::Truncated);
        assert_eq!(decode(&[0x18, 0, 0, 0, 1], Place::Will, Sender::Client), Ok(()));
    }

    #[test]
    fn properties_of_a_stored_message_are_checked_too() {
        let raw = [0x0B, 7, 0x26, 0, 1, b'a', 0, 1, b'b'];
        assert_eq!(Properties::of_message(&raw).map(|properties| properties.raw()), Ok(&raw[..]));
        assert_eq!(Properties::of_message(&[0x02, 0]), Err(MalformedPacket::Truncated.into()));
        let elsewhere = Err(MalformedPacket::PropertyNotAllowed.into());
        assert_eq!(Properties::of_message(&[0x11, 0, 0, 0, 1]), elsewhere);
    }

    #[test]
    fn v5_mqtt_3_1_2_values_have_ranges() {
        check(&[0x21, 0, 0], Place::Connect, ProtocolError::PropertyValue);
        check(&[0x27, 0, 0, 0, 0], Place::Connect, ProtocolError::PropertyValue);
        check(&[0x17, 2], Place::Connect, ProtocolError::PropertyValue);
        check(&[0x19, 2], Place::Connect, ProtocolError::PropertyValue);
        check(&[0x01, 2], Place::Publish, ProtocolError::PropertyValue);
        check(&[0x0B, 0], Place::Subscribe, ProtocolError::PropertyValue);
        check(&[0x23, 0, 0], Place::Publish, ProtocolError::TopicAlias);
        check(&[0x08, 0, 3, b'a', b'/', b'#'], Place::Publish, ProtocolError::PropertyValue);
        for available in [0x24, 0x25, 0x28, 0x29, 0x2A] {
            check(&[available, 2], Place::Connack, ProtocolError::PropertyValue);
        }
    }

    #[test]
    fn v5_mqtt_3_1_2_most_properties_come_once() {
        let twice = [0x11, 0, 0, 0, 1, 0x11, 0, 0, 0, 2];
        check(&twice, Place::Connect, ProtocolError::PropertyTwice);
        check(&[0x0B, 1, 0x0B, 2], Place::Subscribe, ProtocolError::PropertyTwice);
        assert_eq!(decode(&[0x0B, 1, 0x0B, 2], Place::Publish, Sender::Any), Ok(()));
        let pair = [0x26, 0, 1, b'a', 0, 1, b'b'];
        assert_eq!(decode(&[pair, pair].concat(), Place::Connect, Sender::Client), Ok(()));
        check(&[pair, pair, pair].concat(), Place::Connect, LimitExceeded::UserProperties);
    }

    #[test]
    fn v5_mqtt_3_3_4_6_clients_send_no_subscription_identifiers() {
        check(&[0x0B, 1], Place::Publish, ProtocolError::SubscriptionIdentifier);
        check(&[0x1C, 0, 0], Place::Disconnect, ProtocolError::WrongDirection);
    }

    #[test]
    fn v5_mqtt_1_5_7_1_strings_of_user_properties_are_checked() {
        check(&[0x26, 0, 1, 0xFF, 0, 1, b'b'], Place::Publish, MalformedPacket::Utf8);
        check(&[0x26, 0, 1, b'a', 0, 1, 0], Place::Publish, MalformedPacket::NullCharacter);
        check(&[0x03, 0, 1, 0xFF], Place::Will, MalformedPacket::Utf8); // MQTT-3.3.2-19
    }

    #[test]
    fn v5_mqtt_3_1_2_authentication_data_needs_a_method() {
        check(&[0x16, 0, 1, 1], Place::Connect, ProtocolError::AuthenticationDataAlone);
        let mut properties = PropertiesBuf::new();
        properties.authentication_data(&[1]);
        properties.authentication_method("PLAIN");
        assert_eq!(decode(properties.view().raw(), Place::Auth, Sender::Client), Ok(()));
    }

    #[test]
    fn v5_mqtt_2_2_2_the_length_stays_within_the_packet() {
        let mut cursor = Cursor::new(&[3, 0x17, 1]);
        let result = Properties::decode(&mut cursor, Place::Connect, Sender::Client, 2);
        assert_eq!(result, Err(MalformedPacket::Truncated.into()));
    }
}
