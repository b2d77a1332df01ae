//! Topics of a soak: all of the same length, so that a leaked copy is always of the same size.

use std::io::Write;

/// Sensors of one production line; a line's topics are read in one piece.
pub(crate) const TOPICS_PER_LINE: u32 = 100;

/// The sensors of all plants, numbered from 0.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Topics {
    count: u32,
    plants: u32,
}

impl Topics {
    /// The filter that matches all of them.
    pub(crate) const EVERYTHING: &'static str = "plant/+/line/+/sensor/+/reading";

    pub(crate) fn new(count: u32, plants: u32) -> Self {
        Self { count, plants }
    }

    pub(crate) fn count(self) -> u32 {
        self.count
    }

    pub(crate) fn lines(self) -> u32 {
        self.count.div_ceil(TOPICS_PER_LINE)
    }

    /// The plant of a line.
    pub(crate) fn plant(self, line: u32) -> u32 {
        line % self.plants
    }

    /// The topics of a line.
    pub(crate) fn of_line(self, line: u32) -> std::ops::Range<u32> {
        let first = line * TOPICS_PER_LINE;
        first..(first + TOPICS_PER_LINE).min(self.count)
    }

    /// Writes a topic over what is in `out`: 40 bytes, for numbers below a million.
    pub(crate) fn write(self, topic: u32, out: &mut Vec<u8>) {
        let line = topic / TOPICS_PER_LINE;
        out.clear();
        // Writing to a Vec cannot fail.
        let _ =
            write!(out, "plant/{:02}/line/{line:04}/sensor/{topic:06}/reading", self.plant(line));
    }

    /// The filter that matches the topics of a line.
    pub(crate) fn line_filter(self, line: u32) -> String {
        format!("plant/{:02}/line/{line:04}/sensor/+/reading", self.plant(line))
    }

    /// The filter that matches the topics of a plant.
    pub(crate) fn plant_filter(plant: u32) -> String {
        format!("plant/{plant:02}/#")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_have_forty_bytes() {
        let topics = Topics::new(164_000, 14);
        let mut topic = Vec::new();
        for number in [0, 99, 100, 163_999] {
            topics.write(number, &mut topic);
            assert_eq!(topic.len(), 40);
        }
        assert_eq!(topic, b"plant/01/line/1639/sensor/163999/reading");
        assert_eq!(topics.line_filter(1639), "plant/01/line/1639/sensor/+/reading");
        assert_eq!(Topics::new(150, 14).of_line(1), 100..150);
    }
}
