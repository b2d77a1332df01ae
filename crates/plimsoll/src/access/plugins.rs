//! Plugins by name: Plimsoll loads no shared objects, and has the common ones built in.

use std::sync::{Arc, Mutex, PoisonError};

use plimsoll_engine::{Access, Action, Decision, Time, Who};
use plimsoll_ledger::Ledger;

use super::dynsec::{self, Dynsec};
use super::go_auth::{self, GoAuth};
use super::logins::{DynsecLogins, GoAuthLogins};
use super::options::Options;
use super::rules::Judge;
use super::verifier::Verifier;
use crate::broker::gate::Authenticator;

/// A plugin that is built in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Builtin {
    /// Mosquitto's `mosquitto_dynamic_security.so`.
    DynamicSecurity,
    /// `go-auth.so` of mosquitto-go-auth.
    GoAuth,
    /// `mosquitto_password_file.so` of Mosquitto 2.1.
    PasswordFile,
    /// `mosquitto_acl_file.so` of Mosquitto 2.1.
    AclFile,
    /// `mosquitto_persist_sqlite.so` of Mosquitto 2.1.
    PersistSqlite,
}

impl Builtin {
    const ALL: [(&'static str, Self); 5] = [
        ("mosquitto_dynamic_security", Self::DynamicSecurity),
        ("go-auth", Self::GoAuth),
        ("mosquitto_password_file", Self::PasswordFile),
        ("mosquitto_acl_file", Self::AclFile),
        ("mosquitto_persist_sqlite", Self::PersistSqlite),
    ];

    /// The one that stands for a file.
    pub(crate) fn of(path: &str) -> Result<Self, String> {
        let file = path.rsplit(['/', '\\']).next().unwrap_or(path);
        let name = file.strip_suffix(".so").or_else(|| file.strip_suffix(".dll")).unwrap_or(file);
        let known = Self::ALL.iter().find(|(known, _)| *known == name);
        known.map(|(_, builtin)| *builtin).ok_or_else(|| {
            let names: Vec<String> = Self::ALL.iter().map(|(name, _)| format!("{name}.so")).collect();
            format!(
                "{path} cannot be loaded: Plimsoll loads no shared objects. Built in, by their file names, are {}; go-auth.so with its backend http asks a web service of yours (docs/plugins.md)",
                names.join(", ")
            )
        })
    }
}

/// A plugin that the configuration asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plugin {
    pub(crate) builtin: Builtin,
    /// The name that `plugin_load` gave it.
    pub(crate) name: Option<String>,
    /// The listeners that it is for; `None` is all of them.
    pub(crate) listeners: Option<Vec<usize>>,
    pub(crate) options: Options,
    /// `auth_plugin_deny_special_chars`.
    pub(crate) deny_special_chars: bool,
}

impl Plugin {
    pub(crate) fn is_for(&self, listener: usize) -> bool {
        self.listeners.as_ref().is_none_or(|numbers| numbers.contains(&listener))
    }
}

/// Plugins as the configuration has them, read and checked.
#[derive(Default)]
pub(crate) struct Loaded {
    dynsec: Option<(Plugin, dynsec::Loaded)>,
    go_auth: Option<(Plugin, go_auth::Loaded)>,
}

impl Loaded {
    /// Reads what plugins need. Nothing is started.
    pub(crate) fn load(plugins: &[Plugin]) -> Result<Self, String> {
        let (mut loaded, mut errors) = (Self::default(), Vec::new());
        for plugin in plugins {
            let options = &plugin.options;
            let result = match plugin.builtin {
                Builtin::DynamicSecurity if loaded.dynsec.is_some() => Err(twice(options)),
                Builtin::GoAuth if loaded.go_auth.is_some() => Err(twice(options)),
                Builtin::DynamicSecurity => dynsec::Loaded::load(options)
                    .map(|read| loaded.dynsec = Some((plugin.clone(), read))),
                Builtin::GoAuth => go_auth::Loaded::load(options)
                    .map(|read| loaded.go_auth = Some((plugin.clone(), read))),
                Builtin::PasswordFile | Builtin::AclFile | Builtin::PersistSqlite => Ok(()),
            };
            errors.extend(result.err());
        }
        if errors.is_empty() { Ok(loaded) } else { Err(errors.join("\n")) }
    }
}

fn twice(options: &Options) -> String {
    format!("{}: this plugin can be used once, for one listener or for all", options.place)
}

/// Plugins at work.
#[derive(Debug, Default)]
pub(crate) struct Plugins {
    dynsec: Option<(Plugin, Arc<Dynsec>)>,
    go_auth: Option<(Plugin, Arc<GoAuth>)>,
    /// What was read anew for a go-auth that is at work.
    fresh: Mutex<Option<go_auth::Loaded>>,
}

impl Plugins {
    /// Starts what is not at work yet. What is goes on: threads, and the state of dynamic security,
    /// which is newer than its file. Answers what the operator should read about it.
    pub(crate) fn start(
        loaded: Loaded,
        before: &Self,
        ledger: &'static Ledger,
        now: impl Fn() -> Time + Send + Sync + 'static,
    ) -> Result<(Self, Vec<String>), String> {
        let (mut started, mut said) = (Self::default(), Vec::new());
        if let Some((plugin, read)) = loaded.dynsec {
            let same = before.dynsec.as_ref().filter(|(_, dynsec)| dynsec.path() == read.path());
            let dynsec = match same {
                Some((_, dynsec)) => Arc::clone(dynsec),
                None => {
                    let (dynsec, told) = Dynsec::start(read, ledger)?;
                    said.extend(told);
                    Arc::new(dynsec)
                }
            };
            started.dynsec = Some((plugin, dynsec));
        }
        if let Some((plugin, read)) = loaded.go_auth {
            let go_auth = match &before.go_auth {
                Some((_, go_auth)) => {
                    started.fresh = Mutex::new(Some(read));
                    Arc::clone(go_auth)
                }
                None => Arc::new(GoAuth::start(read, ledger, now)?),
            };
            started.go_auth = Some((plugin, go_auth));
        }
        Ok((started, said))
    }

    /// From here on what was read anew holds.
    pub(crate) fn enforce(&self) {
        // A panic ends the process, so nobody sees a poisoned lock.
        let fresh = self.fresh.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let (Some(fresh), Some((_, go_auth))) = (fresh, &self.go_auth) {
            go_auth.swap(fresh);
        }
    }

    /// Whether one of them lets clients of a listener in.
    pub(crate) fn are_for(&self, listener: usize) -> bool {
        let dynsec = self.dynsec.as_ref().is_some_and(|(plugin, _)| plugin.is_for(listener));
        dynsec || self.go_auth.as_ref().is_some_and(|(plugin, _)| plugin.is_for(listener))
    }

    /// Whether one of them knows clients of a listener by a token alone.
    pub(crate) fn take_tokens(&self, listener: usize) -> bool {
        self.go_auth
            .as_ref()
            .is_some_and(|(plugin, go_auth)| plugin.is_for(listener) && go_auth.takes_tokens())
    }

    /// Whether dynamic security is for a listener: commands come through no other.
    pub(crate) fn secure(&self, listener: usize) -> bool {
        self.dynsec.as_ref().is_some_and(|(plugin, _)| plugin.is_for(listener))
    }

    /// Dynamic security, whatever it is for.
    pub(crate) fn dynsec(&self) -> Option<&Arc<Dynsec>> {
        self.dynsec.as_ref().map(|(_, dynsec)| dynsec)
    }

    /// go-auth, whatever it is for.
    pub(crate) fn go_auth(&self) -> Option<&Arc<GoAuth>> {
        self.go_auth.as_ref().map(|(_, go_auth)| go_auth)
    }

    /// Who is asked about the clients of a listener, in turn.
    pub(crate) fn authenticators(
        &self,
        listener: usize,
        verifier: &Arc<Verifier>,
    ) -> Vec<Arc<dyn Authenticator>> {
        let mut list: Vec<Arc<dyn Authenticator>> = Vec::new();
        if let Some((plugin, dynsec)) = &self.dynsec
            && plugin.is_for(listener)
        {
            list.push(Arc::new(DynsecLogins::new(Arc::clone(dynsec), Arc::clone(verifier))));
        }
        if let Some((plugin, go_auth)) = &self.go_auth
            && plugin.is_for(listener)
        {
            list.push(Arc::new(GoAuthLogins(Arc::clone(go_auth))));
        }
        list
    }

    /// Whose rules hold for the clients of a listener, in turn.
    pub(crate) fn judges(&self, listener: usize) -> Vec<Arc<dyn Judge>> {
        let mut list: Vec<Arc<dyn Judge>> = Vec::new();
        if let Some((plugin, dynsec)) = &self.dynsec
            && plugin.is_for(listener)
        {
            list.push(Arc::clone(dynsec) as Arc<dyn Judge>);
        }
        if let Some((plugin, go_auth)) = &self.go_auth
            && plugin.is_for(listener)
        {
            let deny_special_chars = plugin.deny_special_chars;
            let go_auth = Arc::clone(go_auth);
            list.push(Arc::new(GoAuthRules { go_auth, deny_special_chars }));
        }
        list
    }
}

impl Judge for Dynsec {
    fn judge(&self, who: &Who<'_>, action: Action, topic: &str) -> Option<Decision> {
        let allowed = self.model().verdict(who, action, topic)?;
        Some(if allowed { Decision::Allow } else { Decision::Deny })
    }

    fn refuses_filters(&self) -> bool {
        true
    }
}

/// go-auth's answers.
#[derive(Debug)]
struct GoAuthRules {
    go_auth: Arc<GoAuth>,
    deny_special_chars: bool,
}

impl Judge for GoAuthRules {
    fn judge(&self, who: &Who<'_>, action: Action, topic: &str) -> Option<Decision> {
        let special = |name: &str| name.contains(['+', '#', '/']);
        let denied = self.deny_special_chars
            && (special(who.client_identifier) || who.username.is_some_and(special));
        Some(if denied { Decision::Deny } else { self.go_auth.decide(who, action, topic) })
    }

    fn refuses_filters(&self) -> bool {
        true
    }

    fn may_wait(&self) -> bool {
        self.go_auth.may_wait()
    }

    fn turn(&self, now: Time) {
        self.go_auth.turn(now);
    }
}
