use std::sync::RwLock;

use plimsoll_engine::{Action, Who};
use plimsoll_mqtt::QoS;
use serde_json::{Value, json};

use super::commands::{Outcome, Request, Requester};
use super::file::{initial, parse, print, save};
use super::model::Model;
use super::*;

const ADMIN: Requester<'static> = Requester { client_identifier: "ctrl", username: Some("admin") };

fn run(model: &RwLock<Model>, command: &Value) -> (Value, Outcome) {
    let payload = json!({ "commands": [command] }).to_string();
    let outcome = Request::read(payload.as_bytes()).answer(model, 1000, ADMIN);
    let response: Value = serde_json::from_str(&outcome.response).unwrap();
    (response["responses"][0].clone(), outcome)
}

fn done(model: &RwLock<Model>, command: &Value) -> Outcome {
    let (response, outcome) = run(model, command);
    assert_eq!(response.get("error"), None, "{response}");
    outcome
}

fn user(name: &str) -> Who<'_> {
    Who { client_identifier: "c", username: Some(name), listener: 0 }
}

const PUBLISH: Action = Action::Publish { qos: QoS::AtMostOnce, retain: false };

fn fleet() -> RwLock<Model> {
    let model = RwLock::new(initial("admin", "secret").unwrap());
    done(
        &model,
        &json!({"command": "createRole", "rolename": "sensor", "acls": [
            {"acltype": "publishClientSend", "topic": "plant/#", "priority": 0, "allow": true},
            {"acltype": "publishClientSend", "topic": "plant/secret", "priority": 5, "allow": false},
            {"acltype": "subscribeLiteral", "topic": "#", "priority": 9, "allow": false},
            {"acltype": "subscribePattern", "topic": "plant/+/set", "priority": 0, "allow": true},
        ]}),
    );
    done(
        &model,
        &json!({"command": "createGroup", "groupname": "sensors",
        "roles": [{"rolename": "sensor"}]}),
    );
    done(
        &model,
        &json!({"command": "createClient", "username": "s1", "password": "p1",
        "groups": [{"groupname": "sensors", "priority": 3}]}),
    );
    model
}

#[test]
fn rules_are_asked_by_priority_and_the_default_is_last() {
    let model = fleet();
    let rules = model.read().unwrap();
    let s1 = user("s1");
    let allows = |who: &Who<'_>, action, topic| rules.verdict(who, action, topic) == Some(true);
    assert!(allows(&s1, PUBLISH, "plant/7"));
    assert!(!allows(&s1, PUBLISH, "plant/secret"));
    assert!(!allows(&s1, PUBLISH, "office"));
    assert!(allows(&s1, Action::Receive, "office"));
    assert!(!allows(&s1, Action::Receive, "$CONTROL/dynamic-security/v1/response"));
    assert!(!allows(&s1, Action::Subscribe, "#"));
    assert!(allows(&s1, Action::Subscribe, "plant/7/set"));
    assert!(allows(&s1, Action::Subscribe, "plant/+/set"));
    assert!(!allows(&s1, Action::Subscribe, "plant/#"));
    assert!(!allows(&user("nobody"), Action::Receive, "plant/7"));
    assert!(allows(&user("admin"), PUBLISH, TOPIC));
}

#[test]
fn passwords_identifiers_and_disabling() {
    let model = fleet();
    let verify = |password: &[u8]| match model.read().unwrap().identify("s1", "x") {
        Identified::Known(known) => known.verify(password),
        other => panic!("{other:?}"),
    };
    assert!(verify(b"p1"));
    assert!(!verify(b"p2"));
    done(&model, &json!({"command": "setClientId", "username": "s1", "clientid": "only"}));
    assert!(matches!(model.read().unwrap().identify("s1", "x"), Identified::Refused));
    assert!(matches!(model.read().unwrap().identify("s1", "only"), Identified::Known(_)));
    let outcome = done(&model, &json!({"command": "disableClient", "username": "s1"}));
    assert_eq!(outcome.kicks, [Kick::User("s1".into())]);
    assert!(matches!(model.read().unwrap().identify("s1", "only"), Identified::Refused));
    done(&model, &json!({"command": "enableClient", "username": "s1"}));
    assert!(matches!(model.read().unwrap().identify("nobody", "x"), Identified::Unknown));
}

#[test]
fn a_change_names_everybody_that_it_affects() {
    let model = fleet();
    let acl = json!({"command": "addRoleACL", "rolename": "sensor",
        "acltype": "publishClientReceive", "topic": "x", "allow": true});
    assert_eq!(done(&model, &acl).kicks, [Kick::User("s1".into())]);
    let group = json!({"command": "setAnonymousGroup", "groupname": "sensors"});
    assert_eq!(done(&model, &group).kicks, [Kick::Anonymous]);
    let (answer, outcome) = run(&model, &json!({"command": "deleteGroup", "groupname": "sensors"}));
    assert_eq!(answer["error"], "Deleting the anonymous group is forbidden");
    assert!(!outcome.changed && outcome.kicks.is_empty());
    let role = done(&model, &json!({"command": "deleteRole", "rolename": "sensor"}));
    assert_eq!(role.kicks, [Kick::User("s1".into()), Kick::Anonymous]);
    assert!(model.read().unwrap().verdict(&user("s1"), PUBLISH, "plant/7").is_none());
}

#[test]
fn a_model_survives_the_file() {
    let model = fleet();
    done(&model, &json!({"command": "setAnonymousGroup", "groupname": "sensors"}));
    done(&model, &json!({"command": "disableClient", "username": "s1"}));
    let model = model.into_inner().unwrap();
    assert_eq!(parse(&print(&model).unwrap()).unwrap(), model);
}

#[test]
fn a_damaged_file_is_named_by_line() {
    assert!(parse(b"{\n\"clients\": [}").unwrap_err().starts_with(":2:"));
    let salt = br#"{"clients":[{"username":"a","password":"AA==","salt":"","iterations":1}]}"#;
    assert!(parse(salt).unwrap_err().contains("client `a`"));
}

#[test]
fn the_file_is_replaced_whole_and_private() {
    use std::os::unix::fs::PermissionsExt;
    let directory = std::env::temp_dir().join(format!("plimsoll-dynsec-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let path = directory.join("ds.json");
    std::os::unix::fs::symlink("/nonexistent/target", directory.join("ds.json.new")).unwrap();
    save(&path, b"{}").unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"{}");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 1);
    std::fs::remove_dir_all(&directory).unwrap();
}

#[test]
fn entries_are_bounded_and_deleting_makes_room() {
    let model = RwLock::new(Model::default());
    let payload = |n: u32| {
        json!({"commands": [{"command": "createRole", "rolename": format!("r{n}")}]}).to_string()
    };
    let errors: Vec<bool> = (0..12)
        .map(|n| {
            Request::read(payload(n).as_bytes())
                .answer(&model, 10, ADMIN)
                .response
                .contains("error")
        })
        .collect();
    assert_eq!(errors.iter().filter(|error| **error).count(), 2);
    let full = model.read().unwrap().heap_bytes();
    for n in 0..10 {
        done(&model, &json!({"command": "deleteRole", "rolename": format!("r{n}")}));
    }
    assert!(full > 0);
    assert_eq!(model.read().unwrap().heap_bytes(), 0);
}

#[test]
fn odd_requests_are_answered_in_mosquittos_words() {
    let model = RwLock::new(Model::default());
    let ask = |payload: &[u8]| {
        let outcome = Request::read(payload).answer(&model, 10, ADMIN);
        assert!(!outcome.changed);
        serde_json::from_str::<Value>(&outcome.response).unwrap()["responses"].clone()
    };
    let unknown = |error| json!([{"command": "Unknown command", "error": error}]);
    assert_eq!(ask(b"{"), unknown("Payload not valid JSON"));
    assert_eq!(ask(b"[]"), unknown("Invalid/missing commands"));
    assert_eq!(ask(br#"{"commands":[7]}"#), unknown("Command not an object"));
    assert_eq!(ask(br#"{"commands":[{"command":7}]}"#), unknown("Missing command"));
    let nested = [b"[".repeat(100_000), b"]".repeat(100_000)].concat();
    assert_eq!(ask(&nested), unknown("Payload not valid JSON"));
}

proptest::proptest! {
    #[test]
    fn any_payload_is_answered_and_any_file_is_read_or_refused(
        bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200),
        fields in proptest::collection::btree_map("[a-z]{1,10}", ".{0,20}", 0..6),
        name in "(create|modify|delete|get|list|addRole|remove)(Client|Group|Role|ACL|s)",
    ) {
        let model = RwLock::new(Model::default());
        let mut command = json!(fields);
        command["command"] = name.into();
        let one = json!({ "commands": [command] }).to_string();
        for payload in [&bytes[..], one.as_bytes()] {
            let outcome = Request::read(payload).answer(&model, 10, ADMIN);
            let answered = outcome.response.starts_with("{\"responses\":[");
            proptest::prop_assert!(answered);
        }
        let model = model.into_inner().unwrap();
        proptest::prop_assert_eq!(parse(&print(&model).unwrap()).unwrap(), model);
        let _ = parse(&bytes);
    }
}
