//! CONNECT: a session begins or goes on.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use plimsoll_ledger::{Account, Boxed};
use plimsoll_mqtt::{
    Connack, Connect, DecodeError, Packet, PropertiesBuf, ReasonCode, Version, encode,
};

use crate::access::{Admission, mounted};
use crate::dispatch::Dispatch;
use crate::engine::Engine;
use crate::event::{Cause, Event};
use crate::input::Link;
use crate::properties::forwarded;
use crate::session::{Flags, Session, Will};
use crate::time::Time;

impl Engine {
    /// CONNECT on a fresh link: the session of this client identifier (MQTT-3.1.3-2) is resumed,
    /// begun (MQTT-3.1.2-5, MQTT-3.1.2-6) or begun anew (MQTT-3.1.2-4); one CONNACK, ahead of all
    /// else (MQTT-3.2.0-1, MQTT-3.2.0-2), says which.
    pub(crate) fn handle_connect(
        &mut self,
        link: Link,
        listener: u16,
        connect: &Connect<'_>,
        admission: &Admission,
    ) {
        self.dispatch.counters.packets_received += 1;
        let asked = admission.client_identifier(connect.client_identifier);
        let terms = match self.terms(listener, connect, admission) {
            Ok(terms) => terms,
            Err(reason) => return self.refuse_connect(link, connect, reason),
        };
        let generated;
        let client_identifier = if asked.is_empty() {
            generated = self.client_identifier(listener);
            generated.as_str()
        } else {
            asked
        };
        let username = admission.username(connect.username);
        let known = self.sessions.find(client_identifier);
        let most = self.dispatch.settings.global_max_clients as usize;
        if known.is_none() && most > 0 && self.sessions.len() >= most {
            return self.refuse_connect(link, connect, ReasonCode::QUOTA_EXCEEDED);
        }
        if let Some(reason) = self.refuses_connection(listener, username, known.is_some()) {
            return self.refuse_connect(link, connect, reason);
        }
        let properties = self.connack_properties(listener, connect, client_identifier, &terms);
        if !fits(&properties, connect) {
            return self.refuse_connect(link, connect, ReasonCode::IMPLEMENTATION_SPECIFIC_ERROR);
        }
        let stays = known.is_some_and(|slot| !connect.clean_start && self.is_stored(slot));
        if self.dispatch.journal.is_full() {
            return self.refuse_connect(link, connect, ReasonCode::SERVER_BUSY);
        }
        if self.dispatch.journal.refuses()
            && !stays
            && (terms.expiry > 0 || known.is_some_and(|slot| self.is_stored(slot)))
        {
            return self.refuse_connect(link, connect, ReasonCode::QUOTA_EXCEEDED);
        }
        let before = self.dispatch.journal.position();
        if let Some(slot) = known {
            self.take_over(slot, connect.clean_start);
        }
        let resumed =
            known.filter(|_| !connect.clean_start).filter(|&s| self.sessions.get(s).is_some());
        let slot = match resumed {
            Some(slot) => slot,
            None => self.begin_session(client_identifier, username, connect.version),
        };
        self.sessions.connect(link, slot);
        self.sessions.set_username(slot, username);
        self.attach(slot, link, listener, connect, &terms);
        self.store_session(slot);
        if !self.dispatch.journal.refuses() {
            self.promise_since(slot, before);
            self.promise_end(slot, resumed.is_some());
        }
        self.send_connack(slot, resumed.is_some(), &properties);
        self.pump(slot);
        self.reschedule(slot);
    }

    /// A new session promises that an earlier one of this client is gone: without that on disk, a
    /// crash would bring it back, and publish its will.
    fn promise_end(&mut self, slot: u32, resumed: bool) {
        let ended = self.dispatch.journal.last_ended();
        if let (false, Some(session)) = (resumed, self.sessions.get_mut(slot)) {
            session.promised = session.promised.max(ended);
        }
    }

    fn is_stored(&self, slot: u32) -> bool {
        self.sessions.get(slot).is_some_and(|session| session.number != 0)
    }

    /// What the broker agrees to, or why it does not (MQTT-3.1.4-2). Without a lower limit of ours
    /// the client's keep alive holds (MQTT-3.2.2-22).
    fn terms(
        &self,
        listener: u16,
        connect: &Connect<'_>,
        admission: &Admission,
    ) -> Result<Terms, ReasonCode> {
        let settings = &self.dispatch.settings;
        let on = settings.listener(listener);
        // MQTT-4.12.0-1: no extended authentication is configured.
        if connect.properties.authentication_method().is_some() {
            return Err(ReasonCode::BAD_AUTHENTICATION_METHOD);
        }
        if connect.properties.authentication_data().is_some() {
            return Err(ReasonCode::PROTOCOL_ERROR);
        }
        if admission.client_identifier(connect.client_identifier).is_empty() {
            // MQTT3-3.1.3-8: only a session that ends with the connection needs no name.
            let nameless = connect.version.is_v5() || connect.clean_start;
            if !nameless || connect.version == Version::V31 || !on.allow_zero_length_clientid {
                return Err(ReasonCode::CLIENT_IDENTIFIER_NOT_VALID);
            }
        }
        if let Admission::Refused(reason) = *admission {
            return Err(reason);
        }
        if let Some(will) = &connect.will {
            if will.qos > on.max_qos {
                return Err(ReasonCode::QOS_NOT_SUPPORTED); // MQTT-3.2.2-12
            }
            if will.retain && !settings.retain_available {
                return Err(ReasonCode::RETAIN_NOT_SUPPORTED); // MQTT-3.2.2-13
            }
            let size_max = settings.message_size_limit as usize;
            if size_max > 0 && will.payload.len() > size_max {
                return Err(ReasonCode::PACKET_TOO_LARGE); // What Mosquitto answers.
            }
        }
        let keep_alive_max = settings.max_keepalive;
        let keep_alive_refused =
            keep_alive_max > 0 && (connect.keep_alive == 0 || connect.keep_alive > keep_alive_max);
        let lowered = keep_alive_refused && keep_alive_max != u16::MAX;
        if lowered && !connect.version.is_v5() {
            return Err(ReasonCode::CLIENT_IDENTIFIER_NOT_VALID); // What Mosquitto answers.
        }
        let keep_alive = if lowered { keep_alive_max } else { connect.keep_alive };
        let wanted = wanted_expiry(connect);
        let expiry = settings.persistent_client_expiration.map_or(wanted, |most| wanted.min(most));
        Ok(Terms {
            keep_alive,
            keep_alive_lowered: lowered,
            expiry,
            expiry_lowered: expiry != wanted,
        })
    }

    /// CONNACK with the reason, then the end (MQTT-3.1.3-8, MQTT-3.2.2-7, MQTT-4.13.2-1).
    fn refuse_connect(&mut self, link: Link, connect: &Connect<'_>, reason: ReasonCode) {
        let connack = Packet::Connack(Connack {
            session_present: false,
            reason,
            properties: Default::default(),
        });
        let client = Box::from(connect.client_identifier);
        let limit = connect.properties.maximum_packet_size().unwrap_or(u32::MAX);
        self.dispatch.refuse_link(link, (connect.version, limit), &connack, client, reason);
    }

    /// Bytes that are not what they should be.
    pub(crate) fn handle_malformed(&mut self, link: Link, error: DecodeError) {
        let reason = error.reason_code();
        if let Some(slot) = self.sessions.linked(link) {
            return self.refuse(slot, reason);
        }
        // Before CONNECT: an answer is owed only to what is at least meant to be MQTT
        // (MQTT-3.1.4-1, MQTT-3.1.2-2); anything else is closed without a word.
        let version = error.connect_version();
        let connack = Packet::Connack(Connack {
            session_present: false,
            reason,
            properties: Default::default(),
        });
        match version {
            Some(version) => {
                let (client, limit) = (Box::default(), u32::MAX);
                self.dispatch.refuse_link(link, (version, limit), &connack, client, reason);
            }
            None => self.dispatch.drop_link(link, reason),
        }
    }

    /// An identifier for a client that has none; all goes on as if it had sent it (MQTT-3.1.3-7).
    fn client_identifier(&mut self, listener: u16) -> String {
        let prefix = &self.dispatch.settings.listener(listener).auto_id_prefix;
        let mut words = [0u64; 2];
        for word in &mut words {
            self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
            *word = mix(self.random);
        }
        let [a, b] = words;
        // The shape of a UUID, as Mosquitto's.
        format!(
            "{prefix}{:08X}-{:04X}-{:04X}-{:04X}-{:012X}",
            a >> 32,
            a >> 16 & 0xFFFF,
            a & 0xFFFF,
            b >> 48,
            b & 0xFFFF_FFFF_FFFF,
        )
    }

    /// The client connects anew while its session is there (MQTT-3.1.4-3, MQTT-3.1.4-4).
    fn take_over(&mut self, slot: u32, clean_start: bool) {
        let connected = self.sessions.get(slot).is_some_and(Session::is_connected);
        if connected {
            if let Some(session) = self.sessions.get_mut(slot) {
                self.dispatch.close(session, ReasonCode::SESSION_TAKEN_OVER);
                if clean_start {
                    // The session ends with this connection, so its will is due (MQTT-3.1.3-9).
                    session.expiry_interval = 0;
                }
            }
            self.connection_ended(slot);
        }
        if clean_start {
            self.end_session(slot);
        } else if let Some(session) = self.sessions.get_mut(slot) {
            session.will = None; // MQTT-3.1.3-9: resumed within the delay.
        }
    }

    fn begin_session(
        &mut self,
        client_identifier: &str,
        username: Option<&str>,
        version: Version,
    ) -> u32 {
        let session = Session::new(self.ledger(), client_identifier, username, version);
        let slot = self.sessions.insert(session);
        let total = self.sessions.len() as u64;
        let maximum = &mut self.dispatch.counters.clients_maximum;
        *maximum = (*maximum).max(total);
        slot
    }

    /// Sets the session up for its new connection.
    fn attach(
        &mut self,
        slot: u32,
        link: Link,
        listener: u16,
        connect: &Connect<'_>,
        terms: &Terms,
    ) {
        let will = self.will(listener, connect);
        self.epoch = self.epoch.wrapping_add(1);
        let now = self.dispatch.now;
        let receive_maximum = connect.properties.receive_maximum().unwrap_or(u16::MAX);
        let window = self.dispatch.window(receive_maximum);
        let aliases = self.dispatch.settings.listener(listener).max_topic_alias_broker;
        let Some(session) = self.sessions.get_mut(slot) else { return };
        session.link = Some(link);
        session.epoch = self.epoch;
        session.version = connect.version;
        session.listener = listener;
        session.flags = Flags { bridge: connect.bridge, ..Flags::default() };
        session.keep_alive = terms.keep_alive;
        session.window = window;
        session.topic_alias_max =
            connect.properties.topic_alias_maximum().unwrap_or(0).min(aliases);
        session.packet_size_max = connect.properties.maximum_packet_size().unwrap_or(u32::MAX);
        session.expiry_interval = terms.expiry;
        if session.number == 0 && terms.expiry > 0 && self.dispatch.journal.is_on() {
            session.number = self.dispatch.journal.session_number();
            self.dispatch.stored_sessions += 1;
        }
        session.held = 0;
        session.unflushed = 0;
        session.acknowledged = 0;
        session.seen_at = now;
        session.progress_at = now;
        session.lost_at = Time::NEVER;
        session.will = will;
        self.dispatch.budgets.join(session);
        self.dispatch.counters.connects += 1;
        self.dispatch.counters.clients_connected += 1;
        let event = Event::Connected {
            client: session.client_identifier.clone(),
            version: session.version,
            clean_start: connect.clean_start,
            keep_alive: session.keep_alive,
            username: session.username.clone(),
        };
        self.dispatch.event(Some(link), event);
    }

    /// MQTT-3.1.2-7: the will is kept with the session, its RETAIN flag as it was given
    /// (MQTT-3.1.2-14, MQTT-3.1.2-15).
    fn will(&self, listener: u16, connect: &Connect<'_>) -> Option<Boxed<Will>> {
        let will = connect.will.as_ref()?;
        let mount_point = &self.dispatch.settings.listener(listener).mount_point;
        let will = Will {
            topic: mounted(mount_point, will.topic).into_boxed_str(),
            payload: Box::from(will.payload),
            properties: Box::from(forwarded(&will.properties, Time::default()).bytes()),
            qos: will.qos,
            retain: will.retain,
            delay: will.properties.will_delay_interval().unwrap_or(0),
            message_expiry: will.properties.message_expiry_interval(),
        };
        let parts = will.parts_bytes();
        Some(Boxed::new(self.ledger(), Account::Wills, will, parts))
    }

    /// What CONNACK 0x00 says beside Session Present. Response Information is not offered, so none is
    /// sent (MQTT-3.1.2-28). The properties stand in the
    /// order that recordings of Mosquitto 2.1 show.
    fn connack_properties(
        &self,
        listener: u16,
        connect: &Connect<'_>,
        client_identifier: &str,
        terms: &Terms,
    ) -> PropertiesBuf {
        let mut properties = PropertiesBuf::new();
        if !connect.version.is_v5() {
            return properties;
        }
        let settings = &self.dispatch.settings;
        let on = settings.listener(listener);
        if on.max_topic_alias > 0 {
            properties.topic_alias_maximum(on.max_topic_alias);
        }
        if connect.client_identifier.is_empty() {
            properties.assigned_client_identifier(client_identifier); // MQTT-3.2.2-16
        }
        if terms.keep_alive_lowered {
            properties.server_keep_alive(terms.keep_alive); // MQTT-3.2.2-21
        }
        if terms.expiry_lowered {
            properties.session_expiry_interval(terms.expiry);
        }
        if !settings.retain_available {
            properties.retain_available(false);
        }
        if settings.max_packet_size > 0 {
            properties.maximum_packet_size(settings.max_packet_size);
        }
        if settings.max_inflight_messages > 0 {
            properties.receive_maximum(settings.max_inflight_messages);
        }
        if on.max_qos != plimsoll_mqtt::QoS::ExactlyOnce {
            properties.maximum_qos(on.max_qos); // MQTT-3.2.2-9
        }
        properties
    }

    /// CONNACK 0x00 (MQTT-3.1.4-5) with Session Present (MQTT-3.2.2-2, MQTT-3.2.2-3).
    fn send_connack(&mut self, slot: u32, present: bool, properties: &PropertiesBuf) {
        let Some(session) = self.sessions.get_mut(slot) else { return };
        let connack = Connack {
            // MQTT3-3.1.0: protocol 3.1 has no such flag.
            session_present: present && session.version != Version::V31,
            reason: ReasonCode::SUCCESS,
            properties: properties.view(),
        };
        self.dispatch.promise_packet(session, &Packet::Connack(connack));
        session.flags.greeting = session.held > 0;
        self.dispatch.resume_durable(session);
    }
}

/// Whether CONNACK 0x00 is small enough for the client. Nothing else may be sent before it
/// (MQTT-3.2.0-1), and it has nothing that could be left out (MQTT-3.1.2-24).
fn fits(properties: &PropertiesBuf, connect: &Connect<'_>) -> bool {
    let Some(limit) = connect.properties.maximum_packet_size() else { return true };
    let connack = Connack {
        session_present: false,
        reason: ReasonCode::SUCCESS,
        properties: properties.view(),
    };
    let packet = Packet::Connack(connack);
    encode::packet_within(&packet, connect.version, limit, &mut Vec::new())
}

impl Dispatch {
    /// Answers a link that has no session with `connack`, if the client's Maximum Packet Size lets
    /// it, and closes it.
    fn refuse_link(
        &mut self,
        link: Link,
        (version, limit): (Version, u32),
        connack: &Packet<'_>,
        client: Box<str>,
        reason: ReasonCode,
    ) {
        if let Some(outbox) = self.outbox(link) {
            outbox.frame(link, |out| {
                let _ = encode::packet_within(connack, version, limit, out);
            });
            outbox.close(link);
        }
        self.event(Some(link), Event::Refused { client, reason });
    }

    /// Closes a link that has no session without a word.
    fn drop_link(&mut self, link: Link, reason: ReasonCode) {
        if let Some(outbox) = self.outbox(link) {
            outbox.close(link);
        }
        let client = Box::default();
        self.event(Some(link), Event::Disconnected { client, cause: Cause::Broker(reason) });
    }
}

/// What broker and client agreed on.
struct Terms {
    keep_alive: u16,
    keep_alive_lowered: bool,
    /// Session Expiry Interval, seconds.
    expiry: u32,
    expiry_lowered: bool,
}

/// How long a client wants its session to outlive the connection, in seconds.
fn wanted_expiry(connect: &Connect<'_>) -> u32 {
    match (connect.version.is_v5(), connect.clean_start) {
        (true, _) => connect.properties.session_expiry_interval().unwrap_or(0), // MQTT 5, 3.1.2.11.2
        (false, true) => 0,
        (false, false) => u32::MAX,
    }
}

/// The output function of `SplitMix64` (Steele, Lea, Flood 2014).
fn mix(mut word: u64) -> u64 {
    word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    word ^ (word >> 31)
}
