//! The table of directives: every one of Mosquitto 2.1, and a few of our own.

mod bridges;
mod limits;
mod listeners;
mod memory;
mod persistence;
mod traces;

use plimsoll_mqtt::QoS;

use super::value::{Kind, Value};
use super::{Config, Listener};

/// What a directive belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// The whole broker.
    Global,
    /// The listener above it, or the default one.
    Listener,
    /// A listener with `per_listener_settings true`, else the whole broker.
    Security,
    /// The bridge above it.
    Bridge,
    /// The plugin above it.
    Plugin,
}

/// What this release does with it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Status {
    /// It has effect.
    Done,
    /// It comes with a later release; until then it has no effect.
    NotYet(&'static str),
    /// It cannot be had, for a reason, and what the operator wants would not come to pass: an error.
    Unsupported(&'static str),
    /// It is not needed.
    NotNeeded(&'static str),
    /// The parser itself deals with it.
    Structure,
}

/// How a value reaches the configuration.
#[derive(Clone, Copy)]
pub(super) enum Apply {
    Nothing,
    Global(fn(&mut Config, &Value)),
    Listener(fn(&mut Listener, &Value)),
}

/// One directive.
pub(super) struct Directive {
    pub(super) name: &'static str,
    pub(super) scope: Scope,
    pub(super) kind: Kind,
    pub(super) default: &'static str,
    pub(super) help: &'static str,
    pub(super) status: Status,
    pub(super) apply: Apply,
}

const ANY: i64 = i64::MAX;
const U16: i64 = 65_535;
const U32: i64 = 4_294_967_295;

/// Largest remaining length of a packet.
const PACKET: i64 = 268_435_455;

const BRIDGES: &str = "bridges";

const fn done(
    name: &'static str,
    scope: Scope,
    kind: Kind,
    default: &'static str,
    help: &'static str,
    apply: Apply,
) -> Directive {
    Directive { name, scope, kind, default, help, status: Status::Done, apply }
}

const fn known(
    name: &'static str,
    scope: Scope,
    kind: Kind,
    help: &'static str,
    status: Status,
) -> Directive {
    Directive { name, scope, kind, default: "", help, status, apply: Apply::Nothing }
}

const fn bridge(name: &'static str, kind: Kind, help: &'static str) -> Directive {
    known(name, Scope::Bridge, kind, help, Status::NotYet(BRIDGES))
}

use Apply::{Global, Listener as OnListener};
use Kind::{AtLeast, Flag, List, Number, Span, Text, Word, Words};

/// A limit; 0 and less are none.
fn limit(value: &Value) -> Option<usize> {
    Some(value.number()).filter(|most| *most > 0)
}

/// Every directive.
pub(super) fn all() -> impl Iterator<Item = &'static Directive> {
    listeners::DIRECTIVES
        .iter()
        .chain(limits::DIRECTIVES)
        .chain(memory::DIRECTIVES)
        .chain(persistence::DIRECTIVES)
        .chain(traces::DIRECTIVES)
        .chain(bridges::DIRECTIVES)
}

/// Directives that begin with these belong to a plugin, whatever follows.
pub(super) const PLUGIN_PREFIXES: [&str; 2] = ["plugin_opt_", "auth_opt_"];

/// The directive of a name.
pub(super) fn find(name: &str) -> Option<&'static Directive> {
    all().find(|directive| directive.name == name)
}

/// The known name that is nearest to a mistyped one.
pub(super) fn nearest(name: &str) -> Option<&'static str> {
    let most = name.len() / 3 + 1;
    let candidates = all().map(|directive| (distance(name, directive.name), directive.name));
    candidates.filter(|(distance, _)| *distance <= most).min().map(|(_, name)| name)
}

/// Levenshtein's distance.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (cell, y) in row.iter_mut().skip(1).zip(b.bytes()) {
            let substituted = diagonal + usize::from(x != y);
            diagonal = *cell;
            left = substituted.min(*cell + 1).min(left + 1);
            *cell = left;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or(0)
}
