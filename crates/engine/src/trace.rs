//! Packets in Mosquitto's words, for `log_type debug`. Nothing here runs unless it is on.

use alloc::boxed::Box;
use alloc::format;

use plimsoll_mqtt::encode::AckKind;
use plimsoll_mqtt::{Packet, Publish, ReasonCode};

use crate::dispatch::Dispatch;
use crate::event::Event;
use crate::session::Session;

impl Dispatch {
    /// A packet came.
    pub(crate) fn trace_received(&mut self, session: &Session, packet: &Packet<'_>) {
        if self.settings.trace {
            let client = &session.client_identifier;
            let line = match packet {
                Packet::Publish(publish) => {
                    format!("Received PUBLISH from {client} {}", publish_text(publish))
                }
                Packet::Puback(ack)
                | Packet::Pubrec(ack)
                | Packet::Pubrel(ack)
                | Packet::Pubcomp(ack) => {
                    let (id, reason) = (ack.packet_identifier, ack.reason.byte());
                    format!("Received {} from {client} (Mid: {id}, RC:{reason})", name(packet))
                }
                _ => format!("Received {} from {client}", name(packet)),
            };
            self.event(session.link, Event::Packet { line: Box::from(line) });
        }
    }

    /// A packet goes.
    pub(crate) fn trace_sent(&mut self, session: &Session, packet: &Packet<'_>) {
        if self.settings.trace {
            let client = &session.client_identifier;
            let line = match packet {
                Packet::Publish(publish) => {
                    format!("Sending PUBLISH to {client} {}", publish_text(publish))
                }
                Packet::Connack(connack) => {
                    let present = u8::from(connack.session_present);
                    format!("Sending CONNACK to {client} ({present}, {})", connack.reason.byte())
                }
                _ => format!("Sending {} to {client}", name(packet)),
            };
            self.event(session.link, Event::Packet { line: Box::from(line) });
        }
    }

    /// An acknowledgement goes.
    pub(crate) fn trace_acknowledged(
        &mut self,
        session: &Session,
        kind: AckKind,
        packet_identifier: u16,
        reason: ReasonCode,
    ) {
        if self.settings.trace {
            let kind = match kind {
                AckKind::Puback => "PUBACK",
                AckKind::Pubrec => "PUBREC",
                AckKind::Pubrel => "PUBREL",
                AckKind::Pubcomp => "PUBCOMP",
            };
            let (client, reason) = (&session.client_identifier, reason.byte());
            let line = format!("Sending {kind} to {client} (m{packet_identifier}, rc{reason})");
            self.event(session.link, Event::Packet { line: Box::from(line) });
        }
    }
}

fn publish_text(publish: &Publish<'_>) -> alloc::string::String {
    format!(
        "(d{}, q{}, r{}, m{}, '{}', ... ({} bytes))",
        u8::from(publish.dup),
        publish.qos as u8,
        u8::from(publish.retain),
        publish.packet_identifier,
        publish.topic,
        publish.payload.len(),
    )
}

fn name(packet: &Packet<'_>) -> &'static str {
    match packet {
        Packet::Connect(_) => "CONNECT",
        Packet::Connack(_) => "CONNACK",
        Packet::Publish(_) => "PUBLISH",
        Packet::Puback(_) => "PUBACK",
        Packet::Pubrec(_) => "PUBREC",
        Packet::Pubrel(_) => "PUBREL",
        Packet::Pubcomp(_) => "PUBCOMP",
        Packet::Subscribe(_) => "SUBSCRIBE",
        Packet::Suback(_) => "SUBACK",
        Packet::Unsubscribe(_) => "UNSUBSCRIBE",
        Packet::Unsuback(_) => "UNSUBACK",
        Packet::Pingreq => "PINGREQ",
        Packet::Pingresp => "PINGRESP",
        Packet::Disconnect(_) => "DISCONNECT",
        Packet::Auth(_) => "AUTH",
    }
}
