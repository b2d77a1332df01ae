//! `plugin`, `auth_plugin` and what belongs to them.

use super::Reader;
use crate::access::options::Options;
use crate::access::plugins::{Builtin, Plugin};
use crate::config::Config;
use crate::config::directives::PLUGIN_PREFIXES;

impl Reader {
    /// An option of the plugin above. Answers whether it was one.
    pub(super) fn plugin_option(&mut self, name: &str, text: &str) -> bool {
        let Some(option) = PLUGIN_PREFIXES.iter().find_map(|prefix| name.strip_prefix(prefix))
        else {
            return false;
        };
        if !self.in_plugin {
            self.error(name, "belongs to a plugin, and none stands above it");
        } else if let Some(plugin) = self.config.plugins.last_mut() {
            plugin.options.set(option, text, &self.place);
        }
        true
    }

    pub(super) fn plugin(&mut self, name: &str, text: &str) {
        match name {
            "plugin" | "auth_plugin" => {
                let listeners = self.per_listener.then(|| vec![self.current_listener()]);
                self.begin_plugin(name, None, text, listeners);
            }
            "global_plugin" => self.begin_plugin(name, None, text, None),
            "plugin_load" => match text.split_once([' ', '\t']) {
                Some((own, path)) => {
                    self.begin_plugin(name, Some(own.to_owned()), path.trim(), Some(Vec::new()));
                }
                None => self.error(name, "needs a name and a path: `plugin_load NAME PATH`"),
            },
            "plugin_use" => self.use_plugin(text),
            _ => {}
        }
    }

    fn begin_plugin(
        &mut self,
        directive: &str,
        name: Option<String>,
        path: &str,
        listeners: Option<Vec<usize>>,
    ) {
        let builtin = match Builtin::of(path) {
            Ok(builtin) => builtin,
            Err(problem) => return self.error(directive, &problem),
        };
        let again = |plugin: &Plugin| plugin.builtin == builtin && plugin.listeners.is_none();
        if listeners.is_none() && self.config.plugins.iter().any(again) {
            return self.error(directive, "is there already: it can stand once");
        }
        let prefix = if directive == "auth_plugin" { "auth_opt_" } else { "plugin_opt_" };
        let options = Options::new(self.place.clone(), prefix);
        let plugin = Plugin { builtin, name, listeners, options, deny_special_chars: true };
        self.config.plugins.push(plugin);
    }

    fn use_plugin(&mut self, name: &str) {
        let listener = self.per_listener.then(|| self.current_listener());
        let known = |plugin: &&mut Plugin| plugin.name.as_deref() == Some(name);
        match (self.config.plugins.iter_mut().find(known), listener) {
            (Some(plugin), Some(number)) => plugin.listeners.get_or_insert_default().push(number),
            (Some(plugin), None) => plugin.listeners = None,
            (None, _) => {
                let problem = format!("no `plugin_load {name} …` stands above it");
                self.error("plugin_use", &problem);
            }
        }
    }

    pub(super) fn deny_special_chars(&mut self, deny: bool) {
        match self.config.plugins.last_mut() {
            Some(plugin) if self.in_plugin => plugin.deny_special_chars = deny,
            _ => self.error(
                "auth_plugin_deny_special_chars",
                "belongs to a plugin, and none stands above it",
            ),
        }
    }

    /// What plugins are where something else of ours does their work.
    pub(super) fn finish_plugins(&mut self) {
        let Config { plugins, listeners, persistence, warnings, .. } = &mut self.config;
        for plugin in plugins {
            let option = match plugin.builtin {
                Builtin::PasswordFile => "password_file",
                Builtin::AclFile => "acl_file",
                Builtin::PersistSqlite => {
                    persistence.enabled = Some(true);
                    warnings.push(format!(
                        "{}: mosquitto_persist_sqlite.so: state is kept by Plimsoll's own store in persistence_location, as with `persistence true`; a database of SQLite is not read",
                        plugin.options.place
                    ));
                    continue;
                }
                Builtin::DynamicSecurity | Builtin::GoAuth => continue,
            };
            let path = match plugin.options.required(option) {
                Ok(path) => path,
                Err(error) => {
                    self.errors.push(error);
                    continue;
                }
            };
            for (number, listener) in listeners.iter_mut().enumerate() {
                let access = &mut listener.access;
                let file = match plugin.builtin {
                    Builtin::PasswordFile => &mut access.password_file,
                    _ => &mut access.acl_file,
                };
                if plugin.is_for(number) {
                    file.get_or_insert_with(|| path.into());
                }
            }
        }
    }
}
