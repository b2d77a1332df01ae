//! UTF-8 Encoded Strings (MQTT 5.0, 1.5.4).

use crate::error::DecodeError;

/// Checks that `bytes` are well-formed UTF-8 (MQTT-1.5.4-1: no surrogates; no overlong forms
/// either) without U+0000 (MQTT-1.5.4-2).
pub(crate) fn check(bytes: &[u8]) -> Result<&str, DecodeError> {
    let text = core::str::from_utf8(bytes).map_err(|_| DecodeError::Utf8)?;
    if has_nul(bytes) {
        return Err(DecodeError::Utf8);
    }
    Ok(text)
}

/// Whether a byte is 0, without a branch for each.
fn has_nul(bytes: &[u8]) -> bool {
    bytes.iter().fold(false, |found, &byte| found | (byte == 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn v5_mqtt_1_5_4_1_and_2_ill_formed_strings_are_refused() {
        let ill: [&[u8]; 6] = [
            b"\xED\xA0\x80",     // a surrogate
            b"\xC0\x80",         // overlong U+0000
            b"\xF4\x90\x80\x80", // beyond U+10FFFF
            b"a\0b",
            b"\xFF",
            b"\xE2\x82",
        ];
        for bytes in ill {
            assert_eq!(check(bytes), Err(DecodeError::Utf8), "{bytes:?}");
        }
        // MQTT-1.5.4-3: U+FEFF is kept.
        assert_eq!(check("\u{FEFF}°C".as_bytes()), Ok("\u{FEFF}°C"));
    }
}
