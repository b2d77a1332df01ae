//! Plugins of the configuration, put to work in the running broker.

use std::sync::{Arc, PoisonError};

use plimsoll_engine::{Access, Input};

use super::gate::Authenticator;
use super::logins::{DynsecLogins, GoAuthLogins};
use super::shared::Shared;
pub(crate) use crate::access::plugins::Loaded;
use crate::access::plugins::{PluginRules, Plugins};

/// The plugins at work.
fn plugins(shared: &Shared) -> Arc<Plugins> {
    // A panic ends the process, so nobody sees a poisoned lock.
    Arc::clone(&*shared.plugins.read().unwrap_or_else(PoisonError::into_inner))
}

/// Starts plugins; those that are at work get what was read for them.
pub(crate) fn start(loaded: Loaded, shared: &Arc<Shared>) -> Result<(), String> {
    let clock = shared.clock;
    let before = plugins(shared);
    let (plugins, said) = Plugins::start(loaded, &before, shared.ledger, move || clock.now())?;
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
    shared.control.set_dynsec(plugins.dynsec().cloned());
    let same = match (plugins.dynsec(), before.dynsec()) {
        (Some(new), Some(old)) => Arc::ptr_eq(new, old),
        (None, None) => true,
        _ => false,
    };
    if !same {
        let logins = plugins.dynsec().cloned().map(DynsecLogins::start).transpose()?;
        shared.set_dynsec_logins(logins);
    }
    let plugins = Arc::new(plugins);
    let rules = (!plugins.is_empty()).then(|| {
        let plugins = Arc::clone(&plugins);
        Arc::new(PluginRules { plugins, behind: None }) as Arc<dyn Access>
    });
    shared.engine().set_access(rules);
    *shared.plugins.write().unwrap_or_else(PoisonError::into_inner) = plugins;
    Ok(())
}

/// Who is asked about the clients of a listener, in turn.
pub(crate) fn authenticators(shared: &Shared, listener: usize) -> Vec<Arc<dyn Authenticator>> {
    let plugins = plugins(shared);
    let mut list: Vec<Arc<dyn Authenticator>> = Vec::new();
    if plugins.dynsec_of(listener as u16).is_some()
        && let Some(logins) = shared.dynsec_logins()
    {
        list.push(logins);
    }
    if let Some(go_auth) = plugins.go_auth_of(listener as u16) {
        list.push(Arc::new(GoAuthLogins(Arc::clone(go_auth))));
    }
    list
}
