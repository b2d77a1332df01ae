//! Lines of dots: two by four in each character (Unicode's braille patterns).

/// The dots of a character, by column and row: the bits of U+2800.
const DOTS: [[u8; 4]; 2] = [[0x01, 0x02, 0x04, 0x40], [0x08, 0x10, 0x20, 0x80]];

/// A field of characters, each with the colour of what was drawn into it last.
#[derive(Clone, Debug)]
pub(super) struct Canvas {
    width: usize,
    height: usize,
    cells: Vec<(u8, u8)>,
}

impl Canvas {
    /// An empty one, so many characters wide and high.
    pub(super) fn new(width: usize, height: usize) -> Self {
        Self { width, height, cells: vec![(0, 0); width * height] }
    }

    /// Dots across, and dots down.
    pub(super) fn dots(&self) -> (usize, usize) {
        (self.width * 2, self.height * 4)
    }

    /// Sets one dot; from the left and from the top. One that lies outside is passed over.
    fn set(&mut self, x: usize, y: usize, colour: u8) {
        let bit = DOTS.get(x % 2).and_then(|column| column.get(y % 4)).copied().unwrap_or(0);
        if x / 2 < self.width
            && let Some(cell) = self.cells.get_mut(y / 4 * self.width + x / 2)
        {
            *cell = (cell.0 | bit, colour);
        }
    }

    /// Draws a level in each column, each joined to the one before; `None` interrupts the line. Levels are
    /// from 0 at the bottom to 1 at the top.
    pub(super) fn line(&mut self, levels: &[Option<f64>], colour: u8) {
        let rows = self.height * 4;
        if rows == 0 {
            return;
        }
        let row = |level: f64| {
            let from_top = (1.0 - level.clamp(0.0, 1.0)) * (rows - 1) as f64;
            usize::try_from(from_top.round() as i64).unwrap_or(0)
        };
        let mut before = None;
        for (x, level) in levels.iter().enumerate() {
            let Some(y) = level.map(row) else {
                before = None;
                continue;
            };
            let from: usize = before.unwrap_or(y);
            for between in from.min(y)..=from.max(y) {
                self.set(x, between, colour);
            }
            before = Some(y);
        }
    }

    /// The characters of each row, each with its colour; 0 is none.
    pub(super) fn rows(&self) -> impl Iterator<Item = Vec<(char, u8)>> {
        self.cells.chunks(self.width.max(1)).map(|row| {
            let character = |bits: u8| match bits {
                0 => ' ',
                bits => char::from_u32(0x2800 + u32::from(bits)).unwrap_or(' '),
            };
            row.iter().map(|(bits, colour)| (character(*bits), *colour)).collect()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(canvas: &Canvas) -> Vec<String> {
        canvas.rows().map(|row| row.iter().map(|(character, _)| character).collect()).collect()
    }

    #[test]
    fn a_line_goes_from_corner_to_corner() {
        let mut canvas = Canvas::new(4, 2);
        assert_eq!(canvas.dots(), (8, 8));
        let levels: Vec<Option<f64>> = (0..8).map(|x| Some(f64::from(x) / 7.0)).collect();
        canvas.line(&levels, 3);
        assert_eq!(text(&canvas), ["  ⣠⠞", "⣠⠞⠁ "]);
        assert!(
            canvas.rows().flatten().all(|(character, colour)| (character == ' ') == (colour == 0))
        );
    }

    #[test]
    fn jumps_are_joined_and_gaps_are_not() {
        let mut canvas = Canvas::new(2, 1);
        canvas.line(&[Some(0.0), Some(1.0), None, Some(0.0)], 1);
        assert_eq!(text(&canvas), ["⣸⢀"]);
    }

    #[test]
    fn what_is_out_of_range_stays_inside() {
        let mut canvas = Canvas::new(1, 1);
        canvas.line(&[Some(7.0), Some(-7.0), Some(f64::MAX)], 1);
        assert_eq!(text(&canvas).len(), 1);
        Canvas::new(0, 0).line(&[Some(1.0)], 1);
    }
}
