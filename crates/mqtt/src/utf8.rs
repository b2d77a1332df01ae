//! UTF-8 Encoded Strings (MQTT 5.0, 1.5.4).

use crate::error::{DecodeError, MalformedPacket};

/// Checks that `bytes` are well-formed UTF-8 (MQTT-1.5.4-1: no surrogates; no overlong forms
/// either) without U+0000 (MQTT-1.5.4-2). U+FEFF stays what it is (MQTT-1.5.4-3).
#[inline]
pub(crate) fn check(bytes: &[u8]) -> Result<&str, DecodeError> {
    let text = core::str::from_utf8(bytes).map_err(|_| MalformedPacket::Utf8)?;
    if bytes.contains(&0) { Err(MalformedPacket::NullCharacter.into()) } else { Ok(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn v5_mqtt_1_5_4_1_ill_formed_strings_are_refused() {
        let ill_formed: [&[u8]; 6] = [
            b"\xED\xA0\x80",     // a surrogate
            b"\xC0\x80",         // overlong U+0000
            b"\xC0\xAF",         // overlong slash
            b"\xF4\x90\x80\x80", // beyond U+10FFFF
            b"\xFF",
            b"\xE2\x82",
        ];
        for bytes in ill_formed {
            assert_eq!(check(bytes), Err(MalformedPacket::Utf8.into()), "{bytes:?}");
        }
    }

    #[test]
    fn v5_mqtt_1_5_4_2_no_null_character() {
        for bytes in [&b"\0"[..], b"a\0b", "°C\0".as_bytes()] {
            assert_eq!(check(bytes), Err(MalformedPacket::NullCharacter.into()), "{bytes:?}");
        }
    }

    #[test]
    fn v5_mqtt_1_5_4_3_a_byte_order_mark_is_kept() {
        assert_eq!(check("\u{FEFF}°C".as_bytes()), Ok("\u{FEFF}°C"));
    }
}
