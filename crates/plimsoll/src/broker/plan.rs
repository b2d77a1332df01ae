//! A configuration with everything that it names: files are read and checked before any of it holds.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use plimsoll_engine::{Access, Input, Who};
use plimsoll_ledger::Account;
use plimsoll_mqtt::ReasonCode;

use super::LEDGER;
use super::limits::Limits;
use super::shared::Shared;
use super::transport::Transport;
use super::transport::key_log::KeyLogFile;
use super::transport::tls_files::TlsSettings;
use crate::access::loaded::AccessFiles;
use crate::access::plugins::{Loaded, Plugins};
use crate::access::verifier::Verifier;
use crate::admin;
use crate::config::Config;

/// A configuration that can be put in force without a failure.
pub(crate) struct Plan {
    pub(crate) config: Config,
    access: Arc<AccessFiles>,
    transports: Vec<Transport>,
    /// What plugins have read, until they are started.
    loaded: Mutex<Option<Loaded>>,
    plugins: OnceLock<Arc<Plugins>>,
}

impl Plan {
    /// Reads all files that the configuration names. Nothing else happens.
    pub(crate) fn load(mut config: Config) -> Result<Self, String> {
        let access = AccessFiles::load(&mut config, &LEDGER);
        let transports = transports(&mut config);
        let loaded = Loaded::load(&config.plugins);
        match (access, loaded, transports) {
            (Ok(access), Ok(loaded), Ok(transports)) => Ok(Self {
                config,
                access: Arc::new(access),
                loaded: Mutex::new(Some(loaded)),
                plugins: OnceLock::new(),
                transports,
            }),
            (access, loaded, transports) => {
                let errors = [access.err(), loaded.err(), transports.err()];
                Err(errors.into_iter().flatten().collect::<Vec<_>>().join("\n"))
            }
        }
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
        shared.set_limits(Limits::of(config, self.transports.clone()));
        shared.gate.set(self.access.doors(config, &plugins, verifier));
        for account in Account::ALL {
            let budget = config.memory_budgets.iter().find(|(known, _)| *known == account);
            shared.ledger.set_budget(account, budget.map_or(usize::MAX, |(_, bytes)| *bytes));
        }
        shared.memory.report_to(config.reporting.clone());
        shared.traces.exporter.set(config.otlp.clone());
        shared.gate.failures.set_most(config.auth_failures_per_minute);
        let rules = self.access.rules(config, &plugins);
        let rules = rules.map(|rules| Arc::new(rules) as Arc<dyn Access>);
        shared.admin.set(admin::Settings::new(config, rules.clone()));
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
        self.expel_certificates(before, shared);
    }

    /// Certificates that have been revoked are looked for first, which is quick; then, if an authority
    /// is no longer trusted, each client's chain is verified again. Handshakes under way are looked at
    /// when they are over.
    fn expel_certificates(&self, before: &Self, shared: &Shared) {
        let settings: Vec<Option<Arc<TlsSettings>>> =
            self.transports.iter().map(|transport| transport.tls.clone()).collect();
        if settings.iter().all(Option::is_none) {
            return;
        }
        let settings = Arc::new(settings);
        let known = Arc::clone(&settings);
        shared.purge(move |connection| {
            let leaf = connection.layers()?.tls()?.certificates().first()?;
            let settings = known.get(usize::from(connection.listener))?.as_ref()?;
            settings.has_revoked(leaf).then_some(ReasonCode::NOT_AUTHORIZED)
        });
        let old = before.transports.iter().map(|transport| transport.tls.as_ref());
        let same = settings.iter().zip(old).all(|(new, old)| match (new, old) {
            (Some(new), Some(old)) => new.trusts_all_of(old),
            _ => true,
        });
        if same {
            return;
        }
        shared.purge(move |connection| {
            let tls = connection.layers()?.tls().filter(|tls| tls.is_established())?;
            let settings = settings.get(usize::from(connection.listener))?.as_ref()?;
            let verified = settings.verifies(tls.certificates());
            (!verified).then_some(ReasonCode::NOT_AUTHORIZED)
        });
    }
}

/// What lies between sockets and MQTT at each listener.
fn transports(config: &mut Config) -> Result<Vec<Transport>, String> {
    let key_log = config.tls_keylog.as_deref().map(KeyLogFile::open).transpose()?;
    let mut errors = Vec::new();
    let mut transports = Vec::new();
    for listener in &config.listeners {
        if listener.closed {
            // Nobody comes through it any more.
            transports.push(Transport::default());
            continue;
        }
        let tls = match TlsSettings::load(listener, key_log.as_ref(), &mut config.warnings) {
            Ok(tls) => tls.map(Arc::new),
            Err(error) => {
                errors.push(error);
                None
            }
        };
        let web = listener.web.as_ref().map(|web| Arc::from(web.origins.as_slice()));
        transports.push(Transport { proxy: listener.proxy(), tls, web });
    }
    if errors.is_empty() { Ok(transports) } else { Err(errors.join("\n")) }
}
