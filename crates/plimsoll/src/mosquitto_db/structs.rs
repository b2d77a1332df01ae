//! Chunks of versions 5 and 6 (Mosquitto 1.6 and 2): a C struct, padded as the compiler did it, with
//! the lengths of the strings behind it.

use super::chunks::Chunk;
use super::fields::{Fields, known};
use super::record::{self, Client, Entry, Message, Record, Subscription};
use super::summary::Flaw;

/// Options of a subscription, as SUBSCRIBE has them.
const NO_LOCAL: u8 = 1 << 2;
const RETAIN_AS_PUBLISHED: u8 = 1 << 3;

/// Reads a chunk.
pub(super) fn read<'a>(chunk: &Chunk<'a>, version: u32) -> Result<Record<'a>, Flaw> {
    let mut fields = Fields(chunk.body);
    let record = match chunk.kind {
        1 => configuration(fields),
        2 => return message(&message_fields(&mut fields).ok_or(Flaw::TooShort)?, fields),
        3 => return entry(fields),
        4 => fields.number().map(Record::Retained),
        5 => return subscription(fields),
        6 => return client(fields, version),
        kind => return Err(Flaw::Kind(kind)),
    };
    record.ok_or(Flaw::TooShort)
}

/// `last_db_id` u64, `shutdown` u8, `dbid_size` u8; padding.
fn configuration(mut fields: Fields<'_>) -> Option<Record<'_>> {
    let (_last_number, _shutdown) = (fields.number()?, fields.u8()?);
    fields.u8().map(|number_size| Record::Configuration { number_size })
}

struct MessageFields {
    number: u64,
    expires_at: u64,
    payload_len: u32,
    source_len: u16,
    username_len: u16,
    topic_len: u16,
    qos: u8,
    retain: u8,
}

/// `store_id` u64, `expiry_time` i64, `payloadlen` u32, `source_mid`, `source_id_len`,
/// `source_username_len`, `topic_len`, `source_port` u16, `qos`, `retain` u8: 32 bytes.
fn message_fields(fields: &mut Fields<'_>) -> Option<MessageFields> {
    let (number, expires_at, payload_len) = (fields.number()?, fields.time()?, fields.u32()?);
    let _source_packet_identifier = fields.u16()?;
    let (source_len, username_len) = (fields.u16()?, fields.u16()?);
    let topic_len = fields.u16()?;
    let _port = fields.u16()?;
    let (qos, retain) = (fields.u8()?, fields.u8()?);
    Some(MessageFields {
        number,
        expires_at,
        payload_len,
        source_len,
        username_len,
        topic_len,
        qos,
        retain,
    })
}

/// Behind the struct: source, user name, topic, payload, and properties up to the chunk's end.
fn message<'a>(head: &MessageFields, mut fields: Fields<'a>) -> Result<Record<'a>, Flaw> {
    let mut bytes = |len: usize| fields.bytes(len).ok_or(Flaw::TooShort);
    let _source = bytes(head.source_len.into())?;
    let _username = bytes(head.username_len.into())?;
    let topic = bytes(head.topic_len.into())?;
    let payload = bytes(usize::try_from(head.payload_len).map_err(|_| Flaw::TooShort)?)?;
    let properties = record::properties(fields.0)?;
    let message = Message {
        topic: record::topic(topic)?,
        payload,
        properties: record::forwarded(&properties),
        qos: record::qos(head.qos)?,
        retain: head.retain != 0,
        expires_at: known(head.expires_at).and_then(|second| u32::try_from(second).ok()),
    };
    Ok(Record::Message { number: head.number, message })
}

/// `store_id` u64, `mid`, `id_len` u16, `qos`, `state`, `retain_dup`, `direction` u8: 16 bytes; then
/// the client identifier, and properties (Subscription Identifiers) up to the chunk's end.
fn entry(mut fields: Fields<'_>) -> Result<Record<'_>, Flaw> {
    let (message, packet_identifier, [qos, state, retain_dup, direction], client) =
        entry_fields(&mut fields).ok_or(Flaw::TooShort)?;
    let properties = record::properties(fields.0)?;
    Ok(Record::Entry(Entry {
        client: record::client(client)?,
        message,
        packet_identifier,
        qos: record::qos(qos)?,
        retain: retain_dup & 0xF0 != 0,
        inward: direction == 0,
        state,
        identifiers: properties.subscription_identifiers().collect(),
    }))
}

type EntryFields<'a> = (u64, u16, [u8; 4], &'a [u8]);

fn entry_fields<'a>(fields: &mut Fields<'a>) -> Option<EntryFields<'a>> {
    let (message, packet_identifier) = (fields.number()?, fields.u16()?);
    let client_len = fields.u16()?;
    let bytes = [fields.u8()?, fields.u8()?, fields.u8()?, fields.u8()?];
    Some((message, packet_identifier, bytes, fields.bytes(client_len.into())?))
}

/// `identifier` u32, `id_len`, `topic_len` u16, `qos`, `options` u8; two bytes of padding; then the
/// client identifier and the filter.
fn subscription(mut fields: Fields<'_>) -> Result<Record<'_>, Flaw> {
    let (identifier, [qos, options], client, filter) =
        subscription_fields(&mut fields).ok_or(Flaw::TooShort)?;
    Ok(Record::Subscription(Subscription {
        client: record::client(client)?,
        filter: record::filter(filter)?,
        qos: record::qos(qos)?,
        identifier: if identifier < 1 << 28 { identifier } else { return Err(Flaw::Identifier) },
        no_local: options & NO_LOCAL != 0,
        retain_as_published: options & RETAIN_AS_PUBLISHED != 0,
    }))
}

type SubscriptionFields<'a> = (u32, [u8; 2], &'a [u8], &'a [u8]);

fn subscription_fields<'a>(fields: &mut Fields<'a>) -> Option<SubscriptionFields<'a>> {
    let identifier = fields.u32()?;
    let (client_len, filter_len) = (fields.u16()?, fields.u16()?);
    let options = [fields.u8()?, fields.u8()?];
    let _padding = fields.u16()?;
    let client = fields.bytes(client_len.into())?;
    Some((identifier, options, client, fields.bytes(filter_len.into())?))
}

/// `session_expiry_time` i64, `session_expiry_interval` u32, `last_mid`, `id_len` u16; from version
/// 6 on `listener_port`, `username_len` u16, and padding to the alignment of the 64-bit time, which
/// is 4 on 32-bit x86 and 8 elsewhere; then client identifier and user name.
fn client(mut fields: Fields<'_>, version: u32) -> Result<Record<'_>, Flaw> {
    let (expires_at, expiry_interval, identifier, username) =
        client_fields(&mut fields, version).ok_or(Flaw::TooShort)?;
    Ok(Record::Client(Client {
        identifier: record::client(identifier)?,
        username,
        lost_at: None,
        expires_at: known(expires_at),
        expiry_interval,
    }))
}

type ClientFields<'a> = (u64, u32, &'a [u8], &'a [u8]);

fn client_fields<'a>(fields: &mut Fields<'a>, version: u32) -> Option<ClientFields<'a>> {
    let (expires_at, expiry_interval) = (fields.time()?, fields.u32()?);
    let _last_packet_identifier = fields.u16()?;
    let identifier_len = usize::from(fields.u16()?);
    let mut username_len = 0;
    if version >= 6 {
        let _port = fields.u16()?;
        username_len = usize::from(fields.u16()?);
        let padding = fields.0.len().checked_sub(identifier_len + username_len)?;
        fields.bytes(padding.min(4))?;
    }
    let identifier = fields.bytes(identifier_len)?;
    Some((expires_at, expiry_interval, identifier, fields.bytes(username_len)?))
}
