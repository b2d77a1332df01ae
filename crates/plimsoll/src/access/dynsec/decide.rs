//! What the rules say.

use plimsoll_engine::{Action, Who};
use plimsoll_mqtt::topic;

use super::model::{Acl, AclType, Members, Model};

impl Model {
    /// Whether a client may do something with a topic; `None` if neither a rule nor the default
    /// access says so: then others may, and without others it is a no.
    pub(crate) fn verdict(&self, who: &Who<'_>, action: Action, topic: &str) -> Option<bool> {
        let (kinds, default) = match action {
            Action::Publish { .. } => {
                ([AclType::PublishClientSend; 2], self.default_access.publish_client_send)
            }
            Action::Receive => {
                ([AclType::PublishClientReceive; 2], self.default_access.publish_client_receive)
            }
            Action::Subscribe => (
                [AclType::SubscribeLiteral, AclType::SubscribePattern],
                self.default_access.subscribe,
            ),
            Action::Unsubscribe => (
                [AclType::UnsubscribeLiteral, AclType::UnsubscribePattern],
                self.default_access.unsubscribe,
            ),
        };
        let spoken = match who.username {
            Some(username) => {
                let client = self.clients.get(username)?;
                let groups = client.groups.iter().filter_map(|group| self.groups.get(&group.name));
                let lists = std::iter::once(&client.roles).chain(groups.map(|group| &group.roles));
                self.first_in(lists, kinds, topic)
            }
            None => {
                let group = self.anonymous_group.as_ref().and_then(|name| self.groups.get(name));
                self.first_in(group.into_iter().map(|group| &group.roles), kinds, topic)
            }
        };
        // Control topics are granted by a rule or not at all.
        spoken.or((default && !topic.starts_with("$CONTROL")).then_some(true))
    }

    /// What the first rule says that matches, by the order of roles and rules.
    fn first_in<'a>(
        &self,
        lists: impl Iterator<Item = &'a Members>,
        kinds: [AclType; 2],
        topic: &str,
    ) -> Option<bool> {
        let roles = lists.flat_map(Members::iter).filter_map(|role| self.roles.get(&role.name));
        let [first, second] = kinds;
        roles
            .flat_map(|role| {
                let other = if first == second { &[][..] } else { role.acls(second) };
                let literal = role.acls(first).iter().map(move |acl| (first, acl));
                literal.chain(other.iter().map(move |acl| (second, acl)))
            })
            .find(|(kind, acl)| matches(*kind, acl, topic))
            .map(|(_, acl)| acl.allow)
    }

    /// Whether a client with this user name and client identifier may connect, leaving its password
    /// aside: `None` if there is none to ask for.
    pub(crate) fn identify(&self, username: &str, client_identifier: &str) -> Identified<'_> {
        let Some(client) = self.clients.get(username) else { return Identified::Unknown };
        let other = client.clientid.as_deref().is_some_and(|only| only != client_identifier);
        if client.disabled || other {
            return Identified::Refused;
        }
        client.password.as_ref().map_or(Identified::Unknown, Identified::Known)
    }
}

/// A client that wants to connect, before its password is checked.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Identified<'a> {
    /// This must be its password.
    Known(&'a super::password::Password),
    /// It is disabled, or has another client identifier than it must.
    Refused,
    /// There is no such client, or it has no password.
    Unknown,
}

fn matches(kind: AclType, acl: &Acl, topic: &str) -> bool {
    match kind {
        AclType::PublishClientSend | AclType::PublishClientReceive => {
            topic_matches(&acl.topic, topic)
        }
        AclType::SubscribeLiteral | AclType::UnsubscribeLiteral => &*acl.topic == topic,
        AclType::SubscribePattern | AclType::UnsubscribePattern => covers(&acl.topic, topic),
    }
}

/// Whether a filter matches a topic name.
fn topic_matches(filter: &str, name: &str) -> bool {
    topic::matches(filter, name)
}

/// Whether everything that `wanted` matches is matched by `filter` too, as Mosquitto 2.0 compares
/// them: level by level, a `+` covers a level that is no `#`, a `#` covers the rest, and `$` is a
/// letter like others. (That `/#` covers `#` there is a mistake that is not made here.)
fn covers(filter: &str, wanted: &str) -> bool {
    if filter == "+/#" && wanted == "#" {
        return true;
    }
    let mut wanted_levels = wanted.split('/');
    for level in filter.split('/') {
        if level == "#" {
            return true;
        }
        match wanted_levels.next() {
            Some(other) if level == other => {}
            Some(other) if level == "+" && other != "#" => {}
            _ => return false,
        }
    }
    wanted_levels.next().is_none()
}
