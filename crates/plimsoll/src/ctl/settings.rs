//! Where the broker is and as whom it is asked: command line, environment, file.

use std::fs;
use std::path::{Path, PathBuf};

use super::Options;
use super::client::Failure;

/// Where a broker is looked for if nobody says.
const URL: &str = "http://127.0.0.1:8080";

/// What is needed to ask.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Settings {
    pub(super) url: String,
    pub(super) user: Option<String>,
    pub(super) password: Option<String>,
    pub(super) token: Option<String>,
    pub(super) cafile: Option<PathBuf>,
    pub(super) insecure: bool,
}

impl Settings {
    pub(super) fn of(options: &Options) -> Result<Self, Failure> {
        let file = match &options.config {
            Some(path) => read(path)?,
            None => match default_file() {
                Some(path) if path.exists() => read(&path)?,
                _ => File::default(),
            },
        };
        let env = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        // Who says who it is says it all: no password of one place for a name of another.
        let own = options.user.is_some() || options.token.is_some();
        let user = env("PLIMSOLL_USER").filter(|_| !own);
        let token = env("PLIMSOLL_TOKEN").filter(|_| !own);
        let from_file = !own && user.is_none() && token.is_none();
        let file_user = file.user.filter(|_| from_file);
        let file_token = file.token.filter(|_| from_file);
        let password = match (&options.password, &options.password_file) {
            (Some(password), _) => Some(password.clone()),
            (None, Some(path)) => Some(first_line(path)?),
            (None, None) => env("PLIMSOLL_PASSWORD"),
        };
        let password = match (password, &file.password_file) {
            (None, Some(path)) if from_file => Some(first_line(path)?),
            (None, _) if from_file => file.password,
            (password, _) => password,
        };
        let url = options.url.clone().or_else(|| env("PLIMSOLL_URL")).or(file.url);
        Ok(Self {
            url: url.unwrap_or_else(|| URL.into()).trim_end_matches('/').to_owned(),
            user: options.user.clone().or(user).or(file_user),
            password,
            token: options.token.clone().or(token).or(file_token),
            cafile: options
                .cafile
                .clone()
                .or_else(|| env("PLIMSOLL_CAFILE").map(PathBuf::from))
                .or(file.cafile),
            insecure: options.insecure,
        })
    }
}

/// What a file says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct File {
    url: Option<String>,
    user: Option<String>,
    password: Option<String>,
    password_file: Option<PathBuf>,
    token: Option<String>,
    cafile: Option<PathBuf>,
}

fn default_file() -> Option<PathBuf> {
    let home = std::env::var_os("XDG_CONFIG_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".config")))?;
    Some(home.join("plimsoll").join("ctl.conf"))
}

fn read(path: &Path) -> Result<File, Failure> {
    let text = fs::read_to_string(path)
        .map_err(|error| Failure::Mistake(format!("{}: {error}", path.display())))?;
    parse(&text).map_err(|error| Failure::Mistake(format!("{}:{error}", path.display())))
}

fn parse(text: &str) -> Result<File, String> {
    let mut file = File::default();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (name, value) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let value = value.trim().to_owned();
        let number = number + 1;
        if value.is_empty() {
            return Err(format!("{number}: {name} needs a value"));
        }
        match name {
            "url" => file.url = Some(value),
            "user" => file.user = Some(value),
            "password" => file.password = Some(value),
            "password_file" => file.password_file = Some(value.into()),
            "token" => file.token = Some(value),
            "cafile" => file.cafile = Some(value.into()),
            other => {
                return Err(format!(
                    "{number}: `{other}` is not one of url, user, password, password_file, token, cafile"
                ));
            }
        }
    }
    Ok(file)
}

fn first_line(path: &Path) -> Result<String, Failure> {
    let text = fs::read_to_string(path)
        .map_err(|error| Failure::Mistake(format!("{}: {error}", path.display())))?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_says_where_and_who() {
        let file = parse("# ops\nurl https://b:1\n user  ops \npassword_file /run/p\n").unwrap();
        assert_eq!(file.url.as_deref(), Some("https://b:1"));
        assert_eq!(file.user.as_deref(), Some("ops"));
        assert_eq!(file.password_file.as_deref(), Some(Path::new("/run/p")));
        assert!(parse("\nurl").unwrap_err().starts_with("2: url"));
        assert!(parse("adress x").unwrap_err().starts_with("1: `adress`"));
    }
}
