//! What a sensor measures: plausible values, the same for the same seed.

use crate::load::Random;

/// The kinds of sensors, by number.
const METRICS: [&str; 3] = ["temperature", "humidity", "vibration"];

/// Sensors of one production line.
const SENSORS_PER_LINE: u32 = 100;

/// Share of the readings in which a stamping press strikes.
const STRIKES: f64 = 0.1;

/// One sensor's place and state.
#[derive(Clone, Debug)]
pub(super) struct Sensor {
    number: u32,
    plant: u32,
    random: Random,
    value: f64,
}

impl Sensor {
    pub(super) fn new(number: u32, plants: u32, seed: u64) -> Self {
        let random = Random::new(seed ^ u64::from(number) << 20);
        let mut sensor = Self { number, plant: number % plants, random, value: 0.0 };
        sensor.value = match sensor.metric() {
            "temperature" => -20.0 + 105.0 * sensor.random.uniform(),
            "humidity" => 100.0 * sensor.random.uniform(),
            _ => sensor.random.uniform(),
        };
        sensor
    }

    fn metric(&self) -> &'static str {
        METRICS.get(self.number as usize % METRICS.len()).copied().unwrap_or_default()
    }

    pub(super) fn plant(&self) -> u32 {
        self.plant
    }

    pub(super) fn client_identifier(&self) -> String {
        format!("plant-{}-sensor-{}", self.plant, self.number)
    }

    pub(super) fn topic(&self) -> String {
        let line = self.number / SENSORS_PER_LINE;
        format!("plant/{}/line/{line}/sensor/{}/{}", self.plant, self.number, self.metric())
    }

    /// The next value in hundredths, and its unit: a random walk within the metric's range; stamping presses
    /// shake in bursts.
    pub(super) fn measure(&mut self) -> (i32, &'static str) {
        let step = self.random.uniform() - 0.5;
        let (value, unit) = match self.metric() {
            "temperature" => {
                self.value = (self.value + step).clamp(-20.0, 85.0);
                (self.value, "°C")
            }
            "humidity" => {
                self.value = (self.value + 2.0 * step).clamp(0.0, 100.0);
                (self.value, "%RH")
            }
            _ => {
                let strike = self.random.uniform() < STRIKES;
                let reach = if strike { 50.0 } else { 0.5 };
                (reach * self.random.uniform(), "g")
            }
        };
        ((value * 100.0) as i32, unit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readings_stay_in_their_ranges_and_repeat() {
        for (number, low, high) in [(0, -2000, 8500), (1, 0, 10_000), (2, 0, 5000)] {
            let mut sensor = Sensor::new(number, 14, 1);
            let mut same = Sensor::new(number, 14, 1);
            let mut highest = i32::MIN;
            for _ in 0..1000 {
                let (value, _) = sensor.measure();
                assert!((low..=high).contains(&value), "{number}: {value}");
                assert_eq!(value, same.measure().0);
                highest = highest.max(value);
            }
            // The press has struck.
            assert!(number != 2 || highest > 2000, "{highest}");
        }
        assert_eq!(Sensor::new(12, 14, 1).topic(), "plant/12/line/0/sensor/12/temperature");
    }
}
