//! The backends in their order, and what they say together.

use super::files::Files;
use super::http::{Http, Trouble};
use crate::access::jwt::{Identity, Keys, Verifier, looks_like_token};
use crate::access::options::Options;

/// Kinds of access in go-auth's and Mosquitto's numbers.
pub(crate) const READ: u8 = 1;
pub(crate) const WRITE: u8 = 2;
pub(crate) const SUBSCRIBE: u8 = 4;

/// Seconds that clocks may differ where tokens are concerned.
const LEEWAY: u64 = 10;

/// Somebody who wants to connect.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Login<'a> {
    pub(crate) client_identifier: &'a str,
    pub(crate) username: &'a str,
    pub(crate) password: &'a str,
}

/// Somebody who wants to do something with a topic.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked<'a> {
    pub(crate) client_identifier: &'a str,
    pub(crate) username: &'a str,
    pub(crate) topic: &'a str,
    /// [`READ`], [`WRITE`] or [`SUBSCRIBE`].
    pub(crate) access: u8,
}

/// Who it is that has been let in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Account {
    /// The user name in force, if it is not the one that was given.
    pub(crate) username: Option<Box<str>>,
    /// When that ends, seconds since 1970.
    pub(crate) expires_at: Option<u64>,
}

#[derive(Debug)]
enum Kind {
    Files(Files),
    Http(Http),
    /// Tokens that are checked here, and the rules of their users.
    Token(Box<Verifier>, Files),
    /// Tokens that a service checks.
    RemoteToken(Http),
}

#[derive(Debug)]
struct Backend {
    kind: Kind,
    users: bool,
    superusers: bool,
    acls: bool,
    prefix: Option<String>,
}

/// All of them.
#[derive(Debug)]
pub(crate) struct Backends {
    list: Vec<Backend>,
    strip_prefix: bool,
    retries: u64,
    clientid_is_username: bool,
    /// A client whose token ends is disconnected.
    pub(crate) ends_with_token: bool,
}

impl Backends {
    /// Reads what the options name. Nothing is asked for yet.
    pub(crate) fn load(options: &Options) -> Result<Self, String> {
        let names = options.list("backends").unwrap_or_default();
        if names.is_empty() {
            return Err(options.error("backends", "is needed: some of files, http and jwt"));
        }
        let prefixes = match options.flag("check_prefix")? {
            true => options.list("prefixes").unwrap_or_default(),
            false => Vec::new(),
        };
        if !prefixes.is_empty() && prefixes.len() != names.len() {
            let problem = format!("has {} entries for {} backends", prefixes.len(), names.len());
            return Err(options.error("prefixes", &problem));
        }
        let no_superusers = options.flag("disable_superuser")?;
        let mut list = Vec::new();
        for (index, name) in names.iter().enumerate() {
            let kind = kind(options, name, names.len() == 1)?;
            let registered = format!("{name}_register");
            let checks = options.list(&registered);
            if let Some(odd) = checks.iter().flatten().find(|check| !CHECKS.contains(check)) {
                let problem = format!("`{odd}` is not one of {}", CHECKS.join(", "));
                return Err(options.error(&registered, &problem));
            }
            let does = |check| checks.as_ref().is_none_or(|checks| checks.contains(&check));
            list.push(Backend {
                users: does("user"),
                superusers: does("superuser") && !no_superusers && kind.has_superusers(),
                acls: does("acl"),
                prefix: prefixes.get(index).map(|prefix| (*prefix).to_owned()),
                kind,
            });
        }
        Ok(Self {
            list,
            strip_prefix: options.flag("strip_prefix")?,
            retries: options.number("retry_count", 0, 10)?,
            clientid_is_username: options.flag("use_clientid_as_username")?,
            ends_with_token: options.stated("jwt_disconnect_expired")?.unwrap_or(true),
        })
    }

    /// Whether somebody else has to be asked for some of it.
    pub(crate) fn are_remote(&self) -> bool {
        self.list.iter().any(|backend| backend.kind.is_remote())
    }

    /// Whether tokens are checked here.
    pub(crate) fn take_tokens(&self) -> bool {
        self.list.iter().any(|backend| matches!(backend.kind, Kind::Token(..)))
    }

    /// The backends that answer for a user, and his name for each of them.
    fn of<'a>(&'a self, username: &'a str) -> impl Iterator<Item = (&'a Backend, &'a str)> {
        let prefix = username.split_once('_').map(|(prefix, _)| prefix);
        let only = prefix.filter(|prefix| {
            self.list.iter().any(|backend| backend.prefix.as_deref() == Some(prefix))
        });
        let list = self.list.iter();
        let list = list.filter(move |b| only.is_none_or(|only| b.prefix.as_deref() == Some(only)));
        list.map(move |backend| {
            let strip = self.strip_prefix || backend.kind.is_token();
            let name = match only {
                Some(only) if strip => username.get(only.len() + 1..).unwrap_or(username),
                _ => username,
            };
            (backend, name)
        })
    }

    /// What can be told of a login without asking anybody. Takes the time of a password's hash.
    pub(crate) fn login_here(&self, login: &Login<'_>, now: u64) -> Option<Account> {
        let username = self.username(login.username, login.client_identifier);
        self.of(username).filter(|(backend, _)| backend.users).find_map(|(backend, name)| {
            match &backend.kind {
                Kind::Files(files) => files.verify(name, login.password).then(Account::default),
                Kind::Token(verifier, _) => token(verifier, name, login.password, now),
                Kind::Http(_) | Kind::RemoteToken(_) => None,
            }
        })
    }

    /// Whether a service has to be asked about a login.
    pub(crate) fn login_is_remote(&self, login: &Login<'_>) -> bool {
        let username = self.username(login.username, login.client_identifier);
        self.of(username).any(|(backend, _)| backend.users && backend.kind.is_remote())
    }

    /// Asks services about a login. Takes as long as they do.
    pub(crate) fn login_there(&self, login: &Login<'_>) -> Result<Option<Account>, Trouble> {
        let username = self.username(login.username, login.client_identifier);
        self.tries(|| {
            let backends = self.of(username).filter(|(backend, _)| backend.users);
            any(backends.map(|(backend, name)| match &backend.kind {
                Kind::Http(http) => http.user(name, login.password, login.client_identifier),
                Kind::RemoteToken(http) => http.token_user(name),
                Kind::Files(_) | Kind::Token(..) => Ok(false),
            }))
        })
        .map(|yes| yes.then(Account::default))
    }

    /// What can be told of a topic without asking anybody; `None` if that leaves it open.
    pub(crate) fn allows_here(&self, asked: &Asked<'_>) -> Option<bool> {
        let username = self.username(asked.username, asked.client_identifier);
        let mut open = false;
        for (backend, name) in self.of(username) {
            let asked = Asked { username: name, ..*asked };
            match &backend.kind {
                Kind::Files(rules) | Kind::Token(_, rules) => {
                    if backend.acls && rules.allows(&asked) {
                        return Some(true);
                    }
                }
                Kind::Http(_) | Kind::RemoteToken(_) => open |= backend.acls || backend.superusers,
            }
        }
        (!open).then_some(false)
    }

    /// Asks services about a topic.
    pub(crate) fn allows_there(&self, asked: &Asked<'_>) -> Result<bool, Trouble> {
        let username = self.username(asked.username, asked.client_identifier);
        self.tries(|| {
            let superusers = self.of(username).filter(|(backend, _)| backend.superusers);
            let superuser = any(superusers.map(|(backend, name)| match &backend.kind {
                Kind::Http(http) => http.superuser(name),
                Kind::RemoteToken(http) => http.token_superuser(name),
                Kind::Files(_) | Kind::Token(..) => Ok(false),
            }));
            if let Ok(true) = superuser {
                return superuser;
            }
            let backends = self.of(username).filter(|(backend, _)| backend.acls);
            let allowed = any(backends.map(|(backend, name)| {
                let asked = Asked { username: name, ..*asked };
                match &backend.kind {
                    Kind::Http(http) => http.acl(&asked),
                    Kind::RemoteToken(http) => http.token_acl(&asked),
                    Kind::Files(_) | Kind::Token(..) => Ok(false),
                }
            }))?;
            if allowed { Ok(true) } else { superuser }
        })
    }

    fn username<'a>(&self, username: &'a str, client_identifier: &'a str) -> &'a str {
        if self.clientid_is_username { client_identifier } else { username }
    }

    fn tries(&self, ask: impl Fn() -> Result<bool, Trouble>) -> Result<bool, Trouble> {
        let mut answer = ask();
        for _ in 0..self.retries {
            if answer.is_ok() {
                break;
            }
            answer = ask();
        }
        answer
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        let list = self.list.iter().map(|backend| match &backend.kind {
            Kind::Files(files) => files.heap_bytes(),
            Kind::Token(verifier, rules) => {
                size_of::<Verifier>() + verifier.keys.heap_bytes() + rules.heap_bytes()
            }
            Kind::Http(_) | Kind::RemoteToken(_) => 0,
        });
        self.list.capacity() * size_of::<Backend>() + list.sum::<usize>()
    }
}

const CHECKS: [&str; 3] = ["user", "superuser", "acl"];

impl Kind {
    fn is_remote(&self) -> bool {
        matches!(self, Self::Http(_) | Self::RemoteToken(_))
    }

    fn is_token(&self) -> bool {
        matches!(self, Self::Token(..) | Self::RemoteToken(_))
    }

    fn has_superusers(&self) -> bool {
        match self {
            Self::Http(http) | Self::RemoteToken(http) => http.has_superusers(),
            Self::Files(_) | Self::Token(..) => false,
        }
    }
}

/// Yes if one of them says so; trouble if none does and one could not be asked.
fn any(answers: impl Iterator<Item = Result<bool, Trouble>>) -> Result<bool, Trouble> {
    let mut trouble = None;
    for answer in answers {
        match answer {
            Ok(true) => return Ok(true),
            Ok(false) => {}
            Err(error) => trouble = trouble.or(Some(error)),
        }
    }
    trouble.map_or(Ok(false), Err)
}

fn kind(options: &Options, name: &str, alone: bool) -> Result<Kind, String> {
    match name {
        "files" => {
            let encoding = match options.text("files_hasher_salt_encoding") {
                Some(_) => "files_hasher_salt_encoding",
                None => "hasher_salt_encoding",
            };
            let raw_salt = options.word(encoding, &["base64", "utf-8"])? == "utf-8";
            options.word("hasher", &["pbkdf2", "bcrypt", "argon2id"])?;
            let passwords = options.text("files_password_path");
            Files::load(passwords, options.text("files_acl_path"), alone, raw_salt).map(Kind::Files)
        }
        "http" => Http::new(options, "http").map(Kind::Http),
        "jwt" => match options.word("jwt_mode", &["files", "remote", "local", "js"])? {
            "files" => {
                let rules = Files::load(None, options.text("jwt_files_acl_path"), alone, false)?;
                Ok(Kind::Token(Box::new(verifier(options)?), rules))
            }
            "remote" => Http::new(options, "jwt").map(Kind::RemoteToken),
            mode => {
                let problem = format!("`{mode}` is not built in: files and remote are");
                Err(options.error("jwt_mode", &problem))
            }
        },
        other => Err(options.error(
            "backends",
            &format!("`{other}` is not built in: files, http and jwt are, and http reaches everything else"),
        )),
    }
}

fn verifier(options: &Options) -> Result<Verifier, String> {
    let mut keys = Keys::default();
    if let Some(secret) = options.text("jwt_secret") {
        keys.add_secret(secret).map_err(|problem| options.error("jwt_secret", &problem))?;
    }
    if let Some(path) = options.text("jwt_pem_file") {
        keys.add_pem(path.as_ref()).map_err(|problem| options.error("jwt_pem_file", &problem))?;
    }
    if let Some(path) = options.text("jwt_jwks_file") {
        keys.add_jwks(path.as_ref()).map_err(|problem| options.error("jwt_jwks_file", &problem))?;
    }
    if keys.is_empty() {
        return Err(options.error("jwt_secret", "is needed, or jwt_pem_file, or jwt_jwks_file"));
    }
    let user_claim = match options.text("jwt_userfield") {
        None | Some("Subject") => "sub",
        Some("Username") => "username",
        Some(claim) => claim,
    };
    Ok(Verifier {
        keys,
        leeway: options.number("jwt_leeway_seconds", LEEWAY, 3600)?,
        audience: options.text("jwt_audience").map(str::to_owned),
        issuer: options.text("jwt_issuer").map(str::to_owned),
        user_claim: user_claim.to_owned(),
        endless: options.flag("jwt_allow_no_expiry")?,
    })
}

/// The token is the user name, as in go-auth, or the password. In the latter case the user name is
/// empty or that of the token.
fn token(verifier: &Verifier, username: &str, password: &str, now: u64) -> Option<Account> {
    let account = |identity: Identity| Account {
        username: Some(identity.username),
        expires_at: identity.expires_at,
    };
    if looks_like_token(password)
        && let Ok(identity) = verifier.verify(password, now)
    {
        let same = username.is_empty() || *identity.username == *username;
        return same.then(|| account(identity));
    }
    verifier.verify(username, now).ok().map(account)
}
