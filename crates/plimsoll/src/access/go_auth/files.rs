//! The backend `files`: a password file and an ACL file.

use std::collections::HashMap;
use std::fs;

use super::backends::{Asked, READ, SUBSCRIBE, WRITE};
use super::hash::Hash;

/// Lines of a file at most.
const LINES_MAX: usize = 1_000_000;

/// Users and rules as files give them.
#[derive(Debug, Default)]
pub(crate) struct Files {
    /// `None` where no password file is given: nobody is let in by it, and any name may have rules.
    users: Option<HashMap<Box<str>, Hash>>,
    /// `None` where no ACL file is given.
    rules: Option<Rules>,
    /// It is the only backend: without an ACL file everything is allowed.
    alone: bool,
}

#[derive(Debug, Default)]
struct Rules {
    of: HashMap<Box<str>, Vec<Rule>>,
    /// Of everybody: `topic` lines above the first `user`, and all `pattern` lines.
    general: Vec<Rule>,
}

#[derive(Debug)]
struct Rule {
    topic: Box<str>,
    access: Access,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Access {
    Read,
    Write,
    ReadWrite,
    Subscribe,
    Deny,
}

impl Files {
    /// Reads the files.
    pub(crate) fn load(
        passwords: Option<&str>,
        acl: Option<&str>,
        alone: bool,
        raw_salt: bool,
    ) -> Result<Self, String> {
        let read = |path: &str| {
            fs::read_to_string(path).map_err(|error| {
                format!("{path}: {error}; the broker's user must be able to read it")
            })
        };
        let users = passwords
            .map(|path| parse_passwords(&read(path)?, raw_salt).map_err(|e| format!("{path}{e}")))
            .transpose()?;
        let rules = acl
            .map(|path| parse_rules(&read(path)?, users.as_ref()).map_err(|e| format!("{path}{e}")))
            .transpose()?;
        Ok(Self { users, rules, alone })
    }

    /// Whether this is the password of a user. Takes its time.
    pub(crate) fn verify(&self, username: &str, password: &str) -> bool {
        let user = self.users.as_ref().and_then(|users| users.get(username));
        user.is_some_and(|hash| hash.verify(password))
    }

    pub(crate) fn allows(&self, asked: &Asked<'_>) -> bool {
        let Some(rules) = &self.rules else { return self.alone };
        let own = rules.of.get(asked.username).map_or(&[][..], Vec::as_slice);
        // A name with a wildcard would make a pattern match what is not its own.
        let tame = |name: &str| !name.contains(['+', '#']);
        let tame = tame(asked.username) && tame(asked.client_identifier);
        let matches = |general: bool, rule: &Rule| {
            if general && rule.topic.contains('%') {
                tame && matches(&filled(&rule.topic, asked), asked.topic)
            } else {
                matches(&rule.topic, asked.topic)
            }
        };
        let all = || {
            let own = own.iter().map(|rule| (false, rule));
            own.chain(rules.general.iter().map(|rule| (true, rule)))
        };
        let denied =
            |(general, rule): (bool, &Rule)| rule.access == Access::Deny && matches(general, rule);
        let allowed = |(general, rule): (bool, &Rule)| {
            rule.access.grants(asked.access, asked.topic) && matches(general, rule)
        };
        !all().any(denied) && all().any(allowed)
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        let users = self.users.iter().flatten().map(|(name, hash)| {
            name.len() + hash.heap_bytes() + size_of::<(Box<str>, Hash)>() * 8 / 7
        });
        let rule = |rule: &Rule| rule.topic.len() + size_of::<Rule>();
        let rules = self.rules.iter().map(|rules| {
            let own = rules.of.iter().map(|(name, list)| {
                name.len()
                    + size_of::<(Box<str>, Vec<Rule>)>() * 8 / 7
                    + list.iter().map(rule).sum::<usize>()
            });
            own.sum::<usize>() + rules.general.iter().map(rule).sum::<usize>()
        });
        users.sum::<usize>() + rules.sum::<usize>()
    }
}

impl Access {
    fn grants(self, access: u8, topic: &str) -> bool {
        match (self, access) {
            (Self::ReadWrite, _) | (Self::Read, READ) | (Self::Write, WRITE) => true,
            (Self::Read | Self::Subscribe, SUBSCRIBE) => topic != "#",
            _ => false,
        }
    }
}

fn filled(topic: &str, asked: &Asked<'_>) -> String {
    topic.replace("%c", asked.client_identifier).replace("%u", asked.username)
}

/// Whether a rule's filter matches a topic name or covers a filter. Unlike in MQTT a wildcard
/// matches a leading `$` too, as it does in go-auth.
fn matches(filter: &str, topic: &str) -> bool {
    let mut levels = topic.split('/');
    for level in filter.split('/') {
        if level == "#" {
            return true;
        }
        match levels.next() {
            Some(other) if level == other => {}
            Some(other) if level == "+" && other != "#" => {}
            _ => return false,
        }
    }
    levels.next().is_none()
}

fn parse_passwords(text: &str, raw_salt: bool) -> Result<HashMap<Box<str>, Hash>, String> {
    let mut users = HashMap::new();
    for (number, line) in lines(text)? {
        let line = line.trim_end();
        let (name, hash) =
            line.split_once(':').ok_or_else(|| format!(":{number}: is not `USER:HASH`"))?;
        let hash = Hash::read(hash, raw_salt)
            .map_err(|problem| format!(":{number}: the hash of `{name}` {problem}"))?;
        users.insert(name.into(), hash);
    }
    Ok(users)
}

fn parse_rules(text: &str, users: Option<&HashMap<Box<str>, Hash>>) -> Result<Rules, String> {
    let mut rules = Rules::default();
    // `None` above the first `user`; then the user, if there is one of that name.
    let mut current: Option<Option<Box<str>>> = None;
    for (number, line) in lines(text)? {
        let line = line.trim();
        let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let rest = rest.trim();
        match word {
            "user" if !rest.is_empty() => {
                let known = users.is_none_or(|users| users.contains_key(rest));
                current = Some(known.then(|| rest.into()));
            }
            "topic" | "pattern" if !rest.is_empty() => {
                let rule = parse_rule(rest).ok_or_else(|| {
                    format!(
                        ":{number}: `{rest}` is not `[read|write|readwrite|subscribe|deny] TOPIC`"
                    )
                })?;
                match (&current, word) {
                    (None, _) | (_, "pattern") => rules.general.push(rule),
                    (Some(Some(user)), _) => rules.of.entry(user.clone()).or_default().push(rule),
                    (Some(None), _) => {}
                }
            }
            _ => {
                return Err(format!(
                    ":{number}: `{line}` is not `user …`, `topic …` or `pattern …`"
                ));
            }
        }
    }
    Ok(rules)
}

fn parse_rule(text: &str) -> Option<Rule> {
    let Some((word, topic)) = text.split_once(char::is_whitespace) else {
        return Some(Rule { topic: text.into(), access: Access::ReadWrite });
    };
    let access = match word {
        "read" => Access::Read,
        "write" => Access::Write,
        "readwrite" => Access::ReadWrite,
        "subscribe" => Access::Subscribe,
        "deny" => Access::Deny,
        _ => return None,
    };
    Some(Rule { topic: topic.trim().into(), access })
}

/// Lines that say something, with their numbers.
fn lines(text: &str) -> Result<impl Iterator<Item = (usize, &str)>, String> {
    if text.lines().nth(LINES_MAX).is_some() {
        return Err(format!(": has more than {LINES_MAX} lines"));
    }
    let numbered = text.lines().enumerate().map(|(index, line)| (index + 1, line));
    Ok(numbered.filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#')))
}
