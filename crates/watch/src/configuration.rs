//! What is watched, from the command line or from a file in TOML: both have the same words.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use plimsoll_judgement::outside::Settings;
use serde::Deserialize;

use crate::accounts::{Source, presets};
use crate::history;
use crate::outputs::OutputOptions;
use crate::selector::Selector;
use crate::target::{Limits, Target};
use crate::units;

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Plan {
    pub(crate) every: Duration,
    pub(crate) targets: Vec<Target>,
    pub(crate) history: Option<PathBuf>,
    /// How long histories are kept, if that is said.
    pub(crate) keep: Option<Duration>,
    pub(crate) outputs: OutputOptions,
}

/// Most targets of one `watch`.
const TARGETS_MAX: usize = 200;

/// Longest configuration and longest secret that are read, bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// A configuration file.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Configuration {
    /// How often all targets are looked at.
    every: Option<String>,
    /// The directory of histories.
    history: Option<PathBuf>,
    /// How long histories are kept.
    keep: Option<String>,
    /// Where what was seen goes.
    #[serde(default)]
    outputs: OutputOptions,
    /// What is watched.
    #[serde(default, rename = "target")]
    targets: Vec<TargetTable>,
}

/// `[[target]]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct TargetTable {
    name: Option<String>,
    #[serde(flatten)]
    which: Which,
    settle: Option<String>,
    #[serde(flatten)]
    limits: Limits,
    #[serde(default)]
    accounts: Vec<AccountsTable>,
}

/// Which process is meant; one of these.
#[derive(Args, Clone, Debug, Default, Deserialize)]
#[group(multiple = false)]
pub(crate) struct Which {
    /// The process with this number
    #[arg(long, value_name = "PID", value_parser = clap::value_parser!(u32).range(1..))]
    pid: Option<u32>,
    /// The process whose number is in this file
    #[arg(long, value_name = "FILE")]
    pid_file: Option<PathBuf>,
    /// The oldest process of this name
    #[arg(long, value_name = "NAME")]
    process: Option<String>,
    /// All that is in this memory cgroup: a container
    #[arg(long, value_name = "PATH")]
    cgroup: Option<PathBuf>,
    /// The main process of this unit of systemd
    #[arg(long, value_name = "UNIT")]
    systemd: Option<String>,
}

/// `[[target.accounts]]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct AccountsTable {
    preset: String,
    #[serde(default)]
    url: Option<String>,
    #[serde(default)]
    every: Option<String>,
    /// Figures and where they are.
    #[serde(default)]
    map: BTreeMap<String, Places>,
    #[serde(flatten)]
    login: Login,
}

/// Where a figure is: in several places if it is their sum.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum Places {
    One(String),
    Several(Vec<String>),
}

/// Who asks, and whom to trust.
#[derive(Args, Clone, Debug, Default, Deserialize)]
pub(crate) struct Login {
    /// User name for --accounts
    #[arg(long, value_name = "NAME", requires = "accounts")]
    user: Option<String>,
    /// File with the password for --accounts
    #[arg(long, value_name = "FILE", requires = "accounts")]
    password_file: Option<PathBuf>,
    /// File with a bearer token for --accounts over HTTP
    #[arg(long, value_name = "FILE", requires = "accounts")]
    token_file: Option<PathBuf>,
    /// Certificates of authorities to trust (PEM), instead of the system's
    #[arg(long, value_name = "FILE", requires = "accounts")]
    cafile: Option<PathBuf>,
    /// Own certificate (PEM)
    #[arg(long, value_name = "FILE", requires_all = ["key", "accounts"])]
    cert: Option<PathBuf>,
    /// Its key (PEM)
    #[arg(long, value_name = "FILE", requires_all = ["cert", "accounts"])]
    key: Option<PathBuf>,
    /// Do not check whose certificate it is
    #[arg(long, requires = "accounts")]
    #[serde(default)]
    insecure: bool,
}

impl Configuration {
    /// Reads a file.
    pub(crate) fn read(path: &Path) -> Result<Self, String> {
        let text = text_of(path)?;
        // The error has the line, the column and the text that is there.
        toml::from_str(&text)
            .map_err(|error| format!("{}: {}", path.display(), error.to_string().trim_end()))
    }

    /// What it says, checked.
    pub(crate) fn plan(&self) -> Result<Plan, String> {
        let every = self.every.as_deref().map(pace).transpose()?;
        let keep = self.keep.as_deref().map(units::duration).transpose()?;
        let history = self.history.clone();
        let targets = self.targets.iter().map(TargetTable::target);
        let targets: Vec<Target> = targets.collect::<Result<_, _>>()?;
        check(&targets)?;
        let outputs = self.outputs.clone();
        Ok(Plan { every: every.unwrap_or(EVERY), targets, history, keep, outputs })
    }
}

impl Plan {
    /// Where histories lie, if they are kept.
    pub(crate) fn place(&self) -> Option<history::Place> {
        let directory = self.history.clone()?;
        Some(history::Place { directory, keep: self.keep.unwrap_or(history::KEEP) })
    }
}

/// How often targets are looked at if nothing is said.
pub(crate) const EVERY: Duration = Duration::from_secs(1);

/// How often something is looked at, or asked: not so often that watching is a load.
pub(crate) fn pace(text: &str) -> Result<Duration, String> {
    units::duration_within(text, Duration::from_millis(100)..=Duration::from_secs(86_400))
}

/// What no single target can say.
fn check(targets: &[Target]) -> Result<(), String> {
    if targets.is_empty() {
        return Err("there is nothing to watch: no [[target]]".into());
    }
    if targets.len() > TARGETS_MAX {
        return Err(format!("there are {} targets; {TARGETS_MAX} are the most", targets.len()));
    }
    let mut names = BTreeSet::new();
    match targets.iter().find(|target| !names.insert(target.name.as_str())) {
        Some(twice) => Err(format!("two targets are called {}: give each a `name`", twice.name)),
        None => Ok(()),
    }
}

impl TargetTable {
    fn target(&self) -> Result<Target, String> {
        let selector = self.which.selector()?;
        let named = |error: String| match &self.name {
            Some(name) => format!("target {name}: {error}"),
            None => format!("target {selector}: {error}"),
        };
        let accounts = self.accounts.iter().map(AccountsTable::source);
        let accounts: Vec<Source> = accounts.collect::<Result<_, _>>().map_err(named)?;
        let settle = self.settle.as_deref().map(units::duration).transpose().map_err(named)?;
        target(self.name.clone(), selector, accounts, self.limits, settle)
    }
}

/// A target with its defaults.
pub(crate) fn target(
    name: Option<String>,
    selector: Selector,
    accounts: Vec<Source>,
    limits: Limits,
    settle: Option<Duration>,
) -> Result<Target, String> {
    const NAME_BYTES_MAX: usize = 60;
    let name = name.unwrap_or_else(|| selector.name());
    if name.is_empty() || name.len() > NAME_BYTES_MAX || name.chars().any(char::is_control) {
        return Err(format!(
            "`{}` is not a name of 1 to {NAME_BYTES_MAX} bytes",
            name.escape_debug()
        ));
    }
    let mut judgement = Settings::default();
    if let Some(settle) = settle {
        judgement.settle_s = settle.as_secs_f64();
    }
    Ok(Target { name, selector, accounts, limits, judgement })
}

impl Which {
    /// Whether something was said.
    pub(crate) fn is_given(&self) -> bool {
        self.selectors().next().is_some()
    }

    fn selectors(&self) -> impl Iterator<Item = Selector> {
        [
            self.pid.map(Selector::Pid),
            self.pid_file.clone().map(Selector::PidFile),
            self.process.clone().map(Selector::Process),
            self.cgroup.clone().map(Selector::Cgroup),
            self.systemd.clone().map(Selector::Unit),
        ]
        .into_iter()
        .flatten()
    }

    pub(crate) fn selector(&self) -> Result<Selector, String> {
        let mut selectors = self.selectors();
        match (selectors.next(), selectors.next()) {
            (Some(selector), None) => Ok(selector),
            (None, _) => {
                Err("a target needs one of pid, pid_file, process, cgroup and systemd".into())
            }
            (Some(first), Some(second)) => {
                Err(format!("a target is either a {first} or a {second}, not both"))
            }
        }
    }
}

impl AccountsTable {
    /// The source that it describes, checked.
    fn source(&self) -> Result<Source, String> {
        let preset = match &self.url {
            Some(url) => format!("{}={url}", self.preset),
            None => self.preset.clone(),
        };
        let map: Vec<String> = self.map.iter().flat_map(|(name, places)| places.of(name)).collect();
        let mut source = presets::described(&preset, &map, &self.login)?;
        if let Some(every) = &self.every {
            source.every = pace(every)?;
        }
        Ok(source)
    }
}

impl Places {
    /// As the command line has them.
    fn of(&self, name: &str) -> Vec<String> {
        let places = match self {
            Self::One(place) => std::slice::from_ref(place),
            Self::Several(places) => places,
        };
        places.iter().map(|place| format!("{name}={place}")).collect()
    }
}

impl Login {
    /// Gives a source what it says, with the secrets that it names read.
    pub(crate) fn apply(&self, source: &mut Source) -> Result<(), String> {
        let secret = |path: &Option<PathBuf>| match path {
            Some(path) => Ok(Some(text_of(path)?.trim_end_matches(['\n', '\r']).to_owned())),
            None => Ok::<_, String>(None),
        };
        if self.cert.is_some() != self.key.is_some() {
            return Err("a certificate needs its key, and a key its certificate".into());
        }
        source.credentials.user.clone_from(&self.user);
        source.credentials.password = secret(&self.password_file)?;
        source.credentials.token = secret(&self.token_file)?;
        source.tls.cafile.clone_from(&self.cafile);
        source.tls.cert.clone_from(&self.cert);
        source.tls.key.clone_from(&self.key);
        source.tls.insecure = self.insecure;
        Ok(())
    }
}

/// A file's text; the error names the file.
fn text_of(path: &Path) -> Result<String, String> {
    let named = |what: String| format!("{}: {what}", path.display());
    let length = fs::metadata(path).map_err(|error| named(error.to_string()))?.len();
    if length > FILE_BYTES_MAX {
        return Err(named(format!("is longer than {FILE_BYTES_MAX} bytes")));
    }
    fs::read_to_string(path).map_err(|error| named(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accounts::Kind;

    fn plan(text: &str) -> Result<Plan, String> {
        toml::from_str::<Configuration>(text).map_err(|error| error.to_string())?.plan()
    }

    #[test]
    fn a_file_describes_several_targets() {
        let plan = plan(
            r#"
            every = "2s"
            history = "/var/lib/plimsoll-watch"
            keep = "7d"

            [[target]]
            systemd = "mosquitto.service"
            [[target.accounts]]
            preset = "mosquitto"
            user = "watch"

            [[target]]
            name = "access-platform"
            cgroup = "/docker/abc"
            settle = "30m"
            direct_limit = "96MiB"
            [[target.accounts]]
            preset = "json"
            url = "http://127.0.0.1:8080/metrics/netty"
            every = "5s"
            map = { direct = ["/used * 1024", "/pool"], direct_limit = "/limit" }
            "#,
        )
        .unwrap();
        assert_eq!(plan.every, Duration::from_secs(2));
        let place = plan.place().unwrap();
        assert_eq!(
            (place.directory, place.keep),
            ("/var/lib/plimsoll-watch".into(), Duration::from_secs(604_800))
        );
        let [first, second] = &plan.targets[..] else { panic!("{:?}", plan.targets) };
        assert_eq!(
            (first.name.as_str(), &first.selector),
            ("mosquitto", &Selector::Unit("mosquitto.service".into()))
        );
        assert_eq!(first.accounts[0].credentials.user.as_deref(), Some("watch"));
        let source = &second.accounts[0];
        assert_eq!((source.kind, source.every), (Kind::Json, Duration::from_secs(5)));
        assert_eq!(source.map.len(), 3);
        assert_eq!((source.map[0].scale, second.judgement.settle_s), (1024.0, 1800.0));
        assert_eq!((second.limits.direct_limit, second.limits.limit), (Some(100_663_296.0), None));
    }

    #[test]
    fn outputs_are_a_table_of_their_own() {
        let text = |outputs: &str| format!("[outputs]\n{outputs}\n[[target]]\npid = 1");
        let read = |outputs: &str| toml::from_str::<Configuration>(&text(outputs));
        let outputs = read("listen = '127.0.0.1:9977'\nwebhook = ['http://x/']").unwrap().outputs;
        assert_eq!(outputs.export.listen, "127.0.0.1:9977".parse().ok());
        assert_eq!(outputs.push.webhook, ["http://x/"]);
        assert_eq!(read("").unwrap().outputs, OutputOptions::default());
        let unknown = read("lisen = '127.0.0.1:9977'").unwrap_err().to_string();
        assert!(unknown.contains("lisen"), "{unknown}");
    }

    #[test]
    fn the_packaged_example_is_one() {
        let text = include_str!("../../../packaging/systemd/watch.toml");
        let plan = plan(text).unwrap();
        assert_eq!(plan.targets[0].accounts[0].url, "mqtt://127.0.0.1:1883");
        // So are the lines that are to be taken in.
        let all: Vec<&str> =
            text.lines().map(|line| line.strip_prefix("# ").unwrap_or(line)).collect();
        let from = all.iter().position(|line| line.starts_with("A JVM")).unwrap();
        let jvm = all[from + 1..].join("\n");
        assert_eq!(super::tests::plan(&jvm).unwrap().targets[0].accounts.len(), 2);
    }

    #[test]
    fn mistakes_are_named() {
        let wrong = |text: &str| plan(text).unwrap_err();
        assert!(wrong("").contains("nothing to watch"));
        assert!(wrong("[[target]]\nname = \"a\"").contains("needs one of pid"));
        let both = wrong("[[target]]\npid = 1\nprocess = \"x\"");
        assert_eq!(both, "a target is either a process 1 or a process called x, not both");
        let twice = wrong("[[target]]\npid = 1\n[[target]]\npid = 1");
        assert_eq!(twice, "two targets are called pid-1: give each a `name`");
        let unknown = wrong("[[target]]\npid = 1\ncolour = 3");
        assert!(unknown.contains("colour"), "{unknown}");
        let account = "[[target]]\npid = 1\n[[target.accounts]]\npreset = \"prometheus\"\nmap = { retained = \"a b\" }";
        assert_eq!(
            wrong(account),
            "target process 1: `a b` is not a metric, such as jvm_memory_used_bytes{area=\"heap\"}"
        );
        let file = "[[target]]\npid = 1\n[[target.accounts]]\npreset = \"mosquitto\"\npassword_file = \"/nowhere\"";
        assert!(wrong(file).contains("/nowhere: No such file"));
        let cert =
            "[[target]]\npid = 1\n[[target.accounts]]\npreset = \"mosquitto\"\ncert = \"/c\"";
        assert!(wrong(cert).contains("needs its key"), "{}", wrong(cert));
        let often = wrong("every = \"1ms\"\n[[target]]\npid = 1");
        assert_eq!(often, "`1ms` is not between 100 ms and 1 d");
        assert!(wrong("every = 1").contains("line 1"), "{}", wrong("every = 1"));
    }
}
