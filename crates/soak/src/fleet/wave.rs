//! Firmware updates: all devices of a plant fetch an image at once and start anew.

use super::device::Device;
use crate::load::publish;

/// The topic of an image.
pub(super) fn topic(wave: u32) -> String {
    format!("firmware/{wave}")
}

/// How far a device is with an update.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// It has asked for the image.
    Asking,
    /// The broker knows that it wants it.
    Subscribed,
    /// The image is under way to it.
    Sent,
}

impl Progress {
    /// The broker has answered.
    pub(super) fn subscribed(&mut self) {
        if *self == Self::Asking {
            *self = Self::Subscribed;
        }
    }

    /// Whether the image is under way.
    pub(super) fn is_sent(self) -> bool {
        self == Self::Sent
    }
}

/// What became of the images.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Images {
    /// Devices that had asked for an image when it was sent.
    pub(super) expected: u64,
    /// Devices that got it.
    pub(super) delivered: u64,
}

impl Images {
    /// The images that are under way.
    pub(super) fn open(&self) -> u64 {
        self.expected.saturating_sub(self.delivered)
    }
}

/// The devices of the plant whose turn it is that are connected.
pub(super) fn members(devices: &[Device], wave: u32, plants: u32) -> Vec<u32> {
    (0..)
        .zip(devices)
        .filter(|(_, device)| device.online().is_some() && device.sensor.plant() == wave % plants)
        .map(|(number, _)| number)
        .collect()
}

/// Appends an image.
pub(super) fn send(wave: u32, identifier: u16, bytes: usize, out: &mut Vec<u8>) {
    publish(out, topic(wave).as_bytes(), identifier, false, &vec![0xA5; bytes]);
}
