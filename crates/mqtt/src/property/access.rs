//! Typed access to properties.

use super::{Properties, PropertyIdentifier, PropertyValue};
use crate::version::QoS;

impl<'a> Properties<'a> {
    fn number(&self, wanted: PropertyIdentifier) -> Option<u32> {
        match self.find(wanted)? {
            PropertyValue::Number(number) => Some(number),
            _ => None,
        }
    }

    fn text(&self, wanted: PropertyIdentifier) -> Option<&'a str> {
        match self.find(wanted)? {
            PropertyValue::Text(text) => Some(text),
            _ => None,
        }
    }

    fn binary(&self, wanted: PropertyIdentifier) -> Option<&'a [u8]> {
        match self.find(wanted)? {
            PropertyValue::Binary(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// User Properties, in order (MQTT-3.1.3-10, MQTT-3.3.2-18).
    pub fn user_properties(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        self.iter().filter_map(|(_, value)| match value {
            PropertyValue::Pair(name, value) => Some((name, value)),
            _ => None,
        })
    }

    /// Subscription Identifiers, in order.
    pub fn subscription_identifiers(&self) -> impl Iterator<Item = u32> + use<'a> {
        self.iter().filter_map(|property| match property {
            (PropertyIdentifier::SubscriptionIdentifier, PropertyValue::Number(number)) => {
                Some(number)
            }
            _ => None,
        })
    }

    /// Maximum QoS.
    pub fn maximum_qos(&self) -> Option<QoS> {
        QoS::try_from(self.number(PropertyIdentifier::MaximumQoS)? as u8).ok()
    }
}

macro_rules! accessors {
    ($($(#[$doc:meta])* $name:ident: $identifier:ident => $kind:ident as $type:ty;)*) => {
        impl<'a> Properties<'a> {
            $(
                $(#[$doc])*
                pub fn $name(&self) -> Option<$type> {
                    self.$kind(PropertyIdentifier::$identifier).map(|value| value as $type)
                }
            )*
        }
    };
}

accessors! {
    /// Payload Format Indicator: 1 says that the payload is UTF-8.
    payload_format_indicator: PayloadFormatIndicator => number as u8;
    /// Message Expiry Interval, seconds.
    message_expiry_interval: MessageExpiryInterval => number as u32;
    /// Content Type.
    content_type: ContentType => text as &'a str;
    /// Response Topic.
    response_topic: ResponseTopic => text as &'a str;
    /// Correlation Data.
    correlation_data: CorrelationData => binary as &'a [u8];
    /// Session Expiry Interval, seconds; `u32::MAX` is never.
    session_expiry_interval: SessionExpiryInterval => number as u32;
    /// Assigned Client Identifier.
    assigned_client_identifier: AssignedClientIdentifier => text as &'a str;
    /// Server Keep Alive, seconds.
    server_keep_alive: ServerKeepAlive => number as u16;
    /// Authentication Method.
    authentication_method: AuthenticationMethod => text as &'a str;
    /// Authentication Data.
    authentication_data: AuthenticationData => binary as &'a [u8];
    /// Will Delay Interval, seconds.
    will_delay_interval: WillDelayInterval => number as u32;
    /// Response Information.
    response_information: ResponseInformation => text as &'a str;
    /// Server Reference.
    server_reference: ServerReference => text as &'a str;
    /// Reason String.
    reason_string: ReasonString => text as &'a str;
    /// Receive Maximum; never 0.
    receive_maximum: ReceiveMaximum => number as u16;
    /// Topic Alias Maximum.
    topic_alias_maximum: TopicAliasMaximum => number as u16;
    /// Topic Alias; never 0.
    topic_alias: TopicAlias => number as u16;
    /// Maximum Packet Size, bytes; never 0.
    maximum_packet_size: MaximumPacketSize => number as u32;
}

macro_rules! switches {
    ($($(#[$doc:meta])* $name:ident: $identifier:ident;)*) => {
        impl Properties<'_> {
            $(
                $(#[$doc])*
                pub fn $name(&self) -> Option<bool> {
                    self.number(PropertyIdentifier::$identifier).map(|value| value != 0)
                }
            )*
        }
    };
}

switches! {
    /// Request Problem Information.
    request_problem_information: RequestProblemInformation;
    /// Request Response Information.
    request_response_information: RequestResponseInformation;
    /// Retain Available.
    retain_available: RetainAvailable;
    /// Wildcard Subscription Available.
    wildcard_subscription_available: WildcardSubscriptionAvailable;
    /// Subscription Identifiers Available.
    subscription_identifier_available: SubscriptionIdentifierAvailable;
    /// Shared Subscription Available.
    shared_subscription_available: SharedSubscriptionAvailable;
}

#[cfg(test)]
mod tests {
    use super::super::PropertiesBuf;
    use super::*;

    #[test]
    fn v5_mqtt_3_3_2_18_user_properties_keep_their_order() {
        let mut properties = PropertiesBuf::new();
        properties.user_property("b", "1");
        properties.topic_alias(7);
        properties.user_property("a", "2");
        properties.user_property("b", "1");
        let expected = [("b", "1"), ("a", "2"), ("b", "1")];
        assert!(properties.view().user_properties().eq(expected));
        assert_eq!(properties.view().topic_alias(), Some(7));
    }

    #[test]
    fn v5_mqtt_2_2_2_every_property_is_found_behind_others() {
        let mut properties = PropertiesBuf::new();
        properties.user_property("name", "value");
        properties.correlation_data(&[0x02, 0xFF]);
        properties.content_type("text/plain");
        properties.payload_format_indicator(1);
        properties.subscription_identifier(16_384);
        properties.subscription_identifier(1);
        properties.message_expiry_interval(60);
        properties.server_keep_alive(30);
        properties.maximum_qos(QoS::AtLeastOnce);
        properties.retain_available(false);
        let view = properties.view();
        assert_eq!(view.message_expiry_interval(), Some(60));
        assert_eq!(view.correlation_data(), Some(&[0x02, 0xFF][..]));
        assert_eq!(view.content_type(), Some("text/plain"));
        assert_eq!(view.payload_format_indicator(), Some(1));
        assert_eq!(view.server_keep_alive(), Some(30));
        assert_eq!(view.maximum_qos(), Some(QoS::AtLeastOnce));
        assert_eq!(view.retain_available(), Some(false));
        assert_eq!(view.reason_string(), None);
        assert!(view.subscription_identifiers().eq([16_384, 1]));
    }
}
