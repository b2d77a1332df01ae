//! A reading as it travels: JSON with who, which one, when it was due, and what.

/// One reading of one sensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reading {
    /// The sensor's number.
    pub(crate) sensor: u32,
    /// Which reading of this sensor, from 0.
    pub(crate) sequence: u32,
    /// When it was due, µs since the run began.
    pub(crate) due_us: u64,
    /// The value in hundredths of the unit.
    pub(crate) hundredths: i32,
    /// The unit.
    pub(crate) unit: &'static str,
}

impl Reading {
    /// Writes it as JSON over what is in `out`. Nothing is allocated once `out` has grown.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        out.clear();
        out.extend_from_slice(b"{\"sensor\":");
        decimal(out, self.sensor.into());
        out.extend_from_slice(b",\"seq\":");
        decimal(out, self.sequence.into());
        out.extend_from_slice(b",\"due_us\":");
        decimal(out, self.due_us);
        out.extend_from_slice(b",\"value\":");
        if self.hundredths < 0 {
            out.push(b'-');
        }
        let magnitude = self.hundredths.unsigned_abs();
        decimal(out, u64::from(magnitude / 100));
        out.extend_from_slice(&[
            b'.',
            b'0' + (magnitude / 10 % 10) as u8,
            b'0' + (magnitude % 10) as u8,
        ]);
        out.extend_from_slice(b",\"unit\":\"");
        out.extend_from_slice(self.unit.as_bytes());
        out.extend_from_slice(b"\"}");
    }
}

/// Appends a number in decimal digits.
fn decimal(out: &mut Vec<u8>, number: u64) {
    let mut digits = [b'0'; 20];
    let mut rest = number;
    let mut length = 0;
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
        length += 1;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(digits.len() - length..).unwrap_or_default());
}

/// What the control system reads out of a payload: (sensor, sequence number, due time in µs).
pub(crate) fn parse_reading(payload: &[u8]) -> Option<(u32, u32, u64)> {
    let rest = payload.strip_prefix(b"{\"sensor\":")?;
    let (sensor, rest) = leading_number(rest)?;
    let (sequence, rest) = leading_number(rest.strip_prefix(b",\"seq\":")?)?;
    let (due_us, _) = leading_number(rest.strip_prefix(b",\"due_us\":")?)?;
    Some((u32::try_from(sensor).ok()?, u32::try_from(sequence).ok()?, due_us))
}

/// The decimal number at the front, and what follows.
fn leading_number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let length = bytes.iter().take(20).take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, rest) = bytes.split_at_checked(length).filter(|(digits, _)| !digits.is_empty())?;
    let mut number = 0u64;
    for digit in digits {
        number = number.checked_mul(10)?.checked_add(u64::from(digit - b'0'))?;
    }
    Some((number, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reading_is_json_and_is_read_back() {
        let mut out = Vec::new();
        for (hundredths, value) in [(-2000, -20.0), (0, 0.0), (-7, -0.07), (4999, 49.99)] {
            let reading =
                Reading { sensor: 12, sequence: 3, due_us: u64::MAX, hundredths, unit: "°C" };
            reading.write(&mut out);
            let json: serde_json::Value = serde_json::from_slice(&out).expect("JSON");
            assert_eq!(json["value"].as_f64(), Some(value));
            assert_eq!(json["unit"], "°C");
            assert_eq!(parse_reading(&out), Some((12, 3, u64::MAX)));
        }
        for strange in
            [&b"{}"[..], b"", b"{\"sensor\":,", b"{\"sensor\":1,\"seq\":99999999999,\"due_us\":1"]
        {
            assert_eq!(parse_reading(strange), None);
        }
    }
}
