//! A message as it stands in a page.
//!
//! ```text
//! flags 1 B   bits 0–1 QoS, bit 2 expiry, bit 3 properties, bit 4 blob
//! written     second in which it was published, 4 B; 0 is unknown
//! expiry      4 B, if bit 2
//! properties  length, 4 B, if bit 3
//! then        number of the blob, 4 B, if bit 4; else properties and payload
//! ```

use alloc::vec::Vec;

use super::RetainedMessage;

const EXPIRY: u8 = 1 << 2;
const PROPERTIES: u8 = 1 << 3;
const BLOB: u8 = 1 << 4;

/// A record taken apart.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Record<'a> {
    pub(super) qos: u8,
    pub(super) expires_at: Option<u32>,
    pub(super) written_at: Option<u32>,
    pub(super) properties_len: usize,
    pub(super) blob: Option<u32>,
    /// Properties and payload, unless they are in a blob.
    pub(super) bytes: &'a [u8],
}

pub(super) fn encode(message: &RetainedMessage<'_>, blob: Option<u32>) -> Vec<u8> {
    let inline = message.properties.len() + message.payload.len();
    let mut out = Vec::with_capacity(17 + if blob.is_some() { 0 } else { inline });
    let flag = |set: bool, bit: u8| if set { bit } else { 0 };
    out.push(
        message.qos & 0b11
            | flag(message.expires_at.is_some(), EXPIRY)
            | flag(!message.properties.is_empty(), PROPERTIES)
            | flag(blob.is_some(), BLOB),
    );
    out.extend_from_slice(&message.written_at.unwrap_or(0).to_le_bytes());
    if let Some(at) = message.expires_at {
        out.extend_from_slice(&at.to_le_bytes());
    }
    if !message.properties.is_empty() {
        out.extend_from_slice(&(message.properties.len() as u32).to_le_bytes());
    }
    match blob {
        Some(number) => out.extend_from_slice(&number.to_le_bytes()),
        None => {
            out.extend_from_slice(message.properties);
            out.extend_from_slice(message.payload);
        }
    }
    out
}

impl<'a> Record<'a> {
    /// Reads a record that [`encode`] made.
    pub(super) fn of(bytes: &'a [u8]) -> Self {
        let Some((&flags, mut rest)) = bytes.split_first() else { return Self::default() };
        let written_at = match rest.split_first_chunk() {
            None | Some((&[0, 0, 0, 0], _)) => None,
            Some((bytes, _)) => Some(u32::from_le_bytes(*bytes)),
        };
        rest = rest.get(4..).unwrap_or_default();
        let mut number = |bit: u8| {
            if flags & bit == 0 {
                return None;
            }
            let (number, behind) = rest.split_first_chunk()?;
            rest = behind;
            Some(u32::from_le_bytes(*number))
        };
        let expires_at = number(EXPIRY);
        let properties_len = number(PROPERTIES).unwrap_or(0) as usize;
        let blob = number(BLOB);
        Self { qos: flags & 0b11, expires_at, written_at, properties_len, blob, bytes: rest }
    }
}
