//! Quantities as people write and read them: `30s`, `10x`, `4GiB`, `12.3 MB`.

use std::time::Duration;

use plimsoll_watch::units;

/// Longest duration of a run: what is longer is a slip.
const LONGEST: Duration = Duration::from_secs(31_536_000);

/// Parses `30s`, `500ms`, `2m`, `1h`, `3d`: at most a year.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    units::duration_within(text, Duration::from_millis(1)..=LONGEST)
}

/// Parses `10x` or `10`.
pub(crate) fn factor(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('x').unwrap_or(text);
    match number.parse::<f64>() {
        Ok(factor) if factor > 0.0 && factor <= 100_000.0 => Ok(factor),
        _ => Err(format!("`{text}` is not a factor such as 10x")),
    }
}

/// Parses a share from 0 to 1, also as `5%`.
pub(crate) fn share(text: &str) -> Result<f64, String> {
    let parsed = match text.strip_suffix('%') {
        Some(percent) => percent.parse::<f64>().map(|number| number / 100.0),
        None => text.parse::<f64>(),
    };
    match parsed {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err(format!("`{text}` is not a share from 0 to 1 (or 0% to 100%)")),
    }
}

/// Parses a rate that is not negative.
pub(crate) fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if (0.0..=1e9).contains(&rate) => Ok(rate),
        _ => Err(format!("`{text}` is not a number from 0 up")),
    }
}

/// A size for people, in powers of 1,000: `0 B`, `999 B`, `12.3 kB`, `1.21 GB`; with a sign if it has one.
pub(crate) fn size(bytes: f64) -> String {
    let magnitude = bytes.abs();
    let (divisor, unit) = match magnitude {
        _ if magnitude < 1e3 => (1.0, "B"),
        _ if magnitude < 1e6 => (1e3, "kB"),
        _ if magnitude < 1e9 => (1e6, "MB"),
        _ => (1e9, "GB"),
    };
    let value = bytes / divisor;
    let digits = match value.abs() {
        small if small < 10.0 => 2,
        medium if medium < 100.0 => 1,
        _ => 0,
    };
    let digits = if unit == "B" && value.fract().abs() < 1e-9 { 0 } else { digits };
    format!("{value:.digits$} {unit}")
}

/// A count for people: `12,345,678`.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A time span for people: `9 s`, `2:05`, `1:02:03`.
pub(crate) fn clock(span: Duration) -> String {
    let secs = span.as_secs();
    match (secs / 3600, secs / 60 % 60, secs % 60) {
        (0, 0, secs) => format!("{secs} s"),
        (0, minutes, secs) => format!("{minutes}:{secs:02}"),
        (hours, minutes, secs) => format!("{hours}:{minutes:02}:{secs:02}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_factors_and_shares_have_units() {
        assert_eq!(duration("30s"), Ok(Duration::from_secs(30)));
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("1.5h"), Ok(Duration::from_secs(5400)));
        assert!(duration("400d").is_err() && duration("0s").is_err() && duration("s").is_err());
        assert_eq!(factor("10x"), Ok(10.0));
        assert!(factor("x").is_err() && factor("-1x").is_err());
        assert_eq!(share("5%"), Ok(0.05));
        assert!(share("1.5").is_err());
    }

    #[test]
    fn figures_are_for_people() {
        assert_eq!(size(0.0), "0 B");
        assert_eq!(size(47.96), "48.0 B");
        assert_eq!(size(-12_345.0), "-12.3 kB");
        assert_eq!(size(1.21e9), "1.21 GB");
        assert_eq!(count(172_800_000), "172,800,000");
        assert_eq!(count(7), "7");
        assert_eq!(clock(Duration::from_secs(125)), "2:05");
    }
}
