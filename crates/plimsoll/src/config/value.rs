//! Kinds of values, and their parsing with a message that says how to mend it.

use ipnet::IpNet;

use super::memory::{MemoryLimit, budget_bytes};

/// What a directive takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// `true`, `false`, `1` or `0`.
    Flag,
    /// A whole number within bounds.
    Number(i64, i64),
    /// A whole number; a lower one than the first bound means that bound.
    AtLeast(i64, i64),
    /// A number with unit `s h d w m y`.
    Span,
    /// The rest of the line.
    Text,
    /// One of a few words.
    Word(&'static [&'static str]),
    /// Some of a few words, with commas between.
    List(&'static [&'static str]),
    /// A network in CIDR notation, or an address.
    Network,
    /// Bytes, or a percentage of what there is.
    Memory,
    /// Bytes of a budget; 0 is none.
    Budget,
    /// Nothing: the directive stands by itself or takes several words.
    Words,
}

/// A parsed value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Flag(bool),
    Number(i64),
    Text(String),
}

impl Value {
    pub(super) fn flag(&self) -> bool {
        matches!(self, Self::Flag(true))
    }

    /// A number within the bounds that its kind has, as the type that they fit.
    pub(super) fn number<T: TryFrom<i64> + Default>(&self) -> T {
        match self {
            Self::Number(number) => T::try_from(*number).unwrap_or_default(),
            _ => T::default(),
        }
    }

    /// A limit on memory, if it is one.
    pub(super) fn memory(&self) -> Option<MemoryLimit> {
        MemoryLimit::parse(self.text()).ok().flatten()
    }

    /// A budget, if it is one.
    pub(super) fn budget(&self) -> Option<usize> {
        budget_bytes(self.text()).ok()
    }

    pub(super) fn text(&self) -> &str {
        match self {
            Self::Text(text) => text,
            _ => "",
        }
    }
}

/// The value without a trailing `# comment`, where that cannot be part of it.
fn without_comment(text: &str) -> &str {
    text.split_once('#').map_or(text, |(value, _)| value).trim_end()
}

impl Kind {
    /// Reads a value.
    pub(super) fn parse(self, text: &str) -> Result<Value, String> {
        match self {
            Self::Flag => flag(without_comment(text)),
            Self::Number(least, most) => number(without_comment(text), least, most),
            Self::AtLeast(least, most) => {
                let Value::Number(number) = number(without_comment(text), i64::MIN, most)? else {
                    return Err("needs a number".into());
                };
                Ok(Value::Number(number.max(least)))
            }
            Self::Span => span(without_comment(text)),
            Self::Text | Self::Words => match text {
                "" => Err("needs a value".into()),
                text => Ok(Value::Text(text.to_owned())),
            },
            Self::Word(words) => {
                let word = without_comment(text);
                match words.contains(&word) {
                    true => Ok(Value::Text(word.to_owned())),
                    false => Err(format!("`{word}` is not one of {}", words.join(", "))),
                }
            }
            Self::List(words) => list(without_comment(text), words),
            Self::Network => network(without_comment(text)),
            Self::Memory => {
                let text = without_comment(text);
                MemoryLimit::parse(text).map(|_| Value::Text(text.to_owned()))
            }
            Self::Budget => match without_comment(text) {
                "0" => Ok(Value::Text("0".into())),
                text => budget_bytes(text).map(|_| Value::Text(text.to_owned())),
            },
        }
    }

    /// Its values in words, for the reference.
    pub(super) fn describe(self) -> String {
        match self {
            Self::Flag => "true or false".into(),
            Self::Number(least, i64::MAX) | Self::AtLeast(least, i64::MAX) => {
                format!("number from {least}")
            }
            Self::Number(least, most) | Self::AtLeast(least, most) => {
                format!("number, {least} to {most}")
            }
            Self::Span => "time with unit (s, h, d, w, m, y)".into(),
            Self::Text => "text".into(),
            Self::Word(words) => words.join(", "),
            Self::Network => "network, such as 10.0.0.0/8".into(),
            Self::List(words) => format!("some of {}", words.join(", ")),
            Self::Words => "words".into(),
            Self::Budget => "bytes (K, M, G or KiB, MiB, GiB behind them), from 16384".into(),
            Self::Memory => "bytes (K, M, G or KiB, MiB, GiB behind them), or a percentage".into(),
        }
    }
}

fn flag(text: &str) -> Result<Value, String> {
    match text {
        "true" | "1" => Ok(Value::Flag(true)),
        "false" | "0" => Ok(Value::Flag(false)),
        "" => Err("needs a value: true or false".into()),
        other => Err(format!("`{other}` is neither true nor false (nor 1 or 0)")),
    }
}

fn network(text: &str) -> Result<Value, String> {
    let address = text.parse::<std::net::IpAddr>().map(IpNet::from);
    let network = text.parse::<IpNet>().ok().or(address.ok());
    let network = network
        .ok_or_else(|| format!("`{text}` is no network such as 10.0.0.0/8 or 2001:db8::/32"))?;
    Ok(Value::Text(network.trunc().to_string()))
}

fn list(text: &str, words: &[&str]) -> Result<Value, String> {
    let given: Vec<&str> = text.split(',').map(str::trim).collect();
    match given.iter().find(|word| !words.contains(word)) {
        None => Ok(Value::Text(given.join(","))),
        Some(word) => {
            Err(format!("`{word}` is not one of {}, with commas between", words.join(", ")))
        }
    }
}

fn number(text: &str, least: i64, most: i64) -> Result<Value, String> {
    let number: i64 = text.parse().map_err(|_| match text {
        "" => "needs a number".to_owned(),
        text => format!("`{text}` is not a whole number"),
    })?;
    if number < least || number > most {
        return Err(format!("{number} is out of range: {least} to {most}"));
    }
    Ok(Value::Number(number))
}

fn span(text: &str) -> Result<Value, String> {
    const HOUR: i64 = 3600;
    let explain = || format!("`{text}` is not a time such as 12h, 14d, 2w, 3m or 1y");
    let unit = text.chars().last().ok_or_else(explain)?;
    let secs_per_unit = match unit {
        's' => 1,
        'h' => HOUR,
        'd' => 24 * HOUR,
        'w' => 7 * 24 * HOUR,
        'm' => 30 * 24 * HOUR,
        'y' => 365 * 24 * HOUR,
        _ => return Err(explain()),
    };
    let digits = text.strip_suffix(unit).unwrap_or_default().trim_end();
    let count: i64 = digits.parse().map_err(|_| explain())?;
    let secs = count.saturating_mul(secs_per_unit);
    if secs <= 0 || secs >= i64::from(u32::MAX) {
        return Err(format!("{text} is out of range: 1s to 135y"));
    }
    Ok(Value::Number(secs))
}
