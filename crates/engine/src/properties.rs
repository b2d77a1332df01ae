//! Which properties of a message are handed on.

use alloc::borrow::Cow;
use alloc::vec::Vec;

use plimsoll_mqtt::{Properties, PropertyIdentifier, encode};

use crate::message::EXPIRY_LAST;
use crate::time::Time;

/// Properties of a message on its way: what is forwarded as it is (MQTT-3.3.2-4, -15, -16, -17,
/// -20, including Content Type: MQTT-3.3.2-20), and what changes with time.
#[derive(Debug, Default)]
pub(crate) struct Forwarded<'a> {
    bytes: Cow<'a, [u8]>,
    /// Absolute second at which the message expires.
    pub(crate) expires_at: Option<u32>,
}

impl Forwarded<'_> {
    /// Encoded properties, in the publisher's order (MQTT-3.3.2-18).
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// Sorts the properties of a PUBLISH or a will.
pub(crate) fn forwarded<'a>(properties: &Properties<'a>, now: Time) -> Forwarded<'a> {
    if properties.is_empty() {
        return Forwarded::default();
    }
    let expires_at = properties
        .message_expiry_interval()
        .map(|secs| now.as_secs().saturating_add(secs).min(EXPIRY_LAST));
    let own = |identifier| {
        matches!(
            identifier,
            PropertyIdentifier::MessageExpiryInterval
                | PropertyIdentifier::TopicAlias
                | PropertyIdentifier::SubscriptionIdentifier
                | PropertyIdentifier::WillDelayInterval
        )
    };
    if !properties.iter().any(|(identifier, _)| own(identifier)) {
        return Forwarded { bytes: Cow::Borrowed(properties.raw()), expires_at };
    }
    let mut bytes = Vec::with_capacity(properties.raw().len());
    for (identifier, value) in properties.iter().filter(|(identifier, _)| !own(*identifier)) {
        encode::property(&mut bytes, identifier, &value);
    }
    Forwarded { bytes: Cow::Owned(bytes), expires_at }
}
