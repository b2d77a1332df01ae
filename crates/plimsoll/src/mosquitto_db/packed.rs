//! Chunks of versions 2 to 4 (Mosquitto 0.15 to 1.5): field by field, without padding, each string
//! behind its length.

use std::borrow::Cow;

use super::chunks::Chunk;
use super::fields::{Fields, known};
use super::record::{self, Client, Entry, Message, Record, Subscription};
use super::summary::Flaw;

/// Reads a chunk.
pub(super) fn read<'a>(chunk: &Chunk<'a>, version: u32) -> Result<Record<'a>, Flaw> {
    let fields = Fields(chunk.body);
    let record = match chunk.kind {
        1 => configuration(fields),
        2 => return message(fields, version),
        3 => return entry(fields),
        4 => { fields }.number().map(Record::Retained),
        5 => return subscription(fields),
        6 => return client(fields, version),
        kind => return Err(Flaw::Kind(kind)),
    };
    record.ok_or(Flaw::TooShort)
}

fn configuration(mut fields: Fields<'_>) -> Option<Record<'_>> {
    let _shutdown = fields.u8()?;
    fields.u8().map(|number_size| Record::Configuration { number_size })
}

fn message(mut fields: Fields<'_>, version: u32) -> Result<Record<'_>, Flaw> {
    let (number, topic, qos, retain, payload) =
        message_fields(&mut fields, version).ok_or(Flaw::TooShort)?;
    let message = Message {
        topic: record::topic(topic)?,
        payload,
        properties: Cow::Borrowed(&[]),
        qos: record::qos(qos)?,
        retain: retain != 0,
        expires_at: None,
    };
    Ok(Record::Message { number, message })
}

type MessageFields<'a> = (u64, &'a [u8], u8, u8, &'a [u8]);

fn message_fields<'a>(fields: &mut Fields<'a>, version: u32) -> Option<MessageFields<'a>> {
    let number = fields.number()?;
    let _source = fields.text()?;
    if version == 4 {
        let _username = fields.text()?;
        let _port = fields.u16()?;
    }
    let _source_packet_identifier = fields.u16()?;
    let _packet_identifier = fields.u16()?;
    let topic = fields.text()?;
    let (qos, retain) = (fields.u8()?, fields.u8()?);
    let len = fields.u32()?;
    let payload = fields.bytes(usize::try_from(len).ok()?)?;
    Some((number, topic, qos, retain, payload))
}

fn entry(mut fields: Fields<'_>) -> Result<Record<'_>, Flaw> {
    let client = fields.text().ok_or(Flaw::TooShort)?;
    let (message, packet_identifier, [qos, retain, direction, state]) =
        entry_fields(&mut fields).ok_or(Flaw::TooShort)?;
    Ok(Record::Entry(Entry {
        client: record::client(client)?,
        message,
        packet_identifier,
        qos: record::qos(qos)?,
        retain: retain != 0,
        inward: direction == 0,
        state,
        identifiers: Vec::new(),
    }))
}

fn entry_fields(fields: &mut Fields<'_>) -> Option<(u64, u16, [u8; 4])> {
    let (message, packet_identifier) = (fields.number()?, fields.u16()?);
    let bytes = [fields.u8()?, fields.u8()?, fields.u8()?, fields.u8()?];
    let _dup = fields.u8()?;
    Some((message, packet_identifier, bytes))
}

fn subscription(mut fields: Fields<'_>) -> Result<Record<'_>, Flaw> {
    let client = fields.text().ok_or(Flaw::TooShort)?;
    let filter = fields.text().ok_or(Flaw::TooShort)?;
    let qos = fields.u8().ok_or(Flaw::TooShort)?;
    Ok(Record::Subscription(Subscription {
        client: record::client(client)?,
        filter: record::filter(filter)?,
        qos: record::qos(qos)?,
        identifier: 0,
        no_local: false,
        retain_as_published: false,
    }))
}

fn client(mut fields: Fields<'_>, version: u32) -> Result<Record<'_>, Flaw> {
    let identifier = fields.text().ok_or(Flaw::TooShort)?;
    let _last_packet_identifier = fields.u16().ok_or(Flaw::TooShort)?;
    let lost_at = match (version, fields.0.len()) {
        (2, _) => Some(0),
        (_, 4) => fields.short_time(),
        _ => fields.time(),
    };
    Ok(Record::Client(Client {
        identifier: record::client(identifier)?,
        username: &[],
        lost_at: known(lost_at.ok_or(Flaw::TooShort)?),
        expires_at: None,
        expiry_interval: u32::MAX, // Sessions that end by themselves came with version 5.
    }))
}
