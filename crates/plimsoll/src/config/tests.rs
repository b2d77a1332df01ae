//! Parsing by example.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use super::persistence::Durability;
use super::{Arguments, Config, load, reference};

/// A file of its own with this text.
fn file(text: &str) -> PathBuf {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let path = std::env::temp_dir().join(format!("plimsoll-{}-{number}.conf", std::process::id()));
    fs::write(&path, text).expect("the temporary directory can be written");
    path
}

fn read(text: &str) -> Result<Config, String> {
    let path = file(text);
    let result = load(&Arguments { file: Some(path.clone()), ..Arguments::default() });
    fs::remove_file(&path).expect("it was just written");
    result.map_err(|errors| errors.replace(&path.display().to_string(), "FILE"))
}

fn accepted(text: &str) -> Config {
    read(text).unwrap_or_else(|errors| panic!("{text:?}: {errors}"))
}

fn refused(text: &str, expected: &str) {
    match read(text) {
        Ok(_) => panic!("{text:?} was accepted"),
        Err(errors) => assert!(errors.contains(expected), "{text:?}: {errors}"),
    }
}

#[test]
fn values_are_read_as_mosquitto_reads_them() {
    assert!(accepted("queue_qos0_messages 1\n").queue_qos0_messages);
    assert!(accepted("queue_qos0_messages true # yes\n").queue_qos0_messages);
    assert_eq!(accepted("max_queued_messages 5\r\n").max_queued_messages, 5);
    assert_eq!(accepted("  max_queued_messages 5  \n").max_queued_messages, 5);
    assert_eq!(
        accepted("persistent_client_expiration 2d\n").persistent_client_expiration,
        Some(172_800)
    );
    assert_eq!(
        accepted("persistent_client_expiration 1m\n").persistent_client_expiration,
        Some(2_592_000)
    );
    for text in ["queue_qos0_messages True", "queue_qos0_messages yes", "queue_qos0_messages"] {
        refused(text, "FILE:1: queue_qos0_messages:");
    }
    refused("persistent_client_expiration 14\n", "such as 12h");
    refused("max_inflight_messages 65536\n", "out of range");
    refused(
        "\n\nmax_inflight_message 1\n",
        "FILE:3: max_inflight_message: unknown directive; did you mean `max_inflight_messages`?",
    );
    refused("listener = 21883\n", "not a port");
}

#[test]
fn tabs_and_indented_comments_are_fine() {
    let config = accepted("\u{FEFF}\tmax_queued_messages\t7\n   # a comment\n");
    assert_eq!(config.max_queued_messages, 7);
}

#[test]
fn all_mistakes_are_reported() {
    let errors = read("nonsense\nmax_qos 3\n").expect_err("two mistakes");
    assert_eq!(errors.lines().count(), 2, "{errors}");
}

#[test]
fn a_comment_behind_text_is_part_of_it_and_warned_about() {
    let config = accepted("persistence_location /var/lib # where\n");
    assert_eq!(config.persistence.location, PathBuf::from("/var/lib # where"));
    assert_eq!(config.warnings.len(), 1);
}

#[test]
fn without_a_listener_only_this_machine_is_let_in() {
    let config = load(&Arguments::default()).expect("defaults");
    let [listener] = config.listeners.as_slice() else { panic!("one listener") };
    assert_eq!(listener.port, 1883);
    assert_eq!(listener.hosts, [Some("127.0.0.1".into()), Some("::1".into())]);
    assert!(listener.allow_anonymous);
    let config =
        load(&Arguments { ports: vec![4000, 4001], ..Arguments::default() }).expect("ports");
    assert_eq!(config.listeners.iter().map(|l| l.port).collect::<Vec<_>>(), [4000, 4001]);
    assert!(config.listeners.iter().all(|l| l.allow_anonymous));
}

#[test]
fn with_a_listener_anonymous_clients_must_be_allowed() {
    let config = accepted("listener 2000\nlistener 2001 127.0.0.1 # local\nmax_qos 1\n");
    assert!(config.listeners.iter().all(|listener| !listener.allow_anonymous));
    assert_eq!(config.listeners[1].hosts, [Some("127.0.0.1".into())]);
    assert_eq!(config.listeners[1].max_qos as u8, 1);
    let config = accepted("listener 2000\nallow_anonymous true\nlistener 2001\n");
    assert!(config.listeners.iter().all(|listener| listener.allow_anonymous));
}

#[test]
fn ports_of_the_command_line_count_only_without_listeners() {
    let path = file("listener 2000\n");
    let arguments =
        Arguments { file: Some(path.clone()), ports: vec![4000], ..Arguments::default() };
    let config = load(&arguments).expect("a listener and a port");
    fs::remove_file(path).expect("it was just written");
    assert_eq!(config.listeners.iter().map(|l| l.port).collect::<Vec<_>>(), [2000]);
    assert_eq!(config.warnings.len(), 1, "{:?}", config.warnings);
}

#[test]
fn limits_of_nothing_are_none() {
    for text in ["max_connections 0", "max_connections -1", "max_connections -7"] {
        assert_eq!(
            accepted(&format!("listener 2000\n{text}\n")).listeners[0].max_connections,
            None
        );
    }
    assert_eq!(accepted("global_max_connections 0\n").global_max_connections, None);
    assert_eq!(accepted("max_queued_messages -1\n").max_queued_messages, 0);
    assert_eq!(accepted("max_queued_bytes -1\n").max_queued_bytes, 0);
    assert_eq!(accepted("max_packet_size 268435456\n").max_packet_size, 0);
    assert_eq!(accepted("max_packet_size 20\n").max_packet_size, 20);
    refused("max_packet_size 19\n", "out of range");
}

#[test]
fn retained_messages_have_no_age_limit() {
    // In Mosquitto it is how often to look for those that have expired by themselves.
    let config = accepted("retain_expiry_interval 60\n");
    assert_eq!(config.settings().retain_expiry_interval, 0);
    assert_eq!(config.warnings.len(), 1);
    refused("retain_expiry_interval 0\n", "out of range");
}

#[test]
fn rules_for_retained_messages_say_what_is_wrong_with_them() {
    let config = accepted("retain_expiry a/# 7d\nretain_limit # count=5\nretain_expiry # 30d\n");
    let rules = config.settings().retain_rules;
    assert_eq!((rules.expiries.len(), rules.limits.len()), (2, 1));
    refused("\nretain_expiry a/#/b 7d\n", "FILE:2: retain_expiry: `a/#/b` is not a topic filter");
    refused("retain_limit a/#\n", "FILE:1: retain_limit: write `retain_limit FILTER count=N");
}

#[test]
fn what_belongs_to_something_stands_below_it() {
    refused("listener_allow_anonymous true\n", "FILE:1: listener_allow_anonymous: belongs to a");
    refused("per_listener_settings true\nallow_anonymous true\nlistener 2000\n", "FILE:2:");
    refused("per_listener_settings true\npassword_file p\nlistener 2000\n", "FILE:2:");
    refused("address 127.0.0.1\n", "FILE:1: address: belongs to a bridge");
    refused("plugin_opt_file x\n", "FILE:1: plugin_opt_file: belongs to a plugin");
    accepted("connection a\nlistener 2000\naddress 127.0.0.1\n");
}

#[test]
fn a_stamp_that_cannot_be_written_is_a_mistake() {
    accepted("log_timestamp_format %a %b %e %H:%M:%S %Y %Z %z %s %c %F %T\n");
    refused("log_timestamp_format %H:%\n", "FILE:1: log_timestamp_format:");
}

#[test]
fn a_listeners_own_setting_wins() {
    let config = accepted(
        "auto_id_prefix all-\nlistener 2000\nlistener_auto_id_prefix one-\nlistener 2001\n",
    );
    let prefixes: Vec<&str> = config.listeners.iter().map(|l| l.auto_id_prefix.as_str()).collect();
    assert_eq!(prefixes, ["one-", "all-"]);
}

#[test]
fn log_destinations_add_up_and_none_begins_anew() {
    use crate::log::Destination::{File, Stderr, Stdout};
    let destinations = |text: &str| accepted(text).log.destinations;
    assert_eq!(destinations(""), [Stderr]);
    assert_eq!(destinations("log_dest stdout\nlog_dest file a b\n"), [Stdout, File("a b".into())]);
    assert_eq!(destinations("log_dest stdout\nlog_dest none\n"), []);
    assert_eq!(destinations("log_dest none\nlog_dest stdout # again\n"), [Stdout]);
    let config = accepted("log_type none # but\nlog_type error # this\n");
    assert_eq!((config.log.kinds, config.warnings.len()), (crate::log::Kind::Error as u16, 0));
}

#[test]
fn per_listener_settings_give_each_listener_its_own() {
    let config = accepted(
        "per_listener_settings true\nlistener 2000\nallow_anonymous true\nlistener 2001\n",
    );
    assert_eq!(
        config.listeners.iter().map(|l| l.allow_anonymous).collect::<Vec<_>>(),
        [true, false]
    );
    refused("allow_anonymous true\nper_listener_settings true\n", "must stand before");
    refused("password_file p\nper_listener_settings true\n", "must stand before");
    let config = accepted(
        "per_listener_settings true\nper_listener_settings false\nlistener 2000\nallow_anonymous true\nlistener 2001\n",
    );
    assert!(!config.listeners[1].allow_anonymous, "once true it stays so");
}

#[test]
fn a_listener_option_without_listener_makes_the_default_one() {
    let config = accepted("max_connections 5\n");
    let [listener] = config.listeners.as_slice() else { panic!("one listener") };
    assert_eq!((listener.port, listener.max_connections), (1883, Some(5)));
    assert!(!listener.allow_anonymous);
    let config = accepted("port 2000\nbind_address 127.0.0.1\n");
    assert_eq!(config.listeners[0].port, 2000);
    assert_eq!(config.listeners[0].hosts, [Some("127.0.0.1".into())]);
}

#[test]
fn what_would_leave_the_broker_open_is_an_error() {
    for text in ["psk_file x", "plugin x.so"] {
        refused(&format!("listener 2000\n{text}\n"), "FILE:2:");
    }
}

#[test]
fn state_is_kept_where_nothing_is_said_and_as_mosquitto_does_where_something_is() {
    let unconfigured = load(&Arguments::default()).expect("nothing to get wrong");
    assert!(unconfigured.persistence.is_on());
    assert_eq!(unconfigured.persistence.durability, Durability::Fsync);
    let as_mosquitto = Arguments { as_mosquitto: true, ..Arguments::default() };
    assert!(!load(&as_mosquitto).expect("nothing to get wrong").persistence.is_on());
    assert!(!accepted("listener 2000\n").persistence.is_on());
    let os = accepted("persistence true\ndurability os # not the disk\n");
    assert!(os.persistence.is_on() && os.persistence.durability == Durability::Os);
    refused("durability often\n", "fsync, os, snapshot");
}

#[test]
fn generators_files_are_understood() {
    let debian = accepted(
        "pid_file /run/mosquitto/mosquitto.pid\npersistence true\npersistence_location /var/lib/mosquitto/\nlog_dest file /var/log/mosquitto/mosquitto.log\n",
    );
    assert_eq!(debian.warnings, [""; 0]);
    assert!(debian.persistence.is_on());
    assert_eq!(debian.persistence.location, PathBuf::from("/var/lib/mosquitto/"));
    accepted(
        "listener 1883\nallow_anonymous true\npersistence true\npersistence_location /mosquitto/data/\nlog_dest stdout\nlog_timestamp_format %Y-%m-%dT%H:%M:%S\n",
    );
    let thin_edge = accepted(
        "per_listener_settings true\nconnection edge\naddress 127.0.0.1:8883\ntopic td/# out 1 aws/ thinedge/ID/\ntopic \"\" out 1 a b\nbridge_cafile /etc/ca\ncleansession false\nnotifications true\nlistener 1883\nallow_anonymous true\n",
    );
    assert_eq!(thin_edge.warnings.len(), 1, "{:?}", thin_edge.warnings);
    assert_eq!(thin_edge.listeners.len(), 1);
}

#[test]
fn included_files_are_read_in_order() {
    let name = format!("plimsoll-included-{}", std::process::id());
    let directory = std::env::temp_dir().join(name);
    fs::create_dir(&directory).expect("a new directory");
    fs::write(directory.join("b.conf"), "max_queued_messages 2\n").expect("written");
    fs::write(directory.join("a.conf"), "max_queued_messages 1\nlistener 2000\n").expect("written");
    fs::write(directory.join("c.conf.off"), "nonsense\n").expect("written");
    let config = accepted(&format!("include_dir {}\n", directory.display()));
    assert_eq!((config.max_queued_messages, config.listeners.len()), (2, 1));
    fs::write(directory.join("d.conf"), "include_dir /tmp\n").expect("written");
    assert!(read(&format!("include_dir {}\n", directory.display())).is_err());
    fs::remove_dir_all(&directory).expect("it was just made");
}

#[test]
fn any_bytes_are_an_answer_not_a_panic() {
    let mut state = 1u32;
    for _ in 0..500 {
        let bytes: Vec<u8> = (0..200)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 24) as u8
            })
            .collect();
        let _ = read(&String::from_utf8_lossy(&bytes));
    }
}

#[test]
fn the_reference_is_up_to_date() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/configuration.md");
    let text = reference();
    if std::env::var_os("UPDATE").is_some() {
        fs::write(path, &text).expect("docs/ can be written");
    }
    let stored = fs::read_to_string(path).unwrap_or_default();
    assert!(stored == text, "docs/configuration.md is stale: run `UPDATE=1 cargo test`");
}

#[test]
fn plugins_are_known_by_their_file_and_own_the_options_behind_them() {
    use crate::access::plugins::Builtin;
    let config = accepted(
        "plugin /usr/lib/x86_64-linux-gnu/mosquitto_dynamic_security.so\n\
         plugin_opt_config_file /var/lib/ds.json\n\
         listener 1883\nauth_plugin /go-auth.so\nauth_opt_backends files, http\n\
         auth_plugin_deny_special_chars false\n",
    );
    let [dynsec, go_auth] = &config.plugins[..] else { panic!("{:?}", config.plugins) };
    assert_eq!(dynsec.builtin, Builtin::DynamicSecurity);
    assert_eq!(dynsec.options.text("config_file"), Some("/var/lib/ds.json"));
    assert!(dynsec.deny_special_chars && dynsec.is_for(0));
    assert_eq!(go_auth.options.list("backends"), Some(vec!["files", "http"]));
    assert!(!go_auth.deny_special_chars);
    refused("plugin /opt/my_plugin.so\n", "FILE:1: plugin: /opt/my_plugin.so cannot be loaded");
    refused("plugin a/go-auth.so\nplugin b/go-auth.so\n", "FILE:2: plugin: is there already");
    refused("auth_plugin_deny_special_chars true\n", "none stands above it");
    let sqlite = accepted("persistence false\nplugin mosquitto_persist_sqlite.so\n");
    assert!(sqlite.persistence.is_on() && sqlite.warnings.len() == 1);
}

#[test]
fn a_plugin_is_for_its_listener_if_settings_are() {
    let config = accepted(
        "per_listener_settings true\nplugin_load ds /x/mosquitto_dynamic_security.so\n\
         plugin_opt_config_file /ds.json\nlistener 1\nlistener 2\nplugin_use ds\n\
         listener 3\nauth_plugin go-auth.so\nauth_opt_backends files\n",
    );
    let of = |plugin: usize| -> Vec<usize> {
        (0..3).filter(|&listener| config.plugins[plugin].is_for(listener)).collect()
    };
    assert_eq!((of(0), of(1)), (vec![1], vec![2]));
    refused("plugin_use nothing\n", "no `plugin_load nothing");
}

#[test]
fn mosquittos_own_plugins_are_the_files_that_they_read() {
    let config = accepted(
        "listener 1\nplugin mosquitto_password_file.so\nplugin_opt_password_file /pw\n\
         plugin mosquitto_acl_file.so\nplugin_opt_acl_file /acl\n",
    );
    let access = &config.listeners[0].access;
    assert_eq!(access.password_file, Some("/pw".into()));
    assert_eq!(access.acl_file, Some("/acl".into()));
    refused("listener 1\nplugin mosquitto_acl_file.so\n", "FILE:2: plugin_opt_acl_file: is needed");
}
