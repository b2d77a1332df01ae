//! Clients that fill a broker up until it does not take more.

use std::collections::VecDeque;
use std::time::Instant;

use plimsoll_mqtt::{Packet, Publish, QoS, Version, encode};

use super::topics::Topics;
use crate::load::{Handler, Latency, Reading, acknowledge, subscribe};

/// Messages under way on one link.
const WINDOW: usize = 64;

/// What the broker is filled with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum What {
    /// Retained messages, each on a topic of its own
    Retained,
    /// Connections that do nothing
    Connections,
    /// Messages for sessions that are away
    Queued,
}

/// What happens on the links.
pub(super) struct Filler {
    pub(super) what: What,
    pub(super) version: Version,
    /// Things that the broker has taken.
    pub(super) taken: u64,
    /// Things in a row that it has refused, and how it said so.
    pub(super) refused: u64,
    pub(super) reason: String,
    /// Links that it has closed.
    pub(super) closed: u64,
    /// Messages that came: those of sessions that are back.
    pub(super) got: u64,
    pub(super) ready: u64,
    /// Whether publishers go on.
    pub(super) active: bool,
    pub(super) latency_us: Latency,
    /// The sessions that messages are for.
    pub(super) sessions: u32,
    next: u32,
    links: Vec<VecDeque<(u16, Instant)>>,
    identifiers: u16,
    payload: Vec<u8>,
}

impl Filler {
    pub(super) fn new(what: What, version: Version, sessions: u32) -> Result<Self, String> {
        Ok(Self {
            what,
            version,
            taken: 0,
            refused: 0,
            reason: String::new(),
            closed: 0,
            got: 0,
            ready: 0,
            active: false,
            latency_us: Latency::new()?,
            sessions,
            next: 0,
            links: Vec::new(),
            identifiers: 0,
            payload: Vec::new(),
        })
    }

    /// Appends messages up to a full window.
    pub(super) fn refill(&mut self, link: usize, out: &mut Vec<u8>) {
        if !self.active {
            return;
        }
        if self.links.len() <= link {
            self.links.resize(link + 1, VecDeque::new());
        }
        let topics = Topics::new(u32::MAX, 14);
        let mut topic = Vec::new();
        while self.links.get(link).is_some_and(|waiting| waiting.len() < WINDOW) {
            let number = self.next;
            self.next += 1;
            self.identifiers = self.identifiers.checked_add(1).unwrap_or(1);
            let reading =
                Reading { sensor: number, sequence: 0, due_us: 0, hundredths: 2150, unit: "°C" };
            reading.write(&mut self.payload);
            let retain = self.what == What::Retained;
            if retain {
                topics.write(number, &mut topic);
            } else {
                topic = format!("absent/{}", number % self.sessions.max(1)).into_bytes();
            }
            let packet = Packet::Publish(Publish {
                dup: false,
                qos: QoS::AtLeastOnce,
                retain,
                topic: std::str::from_utf8(&topic).unwrap_or_default(),
                packet_identifier: self.identifiers,
                properties: Default::default(),
                payload: &self.payload,
            });
            encode::packet(&packet, self.version, out);
            if let Some(waiting) = self.links.get_mut(link) {
                waiting.push_back((self.identifiers, Instant::now()));
            }
        }
    }

    fn refuse(&mut self, reason: String) {
        self.refused += 1;
        self.reason = reason;
    }
}

impl Handler for Filler {
    fn ready(&mut self, link: usize, present: bool, out: &mut Vec<u8>) {
        self.ready += 1;
        if self.what == What::Connections {
            self.taken += 1;
            self.refused = 0;
        }
        if self.what == What::Queued && !self.active && !present {
            subscribe_to(self.version, &format!("absent/{}", self.ready - 1), out);
        }
        self.refill(link, out);
    }

    fn packet(&mut self, link: usize, packet: &Packet<'_>, out: &mut Vec<u8>) {
        match packet {
            Packet::Puback(ack) => {
                let waiting = self.links.get_mut(link);
                let sent = waiting.and_then(|waiting| {
                    let at =
                        waiting.iter().position(|(known, _)| *known == ack.packet_identifier)?;
                    waiting.remove(at)
                });
                if let Some((_, at)) = sent {
                    self.latency_us.record(at.elapsed().as_micros() as u64);
                }
                // 0x10 is "no matching subscribers", which is no refusal.
                if ack.reason.byte() < 0x80 {
                    self.taken += 1;
                    self.refused = 0;
                } else {
                    self.refuse(ack.reason.to_string());
                }
                self.refill(link, out);
            }
            Packet::Publish(message) => {
                self.got += 1;
                acknowledge(out, message);
            }
            Packet::Disconnect(disconnect) => self.reason = disconnect.reason.to_string(),
            _ => {}
        }
    }

    fn lost(&mut self, link: usize, why: &str) {
        self.closed += 1;
        if self.reason.is_empty() || why.contains("refused") {
            why.clone_into(&mut self.reason);
        }
        if self.what == What::Connections {
            self.refused += 1;
        }
        if let Some(waiting) = self.links.get_mut(link) {
            waiting.clear();
        }
    }
}

/// Appends a SUBSCRIBE in either version.
fn subscribe_to(version: Version, filter: &str, out: &mut Vec<u8>) {
    if version.is_v5() {
        let options =
            plimsoll_mqtt::SubscriptionOptions { qos: QoS::AtLeastOnce, ..Default::default() };
        let filters = [plimsoll_mqtt::SubscribeFilter { filter, options }];
        let subscribe = plimsoll_mqtt::Subscribe::new(1, &filters);
        encode::packet(&Packet::Subscribe(subscribe), version, out);
    } else {
        subscribe(out, 1, QoS::AtLeastOnce, &[filter]);
    }
}
