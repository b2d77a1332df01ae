//! The terminal itself: taken over, and given back as it was, whatever happens.

use std::env;
use std::io::{self, IsTerminal, Write};
use std::panic;
use std::sync::{Mutex, PoisonError};

use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcgetwinsize, tcsetattr,
};

/// Another screen, no cursor; and back.
const ENTER: &str = "\x1b[?1049h\x1b[?25l\x1b[2J";
const LEAVE: &str = "\x1b[0m\x1b[?25h\x1b[?1049l";

/// Size where the terminal does not say.
const SIZE: (usize, usize) = (80, 24);

/// How the terminal was before; `None` while it is not taken over.
static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

/// Takes the terminal over: keys come one by one and are not shown. Ctrl-C still interrupts. A panic gives it back
/// before it is printed.
///
/// # Errors
///
/// Standard input or output is no terminal, one that cannot move its cursor, or one that cannot be changed.
pub(super) fn take() -> Result<(), String> {
    if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
        return Err("--tui needs a terminal for input and output".to_owned());
    }
    if env::var_os("TERM").is_none_or(|kind| kind.is_empty() || kind == "dumb") {
        return Err(
            "--tui needs a terminal that can move its cursor, and TERM says that this one \
            cannot; try --log-every 10s"
                .to_owned(),
        );
    }
    let explain = |error: rustix::io::Errno| format!("--tui cannot set up the terminal: {error}");
    let before = tcgetattr(io::stdin()).map_err(explain)?;
    let mut raw = before.clone();
    raw.local_modes -= LocalModes::ICANON | LocalModes::ECHO;
    // Stopped in the middle it would leave the shell on the other screen.
    raw.special_codes[SpecialCodeIndex::VSUSP] = 0;
    raw.special_codes[SpecialCodeIndex::VMIN] = 1;
    raw.special_codes[SpecialCodeIndex::VTIME] = 0;
    tcsetattr(io::stdin(), OptionalActions::Flush, &raw).map_err(explain)?;
    *BEFORE.lock().unwrap_or_else(PoisonError::into_inner) = Some(before);
    let usual = panic::take_hook();
    panic::set_hook(Box::new(move |what| {
        give_back();
        usual(what);
    }));
    write(ENTER);
    Ok(())
}

/// Gives the terminal back as it was; does nothing if it was already.
pub(super) fn give_back() {
    let before = BEFORE.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(before) = before {
        write(LEAVE);
        // There is nothing left that could be done.
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &before);
    }
}

/// Columns and rows, as they are now.
pub(super) fn size() -> (usize, usize) {
    match tcgetwinsize(io::stdout()) {
        Ok(size) if size.ws_col > 0 && size.ws_row > 0 => (size.ws_col.into(), size.ws_row.into()),
        _ => SIZE,
    }
}

/// Shows rows from the top, in one write, so that nothing flickers.
pub(super) fn show(rows: &[String]) {
    let mut text = String::from("\x1b[H");
    for (number, row) in rows.iter().enumerate() {
        if number > 0 {
            text.push_str("\r\n");
        }
        text.push_str(row);
        text.push_str("\x1b[K");
    }
    text.push_str("\x1b[J");
    if BEFORE.lock().unwrap_or_else(PoisonError::into_inner).is_some() {
        write(&text);
    }
}

fn write(text: &str) {
    let mut out = io::stdout().lock();
    // That a terminal is gone is heard by whoever waits for its keys.
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
