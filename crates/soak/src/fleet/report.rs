//! What a run came to, for people and for scripts.

use std::time::Duration;

use serde_json::json;

use super::fleet_state::FleetState;
use crate::load::{Latency, Strain};

/// How a run came to its end.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Ending {
    AsPlanned,
    /// Somebody did not want to wait.
    Interrupted,
    /// It could not go on.
    BrokeOff(String),
}

/// The result of a run.
pub(super) struct Report {
    pub(super) connected_in: Duration,
    pub(super) published_for: Duration,
    pub(super) ending: Ending,
    pub(super) strain: Strain,
    pub(super) late_us: Latency,
    pub(super) not_taken: u64,
    pub(super) state: FleetState,
}

impl Report {
    fn published(&self) -> u64 {
        self.state.devices.iter().map(|device| u64::from(device.published)).sum()
    }

    fn acknowledged(&self) -> u64 {
        self.state.devices.iter().map(|device| u64::from(device.acknowledged)).sum()
    }

    /// Readings that were acknowledged, and that the control system should have got and has not.
    fn lost(&self) -> u64 {
        let gaps = &self.state.control.gaps;
        let tails: u64 = (0..)
            .zip(&self.state.devices)
            .map(|(number, device)| gaps.tail(number, device.acknowledged))
            .sum();
        gaps.missing() + tails
    }

    /// What should not have happened, with its count.
    fn broken_promises(&self) -> [(&'static str, u64); 10] {
        let (state, control) = (&self.state, &self.state.control);
        [
            ("lost", self.lost()),
            ("duplicated", control.gaps.duplicated),
            ("out of order", control.gaps.reordered),
            ("unacknowledged", self.published().saturating_sub(self.acknowledged())),
            ("stale state", control.stale),
            ("unknown state", control.unknown),
            ("unanswered", control.unanswered()),
            ("images lost", state.images.open()),
            ("disconnected", state.disconnected),
            ("unexpected", state.strange + control.strange),
        ]
    }

    /// Whether the broker kept its promises: nothing lost, doubled, out of order, stale or left
    /// unacknowledged, and no connection ended that was not meant to.
    pub(super) fn is_sound(&self) -> bool {
        !matches!(self.ending, Ending::BrokeOff(_))
            && self.broken_promises().iter().all(|(_, count)| *count == 0)
    }

    pub(super) fn print(&self, json: bool) {
        if json { println!("{}", self.json()) } else { print!("{}", self.text()) }
    }

    fn rate(&self) -> f64 {
        self.published() as f64 / self.published_for.as_secs_f64().max(0.001)
    }

    fn text(&self) -> String {
        let (state, control) = (&self.state, &self.state.control);
        let mut lines = vec![
            format!(
                "sensors       {:>12}   connected in {:.1} s",
                state.devices.len(),
                self.connected_in.as_secs_f64()
            ),
            format!("published     {:>12}   {:.0} per second", self.published(), self.rate()),
            format!("acknowledged  {:>12}", self.acknowledged()),
            format!("received      {:>12}", control.gaps.received),
        ];
        let unheard = self.published().saturating_sub(control.gaps.received + self.lost());
        if unheard > 0 {
            lines.push(format!(
                "not heard     {unheard:>12}   published while the control system was away; it asks for the last known state then"
            ));
        }
        for (name, count) in self.broken_promises() {
            lines.push(format!("{name:<14}{count:>12}"));
        }
        if self.not_taken > 0 {
            lines.push(format!(
                "not taken     {:>12}   while their devices were away",
                self.not_taken
            ));
        }
        if control.commands > 0 {
            lines.push(format!(
                "commands      {:>12}   {} answered, {} cut off",
                control.commands, control.answered, control.excused
            ));
        }
        if state.images.expected > 0 {
            lines.push(format!(
                "images        {:>12}   {} delivered",
                state.images.expected, state.images.delivered
            ));
        }
        lines.push(format!("publish → PUBACK   ms  {}", state.publish_us.text()));
        lines.push(format!("publish → control  ms  {}", control.end_to_end_us.text()));
        if control.answered > 0 {
            lines.push(format!("command → answer   ms  {}", control.answer_us.text()));
        }
        if control.asked > 0 {
            lines.push(format!(
                "last known state   ms  {}   asked {} times",
                control.state_us.text(),
                control.asked
            ));
        }
        lines.push(format!(
            "this tool used {:.0} % of a core, waited {:.0} % of the time for one, and was late by ms  {}",
            100.0 * self.strain.cpu_share(), 100.0 * self.strain.waited_share(), self.late_us.text()
        ));
        if self.strain.is_bottleneck() {
            lines.push("IT was the bottleneck: the latencies above are its own in part.".into());
        }
        lines.push(self.sentence());
        lines.join("\n") + "\n"
    }

    fn sentence(&self) -> String {
        let ending = match &self.ending {
            Ending::AsPlanned => String::new(),
            Ending::Interrupted => "Interrupted. Of what was published: ".into(),
            Ending::BrokeOff(why) => format!("The run broke off: {why}. "),
        };
        let sound = if self.is_sound() {
            "Everything arrived, once and in order."
        } else {
            "NOT everything arrived once and in order."
        };
        ending + sound
    }

    fn json(&self) -> serde_json::Value {
        let (state, control) = (&self.state, &self.state.control);
        json!({
            "ok": self.is_sound(),
            "ending": match &self.ending {
                Ending::AsPlanned => "as planned",
                Ending::Interrupted => "interrupted",
                Ending::BrokeOff(why) => why,
            },
            "sensors": state.devices.len(),
            "connect_s": self.connected_in.as_secs_f64(),
            "publish_s": self.published_for.as_secs_f64(),
            "published": self.published(),
            "acknowledged": self.acknowledged(),
            "received": control.gaps.received,
            "lost": self.lost(),
            "duplicated": control.gaps.duplicated,
            "out_of_order": control.gaps.reordered,
            "disconnected": state.disconnected,
            "not_taken": self.not_taken,
            "unexpected": state.strange + control.strange,
            "state": { "asked": control.asked, "stale": control.stale, "unknown": control.unknown, "ms": control.state_us.json() },
            "commands": { "sent": control.commands, "answered": control.answered, "cut_off": control.excused, "unanswered": control.unanswered(), "ms": control.answer_us.json() },
            "images": { "expected": state.images.expected, "delivered": state.images.delivered },
            "publish_ms": state.publish_us.json(),
            "end_to_end_ms": control.end_to_end_us.json(),
            "tool": { "cpu": self.strain.cpu_share(), "waited": self.strain.waited_share(), "bottleneck": self.strain.is_bottleneck(), "late_ms": self.late_us.json() },
        })
    }
}
