//! A configuration with everything that it names: files are read and checked before any of it holds.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use plimsoll_engine::{Access, Input, Who};
use plimsoll_mqtt::ReasonCode;

use super::shared::Shared;
use super::{LEDGER, limits};
use crate::access::loaded::AccessFiles;
use crate::access::plugins::{Loaded, Plugins};
use crate::access::verifier::Verifier;
use crate::config::Config;

/// A configuration that can be put in force without a failure.
pub(crate) struct Plan {
    pub(crate) config: Config,
    access: Arc<AccessFiles>,
    /// What plugins have read, until they are started.
    loaded: Mutex<Option<Loaded>>,
    plugins: OnceLock<Arc<Plugins>>,
}

impl Plan {
    /// Reads all files that the configuration names. Nothing else happens.
    pub(crate) fn load(mut config: Config) -> Result<Self, String> {
        let access = AccessFiles::load(&mut config, &LEDGER);
        let loaded = Loaded::load(&config.plugins);
        let (access, loaded) = match (access, loaded) {
            (Ok(access), Ok(loaded)) => (Arc::new(access), Mutex::new(Some(loaded))),
            (Err(errors), Ok(_)) | (Ok(_), Err(errors)) => return Err(errors),
            (Err(errors), Err(more)) => return Err(format!("{errors}\n{more}")),
        };
        Ok(Self { config, access, loaded, plugins: OnceLock::new() })
    }

    /// Starts plugins that are not at work yet. They are asked nothing before the plan is in force.
    pub(crate) fn start_plugins(
        &self,
        before: Option<&Self>,
        shared: &Arc<Shared>,
    ) -> Result<(), String> {
        // A panic ends the process, so nobody sees a poisoned lock.
        let loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner).take();
        let before = before.map(Self::plugins).unwrap_or_default();
        let clock = shared.clock;
        let loaded = loaded.unwrap_or_default();
        let (plugins, said) = Plugins::start(loaded, &before, &LEDGER, move || clock.now())?;
        for line in said {
            shared.log.notice(&line);
        }
        if let (Some(go_auth), None) = (plugins.go_auth(), before.go_auth()) {
            let (tell, log) = (Arc::downgrade(shared), Arc::downgrade(shared));
            go_auth.connect(
                move |client| {
                    if let Some(shared) = tell.upgrade() {
                        shared.tell(&[Input::Answered { client }]);
                    }
                },
                move |line| {
                    if let Some(shared) = log.upgrade() {
                        shared.log.warning(line);
                    }
                },
            );
        }
        // A plan is started once.
        let _ = self.plugins.set(Arc::new(plugins));
        Ok(())
    }

    fn plugins(&self) -> Arc<Plugins> {
        self.plugins.get().cloned().unwrap_or_default()
    }

    /// Puts it in force.
    pub(crate) fn enforce(&self, shared: &Shared, verifier: &Arc<Verifier>) {
        let config = &self.config;
        let plugins = self.plugins();
        plugins.enforce();
        shared.control.set_plugins(Arc::clone(&plugins));
        shared.set_limits(limits(config));
        shared.gate.set(self.access.doors(config, &plugins, verifier));
        shared.gate.failures.set_most(config.auth_failures_per_minute);
        let rules = self.access.rules(config, &plugins);
        let rules = rules.map(|rules| Arc::new(rules) as Arc<dyn Access>);
        let mut engine = shared.engine();
        engine.configure(shared.clock.now(), config.settings());
        engine.set_access(rules);
    }

    /// Ends the connections of clients that would not be let in any more.
    pub(crate) fn expel(&self, before: &Self, shared: &Shared) {
        let plugins = self.plugins();
        let why = |who: &Who<'_>| -> Option<ReasonCode> {
            self.access.expels(&self.config, &before.access, &plugins, who)
        };
        shared.expel(why);
    }
}
