//! Rules for retained messages: `retain_expiry FILTER AGE`, `retain_limit FILTER count=… bytes=…`.
//!
//! A filter may contain spaces and `#`, so what stands behind it is read from the end of the line.

use plimsoll_engine::retained::{RETAIN_RULES_MAX, RetainExpiry, RetainLimit, RetainRules};
use plimsoll_mqtt::topic::{TopicFilter, TopicLimits, validate_topic_filter};

const AGE: &str = "a time such as 90s, 15m (minutes), 12h, 7d or 2w, or `never`";

/// Reads one rule into `rules`. The error says what to write instead.
pub(super) fn read(rules: &mut RetainRules, name: &str, text: &str) -> Result<(), String> {
    let full = |len: usize| match len {
        RETAIN_RULES_MAX.. => {
            Err(format!("there are {RETAIN_RULES_MAX} already, which is the most"))
        }
        _ => Ok(()),
    };
    if name == "retain_expiry" {
        full(rules.expiries.len())?;
        let rule = expiry(text)?;
        if rules.expiries.iter().any(|other| other.filter == rule.filter) {
            return Err(format!(
                "there is one for `{}` already, and the first one holds",
                rule.filter
            ));
        }
        rules.expiries.push(rule);
    } else {
        full(rules.limits.len())?;
        let rule = limit(text)?;
        if rules.limits.iter().any(|other| other.filter == rule.filter) {
            return Err(format!("there is one for `{}` already", rule.filter));
        }
        rules.limits.push(rule);
    }
    Ok(())
}

fn expiry(text: &str) -> Result<RetainExpiry, String> {
    let explain = || format!("write `retain_expiry FILTER AGE`, with {AGE}");
    let (filter, age) = text.trim_end().rsplit_once([' ', '\t']).ok_or_else(explain)?;
    let age = if age == "never" { None } else { Some(seconds(age)?) };
    Ok(RetainExpiry { filter: checked(filter)?, age })
}

fn limit(text: &str) -> Result<RetainLimit, String> {
    let explain = || "write `retain_limit FILTER count=N bytes=N`, one of them or both".to_owned();
    let mut limit = RetainLimit { filter: "".into(), count: None, bytes: None };
    let mut rest = text.trim_end();
    loop {
        let (before, word) = rest.rsplit_once([' ', '\t']).unwrap_or(("", rest));
        let field = match word.split_once('=') {
            Some(("count", value)) => (&mut limit.count, number(value, false)),
            Some(("bytes", value)) => (&mut limit.bytes, number(value, true)),
            _ => break,
        };
        if field.0.replace(field.1?).is_some() {
            return Err(format!("`{word}` says twice what is said once"));
        }
        rest = before.trim_end();
    }
    if limit.count.is_none() && limit.bytes.is_none() || rest.is_empty() {
        return Err(explain());
    }
    limit.filter = checked(rest)?;
    Ok(limit)
}

fn checked(filter: &str) -> Result<Box<str>, String> {
    let filter = filter.trim();
    if TopicFilter::parse(filter).group().is_some() {
        return Err(format!("`{filter}` is a shared subscription, not a topic filter"));
    }
    validate_topic_filter(filter, TopicLimits::DEFAULT)
        .map_err(|_| format!("`{filter}` is not a topic filter"))?;
    Ok(filter.into())
}

/// An age. `m` is minutes here, since nobody keeps by months what is measured.
fn seconds(text: &str) -> Result<u32, String> {
    let explain = || format!("`{text}` is not {AGE}");
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "s" => 1,
        "m" | "min" => 60,
        "h" => 3600,
        "d" => 86_400,
        "w" => 7 * 86_400,
        _ => return Err(explain()),
    };
    let secs = digits.parse::<u32>().ok().and_then(|count| count.checked_mul(unit));
    secs.filter(|secs| *secs > 0).ok_or_else(explain)
}

/// A number; of bytes also with k, M or G (powers of 1024).
fn number(text: &str, sized: bool) -> Result<u64, String> {
    let explain = || match sized {
        true => format!("`{text}` is not a number of bytes such as 500000, 64k, 10M or 2G"),
        false => format!("`{text}` is not a number"),
    };
    let (digits, unit) = match text.chars().last().filter(|_| sized) {
        Some('k' | 'K') => (text.get(..text.len() - 1), 1 << 10),
        Some('M') => (text.get(..text.len() - 1), 1 << 20),
        Some('G') => (text.get(..text.len() - 1), 1 << 30),
        _ => (Some(text), 1),
    };
    let count = digits.and_then(|digits| digits.parse::<u64>().ok());
    count.and_then(|count| count.checked_mul(unit)).ok_or_else(explain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(lines: &[(&str, &str)]) -> Result<RetainRules, String> {
        let mut rules = RetainRules::default();
        for (name, text) in lines {
            read(&mut rules, name, text)?;
        }
        Ok(rules)
    }

    #[test]
    fn rules_are_read() {
        let rules = rules(&[
            ("retain_expiry", "plant/+/status never"),
            ("retain_expiry", "plant/#\t7d"),
            ("retain_expiry", "with space/+  15m"),
            ("retain_expiry", "# 2w  "),
            ("retain_limit", "# count=1000000 bytes=2G"),
            ("retain_limit", "a b/# bytes=64k"),
        ])
        .unwrap();
        let ages: Vec<_> = rules.expiries.iter().map(|rule| (&*rule.filter, rule.age)).collect();
        let expected = [
            ("plant/+/status", None),
            ("plant/#", Some(604_800)),
            ("with space/+", Some(900)),
            ("#", Some(1_209_600)),
        ];
        assert_eq!(ages, expected);
        let limits: Vec<_> =
            rules.limits.iter().map(|rule| (&*rule.filter, rule.count, rule.bytes)).collect();
        assert_eq!(limits, [("#", Some(1_000_000), Some(2 << 30)), ("a b/#", None, Some(65_536))]);
    }

    #[test]
    fn mistakes_are_said() {
        for (name, text, problem) in [
            ("retain_expiry", "7d", "write `retain_expiry FILTER AGE`"),
            ("retain_expiry", "a/# 7", "`7` is not a time"),
            ("retain_expiry", "a/# 0s", "`0s` is not a time"),
            ("retain_expiry", "a/# 7y", "`7y` is not a time"),
            ("retain_expiry", "a/# 99999999w", "is not a time"),
            ("retain_expiry", "a/#/b 7d", "`a/#/b` is not a topic filter"),
            ("retain_expiry", "$share/g/a 7d", "is a shared subscription"),
            ("retain_limit", "a/#", "write `retain_limit FILTER"),
            ("retain_limit", "count=5", "write `retain_limit FILTER"),
            ("retain_limit", "a count=-1", "`-1` is not a number"),
            ("retain_limit", "a bytes=1T", "`1T` is not a number of bytes"),
            ("retain_limit", "a count=1 count=2", "says twice"),
        ] {
            let error = rules(&[(name, text)]).unwrap_err();
            assert!(error.contains(problem), "{text}: {error}");
        }
        let twice = [("retain_expiry", "a 7d"), ("retain_expiry", "a 8d")];
        assert!(rules(&twice).unwrap_err().contains("already"));
        let mut many = RetainRules::default();
        for number in 0..RETAIN_RULES_MAX {
            read(&mut many, "retain_limit", &format!("a/{number} count=1")).unwrap();
        }
        assert!(read(&mut many, "retain_limit", "b count=1").unwrap_err().contains("the most"));
    }
}
