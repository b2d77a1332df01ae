//! The view on a terminal: all targets with their judgement, and a graph of the chosen one's memory.

mod braille;
mod scene;
mod screen;

use std::env;
use std::io::{self, Read};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::SystemTime;

use clap::Args;
use rustix::process::{Signal, getpid, kill_process};
use serde::Deserialize;

use crate::output::Output;
use crate::watched::Watched;
use scene::{Key, Scene};

/// Whether to show what is seen on the terminal.
#[derive(Args, Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default)]
pub struct TerminalOptions {
    /// Show targets with judgement, reasons and a live graph on the terminal. Arrows choose target and time, q ends.
    /// With `NO_COLOR` in the environment there are no colours
    #[arg(long, help_heading = "Outputs")]
    pub tui: bool,
}

impl TerminalOptions {
    /// Takes the terminal over, if it shall.
    ///
    /// # Errors
    ///
    /// There is none, or it cannot be taken over.
    pub(crate) fn start(&self) -> Result<Option<Terminal>, String> {
        if !self.tui {
            return Ok(None);
        }
        let coloured = env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let terminal = Terminal(Arc::new(Mutex::new(Scene::new(coloured))));
        screen::take()?;
        let own = terminal.clone();
        let keys = thread::Builder::new().name("keys".into()).spawn(move || own.hear());
        if let Err(error) = keys {
            screen::give_back();
            return Err(format!("--tui cannot start a thread for the keys: {error}"));
        }
        draw(&terminal.look());
        Ok(Some(terminal))
    }
}

/// The view.
#[derive(Clone, Debug)]
pub(crate) struct Terminal(Arc<Mutex<Scene>>);

impl Terminal {
    fn look(&self) -> MutexGuard<'_, Scene> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for keys until there are none any longer.
    fn hear(&self) {
        let mut bytes = [0; 16];
        while let Ok(count @ 1..) = io::stdin().lock().read(&mut bytes) {
            let typed = bytes.get(..count).unwrap_or_default();
            if typed == b"q" {
                // The same as Ctrl-C, so that there is one way to end.
                let _ = kill_process(getpid(), Signal::INT);
            }
            if let Some(key) = key(typed) {
                let mut scene = self.look();
                scene.press(key);
                draw(&scene);
            }
        }
    }
}

impl Output for Terminal {
    fn round(&mut self, all: &[Watched]) {
        let mut scene = self.look();
        scene.update(all);
        draw(&scene);
    }

    fn end(&mut self) {
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
