//! Clients, groups and roles.

use std::collections::BTreeMap;

use super::password::Password;

/// The kinds of access that a role's rules speak of, in the order in which the file has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AclType {
    /// The client publishes.
    PublishClientSend,
    /// The client is sent a message.
    PublishClientReceive,
    /// The client subscribes to exactly this filter.
    SubscribeLiteral,
    /// The client subscribes to a filter that this one covers.
    SubscribePattern,
    /// The client unsubscribes from exactly this filter.
    UnsubscribeLiteral,
    /// The client unsubscribes from a filter that this one covers.
    UnsubscribePattern,
}

impl AclType {
    pub(crate) const ALL: [Self; 6] = [
        Self::PublishClientSend,
        Self::PublishClientReceive,
        Self::SubscribeLiteral,
        Self::SubscribePattern,
        Self::UnsubscribeLiteral,
        Self::UnsubscribePattern,
    ];

    /// Its name in commands and in the file.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::PublishClientSend => "publishClientSend",
            Self::PublishClientReceive => "publishClientReceive",
            Self::SubscribeLiteral => "subscribeLiteral",
            Self::SubscribePattern => "subscribePattern",
            Self::UnsubscribeLiteral => "unsubscribeLiteral",
            Self::UnsubscribePattern => "unsubscribePattern",
        }
    }

    /// The one of a name, in whatever case.
    pub(crate) fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name().eq_ignore_ascii_case(name))
    }
}

/// One rule of a role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Acl {
    pub(crate) topic: Box<str>,
    pub(crate) priority: i32,
    pub(crate) allow: bool,
}

/// A role: rules by kind, each list from the highest priority down.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Role {
    pub(crate) textname: Option<Box<str>>,
    pub(crate) textdescription: Option<Box<str>>,
    /// Of Mosquitto 2.1, which keeps it without acting on it.
    pub(crate) allow_wildcard_subs: Option<bool>,
    /// By [`AclType`].
    pub(in crate::access::dynsec) acls: [Vec<Acl>; 6],
}

impl Role {
    pub(crate) fn acls(&self, kind: AclType) -> &[Acl] {
        &self.acls[kind as usize]
    }

    /// Takes a rule in, behind those of the same priority.
    pub(crate) fn add_acl(&mut self, kind: AclType, acl: Acl) {
        let list = &mut self.acls[kind as usize];
        let at = list.partition_point(|known| known.priority >= acl.priority);
        list.insert(at, acl);
    }

    pub(crate) fn has_acl(&self, kind: AclType, topic: &str) -> bool {
        self.acls(kind).iter().any(|acl| &*acl.topic == topic)
    }

    pub(crate) fn remove_acl(&mut self, kind: AclType, topic: &str) -> bool {
        let list = &mut self.acls[kind as usize];
        let before = list.len();
        list.retain(|acl| &*acl.topic != topic);
        list.len() < before
    }

    pub(crate) fn clear_acls(&mut self) {
        self.acls = Default::default();
    }

    fn acl_count(&self) -> usize {
        self.acls.iter().map(Vec::len).sum()
    }
}

/// Belonging to something by name, with a priority.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) name: Box<str>,
    pub(crate) priority: i32,
}

/// Memberships, from the highest priority down, then by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Members(Vec<Member>);

impl Members {
    /// Priority of a membership for which none is given.
    pub(crate) const PRIORITY: i32 = -1;

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Member> {
        self.0.iter()
    }

    pub(crate) fn contains(&self, name: &str) -> bool {
        self.0.iter().any(|member| &*member.name == name)
    }

    pub(crate) fn add(&mut self, name: &str, priority: i32) -> bool {
        if self.contains(name) {
            return false;
        }
        let at = self.0.partition_point(|known| {
            known.priority > priority || known.priority == priority && &*known.name < name
        });
        self.0.insert(at, Member { name: name.into(), priority });
        true
    }

    /// Adds a member of a list that is by name alone, as a group's list of clients is.
    pub(crate) fn add_by_name(&mut self, name: &str, priority: i32) -> bool {
        if self.contains(name) {
            return false;
        }
        let at = self.0.partition_point(|known| &*known.name < name);
        self.0.insert(at, Member { name: name.into(), priority });
        true
    }

    pub(crate) fn remove(&mut self, name: &str) -> bool {
        let before = self.0.len();
        self.0.retain(|member| &*member.name != name);
        self.0.len() < before
    }

    fn heap_bytes(&self) -> usize {
        let names: usize = self.0.iter().map(|member| member.name.len()).sum();
        self.0.capacity() * size_of::<Member>() + names
    }
}

/// A client: a user name, and what comes with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Client {
    /// The only client identifier that may use it.
    pub(crate) clientid: Option<Box<str>>,
    pub(crate) textname: Option<Box<str>>,
    pub(crate) textdescription: Option<Box<str>>,
    pub(crate) disabled: bool,
    pub(crate) password: Option<Password>,
    pub(crate) roles: Members,
    pub(crate) groups: Members,
}

/// A group of clients.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Group {
    pub(crate) textname: Option<Box<str>>,
    pub(crate) textdescription: Option<Box<str>>,
    pub(crate) roles: Members,
    pub(crate) clients: Members,
}

/// What is allowed where no rule speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct DefaultAccess {
    pub(crate) publish_client_send: bool,
    pub(crate) publish_client_receive: bool,
    pub(crate) subscribe: bool,
    pub(crate) unsubscribe: bool,
}

impl DefaultAccess {
    /// Each by its name, in the order of the file.
    pub(crate) fn fields(&mut self) -> [(&'static str, &mut bool); 4] {
        [
            ("publishClientSend", &mut self.publish_client_send),
            ("publishClientReceive", &mut self.publish_client_receive),
            ("subscribe", &mut self.subscribe),
            ("unsubscribe", &mut self.unsubscribe),
        ]
    }
}

/// Everything that dynamic security knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Model {
    pub(crate) default_access: DefaultAccess,
    pub(crate) clients: BTreeMap<Box<str>, Client>,
    pub(crate) groups: BTreeMap<Box<str>, Group>,
    pub(crate) roles: BTreeMap<Box<str>, Role>,
    /// The group of clients without user name.
    pub(crate) anonymous_group: Option<Box<str>>,
}

/// Why a client did not become a member of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    NoClient,
    NoGroup,
    Already,
}

impl Model {
    pub(crate) fn join_group(
        &mut self,
        client: &str,
        group: &str,
        priority: i32,
    ) -> Result<(), Refused> {
        let entry = self.clients.get_mut(client).ok_or(Refused::NoClient)?;
        let found = self.groups.get_mut(group).ok_or(Refused::NoGroup)?;
        if !found.clients.add_by_name(client, priority) {
            return Err(Refused::Already);
        }
        entry.groups.add(group, priority);
        Ok(())
    }

    pub(crate) fn leave_group(&mut self, client: &str, group: &str) -> Result<(), Refused> {
        let entry = self.clients.get_mut(client).ok_or(Refused::NoClient)?;
        let found = self.groups.get_mut(group).ok_or(Refused::NoGroup)?;
        found.clients.remove(client);
        entry.groups.remove(group);
        Ok(())
    }

    pub(crate) fn leave_all_groups(&mut self, client: &str) {
        let Some(entry) = self.clients.get_mut(client) else { return };
        for member in std::mem::take(&mut entry.groups).iter() {
            if let Some(group) = self.groups.get_mut(&member.name) {
                group.clients.remove(client);
            }
        }
    }

    pub(crate) fn empty_group(&mut self, group: &str) {
        let Some(entry) = self.groups.get_mut(group) else { return };
        for member in std::mem::take(&mut entry.clients).iter() {
            if let Some(client) = self.clients.get_mut(&member.name) {
                client.groups.remove(group);
            }
        }
    }

    /// Clients, groups, roles and rules: what `max_entries` bounds.
    pub(crate) fn entries(&self) -> usize {
        let acls: usize = self.roles.values().map(Role::acl_count).sum();
        self.clients.len() + self.groups.len() + self.roles.len() + acls
    }

    /// About what it holds in memory. A walk over everything: for once after a change.
    pub(crate) fn heap_bytes(&self) -> usize {
        let text = |text: &Option<Box<str>>| text.as_deref().map_or(0, str::len);
        // A B-tree's nodes are filled by two thirds on average.
        let node = |entry: usize| (entry + size_of::<Box<str>>()) * 3 / 2;
        let clients = self.clients.iter().map(|(name, client)| {
            node(size_of::<Client>())
                + name.len()
                + text(&client.clientid)
                + text(&client.textname)
                + text(&client.textdescription)
                + client.password.as_ref().map_or(0, Password::heap_bytes)
                + client.roles.heap_bytes()
                + client.groups.heap_bytes()
        });
        let groups = self.groups.iter().map(|(name, group)| {
            node(size_of::<Group>())
                + name.len()
                + text(&group.textname)
                + text(&group.textdescription)
                + group.roles.heap_bytes()
                + group.clients.heap_bytes()
        });
        let roles = self.roles.iter().map(|(name, role)| {
            let acls = role.acls.iter().map(|list| {
                let topics: usize = list.iter().map(|acl| acl.topic.len()).sum();
                list.capacity() * size_of::<Acl>() + topics
            });
            node(size_of::<Role>())
                + name.len()
                + text(&role.textname)
                + text(&role.textdescription)
                + acls.sum::<usize>()
        });
        clients.sum::<usize>() + groups.sum::<usize>() + roles.sum::<usize>()
    }
}
