//! Properties in the making.

use alloc::vec::Vec;

use super::{Properties, PropertyIdentifier, PropertyValue};
use crate::version::QoS;

/// Encoded properties in the order in which they are put in.
///
/// What goes in is not checked: it is this side's own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PropertiesBuf {
    raw: Vec<u8>,
}

impl PropertiesBuf {
    /// None yet; allocates nothing.
    pub const fn new() -> Self {
        Self { raw: Vec::new() }
    }

    /// What has been put in so far.
    pub fn view(&self) -> Properties<'_> {
        Properties { raw: &self.raw }
    }

    /// Takes everything out again; keeps the memory.
    pub fn clear(&mut self) {
        self.raw.clear();
    }

    /// Appends a property.
    pub fn push(&mut self, identifier: PropertyIdentifier, value: PropertyValue<'_>) {
        value.encode(identifier, &mut self.raw);
    }

    /// Appends a User Property.
    pub fn user_property(&mut self, name: &str, value: &str) {
        self.push(PropertyIdentifier::UserProperty, PropertyValue::Pair(name, value));
    }

    /// Appends Maximum QoS.
    pub fn maximum_qos(&mut self, qos: QoS) {
        self.push(PropertyIdentifier::MaximumQoS, PropertyValue::Number(qos as u32));
    }
}

macro_rules! builders {
    ($($(#[$doc:meta])* $name:ident: $identifier:ident, $variant:ident($type:ty);)*) => {
        impl PropertiesBuf {
            $(
                $(#[$doc])*
                pub fn $name(&mut self, value: $type) {
                    let value = PropertyValue::$variant(value.into());
                    self.push(PropertyIdentifier::$identifier, value);
                }
            )*
        }
    };
}

builders! {
    /// Appends Payload Format Indicator.
    payload_format_indicator: PayloadFormatIndicator, Number(u8);
    /// Appends Message Expiry Interval, seconds.
    message_expiry_interval: MessageExpiryInterval, Number(u32);
    /// Appends Content Type.
    content_type: ContentType, Text(&str);
    /// Appends Response Topic.
    response_topic: ResponseTopic, Text(&str);
    /// Appends Correlation Data.
    correlation_data: CorrelationData, Binary(&[u8]);
    /// Appends Subscription Identifier.
    subscription_identifier: SubscriptionIdentifier, Number(u32);
    /// Appends Session Expiry Interval, seconds.
    session_expiry_interval: SessionExpiryInterval, Number(u32);
    /// Appends Assigned Client Identifier.
    assigned_client_identifier: AssignedClientIdentifier, Text(&str);
    /// Appends Server Keep Alive, seconds.
    server_keep_alive: ServerKeepAlive, Number(u16);
    /// Appends Authentication Method.
    authentication_method: AuthenticationMethod, Text(&str);
    /// Appends Authentication Data.
    authentication_data: AuthenticationData, Binary(&[u8]);
    /// Appends Request Problem Information.
    request_problem_information: RequestProblemInformation, Number(bool);
    /// Appends Will Delay Interval, seconds.
    will_delay_interval: WillDelayInterval, Number(u32);
    /// Appends Request Response Information.
    request_response_information: RequestResponseInformation, Number(bool);
    /// Appends Response Information.
    response_information: ResponseInformation, Text(&str);
    /// Appends Server Reference.
    server_reference: ServerReference, Text(&str);
    /// Appends Reason String.
    reason_string: ReasonString, Text(&str);
    /// Appends Receive Maximum.
    receive_maximum: ReceiveMaximum, Number(u16);
    /// Appends Topic Alias Maximum.
    topic_alias_maximum: TopicAliasMaximum, Number(u16);
    /// Appends Topic Alias.
    topic_alias: TopicAlias, Number(u16);
    /// Appends Retain Available.
    retain_available: RetainAvailable, Number(bool);
    /// Appends Maximum Packet Size, bytes.
    maximum_packet_size: MaximumPacketSize, Number(u32);
    /// Appends Wildcard Subscription Available.
    wildcard_subscription_available: WildcardSubscriptionAvailable, Number(bool);
    /// Appends Subscription Identifiers Available.
    subscription_identifier_available: SubscriptionIdentifierAvailable, Number(bool);
    /// Appends Shared Subscription Available.
    shared_subscription_available: SharedSubscriptionAvailable, Number(bool);
}
