//! Plugins by name: Plimsoll loads no shared objects, and has the common ones built in.

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
