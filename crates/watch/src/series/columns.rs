//! Which column is which figure.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use plimsoll_judgement::outside::Sample;

use crate::figure::Figure;

/// The columns of a file, in their order.
#[derive(Debug)]
pub(super) struct Columns {
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

/// Above that a time is in milliseconds: as seconds it would be the year 5138.
const MILLISECONDS_FROM: f64 = 1e11;

/// A field that cannot be read: its column, if it is one, and what is wrong.
type Wrong = (Option<String>, String);

impl Columns {
    /// Of a header; the error says what is missing.
    pub(super) fn of(header: &str) -> Result<Self, String> {
        let names: Vec<String> =
            fields(header)?.into_iter().map(|name| name.trim().to_owned()).collect();
        if names.len() > COLUMNS_MAX {
            return Err(format!("has more than {COLUMNS_MAX} columns"));
        }
        let places: Vec<Option<(Place, f64)>> = names.iter().map(|name| place_of(name)).collect();
        let columns = Self { names, places };
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

    /// The sample of a line and the start of its process, if it says that; `None` if time or size are empty.
    pub(super) fn sample(&self, line: &str) -> Result<Option<(Sample, Option<f64>)>, Wrong> {
        let fields = fields(line).map_err(|what| (None, what))?;
        if fields.len() > self.names.len() {
            let count = self.names.len();
            return Err((None, format!("has more fields than the header has columns ({count})")));
        }
        let mut sample = Sample::default();
        let (mut t, mut start, mut rss) = (None, None, None);
        for ((field, name), place) in fields.iter().zip(&self.names).zip(&self.places) {
            let Some((place, factor)) = *place else { continue };
            let value = match place {
                Place::Time | Place::Start => time(field),
                _ => number(field),
            };
            let value =
                value.map_err(|what| (Some(name.clone()), what))?.map(|value| value * factor);
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
    let name = name.to_ascii_lowercase();
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

/// A number; empty, `NaN` and infinities are none.
fn number(field: &str) -> Result<Option<f64>, String> {
    let field = field.trim();
    if field.is_empty() {
        return Ok(None);
    }
    match field.parse::<f64>() {
        Ok(number) if number < 0.0 && number.is_finite() => {
            Err(format!("`{field}` is less than nothing"))
        }
        Ok(number) => Ok(Some(number).filter(|number| number.is_finite())),
        Err(_) => Err(format!("`{}` is not a number", excerpt(field))),
    }
}

/// Seconds, milliseconds since 1970, or a date and a time (UTC if it does not say).
fn time(field: &str) -> Result<Option<f64>, String> {
    let field = field.trim();
    if field.is_empty() {
        return Ok(None);
    }
    if let Ok(number) = field.parse::<f64>() {
        let seconds = if number >= MILLISECONDS_FROM { number / 1000.0 } else { number };
        if seconds.abs() >= MILLISECONDS_FROM {
            return Err(format!("`{}` is a time thousands of years away", excerpt(field)));
        }
        return Ok(Some(seconds).filter(|seconds| seconds.is_finite()));
    }
    let utc = || field.parse::<DateTime>().and_then(|time| time.to_zoned(TimeZone::UTC));
    let parsed = field.parse::<Timestamp>().or_else(|_| utc().map(|zoned| zoned.timestamp()));
    parsed.map(|timestamp| Some(timestamp.as_duration().as_secs_f64())).map_err(|_| {
        let shown = excerpt(field);
        format!("`{shown}` is neither seconds nor a time such as 2026-11-26T10:00:00Z")
    })
}

fn excerpt(field: &str) -> String {
    field.chars().take(120).filter(|character| !character.is_control()).collect()
}

/// The fields of a line; they may stand in double quotes (RFC 4180), but not go over lines.
fn fields(line: &str) -> Result<Vec<String>, String> {
    let mut fields = Vec::new();
    let mut rest = line;
    loop {
        let (field, behind) = match rest.strip_prefix('"') {
            Some(quoted) => unquoted(quoted)?,
            None => match rest.split_once(',') {
                Some((field, behind)) => (field.to_owned(), Some(behind)),
                None => (rest.to_owned(), None),
            },
        };
        fields.push(field);
        match behind {
            Some(behind) => rest = behind,
            None => return Ok(fields),
        }
    }
}

/// What stands before the closing quote, and what behind the comma after it.
fn unquoted(text: &str) -> Result<(String, Option<&str>), String> {
    let mut field = String::new();
    let mut rest = text;
    loop {
        let (part, behind) = rest.split_once('"').ok_or("a quote is not closed")?;
        field.push_str(part);
        match behind.strip_prefix('"') {
            Some(more) => {
                field.push('"');
                rest = more;
            }
            None if behind.is_empty() => return Ok((field, None)),
            None => match behind.strip_prefix(',') {
                Some(behind) => return Ok((field, Some(behind))),
                None => return Err("something stands behind a closing quote".into()),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_are_taken_off() {
        assert_eq!(fields("a,,c,").unwrap(), ["a", "", "c", ""]);
        assert_eq!(fields(r#""a ""b"", c",d"#).unwrap(), [r#"a "b", c"#, "d"]);
        assert!(fields(r#""a"b,c"#).is_err());
    }

    #[test]
    fn units_are_part_of_the_name() {
        assert_eq!(place_of("RSS_KB"), Some((Place::Rss, 1024.0)));
        assert_eq!(place_of("heapc_mb"), Some((Place::Figure(Figure::HeapCommitted), 1_048_576.0)));
        assert_eq!(place_of("limit_bytes"), Some((Place::Figure(Figure::Limit), 1.0)));
        assert_eq!(place_of("rss"), None, "of which unit?");
        assert_eq!(place_of("cpu_kb"), None);
    }
}
