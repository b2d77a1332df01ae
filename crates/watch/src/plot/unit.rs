//! Figures as people read them: 12.3 MiB, 4.5 h.

/// What a figure is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Bytes, in KiB, MiB, GiB.
    Bytes,
    /// Bytes per hour.
    BytesPerHour,
    /// Things.
    Count,
    /// Things per second.
    PerSecond,
    /// Seconds, from microseconds to days.
    Seconds,
    /// Hundredths: 12.5 is 12.5 %.
    Percent,
}

/// From where on which divisor holds, and how it is called.
type Step = (f64, &'static str);

const BYTES: [Step; 5] = [
    (1.0, " B"),
    (1024.0, " KiB"),
    (1_048_576.0, " MiB"),
    (1_073_741_824.0, " GiB"),
    (1_099_511_627_776.0, " TiB"),
];
const BYTES_PER_HOUR: [Step; 5] = [
    (1.0, " B/h"),
    (1024.0, " KiB/h"),
    (1_048_576.0, " MiB/h"),
    (1_073_741_824.0, " GiB/h"),
    (1_099_511_627_776.0, " TiB/h"),
];
const COUNT: [Step; 4] = [(1.0, ""), (1e3, " k"), (1e6, " M"), (1e9, " G")];
const PER_SECOND: [Step; 4] = [(1.0, "/s"), (1e3, " k/s"), (1e6, " M/s"), (1e9, " G/s")];
const SECONDS: [Step; 6] =
    [(1e-6, " µs"), (1e-3, " ms"), (1.0, " s"), (60.0, " min"), (3600.0, " h"), (86_400.0, " d")];
const PERCENT: [Step; 1] = [(1.0, " %")];

impl Unit {
    /// The divisor and name that suit a size.
    fn step(self, size: f64) -> Step {
        let (steps, ample): (&[Step], f64) = match self {
            Self::Bytes => (&BYTES, 1.0),
            Self::BytesPerHour => (&BYTES_PER_HOUR, 1.0),
            // 2,000 reads better than 2 k.
            Self::Count => (&COUNT, 10.0),
            Self::PerSecond => (&PER_SECOND, 10.0),
            // 90 s read better than 1.5 min.
            Self::Seconds => (&SECONDS, 2.0),
            Self::Percent => (&PERCENT, 1.0),
        };
        let suits = |&&(divisor, _): &&Step| {
            size.abs() >= divisor * if divisor > 1.0 { ample } else { 1.0 }
        };
        steps.iter().rev().find(suits).copied().unwrap_or(match self {
            // Nothing at all is no microsecond.
            Self::Seconds if size == 0.0 => (1.0, " s"),
            _ => steps[0],
        })
    }

    /// A figure to three digits or so; `–` for one that is none.
    pub fn text(self, value: f64) -> String {
        if !value.is_finite() {
            return "–".to_owned();
        }
        let (divisor, name) = self.step(value);
        let scaled = value / divisor;
        let decimals = match scaled.abs() {
            size if size >= 99.95 || scaled.fract() == 0.0 => 0,
            size if size >= 9.995 => 1,
            _ => 2,
        };
        format!("{}{name}", grouped(scaled, decimals))
    }

    /// A label of an axis whose largest figure is `top` and whose labels lie `step` apart.
    pub(super) fn label(self, value: f64, step: f64, top: f64) -> String {
        let (divisor, name) = self.step(top);
        let fits = |decimals: &u8| 10f64.powi((*decimals).into()) * step / divisor > 1.0 - 1e-9;
        let decimals = (0..6).find(fits).unwrap_or(6).into();
        // No "-0".
        let scaled = if value.abs() < step * 1e-6 { 0.0 } else { value / divisor };
        format!("{}{name}", grouped(scaled, decimals))
    }

    /// A distance of labels so that there are about `wanted` of them over `span`: 1, 2 or 5 times a power of ten of
    /// the unit that suits `top`.
    pub(super) fn distance(self, span: f64, top: f64, wanted: f64) -> f64 {
        let (divisor, _) = self.step(top);
        let raw = span / divisor / wanted;
        let power = 10f64.powf(raw.log10().floor());
        let times = [1.0, 2.0, 5.0].into_iter().find(|times| times * power >= raw).unwrap_or(10.0);
        let whole = matches!(self, Self::Count) && divisor <= 1.0;
        let least = if whole { 1.0 } else { 0.0 };
        (times * power).max(least) * divisor
    }

    /// Its name for the script that shows figures under the pointer.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Bytes => "bytes",
            Self::BytesPerHour => "bytes-per-hour",
            Self::Count => "count",
            Self::PerSecond => "per-second",
            Self::Seconds => "seconds",
            Self::Percent => "percent",
        }
    }
}

/// With commas between thousands.
fn grouped(value: f64, decimals: usize) -> String {
    let plain = format!("{value:.decimals$}");
    let (sign, digits) = match plain.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", plain.as_str()),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let mut text = String::from(sign);
    for (place, digit) in whole.chars().enumerate() {
        if place > 0 && (whole.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if !fraction.is_empty() {
        text.push('.');
        text.push_str(fraction);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_written_as_people_read_them() {
        for (unit, value, text) in [
            (Unit::Bytes, 0.0, "0 B"),
            (Unit::Bytes, 1023.0, "1,023 B"),
            (Unit::Bytes, 12.34 * 1024.0 * 1024.0, "12.3 MiB"),
            (Unit::Bytes, -1536.0, "-1.50 KiB"),
            (Unit::BytesPerHour, 0.2e6, "195 KiB/h"),
            (Unit::Count, 9_999.0, "9,999"),
            (Unit::Count, 12_345.0, "12.3 k"),
            (Unit::PerSecond, 4.25, "4.25/s"),
            (Unit::Seconds, 0.000_25, "250 µs"),
            (Unit::Seconds, 0.0, "0 s"),
            (Unit::Seconds, 90.0, "90 s"),
            (Unit::Seconds, 30.0 * 3600.0, "30 h"),
            (Unit::Percent, 12.5, "12.5 %"),
            (Unit::Bytes, f64::NAN, "–"),
        ] {
            assert_eq!(unit.text(value), text);
        }
    }

    #[test]
    fn labels_share_one_unit_and_as_many_decimals_as_they_need() {
        let mib = 1024.0 * 1024.0;
        let step = Unit::Bytes.distance(1.3 * mib, 41.0 * mib, 4.0);
        assert!((step - 0.5 * mib).abs() < 1.0, "{step}");
        assert_eq!(Unit::Bytes.label(40.5 * mib, step, 41.0 * mib), "40.5 MiB");
        assert_eq!(Unit::Bytes.label(0.0, step, 41.0 * mib), "0.0 MiB");
        // There are no half clients.
        assert!((Unit::Count.distance(1.0, 3.0, 4.0) - 1.0).abs() < 1e-9);
    }
}
