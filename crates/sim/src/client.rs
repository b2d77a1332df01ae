//! A simulated client: correct, but moody.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use plimsoll_engine::Time;
use plimsoll_mqtt::encode::{self, AckKind};
use plimsoll_mqtt::{
    Ack, Connect, DecodeLimits, Decoded, Disconnect, Packet, PropertiesBuf, Publish, QoS,
    ReasonCode, Subscribe, SubscribeFilter, SubscriptionOptions, Unsubscribe, Version, Will,
    decode,
};

use crate::oracle::{Number, Oracle, Violation, Who};
use crate::plan::username;
use crate::rng::Rng;
use crate::topics::{SHARED, any_filter, own_topic};

/// A QoS 1 or 2 publish under way.
#[derive(Clone, Debug)]
struct Pending {
    number: Number,
    topic: String,
    qos: QoS,
    retain: bool,
    empty: bool,
    /// Seconds until it expires.
    expiry: Option<u32>,
    /// PUBREC has come: PUBREL is what is sent again.
    released: bool,
}

/// The client.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) who: Who,
    pub(crate) username: String,
    pub(crate) version: Version,
    pub(crate) slot: Option<u32>,
    pub(crate) connected: bool,
    /// Bytes that the network has brought.
    pub(crate) inbox: Vec<u8>,
    /// Bytes to send.
    pub(crate) outbox: Vec<u8>,
    clean: bool,
    pub(crate) expiry: u32,
    dialled_at: Time,
    /// It sets itself no limits, so that it sees everything.
    pub(crate) all_seeing: bool,
    receive_maximum: u16,
    packet_size_max: u32,
    alias_max: u16,
    aliases: BTreeMap<u16, String>,
    pending: BTreeMap<u16, Pending>,
    next_identifier: u16,
    server_receive_maximum: u16,
    incoming: BTreeSet<u16>,
    in_flight: BTreeMap<u16, Number>,
    acks: VecDeque<(AckKind, u16)>,
    asked: BTreeMap<u16, Asked>,
    pub(crate) will: Option<Number>,
    will_delay: u32,
    pub(crate) will_retained: bool,
    /// Retained messages that came, by topic.
    pub(crate) retained: BTreeMap<String, Number>,
    pub(crate) received: u64,
    payload_max: u64,
}

#[derive(Clone, Debug)]
enum Asked {
    Subscribe(String, bool),
    Unsubscribe,
}

impl Client {
    pub(crate) fn new(who: Who, payload_max: u64, rng: &mut Rng) -> Self {
        let v5 = rng.chance(60);
        Self {
            who,
            username: username(who),
            version: if v5 { Version::V5 } else { Version::V311 },
            slot: None,
            connected: false,
            inbox: Vec::new(),
            outbox: Vec::new(),
            clean: false,
            expiry: 0,
            dialled_at: Time::default(),
            all_seeing: false,
            receive_maximum: u16::MAX,
            packet_size_max: u32::MAX,
            alias_max: 0,
            aliases: BTreeMap::new(),
            pending: BTreeMap::new(),
            next_identifier: 0,
            server_receive_maximum: 1,
            incoming: BTreeSet::new(),
            in_flight: BTreeMap::new(),
            acks: VecDeque::new(),
            asked: BTreeMap::new(),
            will: None,
            will_delay: 0,
            will_retained: false,
            retained: BTreeMap::new(),
            received: 0,
            payload_max,
        }
    }

    fn put(&mut self, packet: &Packet<'_>) {
        encode::packet(packet, self.version, &mut self.outbox);
    }

    fn identifier(&mut self) -> u16 {
        loop {
            self.next_identifier = self.next_identifier.wrapping_add(1);
            let taken = self.pending.contains_key(&self.next_identifier)
                || self.asked.contains_key(&self.next_identifier);
            if self.next_identifier != 0 && !taken {
                return self.next_identifier;
            }
        }
    }

    /// Sends CONNECT on a fresh link.
    pub(crate) fn connect(
        &mut self,
        clean: bool,
        will: Option<Number>,
        rng: &mut Rng,
        oracle: &mut Oracle,
        now: Time,
    ) {
        let v5 = self.version.is_v5();
        // A clean start that was not answered may have been made or not: it is asked for again.
        let clean = clean || self.clean;
        self.clean = clean;
        self.expiry = match v5 {
            true => *rng.pick(&[0, 5, 100_000, 100_000]),
            false => {
                if clean {
                    0
                } else {
                    u32::MAX
                }
            }
        };
        self.receive_maximum = if v5 { rng.within(1, 30) as u16 } else { u16::MAX };
        self.packet_size_max = if v5 && rng.chance(5) && !self.all_seeing {
            60 + self.payload_max as u32 / 3
        } else {
            u32::MAX
        };
        self.alias_max = if v5 { rng.below(4) as u16 } else { 0 };
        self.aliases.clear();
        self.in_flight.clear();
        self.acks.clear();
        self.inbox.clear();
        self.outbox.clear();
        self.asked.clear();
        self.will = will;
        if clean {
            oracle.session_ends(self.who, now);
        }
        if let Some(number) = will {
            self.will_delay = if v5 { *rng.pick(&[0, 0, 1, 3]) } else { 0 };
            self.will_retained = rng.chance(50);
            let topic = format!("will/{}", self.who);
            oracle.will_set(number, self.who, &topic, self.will_retained, now);
        }
        self.dialled_at = now;
        let mut properties = PropertiesBuf::new();
        if v5 {
            properties.session_expiry_interval(self.expiry);
            properties.receive_maximum(self.receive_maximum);
            if self.packet_size_max != u32::MAX {
                properties.maximum_packet_size(self.packet_size_max);
            }
            properties.topic_alias_maximum(self.alias_max);
        }
        let identifier = format!("client-{}", self.who);
        let will_topic = format!("will/{}", self.who);
        let will_payload = will.unwrap_or(0).to_string();
        let mut will_properties = PropertiesBuf::new();
        if v5 && self.will_delay > 0 {
            will_properties.will_delay_interval(self.will_delay);
        }
        let version = self.version;
        let username = self.username.clone();
        self.put(&Packet::Connect(Box::new(Connect {
            version,
            bridge: false,
            clean_start: clean,
            keep_alive: 60,
            client_identifier: &identifier,
            username: Some(&username),
            password: None,
            will: will.map(|_| Will {
                topic: &will_topic,
                payload: will_payload.as_bytes(),
                qos: QoS::AtMostOnce,
                retain: self.will_retained,
                properties: will_properties.view(),
            }),
            properties: properties.view(),
        })));
    }

    /// The connection is gone, whoever ended it.
    pub(crate) fn connection_lost(&mut self, oracle: &mut Oracle, now: Time) {
        if !self.connected {
            self.pending.values().for_each(|pending| oracle.orphaned(pending.number));
        }
        self.connected = false;
        self.slot = None;
        for asked in std::mem::take(&mut self.asked).into_values() {
            if let Asked::Subscribe(filter, _) = asked {
                oracle.unsubscribing(self.who, &filter, now);
            }
        }
        // A session that does not last long may be gone before the client is back.
        if self.expiry < 100_000 {
            oracle.session_ends(self.who, now);
        }
    }

    // --- what it does of its own accord ---

    pub(crate) fn publish(
        &mut self,
        number: Number,
        expires: bool,
        rng: &mut Rng,
        oracle: &mut Oracle,
        now: Time,
    ) {
        let qos = QoS::try_from(rng.below(3) as u8).unwrap_or_default();
        if qos != QoS::AtMostOnce && self.pending.len() >= usize::from(self.server_receive_maximum)
        {
            return;
        }
        let topic = own_topic(self.who, rng);
        let retain = rng.chance(30);
        let empty = retain && rng.chance(20);
        let expires = expires && !retain && self.version.is_v5();
        let expiry = expires.then(|| rng.within(1, 4) as u32);
        oracle.published(number, self.who, &topic, qos, retain, empty, now);
        if expires {
            oracle.expires(number);
        }
        let pending = Pending { number, topic, qos, retain, empty, expiry, released: false };
        let packet_identifier = if qos == QoS::AtMostOnce { 0 } else { self.identifier() };
        self.send_publish(packet_identifier, &pending, false);
        if qos != QoS::AtMostOnce {
            self.pending.insert(packet_identifier, pending);
        }
    }

    fn send_publish(&mut self, packet_identifier: u16, pending: &Pending, dup: bool) {
        let payload = if pending.empty {
            String::new()
        } else {
            format!(
                "{} {}",
                pending.number,
                "x".repeat((pending.number % self.payload_max) as usize)
            )
        };
        let mut properties = PropertiesBuf::new();
        if let Some(expiry) = pending.expiry {
            properties.message_expiry_interval(expiry);
        }
        self.put(&Packet::Publish(Publish {
            dup,
            qos: pending.qos,
            retain: pending.retain,
            topic: &pending.topic,
            packet_identifier,
            properties: properties.view(),
            payload: payload.as_bytes(),
        }));
    }

    pub(crate) fn subscribe_any(
        &mut self,
        clients: u32,
        rng: &mut Rng,
        oracle: &mut Oracle,
        now: Time,
    ) {
        let filter = any_filter(clients, rng);
        let qos = QoS::try_from(rng.below(3) as u8).unwrap_or_default();
        let no_local = self.version.is_v5() && filter != SHARED && rng.chance(20);
        self.subscribe(&filter, qos, no_local, oracle, now);
    }

    pub(crate) fn subscribe(
        &mut self,
        filter: &str,
        qos: QoS,
        no_local: bool,
        oracle: &mut Oracle,
        now: Time,
    ) {
        oracle.subscribing(self.who, filter, now);
        self.overtake(filter);
        let packet_identifier = self.identifier();
        let options = SubscriptionOptions { qos, no_local, ..Default::default() };
        self.put(&Packet::Subscribe(Subscribe::new(
            packet_identifier,
            &[SubscribeFilter { filter, options }],
        )));
        self.asked.insert(packet_identifier, Asked::Subscribe(filter.to_owned(), no_local));
    }

    pub(crate) fn unsubscribe_any(
        &mut self,
        clients: u32,
        rng: &mut Rng,
        oracle: &mut Oracle,
        now: Time,
    ) {
        let filter = any_filter(clients, rng);
        oracle.unsubscribing(self.who, &filter, now);
        self.overtake(&filter);
        let packet_identifier = self.identifier();
        self.put(&Packet::Unsubscribe(Unsubscribe::new(packet_identifier, &[&filter])));
        self.asked.insert(packet_identifier, Asked::Unsubscribe);
    }

    /// What was asked of this filter and not answered yet will not hold.
    fn overtake(&mut self, filter: &str) {
        for asked in self.asked.values_mut() {
            if matches!(asked, Asked::Subscribe(known, _) if known == filter) {
                *asked = Asked::Unsubscribe;
            }
        }
    }

    pub(crate) fn ping(&mut self) {
        self.put(&Packet::Pingreq);
    }

    /// Sends DISCONNECT; answers its bytes, which arrive before the end of the connection.
    pub(crate) fn disconnect(&mut self, with_will: bool, oracle: &mut Oracle, now: Time) {
        let reason = if with_will && self.version.is_v5() {
            ReasonCode::DISCONNECT_WITH_WILL
        } else {
            ReasonCode::SUCCESS
        };
        self.put(&Packet::Disconnect(Disconnect::new(reason)));
        if let Some(number) = self.will.take() {
            if reason == ReasonCode::SUCCESS {
                oracle.will_left(number);
            } else {
                oracle.will_due(number, self.will_due_at(now), self.expiry > 0);
            }
        }
    }

    /// When the will is due if the connection is lost now and the session not resumed.
    pub(crate) fn will_due_at(&self, now: Time) -> Time {
        now.plus_secs(u64::from(self.will_delay.min(self.expiry)))
    }

    /// Whether the will outlives the broker, and is due when that is back.
    pub(crate) fn will_is_stored(&self) -> bool {
        self.connected && self.expiry > 0 && self.will_delay == 0
    }

    /// Sends some of the acknowledgements that it owes.
    pub(crate) fn acknowledge(&mut self, most: usize) {
        for _ in 0..most {
            let Some((kind, packet_identifier)) = self.acks.pop_front() else { return };
            if kind == AckKind::Puback || kind == AckKind::Pubcomp {
                self.in_flight.remove(&packet_identifier);
            }
            encode::ack(
                &mut self.outbox,
                self.version,
                kind,
                packet_identifier,
                ReasonCode::SUCCESS,
            );
        }
    }

    // --- what reaches it ---

    /// Takes the packets out of the inbox. Answers whether the connection goes on.
    pub(crate) fn take_inbox(&mut self, oracle: &mut Oracle, now: Time) -> Result<bool, Violation> {
        let bytes = std::mem::take(&mut self.inbox);
        let limits = DecodeLimits::default();
        let mut used = 0;
        while used < bytes.len() {
            match decode(&bytes[used..], self.version, &limits) {
                Ok(Decoded::Packet { packet, length }) => {
                    used += length;
                    if length > self.packet_size_max as usize {
                        return Err(Violation(format!(
                            "client {}: packet of {length} bytes",
                            self.who
                        )));
                    }
                    if !self.take(&packet, oracle, now)? {
                        return Ok(false);
                    }
                }
                Ok(Decoded::Incomplete { .. }) => break,
                Err(error) => {
                    return Err(Violation(format!("client {} cannot decode: {error}", self.who)));
                }
            }
        }
        self.inbox.extend_from_slice(&bytes[used..]);
        Ok(true)
    }

    fn take(
        &mut self,
        packet: &Packet<'_>,
        oracle: &mut Oracle,
        now: Time,
    ) -> Result<bool, Violation> {
        match packet {
            Packet::Connack(connack) => {
                if connack.reason.is_error() && oracle.refusals_expected {
                    return Ok(false);
                }
                if connack.reason.is_error() {
                    return Err(Violation(format!(
                        "client {} refused: {}",
                        self.who, connack.reason
                    )));
                }
                self.server_receive_maximum =
                    connack.properties.receive_maximum().unwrap_or(20).min(20);
                self.begin(connack.session_present, oracle, now);
            }
            Packet::Publish(publish) => self.take_publish(publish, oracle)?,
            Packet::Puback(ack) => self.finished(ack, oracle, now),
            Packet::Pubrec(ack) => {
                if ack.reason.is_error() {
                    self.finished(ack, oracle, now);
                } else if let Some(pending) = self.pending.get_mut(&ack.packet_identifier) {
                    oracle.acknowledged(pending.number, false, now);
                    pending.released = true;
                    let identifier = ack.packet_identifier;
                    encode::ack(
                        &mut self.outbox,
                        self.version,
                        AckKind::Pubrel,
                        identifier,
                        ReasonCode::SUCCESS,
                    );
                }
            }
            Packet::Pubcomp(ack) => {
                self.pending.remove(&ack.packet_identifier);
            }
            Packet::Pubrel(ack) => {
                self.incoming.remove(&ack.packet_identifier);
                self.acks.push_back((AckKind::Pubcomp, ack.packet_identifier));
            }
            Packet::Suback(suback) => {
                let granted = suback.reasons.iter().next();
                if let (Some(Asked::Subscribe(filter, no_local)), Some(code)) =
                    (self.asked.remove(&suback.packet_identifier), granted)
                    && let Ok(qos) = QoS::try_from(code.byte())
                {
                    oracle.subscribed(self.who, &filter, qos, no_local, now);
                }
            }
            Packet::Unsuback(unsuback) => {
                self.asked.remove(&unsuback.packet_identifier);
            }
            Packet::Disconnect(_) if oracle.refusals_expected => {
                self.will = None;
                return Ok(false);
            }
            Packet::Disconnect(disconnect) => {
                return Err(Violation(format!(
                    "client {} was disconnected: {}",
                    self.who, disconnect.reason
                )));
            }
            Packet::Pingresp => {}
            other => return Err(Violation(format!("client {} was sent {other:?}", self.who))),
        }
        Ok(true)
    }

    /// CONNACK: goes on where the session stands, or begins anew.
    fn begin(&mut self, present: bool, oracle: &mut Oracle, now: Time) {
        self.connected = true;
        self.clean = false;
        oracle.came_back(self.who, present, self.dialled_at, now);
        if present {
            for (identifier, pending) in self.pending.clone() {
                if pending.released {
                    encode::ack(
                        &mut self.outbox,
                        self.version,
                        AckKind::Pubrel,
                        identifier,
                        ReasonCode::SUCCESS,
                    );
                } else {
                    oracle.resent(pending.number);
                    self.send_publish(identifier, &pending, true);
                }
            }
            return;
        }
        self.pending.clear();
        self.incoming.clear();
        oracle.session_ends(self.who, now);
        oracle.session_began(self.who, self.version.is_v5());
    }

    fn finished(&mut self, ack: &Ack<'_>, oracle: &mut Oracle, now: Time) {
        if let Some(pending) = self.pending.remove(&ack.packet_identifier) {
            oracle.acknowledged(pending.number, ack.reason.is_error(), now);
        }
    }

    fn take_publish(
        &mut self,
        publish: &Publish<'_>,
        oracle: &mut Oracle,
    ) -> Result<(), Violation> {
        let fail = |text: String| Err(Violation(text));
        let topic = match publish.properties.topic_alias() {
            None => publish.topic.to_owned(),
            Some(alias) if alias > self.alias_max => {
                return fail(format!("client {}: alias {alias} of {}", self.who, self.alias_max));
            }
            Some(alias) if publish.topic.is_empty() => match self.aliases.get(&alias) {
                Some(topic) => topic.clone(),
                None => return fail(format!("client {}: unknown alias {alias}", self.who)),
            },
            Some(alias) => {
                self.aliases.insert(alias, publish.topic.to_owned());
                publish.topic.to_owned()
            }
        };
        let text = String::from_utf8_lossy(publish.payload);
        let number = text.split(' ').next().and_then(|n| n.parse().ok()).unwrap_or(0);
        let id = publish.packet_identifier;
        let mut fresh = true;
        if publish.qos != QoS::AtMostOnce {
            if self.in_flight.insert(id, number).is_some_and(|before| before != number) {
                return fail(format!("client {}: identifier {id} used twice", self.who));
            }
            if self.in_flight.len() > usize::from(self.receive_maximum) {
                return fail(format!(
                    "client {}: {} in flight of {}",
                    self.who,
                    self.in_flight.len(),
                    self.receive_maximum
                ));
            }
            if publish.qos == QoS::ExactlyOnce {
                fresh = self.incoming.insert(id);
                self.acks.push_back((AckKind::Pubrec, id));
            } else {
                self.acks.push_back((AckKind::Puback, id));
            }
        }
        if publish.retain && number != 0 {
            self.retained.insert(topic.clone(), number);
        }
        if fresh && number != 0 {
            self.received += 1;
            oracle.received(self.who, number, &topic, publish.qos, publish.retain, publish.dup)?;
        }
        Ok(())
    }

    /// Whether nothing is left to do for it.
    pub(crate) fn is_idle(&self) -> bool {
        self.pending.is_empty()
            && self.acks.is_empty()
            && self.asked.is_empty()
            && self.outbox.is_empty()
    }

    pub(crate) fn pending_len(&self) -> usize {
        self.pending.len()
    }
}
