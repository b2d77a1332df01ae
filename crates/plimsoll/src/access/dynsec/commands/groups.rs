//! Commands about groups.

use serde_json::{Value, json};

use super::clients::memberships;
use super::fields::Fields;
use super::{Answer, Change, groupname, listing, rolename, texts, username};
use crate::access::dynsec::model::{Group, Members, Model, Refused};
use crate::access::dynsec::password::Password;

const NOT_FOUND: &str = "Group not found";

pub(super) fn create(under: &mut Change<'_>, fields: Fields<'_>, _: Option<&Password>) -> Answer {
    let name = fields.required("groupname").map_err(|()| "Invalid/missing groupname")?;
    if name.is_empty() {
        return Err("Empty groupname");
    }
    let name = groupname(fields)?;
    let (textname, textdescription) = fields.texts()?;
    if under.model.groups.contains_key(name) {
        return Err("Group already exists");
    }
    let roles = fields.roles(under.model).map_err(|error| match error {
        "Role not found" => error,
        _ => "Internal error",
    })?;
    under.room_for(1)?;
    let group = Group {
        textname,
        textdescription,
        roles: roles.unwrap_or_default(),
        clients: Members::default(),
    };
    under.model.groups.insert(name.into(), group);
    Ok(None)
}

pub(super) fn delete(under: &mut Change<'_>, fields: Fields<'_>, _: Option<&Password>) -> Answer {
    let name = groupname(fields)?;
    if !under.model.groups.contains_key(name) {
        return Err(NOT_FOUND);
    }
    if under.model.anonymous_group.as_deref() == Some(name) {
        return Err("Deleting the anonymous group is forbidden");
    }
    under.kick_group(name);
    under.model.empty_group(name);
    under.model.groups.remove(name);
    Ok(None)
}

pub(super) fn add_client(
    under: &mut Change<'_>,
    fields: Fields<'_>,
    _: Option<&Password>,
) -> Answer {
    let (client, group) = (username(fields)?, groupname(fields)?);
    let priority = fields.number("priority", Members::PRIORITY);
    under.model.join_group(client, group, priority).map_err(Refused::error)?;
    under.kick(client);
    Ok(None)
}

pub(super) fn remove_client(
    under: &mut Change<'_>,
    fields: Fields<'_>,
    _: Option<&Password>,
) -> Answer {
    let (client, group) = (username(fields)?, groupname(fields)?);
    under.model.leave_group(client, group).map_err(Refused::error)?;
    under.kick(client);
    Ok(None)
}

pub(super) fn add_role(under: &mut Change<'_>, fields: Fields<'_>, _: Option<&Password>) -> Answer {
    let (name, role) = (groupname(fields)?, rolename(fields)?);
    let group = under.model.groups.get_mut(name).ok_or(NOT_FOUND)?;
    if !under.model.roles.contains_key(role) {
        return Err("Role not found");
    }
    if !group.roles.add(role, fields.number("priority", Members::PRIORITY)) {
        return Err("Group is already in this role");
    }
    under.kick_group(name);
    Ok(None)
}

pub(super) fn remove_role(
    under: &mut Change<'_>,
    fields: Fields<'_>,
    _: Option<&Password>,
) -> Answer {
    let (name, role) = (groupname(fields)?, rolename(fields)?);
    let group = under.model.groups.get_mut(name).ok_or(NOT_FOUND)?;
    if !under.model.roles.contains_key(role) {
        return Err("Role not found");
    }
    group.roles.remove(role);
    under.kick_group(name);
    Ok(None)
}

pub(super) fn modify(under: &mut Change<'_>, fields: Fields<'_>, _: Option<&Password>) -> Answer {
    let name = groupname(fields)?;
    if !under.model.groups.contains_key(name) {
        return Err(NOT_FOUND);
    }
    let roles = fields.roles(under.model)?;
    let clients = fields.members(
        ("clients", "username"),
        |name| under.model.clients.contains_key(name),
        "'clients' contains an object with an invalid 'username'",
        "'clients' contains an object with a 'username' that does not exist",
    )?;
    if let Some(clients) = clients {
        under.kick_group(name);
        under.model.empty_group(name);
        for (client, priority) in clients {
            // It exists, and a second mention changes nothing.
            let _ = under.model.join_group(client, name, priority);
        }
    }
    let group = under.model.groups.get_mut(name).ok_or(NOT_FOUND)?;
    fields.change_texts(&mut group.textname, &mut group.textdescription);
    if let Some(roles) = roles {
        group.roles = roles;
    }
    under.kick_group(name);
    Ok(None)
}

pub(super) fn set_anonymous(
    under: &mut Change<'_>,
    fields: Fields<'_>,
    _: Option<&Password>,
) -> Answer {
    let name = groupname(fields)?;
    if !under.model.groups.contains_key(name) {
        return Err(NOT_FOUND);
    }
    under.model.anonymous_group = Some(name.into());
    under.kicks.push(super::Kick::Anonymous);
    Ok(None)
}

pub(super) fn get_anonymous(model: &Model, _: Fields<'_>) -> Answer {
    let name = model.anonymous_group.as_deref().unwrap_or_default();
    Ok(Some(json!({ "group": { "groupname": name } })))
}

pub(super) fn get(model: &Model, fields: Fields<'_>) -> Answer {
    let name = groupname(fields)?;
    let group = model.groups.get(name).ok_or(NOT_FOUND)?;
    Ok(Some(json!({ "group": verbose(name, group) })))
}

pub(super) fn list(model: &Model, fields: Fields<'_>) -> Answer {
    listing(fields, "groups", &model.groups, verbose)
}

fn verbose(name: &str, group: &Group) -> Value {
    let mut map = texts([
        ("groupname", Some(name)),
        ("textname", group.textname.as_deref()),
        ("textdescription", group.textdescription.as_deref()),
    ]);
    let clients = group.clients.iter().map(|client| json!({ "username": &*client.name }));
    map.insert("clients".into(), clients.collect());
    map.insert("roles".into(), memberships("rolename", &group.roles));
    map.into()
}
