//! The process: background, pid file, user.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::unistd::{
    Gid, Uid, User, dup2_stderr, dup2_stdin, dup2_stdout, getppid, initgroups, setgid, setsid,
    setuid,
};

/// What the configuration says of the process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ProcessConfig {
    /// Go on in the background.
    pub(crate) daemon: bool,
    /// File for the process's number.
    pub(crate) pid_file: Option<PathBuf>,
    /// User to become if started as root.
    pub(crate) user: Option<String>,
}

/// Who to be when nothing else is said.
const USERS: [&str; 2] = ["mosquitto", "nobody"];

/// In the environment of a broker that goes on in the background: the number of the process that
/// started it and waits. Anybody else who finds it there is not meant, since his parent is another.
const STARTED_BY: &str = "PLIMSOLL_STARTED_BY";

/// What the one in the background writes when it serves.
const READY: &[u8] = b"ready\n";

/// Whether this is the one that goes on in the background, not the one that was called.
pub(crate) fn in_background() -> bool {
    std::env::var(STARTED_BY).is_ok_and(|number| number == getppid().to_string())
}

/// Starts this program again, to go on in the background, and waits until it serves or has failed.
/// Answers its exit code. What it has to say of a failure it says itself, on our standard error.
pub(crate) fn launch() -> Result<u8, String> {
    let mut arguments = std::env::args_os();
    let name = arguments.next().unwrap_or_else(|| "plimsoll".into());
    let mut child = std::env::current_exe()
        .and_then(|program| {
            Command::new(program)
                .arg0(name)
                .args(arguments)
                .env(STARTED_BY, std::process::id().to_string())
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .spawn()
        })
        .map_err(|error| format!("cannot go on in the background: {error}"))?;
    let mut said = Vec::new();
    if let Some(pipe) = &mut child.stdout {
        // Ends when the other one lets go of it: it serves, or it is gone.
        pipe.read_to_end(&mut said)
            .map_err(|error| format!("cannot hear from the background: {error}"))?;
    }
    if said == READY {
        return Ok(0);
    }
    let status = child.wait().map_err(|error| format!("lost in the background: {error}"))?;
    match status.code() {
        Some(code) => Ok(u8::try_from(code).unwrap_or(u8::MAX)),
        None => Err(format!("the broker broke off in the background: {status}")),
    }
}

/// Leaves the terminal's session, if that is asked for.
pub(crate) fn leave_session(config: &ProcessConfig) -> Result<(), String> {
    if config.daemon {
        setsid().map_err(|error| format!("cannot go on in the background: {error}"))?;
    }
    Ok(())
}

/// The broker serves. In the background, tells the one who waits for that, and lets go of the
/// standard streams.
pub(crate) fn ready(config: &ProcessConfig) -> Result<(), String> {
    if !config.daemon {
        return Ok(());
    }
    let null = File::options().read(true).write(true).open("/dev/null");
    let null = null.map_err(|error| format!("/dev/null: {error}"))?;
    std::io::stdout()
        .write_all(READY)
        .map_err(|error| format!("nobody waits for the broker to start: {error}"))?;
    // Standard output is the last, since its end is what the other one waits for.
    dup2_stdin(&null)
        .and_then(|()| dup2_stderr(&null))
        .and_then(|()| dup2_stdout(&null))
        .map_err(|error| format!("cannot let go of the terminal: {error}"))
}

/// Opens the directory that state is kept in, before the privileges go: one that has to be made
/// belongs to the user that the process becomes. It may lie where that user could not look for it.
pub(crate) fn open_directory(config: &ProcessConfig, path: &Path) -> Result<File, String> {
    let explain = |error: std::io::Error| {
        format!(
            "cannot keep state in {}: {error}; set persistence_location to a directory that can be written, or persistence false",
            path.display()
        )
    };
    if !path.exists() {
        fs::create_dir_all(path).map_err(explain)?;
        if let Some(user) = user_to_become(config.user.as_deref())? {
            std::os::unix::fs::chown(path, Some(user.uid.as_raw()), Some(user.gid.as_raw()))
                .map_err(explain)?;
        }
    }
    File::open(path).map_err(explain)
}

/// Makes the user that the process becomes the owner of a path.
pub(crate) fn give_to_user(config: &ProcessConfig, path: &Path) -> Result<(), String> {
    if let Some(user) = user_to_become(config.user.as_deref())? {
        std::os::unix::fs::chown(path, Some(user.uid.as_raw()), Some(user.gid.as_raw()))
            .map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(())
}

/// The pid file, for as long as the broker runs.
#[derive(Debug)]
pub(crate) struct PidFile(Option<PathBuf>);

impl PidFile {
    /// Writes the file that the configuration asks for.
    pub(crate) fn write(config: &ProcessConfig) -> Result<Self, String> {
        if let Some(path) = &config.pid_file {
            fs::write(path, format!("{}", std::process::id())).map_err(|error| {
                format!("cannot write the pid file {}{}: {error}", path.display(), as_whom())
            })?;
        }
        Ok(Self(config.pid_file.clone()))
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            // Somebody else may have removed it.
            let _ = fs::remove_file(path);
        }
    }
}

/// Who we are, where that may be why something is not permitted.
pub(crate) fn as_whom() -> String {
    match User::from_uid(Uid::effective()) {
        Ok(Some(user)) => format!(" as user {}", user.name),
        _ => String::new(),
    }
}

/// Says that a file which a directive names cannot be read, and as whom.
pub(crate) fn unreadable(directive: &str, path: &Path, error: impl std::fmt::Display) -> String {
    format!("{directive} {}: {error}{}", path.display(), as_whom())
}

/// Becomes the user that the configuration names if the process is root's; `root` stays root.
/// Sockets are bound by now. Files are opened after this, as in Mosquitto: they can be opened again at
/// a reload, and nobody who may write in their directory makes root write elsewhere.
pub(crate) fn drop_privileges(config: &ProcessConfig) -> Result<(), String> {
    user_to_become(config.user.as_deref())?.map_or(Ok(()), |user| become_user(&user))
}

/// Who that is; `None` if the process stays who it is.
fn user_to_become(name: Option<&str>) -> Result<Option<User>, String> {
    if !Uid::effective().is_root() || name == Some("root") {
        return Ok(None);
    }
    let candidates: Vec<&str> = name.map_or_else(|| USERS.to_vec(), |name| vec![name]);
    for candidate in &candidates {
        let found =
            User::from_name(candidate).map_err(|error| format!("user {candidate}: {error}"))?;
        if let Some(user) = found {
            return Ok(Some(user));
        }
    }
    Err(format!(
        "there is no user `{}`: set `user` to one that exists, or to root",
        candidates.join("` or `")
    ))
}

fn become_user(user: &User) -> Result<(), String> {
    let name = std::ffi::CString::new(user.name.as_str()).map_err(|error| error.to_string())?;
    let (uid, gid): (Uid, Gid) = (user.uid, user.gid);
    initgroups(&name, gid)
        .and_then(|()| setgid(gid))
        .and_then(|()| setuid(uid))
        .map_err(|error| format!("cannot become user {}: {error}", user.name))
}
