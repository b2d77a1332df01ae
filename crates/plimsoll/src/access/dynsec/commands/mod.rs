//! The commands of `$CONTROL/dynamic-security/v1`, in Mosquitto's words.
#![expect(clippy::unnecessary_wraps, reason = "every command has the signature of the table")]

mod clients;
mod fields;
mod groups;
mod roles;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{PoisonError, RwLock};

use serde_json::{Map, Value, json};

use super::model::Model;
use super::password::Password;
use fields::{Fields, text};

/// A published payload, read and with its passwords hashed: what takes time is done before anybody
/// waits for the model.
#[derive(Debug)]
pub(crate) struct Request {
    commands: Result<Vec<Command>, &'static str>,
}

#[derive(Debug)]
struct Command {
    value: Value,
    /// The hash of its `password`.
    password: Option<Password>,
}

/// Who asks, for the log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Requester<'a> {
    pub(crate) client_identifier: &'a str,
    pub(crate) username: Option<&'a str>,
}

/// Connections that end because of a change.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kick {
    /// Those of this user.
    User(Box<str>),
    /// Those without user name.
    Anonymous,
}

/// What became of a request.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// The answer's payload.
    pub(crate) response: String,
    /// Something is different now, and has to be saved.
    pub(crate) changed: bool,
    /// Who is affected by it.
    pub(crate) kicks: Vec<Kick>,
    /// A line for each command that was carried out.
    pub(crate) log: Vec<String>,
}

/// What a command answers beside its name.
type Answer = Result<Option<Value>, &'static str>;

/// A model while a command changes it.
struct Change<'m> {
    model: &'m mut Model,
    entries_max: usize,
    kicks: Vec<Kick>,
}

impl Change<'_> {
    fn kick(&mut self, username: &str) {
        self.kicks.push(Kick::User(username.into()));
    }

    /// Everybody who is in a group.
    fn kick_group(&mut self, name: &str) {
        if self.model.anonymous_group.as_deref() == Some(name) {
            self.kicks.push(Kick::Anonymous);
        }
        let clients =
            self.model.groups.get(name).into_iter().flat_map(|group| group.clients.iter());
        self.kicks.extend(clients.map(|member| Kick::User(member.name.clone())));
    }

    /// Everybody who has a role, by himself or by a group.
    fn kick_role(&mut self, name: &str) {
        let clients = self.model.clients.iter().filter(|(_, client)| client.roles.contains(name));
        self.kicks.extend(clients.map(|(username, _)| Kick::User(username.clone())));
        let groups = self.model.groups.iter().filter(|(_, group)| group.roles.contains(name));
        let groups: Vec<Box<str>> = groups.map(|(groupname, _)| groupname.clone()).collect();
        for group in groups {
            self.kick_group(&group);
        }
    }

    /// Whether so many more may be taken in.
    fn room_for(&self, more: usize) -> Result<(), &'static str> {
        if self.model.entries() + more > self.entries_max {
            return Err("Too many clients, groups, roles and ACLs (plugin_opt_max_entries)");
        }
        Ok(())
    }
}

impl Request {
    /// Reads a payload.
    pub(crate) fn read(payload: &[u8]) -> Self {
        let Ok(mut tree) = serde_json::from_slice::<Value>(payload) else {
            return Self { commands: Err("Payload not valid JSON") };
        };
        let commands = tree
            .as_object_mut()
            .and_then(|tree| tree.iter_mut().find(|(key, _)| key.eq_ignore_ascii_case("commands")));
        let Some((_, Value::Array(commands))) = commands else {
            return Self { commands: Err("Invalid/missing commands") };
        };
        let commands = std::mem::take(commands).into_iter().map(|value| {
            let password = hash_of(&value);
            Command { value, password }
        });
        Self { commands: Ok(commands.collect()) }
    }

    /// Carries it out, a command after the other.
    pub(crate) fn answer(
        &self,
        model: &RwLock<Model>,
        entries_max: usize,
        requester: Requester<'_>,
    ) -> Outcome {
        let mut outcome = Outcome::default();
        let mut responses = Vec::new();
        match &self.commands {
            Err(error) => responses.push(reply("Unknown command", Err(error), None)),
            Ok(commands) => {
                for command in commands {
                    let (response, goes_on) =
                        one(command, model, entries_max, requester, &mut outcome);
                    responses.push(response);
                    if !goes_on {
                        break;
                    }
                }
            }
        }
        outcome.kicks.sort_unstable();
        outcome.kicks.dedup();
        outcome.response = json!({ "responses": responses }).to_string();
        outcome
    }
}

/// The hash of the password that a command sets.
fn hash_of(command: &Value) -> Option<Password> {
    let fields = Fields::of(command)?;
    let sets = ["createClient", "modifyClient", "setClientPassword"];
    let name = fields.required("command").ok()?;
    sets.iter().find(|known| known.eq_ignore_ascii_case(name))?;
    fields.optional("password").ok().flatten().and_then(Password::new)
}

/// Carries out one command. Answers whether those behind it count.
fn one(
    command: &Command,
    model: &RwLock<Model>,
    entries_max: usize,
    requester: Requester<'_>,
    outcome: &mut Outcome,
) -> (Value, bool) {
    let Some(fields) = Fields::of(&command.value) else {
        return (reply("Unknown command", Err("Command not an object"), None), true);
    };
    let Ok(name) = fields.required("command") else {
        return (reply("Unknown command", Err("Missing command"), None), true);
    };
    let Ok(correlation) = fields.optional("correlationData") else {
        return (reply(name, Err("Invalid correlationData data type."), None), false);
    };
    let Some((known, does)) = COMMANDS.iter().find(|(known, _)| known.eq_ignore_ascii_case(name))
    else {
        return (reply(name, Err("Unknown command"), correlation), true);
    };
    let answer = match does {
        Does::Query(query) => query(&model.read().unwrap_or_else(PoisonError::into_inner), fields),
        Does::Change(change) => {
            let mut model = model.write().unwrap_or_else(PoisonError::into_inner);
            let mut under = Change { model: &mut model, entries_max, kicks: Vec::new() };
            let answer = change(&mut under, fields, command.password.as_ref());
            if answer.is_ok() {
                outcome.changed = true;
                outcome.kicks.append(&mut under.kicks);
            }
            answer
        }
    };
    let (answer, said) = match answer {
        Ok(data) => {
            outcome.log.push(line(requester, known, fields));
            (Ok(data), *known)
        }
        // Mosquitto names a command that fails as it was given.
        Err(error) => (Err(error), *known),
    };
    (reply(said, answer, correlation), true)
}

/// What a command does.
#[derive(Clone, Copy)]
enum Does {
    Query(fn(&Model, Fields<'_>) -> Answer),
    Change(fn(&mut Change<'_>, Fields<'_>, Option<&Password>) -> Answer),
}

/// Every command.
static COMMANDS: &[(&str, Does)] = &[
    ("setDefaultACLAccess", Does::Change(set_default_access)),
    ("getDefaultACLAccess", Does::Query(get_default_access)),
    ("createClient", Does::Change(clients::create)),
    ("deleteClient", Does::Change(clients::delete)),
    ("getClient", Does::Query(clients::get)),
    ("listClients", Does::Query(clients::list)),
    ("modifyClient", Does::Change(clients::modify)),
    ("setClientPassword", Does::Change(clients::set_password)),
    ("setClientId", Does::Change(clients::set_id)),
    ("addClientRole", Does::Change(clients::add_role)),
    ("removeClientRole", Does::Change(clients::remove_role)),
    ("enableClient", Does::Change(clients::enable)),
    ("disableClient", Does::Change(clients::disable)),
    ("addGroupClient", Does::Change(groups::add_client)),
    ("createGroup", Does::Change(groups::create)),
    ("deleteGroup", Does::Change(groups::delete)),
    ("getGroup", Does::Query(groups::get)),
    ("listGroups", Does::Query(groups::list)),
    ("modifyGroup", Does::Change(groups::modify)),
    ("removeGroupClient", Does::Change(groups::remove_client)),
    ("addGroupRole", Does::Change(groups::add_role)),
    ("removeGroupRole", Does::Change(groups::remove_role)),
    ("setAnonymousGroup", Does::Change(groups::set_anonymous)),
    ("getAnonymousGroup", Does::Query(groups::get_anonymous)),
    ("createRole", Does::Change(roles::create)),
    ("getRole", Does::Query(roles::get)),
    ("listRoles", Does::Query(roles::list)),
    ("modifyRole", Does::Change(roles::modify)),
    ("deleteRole", Does::Change(roles::delete)),
    ("addRoleACL", Does::Change(roles::add_acl)),
    ("removeRoleACL", Does::Change(roles::remove_acl)),
    ("getDetails", Does::Query(details)),
];

fn reply(command: &str, answer: Answer, correlation: Option<&str>) -> Value {
    let mut reply = Map::new();
    reply.insert("command".into(), command.into());
    match answer {
        Ok(None) => {}
        Ok(Some(data)) => {
            reply.insert("data".into(), data);
        }
        Err(error) => {
            reply.insert("error".into(), error.into());
        }
    }
    if let Some(correlation) = correlation {
        reply.insert("correlationData".into(), correlation.into());
    }
    reply.into()
}

/// A line for the log, as Mosquitto has it. Passwords are not in it.
fn line(requester: Requester<'_>, command: &str, fields: Fields<'_>) -> String {
    let (id, user) = (requester.client_identifier, requester.username.unwrap_or("(null)"));
    let mut line = format!("dynsec: {id}/{user} | {command}");
    for name in ["username", "groupname", "rolename", "acltype", "topic", "clientid"] {
        if let Ok(Some(value)) = fields.optional(name) {
            let _ = write!(line, " | {name}={}", value.escape_debug());
        }
    }
    line
}

fn set_default_access(under: &mut Change<'_>, fields: Fields<'_>, _: Option<&Password>) -> Answer {
    let acls = fields.list("acls").ok_or("Missing/invalid acls array")?;
    for acl in acls.iter().filter_map(Fields::of) {
        // `mosquitto_ctrl` of 2.0 writes `"access": "allow"`, which Mosquitto passes over.
        let word = acl.required("access").ok();
        let allow = acl.flag("allow").or(word.map(|word| word == "allow"));
        let (Ok(kind), Some(allow)) = (acl.required("acltype"), allow) else { continue };
        let mut known = under.model.default_access.fields();
        if let Some((_, access)) = known.iter_mut().find(|(n, _)| n.eq_ignore_ascii_case(kind)) {
            **access = allow;
        }
    }
    Ok(None)
}

fn get_default_access(model: &Model, _: Fields<'_>) -> Answer {
    let mut access = model.default_access;
    let acls = access.fields().map(|(name, allow)| json!({ "acltype": name, "allow": *allow }));
    Ok(Some(json!({ "acls": acls })))
}

/// Of Mosquitto 2.1: how much there is.
fn details(model: &Model, _: Fields<'_>) -> Answer {
    Ok(Some(json!({
        "clientCount": model.clients.len(),
        "groupCount": model.groups.len(),
        "roleCount": model.roles.len(),
    })))
}

/// The part of a list that `count` and `offset` ask for, by name or in full. As in Mosquitto a count of 0 is one.
fn listing<T>(
    fields: Fields<'_>,
    kind: &str,
    all: &BTreeMap<Box<str>, T>,
    in_full: fn(&str, &T) -> Value,
) -> Answer {
    let (count, offset) = (fields.number("count", -1), fields.number("offset", 0));
    let most = usize::try_from(count).map_or(usize::MAX, |count| count.max(1));
    let whole = fields.flag("verbose").unwrap_or(false);
    let listed: Vec<Value> = all
        .iter()
        .skip(usize::try_from(offset).unwrap_or(0))
        .take(most)
        .map(|(name, one)| if whole { in_full(name, one) } else { Value::from(&**name) })
        .collect();
    Ok(Some(json!({ "totalCount": all.len(), kind: listed })))
}

/// An object with the texts that are there.
fn texts<'a>(all: impl IntoIterator<Item = (&'a str, Option<&'a str>)>) -> Map<String, Value> {
    let there = all.into_iter().filter_map(|(field, text)| Some((field.into(), text?.into())));
    there.collect()
}

/// A name that may be given to something.
fn name<'v>(
    fields: Fields<'v>,
    field: &str,
    missing: &'static str,
    invalid: &'static str,
) -> Result<&'v str, &'static str> {
    let name = fields.required(field).map_err(|()| missing)?;
    if text::is_valid(name) { Ok(name) } else { Err(invalid) }
}

fn username(fields: Fields<'_>) -> Result<&str, &'static str> {
    name(fields, "username", "Invalid/missing username", "Username not valid UTF-8")
}

fn groupname(fields: Fields<'_>) -> Result<&str, &'static str> {
    name(fields, "groupname", "Invalid/missing groupname", "Group name not valid UTF-8")
}

fn rolename(fields: Fields<'_>) -> Result<&str, &'static str> {
    name(fields, "rolename", "Invalid/missing rolename", "Role name not valid UTF-8")
}
