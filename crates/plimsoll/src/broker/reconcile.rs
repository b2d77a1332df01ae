//! The thread that reconciles memory each second, and raises the alarm.

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use plimsoll_engine::Audit;

use super::shared::Shared;
use crate::memory::Watchman;

/// How often.
const EVERY: Duration = Duration::from_secs(1);

/// Sessions looked at in a second: well under a millisecond of the engine's lock.
const AUDITED_AT_ONCE: u32 = 4096;

/// Least time from one audit of all sessions to the next.
const AUDIT_EVERY: Duration = Duration::from_secs(30);

/// Takes the baseline, and starts the thread. Everything that the broker needs at rest must be there.
pub(crate) fn serve(shared: &Arc<Shared>) -> io::Result<()> {
    let shared = Arc::clone(shared);
    let watchman = Watchman::new(shared.ledger);
    shared.memory.reconcile();
    let body = move || watch(&shared, watchman);
    thread::Builder::new().name("memory".into()).spawn(body)?;
    Ok(())
}

fn watch(shared: &Arc<Shared>, mut watchman: Watchman) {
    let mut audit = Audit::default();
    // Where an audit goes on, or when the next one begins.
    let mut at = Err(AUDIT_EVERY);
    while !shared.stopping() {
        thread::sleep(EVERY);
        #[cfg(feature = "leaks")]
        super::leaks::obey(shared);
        let uptime = shared.clock.uptime();
        let mut audited = None;
        let engine = shared.engine();
        let state = engine.presence();
        if let Ok(slot) = at {
            match engine.audit(shared.clock.now(), slot, AUDITED_AT_ONCE, &mut audit) {
                Some(next) => at = Ok(next),
                None => {
                    audited = Some(std::mem::take(&mut audit));
                    at = Err(uptime + AUDIT_EVERY);
                }
            }
        } else if at.is_err_and(|due| uptime >= due) {
            at = Ok(0);
        }
        drop(engine);
        for alarm in watchman.look(uptime, &shared.memory, &state, audited.as_ref()) {
            match alarm.cleared {
                None => shared.log.error(&alarm.line()),
                Some(_) => shared.log.notice(&format!("No longer leaking: {}.", alarm.subject)),
            }
            let told = Arc::clone(shared);
            shared.memory.send(&alarm, move |trouble| told.log.error(trouble));
        }
    }
}
