//! The filters that fill SUBSCRIBE and UNSUBSCRIBE: a list of this side's own, or bytes received.

use crate::decode::Body;
use crate::error::{DecodeError, LimitExceeded, ProtocolError};
use crate::topic::validate_topic_filter;
use crate::version::Version;

/// Where filters come from. `T` is one filter with what belongs to it.
#[derive(Clone, Copy)]
pub(super) enum Filters<'a, T> {
    List(&'a [T]),
    /// Checked.
    Bytes(&'a [u8], Version),
}

/// Reads filters to the end of the packet, each with what `then` reads behind it; answers the
/// bytes that they took.
pub(super) fn decode_filters<'a, 'l>(
    body: &mut Body<'a, 'l>,
    mut then: impl FnMut(&mut Body<'a, 'l>) -> Result<(), DecodeError>,
) -> Result<&'a [u8], DecodeError> {
    let bytes = body.cursor.rest();
    if bytes.is_empty() {
        return Err(ProtocolError::NoFilters.into()); // MQTT-3.8.3-2, MQTT-3.10.3-2
    }
    let mut left = body.limits.filters_max;
    while !body.cursor.is_empty() {
        left = left.checked_sub(1).ok_or(LimitExceeded::Filters)?;
        let filter = body.cursor.string()?; // MQTT-3.8.3-1, MQTT-3.10.3-1
        validate_topic_filter(filter, body.limits.topics)?;
        then(body)?;
    }
    Ok(bytes)
}
