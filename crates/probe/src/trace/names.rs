//! Names for addresses of code.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use addr2line::Loader;
use object::{Object, ReadCache};
use serde::Serialize;

use super::unwind::{BEYOND, Call, Unwinder};

/// A function that a call was made in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Frame {
    /// Its name; file and offset where it has none.
    pub function: String,
    /// The file of code.
    pub module: String,
    /// The source, `file:line`, where the file of code says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Found by searching the stack: it may not have been called at all.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub guessed: bool,
}

/// Reads symbols and debug information as they are needed.
#[derive(Default)]
pub(super) struct Names {
    loaders: HashMap<PathBuf, Vec<Loader>>,
    known: HashMap<u64, Vec<Frame>>,
}

impl Names {
    /// The functions at a call, innermost first where the compiler has put one into another.
    pub(super) fn of(&mut self, call: Call, unwinder: &mut Unwinder) -> Vec<Frame> {
        if let Some(frames) = self.known.get(&call.address) {
            return frames
                .iter()
                .cloned()
                .map(|frame| Frame { guessed: call.guessed, ..frame })
                .collect();
        }
        let frames = self.find(call.address, unwinder);
        self.known.insert(call.address, frames.clone());
        frames.into_iter().map(|frame| Frame { guessed: call.guessed, ..frame }).collect()
    }

    fn find(&mut self, address: u64, unwinder: &mut Unwinder) -> Vec<Frame> {
        if address == BEYOND {
            let function = "(further out than --stack reaches)".to_owned();
            return vec![Frame { function, module: String::new(), source: None, guessed: false }];
        }
        let Some(module) = unwinder.module(address) else {
            let unknown = Frame {
                function: format!("{address:#x}"),
                module: String::new(),
                source: None,
                guessed: false,
            };
            return vec![unknown];
        };
        let within = address.wrapping_sub(module.bias);
        let loaders = self
            .loaders
            .entry(module.file.clone())
            .or_insert_with(|| loaders(&module.file, &module.path));
        for loader in loaders.iter() {
            let frames = frames(loader, within.wrapping_sub(1), &module.name);
            if !frames.is_empty() {
                return frames;
            }
        }
        let function = format!("{}+{within:#x}", module.name);
        vec![Frame { function, module: module.name.clone(), source: None, guessed: false }]
    }
}

/// Debug information beside the file, if the system has some, and the file itself.
fn loaders(file: &Path, path: &str) -> Vec<Loader> {
    let debug = debug_file(file, path);
    debug.as_deref().into_iter().chain([file]).filter_map(|file| Loader::new(file).ok()).collect()
}

/// Where distributions put the debug information of a file: by its build number, or by its path.
fn debug_file(file: &Path, path: &str) -> Option<PathBuf> {
    let cache = ReadCache::new(File::open(file).ok()?);
    let object = object::File::parse(&cache).ok()?;
    let by_number = object.build_id().ok().flatten().map(|id| {
        let hex: Vec<String> = id.iter().map(|byte| format!("{byte:02x}")).collect();
        let (first, rest) = hex.split_at(1.min(hex.len()));
        PathBuf::from(format!(
            "/usr/lib/debug/.build-id/{}/{}.debug",
            first.concat(),
            rest.concat()
        ))
    });
    let by_name = object.gnu_debuglink().ok().flatten().and_then(|(name, _)| {
        let directory = Path::new(path).parent()?.strip_prefix("/").ok()?;
        Some(Path::new("/usr/lib/debug").join(directory).join(std::str::from_utf8(name).ok()?))
    });
    by_number
        .into_iter()
        .chain(by_name)
        .find(|path| File::open(path).is_ok_and(|mut file| file.read_exact(&mut [0; 4]).is_ok()))
}

fn frames(loader: &Loader, within: u64, module: &str) -> Vec<Frame> {
    let mut frames = Vec::new();
    if let Ok(mut found) = loader.find_frames(within) {
        while let Ok(Some(frame)) = found.next() {
            let Some(name) = frame.function.as_ref().and_then(|name| name.demangle().ok()) else {
                continue;
            };
            let source = frame.location.and_then(|place| {
                let file = place.file?;
                Some(place.line.map_or_else(|| file.to_owned(), |line| format!("{file}:{line}")))
            });
            frames.push(Frame {
                function: name.into_owned(),
                module: module.to_owned(),
                source,
                guessed: false,
            });
        }
    }
    if frames.is_empty()
        && let Some(symbol) = loader.find_symbol(within)
    {
        let function = addr2line::demangle_auto(symbol.into(), None).into_owned();
        frames.push(Frame { function, module: module.to_owned(), source: None, guessed: false });
    }
    frames
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::Process;
    use crate::system;

    #[test]
    fn a_function_of_ours() {
        // Rust's linker lets the file's segments share pages, and their distances from file to memory differ.
        let own = Process::find(std::process::id()).unwrap();
        let mut unwinder = Unwinder::new(&own).unwrap();
        let address = system::probe_site(true) as usize as u64 + 2;
        let frames = Names::default().of(Call { address, guessed: false }, &mut unwinder);
        assert_eq!(frames[0].function, "plimsoll_probe_quick");
    }
}
