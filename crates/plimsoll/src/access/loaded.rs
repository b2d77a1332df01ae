//! What the configuration names files for: read, checked, and ready to be put in force.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use plimsoll_engine::Who;
use plimsoll_ledger::Ledger;
use plimsoll_mqtt::ReasonCode;

use super::acl_file::AclFile;
use super::password_file::{PasswordFile, Passwords};
use super::plugins::Plugins;
use super::rules::{Judge, ListenerRules, Nothing, Rules};
use super::verifier::Verifier;
use crate::broker::gate::{Authenticator, Door};
use crate::config::{Config, Listener};

/// Password and rule files of all listeners, by number.
#[derive(Debug, Default)]
pub(crate) struct AccessFiles {
    passwords: Vec<Option<Arc<PasswordFile>>>,
    rules: Vec<Option<Arc<AclFile>>>,
}

impl AccessFiles {
    /// Reads every file that the configuration names, once each. All mistakes are answered, a line
    /// each; warnings are added to the configuration's.
    pub(crate) fn load(config: &mut Config, ledger: &'static Ledger) -> Result<Self, String> {
        let mut errors = Vec::new();
        let mut warnings = Vec::new();
        let passwords = each(
            config,
            |l| l.access.password_file.as_ref(),
            &mut errors,
            |path| PasswordFile::load(path, ledger, &mut warnings),
        );
        let rules = each(
            config,
            |l| l.access.acl_file.as_ref(),
            &mut errors,
            |path| AclFile::load(path, ledger, &mut warnings),
        );
        config.warnings.append(&mut warnings);
        if errors.is_empty() { Ok(Self { passwords, rules }) } else { Err(errors.join("\n")) }
    }

    /// Who has to be asked at a listener's door.
    fn authenticators(
        &self,
        number: usize,
        verifier: &Arc<Verifier>,
    ) -> Vec<Arc<dyn Authenticator>> {
        let file = self.passwords.get(number).cloned().flatten();
        let file = file.map(|file| Passwords::new(file, Arc::clone(verifier)));
        file.into_iter().map(|passwords| Arc::new(passwords) as Arc<dyn Authenticator>).collect()
    }

    /// What has to be met at each listener: plugins are asked first, as in Mosquitto.
    pub(crate) fn doors(
        &self,
        config: &Config,
        plugins: &Plugins,
        verifier: &Arc<Verifier>,
    ) -> Vec<Door> {
        let door = |(number, listener): (usize, &Listener)| Door {
            allow_anonymous: listener.allow_anonymous,
            authenticators: [
                plugins.authenticators(number, verifier),
                self.authenticators(number, verifier),
            ]
            .concat(),
            takes_tokens: plugins.take_tokens(number),
            clientid_prefixes: config.clientid_prefixes.clone(),
            auto_id_prefix: listener.auto_id_prefix.clone(),
            use_username_as_clientid: listener.access.use_username_as_clientid,
            versions: listener.access.versions.clone(),
            certificate_is_identity: listener.tls.is_identity(),
        };
        config.listeners.iter().enumerate().map(door).collect()
    }

    /// The rules for the engine; `None` if there are none.
    pub(crate) fn rules(&self, config: &Config, plugins: &Plugins) -> Option<Rules> {
        let listener = |(number, listener): (usize, &Listener)| {
            let file = self.rules.get(number).cloned().flatten();
            let lost = file.is_none() && listener.access.acl_file.is_some();
            let file = file.map(|file| file as Arc<dyn Judge>);
            let lost = lost.then(|| Arc::new(Nothing) as Arc<dyn Judge>);
            ListenerRules(plugins.judges(number).into_iter().chain(file.or(lost)).collect())
        };
        let rules = Rules {
            listeners: config.listeners.iter().enumerate().map(listener).collect(),
            subscribe_deny: config.acl_subscribe_deny,
        };
        (!rules.is_empty()).then_some(rules)
    }

    /// Why a client that was let in before would not be let in now: its name is gone, or has another
    /// password, or there may be no nameless ones any more.
    pub(crate) fn expels(
        &self,
        config: &Config,
        before: &Self,
        plugins: &Plugins,
        who: &Who<'_>,
    ) -> Option<ReasonCode> {
        let number = usize::from(who.listener);
        let listener = config.listeners.get(number)?;
        if listener.tls.is_identity() {
            return None; // Certificates are looked at by themselves.
        }
        let file = |files: &Self| files.passwords.get(number).cloned().flatten();
        let (before, now) = (file(before), file(self));
        let hash = |file| who.username.and_then(|name| PasswordFile::hash(file, name));
        let (was, is) = (before.as_deref().and_then(hash), now.as_deref().and_then(hash));
        let stays = match who.username {
            // It may have been a plugin that let it in: only what this file says is known here.
            Some(_) if plugins.are_for(number) => was.is_none() || was == is,
            Some(_) if now.is_some() => was.is_some() && was == is,
            _ => listener.allow_anonymous,
        };
        (!stays).then_some(ReasonCode::NOT_AUTHORIZED)
    }
}

/// Loads what each listener names, with one value for all that name the same file. One that a reload
/// has closed has nothing of its own: absent clients of it have what others have of its file.
fn each<T>(
    config: &Config,
    path_of: impl Fn(&Listener) -> Option<&PathBuf>,
    errors: &mut Vec<String>,
    mut load: impl FnMut(&PathBuf) -> Result<T, String>,
) -> Vec<Option<Arc<T>>> {
    let mut known: HashMap<&PathBuf, Arc<T>> = HashMap::new();
    for listener in &config.listeners {
        let Some(path) = path_of(listener).filter(|_| !listener.closed) else { continue };
        if !known.contains_key(path) {
            match load(path) {
                Ok(value) => drop(known.insert(path, Arc::new(value))),
                Err(error) if errors.contains(&error) => {}
                Err(error) => errors.push(error),
            }
        }
    }
    let value = |listener| path_of(listener).and_then(|path| known.get(path).cloned());
    config.listeners.iter().map(value).collect()
}
