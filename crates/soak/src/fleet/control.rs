//! The control system: reads every sensor, asks for the last known state whenever it connects, sends commands.

use std::collections::HashMap;

use plimsoll_mqtt::{Publish, QoS, ReasonCode, Suback};

use super::device::{Device, Presence};
use crate::load::{Gaps, Latency, parse_reading, publish, subscribe};

/// The filter of the control system: every sensor of every plant.
const READINGS: &str = "plant/+/line/+/sensor/+/+";

/// The filter of answers to commands.
const RESPONSES: &str = "response/+/+";

/// Most commands that wait for their answer; no more are sent then.
const COMMANDS_MAX: usize = 65_536;

/// First packet identifier of what the control system publishes.
const FIRST_IDENTIFIER: u16 = 16;

/// The last known state, as it was asked for with a subscription.
#[derive(Debug)]
struct Asked {
    at_us: u64,
    /// Readings of each sensor that were acknowledged when it was asked: the answer must not be older.
    /// 0 if nothing is expected, or if the answer is here.
    floor: Vec<u32>,
    open: u64,
}

/// A command that is not answered yet.
#[derive(Clone, Copy, Debug)]
struct Sent {
    device: u32,
    at_us: u64,
}

/// The control system, and what it has seen.
#[derive(Debug)]
pub(super) struct Control {
    pub(super) presence: Presence,
    /// Whether it has its subscriptions.
    pub(super) subscribed: bool,
    /// Readings as they arrived.
    pub(super) gaps: Gaps,
    /// How often it has asked for the last known state, its first connection aside.
    pub(super) asked: u64,
    /// Sensors whose last known state was older than what had been acknowledged.
    pub(super) stale: u64,
    /// Sensors of which there was none, though something had been acknowledged.
    pub(super) unknown: u64,
    /// From asking to having all of the last known state.
    pub(super) state_us: Latency,
    pub(super) commands: u64,
    pub(super) answered: u64,
    /// Commands without an answer because one of both was cut off.
    pub(super) excused: u64,
    /// From command to answer.
    pub(super) answer_us: Latency,
    /// Due time of a reading to its arrival.
    pub(super) end_to_end_us: Latency,
    /// Messages that nobody of the fleet has sent.
    pub(super) strange: u64,
    waiting: Option<Asked>,
    outstanding: HashMap<u32, Sent>,
    next_command: u32,
    next_identifier: u16,
    connected_before: bool,
}

impl Control {
    pub(super) fn new(sensors: usize) -> Result<Self, String> {
        Ok(Self {
            presence: Presence::Away,
            subscribed: false,
            gaps: Gaps::new(sensors),
            asked: 0,
            stale: 0,
            unknown: 0,
            state_us: Latency::new()?,
            commands: 0,
            answered: 0,
            excused: 0,
            answer_us: Latency::new()?,
            end_to_end_us: Latency::new()?,
            strange: 0,
            waiting: None,
            outstanding: HashMap::new(),
            next_command: 0,
            next_identifier: FIRST_IDENTIFIER,
            connected_before: false,
        })
    }

    /// It is connected: subscribes, and with that asks for the last known state of everything.
    pub(super) fn greeted(&mut self, devices: &[Device], now_us: u64, out: &mut Vec<u8>) {
        subscribe(out, 1, QoS::AtLeastOnce, &[READINGS, RESPONSES]);
        if self.connected_before {
            let floor: Vec<u32> = devices.iter().map(|device| device.acknowledged).collect();
            let open = floor.iter().filter(|&&acknowledged| acknowledged > 0).count() as u64;
            self.asked += 1;
            self.waiting = (open > 0).then_some(Asked { at_us: now_us, floor, open });
        } else {
            // The sensors begin when it listens: it must get everything from their first reading on.
            for sensor in 0..devices.len() {
                self.gaps.expect(sensor as u32, 0);
            }
        }
        self.connected_before = true;
    }

    /// Its subscriptions are there, or were refused.
    pub(super) fn subscribed(&mut self, suback: &Suback<'_>) -> Result<(), String> {
        match suback
            .reasons
            .iter()
            .find(|reason| reason.byte() >= ReasonCode::UNSPECIFIED_ERROR.byte())
        {
            Some(reason) => {
                Err(format!("the broker refused the control system's subscription: {reason}"))
            }
            None => {
                self.subscribed = true;
                Ok(())
            }
        }
    }

    /// It is cut off. Nothing that is published meanwhile is expected.
    pub(super) fn cut_off(&mut self) {
        self.presence = Presence::Away;
        self.subscribed = false;
        self.gaps.forget();
        self.waiting = None;
        self.excused += self.outstanding.len() as u64;
        self.outstanding.clear();
    }

    /// A device is cut off: its commands will not be answered.
    pub(super) fn device_cut_off(&mut self, device: u32) {
        let before = self.outstanding.len();
        self.outstanding.retain(|_, sent| sent.device != device);
        self.excused += (before - self.outstanding.len()) as u64;
    }

    /// Whether it waits for state or answers.
    pub(super) fn is_waiting(&self) -> bool {
        self.waiting.is_some() || !self.outstanding.is_empty()
    }

    /// Commands that are not answered.
    pub(super) fn unanswered(&self) -> u64 {
        self.outstanding.len() as u64
    }

    /// The end: what has not come by now does not come.
    pub(super) fn give_up(&mut self) {
        self.unknown += self.waiting.take().map_or(0, |asked| asked.open);
    }

    /// A message has come.
    pub(super) fn message(&mut self, message: &Publish<'_>, devices: &[Device], now_us: u64) {
        if message.topic.starts_with("response/") {
            return self.response(message.payload, now_us);
        }
        let Some((sensor, sequence, due_us)) = parse_reading(message.payload) else {
            self.strange += 1;
            return;
        };
        let Some(device) = devices.get(sensor as usize) else {
            // A larger fleet has left its last readings behind.
            self.strange += u64::from(!message.retain);
            return;
        };
        if message.retain {
            return self.last_known(sensor, sequence, now_us);
        }
        let fresh = self.gaps.next(sensor).is_none_or(|next| sequence >= next);
        self.gaps.arrived(sensor, sequence, sequence < device.repeated_below);
        if fresh && sequence >= device.repeated_below {
            self.end_to_end_us.record(now_us.saturating_sub(due_us));
        }
    }

    /// The last known state of one sensor. On the first connection it is what an earlier run left behind.
    fn last_known(&mut self, sensor: u32, sequence: u32, now_us: u64) {
        let Some(asked) = &mut self.waiting else { return };
        let Some(floor) = asked.floor.get_mut(sensor as usize).filter(|floor| **floor > 0) else {
            return;
        };
        self.stale += u64::from(sequence.saturating_add(1) < *floor);
        *floor = 0;
        asked.open -= 1;
        if self.gaps.next(sensor).is_none() {
            self.gaps.expect(sensor, sequence.saturating_add(1));
        }
        if asked.open == 0 {
            self.state_us.record(now_us.saturating_sub(asked.at_us));
            self.waiting = None;
        }
    }

    fn response(&mut self, payload: &[u8], now_us: u64) {
        let text = std::str::from_utf8(payload).unwrap_or_default();
        let number = text.strip_prefix("{\"command\":").and_then(|rest| rest.strip_suffix('}'));
        let sent = number
            .and_then(|number| number.parse().ok())
            .and_then(|number: u32| self.outstanding.remove(&number));
        match sent {
            Some(sent) => {
                self.answered += 1;
                self.answer_us.record(now_us.saturating_sub(sent.at_us));
            }
            // An answer to a command that was excused may still come.
            None => self.strange += u64::from(number.is_none()),
        }
    }

    /// Appends a command to a device.
    pub(super) fn command(&mut self, number: u32, device: &Device, now_us: u64, out: &mut Vec<u8>) {
        if self.outstanding.len() >= COMMANDS_MAX {
            return;
        }
        let command = self.next_command;
        self.next_command = command.wrapping_add(1);
        self.commands += 1;
        self.outstanding.insert(command, Sent { device: number, at_us: now_us });
        let topic = format!("command/{}/{number}", device.sensor.plant());
        let identifier = self.identifier();
        publish(
            out,
            topic.as_bytes(),
            identifier,
            false,
            format!("{{\"command\":{command}}}").as_bytes(),
        );
    }

    /// The next packet identifier.
    pub(super) fn identifier(&mut self) -> u16 {
        let identifier = self.next_identifier;
        self.next_identifier = identifier.checked_add(1).unwrap_or(FIRST_IDENTIFIER);
        identifier
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::sensor::Sensor;
    use crate::load::Reading;

    fn arrive(control: &mut Control, devices: &[Device], sensor: u32, sequence: u32, retain: bool) {
        let mut payload = Vec::new();
        Reading { sensor, sequence, due_us: 0, hundredths: 0, unit: "g" }.write(&mut payload);
        let message = Publish {
            dup: false,
            qos: QoS::AtLeastOnce,
            retain,
            topic: "plant/0/line/0/sensor/0/vibration",
            packet_identifier: 1,
            properties: Default::default(),
            payload: &payload,
        };
        control.message(&message, devices, 5);
    }

    #[test]
    fn state_that_is_older_than_what_was_acknowledged_is_stale() {
        let mut devices: Vec<Device> = (0..3).map(|n| Device::new(Sensor::new(n, 14, 1))).collect();
        let mut control = Control::new(3).expect("histograms");
        control.greeted(&devices, 0, &mut Vec::new());
        arrive(&mut control, &devices, 0, 0, false);
        // Left behind by an earlier run.
        arrive(&mut control, &devices, 1, 900, true);
        assert_eq!((control.gaps.received, control.stale), (1, 0));
        control.cut_off();
        devices[0].acknowledged = 4;
        devices[1].acknowledged = 2;
        control.greeted(&devices, 1, &mut Vec::new());
        arrive(&mut control, &devices, 0, 2, true);
        assert_eq!((control.stale, control.is_waiting()), (1, true));
        arrive(&mut control, &devices, 1, 5, true);
        assert_eq!((control.stale, control.is_waiting(), control.state_us.count()), (1, false, 1));
        // Expected from what was known on: 3 and 4 are missing before 5.
        arrive(&mut control, &devices, 0, 5, false);
        assert_eq!(control.gaps.missing(), 2);
        control.cut_off();
        control.greeted(&devices, 2, &mut Vec::new());
        control.give_up();
        assert_eq!(control.unknown, 2);
    }
}
