//! How much memory there may be.

use std::fmt;

use plimsoll_ledger::Account;

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
