//! Judgements in words.

use std::fmt::{self, Display};

use plimsoll_judgement::outside::{Driver, Leak, Verdict, View};

/// A verdict as a sentence: `leaking at 0.21 ± 0.03 MB/h for 26 h (resident memory, with each PUBLISH): …`.
#[derive(Clone, Copy, Debug)]
pub struct Sentence<'a>(pub &'a Verdict);

/// Bytes with a unit, in powers of 1024.
#[derive(Clone, Copy, Debug)]
pub struct Bytes(pub f64);

/// Seconds with a unit: `45 s`, `12 min`, `26 h`, `9 days`.
#[derive(Clone, Copy, Debug)]
pub struct Span(pub f64);

/// A rate as it is spoken of: `0.229 MB/h`, of a million bytes.
#[derive(Clone, Copy, Debug)]
pub struct Rate(pub f64);

impl Display for Sentence<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Verdict::InsufficientData { more_s } if *more_s > 0.0 => {
                write!(f, "not enough data yet: {} more", Span(*more_s))
            }
            Verdict::InsufficientData { .. } => f.write_str("not enough data yet"),
            Verdict::WarmingUp => f.write_str("warming up"),
            Verdict::Stable => f.write_str("stable"),
            Verdict::GrowingWithState { bytes_per_hour } => {
                write!(f, "growing with its state, at {}", Rate(*bytes_per_hour))
            }
            Verdict::Leaking(leak) => leaking(leak, f),
        }
    }
}

fn leaking(leak: &Leak, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    write!(f, "leaking at {} ± {}", Rate(leak.bytes_per_hour), Rate(leak.error))?;
    write!(f, ", seen in {}, grows {}", view(leak.view), driver(leak.driver))?;
    if let Some(bytes) = leak.bytes_per_event {
        write!(f, " ({bytes:.1} bytes each)")?;
    }
    if let Some(seconds) = leak.limit_in_s {
        write!(f, "; the limit is reached in {}", Span(seconds))?;
    }
    Ok(())
}

/// Where growth shows, in words.
pub fn view(view: View) -> &'static str {
    match view {
        View::Resident => "resident memory that no state explains",
        View::Account => "its own account, beyond its counts of state",
        View::Heap => "the managed heap after collections",
        View::Direct => "the counter of memory beside the heap",
    }
}

/// What a leak grows with, in words.
pub fn driver(driver: Driver) -> &'static str {
    match driver {
        Driver::Time => "with time",
        Driver::Publish => "with each PUBLISH",
        Driver::Connect => "with each connection",
        Driver::Unclear => "with what cannot be told apart yet",
    }
}

impl Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
        let mut size = self.0;
        let mut unit = "B";
        for larger in UNITS {
            if size.abs() < 1024.0 {
                break;
            }
            size /= 1024.0;
            unit = larger;
        }
        let digits = usize::from(unit != "B");
        write!(f, "{size:.digits$} {unit}")
    }
}

impl Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.max(0.0);
        match seconds {
            _ if seconds < 120.0 => write!(f, "{seconds:.0} s"),
            _ if seconds < 7200.0 => write!(f, "{:.0} min", seconds / 60.0),
            _ if seconds < 172_800.0 => write!(f, "{:.0} h", seconds / 3600.0),
            _ => write!(f, "{:.0} days", seconds / 86_400.0),
        }
    }
}

impl Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3} MB/h", self.0 / 1e6)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leak_is_said_with_all_that_is_known() {
        let leak = Leak {
            bytes_per_hour: 229_336.0,
            error: 30_000.0,
            since: 0.0,
            view: View::Resident,
            driver: Driver::Publish,
            bytes_per_event: Some(47.96),
            limit_in_s: Some(3.0e6),
        };
        assert_eq!(
            Sentence(&Verdict::Leaking(leak)).to_string(),
            "leaking at 0.229 MB/h ± 0.030 MB/h, seen in resident memory that no state explains, \
             grows with each PUBLISH (48.0 bytes each); the limit is reached in 35 days"
        );
        let early = Verdict::InsufficientData { more_s: 3000.0 };
        assert_eq!(Sentence(&early).to_string(), "not enough data yet: 50 min more");
    }

    #[test]
    fn sizes_and_spans_have_units() {
        assert_eq!(Bytes(1023.0).to_string(), "1023 B");
        assert_eq!(Bytes(1536.0).to_string(), "1.5 KiB");
        assert_eq!(Bytes(-3.0 * 1024.0 * 1024.0).to_string(), "-3.0 MiB");
        assert_eq!(Span(45.0).to_string(), "45 s");
        assert_eq!(Span(93_600.0).to_string(), "26 h");
    }
}
