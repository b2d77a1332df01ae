//! Reading a command's fields, with Mosquitto's idea of what is optional.

use serde_json::{Map, Value};

use crate::access::dynsec::model::{Members, Model};

/// A text for people, where there is one.
type Text = Option<Box<str>>;

/// The fields of an object. Names count in whatever case.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fields<'v>(&'v Map<String, Value>);

impl<'v> Fields<'v> {
    pub(super) fn of(value: &'v Value) -> Option<Self> {
        value.as_object().map(Fields)
    }

    fn get(self, name: &str) -> Option<&'v Value> {
        let any = || self.0.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        self.0.get(name).or_else(|| any().map(|(_, value)| value))
    }

    /// Text that must be there.
    pub(super) fn required(self, name: &str) -> Result<&'v str, ()> {
        self.get(name).and_then(Value::as_str).ok_or(())
    }

    /// Text that may be missing, but not be something else.
    pub(super) fn optional(self, name: &str) -> Result<Option<&'v str>, ()> {
        self.get(name).map_or(Ok(None), |value| value.as_str().map(Some).ok_or(()))
    }

    /// The name and the description for people that something is to have.
    pub(super) fn texts(self) -> Result<(Text, Text), &'static str> {
        let name = self.optional("textname").map_err(|()| "Invalid/missing textname")?;
        let description =
            self.optional("textdescription").map_err(|()| "Invalid/missing textdescription")?;
        Ok((name.map(Box::from), description.map(Box::from)))
    }

    /// The same for something that has them: what is not given stays.
    pub(super) fn change_texts(self, name: &mut Text, description: &mut Text) {
        for (field, text) in [("textname", name), ("textdescription", description)] {
            if let Ok(given) = self.required(field) {
                *text = Some(given.into());
            }
        }
    }

    /// A number; `default` if there is none.
    pub(super) fn number(self, name: &str, default: i32) -> i32 {
        let number = self.get(name).and_then(Value::as_f64);
        number.map_or(default, |number| number as i32)
    }

    pub(super) fn flag(self, name: &str) -> Option<bool> {
        self.get(name).and_then(Value::as_bool)
    }

    pub(super) fn has(self, name: &str) -> bool {
        self.get(name).is_some()
    }

    pub(super) fn list(self, name: &str) -> Option<&'v [Value]> {
        self.get(name).and_then(Value::as_array).map(Vec::as_slice)
    }

    /// Who is to be in something from now on, with priorities; `None` if that is not spoken of. The list
    /// and the field with the name are `listed`; errors are for a name that is none, and for one that is
    /// not `known`.
    pub(super) fn members(
        self,
        (listed, field): (&str, &str),
        known: impl Fn(&str) -> bool,
        invalid: &'static str,
        unknown: &'static str,
    ) -> Result<Option<Vec<(&'v str, i32)>>, &'static str> {
        let Some(listed) = self.list(listed) else { return Ok(None) };
        let member = |member: Fields<'v>| {
            let name = member.required(field).map_err(|()| invalid)?;
            let priority = member.number("priority", Members::PRIORITY);
            if known(name) { Ok((name, priority)) } else { Err(unknown) }
        };
        listed.iter().filter_map(Fields::of).map(member).collect::<Result<_, _>>().map(Some)
    }

    /// The roles that a client or group is to have; `None` if none are spoken of.
    pub(super) fn roles(self, model: &Model) -> Result<Option<Members>, &'static str> {
        const INVALID: &str = "'roles' not an array or missing/invalid rolename";
        if !self.has("roles") {
            return Ok(None);
        }
        let mut roles = Members::default();
        for role in self.list("roles").ok_or(INVALID)? {
            let role = Fields::of(role).ok_or(INVALID)?;
            let name = role.required("rolename").map_err(|()| INVALID)?;
            if !model.roles.contains_key(name) {
                return Err("Role not found");
            }
            roles.add(name, role.number("priority", Members::PRIORITY));
        }
        Ok(Some(roles))
    }
}

/// What may stand in names.
pub(super) mod text {
    /// Whether MQTT would take it: no control characters and no non-characters.
    pub(in super::super) fn is_valid(text: &str) -> bool {
        text.chars().all(|c| {
            let code = u32::from(c);
            !c.is_control() && code & 0xFFFE != 0xFFFE && !(0xFDD0..=0xFDEF).contains(&code)
        })
    }
}
