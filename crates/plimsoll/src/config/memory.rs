//! How much memory there may be.

use std::fmt;

/// `memory_limit`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MemoryLimit {
    /// So many bytes.
    Bytes(usize),
    /// So much of what the cgroup may have, or else the host has.
    Percent(u8),
}

impl MemoryLimit {
    /// Reads bytes, with a unit or without, or a percentage. `None` is no limit.
    pub(super) fn parse(text: &str) -> Result<Option<Self>, String> {
        let Some(percent) = text.strip_suffix('%') else {
            return Ok(Some(bytes(text)?).filter(|&bytes| bytes > 0).map(Self::Bytes));
        };
        match percent.trim_end().parse() {
            Ok(percent @ 1..=100) => Ok(Some(Self::Percent(percent))),
            _ => Err(format!("`{text}` is no percentage from 1% to 100%")),
        }
    }
}

impl fmt::Display for MemoryLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(bytes) => write!(f, "{bytes} bytes"),
            Self::Percent(percent) => write!(f, "{percent} %"),
        }
    }
}

/// A number of bytes: plain, or with a unit of 1024, 1024² or 1024³ bytes.
pub(super) fn bytes(text: &str) -> Result<usize, String> {
    const UNITS: [(&str, usize); 6] = [
        ("KiB", 1 << 10),
        ("MiB", 1 << 20),
        ("GiB", 1 << 30),
        ("K", 1 << 10),
        ("M", 1 << 20),
        ("G", 1 << 30),
    ];
    let found = UNITS.iter().find_map(|(unit, size)| Some((text.strip_suffix(unit)?, *size)));
    let (digits, unit) = found.unwrap_or((text, 1));
    let number: Option<usize> = digits.trim_end().parse().ok();
    number
        .and_then(|number| number.checked_mul(unit))
        .ok_or_else(|| format!("`{text}` is no size such as 134217728, 128MiB or 2GiB"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units_and_limits_may_be_shares() {
        assert_eq!(MemoryLimit::parse("0"), Ok(None));
        assert_eq!(MemoryLimit::parse("134217728"), Ok(Some(MemoryLimit::Bytes(128 << 20))));
        assert_eq!(MemoryLimit::parse("128MiB"), Ok(Some(MemoryLimit::Bytes(128 << 20))));
        assert_eq!(MemoryLimit::parse("2 GiB"), Ok(Some(MemoryLimit::Bytes(2 << 30))));
        assert_eq!(MemoryLimit::parse("64K"), Ok(Some(MemoryLimit::Bytes(64 << 10))));
        assert_eq!(MemoryLimit::parse("80%"), Ok(Some(MemoryLimit::Percent(80))));
        for wrong in [
            "",
            "%",
            "0%",
            "101%",
            "-1",
            "12XiB",
            "1.5GiB",
            "99999999999999999999",
            "99999999999GiB",
        ] {
            assert!(MemoryLimit::parse(wrong).is_err(), "{wrong}");
        }
    }
}
