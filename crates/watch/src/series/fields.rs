//! What stands in a line of CSV: fields, numbers, times.

use std::borrow::Cow;

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

/// What separates thousands in what spreadsheets write; a point is none, as it may be a decimal one.
const THOUSANDS: [char; 6] = [',', '\'', '\u{2019}', ' ', '\u{a0}', '\u{202f}'];

/// What a single comma is, with three digits behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comma {
    /// It is between thousands.
    Thousands,
    /// Between thousands, or a decimal one.
    Unclear,
}

/// A number; an empty field, `null` and the like, `NaN` and infinities are none.
pub(super) fn number(field: &str, comma: Comma) -> Result<Option<f64>, String> {
    let field = field.trim();
    if is_none(field) {
        return Ok(None);
    }
    match plain(field, comma)?.parse::<f64>() {
        Ok(number) if number < 0.0 && number.is_finite() => {
            Err(format!("`{field}` is less than nothing"))
        }
        Ok(number) => Ok(Some(number).filter(|number| number.is_finite())),
        Err(_) => Err(format!("`{}` is not a number", excerpt(field))),
    }
}

/// A number without what separates its thousands. What is no such number stays as it is.
fn plain(field: &str, comma: Comma) -> Result<Cow<'_, str>, String> {
    let (whole, fraction) = match field.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (field, None),
    };
    let mark = whole.chars().find(|character| THOUSANDS.contains(character));
    let Some(mark) = mark.filter(|mark| are_digits(&whole.replace(*mark, ""))) else {
        return Ok(field.into());
    };
    let (first, rest) = whole.split_once(mark).unwrap_or((whole, ""));
    if !are_thousands(first, rest.split(mark)) || !fraction.is_none_or(are_digits) {
        let shown = excerpt(field);
        return Err(format!(
            "`{shown}` is not a number: write decimals with a point, and thousands in groups of three or without a mark"
        ));
    }
    let sure = mark != ',' || rest.contains(mark) || fraction.is_some();
    let bare = field.replace(mark, "");
    if !sure && comma == Comma::Unclear {
        return Err(format!(
            "`{field}` may be {bare} or {first}.{rest}: write it without the comma, or with a point"
        ));
    }
    Ok(bare.into())
}

/// A size: a number of units of `factor` bytes, or one that has its unit behind it, as Grafana formats it.
pub(super) fn size(field: &str, factor: f64, comma: Comma) -> Result<Option<f64>, String> {
    // Bytes and kilobytes are counted whole, megabytes mostly are not.
    let whole = factor <= 1024.0;
    if whole && comma == Comma::Unclear && has_point_before_three(field.trim()) {
        let (field, bare) = (field.trim(), field.trim().replace('.', ""));
        return Err(format!("`{field}` may be {bare} or {field}0: write it as one of these"));
    }
    let comma = if whole { comma } else { Comma::Unclear };
    let own_unit = |error| {
        let number_first = field.trim_start().starts_with(|first: char| first.is_ascii_digit());
        match units::size(field) {
            Ok(bytes) if number_first => Ok(Some(bytes)),
            _ => Err(error),
        }
    };
    match number(field, comma) {
        Ok(number) => Ok(number.map(|number| number * factor)),
        Err(error) => own_unit(error),
    }
}

/// Whether a point may be between thousands, as where decimals have a comma: `46.145`, but not `0.145` or `4614.553`.
fn has_point_before_three(field: &str) -> bool {
    field.split_once('.').is_some_and(|(whole, rest)| are_thousands(whole, [rest]))
}

/// Whether a number of thousands may stand so: one to three digits that do not begin with zero, and groups of three.
fn are_thousands<'a>(first: &str, groups: impl IntoIterator<Item = &'a str>) -> bool {
    matches!(first.len(), 1..=3)
        && !first.starts_with('0')
        && are_digits(first)
        && groups.into_iter().all(|group| group.len() == 3 && are_digits(group))
}

fn are_digits(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Seconds; milli-, micro- or nanoseconds since 1970; or a date and a time (UTC if it does not say).
pub(super) fn time(field: &str, comma: Comma) -> Result<Option<f64>, String> {
    let field = field.trim();
    if is_none(field) {
        return Ok(None);
    }
    // A date has marks of its own.
    let digits = |character: char| character.is_ascii_digit() || ",.".contains(character);
    let number = if field.chars().all(digits) { plain(field, comma)? } else { field.into() };
    if let Ok(number) = number.parse::<f64>() {
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
    let dotted = || DAY_FIRST.iter().find_map(|format| DateTime::strptime(format, field).ok());
    let civil = || field.parse::<DateTime>().or_else(|error| dotted().ok_or(error));
    let utc = || civil().and_then(|time| time.to_zoned(TimeZone::UTC));
    let parsed = field.parse::<Timestamp>().or_else(|_| utc().map(|zoned| zoned.timestamp()));
    parsed.map(|timestamp| Some(timestamp.as_duration().as_secs_f64())).map_err(|_| {
        let shown = excerpt(field);
        format!("`{shown}` is neither seconds nor a time such as 2026-11-26T10:00:00Z")
    })
}

/// Dates with points, of which the day is first wherever they are written.
const DAY_FIRST: [&str; 2] = ["%d.%m.%Y %H:%M:%S%.f", "%d.%m.%Y %H:%M"];

/// The beginning of what cannot be read.
pub(super) fn excerpt(field: &str) -> String {
    field.chars().take(120).filter(|character| !character.is_control()).collect()
}

/// What separates the fields of a file with this header: spreadsheets of many countries write semicolons.
pub(super) fn separator(header: &str) -> char {
    let mut quoted = false;
    let first = header.chars().find(|character| {
        quoted ^= *character == '"';
        !quoted && [',', ';', '\t'].contains(character)
    });
    first.unwrap_or(',')
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
        assert_eq!(separator(r#""a{b=""c"", d=""e""}";f"#), ';');
    }

    #[test]
    fn times_of_all_units_are_the_same() {
        for text in ["1795687200", "1795687200000", "1795687200000000", "1795687200000000000"] {
            assert_eq!(time(text, Comma::Unclear), Ok(Some(1_795_687_200.0)), "{text}");
        }
        for (text, seconds) in [("1,795,687,200", 1_795_687_200.0), ("-60", -60.0)] {
            assert_eq!(time(text, Comma::Unclear), Ok(Some(seconds)), "{text}");
        }
        // As Java's loggers write it.
        let logged = time("2026-11-26 10:00:00,250", Comma::Thousands);
        assert_eq!(logged, Ok(Some(1_795_687_200.25)));
        for text in ["26.11.2026 10:00", "26.11.2026 10:00:00", "26.11.2026 10:00:00.000"] {
            assert_eq!(time(text, Comma::Unclear), Ok(Some(1_795_687_200.0)), "{text}");
        }
        // Which is the month?
        assert!(time("11/12/2026 10:00", Comma::Thousands).is_err());
        for text in ["null", "inf"] {
            assert_eq!(time(text, Comma::Unclear), Ok(None), "{text}");
        }
        for text in ["1e297", "-1e300", "1,2"] {
            assert!(time(text, Comma::Thousands).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_may_have_their_unit_behind_them() {
        let size = |field, factor| size(field, factor, Comma::Thousands);
        assert_eq!(size("44", 1024.0), Ok(Some(45_056.0)));
        assert_eq!(size("44.5 MiB", 1.0), Ok(Some(46_661_632.0)));
        assert_eq!(size("N/A", 1.0), Ok(None));
        assert!(size("zwei", 1.0).is_err() && size("-5", 1.0).is_err());
    }

    #[test]
    fn thousands_may_be_in_groups() {
        for text in ["46,145,536", "46'145'536", "46\u{202f}145\u{202f}536", "46 145 536"] {
            assert_eq!(number(text, Comma::Unclear), Ok(Some(46_145_536.0)), "{text}");
        }
        assert_eq!(number("1,234.5", Comma::Unclear), Ok(Some(1234.5)));
        assert_eq!(number("46,145", Comma::Thousands), Ok(Some(46_145.0)));
        let either = "`46,145` may be 46145 or 46.145: write it without the comma, or with a point";
        assert_eq!(number("46,145", Comma::Unclear), Err(either.into()));
        assert_eq!(size("46,145", 1024.0, Comma::Thousands), Ok(Some(46_145.0 * 1024.0)));
        assert_eq!(size("46,145", 1024.0 * 1024.0, Comma::Thousands), Err(either.into()));
        let either = "`46.145` may be 46145 or 46.1450: write it as one of these";
        assert_eq!(size("46.145", 1024.0, Comma::Unclear), Err(either.into()));
        for comma in [Comma::Thousands, Comma::Unclear] {
            assert_eq!(size("46.145", 1024.0 * 1024.0, comma), Ok(Some(48_386_539.52)));
            assert_eq!(size("0.125", 1024.0, comma), Ok(Some(128.0)));
        }
        assert_eq!(size("46.125", 1024.0, Comma::Thousands), Ok(Some(47_232.0)));
        for text in ["44,5", "0,145", "4,6145,536", "1,234.5,6", "1,,234", "1,234,", "1234,567"] {
            let refused = number(text, Comma::Thousands).unwrap_err();
            assert!(refused.contains("in groups of three"), "{text}: {refused}");
        }
        assert_eq!(
            number("46.145.536", Comma::Thousands).unwrap_err(),
            "`46.145.536` is not a number"
        );
    }
}
