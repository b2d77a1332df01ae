//! Commands about roles and their rules.

use plimsoll_mqtt::topic;
use serde_json::{Value, json};

use super::fields::{Fields, text};
use super::{Answer, Change, listing, rolename, texts};
use crate::access::dynsec::model::{Acl, AclType, Model, Role};
use crate::access::dynsec::password::Password;

const NOT_FOUND: &str = "Role not found";

pub(super) fn create(under: &mut Change<'_>, fields: Fields<'_>, _: Option<&Password>) -> Answer {
    let name = fields.required("rolename").map_err(|()| "Invalid/missing rolename")?;
    if name.is_empty() {
        return Err("Empty rolename");
    }
    let name = rolename(fields)?;
    let (textname, textdescription) = fields.texts()?;
    if fields.has("allowwildcardsubs") && fields.flag("allowwildcardsubs").is_none() {
        return Err("Invalid allowwildcardsubs");
    }
    if under.model.roles.contains_key(name) {
        return Err("Role already exists");
    }
    let acls = acls(fields).unwrap_or_default();
    under.room_for(1 + acls.len())?;
    let mut role = Role {
        textname,
        textdescription,
        allow_wildcard_subs: fields.flag("allowwildcardsubs"),
        ..Role::default()
    };
    for (kind, acl) in acls {
        role.add_acl(kind, acl);
    }
    under.model.roles.insert(name.into(), role);
    Ok(None)
}

/// The rules that a command or the file gives; what is none of them is passed over.
pub(super) fn acls(fields: Fields<'_>) -> Option<Vec<(AclType, Acl)>> {
    let list = fields.list("acls")?.iter().filter_map(Fields::of);
    let acls = list.filter_map(|acl| {
        let kind = AclType::of(acl.required("acltype").ok()?)?;
        let topic = acl.required("topic").ok().filter(|topic| !topic.is_empty())?;
        Some((kind, rule(acl, topic)))
    });
    Some(acls.collect())
}

fn rule(acl: Fields<'_>, topic: &str) -> Acl {
    Acl {
        topic: topic.into(),
        priority: acl.number("priority", 0),
        allow: acl.flag("allow").unwrap_or(false),
    }
}

pub(super) fn delete(under: &mut Change<'_>, fields: Fields<'_>, _: Option<&Password>) -> Answer {
    let name = rolename(fields)?;
    if !under.model.roles.contains_key(name) {
        return Err(NOT_FOUND);
    }
    under.kick_role(name);
    under.model.roles.remove(name);
    for client in under.model.clients.values_mut() {
        client.roles.remove(name);
    }
    for group in under.model.groups.values_mut() {
        group.roles.remove(name);
    }
    Ok(None)
}

pub(super) fn modify(under: &mut Change<'_>, fields: Fields<'_>, _: Option<&Password>) -> Answer {
    let name = rolename(fields)?;
    let acls = acls(fields);
    if !under.model.roles.contains_key(name) {
        return Err("Role does not exist");
    }
    under.room_for(acls.as_ref().map_or(0, Vec::len))?;
    let role = under.model.roles.get_mut(name).ok_or("Role does not exist")?;
    fields.change_texts(&mut role.textname, &mut role.textdescription);
    if let Some(allow) = fields.flag("allowwildcardsubs") {
        role.allow_wildcard_subs = Some(allow);
    }
    if let Some(acls) = acls {
        role.clear_acls();
        for (kind, acl) in acls {
            role.add_acl(kind, acl);
        }
        under.kick_role(name);
    }
    Ok(None)
}

fn acl_type(fields: Fields<'_>) -> Result<AclType, &'static str> {
    let name = fields.required("acltype").map_err(|()| "Invalid/missing acltype")?;
    AclType::of(name).ok_or("Unknown acltype")
}

fn acl_topic(fields: Fields<'_>) -> Result<&str, &'static str> {
    let topic = fields.required("topic").map_err(|()| "Invalid/missing topic")?;
    if !text::is_valid(topic) {
        return Err("Topic not valid UTF-8");
    }
    match topic::validate_topic_filter(
        topic,
        topic::TopicLimits { levels_max: u16::MAX, ..Default::default() },
    ) {
        Ok(()) => Ok(topic),
        Err(_) => Err("Invalid ACL topic"),
    }
}

pub(super) fn add_acl(under: &mut Change<'_>, fields: Fields<'_>, _: Option<&Password>) -> Answer {
    let name = rolename(fields)?;
    if !under.model.roles.contains_key(name) {
        return Err(NOT_FOUND);
    }
    let (kind, topic) = (acl_type(fields)?, acl_topic(fields)?);
    under.room_for(1)?;
    let role = under.model.roles.get_mut(name).ok_or(NOT_FOUND)?;
    if role.has_acl(kind, topic) {
        return Err("ACL with this topic already exists");
    }
    role.add_acl(kind, rule(fields, topic));
    under.kick_role(name);
    Ok(None)
}

pub(super) fn remove_acl(
    under: &mut Change<'_>,
    fields: Fields<'_>,
    _: Option<&Password>,
) -> Answer {
    let name = rolename(fields)?;
    let role = under.model.roles.get_mut(name).ok_or(NOT_FOUND)?;
    let (kind, topic) = (acl_type(fields)?, acl_topic(fields)?);
    if !role.remove_acl(kind, topic) {
        return Err("ACL not found");
    }
    under.kick_role(name);
    Ok(None)
}

pub(super) fn get(model: &Model, fields: Fields<'_>) -> Answer {
    let name = rolename(fields)?;
    let role = model.roles.get(name).ok_or(NOT_FOUND)?;
    Ok(Some(json!({ "role": verbose(name, role) })))
}

pub(super) fn list(model: &Model, fields: Fields<'_>) -> Answer {
    listing(fields, "roles", &model.roles, verbose)
}

fn verbose(name: &str, role: &Role) -> Value {
    let mut map = texts([
        ("rolename", Some(name)),
        ("textname", role.textname.as_deref()),
        ("textdescription", role.textdescription.as_deref()),
    ]);
    if let Some(allow) = role.allow_wildcard_subs {
        map.insert("allowwildcardsubs".into(), allow.into());
    }
    let acls = AclType::ALL.into_iter().flat_map(|kind| {
        role.acls(kind).iter().map(move |acl| {
            json!({
                "acltype": kind.name(),
                "topic": &*acl.topic,
                "priority": acl.priority,
                "allow": acl.allow,
            })
        })
    });
    map.insert("acls".into(), acls.collect());
    map.into()
}
