//! Lines as JSON: an object for each, on one line.

use std::net::SocketAddr;

use serde::{Serialize, Serializer};

use super::Kind;

/// What a buffer may keep for the next line, bytes: names of clients are long only where somebody plays with them.
const KEEP_BYTES: usize = 16 * 1024;

/// Whom or what a line is about, beside its text.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct About<'a> {
    /// The client's identifier.
    pub(crate) client: Option<&'a str>,
    /// Where it comes from.
    pub(crate) peer: Option<SocketAddr>,
    /// The listener that it came to, as the log calls it: `port 1883`.
    pub(crate) listener: Option<&'a str>,
}

/// The same for as long as the line waits.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Subject {
    client: Option<Box<str>>,
    peer: Option<SocketAddr>,
    listener: Option<Box<str>>,
}

impl From<About<'_>> for Subject {
    fn from(about: About<'_>) -> Self {
        Self {
            client: about.client.map(Box::from),
            peer: about.peer,
            listener: about.listener.map(Box::from),
        }
    }
}

/// A line, in the order of its fields.
#[derive(Serialize)]
struct Line<'a> {
    #[serde(serialize_with = "rfc_3339")]
    time: u64,
    level: &'static str,
    #[serde(rename = "type")]
    kind: &'static str,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    client: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    peer: Option<SocketAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    listener: Option<&'a str>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn rfc_3339<S: Serializer>(millis: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    let time = jiff::Timestamp::from_millisecond(i64::try_from(*millis).unwrap_or(0));
    serializer.collect_str(&format_args!("{:.3}", time.unwrap_or_default()))
}

/// How grave a kind is; to follow subscriptions is mere information.
fn level(kind: Kind) -> &'static str {
    match kind {
        Kind::Subscribe | Kind::Unsubscribe => Kind::Information.name(),
        kind => kind.name(),
    }
}

/// Writes a line with its end into an empty buffer. `millis` are since 1970.
pub(super) fn write(
    buffer: &mut Vec<u8>,
    millis: u64,
    kind: Kind,
    text: &str,
    subject: Option<&Subject>,
) {
    buffer.clear();
    buffer.shrink_to(KEEP_BYTES);
    let line = Line {
        time: millis,
        level: level(kind),
        kind: kind.name(),
        message: text,
        client: subject.and_then(|subject| subject.client.as_deref()),
        // An IPv4 address as such, also if it came to an IPv6 socket.
        peer: subject
            .and_then(|subject| subject.peer)
            .map(|peer| SocketAddr::new(peer.ip().to_canonical(), peer.port())),
        listener: subject.and_then(|subject| subject.listener.as_deref()),
    };
    // Neither memory nor these types refuse.
    let _ = serde_json::to_writer(&mut *buffer, &line);
    buffer.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(millis: u64, kind: Kind, text: &str, about: About<'_>) -> String {
        let mut buffer = b"of before".to_vec();
        write(&mut buffer, millis, kind, text, Some(&about.into()));
        String::from_utf8(buffer).unwrap()
    }

    #[test]
    fn an_object_on_one_line() {
        let about = About {
            client: Some("a\"\n\u{7}ü"),
            peer: Some("[::ffff:10.0.0.7]:50001".parse().unwrap()),
            listener: Some("port 1883"),
        };
        assert_eq!(
            line(1_764_170_000_120, Kind::Subscribe, "x\ty", about),
            concat!(
                r#"{"time":"2025-11-26T15:13:20.120Z","level":"information","type":"subscribe","message":"x\ty","#,
                r#""client":"a\"\n\u0007ü","peer":"10.0.0.7:50001","listener":"port 1883"}"#,
                "\n"
            )
        );
    }

    #[test]
    fn what_is_not_known_is_not_there() {
        assert_eq!(
            line(0, Kind::Error, "", About::default()),
            "{\"time\":\"1970-01-01T00:00:00.000Z\",\"level\":\"error\",\"type\":\"error\",\"message\":\"\"}\n"
        );
    }

    #[test]
    fn the_buffer_does_not_keep_what_one_long_line_needed() {
        let mut buffer = Vec::new();
        write(&mut buffer, 0, Kind::Notice, &"\u{1}".repeat(65_535), None);
        assert!(buffer.capacity() > KEEP_BYTES);
        write(&mut buffer, 0, Kind::Notice, "short", None);
        assert!(buffer.capacity() <= KEEP_BYTES);
    }
}
