//! The thread that reconciles memory each second.

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::shared::Shared;

/// How often.
const EVERY: Duration = Duration::from_secs(1);

/// Takes the baseline, and starts the thread. Everything that the broker needs at rest must be there.
pub(crate) fn serve(shared: &Arc<Shared>) -> io::Result<()> {
    let shared = Arc::clone(shared);
    shared.memory.reconcile();
    let body = move || {
        while !shared.stopping() {
            thread::sleep(EVERY);
            shared.memory.reconcile();
        }
    };
    thread::Builder::new().name("memory".into()).spawn(body)?;
    Ok(())
}
