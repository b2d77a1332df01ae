//! Plugins by name: Plimsoll loads no shared objects, and has the common ones built in.

use std::sync::Arc;

use plimsoll_engine::{Access, Action, Decision, Time, Who};
use plimsoll_ledger::Ledger;

use super::dynsec::{self, Dynsec};
use super::go_auth::{self, GoAuth};
use super::options::Options;

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
}

impl Plugins {
    /// Puts to work what was read. What is at work already goes on: threads, and the state of dynamic
    /// security, which is newer than its file.
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
                    go_auth.swap(read);
                    Arc::clone(go_auth)
                }
                None => Arc::new(GoAuth::start(read, ledger, now)?),
            };
            started.go_auth = Some((plugin, go_auth));
        }
        Ok((started, said))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.dynsec.is_none() && self.go_auth.is_none()
    }

    /// Dynamic security, for a listener.
    pub(crate) fn dynsec_of(&self, listener: u16) -> Option<&Arc<Dynsec>> {
        let found = self.dynsec.as_ref().filter(|(plugin, _)| plugin.is_for(listener.into()));
        found.map(|(_, dynsec)| dynsec)
    }

    /// Dynamic security, whatever it is for.
    pub(crate) fn dynsec(&self) -> Option<&Arc<Dynsec>> {
        self.dynsec.as_ref().map(|(_, dynsec)| dynsec)
    }

    /// go-auth, for a listener.
    pub(crate) fn go_auth_of(&self, listener: u16) -> Option<&Arc<GoAuth>> {
        let found = self.go_auth.as_ref().filter(|(plugin, _)| plugin.is_for(listener.into()));
        found.map(|(_, go_auth)| go_auth)
    }

    /// go-auth, whatever it is for.
    pub(crate) fn go_auth(&self) -> Option<&Arc<GoAuth>> {
        self.go_auth.as_ref().map(|(_, go_auth)| go_auth)
    }
}

/// The rules of plugins; where they leave it open, those behind them.
#[derive(Debug)]
pub(crate) struct PluginRules {
    pub(crate) plugins: Arc<Plugins>,
    /// Asked where no plugin speaks; without any that is a no, if there are plugins.
    pub(crate) behind: Option<Arc<dyn Access>>,
}

impl Access for PluginRules {
    fn decide(&self, who: &Who<'_>, action: Action, topic: &str) -> Decision {
        let dynsec = self.plugins.dynsec_of(who.listener);
        match dynsec.map(|dynsec| dynsec.model().verdict(who, action, topic)) {
            Some(Some(true)) => return Decision::Allow,
            Some(Some(false)) => return Decision::Deny,
            Some(None) | None => {}
        }
        if let Some((plugin, go_auth)) = &self.plugins.go_auth
            && plugin.is_for(who.listener.into())
        {
            let special = |name: &str| name.contains(['+', '#', '/']);
            let denied = plugin.deny_special_chars
                && (special(who.client_identifier) || who.username.is_some_and(special));
            return if denied { Decision::Deny } else { go_auth.decide(who, action, topic) };
        }
        match (&self.behind, dynsec) {
            (Some(behind), _) => behind.decide(who, action, topic),
            (None, Some(_)) => Decision::Deny,
            (None, None) => Decision::Allow,
        }
    }

    fn may_wait(&self) -> bool {
        let waits = |access: &Arc<dyn Access>| access.may_wait();
        self.plugins.go_auth().is_some_and(|go_auth| go_auth.may_wait())
            || self.behind.as_ref().is_some_and(waits)
    }

    fn turn(&self, now: Time) {
        if let Some(go_auth) = self.plugins.go_auth() {
            go_auth.turn(now);
        }
        if let Some(behind) = &self.behind {
            behind.turn(now);
        }
    }
}
