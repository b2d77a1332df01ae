//! What the configuration says of lasting state.

use std::path::PathBuf;

/// Whether, where and how surely state is kept over a restart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Persistence {
    /// Whether it is; `None` where nothing was said.
    pub(super) enabled: Option<bool>,
    /// Directory.
    pub(crate) location: PathBuf,
    /// Name of the file of Mosquitto's that is taken in at the first start.
    pub(crate) import_file: PathBuf,
    pub(crate) durability: Durability,
    /// Seconds (or changes) between saves in snapshot mode; 0 is never.
    pub(crate) autosave_interval: u32,
    /// `autosave_interval` counts changes.
    pub(crate) autosave_on_changes: bool,
}

/// What an acknowledgement promises.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Durability {
    /// That the message is on disk.
    #[default]
    Fsync,
    /// That the system has it.
    Os,
    /// Nothing: state is saved now and then.
    Snapshot,
}

impl Default for Persistence {
    fn default() -> Self {
        Self {
            enabled: None,
            location: PathBuf::from("./plimsoll-data"),
            import_file: PathBuf::from("mosquitto.db"),
            durability: Durability::Fsync,
            autosave_interval: 1800,
            autosave_on_changes: false,
        }
    }
}

impl Persistence {
    /// Whether state is kept.
    pub(crate) fn is_on(&self) -> bool {
        self.enabled == Some(true)
    }

    /// What it is to the engine.
    pub(super) fn engine(&self) -> plimsoll_engine::Persistence {
        use plimsoll_engine::Persistence as Engine;
        match (self.is_on(), self.durability) {
            (false, _) => Engine::Off,
            (true, Durability::Snapshot) => Engine::Relaxed,
            (true, Durability::Fsync | Durability::Os) => Engine::Promised,
        }
    }
}
