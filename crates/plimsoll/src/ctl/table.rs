//! Tables and figures for people.

use std::fmt::Write as _;

use serde_json::Value;

/// A table whose columns are as wide as what is in them.
#[derive(Debug)]
pub(super) struct Table {
    rows: Vec<Vec<String>>,
    /// Columns that stand to the right.
    right: Vec<bool>,
}

impl Table {
    /// With titles; those that begin with `>` stand to the right.
    pub(super) fn new(titles: &[&str]) -> Self {
        let right = titles.iter().map(|title| title.starts_with('>')).collect();
        let titles = titles.iter().map(|title| title.trim_start_matches('>').to_owned()).collect();
        Self { rows: vec![titles], right }
    }

    pub(super) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        // What is not to be seen could move the cursor.
        let seen = |cell: String| cell.replace(char::is_control, "\u{FFFD}");
        self.rows.push(cells.into_iter().map(seen).collect());
    }

    pub(super) fn text(&self) -> String {
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.right.len()).map(width).collect();
        let mut text = String::new();
        for row in &self.rows {
            let mut line = String::new();
            for ((cell, width), right) in row.iter().zip(&widths).zip(&self.right) {
                let room = " ".repeat(width - cell.chars().count());
                let (before, behind) =
                    if *right { (room, String::new()) } else { (String::new(), room) };
                let _ = write!(line, "{before}{cell}{behind}  ");
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

/// Bytes in the unit that fits.
pub(super) fn bytes(count: f64) -> String {
    let mut size = count.abs();
    let mut unit = 0;
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    while size >= 1024.0 && unit + 1 < units.len() {
        size /= 1024.0;
        unit += 1;
    }
    let sign = if count < 0.0 { "-" } else { "" };
    let digits = usize::from(unit > 0 && size < 100.0);
    format!("{sign}{size:.digits$} {}", units.get(unit).unwrap_or(&""))
}

/// A field as it stands in a table: text without quotes, nothing as a dash.
pub(super) fn cell(value: &Value, name: &str) -> String {
    match value.get(name) {
        None | Some(Value::Null) => "-".into(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Bool(true)) => "yes".into(),
        Some(Value::Bool(false)) => "no".into(),
        Some(other) => other.to_string(),
    }
}

/// A field that is a number of bytes.
pub(super) fn size(value: &Value, name: &str) -> String {
    value.get(name).and_then(Value::as_f64).map_or_else(|| "-".into(), bytes)
}

/// A field that is a time, as how long ago that was.
pub(super) fn ago(value: &Value, name: &str, now: f64) -> String {
    let Some(time) = value.get(name).and_then(Value::as_f64) else { return "-".into() };
    let secs = (now - time).max(0.0);
    match secs {
        _ if secs < 120.0 => format!("{secs:.0} s"),
        _ if secs < 7200.0 => format!("{:.0} min", secs / 60.0),
        _ if secs < 172_800.0 => format!("{:.0} h", secs / 3600.0),
        _ => format!("{:.0} d", secs / 86_400.0),
    }
}

/// A text of the broker's, in which clients have named things: line ends stay, what else moves a cursor does not.
pub(super) fn printable(text: &str) -> String {
    text.replace(|c: char| c.is_control() && c != '\n', "\u{FFFD}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_what_is_in_them() {
        let mut table = Table::new(&["name", ">bytes"]);
        table.row(["ü\u{1b}[2J".into(), "7".into()]);
        table.row(["long name".into(), "12345678".into()]);
        let expected = "name          bytes\nü\u{FFFD}[2J             7\nlong name  12345678\n";
        assert_eq!(table.text(), expected);
    }

    #[test]
    fn bytes_have_the_unit_that_fits() {
        let cases = [(0.0, "0 B"), (1023.0, "1023 B"), (1536.0, "1.5 KiB"), (-2e8, "-191 MiB")];
        for (count, text) in cases {
            assert_eq!(bytes(count), text);
        }
    }
}
