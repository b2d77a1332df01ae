//! What stands in a line of CSV: fields, numbers, times.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use crate::units;

/// Above that a time is in milliseconds: as seconds it would be the year 5138.
const MILLISECONDS_FROM: f64 = 1e11;

/// Above these it is in micro- and nanoseconds.
const MICROSECONDS_FROM: f64 = 1e14;
const NANOSECONDS_FROM: f64 = 1e17;

/// What is written where there is no value: by databases, and by what turns their answers into CSV.
const NONE: [&str; 5] = ["null", "undefined", "N/A", "none", "-"];

/// Whether nothing stands there.
fn is_none(field: &str) -> bool {
    field.is_empty() || NONE.iter().any(|none| field.eq_ignore_ascii_case(none))
}

/// A number; an empty field, `null` and the like, `NaN` and infinities are none.
pub(super) fn number(field: &str) -> Result<Option<f64>, String> {
    let field = field.trim();
    if is_none(field) {
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

/// A size: a number of units of `factor` bytes, or one that has its unit behind it, as Grafana formats it.
pub(super) fn size(field: &str, factor: f64) -> Result<Option<f64>, String> {
    let own_unit = |error| {
        let number_first = field.trim_start().starts_with(|first: char| first.is_ascii_digit());
        match units::size(field) {
            Ok(bytes) if number_first => Ok(Some(bytes)),
            _ => Err(error),
        }
    };
    match number(field) {
        Ok(number) => Ok(number.map(|number| number * factor)),
        Err(error) => own_unit(error),
    }
}

/// Seconds; milli-, micro- or nanoseconds since 1970; or a date and a time (UTC if it does not say).
pub(super) fn time(field: &str) -> Result<Option<f64>, String> {
    let field = field.trim();
    if is_none(field) {
        return Ok(None);
    }
    if let Ok(number) = field.parse::<f64>() {
        let seconds = match number {
            _ if !number.is_finite() => return Ok(None),
            _ if number >= NANOSECONDS_FROM => number / 1e9,
            _ if number >= MICROSECONDS_FROM => number / 1e6,
            _ if number >= MILLISECONDS_FROM => number / 1e3,
            _ => number,
        };
        if seconds.abs() >= MILLISECONDS_FROM {
            return Err(format!("`{}` is a time thousands of years away", excerpt(field)));
        }
        return Ok(Some(seconds));
    }
    let utc = || field.parse::<DateTime>().and_then(|time| time.to_zoned(TimeZone::UTC));
    let parsed = field.parse::<Timestamp>().or_else(|_| utc().map(|zoned| zoned.timestamp()));
    parsed.map(|timestamp| Some(timestamp.as_duration().as_secs_f64())).map_err(|_| {
        let shown = excerpt(field);
        format!("`{shown}` is neither seconds nor a time such as 2026-11-26T10:00:00Z")
    })
}

/// The beginning of what cannot be read.
pub(super) fn excerpt(field: &str) -> String {
    field.chars().take(120).filter(|character| !character.is_control()).collect()
}

/// What separates the fields of a file with this header: spreadsheets of many countries write semicolons.
pub(super) fn separator(header: &str) -> char {
    let mut known = [',', ';', '\t'].into_iter();
    known.find(|separator| header.contains(*separator)).unwrap_or(',')
}

/// The fields of a line; they may stand in double quotes (RFC 4180), but not go over lines.
pub(super) fn fields(line: &str, separator: char) -> Result<Vec<String>, String> {
    let mut fields = Vec::new();
    let mut rest = line;
    loop {
        let (field, behind) = match rest.strip_prefix('"') {
            Some(quoted) => unquoted(quoted, separator)?,
            None => match rest.split_once(separator) {
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

/// What stands before the closing quote, and what behind the separator after it.
fn unquoted(text: &str, separator: char) -> Result<(String, Option<&str>), String> {
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
            None => match behind.strip_prefix(separator) {
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
        assert_eq!(fields("a,,c,", ',').unwrap(), ["a", "", "c", ""]);
        assert_eq!(fields(r#""a ""b"", c",d"#, ',').unwrap(), [r#"a "b", c"#, "d"]);
        assert_eq!(fields(r#"1,5;"a;b""#, ';').unwrap(), ["1,5", "a;b"]);
        assert!(fields(r#""a"b,c"#, ',').is_err());
        assert_eq!((separator("a;b"), separator("a\tb"), separator("a")), (';', '\t', ','));
    }

    #[test]
    fn times_of_all_units_are_the_same() {
        for text in ["1795687200", "1795687200000", "1795687200000000", "1795687200000000000"] {
            assert_eq!(time(text), Ok(Some(1_795_687_200.0)), "{text}");
        }
        assert_eq!((time("null"), time("inf"), time("-60")), (Ok(None), Ok(None), Ok(Some(-60.0))));
        assert!(time("1e297").is_err() && time("-1e300").is_err());
    }

    #[test]
    fn sizes_may_have_their_unit_behind_them() {
        assert_eq!(size("44", 1024.0), Ok(Some(45_056.0)));
        assert_eq!(size("44.5 MiB", 1.0), Ok(Some(46_661_632.0)));
        assert_eq!(size("N/A", 1.0), Ok(None));
        assert!(size("zwei", 1.0).is_err() && size("-5", 1.0).is_err());
    }
}
