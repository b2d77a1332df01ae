//! `plimsoll ctl memory`: from RSS down to accounts and budgets.

use serde_json::Value;

use super::commands::list;
use super::table::{Table, bytes, cell, size};

pub(super) fn memory(answer: &Value) -> String {
    let mut text = Table::new(&["from RSS down", ">bytes"]);
    for (name, words) in [
        ("rss_bytes", "RSS"),
        ("rss_file_bytes", "  mapped from files (the program)"),
        ("resident_bytes", "  allocator: resident"),
        ("metadata_bytes", "    its own tables"),
        ("active_bytes", "    pages in use"),
        ("slack_bytes", "      slack: freed, not returned"),
        ("allocated_bytes", "      allocated"),
        ("cached_bytes", "        kept at hand by threads"),
        ("baseline_bytes", "        baseline: held from the start"),
        ("accounted_bytes", "        accounts"),
        ("residue_bytes", "        residue: held, in no account"),
    ] {
        text.row([words.to_owned(), size(answer, name)]);
    }
    text.row(["memory_limit".to_owned(), size(answer, "memory_limit_bytes")]);
    let mut accounts = Table::new(&["account", ">bytes", ">budget", ">share"]);
    let total = answer.get("accounted_bytes").and_then(Value::as_f64).unwrap_or(0.0).max(1.0);
    for account in list(answer, "accounts") {
        let held = account.get("bytes").and_then(Value::as_f64).unwrap_or(0.0);
        let share = format!("{:.0} %", held * 100.0 / total);
        accounts.row([cell(account, "name"), bytes(held), size(account, "budget_bytes"), share]);
    }
    let mut said = format!("{}\n{}", text.text(), accounts.text());
    if !list(answer, "budgets").is_empty() {
        said.push('\n');
        said.push_str(&budgets(answer));
    }
    said
}

/// Who may hold how much together.
fn budgets(answer: &Value) -> String {
    let mut table = Table::new(&[
        "budget of",
        "name",
        ">used",
        ">limit",
        ">share",
        "step",
        ">sessions",
        "done",
    ]);
    for budget in list(answer, "budgets") {
        let figure = |name: &str| budget.get(name).and_then(Value::as_f64).unwrap_or(0.0);
        let share = figure("used_bytes") * 100.0 / figure("limit_bytes").max(1.0);
        let actions = budget.get("actions").and_then(Value::as_object).into_iter().flatten();
        let done: Vec<String> = actions
            .filter(|(_, count)| count.as_u64() != Some(0))
            .map(|(action, count)| format!("{} {count}", action.replace('_', " ")))
            .collect();
        let nameless = budget.get("name").is_none_or(Value::is_null);
        table.row([
            cell(budget, "kind"),
            if nameless { "\"\"".to_owned() } else { cell(budget, "name") },
            size(budget, "used_bytes"),
            size(budget, "limit_bytes"),
            format!("{share:.0} %"),
            cell(budget, "step"),
            cell(budget, "sessions"),
            done.join(", "),
        ]);
    }
    table.text()
}
