//! What is kept over a restart, and how surely.

use super::{ANY, Directive, Flag, Global, Number, Scope, Text, Word, done};
use crate::config::Durability;

/// The directives of this subject.
pub(super) static DIRECTIVES: &[Directive] = &[
    done(
        "persistence",
        Scope::Global,
        Flag,
        "false; true without a configuration file",
        "Keep sessions, queued and retained messages over a restart.",
        Global(|c, v| c.persistence.enabled = Some(v.flag())),
    ),
    done(
        "retained_persistence",
        Scope::Global,
        Flag,
        "false",
        "The same as `persistence`.",
        Global(|c, v| c.persistence.enabled = Some(v.flag())),
    ),
    done(
        "persistence_location",
        Scope::Global,
        Text,
        "./plimsoll-data",
        "Directory of what is kept. A `mosquitto.db` in it is taken in at the first start and left as it is. The environment's MOSQUITTO_PERSISTENCE_LOCATION goes before it.",
        Global(|c, v| c.persistence.location = v.text().into()),
    ),
    done(
        "persistence_file",
        Scope::Global,
        Text,
        "mosquitto.db",
        "Name of the file of Mosquitto's that is taken in at the first start.",
        Global(|c, v| c.persistence.import_file = v.text().into()),
    ),
    done(
        "durability",
        Scope::Global,
        Word(&["fsync", "os", "snapshot"]),
        "fsync",
        "(Plimsoll) What an acknowledgement promises: `fsync` – it is on disk; `os` – the system has it, so it survives the broker but not a power loss; `snapshot` – nothing, as with Mosquitto: state is saved every `autosave_interval`.",
        Global(|c, v| {
            c.persistence.durability = match v.text() {
                "os" => Durability::Os,
                "snapshot" => Durability::Snapshot,
                _ => Durability::Fsync,
            };
        }),
    ),
    done(
        "autosave_interval",
        Scope::Global,
        Number(0, ANY),
        "1800",
        "Seconds between saves with `durability snapshot`; 0 is never. With the others nothing has to be saved.",
        Global(|c, v| c.persistence.autosave_interval = v.number()),
    ),
    done(
        "autosave_on_changes",
        Scope::Global,
        Flag,
        "false",
        "`autosave_interval` counts changes, not seconds.",
        Global(|c, v| c.persistence.autosave_on_changes = v.flag()),
    ),
];
