//! How much memory there may be.

use std::fmt;

use plimsoll_engine::budgets::{BUDGET_LINES_MAX, BudgetRules, TopicBudget, UserBudget};
use plimsoll_ledger::Account;
use plimsoll_mqtt::topic::{TopicLimits, validate_topic_name};

/// `memory_limit`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MemoryLimit {
    /// So many bytes.
    Bytes(usize),
    /// So much of what the cgroup may have, or else the host has.
    Percent(u8),
}

impl MemoryLimit {
    /// Reads bytes, with a unit or without, or a percentage. `None` is no limit.
    pub(super) fn parse(text: &str) -> Result<Option<Self>, String> {
        let Some(percent) = text.strip_suffix('%') else {
            return Ok(Some(bytes(text)?).filter(|&bytes| bytes > 0).map(Self::Bytes));
        };
        match percent.trim_end().parse() {
            Ok(percent @ 1..=100) => Ok(Some(Self::Percent(percent))),
            _ => Err(format!("`{text}` is no percentage from 1% to 100%")),
        }
    }
}

impl fmt::Display for MemoryLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(bytes) => write!(f, "{bytes} bytes"),
            Self::Percent(percent) => write!(f, "{percent} %"),
        }
    }
}

/// Accounts that may have a budget: those for which something can be refused.
const BUDGETED: [Account; 8] = [
    Account::Retained,
    Account::Subscriptions,
    Account::Queues,
    Account::Sessions,
    Account::Connections,
    Account::Tls,
    Account::WebSocket,
    Account::Wills,
];

/// Reads `ACCOUNT SIZE` into the budgets. A later line for an account takes the place of an earlier one.
pub(super) fn read_budget(budgets: &mut Vec<(Account, usize)>, text: &str) -> Result<(), String> {
    let explain = || "write `memory_budget ACCOUNT SIZE`, such as `memory_budget retained 200MiB`";
    let (name, size) = text.trim().split_once(char::is_whitespace).ok_or_else(explain)?;
    let account = BUDGETED.into_iter().find(|account| account.name() == name);
    let account = account.ok_or_else(|| {
        let names = BUDGETED.map(Account::name).join(", ");
        format!("`{name}` is none of the accounts that can have a budget: {names}")
    })?;
    let size = bytes(size.trim())?;
    budgets.retain(|(known, _)| *known != account);
    budgets.push((account, size));
    Ok(())
}

/// The least that clients may have for a budget: with less, one of them with one message would be too much.
pub(super) const BUDGET_BYTES_MIN: usize = 16 * 1024;

/// Reads the size of a budget of clients.
pub(super) fn budget_bytes(text: &str) -> Result<usize, String> {
    match bytes(text)? {
        bytes if bytes < BUDGET_BYTES_MIN => {
            Err(format!("`{text}` is less than the least that makes sense, {BUDGET_BYTES_MIN}"))
        }
        bytes => Ok(bytes),
    }
}

/// Reads `USERNAME SIZE`. A user name may contain spaces, so the size is read from the end.
pub(super) fn read_user_budget(rules: &mut BudgetRules, text: &str) -> Result<(), String> {
    let explain = || {
        "write `memory_budget_user USERNAME SIZE`, with `*` for each user without a line, or `\"\"` for clients without a user name"
            .to_owned()
    };
    let (name, size) = text.trim().rsplit_once(char::is_whitespace).ok_or_else(explain)?;
    let (name, bytes) = (name.trim_end(), budget_bytes(size)?);
    if name == "*" {
        return match rules.each_user.replace(bytes) {
            None => Ok(()),
            Some(_) => Err("there is one for each user already".to_owned()),
        };
    }
    let username = (name != "\"\"").then(|| name.into());
    if rules.users.iter().any(|user| user.username == username) {
        return Err(format!("there is one for `{name}` already"));
    }
    if rules.users.len() >= BUDGET_LINES_MAX {
        return Err(format!("there are {BUDGET_LINES_MAX} already, which is the most"));
    }
    rules.users.push(UserBudget { username, bytes });
    Ok(())
}

/// Reads `PREFIX SIZE`: whole levels of topics, which may contain spaces.
pub(super) fn read_topic_budget(rules: &mut BudgetRules, text: &str) -> Result<(), String> {
    let explain = || {
        "write `memory_budget_topic PREFIX SIZE`, such as `memory_budget_topic plant/7 10MiB`"
            .to_owned()
    };
    let (prefix, size) = text.trim().rsplit_once(char::is_whitespace).ok_or_else(explain)?;
    let (prefix, bytes) = (prefix.trim_end(), budget_bytes(size)?);
    if prefix.ends_with(['/', '#']) || validate_topic_name(prefix, TopicLimits::DEFAULT).is_err() {
        return Err(format!(
            "`{prefix}` is not what topics begin with: write whole levels without a wildcard, such as `plant/7` for `plant/7` and all below it"
        ));
    }
    if rules.topics.iter().any(|topic| *topic.prefix == *prefix) {
        return Err(format!("there is one for `{prefix}` already"));
    }
    if rules.topics.len() >= BUDGET_LINES_MAX {
        return Err(format!("there are {BUDGET_LINES_MAX} already, which is the most"));
    }
    rules.topics.push(TopicBudget { prefix: prefix.into(), bytes });
    Ok(())
}

/// A number of bytes: plain, or with a unit of 1024, 1024² or 1024³ bytes.
pub(super) fn bytes(text: &str) -> Result<usize, String> {
    const UNITS: [(&str, usize); 6] = [
        ("KiB", 1 << 10),
        ("MiB", 1 << 20),
        ("GiB", 1 << 30),
        ("K", 1 << 10),
        ("M", 1 << 20),
        ("G", 1 << 30),
    ];
    let found = UNITS.iter().find_map(|(unit, size)| Some((text.strip_suffix(unit)?, *size)));
    let (digits, unit) = found.unwrap_or((text, 1));
    let number: Option<usize> = digits.trim_end().parse().ok();
    number
        .and_then(|number| number.checked_mul(unit))
        .ok_or_else(|| format!("`{text}` is no size such as 134217728, 128MiB or 2GiB"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budgets_are_of_accounts_that_can_refuse() {
        let mut budgets = Vec::new();
        for line in ["retained 200MiB", "queues  1000", "retained 1K"] {
            read_budget(&mut budgets, line).unwrap();
        }
        assert_eq!(budgets, [(Account::Queues, 1000), (Account::Retained, 1024)]);
        for (wrong, why) in [
            ("retained", "write `memory_budget"),
            ("bridge 1M", "`bridge` is none of the accounts"),
            ("queues lots", "`lots` is no size"),
        ] {
            let error = read_budget(&mut budgets, wrong).unwrap_err();
            assert!(error.starts_with(why), "{error}");
        }
    }

    #[test]
    fn users_have_budgets_by_name_or_each() {
        let mut rules = BudgetRules::default();
        for line in ["alice 1MiB", "with space \t 32K", "* 64K", "\"\" 16384"] {
            read_user_budget(&mut rules, line).unwrap();
        }
        let users: Vec<_> =
            rules.users.iter().map(|user| (user.username.as_deref(), user.bytes)).collect();
        let expected = [(Some("alice"), 1 << 20), (Some("with space"), 32 << 10), (None, 16 << 10)];
        assert_eq!((users, rules.each_user), (expected.to_vec(), Some(64 << 10)));
        for (wrong, why) in [
            ("alice", "write `memory_budget_user"),
            ("bob 16383", "`16383` is less than"),
            ("bob 80%", "`80%` is no size"),
            ("alice 2M", "there is one for `alice` already"),
            ("* 2M", "there is one for each user already"),
        ] {
            let error = read_user_budget(&mut rules, wrong).unwrap_err();
            assert!(error.starts_with(why), "{error}");
        }
        for number in rules.users.len()..BUDGET_LINES_MAX {
            read_user_budget(&mut rules, &format!("user-{number} 1M")).unwrap();
        }
        assert!(read_user_budget(&mut rules, "bob 1M").unwrap_err().ends_with("which is the most"));
    }

    #[test]
    fn topics_have_budgets_by_whole_levels() {
        let mut rules = BudgetRules::default();
        for line in ["plant/7 1MiB", "with space/x 32K", "plant 64K"] {
            read_topic_budget(&mut rules, line).unwrap();
        }
        let prefixes: Vec<_> = rules.topics.iter().map(|topic| &*topic.prefix).collect();
        assert_eq!(prefixes, ["plant/7", "with space/x", "plant"]);
        for (wrong, why) in [
            ("plant", "write `memory_budget_topic"),
            ("plant/# 1M", "`plant/#` is not what topics begin with"),
            ("plant/ 1M", "`plant/` is not what topics begin with"),
            ("+/a 1M", "`+/a` is not what topics begin with"),
            ("plant 1M", "there is one for `plant` already"),
            ("other 1", "`1` is less than"),
        ] {
            let error = read_topic_budget(&mut rules, wrong).unwrap_err();
            assert!(error.starts_with(why), "{error}");
        }
        for number in rules.topics.len()..BUDGET_LINES_MAX {
            read_topic_budget(&mut rules, &format!("t/{number} 1M")).unwrap();
        }
        assert!(read_topic_budget(&mut rules, "more 1M").unwrap_err().ends_with("the most"));
    }

    #[test]
    fn sizes_have_units_and_limits_may_be_shares() {
        assert_eq!(MemoryLimit::parse("0"), Ok(None));
        assert_eq!(MemoryLimit::parse("134217728"), Ok(Some(MemoryLimit::Bytes(128 << 20))));
        assert_eq!(MemoryLimit::parse("128MiB"), Ok(Some(MemoryLimit::Bytes(128 << 20))));
        assert_eq!(MemoryLimit::parse("2 GiB"), Ok(Some(MemoryLimit::Bytes(2 << 30))));
        assert_eq!(MemoryLimit::parse("64K"), Ok(Some(MemoryLimit::Bytes(64 << 10))));
        assert_eq!(MemoryLimit::parse("80%"), Ok(Some(MemoryLimit::Percent(80))));
        for wrong in [
            "",
            "%",
            "0%",
            "101%",
            "-1",
            "12XiB",
            "1.5GiB",
            "99999999999999999999",
            "99999999999GiB",
        ] {
            assert!(MemoryLimit::parse(wrong).is_err(), "{wrong}");
        }
    }
}
