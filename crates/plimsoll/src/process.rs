//! The process: daemon, pid file, user.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use nix::unistd::{Gid, Uid, User, daemon, initgroups, setgid, setuid};

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

/// Goes on in the background, if that is asked for. No thread has started by now.
pub(crate) fn detach(config: &ProcessConfig) -> Result<(), String> {
    if config.daemon {
        // Keeps the directory, so that relative paths mean what they meant.
        daemon(true, false).map_err(|error| format!("cannot go on in the background: {error}"))?;
    }
    Ok(())
}

/// Writes the pid file and becomes the user that the configuration names. Sockets and log files are
/// open by now: nothing is opened as root after this.
pub(crate) fn settle(config: &ProcessConfig) -> Result<(), String> {
    if let Some(path) = &config.pid_file {
        fs::write(path, format!("{}", std::process::id()))
            .map_err(|error| format!("cannot write the pid file {}: {error}", path.display()))?;
    }
    drop_privileges(config.user.as_deref())
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

/// Takes away what [`settle`] left behind.
pub(crate) fn forget(config: &ProcessConfig) {
    if let Some(path) = &config.pid_file {
        // After a change of user it may not be ours to remove.
        let _ = fs::remove_file(path);
    }
}

/// Becomes `name` if the process is root's; `root` stays root.
fn drop_privileges(name: Option<&str>) -> Result<(), String> {
    user_to_become(name)?.map_or(Ok(()), |user| become_user(&user))
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
