//! How much memory there may be, and where alarms of leaks go.

use super::{Directive, Global, Kind, OnListener, Scope, Status, Text, Words, done, known};

/// The directives of this subject.
pub(super) static DIRECTIVES: &[Directive] = &[
    done(
        "memory_limit",
        Scope::Global,
        Kind::Memory,
        "0",
        "Most memory that the process may hold (RSS; Mosquitto counts its own heap alone). A percentage is of what the memory cgroup may have, or else the machine has, and then the kernel's memory of the cgroup counts too. What is done as it comes near is in [load-line.md](load-line.md). 0 is no limit.",
        Global(|c, v| c.memory_limit = v.memory()),
    ),
    known(
        "memory_budget",
        Scope::Global,
        Words,
        "(Plimsoll) ACCOUNT SIZE: most bytes of one account of the ledger: retained, subscriptions, queues, sessions, connections, tls, websocket or wills. When it is used up, what would need more of it is refused (0x97). May be given for each.",
        Status::Structure,
    ),
    done(
        "listener_memory_budget",
        Scope::Listener,
        Kind::Budget,
        "0",
        "(Plimsoll) Most bytes that the listener's clients may hold together: sessions, queues, unsent output. What is done as it comes near is in [load-line.md](load-line.md#budgets-of-clients). 0 is no limit.",
        OnListener(|l, v| l.memory_budget = v.budget()),
    ),
    known(
        "memory_budget_user",
        Scope::Global,
        Words,
        "(Plimsoll) USERNAME SIZE: the same for all clients of a user name together. `*` is each user that has no line of its own, `\"\"` the clients without a user name. 64 lines at most.",
        Status::Structure,
    ),
    known(
        "memory_budget_topic",
        Scope::Global,
        Words,
        "(Plimsoll) PREFIX SIZE: most bytes of messages whose topics begin with these levels: retained ones, and those that sessions hold. 64 lines at most.",
        Status::Structure,
    ),
    done(
        "memory_alarm_url",
        Scope::Global,
        Text,
        "",
        "(Plimsoll) When memory leaks, and when that is over, this URL is sent the alarm as JSON with a POST. Tried four times.",
        Global(|c, v| c.reporting.url = Some(v.text().to_owned())),
    ),
    done(
        "memory_alarm_directory",
        Scope::Global,
        Text,
        "",
        "(Plimsoll) Directory in which each alarm is kept as JSON, with a heap profile of that moment for `pprof`. The last 32 are kept. It is made if it is not there.",
        Global(|c, v| c.reporting.directory = Some(v.text().into())),
    ),
];
