//! Figures in Prometheus' text format, by name and labels.
//!
//! <https://prometheus.io/docs/instrumenting/exposition_formats/>; the text of `OpenMetrics` is read too.

use std::str::FromStr;

/// Samples of one name with these labels; others may have further labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Selection {
    name: String,
    labels: Vec<(String, String)>,
}

impl FromStr for Selection {
    type Err = String;

    /// `name` or `name{label="value",…}`.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("`{text}` is not a metric, such as jvm_memory_used_bytes{{area=\"heap\"}}");
        let (name, rest) = text.split_at(text.find('{').unwrap_or(text.len()));
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
        if name.is_empty() || !name.chars().all(plain) {
            return Err(wrong());
        }
        let labels = match rest.strip_prefix('{') {
            Some(rest) => match labels(rest).ok_or_else(wrong)? {
                (labels, "") => labels,
                _ => return Err(wrong()),
            },
            None => Vec::new(),
        };
        Ok(Self { name: name.to_owned(), labels })
    }
}

impl Selection {
    fn takes(&self, labels: &[(String, String)]) -> bool {
        self.labels.iter().all(|wanted| labels.contains(wanted))
    }
}

/// Sums up the samples of each selection.
pub(super) fn read(
    text: &str,
    selections: &[Selection],
    values: &mut [Option<f64>],
) -> Result<(), String> {
    for line in text.lines() {
        if line.starts_with('#') {
            continue;
        }
        let name = line.split(['{', ' ', '\t']).next().unwrap_or_default();
        let mut parsed = None;
        for (selection, value) in selections.iter().zip(values.iter_mut()) {
            if selection.name != name {
                continue;
            }
            // Only lines that are wanted are taken apart.
            let sample =
                parsed.get_or_insert_with(|| sample(line.get(name.len()..).unwrap_or_default()));
            if let Some((labels, number)) = sample
                && selection.takes(labels)
            {
                *value = Some(value.unwrap_or(0.0) + *number);
            }
        }
    }
    match selections.first() {
        Some(first) if values.iter().all(Option::is_none) => {
            Err(format!("answers, but has no metric {} or any other that is mapped", first.name))
        }
        _ => Ok(()),
    }
}

/// Labels and value of what stands behind a name.
fn sample(rest: &str) -> Option<(Vec<(String, String)>, f64)> {
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(rest) => labels(rest)?,
        None => (Vec::new(), rest),
    };
    let number: f64 = rest.split_ascii_whitespace().next()?.parse().ok()?;
    Some((labels, number)).filter(|(_, number)| number.is_finite())
}

/// The labels up to `}`, and what stands behind it.
fn labels(text: &str) -> Option<(Vec<(String, String)>, &str)> {
    let mut labels = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches([' ', ',']);
        if let Some(behind) = rest.strip_prefix('}') {
            return Some((labels, behind));
        }
        let (name, quoted) = rest.split_once("=\"")?;
        let (value, behind) = value(quoted)?;
        labels.push((name.trim().to_owned(), value));
        rest = behind;
    }
}

/// A label's value up to its closing quote, and what stands behind it.
fn value(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, text.get(at + 1..)?)),
            '\\' => match characters.next()?.1 {
                'n' => value.push('\n'),
                other => value.push(other),
            },
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"# HELP jvm_memory_used_bytes Used.
# TYPE jvm_memory_used_bytes gauge
jvm_memory_used_bytes{area="heap",id="G1 Eden Space"} 1.0E6
jvm_memory_used_bytes{area="heap",id="G1 Old Gen",} 2000000.0
jvm_memory_used_bytes{area="nonheap",id="Meta\"space\\"} 5e5 1395066363000
jvm_buffer_memory_used_bytes{id="direct"} NaN
emqx_retained_count 17
emqx_retained_count_max 40
broken{ 5
"#;

    fn sums(places: &[&str]) -> Vec<Option<f64>> {
        let selections: Vec<Selection> =
            places.iter().map(|place| place.parse().unwrap()).collect();
        let mut values = vec![None; places.len()];
        read(TEXT, &selections, &mut values).unwrap();
        values
    }

    #[test]
    fn samples_are_chosen_by_labels_and_summed_up() {
        let places = [
            r#"jvm_memory_used_bytes{area="heap"}"#,
            "jvm_memory_used_bytes",
            r#"jvm_memory_used_bytes{id="Meta\"space\\"}"#,
            r#"jvm_buffer_memory_used_bytes{id="direct"}"#,
            "emqx_retained_count",
            "broken",
        ];
        let values = sums(&places);
        assert_eq!(values, [Some(3e6), Some(3.5e6), Some(5e5), None, Some(17.0), None]);
    }

    #[test]
    fn what_is_no_metric_is_refused() {
        for wrong in ["", "a b", "a{", r#"a{b="c""#, r#"a{b="c"} 5"#, "a{b=c}"] {
            assert!(wrong.parse::<Selection>().is_err(), "{wrong}");
        }
        let missing: Selection = "mosquitto_up".parse().unwrap();
        let error = read(TEXT, &[missing], &mut [None]).unwrap_err();
        assert!(error.contains("has no metric mosquitto_up"), "{error}");
    }
}
