//! Topic names and topic filters (MQTT 5.0, 4.7 and 4.8).

use crate::error::DecodeError;

/// Levels separated by `/`, as bytes: at least one, possibly empty (MQTT 5.0, 4.7.1.1).
pub fn levels(topic: &str) -> impl Iterator<Item = &str> {
    topic.split('/')
}

/// Checks a topic name: not empty (MQTT-4.7.3-1), no wildcard (MQTT-3.3.2-2), at most `levels_max`
/// levels. UTF-8 and U+0000 are checked when a string is decoded.
pub fn validate_topic_name(topic: &str, levels_max: u16) -> Result<(), DecodeError> {
    if topic.is_empty() || topic.len() > usize::from(u16::MAX) {
        return Err(DecodeError::TopicName);
    }
    let (mut wildcard, mut separators) = (false, 0u32);
    for &byte in topic.as_bytes() {
        wildcard |= byte == b'+' || byte == b'#';
        separators += u32::from(byte == b'/');
    }
    if wildcard {
        return Err(DecodeError::TopicName);
    }
    if separators >= u32::from(levels_max) { Err(DecodeError::TooMany) } else { Ok(()) }
}

/// Checks a topic filter, shared or not, of at most `levels_max` levels.
pub fn validate_topic_filter(filter: &str, levels_max: u16) -> Result<(), DecodeError> {
    let filter = match filter.strip_prefix("$share/") {
        None => filter,
        Some(rest) => {
            // MQTT-4.8.2-1, -2: a name without wildcards, then a filter.
            let (name, filter) = rest.split_once('/').ok_or(DecodeError::TopicFilter)?;
            if name.is_empty() || name.contains(['+', '#']) {
                return Err(DecodeError::TopicFilter);
            }
            filter
        }
    };
    if filter.is_empty() || filter.len() > usize::from(u16::MAX) {
        return Err(DecodeError::TopicFilter); // MQTT-4.7.3-1
    }
    let mut count = 0;
    let mut ended = false;
    for level in levels(filter) {
        if ended {
            return Err(DecodeError::TopicFilter); // MQTT-4.7.1-1: `#` is the last level.
        }
        ended = level == "#";
        // MQTT-4.7.1-1, -2: a wildcard is a whole level.
        if level.len() > 1 && level.contains(['+', '#']) {
            return Err(DecodeError::TopicFilter);
        }
        count += 1;
    }
    if count > u32::from(levels_max) { Err(DecodeError::TooMany) } else { Ok(()) }
}

/// Whether a filter (not a shared one) matches a topic name: the plain definition, level by level.
pub fn matches(filter: &str, topic: &str) -> bool {
    // MQTT-4.7.2-1
    if topic.starts_with('$') && filter.starts_with(['+', '#']) {
        return false;
    }
    let mut names = levels(topic);
    for level in levels(filter) {
        if level == "#" {
            return true;
        }
        match names.next() {
            Some(name) if level == "+" || level == name => {}
            _ => return false,
        }
    }
    names.next().is_none()
}

/// A topic filter taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopicFilter<'a> {
    group: Option<&'a str>,
    filter: &'a str,
}

impl<'a> TopicFilter<'a> {
    /// Takes a valid filter apart: `$share/NAME/FILTER` is a shared one.
    pub fn parse(text: &'a str) -> Self {
        let shared = text.strip_prefix("$share/").and_then(|rest| rest.split_once('/'));
        match shared {
            Some((group, filter)) => Self { group: Some(group), filter },
            None => Self { group: None, filter: text },
        }
    }

    /// The share name, if it is shared.
    pub fn group(&self) -> Option<&'a str> {
        self.group
    }

    /// The filter that topic names are compared with.
    pub fn filter(&self) -> &'a str {
        self.filter
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn v5_mqtt_4_7_1_filters_match_as_the_specification_says() {
        let cases = [
            ("sport/tennis/player1/#", "sport/tennis/player1", true),
            ("sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", true),
            ("sport/#", "sport", true),
            ("#", "a/b", true),
            ("#", "$SYS/a", false),
            ("+/monitor/Clients", "$SYS/monitor/Clients", false),
            ("$SYS/#", "$SYS/a", true),
            ("$SYS/monitor/+", "$SYS/monitor/Clients", true),
            ("sport/tennis/+", "sport/tennis/player1/ranking", false),
            ("sport/+", "sport", false),
            ("sport/+", "sport/", true),
            ("+/+", "/finance", true),
            ("/+", "/finance", true),
            ("+", "/finance", false),
            ("a/b", "A/b", false),
        ];
        for (filter, topic, expected) in cases {
            assert_eq!(matches(filter, topic), expected, "{filter} {topic}");
        }
    }

    #[test]
    fn v5_mqtt_4_7_1_1_ill_formed_filters_are_refused() {
        for filter in
            ["", "a/#/b", "a#", "a+/b", "#/a", "$share/g", "$share//a", "$share/g+/a", "$share/g/"]
        {
            assert!(validate_topic_filter(filter, 200).is_err(), "{filter}");
        }
        for filter in ["/", "+", "#", "a/+/b/#", "$share/g/#", "$share/g//", "//"] {
            assert_eq!(validate_topic_filter(filter, 200), Ok(()), "{filter}");
        }
        assert_eq!(validate_topic_filter("a/b/c", 2), Err(DecodeError::TooMany));
        assert_eq!(validate_topic_name("a/b/c", 2), Err(DecodeError::TooMany));
        assert_eq!(validate_topic_name("a/b/c", 3), Ok(()));
        assert_eq!(validate_topic_name("a/+", 3), Err(DecodeError::TopicName));
    }

    #[test]
    fn v5_mqtt_4_8_2_1_shared_filters_have_a_name() {
        let shared = TopicFilter::parse("$share/group/a/+");
        assert_eq!((shared.group(), shared.filter()), (Some("group"), "a/+"));
        assert_eq!(TopicFilter::parse("a").group(), None);
    }
}
