//! `password_file`: who may connect with which password.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use plimsoll_ledger::{Account, Charge, Ledger, Measure};
use plimsoll_mqtt::ReasonCode;

use super::hash::Hash;
use super::verifier::Verifier;
use crate::broker::gate::{Authenticator, Reply};
use crate::measure::table_bytes;
use crate::process::unreadable;

/// Users of a file at most.
const USERS_MAX: usize = 1_000_000;

/// Rights by which others than the owner and the group may read a file.
const READABLE_BY_OTHERS: u32 = 0o004;

/// The users of a file. It never changes; a reload makes another one.
#[derive(Debug)]
pub(crate) struct PasswordFile {
    users: HashMap<Box<str>, Hash>,
    /// Is checked for users that do not exist, so that they take as long as those that do.
    decoy: Option<Hash>,
    _charge: Charge,
}

/// Reads the lines `USER:HASH`, with the number of the line where one is wrong. Lines that begin with
/// `#` and lines without a colon are skipped, as Mosquitto does.
pub(crate) fn parse(text: &str) -> Result<HashMap<Box<str>, Hash>, (usize, String)> {
    let mut users = HashMap::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim_end();
        if line.starts_with('#') {
            continue;
        }
        let Some((name, password)) = line.split_once(':') else { continue };
        let wrong = |problem: String| Err((number + 1, problem));
        let (name, password) = (name.trim(), password.trim());
        if name.is_empty() {
            return wrong("the user has no name: a line is `USER:HASH`".into());
        }
        let hash = match Hash::read(password) {
            Ok(hash) => hash,
            Err(problem) => return wrong(format!("user `{name}`: {problem}")),
        };
        if users.insert(Box::from(name), hash).is_some() {
            return wrong(format!("user `{name}` stands there twice: remove one"));
        }
        if users.len() > USERS_MAX {
            return wrong(format!("more than {USERS_MAX} users"));
        }
    }
    Ok(users)
}

impl PasswordFile {
    /// Reads a file. What an operator should know is added to `warnings`.
    pub(crate) fn load(
        path: &Path,
        ledger: &'static Ledger,
        warnings: &mut Vec<String>,
    ) -> Result<Self, String> {
        let shown = path.display();
        let text =
            fs::read_to_string(path).map_err(|error| unreadable("password_file", path, error))?;
        if fs::metadata(path).is_ok_and(|metadata| metadata.mode() & READABLE_BY_OTHERS != 0) {
            warnings.push(format!("{shown} can be read by everybody: `chmod 0640 {shown}`"));
        }
        let users = parse(&text).map_err(|(line, problem)| format!("{shown}:{line}: {problem}"))?;
        let decoy = users.values().max_by_key(|hash| cost(hash)).cloned();
        let parts: usize =
            users.iter().map(|(name, hash)| name.heap_bytes() + hash.heap_bytes()).sum();
        let bytes = table_bytes(&users) + parts;
        Ok(Self { users, decoy, _charge: ledger.charge(Account::Admin, bytes) })
    }

    /// The hash of a user.
    pub(crate) fn hash(&self, username: &str) -> Option<&Hash> {
        self.users.get(username)
    }
}

/// How long a hash takes, roughly.
fn cost(hash: &Hash) -> u64 {
    match hash {
        Hash::Sha512 { .. } => 1,
        Hash::Pbkdf2 { iterations, .. } => u64::from(iterations.get()),
        Hash::Argon2id { memory_kib, time, .. } => u64::from(*memory_kib) * u64::from(*time) * 8,
    }
}

/// Checks clients against a password file.
#[derive(Debug)]
pub(crate) struct Passwords {
    file: Arc<PasswordFile>,
    verifier: Arc<Verifier>,
}

impl Passwords {
    pub(crate) fn new(file: Arc<PasswordFile>, verifier: Arc<Verifier>) -> Self {
        Self { file, verifier }
    }
}

impl Authenticator for Passwords {
    fn authenticate(&self, reply: Reply) {
        if reply.credentials.is_nameless() {
            return reply.defer();
        }
        let known = reply.credentials.username.as_deref().and_then(|name| self.file.hash(name));
        let (known, hash) = (known.is_some(), known.or(self.file.decoy.as_ref()).cloned());
        let (Some(hash), true) = (hash, reply.credentials.password.is_some()) else {
            return reply.refuse(ReasonCode::NOT_AUTHORIZED);
        };
        let working_bytes = hash.working_bytes();
        self.verifier.run(working_bytes, reply, move |reply| {
            let password = reply.credentials.password.as_deref().unwrap_or_default();
            if hash.verify(password) && known {
                reply.accept();
            } else {
                reply.refuse(ReasonCode::NOT_AUTHORIZED);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "$7$101$IfgZNbl+2vTzcW1y$jYhF3TorlJhpENeA59zoHwcl5D90l69jEpsofJrbhOProcWQl+kBmRZAjIOsEYY+NI1B1dd4wt11YybMTKPf+Q==";

    #[test]
    fn users_are_read_and_other_lines_skipped() {
        let users =
            parse(&format!("# a comment\n\nno colon\njoe:{HASH}\r\n jane : {HASH}\n")).unwrap();
        let mut names: Vec<&str> = users.keys().map(|name| &**name).collect();
        names.sort_unstable();
        assert_eq!(names, ["jane", "joe"]);
    }

    #[test]
    fn mistakes_name_their_line() {
        let line = |text: &str| parse(text).unwrap_err();
        assert_eq!(line("\njoe:secret\n").0, 2);
        assert!(line("joe:secret").1.contains("plimsoll passwd -U"));
        assert_eq!(line(&format!("joe:{HASH}\njoe:{HASH}\n")).0, 2);
        assert_eq!(line(&format!(":{HASH}")).0, 1);
    }
}
