//! Plugins of the configuration, put to work in the running broker.

use std::sync::Arc;

use plimsoll_engine::{Access, Input};

use super::shared::Shared;
use crate::access::plugins::{Loaded, PluginRules, Plugins};
use crate::config::Config;

/// Reads what the configuration's plugins need, and starts them.
pub(crate) fn start(config: &Config, shared: &Arc<Shared>) -> Result<(), String> {
    let loaded = Loaded::load(&config.plugins)?;
    put_to_work(loaded, shared)
}

/// Starts plugins, or swaps what they have read.
pub(crate) fn put_to_work(loaded: Loaded, shared: &Arc<Shared>) -> Result<(), String> {
    let clock = shared.clock;
    let before = shared.gate.plugins();
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
    let plugins = Arc::new(plugins);
    let rules = (!plugins.is_empty()).then(|| {
        let plugins = Arc::clone(&plugins);
        Arc::new(PluginRules { plugins, behind: None }) as Arc<dyn Access>
    });
    shared.engine().set_access(rules);
    shared.gate.set_plugins(plugins);
    Ok(())
}
