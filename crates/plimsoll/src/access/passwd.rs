//! `plimsoll passwd`: makes and changes password files, with the flags of `mosquitto_passwd`.

use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, IsTerminal, Write};
use std::num::NonZeroU32;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;

use clap::Args;
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;

use super::hash::{Hash, ITERATIONS, Method};

/// Longest password, as MQTT carries it (MQTT-1.5.6).
const PASSWORD_BYTES_MAX: usize = 65_535;

/// Rights of a new file: its owner's alone.
const MODE: u32 = 0o600;

/// Make or change a password file
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  plimsoll passwd -c passwords joe            a new file; the password is asked for
  plimsoll passwd passwords joe               add a user, or change the password
  plimsoll passwd -b passwords joe secret     without asking (others see it in `ps`)
  echo secret | plimsoll passwd passwords joe from a pipe
  plimsoll passwd -D passwords joe            remove a user
  plimsoll passwd -U passwords                hash the plain passwords of a file
  plimsoll passwd -H sha512-pbkdf2 passwords joe   a hash that Mosquitto 2.0 reads too")]
pub(crate) struct Options {
    /// Take the password from the command line
    #[arg(short = 'b')]
    batch: bool,
    /// Make a new file; one that is there is overwritten
    #[arg(short = 'c', conflicts_with_all = ["delete", "upgrade"])]
    create: bool,
    /// Remove the user
    #[arg(short = 'D', conflicts_with_all = ["batch", "upgrade"])]
    delete: bool,
    /// Hash the plain passwords of a file
    #[arg(short = 'U', conflicts_with = "batch")]
    upgrade: bool,
    /// How passwords are hashed
    #[arg(short = 'H', value_enum, default_value = "argon2id")]
    hash: Method,
    /// Iterations of sha512-pbkdf2
    #[arg(short = 'I', default_value_t = ITERATIONS)]
    iterations: NonZeroU32,
    /// Password file
    file: PathBuf,
    /// User name
    #[arg(required_unless_present = "upgrade")]
    username: Option<String>,
    /// Password, with -b
    #[arg(required_if_eq("batch", "true"))]
    password: Option<String>,
}

impl Options {
    /// Does it. Exit code 1 if that was not possible.
    pub(crate) fn run(&self) -> ExitCode {
        match self.change() {
            Ok(done) => {
                println!("{done}");
                ExitCode::SUCCESS
            }
            Err(error) => {
                eprintln!("Error: {error}");
                ExitCode::FAILURE
            }
        }
    }

    fn change(&self) -> Result<String, String> {
        let shown = self.file.display();
        let before = if self.create { String::new() } else { read(&self.file)? };
        if self.upgrade {
            let (text, count) = self.upgraded(&before)?;
            write(&self.file, &text)?;
            return Ok(format!("{count} password(s) hashed in {shown}"));
        }
        let name = self.username.as_deref().unwrap_or_default();
        check_name(name)?;
        if self.delete {
            let text = replaced(&before, name, None)
                .ok_or_else(|| format!("there is no user `{name}` in {shown}"))?;
            write(&self.file, &text)?;
            return Ok(format!("user `{name}` removed from {shown}"));
        }
        if self.password.is_some() && !self.batch {
            return Err("a password on the command line needs -b".into());
        }
        let password = match &self.password {
            Some(password) => password.clone(),
            None => ask()?,
        };
        let line = self.line(name, &password)?;
        let known = replaced(&before, name, Some(&line));
        let done = if known.is_some() { "changed" } else { "added" };
        let text = known.unwrap_or_else(|| appended(&before, &line));
        write(&self.file, &text)?;
        Ok(format!("user `{name}` {done} in {shown}"))
    }

    fn line(&self, name: &str, password: &str) -> Result<String, String> {
        if password.is_empty() {
            return Err("the password is empty".into());
        }
        if password.len() > PASSWORD_BYTES_MAX {
            return Err(format!("the password is longer than {PASSWORD_BYTES_MAX} bytes"));
        }
        let hash = Hash::new(self.hash, self.iterations, password.as_bytes())?;
        Ok(format!("{name}:{hash}"))
    }

    /// The file with all its plain passwords hashed.
    fn upgraded(&self, before: &str) -> Result<(String, usize), String> {
        let (mut text, mut count) = (String::new(), 0);
        for line in before.lines() {
            match line.split_once(':').filter(|_| !line.starts_with('#')) {
                Some((name, password)) if Hash::read(password.trim_end()).is_err() => {
                    check_name(name)?;
                    let line = self.line(name, password.trim_end_matches('\r'))?;
                    let _ = writeln!(text, "{line}");
                    count += 1;
                }
                _ => {
                    let _ = writeln!(text, "{line}");
                }
            }
        }
        Ok((text, count))
    }
}

fn check_name(name: &str) -> Result<(), String> {
    if name.is_empty() || name.contains([':', '\n', '\r']) || name.starts_with('#') {
        return Err(format!(
            "`{name}` cannot be a user name in a password file: it is empty, begins with #, or has a colon or a line break in it"
        ));
    }
    Ok(())
}

/// The text with the line of a user replaced or removed; `None` if there is no such line.
fn replaced(text: &str, name: &str, line: Option<&str>) -> Option<String> {
    let is_of = |line: &str| {
        !line.starts_with('#')
            && line.split_once(':').is_some_and(|(other, _)| other.trim() == name)
    };
    text.lines().any(is_of).then(|| {
        let kept = text.lines().filter_map(|old| if is_of(old) { line } else { Some(old) });
        kept.fold(String::new(), |text, line| appended(&text, line))
    })
}

fn appended(text: &str, line: &str) -> String {
    let gap = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
    format!("{text}{gap}{line}\n")
}

fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| {
        let hint =
            if error.kind() == io::ErrorKind::NotFound { "; -c makes a new file" } else { "" };
        format!("{}: {error}{hint}", path.display())
    })
}

/// Writes the whole file beside the old one and puts it in its place, with the same owner and rights.
fn write(path: &Path, text: &str) -> Result<(), String> {
    let shown = path.display();
    let explain = |error: io::Error| format!("cannot write {shown}: {error}");
    // A link stays one: what it names is replaced.
    let target = fs::canonicalize(path);
    let path = target.as_deref().unwrap_or(path);
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let before = fs::metadata(path).ok();
    let mode = before.as_ref().map_or(MODE, |before| before.mode() & 0o777);
    let _ = fs::remove_file(&beside);
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&beside)
        .map_err(explain)?;
    if let Some(before) = before {
        // Only root may give files away; who may not, owns it anyway.
        let _ = fchown(&file, Some(before.uid()), Some(before.gid()));
    }
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let written = file
        .write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::rename(&beside, path))
        .and_then(|()| File::open(directory.unwrap_or(Path::new(".")))?.sync_all());
    written.map_err(|error| {
        let _ = fs::remove_file(&beside);
        explain(error)
    })
}

/// Asks for a password: twice at a terminal, without showing it; else a line of standard input.
fn ask() -> Result<String, String> {
    let input = io::stdin();
    if !input.is_terminal() {
        return line(&input);
    }
    let password = hidden("Password: ")?;
    if password != hidden("Reenter password: ")? {
        return Err("the passwords are not the same".into());
    }
    Ok(password)
}

fn line(input: &io::Stdin) -> Result<String, String> {
    let mut line = String::new();
    input
        .lock()
        .read_line(&mut line)
        .map_err(|error| format!("cannot read the password: {error}"))?;
    Ok(line.trim_end_matches(['\n', '\r']).to_owned())
}

/// Reads a line that the terminal does not show. Whoever breaks off finds the terminal as it was.
fn hidden(prompt: &str) -> Result<String, String> {
    let input = io::stdin();
    let explain = |error| format!("cannot hide the password: {error}");
    let shown = tcgetattr(&input).map_err(explain)?;
    let mut quiet = shown.clone();
    quiet.local_modes.remove(LocalModes::ECHO);
    let mut signals = Signals::new([SIGINT, SIGTERM])
        .map_err(|error| format!("cannot watch signals: {error}"))?;
    let (handle, restored) = (signals.handle(), shown.clone());
    let watch = thread::spawn(move || {
        if let Some(number) = signals.forever().next() {
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, &restored);
            eprintln!();
            let _ = emulate_default_handler(number);
        }
    });
    tcsetattr(&input, OptionalActions::Flush, &quiet).map_err(explain)?;
    eprint!("{prompt}");
    let read = line(&input);
    eprintln!();
    tcsetattr(&input, OptionalActions::Flush, &shown).map_err(explain)?;
    handle.close();
    let _ = watch.join();
    read
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_replaced_removed_and_appended() {
        let text = "# joe:x\njoe:1\n jane :2";
        assert_eq!(replaced(text, "joe", Some("joe:3")).unwrap(), "# joe:x\njoe:3\n jane :2\n");
        assert_eq!(replaced(text, "jane", None).unwrap(), "# joe:x\njoe:1\n");
        assert_eq!(replaced(text, "jim", None), None);
        assert_eq!(appended(text, "jim:4"), "# joe:x\njoe:1\n jane :2\njim:4\n");
    }
}
