//! Figures in JSON, by JSON pointer (RFC 6901).

use serde_json::Value;

/// Checks a pointer.
pub(super) fn checked(pointer: &str) -> Result<String, String> {
    if pointer.starts_with('/') {
        return Ok(pointer.to_owned());
    }
    Err(format!("`{pointer}` is not a JSON pointer, such as /memory/direct (RFC 6901)"))
}

/// Reads the figures that `pointers` lead to.
pub(super) fn read(
    body: &[u8],
    pointers: &[String],
    values: &mut [Option<f64>],
) -> Result<(), String> {
    let document: Value = serde_json::from_slice(body)
        .map_err(|error| format!("answers with what is not JSON: {error}"))?;
    for (value, pointer) in values.iter_mut().zip(pointers) {
        *value = document.pointer(pointer).and_then(number);
    }
    found(values, pointers.iter().map(String::as_str))
}

/// A number, or text that is one; `-1` is how the JVM and Netty say that there is none.
pub(super) fn number(value: &Value) -> Option<f64> {
    let number = match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    number.filter(|number: &f64| number.is_finite() && *number >= 0.0)
}

/// An error if nothing at all was found: then it is the wrong document.
pub(super) fn found<'a>(
    values: &[Option<f64>],
    mut places: impl Iterator<Item = &'a str>,
) -> Result<(), String> {
    match places.next() {
        Some(first) if values.iter().all(Option::is_none) => {
            Err(format!("answers, but has no number at {first} or any other place that is mapped"))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pointers_lead_to_numbers() {
        let body = br#"{"netty": {"used": 1996488991, "limit": "2048"}, "list": [1, {"a/b": 2.5}], "none": -1, "null": null}"#;
        let pointers = ["/netty/used", "/netty/limit", "/list/1/a~1b", "/none", "/null", "/x"];
        let pointers: Vec<String> = pointers.iter().map(|text| checked(text).unwrap()).collect();
        let mut values = vec![None; pointers.len()];
        read(body, &pointers, &mut values).unwrap();
        assert_eq!(values, [Some(1_996_488_991.0), Some(2048.0), Some(2.5), None, None, None]);
        assert!(checked("netty.used").is_err());
    }

    #[test]
    fn a_wrong_document_is_told_from_a_missing_figure() {
        let error = read(b"{}", &["/a".into(), "/b".into()], &mut [None, None]).unwrap_err();
        assert!(error.contains("has no number at /a"), "{error}");
        assert!(read(b"<html>", &["/a".into()], &mut [None]).unwrap_err().contains("not JSON"));
    }
}
