//! Packets that must not be larger than their receiver allows.

use alloc::vec::Vec;

use super::packet;
use crate::packet::{Ack, Auth, Connack, Disconnect, Packet, Suback, Unsuback};
use crate::property::{Properties, PropertiesBuf, PropertyIdentifier};
use crate::version::Version;

/// Appends a packet that must not be larger than `limit` bytes (MQTT-3.1.2-24). If it would be,
/// its User Properties are left out, and if that is not enough its Reason String too (not those of
/// CONNECT, PUBLISH, SUBSCRIBE and UNSUBSCRIBE). If nothing helps, nothing is appended. Answers
/// whether the packet fitted.
pub fn packet_within(what: &Packet<'_>, version: Version, limit: u32, out: &mut Vec<u8>) -> bool {
    let user_properties = [PropertyIdentifier::UserProperty];
    let both = [PropertyIdentifier::UserProperty, PropertyIdentifier::ReasonString];
    fits(what, version, limit, out)
        || without(what, &user_properties, version, limit, out)
        || without(what, &both, version, limit, out)
}

/// Appends a packet if it is not too large.
fn fits(what: &Packet<'_>, version: Version, limit: u32, out: &mut Vec<u8>) -> bool {
    let start = out.len();
    packet(what, version, out);
    let fits = out.len() - start <= limit as usize;
    if !fits {
        out.truncate(start);
    }
    fits
}

/// Appends a packet without some of its properties if that makes it small enough: CONNACK
/// (MQTT-3.2.2-19, MQTT-3.2.2-20), PUBACK (MQTT-3.4.2-2, MQTT-3.4.2-3), PUBREC (MQTT-3.5.2-2,
/// MQTT-3.5.2-3), PUBREL (MQTT-3.6.2-2, MQTT-3.6.2-3), PUBCOMP (MQTT-3.7.2-2, MQTT-3.7.2-3),
/// SUBACK (MQTT-3.9.2-1, MQTT-3.9.2-2), UNSUBACK (MQTT-3.11.2-1, MQTT-3.11.2-2), DISCONNECT
/// (MQTT-3.14.2-3, MQTT-3.14.2-4) and AUTH (MQTT-3.15.2-2, MQTT-3.15.2-3).
fn without(
    what: &Packet<'_>,
    dropped: &[PropertyIdentifier],
    version: Version,
    limit: u32,
    out: &mut Vec<u8>,
) -> bool {
    let kept = |properties: Properties<'_>| {
        let mut kept = PropertiesBuf::new();
        for (identifier, value) in properties.iter() {
            if !dropped.contains(&identifier) {
                kept.push(identifier, value);
            }
        }
        kept
    };
    let kept = match what {
        Packet::Connack(Connack { properties, .. })
        | Packet::Puback(Ack { properties, .. })
        | Packet::Pubrec(Ack { properties, .. })
        | Packet::Pubrel(Ack { properties, .. })
        | Packet::Pubcomp(Ack { properties, .. })
        | Packet::Suback(Suback { properties, .. })
        | Packet::Unsuback(Unsuback { properties, .. })
        | Packet::Disconnect(Disconnect { properties, .. })
        | Packet::Auth(Auth { properties, .. }) => kept(*properties),
        _ => return false,
    };
    let properties = kept.view();
    let reduced = match *what {
        Packet::Connack(packet) => Packet::Connack(Connack { properties, ..packet }),
        Packet::Puback(packet) => Packet::Puback(Ack { properties, ..packet }),
        Packet::Pubrec(packet) => Packet::Pubrec(Ack { properties, ..packet }),
        Packet::Pubrel(packet) => Packet::Pubrel(Ack { properties, ..packet }),
        Packet::Pubcomp(packet) => Packet::Pubcomp(Ack { properties, ..packet }),
        Packet::Suback(packet) => Packet::Suback(Suback { properties, ..packet }),
        Packet::Unsuback(packet) => Packet::Unsuback(Unsuback { properties, ..packet }),
        Packet::Disconnect(packet) => Packet::Disconnect(Disconnect { properties, ..packet }),
        Packet::Auth(packet) => Packet::Auth(Auth { properties, ..packet }),
        _ => return false,
    };
    fits(&reduced, version, limit, out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reason::ReasonCode;

    fn within(what: &Packet<'_>, limit: u32) -> Option<Vec<u8>> {
        let mut out = Vec::from(*b"before");
        let fitted = packet_within(what, Version::V5, limit, &mut out);
        let bytes = out.split_off(6);
        assert_eq!(out, b"before");
        assert_eq!(fitted, !bytes.is_empty());
        fitted.then_some(bytes)
    }

    #[test]
    fn v5_mqtt_3_4_2_2_user_properties_go_first_then_the_reason_string() {
        let mut properties = PropertiesBuf::new();
        properties.reason_string("full");
        properties.user_property("a", "b");
        let reason = ReasonCode::QUOTA_EXCEEDED;
        let ack = Ack { reason, properties: properties.view(), ..Ack::new(1) };
        let puback = Packet::Puback(ack);
        let whole = b"\x40\x12\0\x01\x97\x0E\x1F\0\x04full\x26\0\x01a\0\x01b";
        assert_eq!(within(&puback, 20).as_deref(), Some(&whole[..]));
        let with_reason = b"\x40\x0B\0\x01\x97\x07\x1F\0\x04full";
        assert_eq!(within(&puback, 19).as_deref(), Some(&with_reason[..]));
        assert_eq!(within(&puback, 13).as_deref(), Some(&with_reason[..]));
        assert_eq!(within(&puback, 12).as_deref(), Some(&b"\x40\x03\0\x01\x97"[..]));
        assert_eq!(within(&puback, 4), None);
    }

    #[test]
    fn v5_mqtt_3_2_2_19_other_properties_stay() {
        let mut properties = PropertiesBuf::new();
        properties.user_property("a", "b");
        properties.receive_maximum(20);
        properties.reason_string("hello");
        let connack = Packet::Connack(Connack {
            session_present: false,
            reason: ReasonCode::SUCCESS,
            properties: properties.view(),
        });
        let least = b"\x20\x06\0\0\x03\x21\0\x14";
        assert_eq!(within(&connack, 8).as_deref(), Some(&least[..]));
        assert_eq!(within(&connack, 7), None);
    }

    #[test]
    fn v5_mqtt_3_1_2_24_what_cannot_shrink_is_not_sent() {
        assert_eq!(within(&Packet::Pingresp, 1), None);
        assert_eq!(within(&Packet::Pingresp, 2).as_deref(), Some(&b"\xD0\0"[..]));
    }
}
