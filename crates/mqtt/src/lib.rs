//! MQTT 3.1, 3.1.1 and 5.0: packets, codec, topic names and filters.
//!
//! - [`decode()`] and [`decode_first`] borrow from the bytes that they are given and allocate
//!   nothing; every size that a peer can announce is checked against [`DecodeLimits`] first.
//! - [`encode`] appends to a buffer; [`encode::PublishStart`] writes a PUBLISH up to its payload.
//! - There is one vocabulary, that of MQTT 5.0. What differs in 3.1 and 3.1.1 is decided here and
//!   nowhere else.
//!
//! Statements of the specifications are cited as `MQTT-x.y.z-n` (5.0) and `MQTT3-x.y.z-n` (3.1.1).
#![no_std]
extern crate alloc;

mod cursor;
mod decode;
pub mod encode;
mod error;
mod packet;
mod property;
mod reason;
#[cfg(test)]
mod tests;
pub mod topic;
mod utf8;
mod version;

pub use decode::{DecodeLimits, Decoded, decode, decode_first};
pub use error::{DecodeError, LimitExceeded, MalformedPacket, ProtocolError, Violation};
pub use packet::{
    Ack, Auth, Connack, Connect, Disconnect, Packet, Publish, Reasons, RetainHandling, Suback,
    Subscribe, SubscribeFilter, SubscriptionOptions, Unsuback, Unsubscribe, Will,
};
pub use property::{Properties, PropertiesBuf, PropertyIdentifier, PropertyValue};
pub use reason::ReasonCode;
pub use topic::TopicFilter;
pub use version::{QoS, Version};
