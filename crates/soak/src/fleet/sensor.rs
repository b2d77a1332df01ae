//! What a sensor measures: plausible values, the same for the same seed.

use std::fmt::Write;

/// The kinds of sensors, by number.
const METRICS: [&str; 3] = ["temperature", "humidity", "vibration"];

/// Sensors of one production line.
const SENSORS_PER_LINE: u32 = 100;

/// One sensor's place and state.
#[derive(Clone, Debug)]
pub(super) struct Sensor {
    number: u32,
    plant: u32,
    state: u64,
    value: f64,
}

impl Sensor {
    pub(super) fn new(number: u32, plants: u32, seed: u64) -> Self {
        let mut sensor = Self {
            number,
            plant: number % plants,
            state: seed ^ u64::from(number) << 20,
            value: 0.0,
        };
        sensor.value = match sensor.metric() {
            "temperature" => -20.0 + 105.0 * sensor.uniform(),
            "humidity" => 100.0 * sensor.uniform(),
            _ => sensor.uniform(),
        };
        sensor
    }

    fn metric(&self) -> &'static str {
        METRICS[self.number as usize % METRICS.len()]
    }

    pub(super) fn client_identifier(&self) -> String {
        format!("plant-{}-sensor-{}", self.plant, self.number)
    }

    pub(super) fn topic(&self) -> String {
        let line = self.number / SENSORS_PER_LINE;
        format!("plant/{}/line/{line}/sensor/{}/{}", self.plant, self.number, self.metric())
    }

    /// Writes the next reading as JSON: who, which one, when it was due (µs), what.
    pub(super) fn reading(&mut self, sequence: u32, due_us: u64, out: &mut String) {
        let (value, unit) = self.measure();
        let number = self.number;
        out.clear();
        // Writing to a String cannot fail.
        let _ = write!(
            out,
            r#"{{"sensor":{number},"seq":{sequence},"due_us":{due_us},"value":{value:.2},"unit":"{unit}"}}"#
        );
    }

    /// A random walk within the metric's range; stamping presses shake in bursts.
    fn measure(&mut self) -> (f64, &'static str) {
        let step = self.uniform() - 0.5;
        match self.metric() {
            "temperature" => {
                self.value = (self.value + step).clamp(-20.0, 85.0);
                (self.value, "°C")
            }
            "humidity" => {
                self.value = (self.value + 2.0 * step).clamp(0.0, 100.0);
                (self.value, "%RH")
            }
            _ => {
                let burst = self.uniform() < 0.1;
                let peak = if burst { 50.0 * self.uniform() } else { 0.5 * self.uniform() };
                (peak, "g")
            }
        }
    }

    /// A number from 0 to 1 (`SplitMix64`).
    fn uniform(&mut self) -> f64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut word = self.state;
        word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((word ^ (word >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// What the control system reads out of a payload: (sensor, sequence number, due time in µs).
pub(super) fn parse_reading(payload: &[u8]) -> Option<(u32, u32, u64)> {
    let text = std::str::from_utf8(payload).ok()?;
    let field = |name: &str| -> Option<u64> {
        let rest = text.split_once(name)?.1;
        let end = rest.find(|c: char| !c.is_ascii_digit())?;
        rest.get(..end)?.parse().ok()
    };
    let sensor = u32::try_from(field(r#""sensor":"#)?).ok()?;
    let sequence = u32::try_from(field(r#""seq":"#)?).ok()?;
    Some((sensor, sequence, field(r#""due_us":"#)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reading_says_who_and_when() {
        let mut sensor = Sensor::new(12, 14, 1);
        let mut text = String::new();
        for sequence in 0..1000 {
            sensor.reading(sequence, 77, &mut text);
            assert_eq!(parse_reading(text.as_bytes()), Some((12, sequence, 77)));
        }
        assert_eq!(sensor.topic(), "plant/12/line/0/sensor/12/temperature");
        assert_eq!(parse_reading(b"{}"), None);
    }
}
