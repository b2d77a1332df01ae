//! The JSON file, in the form of Mosquitto's plugin: each reads what the other wrote.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::model::{Acl, AclType, Client, DefaultAccess, Group, Members, Model, Role};
use super::password::Password;

/// Largest file that is read.
const FILE_BYTES_MAX: u64 = 1 << 30;

/// The file as it stands. What is missing has its default, what is unknown is passed over.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
struct Tree {
    #[serde(rename = "defaultACLAccess")]
    default_access: Access,
    clients: Vec<ClientEntry>,
    groups: Vec<GroupEntry>,
    roles: Vec<RoleEntry>,
    #[serde(skip_serializing_if = "Option::is_none")]
    anonymous_group: Option<Box<str>>,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
struct Access {
    publish_client_send: bool,
    publish_client_receive: bool,
    subscribe: bool,
    unsubscribe: bool,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
struct ClientEntry {
    username: Box<str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    clientid: Option<Box<str>>,
    // `mosquitto_ctrl dynsec init` writes `textName`; the plugin takes names in whatever case.
    #[serde(alias = "textName", skip_serializing_if = "Option::is_none")]
    textname: Option<Box<str>>,
    #[serde(alias = "textDescription", skip_serializing_if = "Option::is_none")]
    textdescription: Option<Box<str>>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    disabled: bool,
    roles: Vec<RoleName>,
    #[serde(skip_serializing_if = "Option::is_none")]
    password: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    salt: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    iterations: Option<u32>,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
struct GroupEntry {
    groupname: Box<str>,
    #[serde(alias = "textName", skip_serializing_if = "Option::is_none")]
    textname: Option<Box<str>>,
    #[serde(alias = "textDescription", skip_serializing_if = "Option::is_none")]
    textdescription: Option<Box<str>>,
    roles: Vec<RoleName>,
    clients: Vec<ClientName>,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
struct RoleEntry {
    rolename: Box<str>,
    #[serde(alias = "textName", skip_serializing_if = "Option::is_none")]
    textname: Option<Box<str>>,
    #[serde(alias = "textDescription", skip_serializing_if = "Option::is_none")]
    textdescription: Option<Box<str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    allowwildcardsubs: Option<bool>,
    acls: Vec<AclEntry>,
}

#[derive(Debug, Deserialize, Serialize)]
struct RoleName {
    rolename: Box<str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    priority: Option<i32>,
}

#[derive(Debug, Deserialize, Serialize)]
struct ClientName {
    username: Box<str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    priority: Option<i32>,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
struct AclEntry {
    acltype: String,
    topic: Box<str>,
    priority: i32,
    allow: bool,
}

/// Reads the file.
pub(crate) fn load(path: &Path) -> Result<Model, String> {
    let name = path.display();
    let bytes = fs::metadata(path).and_then(|metadata| {
        if metadata.len() > FILE_BYTES_MAX {
            return Err(io::Error::other("it is larger than 1 GiB"));
        }
        fs::read(path)
    });
    let bytes = bytes.map_err(|error| {
        format!(
            "{name}: {error}; `mosquitto_ctrl dynsec init {name} USER` makes the first one, and the broker's user must be able to read and write it"
        )
    })?;
    if bytes.is_empty() {
        return Ok(Model::default());
    }
    parse(&bytes).map_err(|error| format!("{name}{error}"))
}

/// Reads the file's content. An error begins with where it is.
pub(crate) fn parse(bytes: &[u8]) -> Result<Model, String> {
    let tree: Tree = serde_json::from_slice(bytes).map_err(|error| {
        format!(":{}: this is not the JSON of dynamic security: {error}", error.line())
    })?;
    tree.into_model().map_err(|error| format!(": {error}"))
}

impl Tree {
    fn into_model(self) -> Result<Model, String> {
        let mut model = Model { default_access: self.default_access.into(), ..Model::default() };
        for entry in self.roles {
            let mut role = Role {
                textname: entry.textname,
                textdescription: entry.textdescription,
                allow_wildcard_subs: entry.allowwildcardsubs,
                ..Role::default()
            };
            for acl in entry.acls {
                let kind = AclType::of(&acl.acltype).ok_or_else(|| {
                    format!(
                        "role `{}` has an ACL of type `{}`, which there is not",
                        entry.rolename, acl.acltype
                    )
                })?;
                if !acl.topic.is_empty() {
                    let (topic, priority, allow) = (acl.topic, acl.priority, acl.allow);
                    role.add_acl(kind, Acl { topic, priority, allow });
                }
            }
            model.roles.insert(entry.rolename, role);
        }
        for entry in self.clients {
            let (name, client) = entry.into_client(&model)?;
            model.clients.insert(name, client);
        }
        for entry in self.groups {
            let group = Group {
                textname: entry.textname,
                textdescription: entry.textdescription,
                roles: known(entry.roles, &model),
                clients: Members::default(),
            };
            model.groups.insert(entry.groupname.clone(), group);
            for client in entry.clients {
                let priority = client.priority.unwrap_or(Members::PRIORITY);
                // As in Mosquitto a client that is not there is not in the group.
                let _ = model.join_group(&client.username, &entry.groupname, priority);
            }
        }
        model.anonymous_group = self.anonymous_group.filter(|name| model.groups.contains_key(name));
        Ok(model)
    }

    fn of(model: &Model) -> Self {
        let roles = |members: &Members| members.iter().map(RoleName::of).collect();
        let clients = model.clients.iter().map(|(name, client)| ClientEntry {
            username: name.clone(),
            clientid: client.clientid.clone(),
            textname: client.textname.clone(),
            textdescription: client.textdescription.clone(),
            disabled: client.disabled,
            roles: roles(&client.roles),
            password: client.password.as_ref().map(Password::hash_base64),
            salt: client.password.as_ref().map(Password::salt_base64),
            iterations: client.password.as_ref().map(Password::iterations),
        });
        let groups = model.groups.iter().map(|(name, group)| GroupEntry {
            groupname: name.clone(),
            textname: group.textname.clone(),
            textdescription: group.textdescription.clone(),
            roles: roles(&group.roles),
            clients: group.clients.iter().map(ClientName::of).collect(),
        });
        let entries = model.roles.iter().map(|(name, role)| RoleEntry {
            rolename: name.clone(),
            textname: role.textname.clone(),
            textdescription: role.textdescription.clone(),
            allowwildcardsubs: role.allow_wildcard_subs,
            acls: AclEntry::all(role),
        });
        Self {
            default_access: model.default_access.into(),
            clients: clients.collect(),
            groups: groups.collect(),
            roles: entries.collect(),
            anonymous_group: model.anonymous_group.clone(),
        }
    }
}

impl ClientEntry {
    fn into_client(self, model: &Model) -> Result<(Box<str>, Client), String> {
        let password = match (self.password, self.salt, self.iterations) {
            (Some(password), Some(salt), Some(iterations)) => {
                let read = Password::read(&password, &salt, iterations);
                Some(read.ok_or_else(|| {
                    format!("client `{}` has a password, salt or iterations that cannot be: set it again", self.username)
                })?)
            }
            _ => None,
        };
        let client = Client {
            clientid: self.clientid,
            textname: self.textname,
            textdescription: self.textdescription,
            disabled: self.disabled,
            password,
            roles: known(self.roles, model),
            groups: Members::default(),
        };
        Ok((self.username, client))
    }
}

/// The roles of a list that exist: as in Mosquitto, others are passed over.
fn known(listed: Vec<RoleName>, model: &Model) -> Members {
    let mut roles = Members::default();
    for role in listed {
        if model.roles.contains_key(&role.rolename) {
            roles.add(&role.rolename, role.priority.unwrap_or(Members::PRIORITY));
        }
    }
    roles
}

fn stated(priority: i32) -> Option<i32> {
    (priority != Members::PRIORITY).then_some(priority)
}

impl RoleName {
    fn of(member: &super::model::Member) -> Self {
        Self { rolename: member.name.clone(), priority: stated(member.priority) }
    }
}

impl ClientName {
    fn of(member: &super::model::Member) -> Self {
        Self { username: member.name.clone(), priority: stated(member.priority) }
    }
}

impl AclEntry {
    fn all(role: &Role) -> Vec<Self> {
        let entries = AclType::ALL.into_iter().flat_map(|kind| {
            role.acls(kind).iter().map(move |acl| Self {
                acltype: kind.name().into(),
                topic: acl.topic.clone(),
                priority: acl.priority,
                allow: acl.allow,
            })
        });
        entries.collect()
    }
}

impl From<Access> for DefaultAccess {
    fn from(access: Access) -> Self {
        Self {
            publish_client_send: access.publish_client_send,
            publish_client_receive: access.publish_client_receive,
            subscribe: access.subscribe,
            unsubscribe: access.unsubscribe,
        }
    }
}

impl From<DefaultAccess> for Access {
    fn from(access: DefaultAccess) -> Self {
        Self {
            publish_client_send: access.publish_client_send,
            publish_client_receive: access.publish_client_receive,
            subscribe: access.subscribe,
            unsubscribe: access.unsubscribe,
        }
    }
}

/// The file's content for a model.
pub(crate) fn print(model: &Model) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let form = serde_json::ser::PrettyFormatter::with_indent(b"\t");
    let mut writer = serde_json::Serializer::with_formatter(&mut bytes, form);
    Tree::of(model).serialize(&mut writer)?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// Writes the file: whole or not at all, and for the broker's user alone.
pub(crate) fn save(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let new = Path::new(&new);
    // A link that somebody has laid there is not followed.
    match fs::remove_file(new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(new)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(new, path)?;
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
}

/// What a file begins with that is not there yet: one administrator of dynamic security, as
/// `mosquitto_ctrl dynsec init` makes it.
pub(crate) fn initial(username: &str, password: &str) -> Option<Model> {
    let default_access =
        DefaultAccess { publish_client_receive: true, unsubscribe: true, ..Default::default() };
    let mut model = Model { default_access, ..Model::default() };
    let mut role = Role::default();
    let (receive, subscribe) = (AclType::PublishClientReceive, AclType::SubscribePattern);
    for (kind, topic) in [
        (AclType::PublishClientSend, "$CONTROL/dynamic-security/#"),
        (receive, "$CONTROL/dynamic-security/#"),
        (subscribe, "$CONTROL/dynamic-security/#"),
        (receive, "$SYS/#"),
        (subscribe, "$SYS/#"),
        (receive, "#"),
        (subscribe, "#"),
        (AclType::UnsubscribePattern, "#"),
    ] {
        role.add_acl(kind, Acl { topic: topic.into(), priority: 0, allow: true });
    }
    model.roles.insert("admin".into(), role);
    let mut admin = Client {
        textname: Some("Dynsec admin user".into()),
        password: Some(Password::new(password)?),
        ..Client::default()
    };
    admin.roles.add("admin", Members::PRIORITY);
    model.clients.insert(username.into(), admin);
    Some(model)
}
