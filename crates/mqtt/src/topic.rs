//! Topic names and topic filters (MQTT 5.0, 4.7 and 4.8).

use crate::error::{DecodeError, LimitExceeded, ProtocolError};

/// Longest topic name or filter, in bytes (MQTT-4.7.3-3).
const BYTES_MAX: usize = u16::MAX as usize;

/// What a shared filter begins with (MQTT-4.8.2-1).
const SHARE: &str = "$share/";

/// Levels separated by `/`: at least one, any of them possibly empty (MQTT 5.0, 4.7.1.1).
pub fn levels(topic: &str) -> impl Iterator<Item = &str> {
    topic.split('/')
}

/// Bounds on topic names and filters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopicLimits {
    /// Most bytes.
    pub bytes_max: u16,
    /// Most levels.
    pub levels_max: u16,
}

impl TopicLimits {
    /// As long as a string can be, and as deep as Mosquitto has it: it refuses more than 200 separators.
    pub const DEFAULT: Self = Self { bytes_max: u16::MAX, levels_max: 201 };
}

impl Default for TopicLimits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// Checks a topic name: not empty (MQTT-4.7.3-1), no wildcard (MQTT-3.3.2-2, MQTT-4.7.0-1,
/// MQTT3-4.7.1-1), within the limits. UTF-8 and U+0000 (MQTT-4.7.3-2) are checked when a string is decoded.
#[inline]
pub fn validate_topic_name(topic: &str, limits: TopicLimits) -> Result<(), DecodeError> {
    if topic.is_empty() {
        return Err(ProtocolError::TopicNameEmpty.into());
    }
    let (wildcard, separators) = scan(topic);
    if wildcard || topic.len() > BYTES_MAX {
        return Err(ProtocolError::TopicName.into());
    }
    if topic.len() > usize::from(limits.bytes_max) {
        return Err(LimitExceeded::TopicNameBytes.into());
    }
    if separators >= usize::from(limits.levels_max) {
        return Err(LimitExceeded::TopicNameLevels.into());
    }
    Ok(())
}

/// Whether there is a wildcard, and the number of separators: in one pass without a branch for
/// each byte, so that the compiler looks at many at once.
#[inline]
fn scan(topic: &str) -> (bool, usize) {
    let (mut wildcard, mut separators) = (false, 0);
    for chunk in topic.as_bytes().chunks(usize::from(u8::MAX)) {
        let mut count = 0u8; // A chunk has no more bytes than this can count.
        for &byte in chunk {
            wildcard |= matches!(byte, b'+' | b'#');
            count += u8::from(byte == b'/');
        }
        separators += usize::from(count);
    }
    (wildcard, separators)
}

/// Checks a topic filter, shared (`$share/NAME/FILTER`) or not, within the limits.
///
/// Every version has shared filters here, as in Mosquitto.
pub fn validate_topic_filter(filter: &str, limits: TopicLimits) -> Result<(), DecodeError> {
    if filter.len() > BYTES_MAX {
        return Err(ProtocolError::TopicFilter.into());
    }
    if filter.len() > usize::from(limits.bytes_max) {
        return Err(LimitExceeded::TopicFilterBytes.into());
    }
    let filter = match filter.strip_prefix(SHARE) {
        None => filter,
        Some(rest) => filter_of_share(rest)?,
    };
    if filter.is_empty() {
        return Err(ProtocolError::TopicFilter.into()); // MQTT-4.7.3-1
    }
    let (mut count, mut ended) = (0, false);
    for level in levels(filter) {
        // MQTT-4.7.1-1, MQTT-4.7.1-2: a wildcard is a whole level, and `#` the last one.
        if ended || level.len() > 1 && level.contains(['+', '#']) {
            return Err(ProtocolError::TopicFilter.into());
        }
        ended = level == "#";
        count += 1;
    }
    if count > usize::from(limits.levels_max) {
        return Err(LimitExceeded::TopicFilterLevels.into());
    }
    Ok(())
}

/// Takes the share name off (MQTT-4.8.2-1, MQTT-4.8.2-2): at least one character, no wildcard, and
/// a `/` behind it.
fn filter_of_share(rest: &str) -> Result<&str, ProtocolError> {
    match rest.split_once('/') {
        Some((name, filter)) if !name.is_empty() && !name.contains(['+', '#']) => Ok(filter),
        _ => Err(ProtocolError::TopicFilter),
    }
}

/// Whether a filter (not a shared one) matches a topic name: the plain definition, level by level.
/// Indexes are compared with it in tests.
pub fn matches(filter: &str, topic: &str) -> bool {
    // MQTT-4.7.2-1
    if topic.starts_with('$') && filter.starts_with(['+', '#']) {
        return false;
    }
    let mut names = levels(topic);
    for level in levels(filter) {
        if level == "#" {
            return true; // The parent level too (MQTT 5.0, 4.7.1.2).
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
    /// Takes a valid filter apart: `$share/NAME/FILTER` is a shared one (MQTT 5.0, 4.8.2). What
    /// [`validate_topic_filter`] refuses has no group.
    pub fn parse(text: &'a str) -> Self {
        let shared = text.strip_prefix(SHARE).and_then(|rest| rest.split_once('/'));
        match shared {
            Some((group, filter)) => Self { group: Some(group), filter },
            None => Self { group: None, filter: text },
        }
    }

    /// The share name, if it is shared.
    pub const fn group(&self) -> Option<&'a str> {
        self.group
    }

    /// The filter that topic names are compared with.
    pub const fn filter(&self) -> &'a str {
        self.filter
    }

    /// Share name and filter, if it is shared.
    pub fn shared(&self) -> Option<(&'a str, &'a str)> {
        self.group.map(|group| (group, self.filter))
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::String;

    use super::*;

    const LIMITS: TopicLimits = TopicLimits { bytes_max: u16::MAX, levels_max: 200 };

    const fn levels(levels_max: u16) -> TopicLimits {
        TopicLimits { bytes_max: u16::MAX, levels_max }
    }

    #[test]
    fn length_has_a_bound() {
        let limits = TopicLimits { bytes_max: 5, levels_max: 200 };
        assert!(validate_topic_name("12345", limits).is_ok());
        let long = Err(LimitExceeded::TopicNameBytes.into());
        assert_eq!(validate_topic_name("123456", limits), long);
        let long = Err(LimitExceeded::TopicFilterBytes.into());
        assert_eq!(validate_topic_filter("$share/g/1", limits), long);
    }

    #[test]
    fn v5_mqtt_4_7_1_filters_match_as_the_specification_says() {
        let cases = [
            ("sport/tennis/player1/#", "sport/tennis/player1", true),
            ("sport/tennis/player1/#", "sport/tennis/player1/ranking", true),
            ("sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", true),
            ("sport/#", "sport", true),
            ("#", "a/b", true),
            ("sport/tennis/+", "sport/tennis/player1", true),
            ("sport/tennis/+", "sport/tennis/player1/ranking", false),
            ("sport/+", "sport", false),
            ("sport/+", "sport/", true),
            ("+/+", "/finance", true),
            ("/+", "/finance", true),
            ("+", "/finance", false),
            ("a/b", "A/b", false), // MQTT-4.7.3-4
            ("a/b", "a/b/c", false),
            ("a/b/c", "a/b", false),
            ("\u{41}", "\u{391}", false),
        ];
        for (filter, topic, expected) in cases {
            assert_eq!(matches(filter, topic), expected, "{filter} {topic}");
        }
    }

    #[test]
    fn v5_mqtt_4_7_2_1_wildcards_do_not_match_a_leading_dollar() {
        let cases = [
            ("#", "$SYS/a", false),
            ("+/monitor/Clients", "$SYS/monitor/Clients", false),
            ("+", "$", false),
            ("$SYS/#", "$SYS/a", true),
            ("$SYS/monitor/+", "$SYS/monitor/Clients", true),
            ("a/+", "a/$SYS", true),
            ("a/#", "a/$SYS", true),
        ];
        for (filter, topic, expected) in cases {
            assert_eq!(matches(filter, topic), expected, "{filter} {topic}");
        }
    }

    #[test]
    fn v5_mqtt_4_7_1_1_ill_formed_filters_are_refused() {
        for filter in ["", "a/#/b", "a#", "a/b#", "a+/b", "+a", "#/a", "##", "sport/tennis#"] {
            let error = ProtocolError::TopicFilter.into();
            assert_eq!(validate_topic_filter(filter, LIMITS), Err(error), "{filter}");
        }
        for filter in ["/", "+", "#", "a/+/b/#", "+/tennis/#", "//", "$SYS/#", "$share"] {
            assert_eq!(validate_topic_filter(filter, LIMITS), Ok(()), "{filter}");
        }
    }

    #[test]
    fn v5_mqtt_4_8_2_1_shared_filters_have_a_name_and_a_filter() {
        let ill = ["$share/", "$share/g", "$share//a", "$share/g+/a", "$share/#/a", "$share/g/"];
        for filter in ill {
            let error = ProtocolError::TopicFilter.into();
            assert_eq!(validate_topic_filter(filter, LIMITS), Err(error), "{filter}");
        }
        for filter in ["$share/g/#", "$share/g//", "$share/g/+/a"] {
            assert_eq!(validate_topic_filter(filter, LIMITS), Ok(()), "{filter}");
        }
        let shared = TopicFilter::parse("$share/group/a/+");
        assert_eq!(shared.shared(), Some(("group", "a/+")));
        assert_eq!((shared.group(), shared.filter()), (Some("group"), "a/+"));
        assert_eq!(TopicFilter::parse("a").shared(), None);
        assert_eq!(TopicFilter::parse("$share/a").filter(), "$share/a");
    }

    #[test]
    fn v5_mqtt_3_3_2_2_names_have_no_wildcards() {
        for topic in ["#", "+", "a/+", "a#", "a+b"] {
            let error = ProtocolError::TopicName.into();
            assert_eq!(validate_topic_name(topic, LIMITS), Err(error), "{topic}");
        }
        let empty = ProtocolError::TopicNameEmpty.into();
        assert_eq!(validate_topic_name("", LIMITS), Err(empty)); // MQTT-4.7.3-1
        for topic in ["/", "a", "a b/c", "$SYS/a", "°"] {
            assert_eq!(validate_topic_name(topic, LIMITS), Ok(()), "{topic}");
        }
    }

    #[test]
    fn levels_and_lengths_have_limits() {
        let (name, filter) = (LimitExceeded::TopicNameLevels, LimitExceeded::TopicFilterLevels);
        assert_eq!(validate_topic_name("a/b/c", levels(3)), Ok(()));
        assert_eq!(validate_topic_name("a/b/c", levels(2)), Err(name.into()));
        assert_eq!(validate_topic_filter("a/b/#", levels(3)), Ok(()));
        assert_eq!(validate_topic_filter("a/b/#", levels(2)), Err(filter.into()));
        assert_eq!(validate_topic_name(&"/".repeat(400), levels(400)), Err(name.into()));
        assert_eq!(validate_topic_name(&"/".repeat(400), levels(401)), Ok(()));
        let long: String = "x".repeat(65_536);
        assert_eq!(validate_topic_name(&long, levels(1)), Err(ProtocolError::TopicName.into()));
        assert_eq!(validate_topic_filter(&long, levels(1)), Err(ProtocolError::TopicFilter.into()));
    }
}
