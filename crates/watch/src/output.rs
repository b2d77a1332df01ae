//! Where readings, events and judgements go.

use crate::event::Event;
use crate::reading::Reading;
use crate::watched::Watched;

/// Something that is told what was seen. It is called on the sampling thread and must not block there: what may
/// take long goes to a thread of the output's own, through a queue with a bound.
pub trait Output {
    /// A target was looked at, which is `watched.last`. What has happened was told before.
    fn reading(&mut self, watched: &Watched, reading: &Reading) {
        let _ = (watched, reading);
    }

    /// Something has happened to a target; it is the last of `watched.events`.
    fn event(&mut self, watched: &Watched, event: &Event) {
        let _ = (watched, event);
    }

    /// All targets were looked at once.
    fn round(&mut self, all: &[Watched]) {
        let _ = all;
    }

    /// A target is watched no longer: the configuration was read again. It may leak, and nobody will say when that ends.
    fn gone(&mut self, watched: &Watched) {
        let _ = watched;
    }

    /// The configuration was read again: files may have been moved away.
    fn reopen(&mut self) {}

    /// Whether nobody listens any more: a pipe was closed. When this is so of all outputs, `watch` ends.
    fn is_broken(&self) -> bool {
        false
    }

    /// Whether who sat at it has gone, so that `watch` shall end.
    fn is_over(&self) -> bool {
        false
    }

    /// `watch` ends.
    fn end(&mut self) {}
}
