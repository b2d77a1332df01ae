//! All clients of a soak, and what they do when something comes in.

use std::collections::HashSet;
use std::time::Instant;

use plimsoll_mqtt::{Packet, Publish, QoS};
use serde::{Deserialize, Serialize};

use super::absent::Absent;
use super::books::Books;
use super::churner::Churn;
use super::latencies::Latencies;
use super::outcome::Woes;
use super::publisher::{Body, Publisher, Scratch};
use super::reader::Readers;
use super::scenario::Load;
use super::topics::Topics;
use crate::load::{Gaps, Handler, Random, acknowledge, parse_reading, subscribe};

/// Updates of the plant that is listened to that are under way to the listener at once: far fewer than any
/// broker's queue holds, so that what is missing was lost and not turned away.
const WITNESSED_MAX: u64 = 50;

/// Whose link it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Role {
    #[default]
    Nobody,
    /// Publishes; number 0 has the topics of the plant that is listened to.
    Publisher(usize),
    /// Listens to one plant.
    Witness,
    /// Reads retained messages line by line.
    Reader(usize),
    /// Comes and goes.
    Churner(usize),
    /// Is away while messages for it arrive.
    Absent(usize),
    /// Publishes those messages.
    Courier,
    /// Reads what the broker says of itself.
    Books,
    /// Looks at what is left once all is cleared.
    Inspector,
    /// Is there.
    Idle(usize),
}

/// The links of those who are spoken to by number; `None` while they are not connected.
#[derive(Clone, Debug, Default)]
pub(crate) struct Links {
    pub(crate) publishers: Vec<Option<usize>>,
    pub(crate) readers: Vec<Option<usize>>,
    pub(crate) courier: Option<usize>,
}

/// What the publishers do of themselves when an acknowledgement comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Nothing.
    Quiet,
    /// They keep their windows full, until each topic had its turn if `once`.
    Flood { body: Body, once: bool },
}

/// Events that were completed: those that a leak may go with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Events {
    /// Retained updates that were acknowledged.
    pub(crate) updates: u64,
    /// Clients that came, did something and went.
    pub(crate) connects: u64,
    /// Filters that were subscribed to and unsubscribed from.
    pub(crate) subscriptions: u64,
    /// Messages that were queued for an absent session and got by it.
    pub(crate) queued: u64,
    /// PUBLISH packets that came in, of all kinds.
    pub(crate) received: u64,
}

/// Everything that is known of the clients.
pub(crate) struct World {
    pub(crate) topics: Topics,
    pub(crate) mode: Mode,
    pub(crate) window: usize,
    /// Updates of each topic that were sent, and that were acknowledged.
    pub(crate) sent: Vec<u32>,
    pub(crate) acknowledged: Vec<u32>,
    pub(crate) publishers: Vec<Publisher>,
    /// Updates that were sent to the plant that is listened to.
    pub(crate) witnessed: u64,
    /// Of those, how many are not waited for any more.
    pub(crate) given_up: u64,
    pub(crate) gaps: Gaps,
    pub(crate) readers: Readers,
    pub(crate) churn: Churn,
    pub(crate) absent: Absent,
    pub(crate) books: Books,
    pub(crate) events: Events,
    /// Of the window that goes on.
    pub(crate) latencies: Latencies,
    /// Connections that ended though nobody of us meant it.
    pub(crate) disconnected: u64,
    /// Packets that do not belong here.
    pub(crate) strange: u64,
    /// Why no connection comes about.
    pub(crate) refused: Option<String>,
    /// Links to be closed once their last bytes are sent.
    pub(crate) closing: Vec<usize>,
    /// Who has to connect again.
    pub(crate) redial: Vec<Role>,
    /// Clients whose subscriptions are there, or who need none.
    pub(crate) settled: usize,
    /// Retained messages that were left once all were deleted.
    pub(crate) left_behind: u64,
    pub(crate) links: Links,
    roles: Vec<Role>,
    /// Links that the broker has greeted.
    greeted: Vec<bool>,
    repeated: HashSet<(u32, u32)>,
    scratch: Scratch,
    begin: Instant,
}

impl World {
    pub(crate) fn new(load: &Load, seed: u64, begin: Instant) -> Result<Self, String> {
        let topics = Topics::new(load.retained, load.plants);
        let count = load.publishers as usize;
        let mut lines = vec![Vec::new(); count + 1];
        let mut next = 0;
        for line in 0..topics.lines() {
            let publisher = if topics.plant(line) == 0 {
                0
            } else {
                next = next % count + 1;
                next
            };
            if let Some(lines) = lines.get_mut(publisher) {
                lines.push(line);
            }
        }
        let mut random = Random::new(seed);
        for lines in &mut lines {
            random.shuffle(lines);
        }
        let mut gaps = Gaps::new(load.retained as usize);
        for topic in 0..load.retained {
            gaps.expect(topic, 0);
        }
        Ok(Self {
            topics,
            mode: Mode::Quiet,
            window: load.window as usize,
            sent: vec![0; load.retained as usize],
            acknowledged: vec![0; load.retained as usize],
            publishers: lines
                .into_iter()
                .map(|lines| Publisher::new(lines, random.word() as u32))
                .collect(),
            witnessed: 0,
            given_up: 0,
            gaps,
            readers: Readers::new(load.readers as usize, topics),
            churn: Churn::new(load.churners as usize),
            absent: Absent::new(load.offline_sessions as usize),
            books: Books::default(),
            events: Events::default(),
            latencies: Latencies::new()?,
            disconnected: 0,
            strange: 0,
            refused: None,
            closing: Vec::new(),
            redial: Vec::new(),
            settled: 0,
            left_behind: 0,
            links: Links {
                publishers: vec![None; count + 1],
                readers: vec![None; load.readers as usize],
                courier: None,
            },
            roles: Vec::new(),
            greeted: Vec::new(),
            repeated: HashSet::new(),
            scratch: Scratch::default(),
            begin,
        })
    }

    /// µs since the run began.
    pub(crate) fn now_us(&self) -> u64 {
        self.begin.elapsed().as_micros() as u64
    }

    /// A link has an owner from now on.
    pub(crate) fn own(&mut self, link: usize, role: Role) {
        if self.roles.len() <= link {
            self.roles.resize(link + 1, Role::Nobody);
            self.greeted.resize(link + 1, false);
        }
        if let Some(slot) = self.roles.get_mut(link) {
            *slot = role;
        }
        if let Some(greeted) = self.greeted.get_mut(link) {
            *greeted = false;
        }
    }

    /// Where a client's link is kept.
    fn link_of(&mut self, role: Role) -> Option<&mut Option<usize>> {
        match role {
            Role::Publisher(number) => self.links.publishers.get_mut(number),
            Role::Reader(number) => self.links.readers.get_mut(number),
            Role::Absent(number) => self.absent.links.get_mut(number),
            Role::Courier => Some(&mut self.links.courier),
            _ => None,
        }
    }

    /// A link has no owner any more.
    pub(crate) fn disown(&mut self, link: usize) -> Role {
        let role = self.role(link);
        if let Some(slot) = self.link_of(role).filter(|slot| **slot == Some(link)) {
            *slot = None;
        }
        if let Some(slot) = self.roles.get_mut(link) {
            *slot = Role::Nobody;
        }
        role
    }

    pub(crate) fn role(&self, link: usize) -> Role {
        self.roles.get(link).copied().unwrap_or_default()
    }

    /// Updates to the plant that is listened to that have not arrived yet, and are waited for.
    pub(crate) fn under_way_to_witness(&self) -> u64 {
        self.witnessed.saturating_sub(self.gaps.received + self.given_up)
    }

    /// What has not arrived until now is not waited for any more. It is lost, unless it comes after all.
    pub(crate) fn give_up_waiting(&mut self) {
        self.given_up = self.witnessed.saturating_sub(self.gaps.received);
    }

    /// Updates that are not acknowledged yet.
    pub(crate) fn unacknowledged(&self) -> usize {
        self.publishers.iter().map(Publisher::under_way).sum()
    }

    /// Appends one update of a publisher, due at `due_us`. Answers whether there was one.
    pub(crate) fn publish(
        &mut self,
        publisher: usize,
        due_us: u64,
        body: Body,
        out: &mut Vec<u8>,
    ) -> bool {
        let Some(client) = self.publishers.get_mut(publisher) else { return false };
        let sent =
            client.publish(self.topics, &mut self.sent, due_us, body, &mut self.scratch, out);
        self.witnessed += u64::from(sent && publisher == 0 && body == Body::Reading);
        sent
    }

    /// Fills a publisher's window up, if it is in a flood.
    pub(crate) fn refill(&mut self, publisher: usize, out: &mut Vec<u8>) {
        let Mode::Flood { body, once } = self.mode else { return };
        let now_us = self.now_us();
        loop {
            let Some(client) = self.publishers.get(publisher) else { return };
            let crowded = publisher == 0
                && body == Body::Reading
                && self.under_way_to_witness() >= WITNESSED_MAX;
            if client.under_way() >= self.window
                || (once && client.is_through())
                || client.topics() == 0
                || crowded
            {
                return;
            }
            self.publish(publisher, now_us, body, out);
        }
    }

    fn acknowledged(&mut self, publisher: usize, identifier: u16, out: &mut Vec<u8>) {
        let now_us = self.now_us();
        let Some(client) = self.publishers.get_mut(publisher) else { return };
        let Some(update) = client.acknowledge(identifier) else {
            self.strange += 1;
            return;
        };
        let half_empty = client.under_way() <= self.window / 2;
        if let Some(count) = self.acknowledged.get_mut(update.topic as usize) {
            *count = (*count).max(update.sequence + 1);
        }
        self.events.updates += 1;
        self.latencies.publish.record(now_us.saturating_sub(update.due_us));
        if half_empty {
            self.refill(publisher, out);
        }
    }

    /// The witness has got a message.
    fn witness(&mut self, message: &Publish<'_>) {
        if message.retain || message.payload.is_empty() {
            return; // What was there when it subscribed; or a deletion.
        }
        let Some((topic, sequence, due_us)) = parse_reading(message.payload) else {
            self.strange += 1;
            return;
        };
        let repeated = message.dup || self.repeated.contains(&(topic, sequence));
        self.gaps.arrived(topic, sequence, repeated);
        self.latencies.listener.record(self.now_us().saturating_sub(due_us));
    }

    /// Updates that were acknowledged and have not arrived at the witness.
    pub(crate) fn lost(&self) -> u64 {
        let tails: u64 = (0..self.topics.lines())
            .filter(|line| self.topics.plant(*line) == 0)
            .flat_map(|line| self.topics.of_line(line))
            .map(|topic| {
                let acknowledged = self.acknowledged.get(topic as usize).copied().unwrap_or(0);
                self.gaps.tail(topic, acknowledged)
            })
            .sum();
        self.gaps.missing() + tails
    }

    /// What has gone wrong so far.
    pub(crate) fn woes(&self) -> Woes {
        Woes {
            missing: self.gaps.missing() + self.absent.gaps.missing(),
            doubled: self.gaps.duplicated + self.absent.gaps.duplicated,
            out_of_order: self.gaps.reordered + self.absent.gaps.reordered,
            stale: self.readers.stale + self.readers.unknown,
            cut_off: self.disconnected + self.absent.forgotten + self.churn.failed,
        }
    }

    /// Appends again what a publisher had under way when its connection was lost.
    fn repeat(&mut self, publisher: usize, out: &mut Vec<u8>) {
        let Some(client) = self.publishers.get(publisher) else { return };
        if publisher == 0 {
            self.repeated.extend(client.waiting().map(|update| (update.topic, update.sequence)));
        }
        let body = match self.mode {
            Mode::Flood { body, .. } => body,
            Mode::Quiet => Body::Reading,
        };
        client.repeat(self.topics, body, &mut self.scratch, out);
        self.refill(publisher, out);
    }
}

impl Handler for World {
    fn ready(&mut self, link: usize, session_present: bool, out: &mut Vec<u8>) {
        self.refused = None;
        let role = self.role(link);
        // Not before: what is queued behind a CONNECT would be sent once more by `repeat`.
        if let Some(slot) = self.link_of(role) {
            *slot = Some(link);
        }
        if let Some(greeted) = self.greeted.get_mut(link) {
            *greeted = true;
        }
        match role {
            Role::Publisher(publisher) => {
                self.settled += 1;
                self.repeat(publisher, out);
            }
            Role::Witness => subscribe(out, 1, QoS::AtLeastOnce, &[&Topics::plant_filter(0)]),
            Role::Churner(churner) => self.churn.greeted(churner, out),
            Role::Absent(session) => {
                self.settled += 1;
                self.absent.greeted(session, session_present, out);
            }
            Role::Books => Books::greeted(out),
            Role::Inspector => subscribe(out, 1, QoS::AtMostOnce, &[Topics::EVERYTHING]),
            Role::Reader(_) | Role::Courier | Role::Idle(_) => self.settled += 1,
            Role::Nobody => {}
        }
    }

    fn packet(&mut self, link: usize, packet: &Packet<'_>, out: &mut Vec<u8>) {
        let role = self.role(link);
        if let Packet::Publish(message) = packet {
            acknowledge(out, message);
            self.events.received += 1;
        }
        match (role, packet) {
            (Role::Publisher(publisher), Packet::Puback(ack)) => {
                self.acknowledged(publisher, ack.packet_identifier, out);
            }
            (Role::Witness, Packet::Publish(message)) => self.witness(message),
            (Role::Witness | Role::Inspector, Packet::Suback(_)) => self.settled += 1,
            (Role::Reader(reader), packet) => {
                let now_us = self.now_us();
                self.events.subscriptions +=
                    self.readers.packet(reader, packet, &self.acknowledged, now_us, out);
            }
            (Role::Churner(churner), packet) => {
                if let Some(cut) = self.churn.packet(churner, packet, out) {
                    self.events.connects += 1;
                    if cut {
                        self.closing.push(link);
                        self.disown(link);
                        self.churn.gone(churner);
                    }
                }
            }
            (Role::Absent(session), Packet::Publish(message)) => {
                self.events.queued += self.absent.message(session, message);
            }
            (Role::Absent(_) | Role::Books, Packet::Suback(_))
            | (Role::Idle(_) | Role::Nobody, _) => {}
            (Role::Courier, Packet::Puback(_)) => self.absent.delivered += 1,
            (Role::Books, Packet::Publish(message)) => self.books.message(message, self.events),
            (Role::Inspector, Packet::Publish(_)) => self.left_behind += 1,
            _ => self.strange += 1,
        }
    }

    fn lost(&mut self, link: usize, why: &str) {
        let role = self.disown(link);
        match role {
            // A broker need not say anything of itself.
            Role::Nobody | Role::Books | Role::Inspector => return,
            Role::Churner(churner) => {
                if self.churn.lost(churner) {
                    return;
                }
            }
            Role::Reader(reader) => {
                self.readers.gone(reader);
                self.redial.push(role);
            }
            _ => self.redial.push(role),
        }
        // Who could not come was not cut off.
        self.disconnected += u64::from(self.greeted.get(link).copied().unwrap_or(false));
        self.refused = Some(why.to_owned());
    }
}
