//! What `plimsoll fleet` is told.

use std::time::Duration;

use clap::Args;

use crate::load::Place;
use crate::quantity::{duration, factor, rate, share};
use plimsoll_watch::units::bytes;

/// Simulate a fleet of sensors against a broker.
///
/// Each sensor has a connection of its own and publishes readings (QoS 1, retained) on one topic. A control
/// system reads all of them, asks for the last known state each time that it connects, and sends commands
/// to a share of the devices. What was lost, doubled, out of order or stale is counted.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:
  plimsoll fleet --sensors 12000 --every 30s --speed 10x --for 60s --connect mqtt://127.0.0.1:1883
  plimsoll fleet --scale 2 --speed 10x --losses 2 --reconnects 2 --control-away 1m --waves 2 --for 5m
  plimsoll fleet --sensors 100 --for 10s --json
  plimsoll fleet --connect mqtts://broker:8883 --cafile ca.crt --cert-dir devices/

Rates are per device and hour of the fleet's time, which --speed makes pass faster.
Ctrl-C ends it early, with a report of what was published until then.
Exit code: 0 everything arrived, 1 something did not, 2 it could not run, 130 interrupted.")]
pub struct Options {
    /// Sensors; each has its own connection and publishes one topic
    #[arg(long, default_value_t = 12_000, value_parser = clap::value_parser!(u32).range(1..=60_000))]
    pub sensors: u32,
    /// So many times the sensors, such as 2 (at most 60,000 in all)
    #[arg(long, default_value = "1", value_parser = factor)]
    pub scale: f64,
    /// Plants that the sensors are spread over
    #[arg(long, default_value_t = 14, value_parser = clap::value_parser!(u32).range(1..))]
    pub plants: u32,
    /// How often each sensor publishes (units ms, s, m, h)
    #[arg(long, default_value = "30s", value_parser = duration)]
    pub every: Duration,
    /// How many times faster than real time
    #[arg(long, default_value = "1x", value_parser = factor)]
    pub speed: f64,
    /// How long to publish, in real time
    #[arg(long = "for", default_value = "60s", value_parser = duration)]
    pub length: Duration,
    #[command(flatten)]
    pub(super) place: Place,
    /// How far readings stray from their time, as a share of --every
    #[arg(long, default_value = "0.1", value_parser = share)]
    pub jitter: f64,
    /// How often a device disconnects and comes back (per device and hour)
    #[arg(long, default_value = "0", value_parser = rate)]
    pub reconnects: f64,
    /// How often the network cuts a connection without a word (per device and hour)
    #[arg(long, default_value = "0", value_parser = rate)]
    pub losses: f64,
    /// How often the control system is cut off and comes back (of the fleet's time)
    #[arg(long, value_parser = duration)]
    pub control_away: Option<Duration>,
    /// Share of the devices that take commands and answer them
    #[arg(long, default_value = "0.05", value_parser = share)]
    pub commands: f64,
    /// Firmware updates during the run, each for one plant at once
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=1000))]
    pub waves: u32,
    /// Size of a firmware image
    #[arg(long, default_value = "64KiB", value_parser = bytes)]
    pub firmware: u64,
    /// How long the broker may be out of reach before the run breaks off
    #[arg(long, default_value = "3s", value_parser = duration)]
    pub patience: Duration,
    /// Seed of readings, jitter and mishaps
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Print one line of JSON instead of text
    #[arg(long)]
    pub json: bool,
}

/// Most sensors, scaled.
const SENSORS_MAX: f64 = 60_000.0;

impl Options {
    /// Time between two readings of one sensor.
    pub(super) fn period(&self) -> Duration {
        self.every.div_f64(self.speed)
    }

    /// Sensors, scaled.
    #[expect(clippy::cast_sign_loss, reason = "it is at least 1")]
    pub(super) fn fleet_size(&self) -> u32 {
        (f64::from(self.sensors) * self.scale).round().clamp(1.0, SENSORS_MAX) as u32
    }

    /// Mean time, in real seconds, between two events that happen `per_hour` times in an hour of the fleet.
    pub(super) fn mean_secs(&self, per_hour: f64) -> Option<f64> {
        (per_hour > 0.0).then(|| 3600.0 / per_hour / self.speed)
    }

    /// Keep alive that a sensor's own readings keep, seconds.
    #[expect(clippy::cast_sign_loss, reason = "it is at least 300")]
    pub(super) fn keep_alive(&self) -> u16 {
        (self.period().as_secs_f64() * 2.0).clamp(300.0, f64::from(u16::MAX)) as u16
    }
}
