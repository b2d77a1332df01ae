//! Where traces of publishes go.

use super::{Directive, Scope, Status, Text, known};

/// The directives of this subject.
pub(super) static DIRECTIVES: &[Directive] = &[
    known(
        "otlp_endpoint",
        Scope::Global,
        Text,
        "(Plimsoll) URL of an OpenTelemetry collector, such as `http://127.0.0.1:4318/v1/traces`: traces that somebody asks for (`plimsoll ctl trace`) are sent there too, as OTLP over HTTP (JSON). Nothing is traced unless somebody asks.",
        Status::Structure,
    ),
    known(
        "otlp_header",
        Scope::Global,
        Text,
        "(Plimsoll) NAME: VALUE: a header that is sent with them, such as a token. May be given several times.",
        Status::Structure,
    ),
];
