//! What must be true of what clients were told.
//!
//! The oracle hears of publishes, acknowledgements, subscriptions and receptions as the clients see
//! them, and knows nothing of the engine's inside.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;

use plimsoll_engine::Time;
use plimsoll_mqtt::{QoS, topic};

/// A promise that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation(pub String);

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A client, by number.
pub(crate) type Who = u32;

/// A message's number: it stands in the payload.
pub(crate) type Number = u64;

#[derive(Debug)]
struct Published {
    by: Who,
    topic: String,
    qos: QoS,
    retain: bool,
    empty: bool,
    at: Time,
    /// When the publisher had the acknowledgement, with success.
    acknowledged: Option<Time>,
    /// Refused by a reason code: nobody need get it.
    refused: bool,
    /// Sent again by its publisher: at QoS 1 that may be a new message to the broker.
    resent: bool,
    /// The broker died before it acknowledged: it may have delivered it and forgotten that.
    forgotten: bool,
    /// Its publisher may not have heard that its session was a new one: what it sends again is new
    /// to the broker.
    orphaned: bool,
    /// It expires: it need not arrive.
    expires: bool,
}

/// One subscription of a session, from SUBACK to whatever ends it.
#[derive(Debug)]
struct Subscribed {
    filter: String,
    qos: QoS,
    no_local: bool,
    from: Time,
    until: Option<Time>,
}

/// A session's life as its client knows it.
#[derive(Debug, Default)]
struct Session {
    v5: bool,
    subscriptions: Vec<Subscribed>,
    /// Receptions by message: QoS and whether DUP was set.
    received: BTreeMap<Number, Vec<(QoS, bool)>>,
    /// The last message in order, by publisher, topic and QoS.
    last: HashMap<(Who, String, QoS), Number>,
    /// Every filter that it asked for: it may hold from then on.
    filters: BTreeSet<String>,
    /// Messages that a limit dropped for it.
    dropped: bool,
    ended: bool,
}

/// What is known.
#[derive(Debug, Default)]
pub struct Oracle {
    published: BTreeMap<Number, Published>,
    sessions: BTreeMap<(Who, u32), Session>,
    incarnation: BTreeMap<Who, u32>,
    /// By topic: messages that the retained one may be; `None` is none at all.
    retained: BTreeMap<String, Vec<Option<Number>>>,
    wills: BTreeMap<Number, WillState>,
    /// What may be retained again, by topic, if the broker dies: wills took its place that it may forget.
    forgettable: Vec<(String, Vec<Option<Number>>)>,
    /// Receptions by the shared subscription: who, at which QoS, and whether DUP was set.
    shared: BTreeMap<Number, Vec<(Who, QoS, bool)>>,
    any_session_ended: bool,
    allow_duplicates: bool,
    upgrade: bool,
    crashed: bool,
    /// When memory was last short: until then what a 3.x client published may have been acknowledged and
    /// not retained.
    short_until: Time,
    /// Clients may have been disconnected, after what was on its way to them: wills are not looked at.
    memory_was_short: bool,
    /// The disk failed: clients may be refused.
    pub(crate) refusals_expected: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WillState {
    /// The connection lives, or it is not sure how it ended.
    Open,
    /// It is due then, unless the client comes back before; and whether its session is stored.
    Waiting(Time, bool),
    Due,
    /// DISCONNECT took it back; a crash may undo that, since nobody is told.
    Left,
    Forbidden,
}

impl Oracle {
    pub(crate) fn new(allow_duplicates: bool, upgrade: bool) -> Self {
        Self { allow_duplicates, upgrade, ..Self::default() }
    }

    fn session(&mut self, who: Who) -> &mut Session {
        let incarnation = *self.incarnation.entry(who).or_insert(0);
        self.sessions.entry((who, incarnation)).or_default()
    }

    /// A new session began (or may have): what was held before is void from `at` on.
    pub(crate) fn session_began(&mut self, who: Who, v5: bool) {
        *self.incarnation.entry(who).or_insert(0) += 1;
        self.session(who).v5 = v5;
    }

    /// The session is about to end, or may be: nothing need arrive any more.
    pub(crate) fn session_ends(&mut self, who: Who, at: Time) {
        let session = self.session(who);
        session.ended = true;
        let held_shared = session.filters.iter().any(|filter| filter.starts_with("$share/"));
        for subscription in &mut session.subscriptions {
            subscription.until.get_or_insert(at);
        }
        self.any_session_ended |= held_shared;
    }

    pub(crate) fn subscribed(
        &mut self,
        who: Who,
        filter: &str,
        qos: QoS,
        no_local: bool,
        at: Time,
    ) {
        let session = self.session(who);
        for old in session.subscriptions.iter_mut().filter(|old| old.filter == filter) {
            old.until.get_or_insert(at);
        }
        let filter = filter.to_owned();
        session.subscriptions.push(Subscribed { filter, qos, no_local, from: at, until: None });
    }

    /// SUBSCRIBE was sent: the filter may hold from now on, in place of one that did.
    pub(crate) fn subscribing(&mut self, who: Who, filter: &str, at: Time) {
        self.session(who).filters.insert(filter.to_owned());
        self.unsubscribing(who, filter, at);
    }

    /// A subscription ends, or is being replaced: from now on it is not sure.
    pub(crate) fn unsubscribing(&mut self, who: Who, filter: &str, at: Time) {
        for old in self.session(who).subscriptions.iter_mut().filter(|old| old.filter == filter) {
            old.until.get_or_insert(at);
        }
    }

    pub(crate) fn dropped(&mut self, who: Who) {
        self.session(who).dropped = true;
    }

    #[expect(clippy::too_many_arguments, reason = "they are the parts of a publish")]
    pub(crate) fn published(
        &mut self,
        number: Number,
        by: Who,
        topic: &str,
        qos: QoS,
        retain: bool,
        empty: bool,
        at: Time,
    ) {
        let topic = topic.to_owned();
        if retain {
            let value = (!empty).then_some(number);
            self.retained.entry(topic.clone()).or_insert_with(|| vec![None]).push(value);
        }
        let published = Published {
            by,
            topic,
            qos,
            retain,
            empty,
            at,
            acknowledged: None,
            refused: false,
            resent: false,
            forgotten: false,
            orphaned: false,
            expires: false,
        };
        self.published.insert(number, published);
    }

    /// The message has an expiry interval.
    pub(crate) fn expires(&mut self, number: Number) {
        if let Some(published) = self.published.get_mut(&number) {
            published.expires = true;
        }
    }

    pub(crate) fn acknowledged(&mut self, number: Number, refused: bool, at: Time) {
        let Some(by) = self.published.get(&number).map(|published| published.by) else { return };
        let told = self.session(by).v5;
        let Some(published) = self.published.get_mut(&number) else { return };
        published.refused = refused;
        if !refused {
            published.acknowledged.get_or_insert(at);
            if published.retain && (told || published.at > self.short_until) {
                // What came before it cannot be the retained one any more.
                let value = (!published.empty).then_some(number);
                if let Some(list) = self.retained.get_mut(&published.topic)
                    && let Some(at) = list.iter().position(|known| *known == value)
                    && value.is_some()
                {
                    list.drain(..at);
                }
            }
        }
    }

    /// The publisher sends a message again, since its connection was lost.
    pub(crate) fn resent(&mut self, number: Number) {
        if let Some(published) = self.published.get_mut(&number) {
            published.resent = true;
            if published.retain {
                // It may be applied once more, behind what was published after it.
                let value = (!published.empty).then_some(number);
                self.retained.entry(published.topic.clone()).or_default().push(value);
            }
        }
    }

    /// A message reached a client.
    pub(crate) fn received(
        &mut self,
        who: Who,
        number: Number,
        topic: &str,
        qos: QoS,
        retain: bool,
        dup: bool,
    ) -> Result<(), Violation> {
        let (allow_duplicates, upgrade) = (self.allow_duplicates, self.upgrade);
        let Some(published) = self.published.get(&number) else {
            return Err(Violation(format!("client {who} received {number}, which nobody sent")));
        };
        let (by, sent_topic, sent_qos) = (published.by, published.topic.clone(), published.qos);
        if sent_topic != topic {
            let text = format!("client {who} received {number} on {topic} instead of {sent_topic}");
            return Err(Violation(text));
        }
        if !upgrade && qos > sent_qos {
            return Err(Violation(format!("client {who} received {number} at a higher QoS")));
        }
        let (sent_once, forgotten) = (!published.resent, published.forgotten);
        // Exactly once is promised where both ways are QoS 2.
        let resent = published.resent
            && (published.orphaned
                || sent_qos == QoS::AtLeastOnce
                || forgotten && qos < QoS::ExactlyOnce);
        let session = self.session(who);
        let matching = session.filters.iter().filter(|filter| topic::matches(filter, topic));
        let single = !resent && (matching.count() <= 1 || session.v5 || !allow_duplicates);
        if topic.starts_with("s/") && !retain {
            // Members without a lasting session died with the broker, and their messages moved on.
            let may_repeat = resent || forgotten;
            return self.received_shared(who, number, qos, dup, may_repeat);
        }
        if retain {
            return Ok(()); // Sent because of a subscription: any number of times, in any order.
        }
        let earlier = session.received.entry(number).or_default();
        // Forgotten and sent again: once at each QoS that was granted, if that was below 2.
        let single =
            single && !(forgotten && earlier.iter().all(|(before, _)| *before < QoS::ExactlyOnce));
        if single && !earlier.is_empty() {
            let once = earlier.iter().any(|(before, _)| *before != QoS::AtLeastOnce);
            if once || qos != QoS::AtLeastOnce || !dup {
                return Err(Violation(format!(
                    "client {who} received {number} twice ({qos:?}, dup {dup})"
                )));
            }
        }
        let first = earlier.is_empty();
        earlier.push((qos, dup));
        // One that was refused for want of room and sent again comes later than it was first sent.
        if first && single && !dup && sent_once {
            let last = session.last.entry((by, sent_topic, qos)).or_insert(0);
            if *last > number {
                let text = format!(
                    "client {who} received {number} after {last} of the same publisher and topic"
                );
                return Err(Violation(text));
            }
            *last = number;
        }
        Ok(())
    }

    /// MQTT-4.8.2-4: one member gets it; another one only if the first one's session has ended.
    fn received_shared(
        &mut self,
        who: Who,
        number: Number,
        qos: QoS,
        dup: bool,
        resent: bool,
    ) -> Result<(), Violation> {
        let earlier = self.shared.entry(number).or_default();
        let at_least_once = |(_, qos, _): &(Who, QoS, bool)| *qos == QoS::AtLeastOnce;
        // The end of a session may be forgotten with a crash, and come again.
        let sure = earlier.iter().filter(|entry| !at_least_once(entry)).count();
        // Whoever was disconnected may get it later than those that it moved on to.
        let late = self.memory_was_short && sure == 1 && qos == QoS::AtLeastOnce;
        let moved_on = self.any_session_ended && (self.crashed || sure == 0 || late);
        let repeated = dup && earlier.iter().all(|entry| entry.0 == who && at_least_once(entry));
        let again = resent || earlier.is_empty() || moved_on || repeated;
        if !again {
            return Err(Violation(format!(
                "{number} reached {earlier:?} and then {who} by one shared subscription"
            )));
        }
        earlier.push((who, qos, dup));
        Ok(())
    }

    /// A shared message reaches somebody if a member was there all the time.
    pub(crate) fn check_shared(&self) -> Result<(), Violation> {
        if self.sessions.values().any(|session| session.dropped) {
            return Ok(());
        }
        for (number, published) in self.published.iter().filter(|(_, p)| p.topic.starts_with("s/"))
        {
            let Some(acknowledged) = published.acknowledged else { continue };
            let void = published.refused
                || published.empty
                || published.expires
                || published.qos == QoS::AtMostOnce;
            if void || self.shared.contains_key(number) {
                continue;
            }
            let member = |subscription: &Subscribed| {
                subscription.filter.starts_with("$share/")
                    && subscription.from <= published.at
                    && subscription.until.is_none_or(|until| until > acknowledged)
            };
            let stayed =
                |session: &Session| !session.ended && session.subscriptions.iter().any(member);
            // A member whose subscription is at QoS 0, or that left, may have taken it with it.
            let all_sure = self.sessions.values().flat_map(|session| &session.subscriptions).all(
                |subscription| {
                    !subscription.filter.starts_with("$share/")
                        || subscription.qos > QoS::AtMostOnce
                },
            );
            if all_sure && !self.any_session_ended && self.sessions.values().any(stayed) {
                return Err(Violation(format!(
                    "{number} reached no member of the shared subscription"
                )));
            }
        }
        Ok(())
    }

    /// A connection was lost before CONNACK: whether the session was a new one is not known.
    pub(crate) fn orphaned(&mut self, number: Number) {
        if let Some(published) = self.published.get_mut(&number) {
            published.orphaned = true;
        }
    }

    /// The broker died: what it had not acknowledged it may have forgotten, or not.
    pub(crate) fn crashed(&mut self) {
        for published in self.published.values_mut() {
            published.forgotten |= published.acknowledged.is_none();
        }
        for (topic, replaced) in std::mem::take(&mut self.forgettable).into_iter().rev() {
            if let Some(possible) = self.retained.get_mut(&topic) {
                possible.splice(..0, replaced);
            }
        }
        for state in self.wills.values_mut().filter(|state| **state != WillState::Forbidden) {
            *state = WillState::Open; // The watcher was not there to see it.
        }
        self.crashed = true;
    }

    // --- wills ---

    pub(crate) fn will_set(
        &mut self,
        number: Number,
        by: Who,
        topic: &str,
        retain: bool,
        at: Time,
    ) {
        self.wills.insert(number, WillState::Open);
        if retain {
            let possible = self.retained.entry(topic.to_owned()).or_insert_with(|| vec![None]);
            possible.push(Some(number));
        }
        let published = Published {
            by,
            topic: topic.to_owned(),
            qos: QoS::AtMostOnce,
            retain,
            empty: false,
            at,
            acknowledged: None,
            refused: true,
            resent: false,
            forgotten: false,
            orphaned: false,
            expires: false,
        };
        self.published.insert(number, published);
    }

    /// The connection was lost; the will is due `at` that time.
    pub(crate) fn will_due(&mut self, number: Number, at: Time, stored: bool) {
        self.wills.insert(number, WillState::Waiting(at, stored));
    }

    /// DISCONNECT without will.
    pub(crate) fn will_left(&mut self, number: Number) {
        self.wills.insert(number, WillState::Left);
    }

    /// The broker refuses and disconnects clients for want of memory: when sessions end, and what
    /// becomes of wills, is not known outside any more.
    pub(crate) fn memory_is_short(&mut self, now: Time) {
        self.short_until = now;
        self.refusals_expected = true;
        self.any_session_ended = true;
        self.memory_was_short = true;
    }

    /// It has been taken back, and a CONNACK says so.
    fn will_forbidden(&mut self, number: Number) {
        if self.refusals_expected {
            return self.will_left(number); // CONNACK may not have waited.
        }
        self.wills.insert(number, WillState::Forbidden);
        if let Some(published) = self.published.get(&number)
            && let Some(possible) = self.retained.get_mut(&published.topic)
        {
            possible.retain(|value| *value != Some(number));
        }
    }

    /// It has been published, for certain. Nobody waits for the store because of a session that is not
    /// in it: a crash may forget that will, if it is retained.
    fn will_published(&mut self, number: Number, stored: bool) {
        self.wills.insert(number, WillState::Due);
        let replaced = if self.refusals_expected { Vec::new() } else { self.will_replaces(number) };
        if let (false, Some(published)) = (stored, self.published.get(&number)) {
            self.forgettable.push((published.topic.clone(), replaced));
        }
    }

    /// What was retained on a will's topic before is replaced, if it is retained. Answers what that may
    /// have been.
    fn will_replaces(&mut self, number: Number) -> Vec<Option<Number>> {
        if let Some(published) = self.published.get(&number)
            && let Some(possible) = self.retained.get_mut(&published.topic)
            && let Some(at) = possible.iter().position(|value| *value == Some(number))
        {
            return possible.drain(..at).collect();
        }
        Vec::new()
    }

    /// A retained will is, or will be, what is retained, even after a crash: the broker died with the
    /// connection of a stored session, or the client's next CONNACK waited for it. While the disk
    /// fails, CONNACK does not wait, and a will may be lost with the broker.
    pub(crate) fn will_outlives(&mut self, number: Number) {
        if !self.refusals_expected {
            self.will_replaces(number);
        }
    }

    /// A client has its CONNACK: its last will was cancelled by that (MQTT-3.1.3-9), or published.
    pub(crate) fn came_back(&mut self, who: Who, resumed: bool, dialled: Time, now: Time) {
        let waiting = self.wills.iter().filter_map(|(number, state)| match state {
            WillState::Waiting(at, stored) if self.published[number].by == who => {
                Some((*number, *at, *stored))
            }
            WillState::Left if self.published[number].by == who => {
                Some((*number, Time::NEVER, true))
            }
            _ => None,
        });
        for (number, at, stored) in waiting.collect::<Vec<_>>() {
            if at == Time::NEVER {
                self.will_forbidden(number);
            } else if at <= dialled || !resumed {
                self.will_published(number, stored);
            } else if now < at {
                self.will_forbidden(number);
            } else {
                self.wills.insert(number, WillState::Open);
            }
        }
    }

    // --- the end ---

    /// Everything that was promised must have arrived by now. `watcher` sees all wills.
    pub(crate) fn check_arrivals(&self, watcher: Who) -> Result<(), Violation> {
        for ((who, _), session) in &self.sessions {
            if session.dropped {
                continue;
            }
            for (number, published) in &self.published {
                check_arrival(*who, session, *number, published)?;
            }
        }
        let seen = self.sessions.iter().filter(|((who, _), _)| *who == watcher);
        let seen: BTreeSet<Number> = seen.flat_map(|(_, s)| s.received.keys().copied()).collect();
        for (number, state) in self.wills.iter().filter(|_| !self.memory_was_short) {
            match state {
                WillState::Due if !seen.contains(number) => {
                    return Err(Violation(format!("will {number} was not published")));
                }
                WillState::Left | WillState::Forbidden if seen.contains(number) => {
                    return Err(Violation(format!("will {number} was published")));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// What a fresh subscriber was sent as retained must be what was last accepted.
    pub(crate) fn check_retained(&self, sent: &BTreeMap<String, Number>) -> Result<(), Violation> {
        let sure = |topic: &String| !(self.memory_was_short && topic.starts_with("will/"));
        for (topic, possible) in self.retained.iter().filter(|(topic, _)| sure(topic)) {
            let got = sent.get(topic).copied();
            if !possible.contains(&got) {
                let text =
                    format!("retained on {topic} is {got:?}, which is not one of {possible:?}");
                return Err(Violation(text));
            }
        }
        match sent.keys().find(|topic| !self.retained.contains_key(*topic)) {
            Some(topic) => Err(Violation(format!("{topic} was never retained"))),
            None => Ok(()),
        }
    }
}

/// A message that was acknowledged must have reached a session that was subscribed all the time.
fn check_arrival(
    who: Who,
    session: &Session,
    number: Number,
    published: &Published,
) -> Result<(), Violation> {
    let Some(acknowledged) = published.acknowledged else { return Ok(()) };
    // What a session that ended had not taken yet is gone with it.
    // An empty message has no number by which it could be known.
    let done = session.ended || published.refused || published.empty || published.expires;
    if done || session.received.contains_key(&number) {
        return Ok(());
    }
    let mut owed = session.subscriptions.iter().filter(|subscription| {
        subscription.qos.min(published.qos) > QoS::AtMostOnce
            && subscription.from <= published.at
            && subscription.until.is_none_or(|until| until > acknowledged)
            && !(subscription.no_local && published.by == who)
            && topic::matches(&subscription.filter, &published.topic)
    });
    let Some(subscription) = owed.next() else { return Ok(()) };
    let Published { topic, qos, by, .. } = published;
    Err(Violation(format!(
        "client {who} never received {number} on {topic} at {qos:?}, acknowledged to client {by}; {subscription:?}"
    )))
}

#[cfg(test)]
mod tests;
