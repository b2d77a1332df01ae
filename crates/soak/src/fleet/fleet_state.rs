//! The fleet's clients and what they do when something comes in.

use std::time::Instant;

use plimsoll_mqtt::encode;
use plimsoll_mqtt::{Disconnect, Packet, Publish, ReasonCode, Version};

use super::control::Control;
use super::device::{Acknowledged, Device, Presence};
use super::options::Options;
use super::schedule::{Schedule, Task};
use super::sensor::Sensor;
use super::wave::{Images, Progress};
use crate::load::{Handler, Latency, Random, acknowledge, publish};

/// Packet identifier of a device's SUBSCRIBE for firmware. Those below 16 are no readings'.
pub(super) const WAVE_SUBSCRIBE_IDENTIFIER: u16 = 3;

/// Packet identifier of a device's answers.
const RESPONSE_IDENTIFIER: u16 = 2;

/// Packet identifiers below this one are not those of readings.
const READING_IDENTIFIERS: u16 = 16;

/// How soon a client that was cut off comes back: µs, to which as much again is added at random.
pub(super) const COMES_BACK_US: u64 = 500_000;

/// Whose link it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Owner {
    #[default]
    Nobody,
    Device(u32),
    Control,
}

/// All clients.
pub(super) struct FleetState {
    pub(super) devices: Vec<Device>,
    pub(super) control: Control,
    pub(super) schedule: Schedule,
    /// What is drawn as things happen: when clients come back, who is commanded.
    pub(super) random: Random,
    /// When each device is cut off, and when it leaves: two series for each, whatever else happens.
    pub(super) mishaps: Vec<Random>,
    pub(super) images: Images,
    /// Due time to PUBACK.
    pub(super) publish_us: Latency,
    /// Connections that ended though nobody of us meant it.
    pub(super) disconnected: u64,
    /// Packets that do not belong here.
    pub(super) strange: u64,
    /// Devices that are not connected for now, though they should be.
    pub(super) connecting: usize,
    /// Devices that the broker has greeted at least once.
    pub(super) greeted: usize,
    /// Links to be closed after their last bytes are sent.
    pub(super) leaving: Vec<usize>,
    /// Since when no connection has come about, and why.
    pub(super) unreachable: Option<(Instant, String)>,
    /// Why the run cannot go on.
    pub(super) fatal: Option<String>,
    owners: Vec<Owner>,
    command_step: u32,
    begin: Instant,
    payload: Vec<u8>,
}

impl FleetState {
    pub(super) fn new(options: &Options, begin: Instant) -> Result<Self, String> {
        let size = options.fleet_size();
        let devices = (0..size)
            .map(|number| Device::new(Sensor::new(number, options.plants, options.seed)))
            .collect();
        let step = if options.commands > 0.0 { (1.0 / options.commands).round() } else { 0.0 };
        Ok(Self {
            devices,
            control: Control::new(size as usize)?,
            schedule: Schedule::default(),
            random: Random::new(options.seed ^ 0xF1EE7),
            mishaps: (0..2 * size)
                .map(|series| Random::of(options.seed, series, u32::MAX))
                .collect(),
            images: Images::default(),
            publish_us: Latency::new()?,
            disconnected: 0,
            strange: 0,
            connecting: 0,
            greeted: 0,
            leaving: Vec::new(),
            unreachable: None,
            fatal: None,
            owners: Vec::new(),
            #[expect(clippy::cast_sign_loss, reason = "shares are not negative")]
            command_step: step as u32,
            begin,
            payload: Vec::new(),
        })
    }

    /// µs since the run began.
    pub(super) fn now_us(&self) -> u64 {
        self.begin.elapsed().as_micros() as u64
    }

    /// Whether a device takes commands.
    pub(super) fn is_commanded(&self, device: u32) -> bool {
        self.command_step > 0 && device.is_multiple_of(self.command_step)
    }

    /// Devices that take commands: every n-th.
    pub(super) fn commanded(&self) -> u32 {
        let size = self.devices.len() as u32;
        if self.command_step == 0 { 0 } else { size.div_ceil(self.command_step) }
    }

    /// A commanded device, at random, that could take a command now.
    pub(super) fn pick_commanded(&mut self) -> Option<u32> {
        let index = self.random.below(self.commanded() as usize) as u32;
        let number = index * self.command_step;
        let device = self.devices.get(number as usize)?;
        (device.online().is_some() && device.subscribed).then_some(number)
    }

    pub(super) fn device_dials(&mut self, device: u32, link: usize) {
        self.own(link, Owner::Device(device));
        self.connecting += 1;
        self.set_presence(device, Presence::Connecting(link));
    }

    pub(super) fn control_dials(&mut self, link: usize) {
        self.own(link, Owner::Control);
        self.control.presence = Presence::Connecting(link);
    }

    fn own(&mut self, link: usize, owner: Owner) {
        if self.owners.len() <= link {
            self.owners.resize(link + 1, Owner::Nobody);
        }
        if let Some(slot) = self.owners.get_mut(link) {
            *slot = owner;
        }
    }

    fn owner(&self, link: usize) -> Owner {
        self.owners.get(link).copied().unwrap_or_default()
    }

    fn set_presence(&mut self, device: u32, presence: Presence) {
        if let Some(device) = self.devices.get_mut(device as usize) {
            device.presence = presence;
        }
    }

    /// A device is not connected any more.
    pub(super) fn device_gone(&mut self, number: u32) {
        if let Some(device) = self.devices.get_mut(number as usize) {
            self.connecting -= usize::from(matches!(device.presence, Presence::Connecting(_)));
            device.presence = Presence::Away;
            device.subscribed = false;
            if let Some(wave) = device.wave.take() {
                self.images.expected -= u64::from(wave.is_sent());
            }
        }
        self.control.device_cut_off(number);
    }

    /// Schedules that a device comes back.
    pub(super) fn device_comes_back(&mut self, number: u32) {
        let more_us = self.random.below(COMES_BACK_US as usize) as u64;
        self.schedule.add(self.now_us() + COMES_BACK_US + more_us, Task::Dial(number));
    }

    fn device_packet(&mut self, number: u32, link: usize, packet: &Packet<'_>, out: &mut Vec<u8>) {
        let now_us = self.now_us();
        let Some(device) = self.devices.get_mut(number as usize) else { return };
        match packet {
            Packet::Puback(ack) if ack.packet_identifier < READING_IDENTIFIERS => {}
            Packet::Puback(ack) => match device.acknowledge(ack.packet_identifier) {
                Acknowledged::Reading { due_us } => {
                    self.publish_us.record(now_us.saturating_sub(due_us));
                }
                Acknowledged::Repeated => {}
                Acknowledged::Nothing => self.strange += 1,
            },
            Packet::Suback(ack) if ack.packet_identifier == WAVE_SUBSCRIBE_IDENTIFIER => {
                if let Some(wave) = &mut device.wave {
                    wave.subscribed();
                }
            }
            Packet::Suback(_) => device.subscribed = true,
            Packet::Publish(message) => self.device_message(number, link, message, out),
            _ => self.strange += 1,
        }
    }

    /// A command, which is answered, or an image, after which the device starts anew.
    fn device_message(
        &mut self,
        number: u32,
        link: usize,
        message: &Publish<'_>,
        out: &mut Vec<u8>,
    ) {
        acknowledge(out, message);
        let Some(device) = self.devices.get_mut(number as usize) else { return };
        if message.topic.starts_with("command/") {
            let topic = format!("response/{}/{number}", device.sensor.plant());
            publish(out, topic.as_bytes(), RESPONSE_IDENTIFIER, false, message.payload);
        } else if device.wave.is_some_and(Progress::is_sent) {
            device.wave = None;
            self.images.delivered += 1;
            encode::packet(
                &Packet::Disconnect(Disconnect::new(ReasonCode::SUCCESS)),
                Version::V311,
                out,
            );
            self.leaving.push(link);
            self.own(link, Owner::Nobody);
            self.device_gone(number);
            self.device_comes_back(number);
        } else {
            self.strange += 1;
        }
    }
}

impl Handler for FleetState {
    fn ready(&mut self, link: usize, _: bool, out: &mut Vec<u8>) {
        self.unreachable = None;
        match self.owner(link) {
            Owner::Device(number) => {
                let commanded = self.is_commanded(number);
                let Some(device) = self.devices.get_mut(number as usize) else { return };
                self.connecting -= usize::from(matches!(device.presence, Presence::Connecting(_)));
                device.presence = Presence::Online(link);
                self.greeted += 1;
                if commanded {
                    let filter = format!("command/{}/{number}", device.sensor.plant());
                    Device::subscribe(&filter, out);
                }
                device.repeat(&mut self.payload, out);
            }
            Owner::Control => {
                self.control.presence = Presence::Online(link);
                self.control.greeted(&self.devices, self.begin.elapsed().as_micros() as u64, out);
            }
            Owner::Nobody => {}
        }
    }

    fn packet(&mut self, link: usize, packet: &Packet<'_>, out: &mut Vec<u8>) {
        match (self.owner(link), packet) {
            (Owner::Device(number), packet) => self.device_packet(number, link, packet, out),
            (Owner::Control, Packet::Publish(message)) => {
                acknowledge(out, message);
                let now_us = self.now_us();
                self.control.message(message, &self.devices, now_us);
            }
            (Owner::Control, Packet::Suback(suback)) => {
                self.fatal = self.control.subscribed(suback).err().or(self.fatal.take());
            }
            (Owner::Control | Owner::Nobody, _) => {}
        }
    }

    fn lost(&mut self, link: usize, why: &str) {
        let owner = self.owner(link);
        self.own(link, Owner::Nobody);
        let was_online = match owner {
            Owner::Nobody => return,
            Owner::Device(number) => {
                let online = self
                    .devices
                    .get(number as usize)
                    .is_some_and(|device| device.online().is_some());
                self.device_gone(number);
                self.device_comes_back(number);
                online
            }
            Owner::Control => {
                let online = matches!(self.control.presence, Presence::Online(_));
                self.control.cut_off();
                let at = self.now_us() + COMES_BACK_US;
                self.schedule.add(at, Task::ControlDial);
                online
            }
        };
        self.disconnected += u64::from(was_online);
        let since = self.unreachable.take().map_or_else(Instant::now, |(since, _)| since);
        self.unreachable = Some((since, why.to_owned()));
    }
}
