//! What `plimsoll fleet` is told.

use std::time::Duration;

use clap::Args;

/// Simulate a fleet of sensors against a broker.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:
  plimsoll fleet --sensors 12000 --every 30s --speed 10x --for 60s --connect 127.0.0.1:1883
  plimsoll fleet --sensors 100 --for 10s --json

Ctrl-C ends it early, with a report of what was published until then.
Exit code: 0 everything arrived, 1 something did not, 2 it could not run, 130 interrupted.")]
pub struct Options {
    /// Sensors; each has its own connection and publishes one topic
    #[arg(long, default_value_t = 12_000, value_parser = clap::value_parser!(u32).range(1..=60_000))]
    pub sensors: u32,
    /// Plants that the sensors are spread over
    #[arg(long, default_value_t = 14, value_parser = clap::value_parser!(u32).range(1..))]
    pub plants: u32,
    /// How often each sensor publishes (units ms, s, m, h)
    #[arg(long, default_value = "30s", value_parser = duration)]
    pub every: Duration,
    /// How many times faster than real time
    #[arg(long, default_value = "1x", value_parser = speed)]
    pub speed: f64,
    /// How long to publish, in real time
    #[arg(long = "for", default_value = "60s", value_parser = duration)]
    pub length: Duration,
    /// The broker
    #[arg(long, default_value = "127.0.0.1:1883", value_name = "HOST:PORT")]
    pub connect: String,
    /// Seed of the readings
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Print one line of JSON instead of text
    #[arg(long)]
    pub json: bool,
}

impl Options {
    /// Time between two readings of one sensor.
    pub(super) fn period(&self) -> Duration {
        self.every.div_f64(self.speed)
    }
}

/// Parses `30s`, `500ms`, `2m`, `1h`.
fn duration(text: &str) -> Result<Duration, String> {
    let at = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(at);
    let secs_per_unit = match unit {
        "ms" => 0.001,
        "s" | "" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(format!("unknown unit `{unit}`: use ms, s, m or h")),
    };
    let number: f64 = number.parse().map_err(|_| format!("`{number}` is not a number"))?;
    let secs = number * secs_per_unit;
    if secs <= 0.0 || secs > 31_536_000.0 {
        return Err("must be more than nothing and at most a year".into());
    }
    Ok(Duration::from_secs_f64(secs))
}

/// Parses `10x` or `10`.
fn speed(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('x').unwrap_or(text);
    match number.parse::<f64>() {
        Ok(factor) if factor > 0.0 && factor <= 100_000.0 => Ok(factor),
        _ => Err(format!("`{text}` is not a speed such as 10x")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_speeds_have_units() {
        assert_eq!(duration("30s"), Ok(Duration::from_secs(30)));
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("1.5h"), Ok(Duration::from_secs(5400)));
        assert!(duration("3 weeks").is_err());
        assert!(duration("0s").is_err());
        assert_eq!(speed("10x"), Ok(10.0));
        assert_eq!(speed("0.5"), Ok(0.5));
        assert!(speed("x").is_err());
    }
}
