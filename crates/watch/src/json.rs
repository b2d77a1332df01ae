//! Judgements as JSON: of replays, JSON lines, webhooks and the API.

use plimsoll_judgement::outside::{Driver, Leak, Verdict, View};
use serde_json::{Value, json};

/// A verdict's name and figures: `{"verdict": "leaking", "rate_bytes_per_hour": …, …}`.
pub fn verdict_json(verdict: &Verdict) -> Value {
    let mut value = match verdict {
        Verdict::InsufficientData { more_s } => json!({ "more_s": more_s }),
        Verdict::GrowingWithState { bytes_per_hour } => {
            json!({ "growth_bytes_per_hour": bytes_per_hour })
        }
        Verdict::Leaking(leak) => leak_json(leak),
        Verdict::WarmingUp | Verdict::Stable => json!({}),
    };
    value["verdict"] = json!(verdict.name());
    value
}

/// A leak's figures.
pub fn leak_json(leak: &Leak) -> Value {
    json!({
        "rate_bytes_per_hour": leak.bytes_per_hour,
        "error_bytes_per_hour": leak.error,
        "since_s": leak.since,
        "view": view_name(leak.view),
        "driver": driver_name(leak.driver),
        "bytes_per_event": leak.bytes_per_event,
        "limit_in_s": leak.limit_in_s,
    })
}

/// `resident`, `account`, `heap`, `direct`.
pub fn view_name(view: View) -> &'static str {
    match view {
        View::Resident => "resident",
        View::Account => "account",
        View::Heap => "heap",
        View::Direct => "direct",
    }
}

/// `time`, `publish`, `connect`, `unclear`.
pub fn driver_name(driver: Driver) -> &'static str {
    match driver {
        Driver::Time => "time",
        Driver::Publish => "publish",
        Driver::Connect => "connect",
        Driver::Unclear => "unclear",
    }
}
