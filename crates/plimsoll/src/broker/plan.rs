//! A configuration with everything that it names: files are read and checked before any of it holds.

use std::sync::Arc;

use plimsoll_engine::{Access, Who};
use plimsoll_mqtt::ReasonCode;

use super::shared::Shared;
use super::{LEDGER, limits};
use crate::access::loaded::AccessFiles;
use crate::access::verifier::Verifier;
use crate::config::Config;

/// A configuration that can be put in force without a failure.
pub(crate) struct Plan {
    pub(crate) config: Config,
    access: Arc<AccessFiles>,
}

impl Plan {
    /// Reads all files that the configuration names. Nothing else happens.
    pub(crate) fn load(mut config: Config) -> Result<Self, String> {
        let access = Arc::new(AccessFiles::load(&mut config, &LEDGER)?);
        Ok(Self { config, access })
    }

    /// Puts it in force.
    pub(crate) fn enforce(&self, shared: &Shared, verifier: &Arc<Verifier>) {
        let config = &self.config;
        shared.set_limits(limits(config));
        shared.gate.set(self.access.doors(config, verifier));
        shared.gate.failures.set_most(config.auth_failures_per_minute);
        let rules = self.access.rules(config).map(|rules| Arc::new(rules) as Arc<dyn Access>);
        let mut engine = shared.engine();
        engine.configure(shared.clock.now(), config.settings());
        engine.set_access(rules);
    }

    /// Ends the connections of clients that would not be let in any more.
    pub(crate) fn expel(&self, before: &Self, shared: &Shared) {
        let why = |who: &Who<'_>| -> Option<ReasonCode> {
            self.access.expels(&self.config, &before.access, who)
        };
        shared.expel(why);
    }
}
