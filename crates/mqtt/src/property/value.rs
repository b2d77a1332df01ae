//! Values of properties, decoded and encoded.

use alloc::vec::Vec;

use super::identifier::{Encoding, PropertyIdentifier};
use crate::cursor::Cursor;
use crate::encode;
use crate::error::DecodeError;

/// A property's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PropertyValue<'a> {
    /// Byte, Two Byte, Four Byte or Variable Byte Integer.
    Number(u32),
    /// UTF-8 Encoded String.
    Text(&'a str),
    /// Binary Data.
    Binary(&'a [u8]),
    /// UTF-8 String Pair: name and value of a User Property.
    Pair(&'a str, &'a str),
}

impl<'a> PropertyValue<'a> {
    /// Reads the value that follows an identifier (MQTT-1.5.7-1: both strings of a pair too).
    #[inline]
    pub(crate) fn decode(
        identifier: PropertyIdentifier,
        cursor: &mut Cursor<'a>,
    ) -> Result<Self, DecodeError> {
        Ok(match identifier.encoding() {
            Encoding::Byte => Self::Number(u32::from(cursor.u8()?)),
            Encoding::TwoByteInteger => Self::Number(u32::from(cursor.u16()?)),
            Encoding::FourByteInteger => Self::Number(cursor.u32()?),
            Encoding::VariableByteInteger => Self::Number(cursor.variable()?),
            Encoding::Text => Self::Text(cursor.string()?),
            Encoding::Binary => Self::Binary(cursor.binary()?),
            Encoding::TextPair => Self::Pair(cursor.string()?, cursor.string()?),
        })
    }

    /// Passes over the value that follows an identifier.
    #[inline]
    pub(crate) fn skip(
        identifier: PropertyIdentifier,
        cursor: &mut Cursor<'a>,
    ) -> Result<(), DecodeError> {
        match identifier.encoding() {
            Encoding::Byte => cursor.bytes(1)?,
            Encoding::TwoByteInteger => cursor.bytes(2)?,
            Encoding::FourByteInteger => cursor.bytes(4)?,
            Encoding::VariableByteInteger => return cursor.variable().map(|_| ()),
            Encoding::Text | Encoding::Binary => cursor.binary()?,
            Encoding::TextPair => {
                cursor.binary()?;
                cursor.binary()?
            }
        };
        Ok(())
    }

    /// Appends a property. A number that the identifier's encoding has no room for loses its
    /// upper bytes, and a value of another kind than the identifier's is encoded as that.
    pub(crate) fn encode(&self, identifier: PropertyIdentifier, out: &mut Vec<u8>) {
        out.push(identifier as u8);
        match *self {
            Self::Number(number) => match identifier.encoding() {
                Encoding::Byte => out.push(number as u8),
                Encoding::TwoByteInteger => out.extend_from_slice(&(number as u16).to_be_bytes()),
                Encoding::FourByteInteger => out.extend_from_slice(&number.to_be_bytes()),
                _ => encode::variable(out, number as usize),
            },
            Self::Text(text) => encode::string(out, text),
            Self::Binary(bytes) => encode::binary(out, bytes),
            Self::Pair(name, value) => {
                encode::string(out, name);
                encode::string(out, value);
            }
        }
    }
}
