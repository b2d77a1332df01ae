//! Names for addresses.
//!
//! Debug information is large, so it is read by a process of its own, which ends: the broker's memory does not
//! change because somebody asks who holds it.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{self, BufRead, Read, Write};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use addr2line::Loader;
use serde::{Deserialize, Serialize};

use super::heap::Mapping;

/// The subcommand of that process.
pub(crate) const SUBCOMMAND: &str = "name-addresses";

/// How long that process may take: reading debug information takes seconds.
const PATIENCE: Duration = Duration::from_secs(60);

/// The program itself, also if its file has been replaced.
const SELF: &str = "/proc/self/exe";

/// A call.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Frame {
    /// The function; the address where it has no name.
    pub(crate) function: String,
    /// Its file, if known.
    pub(crate) file: String,
    /// The line in it; 0 is not known.
    pub(crate) line: u32,
}

/// Calls by address, innermost first where the compiler has put one into another.
pub(crate) type Names = HashMap<u64, Vec<Frame>>;

/// Names of all `addresses` that calls return to. Those that nobody knows are named by file and offset.
pub(crate) fn name(addresses: &[u64], mappings: &[Mapping]) -> Names {
    let own = std::fs::read_link(SELF).ok();
    let own = own.as_ref().and_then(|path| path.to_str()).unwrap_or_default();
    let base = mappings.iter().find(|mapping| mapping.path == own && mapping.offset == 0);
    let mut names = Names::new();
    if let Some(base) = base {
        let within: Vec<u64> = addresses
            .iter()
            .copied()
            .filter(|address| mapping_of(*address, mappings).is_some_and(|m| m.path == own))
            .collect();
        let relative: Vec<u64> =
            within.iter().map(|address| address.saturating_sub(base.start)).collect();
        let mut namer = Command::new(SELF);
        let answers = ask(namer.arg(SUBCOMMAND), &relative, PATIENCE).unwrap_or_default();
        names.extend(within.into_iter().zip(answers).filter(|(_, frames)| !frames.is_empty()));
    }
    for address in addresses {
        names.entry(*address).or_insert_with(|| vec![unnamed(*address, mappings)]);
    }
    names
}

fn mapping_of(address: u64, mappings: &[Mapping]) -> Option<&Mapping> {
    mappings.iter().find(|mapping| (mapping.start..mapping.end).contains(&address))
}

fn unnamed(address: u64, mappings: &[Mapping]) -> Frame {
    let function = match mapping_of(address, mappings) {
        Some(mapping) => {
            let file = mapping.path.rsplit('/').next().unwrap_or_default();
            format!("{file}+{:#x}", address - mapping.start + mapping.offset)
        }
        None => format!("{address:#x}"),
    };
    Frame { function, ..Frame::default() }
}

/// Asks the other process for the frames of addresses within the program. One that does not end in time is
/// ended.
fn ask(
    program: &mut Command,
    addresses: &[u64],
    patience: Duration,
) -> io::Result<Vec<Vec<Frame>>> {
    let mut child =
        program.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let mut question = String::new();
    for address in addresses {
        let _ = writeln!(question, "{address:x}");
    }
    let input = child.stdin.take();
    // Written from elsewhere: both pipes may be full at once.
    let writer = thread::spawn(move || match input {
        Some(mut input) => input.write_all(question.as_bytes()),
        None => Ok(()),
    });
    let output = child.stdout.take();
    let (said, hears) = mpsc::sync_channel(1);
    let reader = thread::spawn(move || {
        let mut answer = Vec::new();
        let read = output.map(|mut output| output.read_to_end(&mut answer));
        // Whoever asked may have given up.
        let _ = said.send(read.unwrap_or(Ok(0)).map(|_| answer));
    });
    let answer = hears.recv_timeout(patience);
    if answer.is_err() {
        // That ends its pipes too, and with them both threads.
        child.kill()?;
    }
    child.wait()?;
    let _ = (writer.join(), reader.join());
    let answer = answer.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    let lines = answer.split(|&byte| byte == b'\n').take(addresses.len());
    Ok(lines.map(|line| serde_json::from_slice(line).unwrap_or_default()).collect())
}

/// The other process: an address a line in, its frames as a line of JSON out.
pub(crate) fn serve() -> Result<(), String> {
    let loader = Loader::new(SELF).map_err(|error| format!("{SELF}: {error}"))?;
    let mut output = io::stdout().lock();
    for line in io::stdin().lock().lines() {
        let line = line.map_err(|error| error.to_string())?;
        let address = u64::from_str_radix(line.trim(), 16).map_err(|error| error.to_string())?;
        let frames = frames(&loader, address);
        let json = serde_json::to_string(&frames).map_err(|error| error.to_string())?;
        writeln!(output, "{json}").map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// The calls at the return address `address`: those of the instruction before it.
fn frames(loader: &Loader, address: u64) -> Vec<Frame> {
    let probe = address.saturating_sub(1);
    let mut frames = Vec::new();
    if let Ok(mut found) = loader.find_frames(probe) {
        while let Ok(Some(frame)) = found.next() {
            let function = frame.function.as_ref().and_then(|name| name.demangle().ok());
            let Some(function) = function else { continue };
            let location = frame.location.as_ref();
            frames.push(Frame {
                function: without_hash(&function).to_owned(),
                file: location.and_then(|place| place.file).unwrap_or_default().to_owned(),
                line: location.and_then(|place| place.line).unwrap_or_default(),
            });
        }
    }
    if frames.is_empty()
        && let Some(symbol) = loader.find_symbol(probe)
    {
        let function = addr2line::demangle_auto(symbol.into(), None);
        let function = without_hash(&function).to_owned();
        frames.push(Frame { function, ..Frame::default() });
    }
    frames
}

/// Rust's names end with a hash: `::h0123456789abcdef`.
fn without_hash(name: &str) -> &str {
    match name.rsplit_once("::h") {
        Some((name, hash)) if hash.len() == 16 => name,
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_does_not_answer_in_time_is_ended() {
        // It neither reads nor writes; more is asked than a pipe holds.
        let addresses = vec![u64::MAX; 10_000];
        let mut silent = Command::new("sleep");
        let error = ask(silent.arg("600"), &addresses, Duration::from_millis(50)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[test]
    fn answers_are_read_a_line_for_each_address() {
        let mut says = Command::new("sh");
        says.args([
            "-c",
            r#"cat > /dev/null; echo '[{"function":"f","file":"","line":7}]'; echo no"#,
        ]);
        let frames = ask(&mut says, &[1, 2], PATIENCE).unwrap();
        let frame = Frame { function: "f".into(), file: String::new(), line: 7 };
        assert_eq!(frames, [vec![frame], Vec::new()]);
    }
}
