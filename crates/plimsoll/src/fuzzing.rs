//! What reads bytes from outside, as the fuzz targets see it: one function for each subject. What
//! must hold of an answer is asserted here, so a function panics when it does not.
#![expect(clippy::missing_panics_doc, reason = "that is what the functions are for")]

use std::sync::Arc;

use plimsoll_engine::{Action, Who};
use plimsoll_mqtt::QoS;

use crate::access::{acl_file, password_file};
use crate::broker::transport::proxy::Proxy;
use crate::broker::transport::websocket::WebSocket;
use crate::config;

/// A request that a WebSocket begins with.
const UPGRADE: &[u8] = b"GET /mqtt HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: mqtt\r\nSec-WebSocket-Version: 13\r\n\r\n";

/// Most bytes that a WebSocket may hold between two reads: a request that is not whole.
const HELD_MAX: usize = 16 * 1024;

/// Reads a text as a configuration file.
pub fn config(text: &str) {
    // Every mistake is answered; what is accepted has to make settings.
    if let Ok(config) = config::load_text(text) {
        let settings = config.settings();
        assert_eq!(settings.listeners.len(), config.listeners.len());
    }
}

/// Reads a text as an ACL file, and asks its rules.
pub fn acl_file(text: &str, username: Option<&str>, client_identifier: &str, topic: &str) {
    let lines = text.lines().count();
    let rules = match acl_file::parse(text) {
        Err((line, _)) => return assert!((1..=lines).contains(&line), "no such line"),
        Ok(rules) => rules,
    };
    assert!(rules.warnings.iter().all(|(line, _)| (1..=lines).contains(line)), "no such line");
    let who = Who { client_identifier, username, listener: 0 };
    let asked = |action| rules.allows(&who, action, topic);
    asked(Action::Publish { qos: QoS::AtMostOnce, retain: false });
    assert!(asked(Action::Unsubscribe));
    // Who may receive a topic may subscribe to it.
    if asked(Action::Receive) && !topic.contains(['+', '#']) {
        assert!(asked(Action::Subscribe));
    }
}

/// Reads a text as a password file; every hash in it is written as it is read, and can be checked.
pub fn password_file(text: &str, password: &[u8]) {
    let lines = text.lines().count();
    match password_file::parse(text) {
        Err((line, _)) => assert!((1..=lines).contains(&line), "no such line"),
        Ok(users) => {
            for (name, hash) in users {
                // A line that begins with it would be a comment.
                let name = name.trim_start_matches('#').trim();
                let again = password_file::parse(&format!("x{name}:{hash}")).unwrap_or_default();
                assert_eq!(again.get(&*format!("x{name}")), Some(&hash));
                if hash.is_cheap() {
                    hash.verify(password);
                }
            }
        }
    }
}

/// Reads bytes as the header of the PROXY protocol: however they come, the answer is the same.
pub fn proxy_header(bytes: &[u8]) {
    let v2 = |require_tls| Proxy::V2 { require_tls };
    for version in [Proxy::V1, v2(false), v2(true)] {
        let whole = version.read(bytes);
        let needed = match whole {
            Ok(Some(header)) => header.length,
            Ok(None) => bytes.len() + 1,
            Err(_) => continue,
        };
        for end in (0..needed.min(bytes.len() + 1)).take(128) {
            assert_eq!(version.read(bytes.get(..end).unwrap_or_default()), Ok(None), "{end} bytes");
        }
        let front = bytes.get(..needed).unwrap_or(bytes);
        assert_eq!(version.read(front), whole);
    }
}

/// Takes bytes as those of a WebSocket's client, whole and in pieces: what comes out is the same.
pub fn websocket(upgraded: bool, cut: usize, bytes: &[u8]) {
    let upgrade = if upgraded { UPGRADE } else { b"" };
    let stream = [upgrade, bytes].concat();
    let (whole, answers) = web_client(&stream, stream.len());
    let (pieces, same_answers) = web_client(&stream, cut);
    assert_eq!(answers, same_answers);
    match (whole, pieces) {
        (Ok(whole), Ok(pieces)) => assert_eq!(whole, pieces),
        // What stands before a violation is given only if it came before it.
        (whole, pieces) => assert_eq!(whole.err(), pieces.err()),
    }
}

type FromWebSocket = (Result<Vec<u8>, &'static str>, Vec<u8>);

fn web_client(stream: &[u8], cut: usize) -> FromWebSocket {
    let mut socket = WebSocket::new(Arc::new([]));
    let (mut got, mut answers) = (Vec::new(), Vec::new());
    for piece in stream.chunks(cut.max(1)) {
        let mut piece = piece.to_vec();
        match socket.decode(&mut piece, &mut answers) {
            Ok(decoded) => {
                got.extend_from_slice(piece.get(..decoded.count).unwrap_or_default());
                if decoded.ended {
                    break;
                }
            }
            Err(error) => return (Err(error.0), answers),
        }
        assert!(socket.heap_bytes() <= HELD_MAX);
    }
    (Ok(got), answers)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    const ACL: &str = "[a-z]{0,3}|topic|user|pattern|read|write|deny|%u|%c|[#+/$]";
    const CONFIG: &str =
        "listener|port|[0-9]{1,5}|protocol|websockets|mqtt|certfile|true|[a-z_]{1,9}";

    fn lines(word: &str) -> impl Strategy<Value = String> + use<> {
        let words = format!("(({word}|[ \n]){{0,3}}){{0,60}}");
        proptest::string::string_regex(&words).expect("a regular expression")
    }

    proptest! {
        #[test]
        fn acl_files(text in lines(ACL), client in "[a-c+]{0,2}", topic in "[a-c/$+#]{0,6}") {
            super::acl_file(&text, None, &client, &topic);
            super::acl_file(&text, Some("abc"), &client, &topic);
        }

        #[test]
        fn configurations(text in lines(CONFIG)) {
            super::config(&text);
        }

        #[test]
        fn password_files(text in r"([a-c]:(\$6\$|\$7\$|\$argon2id\$)?[A-Za-z0-9+/=$,]{0,40}\n?){0,4}") {
            super::password_file(&text, b"x");
        }

        #[test]
        fn proxy_headers(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            super::proxy_header(&bytes);
            super::proxy_header(&[b"PROXY TCP4 ", bytes.as_slice(), b"\r\n"].concat());
            super::proxy_header(&[b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00", bytes.as_slice()].concat());
        }

        #[test]
        fn websockets(cut in 1usize..40, bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            super::websocket(true, cut, &bytes);
            super::websocket(false, cut, &bytes);
        }
    }
}
