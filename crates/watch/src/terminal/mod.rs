//! The view on a terminal: all targets with their judgement, and a graph of the chosen one's memory.

mod braille;
mod scene;
mod screen;

use std::env;
use std::io::{self, Read};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::SystemTime;

use clap::Args;
use rustix::process::{Signal, getpid, kill_process};

use crate::output::Output;
use crate::watched::Watched;
use scene::{Key, Scene};

/// Whether to show what is seen on the terminal.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub struct TerminalOptions {
    /// Show targets with judgement, reasons and a live graph on the terminal. Arrows choose target and time, q ends.
    /// With `NO_COLOR` in the environment there are no colours
    #[arg(long, help_heading = "Outputs")]
    pub tui: bool,
}

impl TerminalOptions {
    /// Takes the terminal over, if it shall. What was seen before is read from `history`.
    ///
    /// # Errors
    ///
    /// There is none, or it cannot be taken over.
    pub(crate) fn start(&self, history: Option<&Path>) -> Result<Option<Terminal>, String> {
        if !self.tui {
            return Ok(None);
        }
        let coloured = env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        screen::take()?;
        let scene = Arc::new(Mutex::new(Scene::new(coloured, history.map(Path::to_owned))));
        let terminal = Terminal { scene, gone: Arc::default() };
        let (scene, gone) = (Arc::clone(&terminal.scene), Arc::clone(&terminal.gone));
        thread::Builder::new()
            .name("keys".into())
            .spawn(move || {
                hear(&scene);
                gone.store(true, Ordering::Relaxed);
            })
            .map_err(|error| format!("--tui cannot start a thread for the keys: {error}"))?;
        draw(&look(&terminal.scene));
        Ok(Some(terminal))
    }
}

/// The view. The terminal is given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Terminal {
    scene: Arc<Mutex<Scene>>,
    /// There is no terminal any longer that keys could come from.
    gone: Arc<AtomicBool>,
}

fn look(scene: &Mutex<Scene>) -> MutexGuard<'_, Scene> {
    scene.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits for keys until there are none any longer.
fn hear(scene: &Mutex<Scene>) {
    let mut bytes = [0; 64];
    while let Ok(count @ 1..) = io::stdin().lock().read(&mut bytes) {
        let mut typed = bytes.get(..count).unwrap_or_default();
        while let Some((one, rest)) = first_key(typed) {
            typed = rest;
            if one == b"q" {
                // The same as Ctrl-C, so that there is one way to end.
                let _ = kill_process(getpid(), Signal::INT);
            }
            if let Some(key) = key(one) {
                let mut scene = look(scene);
                scene.press(key);
                draw(&scene);
            }
        }
    }
}

/// The first key of what was typed, and the others: a held key comes several times at once.
fn first_key(typed: &[u8]) -> Option<(&[u8], &[u8])> {
    let length = match typed {
        [] => return None,
        [0x1b, b'[' | b'O', _, ..] => 3,
        _ => 1,
    };
    typed.split_at_checked(length)
}

impl Output for Terminal {
    fn round(&mut self, all: &[Watched]) {
        let mut scene = look(&self.scene);
        scene.update(all);
        draw(&scene);
    }

    fn is_over(&self) -> bool {
        self.gone.load(Ordering::Relaxed)
    }

    fn end(&mut self) {
        screen::give_back();
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        screen::give_back();
    }
}

fn draw(scene: &Scene) {
    let (width, height) = screen::size();
    screen::show(&scene.rows(width, height, SystemTime::now()));
}

/// Arrows, as terminals send them, and the keys of vi.
fn key(typed: &[u8]) -> Option<Key> {
    match typed {
        b"\x1b[A" | b"\x1bOA" | b"k" => Some(Key::Previous),
        b"\x1b[B" | b"\x1bOB" | b"j" | b"\t" => Some(Key::Next),
        b"\x1b[C" | b"\x1bOC" | b"l" | b"+" => Some(Key::Longer),
        b"\x1b[D" | b"\x1bOD" | b"h" | b"-" => Some(Key::Shorter),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_come_at_once_are_told_apart() {
        let mut typed = &b"\x1b[C\x1bOAkq\x1b"[..];
        let mut keys = Vec::new();
        while let Some((one, rest)) = first_key(typed) {
            keys.push(one);
            typed = rest;
        }
        assert_eq!(keys, [&b"\x1b[C"[..], b"\x1bOA", b"k", b"q", b"\x1b"]);
        assert_eq!((key(keys[0]), key(keys[1])), (Some(Key::Longer), Some(Key::Previous)));
        assert_eq!((key(keys[3]), key(keys[4])), (None, None));
    }
}
