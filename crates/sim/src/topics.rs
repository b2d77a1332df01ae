//! Topics and filters of simulated clients.

use crate::oracle::Who;
use crate::rng::Rng;

/// The one shared subscription; nothing else matches its topics.
pub(crate) const SHARED: &str = "$share/group/s/+";

/// Topics of client `who`: only it publishes there, so the last word is clear.
pub(crate) fn own_topic(who: Who, rng: &mut Rng) -> String {
    match rng.below(5) {
        4 => format!("s/{who}"),
        0 => format!("c/{who}/a"),
        1 => format!("c/{who}/a/b"),
        2 => format!("c/{who}//x"),
        _ => format!("$c/{who}"),
    }
}

/// A filter that a client may subscribe to.
pub(crate) fn any_filter(clients: u32, rng: &mut Rng) -> String {
    let who = rng.below(u64::from(clients));
    match rng.below(10) {
        8 | 9 => SHARED.into(),
        0 => "c/#".into(),
        1 => "c/+/a".into(),
        2 => format!("c/{who}/#"),
        3 => "c/+/a/+".into(),
        4 => format!("c/{who}/a"),
        5 => "$c/+".into(),
        6 => "+/+/+/x".into(),
        _ => format!("c/{who}/+/b"),
    }
}
