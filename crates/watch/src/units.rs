//! Durations and sizes as they are written on command lines and in configurations.

use std::ops::RangeInclusive;
use std::time::Duration;

/// Most of what is called a duration: what is longer is a slip.
const LONGEST: Duration = Duration::from_secs(10 * 365 * 86_400);

/// Parses `500ms`, `30s`, `2m`, `1.5h`, `30d`; a number alone is of seconds. From a millisecond to ten years.
///
/// # Errors
///
/// What is wrong with the text, which is quoted.
pub fn duration(text: &str) -> Result<Duration, String> {
    duration_within(text, Duration::from_millis(1)..=LONGEST)
}

/// The same within other bounds.
///
/// # Errors
///
/// What is wrong with the text, which is quoted, or between what it has to be.
pub fn duration_within(text: &str, bounds: RangeInclusive<Duration>) -> Result<Duration, String> {
    let (number, unit) = split(text);
    let seconds_per_unit = match unit {
        "ms" => 0.001,
        "s" | "" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        "d" => 86_400.0,
        _ => return Err(format!("`{text}`: unknown unit `{unit}`; use ms, s, m, h or d")),
    };
    let seconds = positive(text, number)? * seconds_per_unit;
    match Duration::try_from_secs_f64(seconds) {
        Ok(duration) if bounds.contains(&duration) => Ok(duration),
        _ => {
            let (least, most) = (shown(*bounds.start()), shown(*bounds.end()));
            Err(format!("`{text}` is not between {least} and {most}"))
        }
    }
}

/// A bound, in the largest unit that it is a whole number of.
fn shown(duration: Duration) -> String {
    let millis = duration.as_millis();
    let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "min"), (1000, "s")];
    match units.into_iter().find(|(unit, _)| millis >= *unit && millis.is_multiple_of(*unit)) {
        Some((unit, name)) => format!("{} {name}", millis / unit),
        None => format!("{millis} ms"),
    }
}

/// Parses `1048576`, `512MiB`, `4G`, `4GB` into bytes: KB, MB and GB are powers of 1,000; KiB, MiB, GiB and K, M, G of
/// 1,024. From one byte to a petabyte.
///
/// # Errors
///
/// What is wrong with the text, which is quoted.
pub fn bytes(text: &str) -> Result<u64, String> {
    const LARGEST: f64 = 1e15;
    let (number, unit) = split(text);
    let factor = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1.0,
        "kb" => 1e3,
        "mb" => 1e6,
        "gb" => 1e9,
        "k" | "kib" => 1024.0,
        "m" | "mib" => 1024.0 * 1024.0,
        "g" | "gib" => 1024.0 * 1024.0 * 1024.0,
        _ => {
            return Err(format!(
                "`{text}`: unknown unit `{unit}`; use KiB, MiB, GiB or KB, MB, GB"
            ));
        }
    };
    let bytes = positive(text, number)? * factor;
    if !(1.0..=LARGEST).contains(&bytes) {
        return Err(format!("`{text}` is not between 1 byte and a petabyte"));
    }
    Ok((bytes as i64).unsigned_abs())
}

/// The same, as a figure.
///
/// # Errors
///
/// As [`bytes`].
pub fn size(text: &str) -> Result<f64, String> {
    bytes(text).map(|bytes| bytes as f64)
}

fn split(text: &str) -> (&str, &str) {
    let text = text.trim();
    let at = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(at);
    (number, unit.trim())
}

fn positive(text: &str, number: &str) -> Result<f64, String> {
    match number.parse::<f64>() {
        Ok(number) if number > 0.0 => Ok(number),
        Ok(_) => Err(format!("`{text}` must be more than nothing")),
        Err(_) => Err(format!("`{text}` does not begin with a number")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_understood() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("1.5h"), Ok(Duration::from_secs(5400)));
        assert_eq!(duration("30d"), Ok(Duration::from_secs(2_592_000)));
        assert_eq!(duration("7"), Ok(Duration::from_secs(7)));
        for wrong in ["", "h", "3 weeks", "0s", "-1s", "99999d", "1..2s"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
        assert_eq!(duration("0.5ms").unwrap_err(), "`0.5ms` is not between 1 ms and 3650 d");
        let seconds = Duration::from_secs(1)..=Duration::from_secs(60);
        assert_eq!(duration_within("60s", seconds.clone()), Ok(Duration::from_secs(60)));
        let long = duration_within("2m", seconds).unwrap_err();
        assert_eq!(long, "`2m` is not between 1 s and 1 min");
        assert_eq!(bytes("4096"), Ok(4096));
        assert_eq!(bytes("512MiB"), Ok(536_870_912));
        assert_eq!(bytes("2 G"), Ok(2_147_483_648));
        assert_eq!((bytes("1kB"), bytes("4GB")), (Ok(1000), Ok(4_000_000_000)));
        assert!(bytes("5 apples").is_err() && bytes("0").is_err() && bytes("9e99").is_err());
        assert!(bytes("99999999999GB").is_err());
    }
}
