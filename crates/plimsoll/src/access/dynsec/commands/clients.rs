//! Commands about clients.

use serde_json::{Map, Value, json};

use super::fields::{Fields, text};
use super::{Answer, Change, listing, rolename, texts, username};
use crate::access::dynsec::model::{Client, Members, Model, Refused};
use crate::access::dynsec::password::Password;

const NOT_FOUND: &str = "Client not found";

pub(super) fn create(
    under: &mut Change<'_>,
    fields: Fields<'_>,
    password: Option<&Password>,
) -> Answer {
    let name = fields.required("username").map_err(|()| "Invalid/missing username")?;
    if name.is_empty() {
        return Err("Empty username");
    }
    let name = username(fields)?;
    fields.optional("password").map_err(|()| "Invalid/missing password")?;
    let clientid = fields.optional("clientid").map_err(|()| "Invalid/missing client id")?;
    if !clientid.is_none_or(text::is_valid) {
        return Err("Client ID not valid UTF-8");
    }
    let (textname, textdescription) = fields.texts()?;
    if under.model.clients.contains_key(name) {
        return Err("Client already exists");
    }
    let roles = fields.roles(under.model)?.unwrap_or_default();
    let groups = groups(fields);
    if groups.iter().any(|(group, _)| !under.model.groups.contains_key(*group)) {
        return Err("Group not found");
    }
    under.room_for(1)?;
    let client = Client {
        clientid: clientid.filter(|id| !id.is_empty()).map(Box::from),
        textname,
        textdescription,
        disabled: false,
        password: password.cloned(),
        roles,
        groups: Members::default(),
    };
    under.model.clients.insert(name.into(), client);
    for (group, priority) in groups {
        // It exists, and a second mention changes nothing.
        let _ = under.model.join_group(name, group, priority);
    }
    Ok(None)
}

/// The groups that a command names.
fn groups(fields: Fields<'_>) -> Vec<(&str, i32)> {
    let groups = fields.list("groups").unwrap_or_default().iter().filter_map(Fields::of);
    let named = groups.filter_map(|group| {
        let name = group.required("groupname").ok()?;
        Some((name, group.number("priority", Members::PRIORITY)))
    });
    named.collect()
}

pub(super) fn delete(under: &mut Change<'_>, fields: Fields<'_>, _: Option<&Password>) -> Answer {
    let name = fields.required("username").map_err(|()| "Invalid/missing username")?;
    under.model.leave_all_groups(name);
    under.model.clients.remove(name).ok_or(NOT_FOUND)?;
    under.kick(name);
    Ok(None)
}

pub(super) fn enable(under: &mut Change<'_>, fields: Fields<'_>, _: Option<&Password>) -> Answer {
    let name = username(fields)?;
    under.model.clients.get_mut(name).ok_or(NOT_FOUND)?.disabled = false;
    Ok(None)
}

pub(super) fn disable(under: &mut Change<'_>, fields: Fields<'_>, _: Option<&Password>) -> Answer {
    let name = username(fields)?;
    under.model.clients.get_mut(name).ok_or(NOT_FOUND)?.disabled = true;
    under.kick(name);
    Ok(None)
}

pub(super) fn set_id(under: &mut Change<'_>, fields: Fields<'_>, _: Option<&Password>) -> Answer {
    let name = username(fields)?;
    let clientid = fields.optional("clientid").map_err(|()| "Invalid/missing client ID")?;
    if !clientid.is_none_or(text::is_valid) {
        return Err("Client ID not valid UTF-8");
    }
    let client = under.model.clients.get_mut(name).ok_or(NOT_FOUND)?;
    client.clientid = clientid.filter(|id| !id.is_empty()).map(Box::from);
    under.kick(name);
    Ok(None)
}

pub(super) fn set_password(
    under: &mut Change<'_>,
    fields: Fields<'_>,
    password: Option<&Password>,
) -> Answer {
    let name = username(fields)?;
    let given = fields.required("password").map_err(|()| "Invalid/missing password")?;
    if given.is_empty() {
        return Err("Empty password is not allowed");
    }
    let client = under.model.clients.get_mut(name).ok_or(NOT_FOUND)?;
    client.password = Some(password.ok_or("Internal error")?.clone());
    under.kick(name);
    Ok(None)
}

pub(super) fn modify(
    under: &mut Change<'_>,
    fields: Fields<'_>,
    password: Option<&Password>,
) -> Answer {
    let name = username(fields)?;
    if !under.model.clients.contains_key(name) {
        return Err(NOT_FOUND);
    }
    let roles = fields.roles(under.model)?;
    let groups = fields.members(
        ("groups", "groupname"),
        |name| under.model.groups.contains_key(name),
        "'groups' contains an object with an invalid 'groupname'",
        "'groups' contains an object with a 'groupname' that does not exist",
    )?;
    if let Some(groups) = groups {
        under.model.leave_all_groups(name);
        for (group, priority) in groups {
            let _ = under.model.join_group(name, group, priority);
        }
    }
    let client = under.model.clients.get_mut(name).ok_or(NOT_FOUND)?;
    if let Ok(clientid) = fields.required("clientid") {
        client.clientid = Some(clientid).filter(|id| !id.is_empty()).map(Box::from);
    }
    if fields.required("password").is_ok_and(|given| !given.is_empty()) {
        client.password = Some(password.ok_or("Internal error")?.clone());
    }
    fields.change_texts(&mut client.textname, &mut client.textdescription);
    if let Some(roles) = roles {
        client.roles = roles;
    }
    under.kick(name);
    Ok(None)
}

pub(super) fn add_role(under: &mut Change<'_>, fields: Fields<'_>, _: Option<&Password>) -> Answer {
    let (name, role) = (username(fields)?, rolename(fields)?);
    let client = under.model.clients.get_mut(name).ok_or(NOT_FOUND)?;
    if !under.model.roles.contains_key(role) {
        return Err("Role not found");
    }
    if !client.roles.add(role, fields.number("priority", Members::PRIORITY)) {
        return Err("Internal error");
    }
    under.kick(name);
    Ok(None)
}

pub(super) fn remove_role(
    under: &mut Change<'_>,
    fields: Fields<'_>,
    _: Option<&Password>,
) -> Answer {
    let (name, role) = (username(fields)?, rolename(fields)?);
    let client = under.model.clients.get_mut(name).ok_or(NOT_FOUND)?;
    if !under.model.roles.contains_key(role) {
        return Err("Role not found");
    }
    client.roles.remove(role);
    under.kick(name);
    Ok(None)
}

pub(super) fn get(model: &Model, fields: Fields<'_>) -> Answer {
    let name = username(fields)?;
    let client = model.clients.get(name).ok_or(NOT_FOUND)?;
    Ok(Some(json!({ "client": verbose(name, client) })))
}

pub(super) fn list(model: &Model, fields: Fields<'_>) -> Answer {
    listing(fields, "clients", &model.clients, verbose)
}

fn verbose(name: &str, client: &Client) -> Value {
    let mut map = texts([
        ("username", Some(name)),
        ("clientid", client.clientid.as_deref()),
        ("textname", client.textname.as_deref()),
        ("textdescription", client.textdescription.as_deref()),
    ]);
    if client.disabled {
        map.insert("disabled".into(), true.into());
    }
    map.insert("roles".into(), memberships("rolename", &client.roles));
    map.insert("groups".into(), memberships("groupname", &client.groups));
    map.into()
}

/// Memberships as they stand in answers and in the file.
pub(super) fn memberships(field: &str, members: &Members) -> Value {
    let one = members.iter().map(|member| {
        let mut map = Map::new();
        map.insert(field.into(), Value::from(&*member.name));
        if member.priority != Members::PRIORITY {
            map.insert("priority".into(), member.priority.into());
        }
        Value::from(map)
    });
    one.collect()
}

impl Refused {
    pub(super) const fn error(self) -> &'static str {
        match self {
            Self::NoClient => NOT_FOUND,
            Self::NoGroup => "Group not found",
            Self::Already => "Client is already in this group",
        }
    }
}
