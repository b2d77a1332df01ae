//! A configuration with everything that it names: files are read and checked before any of it holds.

use std::sync::Arc;

use plimsoll_engine::{Access, Who};
use plimsoll_mqtt::ReasonCode;

use super::connection::Connection;
use super::shared::{Purge, Shared};
use super::transport::Transport;
use super::transport::key_log::KeyLogFile;
use super::transport::tls_files::TlsSettings;
use super::{LEDGER, limits};
use crate::access::loaded::AccessFiles;
use crate::access::verifier::Verifier;
use crate::config::Config;

/// A configuration that can be put in force without a failure.
pub(crate) struct Plan {
    pub(crate) config: Config,
    access: Arc<AccessFiles>,
    transports: Vec<Transport>,
}

impl Plan {
    /// Reads all files that the configuration names. Nothing else happens.
    pub(crate) fn load(mut config: Config) -> Result<Self, String> {
        let access = AccessFiles::load(&mut config, &LEDGER);
        let transports = transports(&mut config);
        match (access, transports) {
            (Ok(access), Ok(transports)) => {
                Ok(Self { config, access: Arc::new(access), transports })
            }
            (access, transports) => {
                let errors = access.err().into_iter().chain(transports.err());
                Err(errors.collect::<Vec<_>>().join("\n"))
            }
        }
    }

    /// Puts it in force.
    pub(crate) fn enforce(&self, shared: &Shared, verifier: &Arc<Verifier>) {
        let config = &self.config;
        shared.set_limits(limits(config, self.transports.clone()));
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
        self.expel_certificates(before, shared);
    }

    /// Certificates that have been revoked are looked for first, which is quick; then, if other
    /// authorities are trusted than before, each client's chain is verified again.
    fn expel_certificates(&self, before: &Self, shared: &Shared) {
        let settings: Vec<Option<Arc<TlsSettings>>> =
            self.transports.iter().map(|transport| transport.tls.clone()).collect();
        if settings.iter().all(Option::is_none) {
            return;
        }
        let settings = Arc::new(settings);
        let known = Arc::clone(&settings);
        shared.purge(
            &(Arc::new(move |connection: &Connection| {
                let leaf = connection.layers()?.tls()?.certificates().first()?;
                let settings = known.get(usize::from(connection.listener))?.as_ref()?;
                settings.has_revoked(leaf).then_some(ReasonCode::NOT_AUTHORIZED)
            }) as Purge),
        );
        let old = before.transports.iter().map(|transport| transport.tls.as_ref());
        let same = settings.iter().zip(old).all(|(new, old)| match (new, old) {
            (Some(new), Some(old)) => new.trusts_the_same(old),
            _ => true,
        });
        if same {
            return;
        }
        shared.purge(
            &(Arc::new(move |connection: &Connection| {
                let tls = connection.layers()?.tls().filter(|tls| tls.is_established())?;
                let settings = settings.get(usize::from(connection.listener))?.as_ref()?;
                let verified = settings.verifies(tls.certificates());
                (!verified).then_some(ReasonCode::NOT_AUTHORIZED)
            }) as Purge),
        );
    }
}

/// What lies between sockets and MQTT at each listener.
fn transports(config: &mut Config) -> Result<Vec<Transport>, String> {
    let key_log = config.tls_keylog.as_deref().map(KeyLogFile::open).transpose()?;
    let mut errors = Vec::new();
    let mut transports = Vec::new();
    for listener in &config.listeners {
        let tls = match TlsSettings::load(listener, key_log.as_ref(), &mut config.warnings) {
            _ if listener.closed => None,
            Ok(tls) => tls.map(Arc::new),
            Err(error) => {
                errors.push(error);
                None
            }
        };
        transports.push(Transport { tls });
    }
    if errors.is_empty() { Ok(transports) } else { Err(errors.join("\n")) }
}
