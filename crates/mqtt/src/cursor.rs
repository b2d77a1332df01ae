//! Reading fields from the front of a slice.

use crate::error::{DecodeError, MalformedPacket, ProtocolError};
use crate::utf8;

/// What is left to read. Every read is checked; nothing panics.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Everything that is left.
    pub(crate) fn take_rest(&mut self) -> &'a [u8] {
        core::mem::take(&mut self.rest)
    }

    #[inline]
    pub(crate) fn bytes(&mut self, count: usize) -> Result<&'a [u8], DecodeError> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(MalformedPacket::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(MalformedPacket::Truncated)?;
        self.rest = rest;
        Ok(*taken)
    }

    #[inline]
    pub(crate) fn u8(&mut self) -> Result<u8, DecodeError> {
        self.array().map(|[byte]| byte)
    }

    #[inline]
    pub(crate) fn u16(&mut self) -> Result<u16, DecodeError> {
        self.array().map(u16::from_be_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, DecodeError> {
        self.array().map(u32::from_be_bytes)
    }

    /// A packet identifier, which is never 0 (MQTT-2.2.1-3).
    #[inline]
    pub(crate) fn packet_identifier(&mut self) -> Result<u16, DecodeError> {
        match self.u16()? {
            0 => Err(ProtocolError::PacketIdentifier.into()),
            identifier => Ok(identifier),
        }
    }

    /// Binary Data: bytes behind their length of two bytes (MQTT 5.0, 1.5.6).
    #[inline]
    pub(crate) fn binary(&mut self) -> Result<&'a [u8], DecodeError> {
        let len = self.u16()?;
        self.bytes(usize::from(len))
    }

    /// A UTF-8 Encoded String (MQTT 5.0, 1.5.4).
    #[inline]
    pub(crate) fn string(&mut self) -> Result<&'a str, DecodeError> {
        utf8::check(self.binary()?)
    }

    /// A Variable Byte Integer (MQTT 5.0, 1.5.5) in no more bytes than it needs (MQTT-1.5.5-1).
    #[inline]
    pub(crate) fn variable(&mut self) -> Result<u32, DecodeError> {
        let mut value = 0;
        for shift in [0, 7, 14, 21] {
            let byte = self.u8()?;
            value |= u32::from(byte & 0x7F) << shift;
            if byte & 0x80 != 0 {
                continue;
            }
            if byte == 0 && shift > 0 {
                break;
            }
            return Ok(value);
        }
        Err(MalformedPacket::VariableByteInteger.into())
    }

    /// Nothing may be left.
    #[inline]
    pub(crate) fn end(&self) -> Result<(), DecodeError> {
        if self.rest.is_empty() { Ok(()) } else { Err(MalformedPacket::TrailingBytes.into()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn v5_mqtt_1_5_5_1_variable_byte_integers() {
        let cases: [(&[u8], u32); 6] = [
            (&[0x00], 0),
            (&[0x7F], 127),
            (&[0x80, 0x01], 128),
            (&[0xFF, 0x7F], 16_383),
            (&[0x80, 0x80, 0x80, 0x01], 2_097_152),
            (&[0xFF, 0xFF, 0xFF, 0x7F], 268_435_455),
        ];
        for (bytes, value) in cases {
            assert_eq!(Cursor::new(bytes).variable(), Ok(value));
        }
        for bytes in [&[0x80, 0x00][..], &[0xFF, 0x80, 0x00], &[0xFF, 0xFF, 0xFF, 0xFF, 0x01]] {
            let error = MalformedPacket::VariableByteInteger.into();
            assert_eq!(Cursor::new(bytes).variable(), Err(error), "{bytes:?}");
        }
        assert_eq!(Cursor::new(&[0x80]).variable(), Err(MalformedPacket::Truncated.into()));
    }

    #[test]
    fn v5_mqtt_1_5_6_lengths_beyond_the_end_are_refused() {
        let mut cursor = Cursor::new(&[0, 2, 1, 2, 0, 3, 1]);
        assert_eq!(cursor.binary(), Ok(&[1, 2][..]));
        assert_eq!(cursor.binary(), Err(MalformedPacket::Truncated.into()));
        assert_eq!(Cursor::new(&[1]).u16(), Err(MalformedPacket::Truncated.into()));
    }
}
