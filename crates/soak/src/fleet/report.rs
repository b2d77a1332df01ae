//! What a run came to, for people and for scripts.

use std::fmt::Write;
use std::time::Duration;

use hdrhistogram::Histogram;

use super::tally::Tally;

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
#[derive(Debug)]
pub(super) struct Report {
    pub(super) sensors: u32,
    pub(super) connected_in: Duration,
    pub(super) published_for: Duration,
    pub(super) ending: Ending,
    pub(super) tally: Tally,
}

impl Report {
    /// Whether the broker kept its promises: nothing lost, doubled, out of order or left
    /// unacknowledged, and no connection ended.
    pub(super) fn is_sound(&self) -> bool {
        let tally = &self.tally;
        tally.is_complete()
            && !matches!(self.ending, Ending::BrokeOff(_))
            && tally.duplicated + tally.skipped + tally.strange + tally.disconnected == 0
    }

    pub(super) fn print(&self, json: bool) {
        if json { println!("{}", self.json()) } else { print!("{}", self.text()) }
    }

    fn rate(&self) -> f64 {
        self.tally.published as f64 / self.published_for.as_secs_f64().max(0.001)
    }

    fn text(&self) -> String {
        let tally = &self.tally;
        format!(
            "sensors       {:>12}   connected in {:.1} s\n\
             published     {:>12}   {:.0} per second\n\
             acknowledged  {:>12}\n\
             received      {:>12}\n\
             lost          {:>12}\n\
             duplicated    {:>12}\n\
             out of order  {:>12}\n\
             disconnected  {:>12}\n\
             publish → PUBACK   ms  {}\n\
             publish → control  ms  {}\n\
             {}{}\n",
            self.sensors,
            self.connected_in.as_secs_f64(),
            tally.published,
            self.rate(),
            tally.acknowledged,
            tally.received,
            tally.lost(),
            tally.duplicated,
            tally.skipped.saturating_sub(tally.lost()),
            tally.disconnected,
            percentiles(&tally.publish_us),
            percentiles(&tally.end_to_end_us),
            match &self.ending {
                Ending::AsPlanned => String::new(),
                Ending::Interrupted => "Interrupted. Of what was published: ".into(),
                Ending::BrokeOff(why) => format!("The run broke off: {why}. "),
            },
            if self.is_sound() {
                "Everything arrived, once and in order."
            } else {
                "NOT everything arrived once and in order."
            },
        )
    }

    fn json(&self) -> String {
        let tally = &self.tally;
        format!(
            concat!(
                r#"{{"ok":{},"ending":{:?},"sensors":{},"connect_s":{:.3},"publish_s":{:.3},"published":{},"#,
                r#""acknowledged":{},"received":{},"lost":{},"duplicated":{},"disconnected":{},"#,
                r#""publish_ms":{},"end_to_end_ms":{}}}"#
            ),
            self.is_sound(),
            match &self.ending {
                Ending::AsPlanned => "as planned",
                Ending::Interrupted => "interrupted",
                Ending::BrokeOff(why) => why,
            },
            self.sensors,
            self.connected_in.as_secs_f64(),
            self.published_for.as_secs_f64(),
            tally.published,
            tally.acknowledged,
            tally.received,
            tally.lost(),
            tally.duplicated,
            tally.disconnected,
            percentiles_json(&tally.publish_us),
            percentiles_json(&tally.end_to_end_us),
        )
    }
}

const QUANTILES: [(&str, f64); 4] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999)];

fn millis(us: u64) -> f64 {
    us as f64 / 1000.0
}

fn percentiles(histogram: &Histogram<u64>) -> String {
    let mut text = String::new();
    for (name, quantile) in QUANTILES {
        // Writing to a String cannot fail.
        let _ = write!(text, "{name} {:<9.3}", millis(histogram.value_at_quantile(quantile)));
    }
    text + &format!("max {:.3}", millis(histogram.max()))
}

fn percentiles_json(histogram: &Histogram<u64>) -> String {
    let mut text = String::from("{");
    for (name, quantile) in QUANTILES {
        let _ = write!(text, r#""{name}":{:.3},"#, millis(histogram.value_at_quantile(quantile)));
    }
    text + &format!(r#""max":{:.3}}}"#, millis(histogram.max()))
}
