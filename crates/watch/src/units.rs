//! Durations and sizes as they are written on command lines and in configurations.

use std::time::Duration;

/// Parses `500ms`, `30s`, `2m`, `1.5h`, `30d`; a number alone is of seconds.
pub fn duration(text: &str) -> Result<Duration, String> {
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
    // Ten years: what is longer is a slip.
    if seconds > 315_360_000.0 {
        return Err(format!("`{text}` is longer than ten years"));
    }
    Ok(Duration::from_secs_f64(seconds))
}

/// Parses `1048576`, `512MiB`, `4G`, into bytes; units are of 1024.
pub fn bytes(text: &str) -> Result<f64, String> {
    let (number, unit) = split(text);
    let factor = match unit.to_ascii_lowercase().trim_end_matches('b').trim_end_matches('i') {
        "" => 1.0,
        "k" => 1024.0,
        "m" => 1024.0 * 1024.0,
        "g" => 1024.0 * 1024.0 * 1024.0,
        _ => return Err(format!("`{text}`: unknown unit `{unit}`; use KiB, MiB or GiB")),
    };
    Ok(positive(text, number)? * factor)
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
        assert_eq!(bytes("4096"), Ok(4096.0));
        assert_eq!(bytes("512MiB"), Ok(536_870_912.0));
        assert_eq!(bytes("2 G"), Ok(2_147_483_648.0));
        assert_eq!(bytes("1kB"), Ok(1024.0));
        assert!(bytes("5 apples").is_err() && bytes("0").is_err());
    }
}
