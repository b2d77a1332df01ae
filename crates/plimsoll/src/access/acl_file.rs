//! `acl_file`: who may read and write which topics, with Mosquitto's decisions.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::fs;
use std::path::Path;

use plimsoll_engine::{Action, Decision, Who};
use plimsoll_ledger::{Account, Charge, Ledger, Measure};
use plimsoll_mqtt::topic;

use super::rules::Judge;
use crate::measure::table_bytes;
use crate::process::unreadable;

/// Lines that give a right, at most.
const RULES_MAX: usize = 1_000_000;

/// The rules of a file. They never change; a reload makes others.
#[derive(Debug)]
pub(crate) struct AclFile {
    parsed: Parsed,
    _charge: Charge,
}

/// What the lines of a file say.
#[derive(Debug, Default)]
pub(crate) struct Parsed {
    /// `topic` lines by user.
    users: HashMap<Box<str>, RuleSet>,
    /// `topic` lines above the first `user`, which are of anonymous clients.
    anonymous: RuleSet,
    /// `pattern` lines.
    patterns: RuleSet,
    count: usize,
    /// Lines that cannot do what they seem to, by number.
    pub(crate) warnings: Vec<(usize, String)>,
}

/// Lines that hold for the same clients: first those that name one topic, in order, so that one is
/// found by a binary search; then the others, denials before all else.
#[derive(Debug, Default)]
struct RuleSet {
    rules: Vec<Rule>,
    literals: usize,
}

/// A line.
#[derive(Debug)]
struct Rule {
    filter: Box<str>,
    right: Right,
    /// It has places for the client's names.
    named: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Right {
    Read,
    Write,
    ReadWrite,
    Deny,
}

impl Right {
    fn reads(self) -> bool {
        matches!(self, Self::Read | Self::ReadWrite)
    }

    fn writes(self) -> bool {
        matches!(self, Self::Write | Self::ReadWrite)
    }
}

/// Reads the lines of a file; a mistake comes with the number of its line.
pub(crate) fn parse(text: &str) -> Result<Parsed, (usize, String)> {
    let mut parsed = Parsed::default();
    let mut user: Option<Box<str>> = None;
    for (number, line) in text.lines().enumerate() {
        let line = line.trim_end();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let line = line.trim_start_matches(' ');
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        let rest = rest.trim();
        match (word, rest) {
            ("user", "") => return Err((number + 1, "`user` needs a name behind it".into())),
            ("user", name) => user = Some(Box::from(name)),
            ("topic" | "pattern", rest) => parsed
                .right(word == "pattern", rest, user.as_deref(), number + 1)
                .map_err(|problem| (number + 1, problem))?,
            (other, _) => {
                let problem =
                    format!("`{other}` is not one of user, topic, pattern (and no `#` comment)");
                return Err((number + 1, problem));
            }
        }
    }
    parsed.users.values_mut().for_each(RuleSet::arrange);
    parsed.anonymous.arrange();
    parsed.patterns.arrange();
    Ok(parsed)
}

impl Parsed {
    /// Takes in what stands behind `topic` or `pattern`.
    fn right(
        &mut self,
        pattern: bool,
        text: &str,
        user: Option<&str>,
        number: usize,
    ) -> Result<(), String> {
        let (right, filter) = match text.split_once(' ') {
            None => (Right::ReadWrite, text),
            Some((word, filter)) => (right(word)?, filter.trim()),
        };
        check_filter(filter)?;
        self.warn(pattern, filter, user, number);
        if self.count == RULES_MAX {
            return Err(format!("more than {RULES_MAX} rules"));
        }
        self.count += 1;
        let named = pattern && (filter.contains("%c") || filter.contains("%u"));
        let set = match user {
            _ if pattern => &mut self.patterns,
            None => &mut self.anonymous,
            Some(user) => self.users.entry(Box::from(user)).or_default(),
        };
        set.rules.push(Rule { filter: Box::from(filter), right, named });
        Ok(())
    }

    /// Says what will never match, though somebody seems to expect it.
    fn warn(&mut self, pattern: bool, filter: &str, user: Option<&str>, number: usize) {
        let replaced = filter.contains("%c") || filter.contains("%u");
        let text = match (pattern, replaced) {
            (false, true) => format!(
                "`{filter}`: %c and %u stand for themselves in a `topic` line; `pattern` puts the client's names in their place"
            ),
            (true, false) => format!(
                "`{filter}` has neither %c nor %u, so it holds for everybody; above the first `user`, a `topic` line holds for anonymous clients only"
            ),
            _ if filter.starts_with("$share/") => {
                format!("`{filter}` never matches: rules are about the filter behind $share/GROUP/")
            }
            (false, _) if user.is_some_and(|user| user.contains(['+', '#'])) => format!(
                "user `{}` has a wildcard in its name, with which no `pattern` matches",
                user.unwrap_or_default()
            ),
            _ => return,
        };
        self.warnings.push((number, text));
    }

    fn heap_bytes(&self) -> usize {
        let table = table_bytes(&self.users);
        let users = self.users.iter().map(|(name, set)| name.heap_bytes() + set.heap_bytes());
        table + users.sum::<usize>() + self.anonymous.heap_bytes() + self.patterns.heap_bytes()
    }
}

impl RuleSet {
    /// Puts the rules into the order in which they are asked.
    fn arrange(&mut self) {
        let literal = |rule: &Rule| !rule.named && !rule.filter.contains(['+', '#']);
        self.rules.sort_by(|one, other| {
            let place = |rule: &Rule| (!literal(rule), !literal(rule) && rule.right != Right::Deny);
            place(one).cmp(&place(other)).then_with(|| match literal(one) {
                true => one.filter.cmp(&other.filter),
                false => Ordering::Equal,
            })
        });
        self.literals = self.rules.partition_point(literal);
        self.rules.shrink_to_fit();
    }

    /// What the rules say; nothing if none is about it.
    fn answer(&self, question: &Question<'_>) -> Option<bool> {
        if question.filter {
            return self.answer_filter(question);
        }
        let (literals, others) = self.rules.split_at_checked(self.literals)?;
        let at = literals.partition_point(|rule| *rule.filter < *question.topic);
        let mut granted = false;
        for rule in literals.iter().skip(at).take_while(|rule| *rule.filter == *question.topic) {
            match rule.right {
                Right::Deny => return Some(false),
                right => granted |= (question.of)(right),
            }
        }
        for rule in others {
            let denies = rule.right == Right::Deny;
            if granted && !denies {
                break;
            }
            if (denies || (question.of)(rule.right)) && rule.about(question, topic::matches) {
                return Some(!denies);
            }
        }
        granted.then_some(true)
    }

    /// About a filter. A denial of a part of it is for each message to meet.
    fn answer_filter(&self, question: &Question<'_>) -> Option<bool> {
        let denies = |rule: &&Rule| rule.right == Right::Deny;
        if self.rules.iter().filter(denies).any(|rule| rule.about(question, covers)) {
            return Some(false);
        }
        let grants = |rule: &&Rule| (question.of)(rule.right);
        let granted = self.rules.iter().filter(grants).any(|rule| rule.about(question, overlap));
        granted.then_some(true)
    }

    fn heap_bytes(&self) -> usize {
        self.rules.heap_bytes() + self.rules.iter().map(|r| r.filter.heap_bytes()).sum::<usize>()
    }
}

impl Rule {
    /// Whether it is about what is asked, with the client's names in their places.
    fn about(&self, question: &Question<'_>, compare: fn(&str, &str) -> bool) -> bool {
        if !self.named {
            return compare(&self.filter, question.topic);
        }
        // What stands before the first name has to be there, which most often settles it.
        let fixed = self.filter.split(['%', '+']).next().unwrap_or_default();
        if !question.filter && !question.topic.starts_with(fixed)
            || self.filter.contains("%u") && question.who.username.is_none()
        {
            return false;
        }
        compare(&filled(&self.filter, question.who), question.topic)
    }
}

fn right(word: &str) -> Result<Right, String> {
    match word {
        "read" => Ok(Right::Read),
        "write" => Ok(Right::Write),
        "readwrite" => Ok(Right::ReadWrite),
        "deny" => Ok(Right::Deny),
        other => Err(format!("`{other}` is not one of read, write, readwrite, deny")),
    }
}

/// Whether wildcards stand where they may (MQTT-4.7.1-1, MQTT-4.7.1-2).
fn check_filter(filter: &str) -> Result<(), String> {
    if filter.is_empty() {
        return Err("there is no topic".into());
    }
    if filter.len() > usize::from(u16::MAX) {
        return Err("the topic is longer than 65535 bytes".into());
    }
    let levels: Vec<&str> = filter.split('/').collect();
    let wrong = levels.iter().enumerate().any(|(at, level)| match *level {
        "#" => at + 1 < levels.len(),
        "+" => false,
        level => level.contains(['+', '#']),
    });
    if wrong {
        let text = "a wildcard takes a whole level, and `#` the last";
        return Err(format!("`{filter}` is not a topic filter: {text}"));
    }
    Ok(())
}

impl AclFile {
    /// Reads a file. What an operator should know is added to `warnings`.
    pub(crate) fn load(
        path: &Path,
        ledger: &'static Ledger,
        warnings: &mut Vec<String>,
    ) -> Result<Self, String> {
        let shown = path.display();
        let text = fs::read_to_string(path).map_err(|error| unreadable("acl_file", path, error))?;
        let mut parsed =
            parse(&text).map_err(|(line, problem)| format!("{shown}:{line}: {problem}"))?;
        let lines = std::mem::take(&mut parsed.warnings);
        warnings.extend(lines.iter().map(|(line, text)| format!("{shown}:{line}: {text}")));
        let charge = ledger.charge(Account::Admin, parsed.heap_bytes());
        Ok(Self { parsed, _charge: charge })
    }
}

impl Judge for AclFile {
    fn judge(&self, who: &Who<'_>, action: Action, topic: &str) -> Option<Decision> {
        Some(if self.parsed.allows(who, action, topic) { Decision::Allow } else { Decision::Deny })
    }
}

impl Parsed {
    /// The decision about a topic name; about a filter to subscribe to, whether it can bring anything.
    pub(crate) fn allows(&self, who: &Who<'_>, action: Action, topic: &str) -> bool {
        let ask = |of, filter| Question { who, topic, of, filter };
        let question = match action {
            Action::Publish { .. } => ask(Right::writes as fn(Right) -> bool, false),
            Action::Receive => ask(Right::reads, false),
            Action::Subscribe => ask(Right::reads, true),
            Action::Unsubscribe => return true,
        };
        let own = match who.username {
            None => Some(&self.anonymous),
            Some(username) => self.users.get(username),
        };
        if let Some(answer) = own.and_then(|own| own.answer(&question)) {
            return answer;
        }
        // With a wildcard in its name a client could match the rules of others.
        let wild = |name: &str| name.contains(['+', '#']);
        if wild(who.client_identifier) || who.username.is_some_and(wild) {
            return false;
        }
        self.patterns.answer(&question).unwrap_or(false)
    }
}

/// What rules are asked.
struct Question<'a> {
    who: &'a Who<'a>,
    topic: &'a str,
    of: fn(Right) -> bool,
    /// The topic is a filter to subscribe to.
    filter: bool,
}

/// A pattern with the client's names in their places.
fn filled(pattern: &str, who: &Who<'_>) -> String {
    let mut filled = String::with_capacity(pattern.len() + who.client_identifier.len());
    let mut rest = pattern;
    while let Some(at) = rest.find('%') {
        let (before, behind) = rest.split_at(at);
        filled.push_str(before);
        let (name, length) = match (behind.as_bytes().get(1), who.username) {
            (Some(b'c'), _) => (who.client_identifier, 2),
            (Some(b'u'), Some(username)) => (username, 2),
            _ => ("%", 1),
        };
        filled.push_str(name);
        rest = behind.get(length..).unwrap_or_default();
    }
    filled.push_str(rest);
    filled
}

/// Whether every topic name that `inner` matches is matched by `outer`.
pub(crate) fn covers(outer: &str, inner: &str) -> bool {
    if outer.starts_with('$') != inner.starts_with('$') {
        return false;
    }
    let mut levels = inner.split('/');
    for level in outer.split('/') {
        match (level, levels.next()) {
            ("#", _) => return true,
            ("+", Some(other)) if other != "#" => {}
            (level, Some(other)) if level == other => {}
            _ => return false,
        }
    }
    levels.next().is_none()
}

/// Whether there is a topic name that both filters match.
pub(crate) fn overlap(one: &str, other: &str) -> bool {
    if one.starts_with('$') != other.starts_with('$') {
        return false;
    }
    let (mut ones, mut others) = (one.split('/'), other.split('/'));
    loop {
        match (ones.next(), others.next()) {
            (None, None) | (Some("#"), _) | (_, Some("#")) => return true,
            (Some("+"), Some(_)) | (Some(_), Some("+")) => {}
            (Some(one), Some(other)) if one == other => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use plimsoll_mqtt::QoS;

    use super::*;

    const PUBLISH: Action = Action::Publish { qos: QoS::AtMostOnce, retain: false };

    fn who<'a>(username: Option<&'a str>, client_identifier: &'a str) -> Who<'a> {
        Who { client_identifier, username, listener: 0 }
    }

    #[test]
    fn lines_of_a_user_hold_for_that_user_and_patterns_for_all() {
        let rules = parse(
            "topic read news/#\nuser joe\ntopic write a/+\ntopic deny a/secret\ntopic readwrite b\ntopic c\npattern read to/%c/%u\npattern write from/%c\n",
        )
        .unwrap();
        let joe = who(Some("joe"), "id");
        let nobody = who(None, "id");
        let allows = |who, action, topic| rules.allows(&who, action, topic);
        assert!(allows(joe, PUBLISH, "a/b") && !allows(joe, Action::Receive, "a/b"));
        assert!(!allows(joe, PUBLISH, "a/secret"), "denials are looked at first");
        assert!(allows(joe, PUBLISH, "b") && allows(joe, Action::Receive, "b"));
        assert!(allows(joe, PUBLISH, "c") && allows(joe, Action::Receive, "c"));
        assert!(!allows(joe, Action::Receive, "news/1"), "only for those without a name");
        assert!(allows(nobody, Action::Receive, "news/1") && !allows(nobody, PUBLISH, "news/1"));
        assert!(
            allows(joe, Action::Receive, "to/id/joe") && !allows(joe, Action::Receive, "to/id/jim")
        );
        assert!(!allows(nobody, Action::Receive, "to/id/%u"), "no name, no %u");
        assert!(allows(nobody, PUBLISH, "from/id"));
        assert!(
            !allows(who(None, "+"), PUBLISH, "from/+")
                && !allows(who(Some("#"), "id"), PUBLISH, "from/id")
        );
        assert!(!allows(who(Some("jim"), "id"), PUBLISH, "a/b"));
    }

    #[test]
    fn a_dollar_wants_a_dollar() {
        let rules = parse("topic read #\n").unwrap();
        assert!(!rules.allows(&who(None, "a"), Action::Receive, "$SYS/broker/uptime"));
        let rules = parse("topic read $SYS/#\n").unwrap();
        assert!(rules.allows(&who(None, "a"), Action::Receive, "$SYS/broker/uptime"));
    }

    #[test]
    fn a_filter_is_forbidden_if_it_can_bring_nothing() {
        let rules =
            parse("topic read plant/1/#\ntopic deny plant/1/secret/#\ntopic write w\n").unwrap();
        let nobody = who(None, "a");
        let allows = |filter| rules.allows(&nobody, Action::Subscribe, filter);
        assert!(allows("plant/#") && allows("#") && allows("+/1/x") && allows("plant/1/+"));
        assert!(allows("plant/1/#"), "partly denied is for each message to meet");
        assert!(
            !allows("plant/2/#")
                && !allows("plant/1/secret/x")
                && !allows("w")
                && !allows("$SYS/#")
        );
    }

    #[test]
    fn mistakes_name_their_line_and_warnings_too() {
        for (text, line) in [
            ("user\n", 1),
            ("\ntopic\n", 2),
            ("topic raed a\n", 1),
            ("topic read a/#/b\n", 1),
            ("topic a+\n", 1),
            ("allow a\n", 1),
            (" # indented\n", 1),
        ] {
            assert_eq!(parse(text).unwrap_err().0, line, "{text}");
        }
        let warned =
            |text: &str| parse(text).unwrap().warnings.iter().map(|(n, _)| *n).collect::<Vec<_>>();
        assert_eq!(warned("topic a/%u\n"), [1]);
        assert_eq!(warned("\npattern a\n"), [2]);
        assert_eq!(warned("user a+\ntopic b\n"), [2]);
        assert_eq!(
            warned("pattern a/%u/%c\nuser a\ntopic b c\n".replace("b c", "b").as_str()),
            [0; 0]
        );
    }

    #[test]
    fn covering_and_overlapping() {
        assert!(covers("a/#", "a/+/b") && covers("a/#", "a") && covers("+/b", "a/b"));
        assert!(!covers("a/+", "a/#") && !covers("a", "+"));
        assert!(overlap("a/+/c", "a/b/#") && overlap("#", "a") && overlap("a/#", "a"));
        assert!(!overlap("a/b", "a/+/c") && !overlap("a/b", "b/+") && !overlap("#", "$SYS/x"));
    }
}
