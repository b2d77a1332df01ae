//! Reading `mosquitto.conf`.

mod plugins;

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::directives::{Apply, Directive, Scope, Status, find, nearest};
use super::value::{Kind, Value};
use super::{Config, Listener};
use crate::log::{
    ALL_KINDS, DEFAULT_KINDS, Destination, Kind as LogKind, Kinds, Timestamp, can_format,
};

/// What the command line says about the configuration.
#[derive(Clone, Debug, Default)]
pub(crate) struct Arguments {
    /// `-c`
    pub(crate) file: Option<PathBuf>,
    /// `-p`, each
    pub(crate) ports: Vec<u16>,
    /// `-v`
    pub(crate) verbose: bool,
    /// `-q`
    pub(crate) quiet: bool,
    /// `--tls-keylog`
    pub(crate) tls_keylog: Option<PathBuf>,
    /// `-d`
    pub(crate) daemon: bool,
    /// The program is called `mosquitto`: what is not said is as Mosquitto has it.
    pub(crate) as_mosquitto: bool,
}

/// Directives of a listener for which no default listener is made.
const OF_A_LISTENER: [&str; 5] = [
    "listener_allow_anonymous",
    "listener_auto_id_prefix",
    "listener_memory_budget",
    "max_topic_alias",
    "max_topic_alias_broker",
];

/// The port of MQTT.
const PORT: u16 = 1883;

/// Reads the configuration. All mistakes are answered, a line each.
pub(crate) fn load(arguments: &Arguments) -> Result<Config, String> {
    let mut reader = Reader::new(arguments);
    if let Some(path) = &arguments.file {
        reader.config.source = Some(path.clone());
        reader.file(path, true);
    }
    reader.finish(arguments)
}

/// Reads a text as a file that others include: for fuzzing, so it opens nothing.
pub(crate) fn load_text(text: &str) -> Result<Config, String> {
    let arguments = Arguments::default();
    let mut reader = Reader::new(&arguments);
    reader.text(Path::new("FILE"), text, false);
    reader.finish(&arguments)
}

/// The state of reading.
struct Reader {
    config: Config,
    errors: Vec<String>,
    /// File and line, for messages.
    place: String,
    /// The listener that directives belong to; `None` before the first.
    listener: Option<usize>,
    default_listener: Option<usize>,
    per_listener: bool,
    /// Security directives for the whole broker, applied to every listener at the end.
    security: Vec<(&'static Directive, Value)>,
    /// Names that were given before `per_listener_settings`.
    security_seen: bool,
    /// Security directives that a listener has of its own.
    own: HashSet<(&'static str, usize)>,
    /// Whether a bridge stands above in this file.
    in_bridge: bool,
    /// Whether a plugin stands above.
    in_plugin: bool,
    domains: Vec<(usize, String)>,
    log_kinds: Option<Kinds>,
    log_destinations: Vec<Destination>,
    log_silent: bool,
    log_stamped: bool,
    log_format: Option<String>,
    log_facility: String,
    warned: HashSet<&'static str>,
}

impl Reader {
    fn new(arguments: &Arguments) -> Self {
        let mut config = Config::default();
        config.process.daemon = arguments.daemon;
        config.tls_keylog.clone_from(&arguments.tls_keylog);
        Self {
            config,
            errors: Vec::new(),
            place: String::new(),
            listener: None,
            default_listener: None,
            per_listener: false,
            security: Vec::new(),
            security_seen: false,
            own: HashSet::new(),
            in_bridge: false,
            in_plugin: false,
            domains: Vec::new(),
            log_kinds: None,
            log_destinations: Vec::new(),
            log_silent: false,
            log_stamped: true,
            log_format: None,
            log_facility: "daemon".into(),
            warned: HashSet::new(),
        }
    }

    fn error(&mut self, name: &str, text: &str) {
        self.errors.push(format!("{}: {name}: {text}", self.place));
    }

    fn warn(&mut self, name: &str, text: &str) {
        self.config.warnings.push(format!("{}: {name}: {text}", self.place));
    }

    fn file(&mut self, path: &Path, main: bool) {
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) => {
                self.errors.push(format!("Unable to open config file {}: {error}", path.display()));
                return;
            }
        };
        self.text(path, &String::from_utf8_lossy(&bytes), main);
    }

    fn text(&mut self, path: &Path, text: &str, main: bool) {
        // Each file starts with no listener and no bridge of its own.
        (self.listener, self.in_bridge, self.in_plugin) = (None, false, false);
        let text = text.strip_prefix('\u{FEFF}').unwrap_or(text);
        for (number, line) in text.lines().enumerate() {
            self.place = format!("{}:{}", path.display(), number + 1);
            self.line(line, main);
        }
    }

    fn line(&mut self, line: &str, main: bool) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            return;
        }
        let (name, text) = line.split_once([' ', '\t']).unwrap_or((line, ""));
        let text = text.trim_start();
        if self.plugin_option(name, text) {
            return;
        }
        let Some(directive) = find(name) else {
            let hint = match nearest(name) {
                Some(known) => format!("unknown directive; did you mean `{known}`?"),
                None => "unknown directive".into(),
            };
            return self.error(name, &hint);
        };
        match directive.kind.parse(text) {
            Err(problem) => self.error(name, &problem),
            Ok(value) => self.directive(directive, value, main),
        }
    }

    fn directive(&mut self, directive: &'static Directive, value: Value, main: bool) {
        let name = directive.name;
        if let (Kind::Text, Some((_, comment))) = (directive.kind, value.text().split_once(" #")) {
            let text =
                format!("`#{comment}` is part of the value: comments stand on lines of their own");
            self.warn(name, &text);
        }
        if let Some(problem) = self.misplaced(directive) {
            return self.error(name, problem);
        }
        match directive.status {
            Status::Structure => self.structure(name, &value, main),
            Status::Done => self.apply(directive, value),
            Status::NotNeeded(because) => self.warn(name, &format!("has no effect: {because}")),
            Status::NotYet(release) => self.not_yet(directive, &value, release),
            Status::Unsupported(because) => self.error(name, because),
        }
    }

    /// Why a directive cannot stand where it does, if it cannot.
    fn misplaced(&mut self, directive: &'static Directive) -> Option<&'static str> {
        let name = directive.name;
        let has_listener = self.listener.or(self.default_listener).is_some();
        match directive.scope {
            Scope::Security => self.security_seen = true,
            Scope::Plugin if name == "auth_plugin_deny_special_chars" => {}
            Scope::Plugin => (self.security_seen, self.in_plugin) = (true, true),
            Scope::Bridge if name == "connection" => self.in_bridge = true,
            Scope::Bridge if !self.in_bridge => {
                return Some("belongs to a bridge, and no `connection` stands above it");
            }
            Scope::Listener if !has_listener && OF_A_LISTENER.contains(&name) => {
                return Some("belongs to a listener, and none stands above it");
            }
            _ => {}
        }
        // On the default listener it would open a port that nobody asked for, to everybody.
        let per_listener = self.per_listener && directive.scope == Scope::Security;
        (per_listener && !has_listener).then_some(
            "belongs to a listener, since per_listener_settings is true, and none stands above it",
        )
    }

    fn not_yet(&mut self, directive: &'static Directive, value: &Value, release: &str) {
        // What is switched off needs no support; and one line for a bridge is enough.
        let said = directive.scope == Scope::Bridge && directive.name != "connection";
        if matches!(value, Value::Flag(false)) || said || !self.warned.insert(directive.name) {
            return;
        }
        self.warn(
            directive.name,
            &format!("has no effect yet; it comes with the release of {release}"),
        );
    }

    fn apply(&mut self, directive: &'static Directive, value: Value) {
        match directive.apply {
            Apply::Nothing => {}
            Apply::Global(apply) => apply(&mut self.config, &value),
            Apply::Listener(apply) => {
                if directive.scope == Scope::Security && !self.per_listener {
                    return self.security.push((directive, value));
                }
                let number = self.current_listener();
                self.own.insert((directive.name.trim_start_matches("listener_"), number));
                if let Some(listener) = self.config.listeners.get_mut(number) {
                    apply(listener, &value);
                }
            }
        }
    }

    /// The listener that a directive belongs to: a default one if none stands above it.
    fn current_listener(&mut self) -> usize {
        if let Some(number) = self.listener.or(self.default_listener) {
            return number;
        }
        let place = self.place.clone();
        self.config.listeners.push(Listener::at(place, PORT, vec![None]));
        let number = self.config.listeners.len() - 1;
        self.default_listener = Some(number);
        number
    }

    fn structure(&mut self, name: &str, value: &Value, main: bool) {
        match name {
            "listener" => self.begin_listener(value.text()),
            "port" => {
                let number = self.current_default();
                if let Some(listener) = self.config.listeners.get_mut(number) {
                    listener.port = value.number();
                }
            }
            "bind_address" => {
                let number = self.current_default();
                if let Some(listener) = self.config.listeners.get_mut(number) {
                    listener.hosts = vec![Some(value.text().to_owned())];
                }
            }
            "protocol" => self.protocol(value.text()),
            "auth_plugin_deny_special_chars" => self.deny_special_chars(value.flag()),
            "plugin" | "auth_plugin" | "global_plugin" | "plugin_load" | "plugin_use" => {
                self.plugin(name, value.text());
            }
            "socket_domain" => {
                let number = self.current_listener();
                self.domains.push((number, value.text().to_owned()));
            }
            "per_listener_settings" => {
                if self.security_seen && value.flag() && !self.per_listener {
                    return self.error(name, "must stand before all other security settings");
                }
                // Once true it stays so: what stands above was read in that light.
                self.per_listener |= value.flag();
            }
            "include_dir" if main => self.include(value.text()),
            "include_dir" => self.error(name, "cannot stand in an included file"),
            "log_dest" => self.log_dest(value.text()),
            "retain_expiry" | "retain_limit" => {
                let rules = &mut self.config.retain_rules;
                if let Err(problem) = super::retain::read(rules, name, value.text()) {
                    self.error(name, &problem);
                }
            }
            "memory_budget" => {
                let budgets = &mut self.config.memory_budgets;
                if let Err(problem) = super::memory::read_budget(budgets, value.text()) {
                    self.error(name, &problem);
                }
            }
            "otlp_endpoint" | "otlp_header" => {
                if let Err(problem) = self.config.otlp.read(name, value.text()) {
                    self.error(name, &problem);
                }
            }
            "memory_budget_user" => {
                let rules = &mut self.config.client_budgets;
                if let Err(problem) = super::memory::read_user_budget(rules, value.text()) {
                    self.error(name, &problem);
                }
            }
            "memory_budget_topic" => {
                let rules = &mut self.config.client_budgets;
                if let Err(problem) = super::memory::read_topic_budget(rules, value.text()) {
                    self.error(name, &problem);
                }
            }
            "log_type" => self.log_type(value.text()),
            "log_timestamp" => self.log_stamped = value.flag(),
            "log_timestamp_format" if !can_format(value.text()) => {
                self.error(name, &format!("`{}` is not understood by strftime", value.text()));
            }
            "log_timestamp_format" => self.log_format = Some(value.text().to_owned()),
            "log_facility" => self.log_facility = format!("local{}", value.number::<u8>()),
            _ => {}
        }
    }

    /// The default listener that `port` and `bind_address` speak of.
    fn current_default(&mut self) -> usize {
        self.listener = None;
        self.current_listener()
    }

    fn begin_listener(&mut self, text: &str) {
        let text = text.split_once('#').map_or(text, |(value, _)| value).trim_end();
        let mut words = text.split_whitespace();
        let (port, host) = (words.next().unwrap_or_default(), words.next());
        let Ok(port) = port.parse::<u16>() else {
            return self.error(
                "listener",
                &format!(
                    "`{port}` is not a port: write `listener 1883` or `listener 1883 ADDRESS`"
                ),
            );
        };
        if port == 0 {
            let Some(path) = host else {
                return self
                    .error("listener", "0 is not a port; a unix socket is `listener 0 PATH`");
            };
            let mut listener = Listener::at(self.place.clone(), 0, Vec::new());
            listener.path = Some(path.into());
            self.config.listeners.push(listener);
            self.listener = Some(self.config.listeners.len() - 1);
            return;
        }
        let place = self.place.clone();
        self.config.listeners.push(Listener::at(place, port, vec![host.map(str::to_owned)]));
        self.listener = Some(self.config.listeners.len() - 1);
    }

    fn protocol(&mut self, protocol: &str) {
        let number = self.current_listener();
        match protocol {
            "mqtt" => {}
            "websockets" => {
                if let Some(listener) = self.config.listeners.get_mut(number) {
                    listener.web.get_or_insert_default();
                }
            }
            "http_api" => {
                if let Some(listener) = self.config.listeners.get_mut(number) {
                    listener.http = true;
                }
            }
            _ => self.error("protocol", "mqttsn is not supported, nor is it in Mosquitto"),
        }
    }

    fn include(&mut self, directory: &str) {
        let place = self.place.clone();
        let listed = fs::read_dir(directory).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        let entries = match listed {
            Ok(entries) => entries,
            Err(error) => {
                return self.error("include_dir", &format!("cannot read {directory}: {error}"));
            }
        };
        let mut paths: Vec<PathBuf> = entries.iter().map(fs::DirEntry::path).collect();
        paths.retain(|path| path.extension().is_some_and(|extension| extension == "conf"));
        paths.sort();
        let here = (self.listener, self.in_bridge, self.in_plugin);
        for path in paths {
            self.file(&path, false);
        }
        self.place = place;
        (self.listener, self.in_bridge, self.in_plugin) = here;
    }

    fn log_dest(&mut self, text: &str) {
        let (word, rest) = text.split_once([' ', '\t']).unwrap_or((text, ""));
        let destination = match (word, rest.trim()) {
            // As in Mosquitto: what stands above is forgotten, what follows counts.
            ("none", _) => {
                self.log_silent = true;
                return self.log_destinations.clear();
            }
            ("stdout", _) => Destination::Stdout,
            ("stderr", _) => Destination::Stderr,
            ("syslog", _) => Destination::Syslog(String::new()),
            ("file", "") => {
                return self
                    .error("log_dest", "file needs a path: `log_dest file /var/log/plimsoll.log`");
            }
            ("file", path) => Destination::File(path.into()),
            ("topic", _) => {
                return self.warn(
                    "log_dest",
                    "topic has no effect yet; it comes with the release of the ledger's window",
                );
            }
            ("dlt" | "android", _) => {
                return self.warn("log_dest", "has no effect: it is not for Linux servers");
            }
            (other, _) => {
                let text =
                    format!("`{other}` is not one of none, stdout, stderr, syslog, file, topic");
                return self.error("log_dest", &text);
            }
        };
        if !self.log_destinations.contains(&destination) {
            self.log_destinations.push(destination);
        }
    }

    fn log_type(&mut self, text: &str) {
        let word = text.split_once('#').map_or(text, |(value, _)| value).trim_end();
        let kinds = self.log_kinds.get_or_insert(0);
        match LogKind::ALL.iter().find(|(name, _)| *name == word) {
            Some((_, kind)) => *kinds |= *kind as Kinds,
            None if word == "all" => *kinds = ALL_KINDS,
            None if word == "none" => *kinds = 0,
            None if word == "websockets" || word == "internal" => {}
            None => {
                let text = format!(
                    "`{word}` is not one of error, warning, notice, information, debug, subscribe, unsubscribe, websockets, all, none"
                );
                self.error("log_type", &text);
            }
        }
    }

    fn finish(mut self, arguments: &Arguments) -> Result<Config, String> {
        self.finish_listeners(arguments);
        self.finish_plugins();
        self.check_mount_points();
        self.check_http();
        self.finish_log(arguments);
        self.finish_persistence(arguments);
        for (number, domain) in std::mem::take(&mut self.domains) {
            if let Some(listener) = self.config.listeners.get_mut(number)
                && listener.hosts == [None]
            {
                let any = if domain == "ipv4" { "0.0.0.0" } else { "::" };
                listener.hosts = vec![Some(any.to_owned())];
            }
        }
        if self.errors.is_empty() { Ok(self.config) } else { Err(self.errors.join("\n")) }
    }

    /// A mount point is the beginning of topic names.
    fn check_mount_points(&mut self) {
        for listener in &self.config.listeners {
            let mount_point = &listener.access.mount_point;
            if mount_point.contains(['+', '#']) {
                self.errors.push(format!(
                    "{}: mount_point: `{mount_point}` has a wildcard: it stands before topic names, such as `plant/7/`",
                    listener.place
                ));
            }
        }
    }

    /// What a listener that speaks HTTP cannot have.
    fn check_http(&mut self) {
        for listener in self.config.listeners.iter().filter(|listener| listener.http) {
            let place = &listener.place;
            if listener.proxy_protocol.is_some() {
                self.errors.push(format!(
                    "{place}: enable_proxy_protocol: is not for `protocol http_api`; remove one of them"
                ));
            }
            if listener.web.is_some() {
                self.errors.push(format!(
                    "{place}: protocol: a listener speaks either websockets (which `websockets_origin` says too) or http_api; give each a port of its own"
                ));
            }
        }
    }

    fn finish_listeners(&mut self, arguments: &Arguments) {
        let local_only = self.config.listeners.is_empty();
        let loopback = || vec![Some("127.0.0.1".to_owned()), Some("::1".to_owned())];
        if local_only {
            let ports =
                if arguments.ports.is_empty() { vec![PORT] } else { arguments.ports.clone() };
            for port in ports {
                self.config.listeners.push(Listener::at(format!("port {port}"), port, loopback()));
            }
        } else if !arguments.ports.is_empty() {
            let text = "-p has no effect: the configuration file defines listeners";
            self.config.warnings.push(text.into());
        }
        // Without any listener defined only this machine can connect, so it is let in.
        for (number, listener) in self.config.listeners.iter_mut().enumerate() {
            if local_only && !self.own.contains(&("allow_anonymous", number)) {
                listener.allow_anonymous = true;
            }
        }
        for (directive, value) in std::mem::take(&mut self.security) {
            let Apply::Listener(apply) = directive.apply else { continue };
            for (number, listener) in self.config.listeners.iter_mut().enumerate() {
                if !self.own.contains(&(directive.name, number)) {
                    apply(listener, &value);
                }
            }
        }
    }

    /// Without a configuration file everything is kept; with one, what it says, as Mosquitto does.
    fn finish_persistence(&mut self, arguments: &Arguments) {
        let unconfigured = self.config.source.is_none() && !arguments.as_mosquitto;
        let persistence = &mut self.config.persistence;
        persistence.enabled.get_or_insert(unconfigured);
        if let Some(location) = std::env::var_os("MOSQUITTO_PERSISTENCE_LOCATION") {
            persistence.location = location.into();
        }
    }

    fn finish_log(&mut self, arguments: &Arguments) {
        let log = &mut self.config.log;
        if let Some(kinds) = self.log_kinds {
            log.kinds = kinds;
        }
        if arguments.verbose {
            log.kinds = ALL_KINDS;
        } else if self.log_kinds.is_none() {
            log.kinds = DEFAULT_KINDS;
        }
        for destination in &mut self.log_destinations {
            if let Destination::Syslog(facility) = destination {
                facility.clone_from(&self.log_facility);
            }
        }
        if self.log_silent || !self.log_destinations.is_empty() {
            log.destinations = std::mem::take(&mut self.log_destinations);
        }
        if arguments.quiet {
            log.destinations.clear();
        }
        log.timestamp = match (self.log_stamped, self.log_format.take()) {
            (false, _) => Timestamp::None,
            (true, None) => Timestamp::Seconds,
            (true, Some(format)) => Timestamp::Format(format),
        };
    }
}
