//! Budgets of clients. Only those that have a line have labels of their own, so there are no more of them than lines.

use plimsoll_engine::Step;

use super::super::budgets::{Budget, Budgets};
use plimsoll_watch::exposition::{Figure, Text};

/// One figure of a budget.
type OfBudget = fn(&Budget) -> usize;

pub(super) fn write(text: &mut Text, all: &Budgets) {
    let named: Vec<(String, &Budget)> = all
        .budgets
        .iter()
        .filter(|budget| budget.named)
        .map(|budget| (budget.number.map_or_else(String::new, |number| number.to_string()), budget))
        .collect();
    let labels: Vec<_> = named
        .iter()
        .map(|(number, budget)| {
            let name = budget.name.as_deref().unwrap_or_default();
            ([("kind", budget.kind), ("name", name), ("number", number.as_str())], *budget)
        })
        .collect();
    let figures: [(&str, &str, OfBudget); 3] = [
        (
            "plimsoll_memory_budget_bytes",
            "Most bytes that the clients of a listener or user may hold together.",
            |budget| budget.limit_bytes,
        ),
        ("plimsoll_memory_budget_used_bytes", "Bytes that they hold.", |budget| budget.used_bytes),
        (
            "plimsoll_memory_budget_step",
            "The step in force for them, numbered as those of the load line.",
            |budget| budget.at as usize,
        ),
    ];
    for (name, help, figure) in figures {
        text.gauges(
            name,
            help,
            labels.iter().map(|(label, budget)| (&label[..], Figure::from(figure(budget)))),
        );
    }
    let actions: Vec<_> = labels
        .iter()
        .flat_map(|&([kind, name, number], budget)| {
            let action = move |(&action, &count): (&&'static str, &u64)| {
                ([kind, name, number, ("action", action)], count)
            };
            budget.actions.iter().map(action)
        })
        .collect();
    text.counters(
        "plimsoll_memory_budget_actions",
        "What was done so that a budget holds.",
        actions.iter().map(|(label, count)| (&label[..], (*count).into())),
    );
    let steps = Step::ALL.map(|step| [("step", step.name())]);
    text.gauges(
        "plimsoll_memory_budget_users",
        "Users that memory_budget_user * holds for, by the step in force for them.",
        steps.iter().filter(|_| !all.each_user.is_empty()).map(|label| {
            let users = all.each_user.get(label[0].1).copied().unwrap_or_default();
            (&label[..], Figure::from(users))
        }),
    );
}
