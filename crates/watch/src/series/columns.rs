//! Which column is which figure.

use plimsoll_judgement::outside::Sample;

use super::fields::{Comma, excerpt, fields, number, separator, size, time};
use crate::figure::Figure;

/// The columns of a file, in their order.
#[derive(Debug)]
pub(super) struct Columns {
    separator: char,
    names: Vec<String>,
    places: Vec<Option<(Place, f64)>>,
}

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Place {
    Time,
    Start,
    Rss,
    Anon,
    File,
    Figure(Figure),
}

/// Most columns of a file.
const COLUMNS_MAX: usize = 1000;

/// Most that resident memory can be, bytes: processors of today address no more (128 TiB, half of it the kernel's).
const RSS_MAX: f64 = 64.0 * 1024.0 * 1024.0 * 1024.0 * 1024.0;

/// A field that cannot be read: its column, if it is one, and what is wrong.
type Wrong = (Option<String>, String);

impl Columns {
    /// Of a header; the error says what is missing.
    pub(super) fn of(header: &str) -> Result<Self, String> {
        let separator = separator(header);
        let names: Vec<String> =
            fields(header, separator)?.into_iter().map(|name| name.trim().to_owned()).collect();
        if names.len() > COLUMNS_MAX {
            return Err(format!("has more than {COLUMNS_MAX} columns"));
        }
        let places: Vec<Option<(Place, f64)>> = names.iter().map(|name| place_of(name)).collect();
        let columns = Self { separator, names, places };
        for (place, what, names) in [
            (Place::Time, "the time", "t or time"),
            (Place::Rss, "resident memory", "rss_kb or rss_bytes"),
        ] {
            if columns.named(place).is_empty() {
                let there = excerpt(&columns.names.join(", "));
                return Err(format!(
                    "there is no column for {what}: call it {names} (there are {there})"
                ));
            }
        }
        for (place, _) in columns.places.iter().flatten() {
            if let [first, second, ..] = columns.named(*place)[..] {
                let what = place.describe();
                return Err(format!("both {first} and {second} are {what}: leave one out"));
            }
        }
        Ok(columns)
    }

    /// The names of all columns for one thing.
    fn named(&self, place: Place) -> Vec<&str> {
        let pairs = self.names.iter().zip(&self.places);
        pairs
            .filter(|(_, other)| other.is_some_and(|(other, _)| other == place))
            .map(|(name, _)| name.as_str())
            .collect()
    }

    /// The names of columns that are none of ours.
    pub(super) fn unused(&self) -> Vec<&str> {
        let pairs = self.names.iter().zip(&self.places);
        let unused = pairs.filter(|(name, place)| place.is_none() && !name.is_empty());
        unused.map(|(name, _)| name.as_str()).collect()
    }

    /// The sample of a line and the start of its process, if it says that; `None` if time or size are empty.
    pub(super) fn sample(&self, line: &str) -> Result<Option<(Sample, Option<f64>)>, Wrong> {
        let fields = fields(line, self.separator).map_err(|what| (None, what))?;
        if fields.len() > self.names.len() {
            let count = self.names.len();
            return Err((
                None,
                format!(
                    "has more fields than the header has columns ({count}); a number with commas has to stand in quotes"
                ),
            ));
        }
        // In a field of a file of commas one stands only if whoever wrote it knew that, and put it in quotes.
        let comma = if self.separator == ',' { Comma::Thousands } else { Comma::Unclear };
        let mut sample = Sample::default();
        let (mut t, mut start, mut rss) = (None, None, None);
        for ((field, name), place) in fields.iter().zip(&self.names).zip(&self.places) {
            let Some((place, factor)) = *place else { continue };
            let value = match place {
                Place::Time | Place::Start => time(field, comma),
                Place::Figure(figure) if !figure.is_bytes() => number(field, comma),
                _ => size(field, factor, comma),
            };
            let value = value.map_err(|what| (Some(name.clone()), what))?;
            if place == Place::Rss && value.is_some_and(|bytes| bytes > RSS_MAX) {
                let what =
                    format!("`{}` is more than any machine has: of another unit?", excerpt(field));
                return Err((Some(name.clone()), what));
            }
            match place {
                Place::Time => t = value,
                Place::Start => start = value,
                Place::Rss => rss = value,
                Place::Anon => sample.anon = value,
                Place::File => sample.file = value,
                Place::Figure(figure) => *figure.place(&mut sample) = value,
            }
        }
        let (Some(t), Some(rss)) = (t, rss) else { return Ok(None) };
        Ok(Some((Sample { t, rss, ..sample }, start)))
    }
}

impl Place {
    fn describe(self) -> &'static str {
        match self {
            Self::Time => "the time",
            Self::Start => "the start of the process",
            Self::Rss => "resident memory",
            Self::Anon => "anonymous memory",
            Self::File => "file-backed memory",
            Self::Figure(figure) => figure.name(),
        }
    }
}

/// What a column of this name holds, and the factor to bytes.
fn place_of(name: &str) -> Option<(Place, f64)> {
    // Grafana calls a series of Prometheus by its labels too.
    let name = name.split('{').next().unwrap_or_default().trim().to_ascii_lowercase();
    let plain = match name.as_str() {
        "t" | "time" | "timestamp" => Some(Place::Time),
        "start" | "start_time" | "process_start_time_seconds" => Some(Place::Start),
        "retained" => Some(Place::Figure(Figure::Retained)),
        "conns" | "connections" => Some(Place::Figure(Figure::Connections)),
        "sess" | "sessions" => Some(Place::Figure(Figure::Sessions)),
        "subs" | "subscriptions" => Some(Place::Figure(Figure::Subscriptions)),
        "queued" => Some(Place::Figure(Figure::Queued)),
        "pub_total" | "published_total" => Some(Place::Figure(Figure::PublishedTotal)),
        "conn_total" | "connected_total" => Some(Place::Figure(Figure::ConnectedTotal)),
        "process_resident_memory_bytes" => Some(Place::Rss),
        _ => None,
    };
    if let Some(place) = plain {
        return Some((place, 1.0));
    }
    let (stem, unit) = name.rsplit_once('_')?;
    let factor = match unit {
        "b" | "bytes" => 1.0,
        "kb" | "kib" => 1024.0,
        "mb" | "mib" => 1024.0 * 1024.0,
        _ => return None,
    };
    let place = match stem {
        "rss" => Place::Rss,
        "anon" => Place::Anon,
        "file" => Place::File,
        "acc" | "account" => Place::Figure(Figure::Account),
        "heap" | "heap_used" => Place::Figure(Figure::HeapUsed),
        "heapc" | "heap_committed" => Place::Figure(Figure::HeapCommitted),
        "direct" => Place::Figure(Figure::Direct),
        "limit" => Place::Figure(Figure::Limit),
        "heap_limit" => Place::Figure(Figure::HeapLimit),
        "direct_limit" => Place::Figure(Figure::DirectLimit),
        _ => return None,
    };
    Some((place, factor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_part_of_the_name() {
        assert_eq!(place_of("RSS_KB"), Some((Place::Rss, 1024.0)));
        assert_eq!(place_of("heapc_mb"), Some((Place::Figure(Figure::HeapCommitted), 1_048_576.0)));
        assert_eq!(place_of("limit_bytes"), Some((Place::Figure(Figure::Limit), 1.0)));
        assert_eq!(place_of("rss"), None, "of which unit?");
        assert_eq!(place_of("cpu_kb"), None);
        let labelled = r#"process_resident_memory_bytes{instance="b:9100", job="mosquitto"}"#;
        assert_eq!(place_of(labelled), Some((Place::Rss, 1.0)));
    }
}
